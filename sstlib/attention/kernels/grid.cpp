// Grid attention: the three axis lines under one softmax. Lanes are neighbouring queries of a row.
//
// The line along x is spread from where the keys lie; those along y and t are read from stacks of vectors, a column of LANES
// cells being one block of memory. The own cell counts along x: the lines along y and t mask it.
// Affinity comes from the frames before alone, since rows and columns lie in the query's own frame.
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
        for (int64_t x = 0; x < p.width; x += LANES)
            to_tile(from.at(t, y, x), from.column, (int)std::min<int64_t>(LANES, p.width - x), dim, 1.f, at(t, y, x));
    }
};

struct Lines {
    const Problem& p;
    Stacks left, right;
    View key, value;  // as they came, for the x line

    explicit Lines(const Problem& p) : p(p), left(p, p.dim), right(p, p.value_dim) {}

    void fill(const View& from, const View& other, int64_t frames) {  // by all threads together
        key = from, value = other;
#pragma omp for
        for (int64_t line = 0; line < frames * p.height; line++) {
            left.fill(from, line / p.height, line % p.height);
            right.fill(other, line / p.height, line % p.height);
        }
    }
    Run row(int64_t t, int64_t y, int64_t x, int count) const {
        return {key.at(t, y, x), value.at(t, y, x), key.column, value.column, 1, 1, count};
    }
    Run column(int64_t t, int64_t y, int64_t x, int count) { return stacked(t, y, x, left.dim, right.dim, count); }
    Run frames(int64_t t, int64_t y, int64_t x, int count) {
        Run run = stacked(t, y, x, left.frame, right.frame, count);
        run.cell = run.index = (t * p.height + y) * p.width + x, run.index_step = p.height * p.width;
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
    int64_t t, y, x;
    int tall, wide;
    const Problem& p;

    int lanes(int column) const { return (int)std::min<int64_t>(LANES, p.width - x - column * LANES); }
    int64_t cell(int row, int column) const { return (t * p.height + y + row) * p.width + x + column * LANES; }
    template <class Visit>
    void each(Visit visit) const {  // visit(the tile's row, row, column)
        for (int n = 0; n < wide; n++)
            for (int r = 0; r < tall; r++) visit(n * HIGH + r, r, n);
    }
};

template <class Each>
static void tiles(const Problem& p, int64_t frames, Each each) {
    int64_t stacks = (p.height + HIGH - 1) / HIGH, vectors = (p.width + LANES - 1) / LANES, columns = (vectors + WIDE - 1) / WIDE;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < frames * stacks * columns; item++) {
        int64_t column = item / stacks / frames * WIDE, y = item % stacks * HIGH;
        each(Place{item / stacks % frames, y, column * LANES, (int)std::min<int64_t>(HIGH, p.height - y),
                   (int)std::min<int64_t>(WIDE, vectors - column), p});
    }
}

// Visits the lines of a tile of cells of frame `place.t`: along(row r, a piece of the line along x), then across(a piece of
// the line along y, where it begins, column n), then through(the tile's row, row, column).
template <class Along, class Across, class Through>
static void lines(const Place& place, Along along, Across across, Through through) {
    for (int r = 0; r < place.tall; r++)
        Lines::pieces(place.p.width, [&](int64_t done, int number) { along(r, done, number); });
    for (int n = 0; n < place.wide; n++)
        Lines::pieces(place.p.height, [&](int64_t done, int number) { across(n, done, number); });
    place.each(through);
}

extern "C" void forward(float* const* tensors, const int64_t* numbers, double scale) {
    Problem p = read(tensors, numbers, scale);
    const Ranks ranks(p);
    Lines keys(p);
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p, false);
        for (int64_t group = 0; group < p.batch * p.heads; group++) {
            int64_t b = group / p.heads, h = group % p.heads;
            View query = p.query.of(b, h), output = p.output.of(b, h);
            Terms terms;
            terms.step = p.height * p.width, terms.key = p.key_term + group * p.cells();
            for (int64_t o = 0; o < p.objects; o++) terms.object.push_back(p.term(group, o)), terms.present.push_back((int)o);
            keys.fill(p.key.of(b, h), p.value.of(b, h), p.time);
            tiles(p, p.queried, [&](const Place& at) {
                int64_t t = p.first_frame() + at.t;
                tile.start();
                at.each([&](int to, int r, int n) {
                    to_tile(query.at(at.t, at.y + r, at.x + n * LANES), query.column, at.lanes(n), p.dim, p.scale * LOG2E, tile.query + to * tile.apart);
                    take_terms(tile, to, group);
                });
                lines(at, [&](int r, int64_t done, int number) {
                    Run run = keys.row(t, at.y + r, done, number);
                    if (at.wide == 1) tile.template attend<Spread, 1>(r, run, terms);
                    else tile.template attend<Spread, WIDE, HIGH>(r, run, terms);
                }, [&](int n, int64_t done, int number) {
                    Run run = keys.column(t, done, at.x + n * LANES, number);
                    together<HIGH>(n * HIGH, at.tall, [&](auto rows, int row) {
                        tile.template attend<Stacked, decltype(rows)::value>(row, run, terms, (int)(at.y + row - n * HIGH - done));
                    });
                }, [&](int to, int r, int n) {
                    Lines::pieces(p.last_key_frame(t), [&](int64_t done, int number) {
                        Run run = keys.frames(done, at.y + r, at.x + n * LANES, number);
                        run.earlier = (int)std::max<int64_t>(0, std::min<int64_t>(number, t - done));
                        tile.template attend<Stacked, 1>(to, run, terms, (int)(t - done));
                    });
                });
                at.each([&](int from, int r, int n) {
                    write(tile, from, group, output.at(at.t, at.y + r, at.x + n * LANES), output.column, at.cell(r, n), at.lanes(n));
                });
            });
        }
    }
}

