// Convolution blocks without gradients: 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3) (Lavin and Gray, 2016), a quarter of the
// multiplications, with group normalization and ReLU applied where an image is read and its moments taken where one is written.
//
// A tile of 6x6 inputs gives 4x4 outputs. Inputs are transformed channel vector by channel vector, multiplied at each of the 36
// places with that place's (input, output) matrix of the transformed filter, and transformed back. A block of tiles stays in cache
// throughout. Images are channels last. A dilated convolution is a plain one on each of the dilation's interleaved images.
// Work is cut into blocks the same way on any number of threads, so that results are the same.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

// SUMS vectors accumulate at a time: what the registers hold beside operands.
#if defined(__AVX512F__)
constexpr int LANES = 16, SUMS = 24;
#define HOLD(vector) asm("" : "+v"(vector))
#elif defined(__AVX__)
constexpr int LANES = 8, SUMS = 12;
#define HOLD(vector) asm("" : "+x"(vector))
#else
constexpr int LANES = 4, SUMS = 12;
#define HOLD(vector) (void)0
#endif
constexpr int TILE = 4, EDGE = 6, PLACES = 36;
constexpr int64_t CACHED = 192 * 1024, CELLS = 1024;  // floats of a block of tiles that stay near; cells of a block without tiles

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float Loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
#define INLINE_METHOD inline __attribute__((always_inline))
#define INLINE static INLINE_METHOD
INLINE Vector load(const float* from) { return *reinterpret_cast<const Loose*>(from); }
INLINE void store(float* to, Vector value) { *reinterpret_cast<Loose*>(to) = value; }

// What a normalization makes of each channel of an image: scales, then shifts; null for none.
struct Affine {
    const float* scales;
    int64_t channels;
    Affine of(int64_t image) const { return {scales ? scales + image * 2 * channels : nullptr, channels}; }
    INLINE_METHOD Vector operator()(Vector x, int64_t c) const { return x * load(scales + c) + load(scales + channels + c); }
    INLINE_METHOD Vector rectified(Vector x, int64_t c) const {
        Vector y = (*this)(x, c);
        return y > 0.f ? y : Vector{};
    }
};

// Filters and inputs are polynomials whose product is found by its values at 0, +-NEAR, +-FAR and infinity.
constexpr float NEAR = 0.70710678f, FAR = 1.41421356f;

// Along one axis: EDGE inputs, `step` apart, to their six values.
INLINE void transform_input(const Vector* d, Vector* t, int step) {
    Vector d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
    Vector even = d4 - 2.f * d2, odd = NEAR * d3 - FAR * d1, wide = d4 - 0.5f * d2, apart = FAR * d3 - NEAR * d1;
    t[0] = d0 - 2.5f * d2 + d4;
    t[step] = even + odd;
    t[2 * step] = even - odd;
    t[3 * step] = wide + apart;
    t[4 * step] = wide - apart;
    t[5 * step] = d1 - 2.5f * d3 + d5;
}

// And back: six values of the product, `from` apart, to TILE outputs, `to` apart.
INLINE void transform_output(const Vector* m, int from, Vector* y, int to) {
    Vector m0 = m[0], m1 = m[from], m2 = m[2 * from], m3 = m[3 * from], m4 = m[4 * from], m5 = m[5 * from];
    Vector sum = m1 + m2, difference = m1 - m2, wide = m3 + m4, apart = m3 - m4;
    y[0] = m0 + sum + wide;
    y[to] = NEAR * difference + FAR * apart;
    y[2 * to] = 0.5f * sum + 2.f * wide;
    y[3 * to] = 0.5f * NEAR * difference + 2.f * FAR * apart + m5;
}

struct Problem {
    int64_t batch, height, width, inputs, outputs, dilation, threads;
    int64_t across(int64_t length) const { return (((length + dilation - 1) / dilation) + TILE - 1) / TILE; }
    int64_t tiles() const { return batch * dilation * dilation * across(height) * across(width); }
};

struct Place { int64_t image, y, x; };  // of a tile's first output

