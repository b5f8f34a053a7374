// The products under every pattern: one vector of LANES queries against runs of keys, forward and backward.
//
// Queries of a tile lie across the lanes of a vector, channel by channel. A run is a list of keys at a constant step, of three kinds.
// `correlate` makes scores from channels, `blend` channels from weights, and `scatter` turns blend round: from queries to keys. Scores
// are in units of log 2, so that exp2 is the softmax's.
#pragma once
#include "engine.h"

// How a run's keys lie: as shifted lanes of a row (key j of lane i at j + i, channels a row apart: windows), as stacked
// vectors (channels LANES apart, keys a step: columns and time lines), or spread over all lanes (channels side by side).
struct Shifted { static constexpr bool spread = false; static constexpr int step = 1, channel = 0; };
struct Stacked { static constexpr bool spread = false; static constexpr int step = 0, channel = LANES; };
struct Spread { static constexpr bool spread = true; static constexpr int step = 0, channel = 1; };

struct Run {
    const float *key, *value;  // of the run's first key (and of lane 0)
    int64_t key_step, value_step, key_channel, value_channel;
    int count;
    const float* bias = nullptr;  // the scores start from it, shifted like the keys: masks what lies outside the frame
    int only = -1;         // the object that all keys are of, where the greatest score is its best
    int earlier = 0;       // so many of the keys, the first ones, lie in frames before the queries' and count for affinity
    int64_t cell = 0;      // of the first key: where its affinity terms lie, and its raster index
    int64_t index = 0, index_step = 0;
};

// Eight equally spaced places in three registers and the step (0: given at run time): left alone, GCC spills eight.
template <int STEP>
struct Places {
    const float *first, *third, *fifth;
    int64_t step;
    INLINE Places of(const float* base, int64_t step) { return {base, base + 3 * step, base + 5 * step, step}; }
    __attribute__((always_inline)) const float* operator[](int j) const {
        if (STEP) return first + j * STEP;
        return j == 3 ? third : j < 5 ? first + j * step : fifth + (j - 5) * step;
    }
    __attribute__((always_inline)) void advance(int64_t by) {
        first += by, third += by, fifth += by;
        if (!STEP) { PIN(first); PIN(third); PIN(fifth); }
    }
};

template <class Kind>
INLINE Vector take(const float* from) { return Kind::spread ? all(*from) : load(from); }

// scores[row][j] = bias[j] + sum over channels of query[row] key[j]; rows share the loads of the keys.
template <class Kind, int ROWS, int COUNT, bool BIASED>
static inline void correlate_block(const Vector* query, int64_t rows_apart, const float* base, int64_t step, int64_t channel,
                                   int dim, const float* bias, Vector* scores, int64_t scores_apart) {
    Vector sum[ROWS][COUNT];
    EACH(j, COUNT) EACH(r, ROWS) sum[r][j] = BIASED ? take<Kind>(bias + j) : Vector{}; }); });
    auto key = Places<Kind::step>::of(base, step);
    for (int c = 0; c < dim; c++, key.advance(Kind::channel ? Kind::channel : channel)) {
        Vector q[ROWS];
        EACH(r, ROWS) q[r] = query[r * rows_apart + c]; });
        EACH(j, COUNT)
            Vector k = take<Kind>(key[j]);
            if (ROWS > 1) HOLD(k);
            EACH(r, ROWS) sum[r][j] += q[r] * k; });
        });
    }
    EACH(r, ROWS) EACH(j, COUNT) scores[r * scores_apart + j] = sum[r][j]; }); });
}

// sums[row][c] += sum over j of weights[row][j] value[j][c].
template <class Kind, int ROWS, int COUNT>
static inline void blend_block(const Vector* weights, int64_t weights_apart, const float* base, int64_t step, int64_t channel,
                               int count, Vector* sums, int64_t rows_apart) {
    Vector sum[ROWS][COUNT];
    EACH(r, ROWS) EACH(c, COUNT) sum[r][c] = sums[r * rows_apart + c]; }); });
    auto value = Places<Kind::channel>::of(base, channel);
    for (int j = 0; j < count; j++, value.advance(Kind::step ? Kind::step : step)) {
        Vector w[ROWS];
        EACH(r, ROWS) w[r] = weights[r * weights_apart + j]; });
        EACH(c, COUNT)
            Vector v = take<Kind>(value[c]);
            if (ROWS > 1) HOLD(v);
            EACH(r, ROWS) sum[r][c] += w[r] * v; });
        });
    }
    EACH(r, ROWS) EACH(c, COUNT) sums[r * rows_apart + c] = sum[r][c]; }); });
}

