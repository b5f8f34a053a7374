// Group normalization, forward and backward, of samples whose channels lie side by side (channels last), as convolutions like them;
// with the addition and the ReLU that follow it in a residual block, which would each read and write everything once more.
//
// A sample is read twice in a row, the second time from the cache. Cells are summed in blocks of a fixed size, and blocks and samples in
// their order, so that any number of threads gives the same bits.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

constexpr int64_t BLOCK = 512;  // cells summed in float before the sum is kept

constexpr int64_t STRIP = 8;     // cells converted to float together

typedef uint32_t __attribute__((may_alias)) Word;  // the bits of a float

struct Bfloat16 {
    uint16_t bits;
    operator float() const {
        float value;
        *(Word*)&value = (Word)bits << 16;
        return value;
    }
};

// The values as floats: where they are, or in the buffer.
static inline const float* floats(const float* from, float*, int64_t) { return from; }

static inline const float* floats(const Bfloat16* from, float* buffer, int64_t count) {
    for (int64_t i = 0; i < count; i++) ((Word*)buffer)[i] = (Word)from[i].bits << 16;
    return buffer;
}

// Where to compute floats that `store` takes to their place.
static inline float* room(float* to, float*) { return to; }
static inline float* room(Bfloat16*, float* buffer) { return buffer; }
static inline void store(const float*, float*, int64_t) {}

static inline void store(const float* from, Bfloat16* to, int64_t count) {  // to the nearest, ties to even
    for (int64_t i = 0; i < count; i++) {
        const Word wide = ((const Word*)from)[i];
        const bool number = (wide & 0x7fffffff) <= 0x7f800000;
        to[i].bits = (uint16_t)(number ? (wide + 0x7fff + ((wide >> 16) & 1)) >> 16 : 0x7fc0);
    }
}

struct Sizes {
    int64_t samples, cells, channels, groups, threads;
    int64_t blocks() const { return (cells + BLOCK - 1) / BLOCK; }
    int64_t length(int64_t block) const { return block + 1 < blocks() ? BLOCK : cells - block * BLOCK; }
};

// Runs work(sample, threads that it may take) for every sample, the samples side by side where there are enough of them.
template <class Work>
static void each_sample(const Sizes& sizes, Work work) {
    const int64_t outer = sizes.samples % sizes.threads == 0 || sizes.samples >= 4 * sizes.threads ? sizes.threads : 1;
#pragma omp parallel for schedule(static) num_threads(outer)
    for (int64_t n = 0; n < sizes.samples; n++) work(n, (int)(sizes.threads / outer));
}

template <class Work>
static void each_block(const Sizes& sizes, int threads, Work work) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t block = 0; block < sizes.blocks(); block++) work(block);
}

// Runs work(offset, cells) for the strips of a block; the offset counts values of the whole tensor.
template <class Work>
static void each_strip(const Sizes& sizes, int64_t n, int64_t block, Work work) {
    const int64_t start = n * sizes.cells + block * BLOCK;
    for (int64_t i = 0; i < sizes.length(block); i += STRIP) work((start + i) * sizes.channels, std::min(STRIP, sizes.length(block) - i));
}

// Adds up what the blocks of a sample found: two sums a channel.
static void total(const Sizes& sizes, const float* found, double* first, double* second) {
    for (int64_t block = 0; block < sizes.blocks(); block++, found += 2 * sizes.channels)
        for (int64_t c = 0; c < sizes.channels; c++) first[c] += found[c], second[c] += found[sizes.channels + c];
}

// Mean and inverse deviation of a sample's groups; what each channel is multiplied with (`scale`), and what is added to it (`shift`).
template <class T>
static void moments(const Sizes& sizes, int threads, const T* x, const float* weight, const float* bias, double eps, int64_t n, float* mean,
                    float* inverse, float* scale, float* shift) {
    const int64_t channels = sizes.channels, each = channels / sizes.groups;
    const T* pivot = x + n * sizes.cells * channels;  // the first cell: sums of differences keep their digits where the mean is large
    std::vector<float> found(sizes.blocks() * 2 * channels);
    each_block(sizes, threads, [&](int64_t block) {
        float *sum = found.data() + block * 2 * channels, *square = sum + channels;
        std::vector<float> from(channels), buffer(STRIP * channels);
        for (int64_t c = 0; c < channels; c++) from[c] = pivot[c];
        each_strip(sizes, n, block, [&](int64_t at, int64_t count) {
            const float* cell = floats(x + at, buffer.data(), count * channels);
            for (; count--; cell += channels)
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) {
                    const float off = cell[c] - from[c];
                    sum[c] += off, square[c] += off * off;
                }
        });
    });
    std::vector<double> sum(channels), square(channels);
    total(sizes, found.data(), sum.data(), square.data());
    for (int64_t g = 0; g < sizes.groups; g++) {
        double average = 0, spread = 0;
        for (int64_t c = g * each; c < (g + 1) * each; c++) {
            sum[c] = sum[c] / sizes.cells;  // from here on the channel's mean beside the pivot, and its variance
            square[c] = square[c] / sizes.cells - sum[c] * sum[c];
            average += ((float)pivot[c] + sum[c]) / each;
        }
        for (int64_t c = g * each; c < (g + 1) * each; c++) {
            double off = (float)pivot[c] + sum[c] - average;
            spread += (square[c] + off * off) / each;
        }
        const double factor = 1 / std::sqrt(spread + eps);
        mean[g] = average, inverse[g] = factor;
        for (int64_t c = g * each; c < (g + 1) * each; c++) scale[c] = factor * weight[c], shift[c] = bias[c] - average * factor * weight[c];
    }
}

