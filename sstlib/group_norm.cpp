// Group normalization, forward and backward, of samples whose channels lie side by side (channels last), as convolutions like them;
// with the addition and the ReLU that follow it in a residual block, which would each read and write everything once more.
//
// Cells are summed in blocks of a fixed size, and the blocks in their order, so that any number of threads gives the same bits.
#include <algorithm>
#include <cmath>
#include <cstdint>
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

// Runs work(sample, block) for every block of every sample.
template <class Work>
static void each_block(const Sizes& sizes, Work work) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(sizes.threads)
    for (int64_t n = 0; n < sizes.samples; n++)
        for (int64_t block = 0; block < sizes.blocks(); block++) work(n, block);
}

// Runs work(offset, cells) for the strips of a block; the offset counts values of the whole tensor.
template <class Work>
static void each_strip(const Sizes& sizes, int64_t n, int64_t block, Work work) {
    const int64_t start = n * sizes.cells + block * BLOCK;
    for (int64_t i = 0; i < sizes.length(block); i += STRIP) work((start + i) * sizes.channels, std::min(STRIP, sizes.length(block) - i));
}

// Adds up what the blocks of a sample found: two sums a channel.
static void total(const Sizes& sizes, const float* found, int64_t n, double* first, double* second) {
    for (int64_t block = 0; block < sizes.blocks(); block++) {
        const float* sums = found + (n * sizes.blocks() + block) * 2 * sizes.channels;
        for (int64_t c = 0; c < sizes.channels; c++) first[c] += sums[c], second[c] += sums[sizes.channels + c];
    }
}

// What a channel is multiplied with and what is added to it.
struct Affine {
    std::vector<float> scale, shift;
};

template <class T>
static Affine moments(const Sizes& sizes, const T* x, const float* weight, const float* bias, double eps, float* mean, float* inverse) {
    const int64_t channels = sizes.channels, each = channels / sizes.groups;
    std::vector<float> found(sizes.samples * sizes.blocks() * 2 * channels);
    each_block(sizes, [&](int64_t n, int64_t block) {
        float* sum = found.data() + (n * sizes.blocks() + block) * 2 * channels;
        float* square = sum + channels;
        std::vector<float> pivot(channels), buffer(STRIP * channels);
        for (int64_t c = 0; c < channels; c++) pivot[c] = x[n * sizes.cells * channels + c];
        each_strip(sizes, n, block, [&](int64_t at, int64_t count) {
            const float* cell = floats(x + at, buffer.data(), count * channels);
            for (; count--; cell += channels)
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) {
                    const float off = cell[c] - pivot[c];
                    sum[c] += off, square[c] += off * off;
                }
        });
    });
    Affine affine{std::vector<float>(sizes.samples * channels), std::vector<float>(sizes.samples * channels)};
    for (int64_t n = 0; n < sizes.samples; n++) {
        std::vector<double> sum(channels), square(channels);
        total(sizes, found.data(), n, sum.data(), square.data());
        const T* pivot = x + n * sizes.cells * channels;  // the first cell: sums of differences keep their digits where the mean is large
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
            mean[n * sizes.groups + g] = average, inverse[n * sizes.groups + g] = factor;
            for (int64_t c = g * each; c < (g + 1) * each; c++) {
                affine.scale[n * channels + c] = factor * weight[c];
                affine.shift[n * channels + c] = bias[c] - average * factor * weight[c];
            }
        }
    }
    return affine;
}

