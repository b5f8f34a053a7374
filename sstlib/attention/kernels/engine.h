// The engine under every pattern: one vector of LANES queries against runs of keys, forward and backward.
//
// Queries of a tile lie across the lanes of a vector, channel by channel. A run is a list of keys at a constant step,
// read either as shifted lanes (key j of lane i lies at base + j * step + i: windows, columns, the time line) or as
// broadcasts (key j is the same for all lanes: residue classes, rows). Two products do all the work: `correlate`
// (scores from channels) and `blend` (channels from weights). Scores are in units of log 2, so that exp2 is the softmax's.
// Nothing but GNU vector extensions is used: AVX-512, AVX2 and NEON builds differ in LANES and BLOCK alone.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

// HOLD keeps a loaded vector in a register: left alone, GCC loads it again for each row that uses it.
#if defined(__AVX512F__)
constexpr int LANES = 16, BLOCK = 8;
#define HOLD(vector) asm("" : "+v"(vector))
#elif defined(__AVX__)
constexpr int LANES = 8, BLOCK = 4;
#define HOLD(vector) asm("" : "+x"(vector))
#else
constexpr int LANES = 4, BLOCK = 8;
#define HOLD(vector) (void)0
#endif

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float Loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Whole __attribute__((vector_size(LANES * 4)));
typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;
constexpr float NEVER = -1e30f, START = -1e20f;  // a masked score; a running maximum that has seen nothing

static inline Vector all(float value) { return value - Vector{}; }
static inline Vector load(const float* from) { return *reinterpret_cast<const Loose*>(from); }
static inline void store(float* to, Vector value) { *reinterpret_cast<Loose*>(to) = value; }
static inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// 2^x to 1e-7 relative, 0 (about 1e-38) from -126 down; x <= 0 wherever it is used for weights.
static inline Vector exp2(Vector x) {
    x = larger(x, all(-126.f));
    Vector shifted = x + 12582912.f;  // rounds to the nearest whole number in the low bits
    Vector f = x - (shifted - 12582912.f);
    Vector p = all(1.5353362e-4f);
    p = p * f + 1.3398874e-3f;
    p = p * f + 9.6184373e-3f;
    p = p * f + 5.5503324e-2f;
    p = p * f + 2.4022648e-1f;
    p = p * f + 6.9314720e-1f;
    p = p * f + 1.f;
    return (Vector)((Whole)p + ((Whole)shifted << 23));
}

struct Run {
    const float *key, *value;  // of the run's first key (and of lane 0)
    int64_t key_step, value_step, key_channel, value_channel;
    int count;
    const float* bias = nullptr;  // added to the scores, shifted like the keys: masks what lies outside the frame
    bool earlier = false;  // the keys' frame comes before the queries', so that they count for affinity
    int64_t cell = 0;      // of the first key: where its affinity terms lie, and its raster index
    int64_t index = 0, index_step = 0;
};

// scores[row][j] = sum over channels of query[row] key[j]; rows share the loads of the keys.
template <int ROWS, int COUNT, bool SPREAD, int STEP>
static inline void correlate_block(const Vector* query, int64_t rows_apart, const float* base, int64_t step, int64_t channel,
                                   int dim, Vector* scores, int64_t scores_apart) {
    Vector sum[ROWS][COUNT] = {};
    if (STEP) step = STEP;
    for (int c = 0; c < dim; c++, base += channel) {
        Vector q[ROWS];
        for (int r = 0; r < ROWS; r++) q[r] = query[r * rows_apart + c];
        for (int j = 0; j < COUNT; j++) {
            Vector k = SPREAD ? all(base[j * step]) : load(base + j * step);
            if (ROWS > 1) HOLD(k);
            for (int r = 0; r < ROWS; r++) sum[r][j] += q[r] * k;
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < COUNT; j++) scores[r * scores_apart + j] = sum[r][j];
}

template <int ROWS, bool SPREAD, int STEP>
static inline void correlate(const Vector* query, int64_t rows_apart, const float* base, int64_t step, int64_t channel, int dim,
                             int count, Vector* scores, int64_t scores_apart) {
    int pieces = (count + BLOCK - 1) / BLOCK;
    for (int done = 0; pieces; pieces--) {
        int size = (count - done + pieces - 1) / pieces;
        const float* from = base + done * (STEP ? STEP : step);
#define CASE(N) \
    case N: \
        if constexpr (N <= BLOCK) \
            correlate_block<ROWS, N, SPREAD, STEP>(query, rows_apart, from, step, channel, dim, scores + done, scores_apart); \
        break;
        switch (size) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) }
#undef CASE
        done += size;
    }
}

