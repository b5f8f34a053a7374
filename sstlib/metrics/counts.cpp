// Pixel counts behind J and F on rows of bits, 64 pixels a word; counts.py says what is counted, and does it in NumPy.
// A row has a spare zero word before and after, and a boundary has spare zero rows above and below, so that neighbors
// are read without asking whether they are in the frame.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX2__) || defined(__AVX512BW__)
#include <immintrin.h>
#endif

namespace {

constexpr int64_t LANES = 8;
constexpr int KNOWN = 8;

// Bit i tells whether pixel i of 64 equals `value`.
inline uint64_t equal64(const uint8_t* pixels, uint8_t value) {
#if defined(__AVX512BW__)
    return _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(pixels), _mm512_set1_epi8(static_cast<char>(value)));
#elif defined(__AVX2__)
    const __m256i wanted = _mm256_set1_epi8(static_cast<char>(value));
    auto half = [&](const uint8_t* p) {
        const __m256i loaded = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
        return static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(loaded, wanted))));
    };
    return half(pixels) | half(pixels + 32) << 32;
#else
    uint64_t bits = 0;
    for (int i = 0; i < 64; ++i) bits |= static_cast<uint64_t>(pixels[i] == value) << i;
    return bits;
#endif
}

struct Mask {
    int64_t height, width, words, stride, margin;
    std::vector<uint64_t> storage;

    Mask(int64_t height, int64_t width, int64_t margin)
        : height(height), width(width), words((width + 63) / 64), stride(words + 2), margin(margin),
          storage((height + 2 * margin) * stride) {}
    uint64_t* row(int64_t y) { return storage.data() + (y + margin) * stride + 1; }
    const uint64_t* row(int64_t y) const { return storage.data() + (y + margin) * stride + 1; }
    void clear() { std::fill(storage.begin(), storage.end(), 0); }

    void fill(const uint8_t* labels, uint8_t value) {
        for (int64_t y = 0; y < height; ++y) {
            const uint8_t* pixels = labels + y * width;
            uint64_t* out = row(y);
            const int64_t whole = width / 64, rest = width % 64;
            for (int64_t i = 0; i < whole; ++i) out[i] = equal64(pixels + 64 * i, value);
            if (rest) {
                uint8_t last[64];
                std::memset(last, static_cast<uint8_t>(~value), sizeof last);
                std::memcpy(last, pixels + 64 * whole, rest);
                out[whole] = equal64(last, value);
            }
        }
    }
};

// Rows and words that anything can happen in.
struct Box {
    int64_t top, bottom, left, right;
};

// Box of both masks, with the row above and the pixel to the left where a boundary begins; counts J's two numbers too.
Box survey(const Mask& prediction, const Mask& truth, int64_t* out) {
    int64_t top = prediction.height, bottom = 0, both = 0, either = 0;
    std::vector<uint64_t> columns(prediction.words);
    for (int64_t y = 0; y < prediction.height; ++y) {
        const uint64_t *p = prediction.row(y), *t = truth.row(y);
        uint64_t any = 0;
        for (int64_t i = 0; i < prediction.words; ++i) {
            const uint64_t joint = p[i] | t[i];
            any |= joint;
            columns[i] |= joint;
            both += __builtin_popcountll(p[i] & t[i]);
            either += __builtin_popcountll(joint);
        }
        if (any) {
            top = y < top ? y : top;
            bottom = y + 1;
        }
    }
    out[0] = both;
    out[1] = either;
    int64_t left = 0, right = prediction.words;
    while (left < right && !columns[left]) ++left;
    while (right > left && !columns[right - 1]) --right;
    return Box{top > 0 ? top - 1 : 0, bottom, left > 0 ? left - 1 : 0, right};
}

// The boundary of a mask: its words, and where those are that hold a pixel of it.
struct Boundary {
    Mask words;
    std::vector<int32_t> where;
    int64_t size = 0;

    Boundary(int64_t height, int64_t width, int64_t margin) : words(height, width, margin) {}
};

// Pixels that differ from their neighbor to the right, below or below right; the last row and column repeat.
void find(const Mask& mask, const Box& box, Boundary& out) {
    const int64_t last = mask.words - 1;
    const uint64_t end = uint64_t{1} << (mask.width - 1) % 64;
    out.words.clear();
    out.where.clear();
    out.size = 0;
    for (int64_t y = box.top; y < box.bottom; ++y) {
        const uint64_t *here = mask.row(y), *below = mask.row(y + 1 < mask.height ? y + 1 : y);
        uint64_t* edge = out.words.row(y);
        for (int64_t i = box.left; i < box.right; ++i) {
            const uint64_t right = here[i] >> 1 | here[i + 1] << 63, diagonal = below[i] >> 1 | below[i + 1] << 63;
            edge[i] = (here[i] ^ right) | (here[i] ^ below[i]) | (here[i] ^ diagonal);
        }
        if (box.right > last)  // the frame's last column has no neighbor to the right: only the one below tells
            edge[last] = (edge[last] & (end - 1)) | ((here[last] ^ below[last]) & end);
        for (int64_t i = box.left; i < box.right; ++i)
            if (edge[i]) {
                out.where.push_back(static_cast<int32_t>(edge + i - out.words.storage.data()));
                out.size += __builtin_popcountll(edge[i]);
            }
    }
}

