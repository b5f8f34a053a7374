// What every kernel is made of: vectors of LANES floats, their exponential, memory that stays, and cells turned into channels and back.
//
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
INLINE Vector load(const float* from, int count) {  // fewer than LANES floats, then 0
#if defined(__AVX512F__)
    return (Vector)_mm512_maskz_loadu_ps((__mmask16)((1 << count) - 1), from);
#else
    Vector found{};
    for (int i = 0; i < count; i++) found[i] = from[i];
    return found;
#endif
}
INLINE void store(float* to, Vector value) { *reinterpret_cast<Loose*>(to) = value; }
INLINE void store(float* to, Vector value, int count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, (__mmask16)((1 << count) - 1), (__m512)value);
#else
    for (int i = 0; i < count; i++) to[i] = value[i];
#endif
}
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
#if defined(__SANITIZE_ADDRESS__)
    static constexpr size_t MOST_KEPT = 0;  // what is written past a buffer could lie in a longer one that was kept
#else
    static constexpr size_t MOST_KEPT = (64 << 20) / sizeof(Vector);
#endif
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
    x = larger(all(-126.f), x);  // in this order, since the second is taken where one is no number
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

template <int N>
struct Number { static constexpr int value = N; };
template <int... I, class Call>
INLINE void every(std::integer_sequence<int, I...>, Call call) { (call(Number<I>{}), ...); }

// call(0) ... call(N - 1), without a loop: GCC keeps an array in registers only where its indices are constants from the start.
template <int N, class Call>
INLINE void every(Call call) { every(std::make_integer_sequence<int, N>{}, call); }
#define EACH(i, N) every<N>([&](auto i##_) __attribute__((always_inline)) { constexpr int i = decltype(i##_)::value;

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

// Asks for cells ahead of their use, where rows are pages apart and so not foreseen by the processor.
static inline void ask(const float* cells, int64_t apart, int64_t count, int64_t dim) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < dim; c += 16) __builtin_prefetch(cells + i * apart + c, 0, 2);
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
