// What a tile of queries does with its runs of keys: joint softmax, object affinity, and the gather halves of backward.
#pragma once
#include "engine.h"

constexpr int CAPACITY = 67;  // keys whose scores are held at a time
constexpr int PAIR = LANES == 16 ? 2 : 1;  // rows of a tile that share the loads of keys
constexpr int UNMASKED = -(1 << 20);  // no row of the tile has a key that it does not see
enum Ranking { NONE = 0, ADD = 1, MULTIPLY = 2, SIGMOID = 3 };

// One attention call, as Python describes it (see native.py): sizes, options and one tensor view each.
struct View {
    float* data = nullptr;
    int64_t batch = 0, head = 0, frame = 0, row = 0, column = 0;
    View of(int64_t b, int64_t h) const { return {data + b * batch + h * head, 0, 0, frame, row, column}; }
    float* at(int64_t t, int64_t y, int64_t x) const { return data + t * frame + y * row + x * column; }
};

struct Problem {
    int64_t batch, heads, time, queried, height, width, dim, value_dim, a, b, c, causal, objects, ranking, per_head, threads;
    float scale;
    View query, key, value, output, grad, grad_query, grad_key, grad_value;
    float *lse, *delta, *terms, *key_term, *query_term, *best;
    int32_t* argmax;

    int64_t cells() const { return time * height * width; }
    int64_t query_cells() const { return queried * height * width; }
    int64_t first_frame() const { return time - queried; }
    int64_t last_key_frame(int64_t frame) const { return causal ? frame + 1 : time; }  // one past the last
    const float* term(int64_t group, int64_t object) const {
        return terms + ((per_head ? group : group / heads) * objects + object) * cells();
    }
};

// What ranks keys for objects beside their scores, as the runs of a pattern see it.
struct Terms {
    std::vector<const float*> object;  // one a object, indexed as the run's cells are
    const float* key = nullptr;        // |k|^2 term of the distance, for SIGMOID
    int64_t step = 1;                  // of these arrays, from one key of a run to the next
};

// A stack of TALL rows of LANES queries (or keys, in one half of backward).
template <int TALL>
struct Tile {
    const Problem& problem;
    std::vector<Vector> memory;
    Vector *query, *sums, *scores, *other;
    int64_t apart;  // of rows in `query` (query and gradient channels) and `sums`
    Vector top[TALL], total[TALL];  // running maximum and sum; log-sum-exp and delta in backward
    std::vector<Vector> best, query_term;
    std::vector<Whole> argmax;

    explicit Tile(const Problem& p)
        : problem(p), apart(p.dim + p.value_dim), best(TALL * p.objects), query_term(TALL), argmax(TALL * p.objects) {
        memory.resize(2 * TALL * apart + 2 * PAIR * CAPACITY);
        query = memory.data(), sums = query + TALL * apart;
        scores = sums + TALL * apart, other = scores + PAIR * CAPACITY;
    }

    void start() {
        for (int r = 0; r < TALL; r++) top[r] = all(START), total[r] = Vector{};
        memset((void*)sums, 0, TALL * apart * sizeof(Vector));
        float least = problem.ranking == ADD ? -INFINITY : 0;  // products must be above 0 to count at all (Eq. 4)
        for (auto& b : best) b = all(least);
        for (auto& a : argmax) a = Whole{} - 1;
    }

    template <int COUNT, bool SPREAD, int STEP>
    void score(int first, const Run& run, Vector* to) {
        correlate<COUNT, SPREAD, STEP>(query + first * apart, apart, run.key, run.key_step, run.key_channel, problem.dim, run.count,
                                       to, CAPACITY);
        if (!run.bias) return;
        for (int j = 0; j < run.count; j++) {
            Vector bias = load(run.bias + j);
            for (int r = 0; r < COUNT; r++) to[r * CAPACITY + j] += bias;
        }
    }

    // Attends from rows first..first+COUNT-1 to the runs, CAPACITY keys in all at most; row r does not see key `masked` + r.
    template <int COUNT, bool SPREAD, int STEP>
    void attend(int first, const Run* runs, int number, const Terms& terms, int masked = UNMASKED) {
        int n = 0;
        for (const Run* run = runs; run < runs + number; n += run->count, run++) {
            score<COUNT, SPREAD, STEP>(first, *run, scores + n);
            if (!run->earlier) continue;
            if (problem.ranking == ADD) rank<COUNT, SPREAD, ADD>(first, *run, scores + n, terms);
            if (problem.ranking == MULTIPLY) rank<COUNT, SPREAD, MULTIPLY>(first, *run, scores + n, terms);
            if (problem.ranking == SIGMOID) rank<COUNT, SPREAD, SIGMOID>(first, *run, scores + n, terms);
        }
        Vector keep[COUNT];
        for (int r = 0; r < COUNT; r++) {
            if (masked + r >= 0 && masked + r < n) scores[r * CAPACITY + masked + r] = all(NEVER);
            keep[r] = soften(scores + r * CAPACITY, n, top[first + r], total[first + r]);
        }
        n = 0;
        for (const Run* run = runs; run < runs + number; n += run->count, run++)
            blend<COUNT, SPREAD, STEP>(scores + n, CAPACITY, run->value, run->value_step, run->value_channel, run->count,
                                       problem.value_dim, n ? nullptr : keep, sums + first * apart, apart);
    }

    // Scores become weights under the new maximum; returns what the sums so far are multiplied with.
    static Vector soften(Vector* s, int n, Vector& top, Vector& total) {
        Vector high = top;
        for (int j = 0; j < n; j++) high = larger(high, s[j]);
        Vector keep = exp2(top - high), sum = total * keep;
        for (int j = 0; j < n; j++) sum += s[j] = exp2(s[j] - high);
        top = high, total = sum;
        return keep;
    }