// What the keys of a stack of rows get from their rows' queries, lanes being keys.
struct Gifts {
    const Problem& p;
    int64_t blocks;  // of LANES keys
    std::vector<Vector> keys, values;
    explicit Gifts(const Problem& p) : p(p), blocks((p.width + LANES - 1) / LANES) {}
    void start() { keys.assign(HIGH * blocks * p.dim, Vector{}), values.assign(HIGH * blocks * p.value_dim, Vector{}); }
    void end(int64_t t, int64_t y, const View& to_key, const View& to_value) {
        for (int64_t r = 0; r < HIGH && y + r < p.height; r++)
            for (int64_t n = 0, x = 0; x < p.width; n++, x += LANES) {
                int count = (int)std::min<int64_t>(LANES, p.width - x);
                from_tile(&keys[(r * blocks + n) * p.dim], p.dim, all(p.scale), count, to_key.at(t, y + r, x), to_key.column);
                from_tile(&values[(r * blocks + n) * p.value_dim], p.value_dim, all(1), count, to_value.at(t, y + r, x), to_value.column);
            }
    }
};

static void pull_tile(Tile<TALL>& tile, Lines& keys, Gifts& gifts, const View& query, const View& grad, const Place& at) {
    const Problem& p = keys.p;
    int64_t t = p.first_frame() + at.t;
    for (int r = 0; r < at.tall; r++)
        for (int64_t done = 0; done < p.width; done += MOST * LANES) {
            Run run = keys.row(t, at.y + r, done, (int)std::min<int64_t>(p.width - done, MOST * LANES));
            if (at.wide == 1) tile.template pull<Spread, 1>(r, run);
            else tile.template pull<Spread, WIDE, HIGH>(r, run);
            for (int n = 0; n < at.wide; n++) {
                int64_t x = at.x + n * LANES, block = r * gifts.blocks + done / LANES;
                together(0, (run.count + LANES - 1) / LANES, [&](auto blocks, int) {
                    tile.template turn<decltype(blocks)::value>(n, run.count, at.lanes(n), query.at(at.t, at.y + r, x), query.column,
                                                                grad.at(at.t, at.y + r, x), grad.column, &gifts.keys[block * p.dim],
                                                                &gifts.values[block * p.value_dim]);
                });
            }
        }
    lines(at, [](int, int64_t, int) {}, [&](int n, int64_t done, int number) {
        Run run = keys.column(t, done, at.x + n * LANES, number);
        together<HIGH>(n * HIGH, at.tall, [&](auto rows, int row) {
            tile.template pull<Stacked, decltype(rows)::value>(row, run, (int)(at.y + row - n * HIGH - done));
        });
    }, [&](int to, int r, int n) {
        Lines::pieces(p.last_key_frame(t), [&](int64_t done, int number) {
            tile.template pull<Stacked, 1>(to, keys.frames(done, at.y + r, at.x + n * LANES, number), (int)(t - done));
        });
    });
}

// From the queries of columns and time lines to a tile of keys. `frame` is the keys' frame among the queried ones (negative
// before them), `lse` and `delta` those of the head's queries.
static void push_tile(Tile<TALL>& tile, Lines& queries, const float* lse, const float* delta, const Place& at, int64_t frame) {
    const Problem& p = queries.p;
    auto through = [&](int to, int r, int n) {
        int64_t from = p.causal ? std::max<int64_t>(0, frame) : 0;
        Lines::pieces(p.queried - from, [&](int64_t done, int number) {
            Run run = queries.frames(from + done, at.y + r, at.x + n * LANES, number);
            tile.template push<Stacked, 1>(to, run, lse + run.cell, delta + run.cell, p.height * p.width,
                                           frame < 0 ? UNMASKED : (int)(frame - from - done));
        });
    };
    if (frame < 0) return at.each(through);
    lines(at, [](int, int64_t, int) {}, [&](int n, int64_t done, int number) {
        Run run = queries.column(frame, done, at.x + n * LANES, number);
        int64_t first = (frame * p.height + done) * p.width + at.x + n * LANES;
        together<HIGH>(n * HIGH, at.tall, [&](auto rows, int row) {
            tile.template push<Stacked, decltype(rows)::value>(row, run, lse + first, delta + first, p.width, (int)(at.y + row - n * HIGH - done));
        });
    }, through);
}

