// Grid attention: the three axis lines under one softmax. Lanes are neighboring queries of a row.
//
// The line along x is spread from where the keys lie; those along y and t are read from stacks of vectors, a column of LANES
// cells being one block of memory. The own cell counts along x: the lines along y and t mask it.
// Affinity comes from the frames before alone, since rows and columns lie in the query's own frame.
#include "grid.h"

// A thread's work on the queries of one head.
struct Work {
    const Problem& p;
    const Presence& presence;
    Lines& keys;
    Tile<TALL> tile;
    Terms terms;
    View query, output;
    int64_t group = 0;

    Work(const Problem& p, const Presence& presence, Lines& keys) : p(p), presence(presence), keys(keys), tile(p, false) {}

    void begin(int64_t number) {  // by all threads together
        int64_t b = number / p.heads, h = number % p.heads;
        group = number, query = p.query.of(b, h), output = p.output.of(b, h);
        terms.step = p.height * p.width, terms.key = p.key_term + group * p.cells(), terms.object.clear();
        for (int64_t o = 0; o < p.objects; o++) terms.object.push_back(p.term(group, o));
        keys.fill(p.key.of(b, h), p.value.of(b, h), p.queried == 1 ? p.time - 1 : 0);
    }
    void take(const Place& at) {
        tile.start();
        at.each([&](int to, int r, int n) {
            to_tile(query.at(at.t, at.y + r, at.x + n * LANES), query.column, at.lanes(n), p.dim, p.scale * LOG2E, tile.query + to * tile.apart);
            take_terms(tile, to, group);
        });
    }
    void across(const Place& at) {  // the lines along x and y
        int64_t t = p.first_frame() + at.t;
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
    }
    void through(const Place& at) {  // the lines along time
        int64_t t = p.first_frame() + at.t;
        at.each([&](int to, int r, int n) {
            show(at.y + r, at.x + n * LANES);
            Lines::pieces(p.last_key_frame(t), [&](int64_t done, int number) {
                Run run = keys.frames(done, at.y + r, at.x + n * LANES, number, t);
                tile.template attend<Stacked, 1>(to, run, terms, (int)(t - done));
            });
        });
    }
    void show(int64_t y, int64_t x) {  // which objects the time lines of a vector have
        if (p.objects) presence.list(group / p.heads, y, x, terms.present);
    }
    void give(const Place& at) {
        at.each([&](int from, int r, int n) {
            write(tile, from, group, output.at(at.t, at.y + r, at.x + n * LANES), output.column, at.cell(r, n), at.lanes(n));
        });
    }
};

// A band of rows of the last frame and its time lines. Their keys are read once each, so that to turn them into lanes would cost more
// than the products, and memory is what bounds them: the cells of a few frames at a time are streamed as they came.
struct Band {
    static constexpr int64_t LENGTH = 1 << 16;  // floats that a frame's part has, about: shorter streams are slower
    static constexpr int STREAMS = 4;

    const Problem& p;
    int64_t rows, vectors, most, kept;
    Reserve memory;
    Vector *weights, *records;  // of each vector of cells: its frames' scores, then weights; what softmax and ranking keep
    float* sums;                // of the weighted values of each cell