// Cuts `count` into equal blocks of LIMIT or 8 at most and calls each(block's size as a type, where it begins).
template <int LIMIT, class Each>
INLINE void blocks(int count, Each each) {
    constexpr int BLOCK = LIMIT < 8 ? LIMIT : 8;
    for (int done = 0, pieces = (count + BLOCK - 1) / BLOCK; pieces; pieces--) {
        int size = (count - done + pieces - 1) / pieces;
#define CASE(N) \
    case N: \
        if constexpr (N <= BLOCK) each(Number<N>{}, done); \
        break;
        switch (size) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) }
#undef CASE
        done += size;
    }
}

template <class Kind, int ROWS>
static inline void correlate(const Vector* query, int64_t rows_apart, const float* base, int64_t step, int64_t channel, int dim,
                             int count, const float* bias, Vector* scores, int64_t scores_apart) {
    blocks<SUMS / ROWS>(count, [&](auto size, int done) __attribute__((always_inline)) {
        const float* from = base + done * (Kind::step ? Kind::step : step);
        if (std::is_same<Kind, Shifted>::value && bias)  // the only kind that has one
            correlate_block<Kind, ROWS, decltype(size)::value, std::is_same<Kind, Shifted>::value>(
                query, rows_apart, from, step, channel, dim, bias + done, scores + done, scores_apart);
        else
            correlate_block<Kind, ROWS, decltype(size)::value, false>(query, rows_apart, from, step, channel, dim, bias, scores + done,
                                                                      scores_apart);
    });
}

template <class Kind, int ROWS>
static inline void blend(const Vector* weights, int64_t weights_apart, const float* base, int64_t step, int64_t channel, int count,
                         int dim, Vector* sums, int64_t rows_apart) {
    blocks<SUMS / ROWS>(dim, [&](auto size, int done) __attribute__((always_inline)) {
        blend_block<Kind, ROWS, decltype(size)::value>(weights, weights_apart, base + done * (Kind::channel ? Kind::channel : channel), step,
                                                       channel, count, sums + done, rows_apart);
    });
}

// The lanes of a and b as one row, from `a`'s last on: b moves up by one lane.
template <int... I>
INLINE Vector moved_up(Vector a, Vector b, std::integer_sequence<int, I...>) { return __builtin_shufflevector(a, b, (LANES - 1 + I)...); }
INLINE Vector moved_up(Vector a, Vector b) {
#if defined(__AVX512F__)
    return (Vector)_mm512_alignr_epi32((__m512i)b, (__m512i)a, LANES - 1);  // GCC takes a slower permutation
#else
    return moved_up(a, b, std::make_integer_sequence<int, LANES>{});
#endif
}

// channel[c] of shifted keys += sum over rows and j of weights[row][j] query[row][c]: blend, turned round. Key j of lane i lies
// at j + i, so that a sum of two vectors moves up by a lane from one j to the next and memory is touched once. LANES + 1 keys at most.
template <int ROWS, int COUNT>
static inline void scatter_block(const Vector* weights, int64_t weights_apart, const Vector* query, int64_t rows_apart, int count, float* to,
                                 int64_t channel) {
    Vector q[ROWS][COUNT], low[COUNT], high[COUNT];
    EACH(c, COUNT) low[c] = high[c] = Vector{}; });
    EACH(r, ROWS) EACH(c, COUNT) q[r][c] = query[r * rows_apart + c]; }); });
    for (int j = count - 1; j >= 0; j--) {
        Vector w[ROWS];
        EACH(r, ROWS) w[r] = weights[r * weights_apart + j]; });
        EACH(c, COUNT)
            Vector sum = w[0] * q[0][c];
            EACH(r, ROWS - 1) sum += w[r + 1] * q[r + 1][c]; });
            high[c] = moved_up(low[c], high[c]);
            low[c] = moved_up(Vector{}, low[c]) + sum;
        });
    }
    EACH(c, COUNT) store(to + c * channel, load(to + c * channel) + low[c]); });
    if (count == 1) return;
    EACH(c, COUNT) store(to + c * channel + LANES, load(to + c * channel + LANES) + high[c]); });
}