// The queries' half of one head, with what they give to the keys of their rows; a stack of rows is one thread's.
static void pull_head(Tile<TALL>& tile, Lines& lines, Gifts& gifts, int64_t group) {
    const Problem& p = lines.p;
    int64_t b = group / p.heads, h = group % p.heads, stacks = (p.height + HIGH - 1) / HIGH;
    View query = p.query.of(b, h), grad = p.grad.of(b, h), to_query = p.grad_query.of(b, h);
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < p.queried * stacks; item++) {
        int64_t t = item / stacks, y = item % stacks * HIGH;
        gifts.start();
        for (int64_t x = 0; x < p.width; x += WIDE * LANES) {
            Place at{t, y, x, (int)std::min<int64_t>(HIGH, p.height - y), (int)std::min<int64_t>(WIDE, (p.width - x + LANES - 1) / LANES), p};
            tile.start();
            at.each([&](int to, int r, int n) {
                take(tile, to, query, grad, t, y + r, x + n * LANES, at.lanes(n), p.scale * LOG2E);
                take_softmax(tile, to, group * p.query_cells() + at.cell(r, n), at.lanes(n));
            });
            pull_tile(tile, lines, gifts, query, grad, at);
            at.each([&](int from, int r, int n) {
                from_tile(tile.sums + from * tile.sums_apart, p.dim, all(p.scale), at.lanes(n), to_query.at(t, y + r, x + n * LANES), to_query.column);
            });
        }
        gifts.end(p.first_frame() + t, y, p.grad_key.of(b, h), p.grad_value.of(b, h));
    }
}

// The keys' half of one head: what its columns and time lines add to what the rows gave.
static void push_head(Tile<TALL>& tile, Lines& lines, const float* lse, const float* delta, int64_t group) {
    const Problem& p = lines.p;
    int64_t b = group / p.heads, h = group % p.heads;
    View key = p.key.of(b, h), value = p.value.of(b, h), to_key = p.grad_key.of(b, h), to_value = p.grad_value.of(b, h);
    tiles(p, p.time, [&](const Place& at) {
        int64_t frame = at.t - p.first_frame();
        tile.start();
        at.each([&](int to, int r, int n) {
            int64_t y = at.y + r, x = at.x + n * LANES;
            Vector* sums = tile.sums + to * tile.sums_apart;
            take(tile, to, key, value, at.t, y, x, at.lanes(n), p.scale * LOG2E);
            if (frame < 0) return;
            to_tile(to_key.at(at.t, y, x), to_key.column, at.lanes(n), p.dim, 1 / p.scale, sums);
            to_tile(to_value.at(at.t, y, x), to_value.column, at.lanes(n), p.value_dim, 1, sums + p.dim);
        });
        push_tile(tile, lines, lse, delta, at, frame);
        at.each([&](int from, int r, int n) {
            Vector* sums = tile.sums + from * tile.sums_apart;
            int64_t y = at.y + r, x = at.x + n * LANES;
            from_tile(sums, p.dim, all(p.scale), at.lanes(n), to_key.at(at.t, y, x), to_key.column);
            from_tile(sums + p.dim, p.value_dim, all(1), at.lanes(n), to_value.at(at.t, y, x), to_value.column);
        });
    });
}

extern "C" void backward(float* const* tensors, const int64_t* numbers, double scale) {
    const Problem p = read(tensors, numbers, scale);
    Lines lines(p);
    std::vector<float> lse(p.query_cells() + LANES), delta(p.query_cells() + LANES);  // lanes beyond the last row read on
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p, true);
        Gifts gifts(p);
        for (int64_t group = 0; group < p.batch * p.heads; group++) {
            int64_t b = group / p.heads, h = group % p.heads;
            lines.fill(p.key.of(b, h), p.value.of(b, h), p.time);
            pull_head(tile, lines, gifts, group);
#pragma omp for
            for (int64_t i = 0; i < p.query_cells(); i++) {
                lse[i] = -p.lse[group * p.query_cells() + i] * LOG2E;
                delta[i] = p.delta[group * p.query_cells() + i];
            }
            lines.fill(p.query.of(b, h), p.grad.of(b, h), p.queried);
            push_head(tile, lines, lse.data(), delta.data(), group);
        }
    }
}