    template <bool SPREAD>
    static Vector term(const float* from, int64_t at) { return SPREAD ? all(from[at]) : load(from + at); }

    template <int MODE>
    static Vector ranked(Vector s, Vector t) { return MODE == ADD ? s + t : s * t; }

    // Raises the records of rows first..first+COUNT-1 by a run whose scores are `s`.
    template <int COUNT, bool SPREAD, int MODE>
    void rank(int first, const Run& run, const Vector* s, const Terms& terms) {
        if (MODE == SIGMOID) {
            for (int r = 0; r < COUNT; r++)
                for (int j = 0; j < run.count; j++) {
                    Vector near = s[r * CAPACITY + j] + term<SPREAD>(terms.key + run.cell, j * terms.step);
                    Vector squared = query_term[first + r] - near * (2 / problem.scale);
                    other[r * CAPACITY + j] = 2.f / (1.f + exp2_any(squared < 126.f ? squared : all(126.f)));
                }
            s = other;
        }
        for (int o = 0; o < problem.objects; o++) {
            const float* at = terms.object[o] + run.cell;
            Vector* record = &best[o * TALL + first];
            Vector high[COUNT];
            for (int r = 0; r < COUNT; r++) high[r] = record[r];
            for (int j = 0; j < run.count; j++) {
                Vector t = term<SPREAD>(at, j * terms.step);
                if (COUNT > 1) HOLD(t);
                for (int r = 0; r < COUNT; r++) high[r] = larger(ranked<MODE>(s[r * CAPACITY + j], t), high[r]);
            }
            for (int r = 0; r < COUNT; r++) {
                if (problem.argmax) note<SPREAD, MODE>(argmax[o * TALL + first + r], record[r], high[r], s + r * CAPACITY, at, terms.step, run);
                record[r] = high[r];
            }
        }
    }

    static Vector exp2_any(Vector x) {  // 2^x for x of both signs: the upper half by division
        Vector small = exp2(x > 0.f ? -x : x);
        return x > 0.f ? 1.f / small : small;
    }

    // Remembers which key set a record, in the lanes that have a new one (few, after the first runs).
    template <bool SPREAD, int MODE>
    static void note(Whole& argmax, Vector before, Vector after, const Vector* s, const float* at, int64_t step, const Run& run) {
        Whole news = after > before;
        int any = 0;
        for (int i = 0; i < LANES; i++) any |= news[i];
        if (!any) return;
        Whole lane{};
        for (int i = 0; i < LANES && !SPREAD; i++) lane[i] = i;
        for (int j = run.count - 1; j >= 0; j--) {
            Whole here = (ranked<MODE>(s[j], term<SPREAD>(at, j * step)) == after) & news;
            Whole cell = lane + (int32_t)(run.index + j * run.index_step);
            argmax = (here & cell) | (~here & argmax);
        }
    }

    // Scores and the products of gradients and values, for both halves of backward.
    template <int COUNT, bool SPREAD, int STEP>
    void both(int first, const Run& run, int masked) {
        score<COUNT, SPREAD, STEP>(first, run, scores);
        correlate<COUNT, SPREAD, STEP>(query + first * apart + problem.dim, apart, run.value, run.value_step, run.value_channel,
                                       problem.value_dim, run.count, other, CAPACITY);
        for (int r = 0; r < COUNT; r++)
            if (masked + r >= 0 && masked + r < run.count) scores[r * CAPACITY + masked + r] = all(NEVER);
    }

    // Adds ds key to the sums: the queries' half of backward.
    template <int COUNT, bool SPREAD, int STEP>
    void pull(int first, const Run& run, int masked = UNMASKED) {
        both<COUNT, SPREAD, STEP>(first, run, masked);
        for (int r = 0; r < COUNT; r++) {
            Vector *s = scores + r * CAPACITY, *d = other + r * CAPACITY;
            for (int j = 0; j < run.count; j++) s[j] = exp2(s[j] - top[first + r]) * (d[j] - total[first + r]);
        }
        blend<COUNT, SPREAD, STEP>(scores, CAPACITY, run.key, run.key_step, run.key_channel, run.count, problem.dim, nullptr,
                                   sums + first * apart, apart);
    }

    // Adds ds query and p gradient to the sums of a tile of keys: the keys' half. The run lists queries, with gradients as
    // its values; `lse` (negated) and `delta` are theirs, `step` apart.
    template <int COUNT, bool SPREAD, int STEP>
    void push(int first, const Run& run, const float* lse, const float* delta, int64_t step, int masked = UNMASKED) {
        both<COUNT, SPREAD, STEP>(first, run, masked);
        for (int r = 0; r < COUNT; r++) {
            Vector *s = scores + r * CAPACITY, *d = other + r * CAPACITY;
            for (int j = 0; j < run.count; j++) {
                s[j] = exp2(s[j] + term<SPREAD>(lse, j * step));
                d[j] = s[j] * (d[j] - term<SPREAD>(delta, j * step));
            }
        }
        Vector* into = sums + first * apart;
        blend<COUNT, SPREAD, STEP>(other, CAPACITY, run.key, run.key_step, run.key_channel, run.count, problem.dim, nullptr, into, apart);
        blend<COUNT, SPREAD, STEP>(scores, CAPACITY, run.value, run.value_step, run.value_channel, run.count, problem.value_dim, nullptr,
                                   into + problem.dim, apart);
    }
};

template <int N>
struct Number { static constexpr int value = N; };

// Visits rows first..first+count-1 of a tile in pairs while there are two, the last one alone.
template <class Two, class One>
static void paired(int first, int count, Two two, One one) {
    int row = first;
    for (; row + PAIR <= first + count; row += PAIR) two(row);
    for (; row < first + count; row++) one(row);
}