typedef uint64_t Lanes __attribute__((vector_size(8 * LANES)));

// The pixels of a word that lie within `half_width` to the left or right of a set one, in it or in the words beside it.
inline Lanes near(Lanes before, Lanes here, Lanes after, uint64_t half_width) {
    Lanes rightward = here, leftward = here;
    for (uint64_t covered = 0; covered < half_width;) {
        const uint64_t step = covered + 1 < half_width - covered ? covered + 1 : half_width - covered;
        rightward |= rightward << step | before >> (64 - step);
        before |= before << step;
        leftward |= leftward >> step | after << (64 - step);
        after |= after >> step;
        covered += step;
    }
    return rightward | leftward;
}

// How many pixels of `edge` lie in the disk around a pixel of `other`. Row by row of the disk, from its middle outward,
// the words that still hold an unmatched pixel are gathered, LANES at a time; most are done after the first row.
int64_t matched(const Boundary& edge, const Boundary& other, const std::vector<int64_t>& half_width) {
    std::vector<int32_t> where(edge.where);
    std::vector<uint64_t> open;
    for (const int32_t at : where) open.push_back(edge.words.storage[at]);
    const int64_t stride = edge.words.stride;
    for (size_t dy = 0; dy < half_width.size() && !open.empty(); ++dy) {
        while (open.size() % LANES) {  // idle lanes: nothing open
            open.push_back(0);
            where.push_back(where[0]);
        }
        size_t left = 0;
        for (size_t base = 0; base < open.size(); base += LANES) {
            Lanes before, here, after, unmatched;
            for (int64_t lane = 0; lane < LANES; ++lane) {
                const uint64_t* at = other.words.storage.data() + where[base + lane];
                const uint64_t *above = at - dy * stride, *below = at + dy * stride;
                before[lane] = above[-1] | below[-1];
                here[lane] = above[0] | below[0];
                after[lane] = above[1] | below[1];
                unmatched[lane] = open[base + lane];
            }
            unmatched &= ~near(before, here, after, half_width[dy]);
            for (int64_t lane = 0; lane < LANES; ++lane) {
                open[left] = unmatched[lane];
                where[left] = where[base + lane];
                left += unmatched[lane] != 0;
            }
        }
        open.resize(left);
        where.resize(left);
    }
    int64_t rest = 0;
    for (const uint64_t word : open) rest += __builtin_popcountll(word);
    return edge.size - rest;
}

}  // namespace

extern "C" {

// Marks in `seen` (256 bytes) the values that occur. Blocks of nothing but values already met are passed over.
void sst_present(const uint8_t* labels, int64_t size, uint8_t* seen) {
    uint8_t met[KNOWN] = {};
    int known = 0;
    for (int64_t at = 0; at < size; at += 64) {
        const int64_t end = std::min<int64_t>(64, size - at);
        if (end == 64 && known) {
            uint64_t covered = 0;
            for (int i = 0; i < known; ++i) covered |= equal64(labels + at, met[i]);
            if (!~covered) continue;
        }
        for (int64_t i = at; i < at + end; ++i)
            if (!seen[labels[i]]) {
                seen[labels[i]] = 1;
                if (known < KNOWN) met[known++] = labels[i];
            }
    }
}

// Six counts an object: intersection, union, predicted and true boundary, the matched pixels of each.
void sst_frame_counts(const uint8_t* prediction, const uint8_t* truth, int64_t height, int64_t width, int64_t radius,
                      const uint8_t* objects, int64_t number, int64_t* counts) {
    std::vector<int64_t> half_width(radius + 1);
    for (int64_t dy = 0, x = radius; dy <= radius; ++dy) {
        while (x * x + dy * dy > radius * radius) --x;
        half_width[dy] = x;
    }
    Mask predicted(height, width, 0), real(height, width, 0);
    Boundary predicted_edge(height, width, radius), real_edge(height, width, radius);
    for (int64_t object = 0; object < number; ++object) {
        int64_t* out = counts + 6 * object;
        std::memset(out, 0, 6 * sizeof *out);
        predicted.fill(prediction, objects[object]);
        real.fill(truth, objects[object]);
        const Box box = survey(predicted, real, out);
        find(predicted, box, predicted_edge);
        find(real, box, real_edge);
        out[2] = predicted_edge.size;
        out[3] = real_edge.size;
        out[4] = matched(predicted_edge, real_edge, half_width);
        out[5] = matched(real_edge, predicted_edge, half_width);
    }
}

}  // extern "C"
