// The engine under every pattern: one vector of LANES queries against runs of keys, forward and backward.
//
// Queries of a tile lie across the lanes of a vector, channel by channel. A run is a list of keys at a constant step, of one
// of three kinds (below). Two products do all the work: `correlate` (scores from channels) and `blend` (channels from
// weights). Scores are in units of log 2, so that exp2 is the softmax's.
// GNU vector extensions do it all but for what GCC compiles badly: AVX-512, AVX2, SSE and NEON builds differ in LANES, SUMS and MOST alone.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// SUMS vectors accumulate at a time, of MOST rows at most: what the REGISTERS hold beside operands.
// HOLD keeps a loaded vector in a register: left alone, GCC loads it again for each row that uses it.
#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32, SUMS = 24, MOST = 4;
#define HOLD(vector) asm("" : "+v"(vector))
#elif defined(__AVX__)
constexpr int LANES = 8, REGISTERS = 16, SUMS = 10, MOST = 2;
#define HOLD(vector) asm("" : "+x"(vector))
#elif defined(__aarch64__)
constexpr int LANES = 4, REGISTERS = 32, SUMS = 24, MOST = 4;
#define HOLD(vector) asm("" : "+w"(vector))
#else
constexpr int LANES = 4, REGISTERS = 16, SUMS = 8, MOST = 2;
#define HOLD(vector) (void)0
#endif
#define PIN(pointer) asm("" : "+r"(pointer))

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float Loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Whole __attribute__((vector_size(LANES * 4)));
typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;
constexpr float NEVER = -1e30f, START = -1e20f;  // a masked score; a reference of scores that has seen none

#define INLINE static inline __attribute__((always_inline))

INLINE Vector all(float value) { return value - Vector{}; }
INLINE Vector load(const float* from) { return *reinterpret_cast<const Loose*>(from); }
INLINE void store(float* to, Vector value) { *reinterpret_cast<Loose*>(to) = value; }
INLINE Vector larger(Vector a, Vector b) {  // one instruction, where GCC makes two of a > b ? a : b
#if defined(__AVX512F__)
    return (Vector)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
    return (Vector)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE__)
    return (Vector)_mm_max_ps((__m128)a, (__m128)b);
#else
    return a > b ? a : b;
#endif
}

INLINE bool any(Whole lanes) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)lanes, (__m512i)lanes);
#elif defined(__AVX__)
    return _mm256_movemask_ps((__m256)lanes);
#else
    typedef int64_t Long __attribute__((vector_size(16)));
    return ((Long)lanes)[0] | ((Long)lanes)[1];
#endif
}

// Memory of a call that its thread keeps for the next one: fresh pages cost more than what is computed in them. Not cleared.
class Reserve {
    static constexpr size_t MOST_KEPT = (64 << 20) / sizeof(Vector);
    static std::vector<std::vector<Vector>>& spare() {
        static thread_local std::vector<std::vector<Vector>> kept;
        return kept;
    }
    std::vector<Vector> memory;

public:
    explicit Reserve(int64_t floats) {
        if (!spare().empty()) memory = std::move(spare().back()), spare().pop_back();
        size_t vectors = (floats + LANES - 1) / LANES;
        if (memory.size() < vectors) memory = std::vector<Vector>(vectors);
    }
    Reserve(Reserve&&) = default;
    ~Reserve() {
        if (!memory.empty() && memory.size() <= MOST_KEPT) spare().push_back(std::move(memory));
    }
    float* data() { return (float*)memory.data(); }
};

// 2^x to 2e-7 relative, at most 1e-38 from -126 down; x < 127. The polynomials are minimax on an interval of length 1.
INLINE Vector exp2(Vector x) {
#if defined(__AVX512DQ__)
    Vector f = (Vector)_mm512_reduce_ps((__m512)x, 1);  // x - floor(x); scaling by 2^x takes the floor of x, too
    Vector p = 1.8775767e-3f * f + 8.9893397e-3f;
    p = (((p * f + 5.5826318e-2f) * f + 2.4015361e-1f) * f + 6.9315308e-1f) * f + 9.9999994e-1f;
    return (Vector)_mm512_scalef_ps((__m512)p, (__m512)x);
#else
    x = larger(x, all(-126.f));
    Vector shifted = x + 12582912.f;  // rounds to the nearest whole number in the low bits
    Vector f = x - (shifted - 12582912.f);
    Vector p = 1.3276472e-3f * f + 9.6755410e-3f;
    p = (((p * f + 5.5507131e-2f) * f + 2.4022120e-1f) * f + 6.9314694e-1f) * f + 1.0000001f;
    return (Vector)((Whole)p + ((Whole)shifted << 23));
#endif
}

// Natural logarithm of a normal number to 1e-7 relative (or absolute, near 1).
INLINE Vector log(Vector x) {
    Whole exponent = ((Whole)x - 0x3f3504f3) >> 23;  // so that the rest lies between sqrt(1/2) and sqrt(2)
    Vector f = (Vector)((Whole)x - (exponent << 23)) - 1.f, p = all(7.0376836e-2f);
    for (float c : {-1.1514610e-1f, 1.1676999e-1f, -1.2420141e-1f, 1.4249323e-1f, -1.6668058e-1f, 2.0000715e-1f, -2.4999994e-1f,
                    3.3333331e-1f})
        p = p * f + c;
    return __builtin_convertvector(exponent, Vector) * LN2 + (f + f * f * (p * f - 0.5f));
}

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

