// One head laid out channel by channel, so that LANES neighboring cells of a row are one load.
#pragma once
#include "abi.h"

struct Planes {  // one head's rows, channel by channel, with margins that are 0
    int64_t margin, width, row, frame, dim, size;
    Reserve memory;
    float* data;

    // `beyond`: so many more floats behind each row of channels.
    Planes(const Problem& p, int64_t frames, int64_t dim, int64_t radius, int64_t beyond = 0)
        : margin((radius + LANES - 1) / LANES * LANES), width(2 * margin + (p.width + LANES - 1) / LANES * LANES + beyond),
          row(width * dim), frame(row * p.height), dim(dim), size(frame * frames + LANES), memory(size), data(memory.data()) {
        if (!frames) return;  // sizes alone
        std::fill_n(data, margin, 0.f), std::fill_n(data + size - LANES, LANES, 0.f);
        for (float* end = data + width; end < data + size; end += width)  // the end of a row's margin and the beginning of the next one's
            std::fill(end - margin - beyond, std::min(end + margin, data + size), 0.f);
    }
    float* at(int64_t t, int64_t y) { return data + t * frame + y * row + margin; }
    // Asks for `count` floats of each channel ahead of their use: rows of channels are too short for the processor to foresee.
    void fetch(int64_t t, int64_t y, int64_t x, int count) {
        for (int64_t c = 0; c < dim; c++)
            for (int i = 0; i < count + 15; i += 16) __builtin_prefetch(at(t, y) + c * width + x + std::min(i, count - 1));
    }
    void fill(const View& from, const Problem& p, int64_t t, int64_t y, int64_t to) {  // frame `to` here
        ask(from.at(t, y, 0) + from.row, from.column, p.width, dim);
        for (int64_t x = 0; x < p.width; x += LANES)  // the lanes beyond the row become 0 like its margin
            to_vectors(from.at(t, y, x), from.column, (int)std::min<int64_t>(LANES, p.width - x), dim, 1, at(to, y) + x, width);
    }
    void clear(int64_t t, int64_t y) { std::fill_n(at(t, y) - margin, row, 0.f); }
    void empty(int64_t t, int64_t y, float factor, const Problem& p, const View& to) {
        for (int64_t x = 0; x < p.width; x += LANES)
            from_channels(at(t, y) + x, width, dim, all(factor), (int)std::min<int64_t>(LANES, p.width - x), to.at(t, y, x), to.column);
    }
};
