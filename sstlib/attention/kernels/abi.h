// How Python hands a call over: arrays of addresses, strides and numbers, in the order that native.py writes them.
#pragma once
#include "tile.h"

static inline Problem read(float* const* tensors, const int64_t* numbers, double scale) {
    Problem p;
    int64_t* sizes[] = {&p.batch, &p.heads, &p.time, &p.queried, &p.height, &p.width, &p.dim, &p.value_dim, &p.a, &p.b, &p.c,
                        &p.causal, &p.objects, &p.ranking, &p.per_head, &p.threads};
    for (int64_t* size : sizes) *size = *numbers++;
    View* views[] = {&p.query, &p.key, &p.value, &p.output, &p.grad, &p.grad_query, &p.grad_key, &p.grad_value};
    for (View* view : views) {
        *view = {*tensors++, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
        numbers += 5;
    }
    float** plain[] = {&p.lse, &p.delta, &p.terms, &p.key_term, &p.query_term, &p.best};
    for (float** pointer : plain) *pointer = *tensors++;
    p.argmax = (int32_t*)*tensors;
    p.scale = (float)scale;
    return p;
}

// Loads a tile's rows of queries; `cell` is the first one's raster index among the queried frames.
template <int TALL>
static inline void take_terms(Tile<TALL>& tile, int row, int64_t group, int64_t cell, int count) {
    if (tile.problem.ranking != SIGMOID) return;
    float lanes[LANES] = {};
    memcpy(lanes, tile.problem.query_term + group * tile.problem.query_cells() + cell, count * sizeof(float));
    tile.query_term[row] = load(lanes);
}

// Writes what the lanes of a row found besides their output: log-sum-exp, best ranking scores and their keys; `cell` says
// where a lane's query lies, in raster order.
template <int TALL, class Cell>
static inline void write_found(const Tile<TALL>& tile, int row, int64_t group, int count, Cell cell) {
    const Problem& p = tile.problem;
    Vector lse = tile.logsumexp(row);
    for (int i = 0; i < count; i++) p.lse[group * p.query_cells() + cell(i)] = lse[i];
    for (int64_t o = 0; o < p.objects; o++) {
        int64_t to = (group * p.objects + o) * p.query_cells();
        Vector best = tile.best[o * TALL + row] * (p.ranking == SIGMOID ? 1.f : LN2);
        for (int i = 0; i < count; i++) p.best[to + cell(i)] = best[i];
        for (int i = 0; p.argmax && i < count; i++) p.argmax[to + cell(i)] = tile.argmax[o * TALL + row][i];
    }
}

// Writes what a row of neighbouring queries found.
template <int TALL>
static inline void write(const Tile<TALL>& tile, int row, int64_t group, float* output, int64_t column, int64_t cell, int count) {
    from_tile(tile.sums + row * tile.sums_apart, tile.problem.value_dim, 1.f / tile.total[row], count, output, column);
    write_found(tile, row, group, count, [&](int lane) { return cell + lane; });
}

// Loads one row of a tile for backward from `count` cells: left side into query, right side behind it, what scales both.
template <int TALL>
static inline void take(Tile<TALL>& tile, int row, const View& left, const View& right, int64_t t, int64_t y, int64_t x,
                        int count, float factor) {
    Vector* into = tile.query + row * tile.apart;
    to_tile(left.at(t, y, x), left.column, count, tile.problem.dim, factor, into);
    to_tile(right.at(t, y, x), right.column, count, tile.problem.value_dim, 1.f, into + tile.problem.dim);
}

// log-sum-exp (in log 2) and delta of the row's queries, where backward looks for them; lanes without a query have no weight.
template <int TALL, class At>
static inline void take_softmax(Tile<TALL>& tile, int row, int count, At at) {
    Vector top = all(-NEVER), delta{};
    for (int i = 0; i < count; i++) {
        top[i] = tile.problem.lse[at(i)] * LOG2E;
        delta[i] = tile.problem.delta[at(i)];
    }
    tile.top[row] = top, tile.total[row] = delta;
}

template <int TALL>
static inline void take_softmax(Tile<TALL>& tile, int row, int64_t at, int count) {
    take_softmax(tile, row, count, [&](int i) { return at + i; });
}