template <int ROWS>
static inline void scatter(const Vector* weights, int64_t weights_apart, const Vector* query, int64_t rows_apart, int count, int dim, float* to,
                           int64_t channel) {
    blocks<(REGISTERS - ROWS - 2) / (ROWS + 2)>(dim, [&](auto size, int done) __attribute__((always_inline)) {
        scatter_block<ROWS, decltype(size)::value>(weights, weights_apart, query + done, rows_apart, count, to + done * channel, channel);
    });
}

// The same for stacked keys, whose lanes are those of their queries: key j's channels lie `step` vectors after those of key j - 1.
template <int ROWS, int COUNT>
static inline void scatter_stacked_block(const Vector* weights, int64_t weights_apart, const Vector* query, int64_t rows_apart, int count, Vector* to,
                                         int64_t step) {
    Vector q[ROWS][COUNT];
    EACH(r, ROWS) EACH(c, COUNT) q[r][c] = query[r * rows_apart + c]; }); });
    for (int j = 0; j < count; j++, to += step) {
        Vector w[ROWS];
        EACH(r, ROWS) w[r] = weights[r * weights_apart + j]; });
        EACH(c, COUNT)
            Vector sum = to[c];
            EACH(r, ROWS) sum += w[r] * q[r][c]; });
            to[c] = sum;
        });
    }
}

template <int ROWS>
static inline void scatter_stacked(const Vector* weights, int64_t weights_apart, const Vector* query, int64_t rows_apart, int count, int dim,
                                   Vector* to, int64_t step) {
    blocks<(REGISTERS - ROWS - 2) / (ROWS + 1)>(dim, [&](auto size, int done) __attribute__((always_inline)) {
        scatter_stacked_block<ROWS, decltype(size)::value>(weights, weights_apart, query + done, rows_apart, count, to + done, step);
    });
}

// Vectors a and b, whose lanes are sums of N alike, to one whose lanes take turns: N sums of pairs of a, N of b, N of a, ...
template <int N, int... I>
INLINE Vector folded(Vector a, Vector b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (I / N % 2 ? I + LANES : I)...) + __builtin_shufflevector(a, b, (I / N % 2 ? I - N + LANES : I + N)...);
}

// The sum over lanes of each of N vectors, the first + n-th given by each(first + n): lane n of every N.
template <int N, class Each>
INLINE Vector folds(Each each, int first = 0) {
    if constexpr (N == 1) return each(first);
    else {
        Vector a = folds<N / 2>(each, first), b = folds<N / 2>(each, first + N / 2);
        return folded<N / 2>(a, b, std::make_integer_sequence<int, LANES>{});
    }
}

// The products of `count` queries with a key each, cells with their channels side by side: of keys that are read once, since to turn them
// into lanes costs more than the products.
static inline Vector correlate_cells(const float* query, int64_t query_apart, const float* key, int64_t key_apart, int count, int dim) {
    return folds<LANES>([&](int i) __attribute__((always_inline)) {
        Vector sum{};
        const float *q = query + i * query_apart, *k = key + i * key_apart;
        if (i >= count) return sum;
        int c = 0;
        for (; c + LANES <= dim; c += LANES) sum += load(q + c) * load(k + c);
        if (c < dim) sum += load(q + c, dim - c) * load(k + c, dim - c);
        return sum;
    });
}

// Adds the values of `count` cells, times a weight each, to their sums, `dim` floats side by side.
static inline void blend_cells(Vector weights, const float* value, int64_t value_apart, int count, int dim, float* sums) {
    float weight[LANES];
    store(weight, weights);
    for (int i = 0; i < count; i++, value += value_apart, sums += dim) {
        int c = 0;
        for (; c + LANES <= dim; c += LANES) store(sums + c, load(sums + c) + weight[i] * load(value + c));
        if (c < dim) store(sums + c, load(sums + c, dim - c) + weight[i] * load(value + c, dim - c), dim - c);
    }
}
