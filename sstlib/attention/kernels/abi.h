// How Python hands a call over: arrays of addresses, strides and numbers, in the order that __init__.py writes them.
#pragma once
#include "tile.h"

static inline Problem read(float* const* tensors, const int64_t* numbers, double scale) {
    Problem p;
    int64_t* sizes[] = {&p.batch, &p.heads, &p.time, &p.queried, &p.height, &p.width, &p.dim, &p.value_dim, &p.a, &p.b, &p.c,
                        &p.causal, &p.objects, &p.kind, &p.threads};
    for (int64_t* size : sizes) *size = *numbers++;
    View* views[] = {&p.query, &p.key, &p.value, &p.output, &p.grad, &p.grad_query, &p.grad_key, &p.grad_value};
    for (View* view : views) {
        *view = {*tensors++, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
        numbers += 5;
    }
    p.lse = *tensors++, p.delta = *tensors++;  // in backward at first the gradient of log-sum-exp, if there is one
    p.labels = (const int64_t*)*tensors++, p.members = *tensors++, p.bias = *tensors++;
    p.affinity = *tensors++, p.argmax = (int32_t*)*tensors;
    p.scale = (float)scale;
    return p;
}

// What ranks keys for objects beside their scores, by the table of affinity.py; in units of log 2, as the scores are.
struct Ranks {
    std::vector<float> terms, key_term;

    explicit Ranks(Problem& p) {
        if (!p.objects) return;
        bool soft = p.members, lengths = p.kind == DISTANCE || p.kind == COSINE;
        p.ranking = p.kind == COSINE || (soft && p.kind == DOT) ? MULTIPLY : soft && p.kind == DISTANCE ? SIGMOID : ADD;
        p.per_head = lengths && p.ranking != SIGMOID;
        terms.resize((p.per_head ? p.heads : 1) * p.batch * p.objects * p.cells() + LANES);  // lanes beyond the last row read on
        if (p.ranking == SIGMOID) key_term.resize(p.batch * p.heads * p.cells() + LANES);
        p.terms = terms.data(), p.key_term = key_term.data();
        int64_t lines = p.time * p.height, groups = p.batch * (lengths ? p.heads : 1);
#pragma omp parallel num_threads(p.threads)
        {
            std::vector<Vector> cells(p.dim);
            std::vector<float> side(p.width + LANES);
#pragma omp for
            for (int64_t item = 0; item < groups * lines; item++) {
                int64_t group = lengths ? item / lines : item / lines * p.heads, line = item % lines;
                if (lengths) measure(p, group, line, cells, side.data());
                if (p.ranking == SIGMOID) memcpy(&key_term[group * p.cells() + line * p.width], side.data(), p.width * sizeof(float));
                for (int64_t o = 0; o < p.objects && (p.per_head || group % p.heads == 0); o++)
                    term(p, group, o, line * p.width, side.data());
            }
        }
    }

    // What a key's length says: -scale |k|^2 / 2, or 1 / |k|.
    static void measure(const Problem& p, int64_t group, int64_t line, std::vector<Vector>& cells, float* side) {
        View key = p.key.of(group / p.heads, group % p.heads);
        for (int64_t x = 0; x < p.width; x += LANES) {
            to_tile(key.at(line / p.height, line % p.height, x), key.column, (int)std::min<int64_t>(LANES, p.width - x), p.dim, 1.f, cells.data());
            Vector squared{};
            for (int64_t c = 0; c < p.dim; c++) squared += cells[c] * cells[c];
            if (p.kind == DISTANCE) store(side + x, squared * (-p.scale / 2 * LOG2E));
            else for (int i = 0; i < LANES; i++) side[x + i] = 1 / std::max(std::sqrt(squared[i]), TINY);
        }
    }

    void term(const Problem& p, int64_t group, int64_t object, int64_t first, const float* side) {
        float* to = &terms[p.term(group, object) - p.terms + first];
        int64_t batch = group / p.heads, count = p.width;
        if (p.labels) {
            const int64_t* label = p.labels + batch * p.cells() + first;
            if (p.ranking == MULTIPLY) for (int64_t i = 0; i < count; i++) to[i] = label[i] == object ? side[i] : 0;
            else if (p.per_head) for (int64_t i = 0; i < count; i++) to[i] = label[i] == object ? side[i] : -INFINITY;
            else for (int64_t i = 0; i < count; i++) to[i] = label[i] == object ? 0 : -INFINITY;
            return;
        }
        const float* member = p.members + (batch * p.objects + object) * p.cells() + first;
        for (int64_t i = 0; i < count; i++) to[i] = p.ranking == ADD ? std::log2(member[i]) : p.per_head ? member[i] * side[i] : member[i];
    }
};

// What backward subtracts from the products of gradients and values: each query's gradient times its output, less the gradient of its
// log-sum-exp. The gradients are there as channels, `first` is the raster index of the first query.
static inline Vector delta(const Problem& p, const float* output, const Vector* grad, int64_t first, int count) {
    Vector sum{}, less{};
    for (int64_t c = 0; c < p.value_dim; c += 4) {
        Vector cells[4];
        int some = (int)std::min<int64_t>(4, p.value_dim - c);
        to_tile(output + c, p.output.column, count, some, 1, cells);
        for (int n = 0; n < some; n++) sum += cells[n] * grad[c + n];
    }
    if (p.delta) memcpy(&less, p.delta + first, count * sizeof(float));
    return sum - less;
}

// The deltas of all queries.
struct Deltas {
    std::vector<float> deltas;

    explicit Deltas(Problem& p) : deltas(p.batch * p.heads * p.query_cells()) {
#pragma omp parallel num_threads(p.threads)
        {
            std::vector<Vector> cells(p.value_dim);
#pragma omp for
            for (int64_t item = 0; item < p.batch * p.heads * p.queried * p.height; item++) {
                int64_t group = item / (p.queried * p.height), b = group / p.heads, h = group % p.heads, t = item / p.height % p.queried, y = item % p.height;
                View grad = p.grad.of(b, h), output = p.output.of(b, h);
                for (int64_t x = 0; x < p.width; x += LANES) {
                    int count = (int)std::min<int64_t>(LANES, p.width - x);
                    to_tile(grad.at(t, y, x), grad.column, count, p.value_dim, 1, cells.data());
                    Vector found = delta(p, output.at(t, y, x), cells.data(), item * p.width + x, count);
                    memcpy(&deltas[item * p.width + x], &found, count * sizeof(float));
                }
            }
        }
        p.delta = deltas.data();
    }
};

// |q|^2 of a row's queries.
template <int TALL>
static inline Vector squared(const Tile<TALL>& tile, int row) {
    Vector sum{};
    for (int64_t c = 0; c < tile.problem.dim; c++) sum += tile.query[row * tile.apart + c] * tile.query[row * tile.apart + c];
    float factor = tile.problem.scale * LOG2E;  // of the queries in a tile
    return sum * (1 / (factor * factor));
}

// What ranks the queries of a row, once they are in the tile.
template <int TALL>
static inline void take_terms(Tile<TALL>& tile, int row, int64_t group) {
    if (tile.problem.ranking == SIGMOID) tile.query_term[row] = (squared(tile, row) + tile.problem.bias[group]) * LOG2E;
}

// The affinity (Eq. 4) of best ranking scores.
template <int TALL>
static inline Vector affinity(const Tile<TALL>& tile, int row, int64_t group, Vector best, Vector lse) {
    const Problem& p = tile.problem;
    if (p.ranking == SIGMOID || !any(best > NEVER)) return larger(best, Vector{});
    Vector found = best * LN2;
    // Of large scores the difference is rounding, and of 0 the exponential may be 1.0000001
    if (p.kind == WEIGHT) found = -larger(-exp2(-larger(lse * LOG2E - best, Vector{})), all(-1.f));
    if (p.kind == COSINE) {
        Vector length = squared(tile, row);
        for (int i = 0; i < LANES; i++) length[i] = std::max(std::sqrt(length[i]), TINY);
        found /= length * p.scale;
    }
    if (p.kind == DISTANCE) {
        Vector apart = larger(squared(tile, row) - 2 / p.scale * found, Vector{});
        found = Tile<TALL>::near((apart + p.bias[group]) * LOG2E);
    }
    return best > NEVER ? larger(found, Vector{}) : Vector{};
}

// Writes what the lanes of a row found besides their output: log-sum-exp, affinities and their keys; put(to, lanes) writes
// the lanes where their queries lie, in raster order from `to` on.
template <int TALL, class Put>
static inline void write_found(const Tile<TALL>& tile, int row, int64_t group, Put put) {
    const Problem& p = tile.problem;
    Vector lse = tile.logsumexp(row);
    put(p.lse + group * p.query_cells(), lse);
    for (int64_t o = 0; o < p.objects; o++) {
        int64_t to = (group * p.objects + o) * p.query_cells();
        // The difference is 0, or no number where the log-sum-exp is none
        put(p.affinity + to, affinity(tile, row, group, tile.best[o * TALL + row], lse) + (lse - lse));
        if (p.argmax) put((float*)p.argmax + to, (Vector)tile.argmax[o * TALL + row]);
    }
}

// Writes what a row of neighboring queries found.
template <int TALL>
static inline void write(const Tile<TALL>& tile, int row, int64_t group, float* output, int64_t column, int64_t cell, int count) {
    from_tile(tile.sums + row * tile.sums_apart, tile.problem.value_dim, 1.f / tile.total[row], count, output, column);
    write_found(tile, row, group, [&](float* to, Vector lanes) { memcpy(to + cell, &lanes, count * sizeof(float)); });
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