template <class T>
static void forward(const Sizes& sizes, const T* x, const float* weight, const float* bias, double eps, const T* residual, bool rectify, T* y,
                    float* mean, float* inverse, float* affine) {
    const int64_t channels = sizes.channels;
    const float least = rectify ? 0.f : -INFINITY;
    each_sample(sizes, [&](int64_t n, int threads) {
        float *a = affine + n * 2 * channels, *b = a + channels;
        moments(sizes, threads, x, weight, bias, eps, n, mean + n * sizes.groups, inverse + n * sizes.groups, a, b);
        each_block(sizes, threads, [&](int64_t block) {
            std::vector<float> buffers(3 * STRIP * channels);
            each_strip(sizes, n, block, [&](int64_t at, int64_t count) {
                const float* from = floats(x + at, buffers.data(), count * channels);
                const float* added = residual ? floats(residual + at, buffers.data() + STRIP * channels, count * channels) : nullptr;
                float* to = room(y + at, buffers.data() + 2 * STRIP * channels);
                for (int64_t i = 0; i < count * channels; i += channels) {
#pragma omp simd
                    for (int64_t c = 0; c < channels; c++) to[i + c] = from[i + c] * a[c] + b[c];
                    if (added)
#pragma omp simd
                        for (int64_t c = 0; c < channels; c++) to[i + c] += added[i + c];
#pragma omp simd
                    for (int64_t c = 0; c < channels; c++) to[i + c] = to[i + c] < least ? least : to[i + c];
                }
                store(to, y + at, count * channels);
            });
        });
    });
}

// Where ReLU gave something above 0, as it is known in backward: by the results, or computed once more from x, the same bits.
template <class T>
struct Passage {
    const T* y;
    const float* affine;

    // The gradients of a strip that it lets through, as floats; `x` are the strip's.
    const float* through(const T* grad, const float* x, int64_t n, int64_t at, float* buffers, int64_t cells, int64_t channels) const {
        const int64_t count = cells * channels;
        const float* slope = floats(grad + at, buffers, count);
        float* to = buffers + 2 * count;
        if (y) {
            const float* result = floats(y + at, buffers + count, count);
#pragma omp simd
            for (int64_t i = 0; i < count; i++) to[i] = result[i] > 0 ? slope[i] : 0.f;
        } else if (affine) {
            const float *a = affine + n * 2 * channels, *b = a + channels;
            for (int64_t i = 0; i < count; i += channels)
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) to[i + c] = x[i + c] * a[c] + b[c] > 0 ? slope[i + c] : 0.f;
        } else {
            return slope;
        }
        return to;
    }
};

// grad_x = by_grad * gradient + by_x * x + rest, the latter two equal over a group; `to_weight` and `to_bias` are a sample's share.
struct Slopes {
    std::vector<float> by_grad, by_x, rest;
    explicit Slopes(int64_t channels) : by_grad(channels), by_x(channels), rest(channels) {}

    void take(const Sizes& sizes, const double* sum, const double* product, const float* weight, const float* mean, const float* inverse,
              double* to_weight, double* to_bias) {
        const int64_t each = sizes.channels / sizes.groups;
        for (int64_t g = 0; g < sizes.groups; g++) {
            const double factor = inverse[g], center = mean[g], count = (double)sizes.cells * each;
            double weighted_sum = 0, weighted_product = 0;
            for (int64_t c = g * each; c < (g + 1) * each; c++) {
                weighted_sum += weight[c] * sum[c], weighted_product += weight[c] * product[c];
                to_weight[c] = factor * product[c], to_bias[c] = sum[c];
            }
            const double slope = -factor * factor * factor * weighted_product / count;
            for (int64_t c = g * each; c < (g + 1) * each; c++)
                by_grad[c] = factor * weight[c], by_x[c] = slope, rest[c] = -factor * weighted_sum / count - slope * center;
        }
    }
};