template <class T>
static void forward(const Sizes& sizes, const T* x, const float* weight, const float* bias, double eps, const T* residual, bool rectify, T* y,
                    float* mean, float* inverse) {
    const int64_t channels = sizes.channels;
    const Affine affine = moments(sizes, x, weight, bias, eps, mean, inverse);
    const float least = rectify ? 0.f : -INFINITY;
    each_block(sizes, [&](int64_t n, int64_t block) {
        const float *a = affine.scale.data() + n * channels, *b = affine.shift.data() + n * channels;
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
}

template <class T>
static void backward(const Sizes& sizes, const T* grad, const T* x, const T* y, const float* weight, const float* mean, const float* inverse,
                     T* passed, T* grad_x, float* grad_weight, float* grad_bias) {
    const int64_t channels = sizes.channels, each = channels / sizes.groups;
    std::vector<float> found(sizes.samples * sizes.blocks() * 2 * channels);
    each_block(sizes, [&](int64_t n, int64_t block) {
        float* sum = found.data() + (n * sizes.blocks() + block) * 2 * channels;
        float* product = sum + channels;
        std::vector<float> center(channels), buffers(4 * STRIP * channels);
        for (int64_t c = 0; c < channels; c++) center[c] = mean[n * sizes.groups + c / each];
        each_strip(sizes, n, block, [&](int64_t at, int64_t count) {
            const float* slope = floats(grad + at, buffers.data(), count * channels);
            const float* cell = floats(x + at, buffers.data() + STRIP * channels, count * channels);
            if (y) {  // what ReLU lets through
                const float* result = floats(y + at, buffers.data() + 2 * STRIP * channels, count * channels);
                float* to = room(passed + at, buffers.data() + 3 * STRIP * channels);
#pragma omp simd
                for (int64_t i = 0; i < count * channels; i++) to[i] = result[i] > 0 ? slope[i] : 0.f;
                store(to, passed + at, count * channels);
                slope = to;
            }
            for (; count--; slope += channels, cell += channels)
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) sum[c] += slope[c], product[c] += slope[c] * (cell[c] - center[c]);
        });
    });
    // grad_x = by_grad * grad + by_x * x + rest, the latter two equal over a group
    std::vector<float> by_grad(sizes.samples * channels), by_x(sizes.samples * channels), rest(sizes.samples * channels);
    std::vector<double> to_weight(channels), to_bias(channels);
    for (int64_t n = 0; n < sizes.samples; n++) {
        std::vector<double> sum(channels), product(channels);
        total(sizes, found.data(), n, sum.data(), product.data());
        for (int64_t g = 0; g < sizes.groups; g++) {
            const double factor = inverse[n * sizes.groups + g], center = mean[n * sizes.groups + g], count = (double)sizes.cells * each;
            double weighted_sum = 0, weighted_product = 0;
            for (int64_t c = g * each; c < (g + 1) * each; c++) {
                weighted_sum += weight[c] * sum[c], weighted_product += weight[c] * product[c];
                to_weight[c] += factor * product[c], to_bias[c] += sum[c];
            }
            const double slope = -factor * factor * factor * weighted_product / count;
            for (int64_t c = g * each; c < (g + 1) * each; c++) {
                by_grad[n * channels + c] = factor * weight[c];
                by_x[n * channels + c] = slope;
                rest[n * channels + c] = -factor * weighted_sum / count - slope * center;
            }
        }
    }
    for (int64_t c = 0; c < channels; c++) grad_weight[c] = to_weight[c], grad_bias[c] = to_bias[c];
    each_block(sizes, [&](int64_t n, int64_t block) {
        const float *p = by_grad.data() + n * channels, *q = by_x.data() + n * channels, *r = rest.data() + n * channels;
        std::vector<float> buffers(3 * STRIP * channels);
        each_strip(sizes, n, block, [&](int64_t at, int64_t count) {
            const float* slope = floats((y ? passed : grad) + at, buffers.data(), count * channels);
            const float* from = floats(x + at, buffers.data() + STRIP * channels, count * channels);
            float* to = room(grad_x + at, buffers.data() + 2 * STRIP * channels);
            for (int64_t i = 0; i < count; i++)
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) {
                    const int64_t j = i * channels + c;
                    to[j] = slope[j] * p[c] + (from[j] * q[c] + r[c]);
                }
            store(to, grad_x + at, count * channels);
        });
    });
}

template <class T>
static void forward_of(const int64_t* n, double eps, void* const* t) {
    const Sizes sizes{n[0], n[1], n[2], n[3], n[4]};
    forward(sizes, (const T*)t[0], (const float*)t[1], (const float*)t[2], eps, (const T*)t[3], n[5], (T*)t[4], (float*)t[5], (float*)t[6]);
}

template <class T>
static void backward_of(const int64_t* n, void* const* t) {
    const Sizes sizes{n[0], n[1], n[2], n[3], n[4]};
    backward(sizes, (const T*)t[0], (const T*)t[1], (const T*)t[2], (const float*)t[3], (const float*)t[4], (const float*)t[5], (T*)t[6], (T*)t[7],
             (float*)t[8], (float*)t[9]);
}

// Numbers are samples, cells, channels, groups, threads, whether ReLU follows, and whether values are bfloat16. Tensors: x, weight, bias,
// residual or null, y, mean, inverse deviation; backward: gradient of y, x, y or null without ReLU, weight, mean, inverse deviation, the
// gradient that ReLU passes on, and the gradients of x, weight and bias.
extern "C" void group_norm(const int64_t* numbers, double eps, void* const* tensors) {
    numbers[6] ? forward_of<Bfloat16>(numbers, eps, tensors) : forward_of<float>(numbers, eps, tensors);
}

extern "C" void group_norm_backward(const int64_t* numbers, void* const* tensors) {
    numbers[6] ? backward_of<Bfloat16>(numbers, tensors) : backward_of<float>(numbers, tensors);
}
