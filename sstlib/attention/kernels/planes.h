// One head laid out channel by channel, so that LANES neighbouring cells of a row are one load.
#pragma once
#include "abi.h"

struct Planes {  // one head's rows, channel by channel, with margins
    int64_t margin, width, row, frame, dim;
    std::vector<float> data;

    // `beyond`: so many more floats behind each row of channels.
    Planes(const Problem& p, int64_t frames, int64_t dim, int64_t radius, int64_t beyond = 0) : dim(dim) {
        margin = (radius + LANES - 1) / LANES * LANES;
        width = 2 * margin + (p.width + LANES - 1) / LANES * LANES + beyond;
        row = width * dim, frame = row * p.height;
        data.assign(frame * frames + LANES, 0.f);
    }
    float* at(int64_t t, int64_t y) { return data.data() + t * frame + y * row + margin; }
    // Asks for `count` floats of each channel ahead of their use: rows of channels are too short for the processor to foresee.
    void fetch(int64_t t, int64_t y, int64_t x, int count) {
        for (int64_t c = 0; c < dim; c++)
            for (int i = 0; i < count + 15; i += 16) __builtin_prefetch(at(t, y) + c * width + x + std::min(i, count - 1));
    }
    void fill(const View& from, const Problem& p, int64_t t, int64_t y, float factor) {
        to_channels(from.at(t, y, 0), from.column, p.width, dim, factor, at(t, y), width);
    }
    void clear(int64_t t, int64_t y) { std::fill_n(at(t, y) - margin, row, 0.f); }
    void empty(int64_t t, int64_t y, float factor, const Problem& p, const View& to) {
        for (int64_t x = 0; x < p.width; x += LANES)
            from_channels(at(t, y) + x, width, dim, all(factor), (int)std::min<int64_t>(LANES, p.width - x), to.at(t, y, x), to.column);
    }
};