static Place place(const Problem& p, int64_t tile) {
    int64_t columns = p.across(p.width), rows = p.across(p.height);
    int64_t x = tile % columns, y = tile / columns % rows, phase = tile / columns / rows;
    int64_t phase_x = phase % p.dilation, phase_y = phase / p.dilation % p.dilation;
    return {phase / p.dilation / p.dilation, phase_y + y * TILE * p.dilation, phase_x + x * TILE * p.dilation};
}

// The last vector of a row of channels that LANES does not divide covers some channels twice.
static std::vector<int64_t> starts(int64_t channels) {
    std::vector<int64_t> found;
    for (int64_t c = 0; c < channels; c += LANES) found.push_back(std::min(c, channels - LANES));
    return found;
}

static void gather(const Problem& p, const float* image, Affine affine, int64_t tile, float* out, int64_t step,
                   const std::vector<int64_t>& channels) {
    Place at = place(p, tile);
    affine = affine.of(at.image);
    const float* source[PLACES];
    for (int i = 0; i < EDGE; i++)
        for (int j = 0; j < EDGE; j++) {
            int64_t y = at.y + (i - 1) * p.dilation, x = at.x + (j - 1) * p.dilation;
            bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
            source[i * EDGE + j] = inside ? image + ((at.image * p.height + y) * p.width + x) * p.inputs : nullptr;
        }
    for (int64_t c : channels) {
        Vector d[PLACES], t[PLACES];
        for (int n = 0; n < PLACES; n++) d[n] = source[n] ? load(source[n] + c) : Vector{};
        if (affine.scales)
            for (int n = 0; n < PLACES; n++) d[n] = source[n] ? affine.rectified(d[n], c) : Vector{};
        for (int j = 0; j < EDGE; j++) transform_input(d + j, t + j, EDGE);
        for (int i = 0; i < EDGE; i++) transform_input(t + i * EDGE, d + i * EDGE, 1);
        for (int n = 0; n < PLACES; n++) store(out + n * step + c, d[n]);
    }
}

static void scatter(const Problem& p, const float* found, int64_t step, int64_t tile, float* image, float* moments) {
    Place at = place(p, tile);
    for (int64_t c = 0; c < p.outputs; c += LANES) {
        Vector m[PLACES], t[TILE * EDGE], y[TILE * TILE];
        for (int n = 0; n < PLACES; n++) m[n] = load(found + n * step + c);
        for (int j = 0; j < EDGE; j++) transform_output(m + j, EDGE, t + j, EDGE);
        for (int i = 0; i < TILE; i++) transform_output(t + i * EDGE, 1, y + i * TILE, 1);
        Vector sum = {}, squares = {};
        for (int i = 0; i < TILE; i++)
            for (int j = 0; j < TILE; j++) {
                int64_t row = at.y + i * p.dilation, column = at.x + j * p.dilation;
                if (row >= p.height || column >= p.width) continue;
                Vector value = y[i * TILE + j];
                store(image + ((at.image * p.height + row) * p.width + column) * p.outputs + c, value);
                sum += value;
                squares += value * value;
            }
        if (!moments) continue;
        store(moments + c, load(moments + c) + sum);
        store(moments + p.outputs + c, load(moments + p.outputs + c) + squares);
    }
}

// ROWS tiles times a (inputs, COLUMNS vectors) panel of the filter.
template <int ROWS, int COLUMNS>
static void product(const float* tiles, const float* filter, float* out, int64_t inputs, int64_t outputs) {
    Vector sums[ROWS][COLUMNS] = {};
    for (int64_t k = 0; k < inputs; k++) {
        Vector weights[COLUMNS];
#pragma GCC unroll 8
        for (int n = 0; n < COLUMNS; n++) { weights[n] = load(filter + k * outputs + n * LANES); HOLD(weights[n]); }
#pragma GCC unroll 32
        for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
            for (int n = 0; n < COLUMNS; n++) sums[m][n] += tiles[m * inputs + k] * weights[n];
    }
#pragma GCC unroll 32
    for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
        for (int n = 0; n < COLUMNS; n++) store(out + m * outputs + n * LANES, sums[m][n]);
}