template <class T>
static void backward(const Sizes& sizes, const T* grad, const T* x, const Passage<T>& relu, const float* weight, const float* mean, const float* inverse,
                     T* passed, T* grad_x, float* grad_weight, float* grad_bias) {
    const int64_t channels = sizes.channels, each = channels / sizes.groups;
    std::vector<double> shares(sizes.samples * 2 * channels);
    each_sample(sizes, [&](int64_t n, int threads) {
        std::vector<float> found(sizes.blocks() * 2 * channels);
        each_block(sizes, threads, [&](int64_t block) {
            float *sum = found.data() + block * 2 * channels, *product = sum + channels;
            std::vector<float> center(channels), buffers(4 * STRIP * channels);
            for (int64_t c = 0; c < channels; c++) center[c] = mean[n * sizes.groups + c / each];
            each_strip(sizes, n, block, [&](int64_t at, int64_t count) {
                const float* cell = floats(x + at, buffers.data() + 3 * STRIP * channels, count * channels);
                const float* slope = relu.through(grad, cell, n, at, buffers.data(), count, channels);
                for (; count--; slope += channels, cell += channels)
#pragma omp simd
                    for (int64_t c = 0; c < channels; c++) sum[c] += slope[c], product[c] += slope[c] * (cell[c] - center[c]);
            });
        });
        std::vector<double> sum(channels), product(channels);
        total(sizes, found.data(), sum.data(), product.data());
        Slopes slopes(channels);
        slopes.take(sizes, sum.data(), product.data(), weight, mean + n * sizes.groups, inverse + n * sizes.groups, &shares[n * 2 * channels],
                    &shares[(n * 2 + 1) * channels]);
        const float *p = slopes.by_grad.data(), *q = slopes.by_x.data(), *r = slopes.rest.data();
        each_block(sizes, threads, [&](int64_t block) {
            std::vector<float> buffers(5 * STRIP * channels);
            each_strip(sizes, n, block, [&](int64_t at, int64_t count) {
                const float* from = floats(x + at, buffers.data() + 3 * STRIP * channels, count * channels);
                const float* slope = relu.through(grad, from, n, at, buffers.data(), count, channels);
                float* to = room(grad_x + at, buffers.data() + 4 * STRIP * channels);
                for (int64_t i = 0; i < count * channels; i += channels)
#pragma omp simd
                    for (int64_t c = 0; c < channels; c++) to[i + c] = slope[i + c] * p[c] + (from[i + c] * q[c] + r[c]);
                store(to, grad_x + at, count * channels);
                if (!passed) return;
                if constexpr (std::is_same<T, float>::value) std::copy_n(slope, count * channels, passed + at);
                else store(slope, passed + at, count * channels);
            });
        });
    });
    for (int64_t c = 0; c < channels; c++) {
        double to_weight = 0, to_bias = 0;
        for (int64_t n = 0; n < sizes.samples; n++) to_weight += shares[n * 2 * channels + c], to_bias += shares[(n * 2 + 1) * channels + c];
        grad_weight[c] = to_weight, grad_bias[c] = to_bias;
    }
}

template <class T>
static void forward_of(const int64_t* n, double eps, void* const* t) {
    const Sizes sizes{n[0], n[1], n[2], n[3], n[4]};
    forward(sizes, (const T*)t[0], (const float*)t[1], (const float*)t[2], eps, (const T*)t[3], n[5], (T*)t[4], (float*)t[5], (float*)t[6],
            (float*)t[7]);
}

template <class T>
static void backward_of(const int64_t* n, void* const* t) {
    const Sizes sizes{n[0], n[1], n[2], n[3], n[4]};
    backward(sizes, (const T*)t[0], (const T*)t[1], Passage<T>{(const T*)t[2], (const float*)t[3]}, (const float*)t[4], (const float*)t[5],
             (const float*)t[6], (T*)t[7], (T*)t[8], (float*)t[9], (float*)t[10]);
}

// Numbers are samples, cells, channels, groups, threads, whether ReLU follows, and whether values are bfloat16. Tensors: x, weight, bias,
// residual or null, y, mean, inverse deviation, and scale and shift of each sample's channels; backward: gradient of y, x, y or null, scale
// and shift or null (either where ReLU followed), weight, mean, inverse deviation, the gradient that ReLU passes on or null, and the
// gradients of x, weight and bias.
extern "C" void group_norm(const int64_t* numbers, double eps, void* const* tensors) {
    numbers[6] ? forward_of<Bfloat16>(numbers, eps, tensors) : forward_of<float>(numbers, eps, tensors);
}

extern "C" void group_norm_backward(const int64_t* numbers, void* const* tensors) {
    numbers[6] ? backward_of<Bfloat16>(numbers, tensors) : backward_of<float>(numbers, tensors);
}