template <int N>
struct Number { static constexpr int value = N; };
template <int... I, class Call>
INLINE void every(std::integer_sequence<int, I...>, Call call) { (call(Number<I>{}), ...); }

// call(0) ... call(N - 1), without a loop: GCC keeps an array in registers only where its indices are constants from the start.
template <int N, class Call>
INLINE void every(Call call) { every(std::make_integer_sequence<int, N>{}, call); }
#define EACH(i, N) every<N>([&](auto i##_) __attribute__((always_inline)) { constexpr int i = decltype(i##_)::value;

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

template <int... I>
INLINE void transpose(Vector (&v)[4], std::integer_sequence<int, I...>) {
    Vector ab = __builtin_shufflevector(v[0], v[1], (I / 4 * 4 + I % 4 / 2 + I % 2 * LANES)...);
    Vector AB = __builtin_shufflevector(v[0], v[1], (I / 4 * 4 + I % 4 / 2 + I % 2 * LANES + 2)...);
    Vector cd = __builtin_shufflevector(v[2], v[3], (I / 4 * 4 + I % 4 / 2 + I % 2 * LANES)...);
    Vector CD = __builtin_shufflevector(v[2], v[3], (I / 4 * 4 + I % 4 / 2 + I % 2 * LANES + 2)...);
    v[0] = __builtin_shufflevector(ab, cd, (I / 4 * 4 + I % 2 + I % 4 / 2 * LANES)...);
    v[1] = __builtin_shufflevector(ab, cd, (I / 4 * 4 + I % 2 + I % 4 / 2 * LANES + 2)...);
    v[2] = __builtin_shufflevector(AB, CD, (I / 4 * 4 + I % 2 + I % 4 / 2 * LANES)...);
    v[3] = __builtin_shufflevector(AB, CD, (I / 4 * 4 + I % 2 + I % 4 / 2 * LANES + 2)...);
}

// Transposes the 4 x 4 blocks that four vectors consist of: four channels of LANES cells from quads of cells, or back.
INLINE void transpose(Vector (&v)[4]) { transpose(v, std::make_integer_sequence<int, LANES>{}); }

template <class Half, int... I>
INLINE auto joined(Half a, Half b, std::integer_sequence<int, I...>) { return __builtin_shufflevector(a, b, I...); }

// N floats: the quads at from[0], from[4 step], ...
template <int N>
INLINE auto quads(const float* from, int64_t step) {
    if constexpr (N == 4) {
        typedef float Quad __attribute__((vector_size(16)));
        return (Quad) * (const Four*)from;
    } else {
        return joined(quads<N / 2>(from, step), quads<N / 2>(from + N / 2 * step, step), std::make_integer_sequence<int, N>{});
    }
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

// The same where only `left` > 0 cells are there; 0 for the others.
template <int N>
INLINE auto quads(const float* from, int64_t step, int64_t left) {
    if constexpr (N == 4) {
        typedef float Quad __attribute__((vector_size(16)));
        return left > 0 ? (Quad) * (const Four*)from : Quad{};
    } else {
        return joined(quads<N / 2>(from, step, left), quads<N / 2>(from + N / 2 * step, step, left - N / 2), std::make_integer_sequence<int, N>{});
    }
}

// Cells (`dim` floats side by side, `apart` floats from one to the next), LANES at most, to vectors of channels that are `channel`
// floats apart; the lanes beyond the cells are 0.
static inline void to_vectors(const float* cells, int64_t apart, int count, int dim, float factor, float* channels, int64_t channel) {
    int c = 0;
    for (; c + 4 <= dim; c += 4) {
        Vector v[4];
        if (count == LANES) EACH(n, 4) v[n] = quads<LANES>(cells + c + n * apart, apart); });
        else EACH(n, 4) v[n] = quads<LANES>(cells + c + n * apart, apart, count - n); });
        transpose(v);
        EACH(n, 4) store(channels + (c + n) * channel, v[n] * factor); });
    }
    for (; c < dim; c++) {
        Vector v{};
        for (int i = 0; i < count; i++) v[i] = cells[i * apart + c];
        store(channels + c * channel, v * factor);
    }
}

// A tile's queries (or keys).
static inline void to_tile(const float* cells, int64_t apart, int count, int dim, float factor, Vector* tile) {
    to_vectors(cells, apart, count, dim, factor, (float*)tile, LANES);
}

// Back to cells from vectors of channels that are `channel` floats apart.
static inline void from_channels(const float* channels, int64_t channel, int dim, Vector factor, int count, float* cells, int64_t apart) {
    int c = 0;
    for (; c + 4 <= dim; c += 4) {
        Vector v[4];
        EACH(n, 4) v[n] = load(channels + (c + n) * channel) * factor; });
        transpose(v);
        for (int n = 0; n < 4; n++)
            for (int i = 0; i < LANES && i + n < count; i += 4)
                *(Four*)(cells + (i + n) * apart + c) = Four{v[n][i], v[n][i + 1], v[n][i + 2], v[n][i + 3]};
    }
    for (; c < dim; c++)
        for (int i = 0; i < count; i++) cells[i * apart + c] = channels[c * channel + i] * factor[i];
}

static inline void from_tile(const Vector* tile, int dim, Vector factor, int count, float* cells, int64_t apart) {
    from_channels((const float*)tile, LANES, dim, factor, count, cells, apart);
}