// sums[row][c] = sums[row][c] * keep[row] + sum over j of weights[row][j] value[j][c].
template <int ROWS, int COUNT, bool SPREAD, int STEP>
static inline void blend_block(const Vector* weights, int64_t weights_apart, const float* base, int64_t step, int64_t channel,
                               int count, const Vector* keep, Vector* sums, int64_t rows_apart) {
    Vector sum[ROWS][COUNT];
    if (STEP) step = STEP;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COUNT; c++) sum[r][c] = keep ? sums[r * rows_apart + c] * keep[r] : sums[r * rows_apart + c];
    for (int j = 0; j < count; j++, base += step) {
        Vector w[ROWS];
        for (int r = 0; r < ROWS; r++) w[r] = weights[r * weights_apart + j];
        for (int c = 0; c < COUNT; c++) {
            Vector v = SPREAD ? all(base[c * channel]) : load(base + c * channel);
            if (ROWS > 1) HOLD(v);
            for (int r = 0; r < ROWS; r++) sum[r][c] += w[r] * v;
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COUNT; c++) sums[r * rows_apart + c] = sum[r][c];
}

template <int ROWS, bool SPREAD, int STEP>
static inline void blend(const Vector* weights, int64_t weights_apart, const float* base, int64_t step, int64_t channel, int count,
                         int dim, const Vector* keep, Vector* sums, int64_t rows_apart) {
    for (int c = 0; c < dim;) {
#define TAKE(N) \
    if constexpr (N <= BLOCK) \
        if (dim - c >= N) { \
            blend_block<ROWS, N, SPREAD, STEP>(weights, weights_apart, base + c * channel, step, channel, count, keep, sums + c, \
                                               rows_apart); \
            c += N; \
            continue; \
        }
        TAKE(8) TAKE(4) TAKE(2) TAKE(1)
#undef TAKE
    }
}

// Cells (each `dim` floats in a row, `apart` floats from one to the next) to channels (each a row of `count` floats), times `factor`.
static inline void to_channels(const float* cells, int64_t apart, int count, int dim, float factor, float* channels, int64_t width) {
    int i = 0;
    for (; i + 4 <= count; i += 4) {
        const float* row = cells + i * apart;
        int c = 0;
        for (; c + 4 <= dim; c += 4) {
            Four a = *(const Four*)(row + c), b = *(const Four*)(row + apart + c);
            Four d = *(const Four*)(row + 2 * apart + c), e = *(const Four*)(row + 3 * apart + c);
            Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
            Four AB = __builtin_shufflevector(a, b, 2, 6, 3, 7);
            Four de = __builtin_shufflevector(d, e, 0, 4, 1, 5);
            Four DE = __builtin_shufflevector(d, e, 2, 6, 3, 7);
            float* to = channels + c * width + i;
            *(Four*)to = __builtin_shufflevector(ab, de, 0, 1, 4, 5) * factor;
            *(Four*)(to + width) = __builtin_shufflevector(ab, de, 2, 3, 6, 7) * factor;
            *(Four*)(to + 2 * width) = __builtin_shufflevector(AB, DE, 0, 1, 4, 5) * factor;
            *(Four*)(to + 3 * width) = __builtin_shufflevector(AB, DE, 2, 3, 6, 7) * factor;
        }
        for (; c < dim; c++)
            for (int n = 0; n < 4; n++) channels[c * width + i + n] = row[n * apart + c] * factor;
    }
    for (; i < count; i++)
        for (int c = 0; c < dim; c++) channels[c * width + i] = cells[i * apart + c] * factor;
}

// A tile's queries (or keys): LANES cells at most, the lanes beyond them zero.
static inline void to_tile(const float* cells, int64_t apart, int count, int dim, float factor, Vector* tile) {
    if (count < LANES) memset(tile, 0, dim * sizeof(Vector));
    to_channels(cells, apart, count, dim, factor, (float*)tile, LANES);
}

static inline void from_tile(const Vector* tile, int dim, Vector factor, int count, float* cells, int64_t apart) {
    float scratch[4][LANES];
    for (int c = 0; c < dim; c += 4) {
        int some = dim - c < 4 ? dim - c : 4;
        for (int n = 0; n < some; n++) store(scratch[n], tile[c + n] * factor);
        int i = 0;
        for (; some == 4 && i + 4 <= count; i += 4) to_channels(scratch[0] + i, LANES, 4, 4, 1.f, cells + i * apart + c, apart);
        for (; i < count; i++)
            for (int n = 0; n < some; n++) cells[i * apart + c + n] = scratch[n][i];
    }
}
