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
    Run frames(int64_t t, int64_t y, int64_t x, int count) {
        Run run = stacked(t, y, x, left.frame, right.frame, count);
        run.cell = run.index = (t * p.height + y) * p.width + x, run.index_step = p.height * p.width;
        return run;
    }
    // The same run from cells as they came, `lefts` and `rights` being room for it: of one frame's queries each key is read once.
    Run frames(int64_t t, int64_t y, int64_t x, int count, std::vector<Vector>& lefts, std::vector<Vector>& rights) const {
        int lanes = (int)std::min<int64_t>(LANES, p.width - x);
        for (int n = 0; n < count; n++) {
            const float *from = key.at(t + n, y, x), *other = value.at(t + n, y, x);
            ask(from + key.row, key.column, lanes, p.dim), ask(other + value.row, value.column, lanes, p.value_dim);
            to_tile(from, key.column, lanes, p.dim, 1, &lefts[n * p.dim]), to_tile(other, value.column, lanes, p.value_dim, 1, &rights[n * p.value_dim]);
        }
        Run run = {(float*)lefts.data(), (float*)rights.data(), p.dim * LANES, p.value_dim * LANES, LANES, LANES, count};
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

extern "C" void forward(float* const* tensors, const int64_t* numbers, double scale) {
    Problem p = read(tensors, numbers, scale);
    const Ranks ranks(p);
    const Presence presence(p);
    Lines keys(p);
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p, false);
        bool last = p.queried == 1;  // the last frame's queries alone
        std::vector<Vector> lefts(last * CAPACITY * p.dim), rights(last * CAPACITY * p.value_dim);
        for (int64_t group = 0; group < p.batch * p.heads; group++) {
            int64_t b = group / p.heads, h = group % p.heads;
            View query = p.query.of(b, h), output = p.output.of(b, h);
            Terms terms;
            terms.step = p.height * p.width, terms.key = p.key_term + group * p.cells();
            for (int64_t o = 0; o < p.objects; o++) terms.object.push_back(p.term(group, o));
            keys.fill(p.key.of(b, h), p.value.of(b, h), last ? p.time - 1 : 0);
            tiles(p, p.queried, [&](const Place& at) {
                int64_t t = p.first_frame() + at.t;
                tile.start();
                at.each([&](int to, int r, int n) {
                    to_tile(query.at(at.t, at.y + r, at.x + n * LANES), query.column, at.lanes(n), p.dim, p.scale * LOG2E, tile.query + to * tile.apart);
                    take_terms(tile, to, group);
                });
                for (int r = 0; r < at.tall; r++)
                    Lines::pieces(p.width, [&](int64_t done, int number) {
                        Run run = keys.row(t, at.y + r, done, number);
                        if (at.wide == 1) tile.template attend<Spread, 1>(r, run, terms);
                        else tile.template attend<Spread, WIDE, HIGH>(r, run, terms);
                    });
                for (int n = 0; n < at.wide; n++)
                    Lines::pieces(p.height, [&](int64_t done, int number) {
                        Run run = keys.column(t, done, at.x + n * LANES, number);
                        together<HIGH>(n * HIGH, at.tall, [&](auto rows, int row) {
                            tile.template attend<Stacked, decltype(rows)::value>(row, run, terms, (int)(at.y + row - n * HIGH - done));
                        });
                    });
                at.each([&](int to, int r, int n) {
                    int64_t y = at.y + r, x = at.x + n * LANES;
                    if (p.objects) presence.list(b, y, x, terms.present);
                    Lines::pieces(p.last_key_frame(t), [&](int64_t done, int number) {
                        Run run = last ? keys.frames(done, y, x, number, lefts, rights) : keys.frames(done, y, x, number);
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

// Everything of one head in backward, as stacks: inputs as they are, gradients before they are scaled. A vector's lanes take part in
// its column and its time line only, so that what a query gives to the keys there needs no turning.
struct Head {
    const Problem& p;
    Lines keys;
    Stacks query, grad, softmax;  // the latter: log-sum-exp (in log 2) and delta
    Stacks to_key, to_value, to_query;
    View row_queries, row_grads;  // as they came, for the x line
    int64_t group = 0;

    explicit Head(const Problem& p)
        : p(p), keys(p), query(p, p.dim), grad(p, p.value_dim), softmax(p, 2), to_key(p, p.dim), to_value(p, p.value_dim), to_query(p, p.dim) {}

    void fill(int64_t number) {  // by all threads together
        int64_t b = number / p.heads, h = number % p.heads;
#pragma omp single
        group = number, row_queries = p.query.of(b, h), row_grads = p.grad.of(b, h);
        keys.fill(p.key.of(b, h), p.value.of(b, h), 0);
#pragma omp for
        for (int64_t line = 0; line < p.time * p.height; line++) {
            int64_t t = line / p.height, y = line % p.height;
            for (int64_t x = 0; x < p.width; x += LANES)
                std::fill_n(to_key.at(t, y, x), p.dim, Vector{}), std::fill_n(to_value.at(t, y, x), p.value_dim, Vector{});
            if (t >= p.queried) continue;
            query.fill(row_queries, t, y), grad.fill(row_grads, t, y);
            for (int64_t x = 0; x < p.width; x += LANES) take_softmax(t, y, x);
        }
    }
    void take_softmax(int64_t t, int64_t y, int64_t x) {
        int64_t first = group * p.query_cells() + (t * p.height + y) * p.width + x, count = std::min<int64_t>(LANES, p.width - x);
        Vector lse = all(-NEVER);  // lanes without a query have no weight
        memcpy(&lse, p.lse + first, count * sizeof(float));
        softmax.at(t, y, x)[0] = lse * LOG2E;
        softmax.at(t, y, x)[1] = delta(p, p.output.of(group / p.heads, group % p.heads).at(t, y, x), grad.at(t, y, x), first, (int)count);
    }
    // Loads a row of the tile from the queries at (t, y, x), with sums of 0.
    void take(Tile<TALL>& tile, int row, int64_t t, int64_t y, int64_t x) {
        Vector* to = tile.query + row * tile.apart;
        for (int64_t c = 0; c < p.dim; c++) to[c] = query.at(t, y, x)[c] * (p.scale * LOG2E);
        memcpy((void*)(to + p.dim), grad.at(t, y, x), p.value_dim * sizeof(Vector));
        std::fill_n(tile.sums + row * tile.sums_apart, p.dim, Vector{});
        tile.top[row] = softmax.at(t, y, x)[0], tile.total[row] = softmax.at(t, y, x)[1];
    }
    void give(const Tile<TALL>& tile, int row, int64_t t, int64_t y, int64_t x) {
        for (int64_t c = 0; c < p.dim; c++) to_query.at(t, y, x)[c] += tile.sums[row * tile.sums_apart + c];
    }
    void write(int64_t b, int64_t h) {  // by all threads together
        View keys = p.grad_key.of(b, h), values = p.grad_value.of(b, h), queries = p.grad_query.of(b, h);
#pragma omp for
        for (int64_t line = 0; line < p.time * p.height; line++) {
            int64_t t = line / p.height, y = line % p.height;
            for (int64_t x = 0; x < p.width; x += LANES) {
                int count = (int)std::min<int64_t>(LANES, p.width - x);
                from_tile(to_key.at(t, y, x), p.dim, all(p.scale), count, keys.at(t, y, x), keys.column);
                from_tile(to_value.at(t, y, x), p.value_dim, all(1), count, values.at(t, y, x), values.column);
                if (t < p.queried) from_tile(to_query.at(t, y, x), p.dim, all(p.scale), count, queries.at(t, y, x), queries.column);
            }
        }
    }
};

// The line along x from a stack of rows; keys are spread, so that weights are turned before they give to the keys.
static void along_rows(Tile<TALL>& tile, Head& head, const Place& at) {
    const Problem& p = head.p;
    int64_t t = p.first_frame() + at.t;
    at.each([&](int row, int r, int n) { head.take(tile, row, at.t, at.y + r, at.x + n * LANES); });
    for (int r = 0; r < at.tall; r++)
        for (int64_t done = 0; done < p.width; done += MOST * LANES) {
            int64_t y = at.y + r;
            Run run = head.keys.row(t, y, done, (int)std::min<int64_t>(p.width - done, MOST * LANES));
            if (at.wide == 1) tile.template pull<Spread, 1>(r, run);
            else tile.template pull<Spread, WIDE, HIGH>(r, run);
            for (int n = 0; n < at.wide; n++)
                together(0, (run.count + LANES - 1) / LANES, [&](auto blocks, int) {
                    int64_t x = at.x + n * LANES;
                    tile.template turn<decltype(blocks)::value>(
                        n, at.lanes(n), head.row_queries.at(at.t, y, x), head.row_queries.column, head.row_grads.at(at.t, y, x),
                        head.row_grads.column, head.to_key.at(t, y, done), head.to_key.column, head.to_value.at(t, y, done), head.to_value.column);
                });
        }
    at.each([&](int row, int r, int n) {
        memcpy((void*)head.to_query.at(at.t, at.y + r, at.x + n * LANES), tile.sums + row * tile.sums_apart, p.dim * sizeof(Vector));
    });
}

// The line along y of the rows y.. of one vector's columns.
static void along_columns(Tile<TALL>& tile, Head& head, int64_t frame, int64_t y, int64_t x, int rows) {
    const Problem& p = head.p;
    int64_t t = p.first_frame() + frame;
    for (int r = 0; r < rows; r++) head.take(tile, r, frame, y + r, x);
    Lines::pieces(p.height, [&](int64_t done, int number) {
        Run run = head.keys.column(t, done, x, number);
        together<HIGH>(0, rows, [&](auto some, int row) {
            tile.template pull<Stacked, decltype(some)::value>(row, run, (int)(y + row - done));
            tile.template scatter_run<decltype(some)::value>(number, head.query.at(frame, y + row, x), p.dim, head.grad.at(frame, y + row, x),
                                                             p.value_dim, head.to_key.at(t, done, x), p.dim, head.to_value.at(t, done, x), p.value_dim);
        });
    });
    for (int r = 0; r < rows; r++) head.give(tile, r, frame, y + r, x);
}

// The time lines of a vector of cells, from the queries of `rows` frames.
static void along_time(Tile<TALL>& tile, Head& head, int64_t frame, int64_t y, int64_t x, int rows) {
    const Problem& p = head.p;
    int64_t t = p.first_frame() + frame;
    for (int r = 0; r < rows; r++) head.take(tile, r, frame + r, y, x);
    Lines::pieces(p.last_key_frame(t + rows - 1), [&](int64_t done, int number) {
        Run run = head.keys.frames(done, y, x, number);
        together<HIGH>(0, rows, [&](auto some, int row) {
            tile.template pull<Stacked, decltype(some)::value>(row, run, (int)(t + row - done), p.causal);
            tile.template scatter_run<decltype(some)::value>(number, head.query.at(frame + row, y, x), head.query.frame,
                                                             head.grad.at(frame + row, y, x), head.grad.frame, head.to_key.at(done, y, x),
                                                             head.to_key.frame, head.to_value.at(done, y, x), head.to_value.frame);
        });
    });
    for (int r = 0; r < rows; r++) head.give(tile, r, frame + r, y, x);
}

extern "C" void backward(float* const* tensors, const int64_t* numbers, double scale) {
    const Problem p = read(tensors, numbers, scale);
    int64_t vectors = (p.width + LANES - 1) / LANES;
    Head head(p);
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p, true);
        for (int64_t group = 0; group < p.batch * p.heads; group++) {
            head.fill(group);
            int64_t stacks = (p.height + HIGH - 1) / HIGH;
#pragma omp for schedule(dynamic)  // a stack of rows is one thread's, then a frame's column, then a time line: each sum has one owner
            for (int64_t item = 0; item < p.queried * stacks; item++)
                for (int64_t n = 0, y = item % stacks * HIGH; n < vectors; n += WIDE)
                    along_rows(tile, head, {item / stacks, y, n * LANES, (int)std::min<int64_t>(HIGH, p.height - y),
                                            (int)std::min<int64_t>(WIDE, vectors - n), p});
#pragma omp for schedule(dynamic)
            for (int64_t item = 0; item < p.queried * vectors; item++)
                for (int64_t y = 0; y < p.height; y += HIGH)
                    along_columns(tile, head, item / vectors, y, item % vectors * LANES, (int)std::min<int64_t>(HIGH, p.height - y));
#pragma omp for schedule(dynamic)
            for (int64_t item = 0; item < p.height * vectors; item++)
                for (int64_t t = 0; t < p.queried; t += HIGH)
                    along_time(tile, head, t, item / vectors, item % vectors * LANES, (int)std::min<int64_t>(HIGH, p.queried - t));
            head.write(group / p.heads, group % p.heads);
        }
    }
}