template <int COLUMNS>
static void products(const float* tiles, const float* filter, float* out, const Problem& p, int64_t count) {
    constexpr int ROWS = SUMS / COLUMNS;
    for (int64_t n = 0; n < p.outputs; n += COLUMNS * LANES)
        for (int64_t m = 0; m < count; m += ROWS)
            product<ROWS, COLUMNS>(tiles + m * p.inputs, filter + n, out + m * p.outputs + n, p.inputs, p.outputs);
}

static int64_t columns_of(const Problem& p) {
    int64_t vectors = p.outputs / LANES;
    return vectors % 4 == 0 ? 4 : vectors % 3 == 0 ? 3 : vectors % 2 == 0 ? 2 : 1;
}

static int64_t most_tiles(const Problem& p) {
    int64_t rows = SUMS / columns_of(p);
    return std::max<int64_t>(1, CACHED / PLACES / (p.inputs + p.outputs) / rows) * rows;
}

static int64_t blocks_of(const Problem& p) { return (p.tiles() / p.batch + most_tiles(p) - 1) / most_tiles(p); }

static Problem problem(const int64_t* sizes) { return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6]}; }

// Every function's sizes: batch, height, width, inputs, outputs, dilation, threads. Inputs are at least LANES of a convolution, else
// outputs, which LANES divides. Moments are (batch, block, 2, outputs): sums and sums of squares. An affine is (batch, 2, channels).
extern "C" int lanes() { return LANES; }
extern "C" int64_t tile_blocks(const int64_t* sizes) { return blocks_of(problem(sizes)); }
extern "C" int64_t cell_blocks(const int64_t* sizes) { return (sizes[1] * sizes[2] + CELLS - 1) / CELLS; }

// The convolution of an image, or of its rectified affine, and the moments of the result.
extern "C" void convolve(const float* image, const float* scales, const float* filter, float* out, float* moments, const int64_t* sizes) {
    Problem p = problem(sizes);
    int64_t columns = columns_of(p), most = most_tiles(p), each = p.tiles() / p.batch, blocks = blocks_of(p);
    std::vector<int64_t> channels = starts(p.inputs);
#pragma omp parallel for num_threads(p.threads) schedule(dynamic)
    for (int64_t block = 0; block < p.batch * blocks; block++) {
        static thread_local std::vector<float> transformed, found;
        int64_t image_tiles = block / blocks * each, part = block % blocks;
        int64_t first = image_tiles + each * part / blocks, count = image_tiles + each * (part + 1) / blocks - first;
        if ((int64_t)transformed.size() < PLACES * most * p.inputs) transformed.resize(PLACES * most * p.inputs);
        if ((int64_t)found.size() < PLACES * most * p.outputs) found.resize(PLACES * most * p.outputs);
        for (int64_t t = 0; t < count; t++) gather(p, image, {scales, p.inputs}, first + t, &transformed[t * p.inputs], most * p.inputs, channels);
        for (int64_t n = 0; n < PLACES; n++) {
            const float *tiles = &transformed[n * most * p.inputs], *weights = filter + n * p.inputs * p.outputs;
            float* result = &found[n * most * p.outputs];
            if (columns == 4) products<4>(tiles, weights, result, p, count);
            else if (columns == 3) products<3>(tiles, weights, result, p, count);
            else if (columns == 2) products<2>(tiles, weights, result, p, count);
            else products<1>(tiles, weights, result, p, count);
        }
        float* sums = moments ? moments + block * 2 * p.outputs : nullptr;
        if (sums) std::fill(sums, sums + 2 * p.outputs, 0.f);
        for (int64_t t = 0; t < count; t++) scatter(p, &found[t * p.outputs], most * p.outputs, first + t, out, sums);
    }
}

