// Grid attention's lines as runs of keys, and what both directions make of them.
#pragma once
#include "abi.h"

constexpr int HIGH = MOST, WIDE = MOST >= 4 ? 2 : 1, TALL = HIGH * WIDE;  // rows and columns of vectors of a tile

struct Stacks {  // one head's cells as vectors: (time, column of LANES cells, height, channel)
    const Problem& p;
    int64_t dim, column, frame;
    Reserve memory;
    Vector* data;

    Stacks(const Problem& p, int64_t dim)  // a frame is longer than its cells, lest all frames fall into the same lines of the cache
        : p(p), dim(dim), column(p.height * dim), frame((p.width + LANES - 1) / LANES * column + dim), memory(frame * p.time * LANES),
          data((Vector*)memory.data()) {}
    Vector* at(int64_t t, int64_t y, int64_t x) { return data + t * frame + x / LANES * column + y * dim; }
    void fill(const View& from, int64_t t, int64_t y) {
        for (int64_t x = 0; x < p.width; x += LANES) {
            int lanes = (int)std::min<int64_t>(LANES, p.width - x);
            ask(from.at(t, y, x) + from.row, from.column, lanes, dim);
            to_tile(from.at(t, y, x), from.column, lanes, dim, 1.f, at(t, y, x));
        }
    }
};

struct Lines {
    const Problem& p;
    Stacks left, right;
    View key, value;  // as they came, for the x line

    explicit Lines(const Problem& p) : p(p), left(p, p.dim), right(p, p.value_dim) {}

    void fill(const View& from, const View& other, int64_t first) {  // frames from `first` on, by all threads together
        key = from, value = other;
#pragma omp for
        for (int64_t line = first * p.height; line < p.time * p.height; line++) {
            left.fill(from, line / p.height, line % p.height);
            right.fill(other, line / p.height, line % p.height);
        }
    }
    Run row(int64_t t, int64_t y, int64_t x, int count) const {
        return {key.at(t, y, x), value.at(t, y, x), key.column, value.column, 1, 1, count};
    }
    Run column(int64_t t, int64_t y, int64_t x, int count) { return stacked(t, y, x, left.dim, right.dim, count); }
    Run frames(int64_t t, int64_t y, int64_t x, int count, int64_t own) {  // of a query in frame `own`
        Run run = stacked(t, y, x, left.frame, right.frame, count);
        run.cell = run.index = (t * p.height + y) * p.width + x, run.index_step = p.height * p.width;
        run.earlier = (int)std::max<int64_t>(0, std::min<int64_t>(count, own - t));
        return run;
    }
    Run stacked(int64_t t, int64_t y, int64_t x, int64_t left_step, int64_t right_step, int count) {
        return {(float*)left.at(t, y, x), (float*)right.at(t, y, x), left_step * LANES, right_step * LANES, LANES, LANES, count};
    }
    // Visits pieces of a line of `length` cells, CAPACITY at a time.
    template <class Visit>
    static void pieces(int64_t length, Visit visit) {
        for (int64_t done = 0; done < length; done += CAPACITY) visit(done, (int)std::min<int64_t>(length - done, CAPACITY));
    }
};

// A tile: `tall` rows of `wide` vectors of cells from (t, y, x) on; vector (row r, column n) is the tile's row n * HIGH + r.
struct Place {
    const Problem& p;
    int64_t t, y, x;
    int tall, wide;

    Place(const Problem& p, int64_t t, int64_t y, int64_t x)
        : p(p), t(t), y(y), x(x), tall((int)std::min<int64_t>(HIGH, p.height - y)),
          wide((int)std::min<int64_t>(WIDE, (p.width - x + LANES - 1) / LANES)) {}
    int lanes(int column) const { return (int)std::min<int64_t>(LANES, p.width - x - column * LANES); }
    int64_t cell(int row, int column) const { return (t * p.height + y + row) * p.width + x + column * LANES; }
    template <class Visit>
    void each(Visit visit) const {  // visit(the tile's row, row, column)
        for (int n = 0; n < wide; n++)
            for (int r = 0; r < tall; r++) visit(n * HIGH + r, r, n);
    }
};

// Which objects the time lines of a vector of cells have: most vectors have few.
struct Presence {
    const Problem& p;
    int64_t vectors;
    std::vector<uint8_t> there;  // (batch, row, vector, object)

    explicit Presence(const Problem& p) : p(p), vectors((p.width + LANES - 1) / LANES), there(p.batch * p.height * vectors * p.objects) {
        const float absent = p.ranking == ADD ? -INFINITY : 0.f;
#pragma omp parallel for num_threads(p.threads)
        for (int64_t item = 0; item < (p.objects ? p.batch * p.height : 0); item++)
            for (int64_t t = 0; t < p.time; t++)
                for (int64_t o = 0; o < p.objects; o++) {
                    const float* term = p.term(item / p.height * p.heads, o) + (t * p.height + item % p.height) * p.width;
                    for (int64_t x = 0; x < p.width; x++) there[(item * vectors + x / LANES) * p.objects + o] |= term[x] != absent;
                }
    }
    void list(int64_t batch, int64_t y, int64_t x, std::vector<int>& present) const {
        present.clear();
        const uint8_t* here = &there[((batch * p.height + y) * vectors + x / LANES) * p.objects];
        for (int64_t o = 0; o < p.objects; o++)
            if (here[o]) present.push_back((int)o);
    }
};