    explicit Band(const Problem& p)
        : p(p), rows(height(p)), vectors((p.width + LANES - 1) / LANES), most(std::min<int64_t>(CAPACITY, p.time - 1)), kept(2 + 2 * p.objects),
          memory(rows * vectors * LANES * (most + kept + p.value_dim)), weights((Vector*)memory.data()), records(weights + rows * vectors * most),
          sums((float*)(records + rows * vectors * kept)) {}
    static int64_t height(const Problem& p) {
        if (p.queried > 1) return 0;  // none
        int64_t rows = std::min((p.height + p.threads - 1) / p.threads, std::max<int64_t>(LENGTH / (p.width * p.dim), 1));
        return (rows + HIGH - 1) / HIGH * HIGH;
    }
    int64_t count() const { return (p.height + rows - 1) / rows; }
    int64_t vector(int64_t y, int64_t x) const { return y % rows * vectors + x / LANES; }
    template <class Visit>
    void each(int64_t band, Visit visit) const {  // visit(the vector's number, y, x, cells)
        for (int64_t y = band * rows; y < std::min(p.height, (band + 1) * rows); y++)
            for (int64_t x = 0; x < p.width; x += LANES) visit(vector(y, x), y, x, (int)std::min<int64_t>(LANES, p.width - x));
    }
    // Visits the band's vectors in `number` frames, STREAMS of them side by side: visit(frame, the vector's number, y, x, cells).
    template <class Visit>
    void stream(int64_t band, int number, Visit visit) const {
        for (int some = 0; some < number; some += STREAMS)
            each(band, [&](int64_t v, int64_t y, int64_t x, int cells) {
                for (int n = some; n < std::min(number, some + STREAMS); n++) visit(n, v, y, x, cells);
            });
    }
    void attend(int64_t band, Work& work) {
        const View &query = work.query, &key = work.keys.key, &value = work.keys.value;
        work.tile.start();
        each(band, [&](int64_t v, int64_t, int64_t, int) { work.tile.keep(0, &records[v * kept]); });
        std::fill_n(sums, rows * vectors * LANES * p.value_dim, 0.f);
        Lines::pieces(p.time - 1, [&](int64_t done, int number) {
            stream(band, number, [&](int n, int64_t v, int64_t y, int64_t x, int cells) {
                weights[v * most + n] = (p.scale * LOG2E) * correlate_cells(query.at(0, y, x), query.column, key.at(done + n, y, x), key.column, cells, (int)p.dim);
            });
            each(band, [&](int64_t v, int64_t y, int64_t x, int cells) { weigh(work, v, done, number, y, x, cells); });
            stream(band, number, [&](int n, int64_t v, int64_t y, int64_t x, int cells) {
                blend_cells(weights[v * most + n], value.at(done + n, y, x), value.column, cells, (int)p.value_dim, &sums[v * LANES * p.value_dim]);
            });
        });
    }
    void weigh(Work& work, int64_t v, int64_t done, int number, int64_t y, int64_t x, int cells) {
        Tile<TALL>& tile = work.tile;
        if (p.ranking == SIGMOID) {
            to_tile(work.query.at(0, y, x), work.query.column, cells, p.dim, p.scale * LOG2E, tile.query);
            take_terms(tile, 0, work.group);
        }
        work.show(y, x);
        tile.recall(0, &records[v * kept]);
        Vector before = tile.top[0], *own = std::exchange(tile.scores, &weights[v * most]);
        tile.template weigh<Stacked, 1>(0, work.keys.frames(done, y, x, number, p.time - 1), work.terms);
        tile.scores = own;
        tile.keep(0, &records[v * kept]);
        Vector less = exp2(before - tile.top[0]);
        for (int i = 0; done && i < cells; i++)
            for (int64_t c = 0; c < p.value_dim; c++) sums[(v * LANES + i) * p.value_dim + c] *= less[i];
    }
    void resume(const Place& at, Tile<TALL>& tile) {
        at.each([&](int to, int r, int n) {
            int64_t v = vector(at.y + r, at.x + n * LANES);
            tile.recall(to, &records[v * kept]);
            to_tile(&sums[v * LANES * p.value_dim], p.value_dim, at.lanes(n), p.value_dim, 1, tile.sums + to * tile.sums_apart);
        });
    }
};

extern "C" void forward(float* const* tensors, const int64_t* numbers, double scale) {
    Problem p = read(tensors, numbers, scale);
    const Ranks ranks(p);
    const Presence presence(p);
    Lines keys(p);
#pragma omp parallel num_threads(p.threads)
    {
        Work work(p, presence, keys);
        Band bands(p);
        int64_t stacks = (p.height + HIGH - 1) / HIGH, columns = (p.width + WIDE * LANES - 1) / (WIDE * LANES);
        for (int64_t group = 0; group < p.batch * p.heads; group++) {
            work.begin(group);
            if (p.queried == 1) {
#pragma omp for schedule(dynamic)
                for (int64_t band = 0; band < bands.count(); band++) {
                    bands.attend(band, work);
                    for (int64_t y = band * bands.rows; y < std::min(p.height, (band + 1) * bands.rows); y += HIGH)
                        for (int64_t x = 0; x < p.width; x += WIDE * LANES) {
                            Place at(p, 0, y, x);
                            work.take(at), bands.resume(at, work.tile), work.across(at), work.give(at);
                        }
                }
                continue;
            }
#pragma omp for schedule(dynamic)
            for (int64_t item = 0; item < p.queried * stacks * columns; item++) {
                Place at(p, item / stacks % p.queried, item % stacks * HIGH, item / stacks / p.queried * WIDE * LANES);
                work.take(at), work.across(at), work.through(at), work.give(at);
            }
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
        Run run = head.keys.frames(done, y, x, number, t);
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
                    along_rows(tile, head, Place(p, item / stacks, y, n * LANES));
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