// Moments of an image.
extern "C" void measure(const float* image, float* moments, const int64_t* sizes) {
    Problem p = problem(sizes);
    int64_t cells = p.height * p.width, blocks = cell_blocks(sizes);
#pragma omp parallel for num_threads(p.threads)
    for (int64_t block = 0; block < p.batch * blocks; block++) {
        int64_t first = block % blocks * CELLS, last = std::min(first + CELLS, cells);
        float* sums = moments + block * 2 * p.outputs;
        std::fill(sums, sums + 2 * p.outputs, 0.f);
        for (int64_t cell = first; cell < last; cell++) {
            const float* here = image + (block / blocks * cells + cell) * p.outputs;
            for (int64_t c = 0; c < p.outputs; c += LANES) {
                Vector value = load(here + c);
                store(sums + c, load(sums + c) + value);
                store(sums + p.outputs + c, load(sums + p.outputs + c) + value * value);
            }
        }
    }
}

// The affine that normalizes groups of channels, from the moments of so many blocks.
extern "C" void normalize(const float* moments, int64_t blocks, const float* weight, const float* bias, int64_t groups, double epsilon,
                          float* scales, const int64_t* sizes) {
    Problem p = problem(sizes);
    int64_t channels = p.outputs, wide = channels / groups;
    double count = (double)p.height * p.width * wide;
    for (int64_t image = 0; image < p.batch; image++) {
        float* scale = scales + image * 2 * channels;
        for (int64_t group = 0; group < groups; group++) {
            double sum = 0, squares = 0;
            for (int64_t block = image * blocks; block < (image + 1) * blocks; block++)
                for (int64_t c = group * wide; c < (group + 1) * wide; c++) {
                    sum += moments[block * 2 * channels + c];
                    squares += moments[(block * 2 + 1) * channels + c];
                }
            double mean = sum / count, inverse = 1 / std::sqrt(std::max(squares / count - mean * mean, 0.) + epsilon);
            for (int64_t c = group * wide; c < (group + 1) * wide; c++) {
                scale[c] = (float)(weight[c] * inverse);
                scale[channels + c] = (float)(bias[c] - mean * inverse * weight[c]);
            }
        }
    }
}

// The rectified sum of an image's affine and another image (or none), in place.
extern "C" void finish(float* image, const float* scales, const float* other, const int64_t* sizes) {
    Problem p = problem(sizes);
    int64_t cells = p.height * p.width;
#pragma omp parallel for num_threads(p.threads)
    for (int64_t cell = 0; cell < p.batch * cells; cell++) {
        Affine affine = Affine{scales, p.outputs}.of(cell / cells);
        float* here = image + cell * p.outputs;
        for (int64_t c = 0; c < p.outputs; c += LANES) {
            Vector value = affine(load(here + c), c);
            if (other) value += load(other + cell * p.outputs + c);
            store(here + c, value > 0.f ? value : Vector{});
        }
    }
}

// The mean of each 2x2 cells (fewer at the border) of an image, or of its rectified affine.
extern "C" void halve(const float* image, const float* scales, float* out, const int64_t* sizes) {
    Problem p = problem(sizes);
    int64_t rows = (p.height + 1) / 2, columns = (p.width + 1) / 2;
#pragma omp parallel for num_threads(p.threads)
    for (int64_t row = 0; row < p.batch * rows; row++) {
        Affine affine = Affine{scales, p.outputs}.of(row / rows);
        int64_t tall = std::min<int64_t>(2, p.height - row % rows * 2);
        const float* above = image + (row / rows * p.height + row % rows * 2) * p.width * p.outputs;
        for (int64_t column = 0; column < columns; column++) {
            int64_t wide = std::min<int64_t>(2, p.width - column * 2);
            for (int64_t c = 0; c < p.outputs; c += LANES) {
                Vector sum = {};
                for (int64_t y = 0; y < tall; y++)
                    for (int64_t x = 0; x < wide; x++) {
                        Vector value = load(above + (y * p.width + column * 2 + x) * p.outputs + c);
                        sum += scales ? affine.rectified(value, c) : value;
                    }
                store(out + (row * columns + column) * p.outputs + c, sum * (1.f / (tall * wide)));
            }
        }
    }
}
