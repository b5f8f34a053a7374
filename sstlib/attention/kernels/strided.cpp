// Strided attention: dense attention inside each residue class. Dense attention is the class of stride 1.
//
// Lanes are queries of one frame and class, gathered; keys are gathered a list at a time and spread. The rows of a tile are
// further queries of the same class, of the same and of later frames, which share the keys.
#include "abi.h"

constexpr int TALL = 8;
constexpr int AHEAD = 6;  // by so many rows of a class its cells are asked for ahead of their use

// The cells of a class: frames of a lattice, and rows of at most LANES of its cells, frame after frame.
struct Lattice {
    const Problem& p;
    int64_t y0, x0, height, width;
    Lattice(const Problem& p, int64_t residue)
        : p(p), y0(residue / p.b), x0(residue % p.b), height((p.height - y0 + p.a - 1) / p.a), width((p.width - x0 + p.b - 1) / p.b) {}
    int64_t size() const { return height * width; }
    int64_t rows() const { return (size() + LANES - 1) / LANES; }  // of a frame
    int64_t raster(int64_t i) const { return (y0 + i / width * p.a) * p.width + x0 + i % width * p.b; }
    template <class Visit>
    void walk(int64_t first, int count, Visit visit) const {  // visit(0.., y, x) of the cells first.., without divisions
        int64_t line = first / width, column = first % width;
        for (int i = 0; i < count; i++) {
            visit(i, y0 + line * p.a, x0 + column * p.b);
            if (++column == width) column = 0, line++;
        }
    }
};

// Copies the cells first..first+count-1 of frame t side by side.
static void gather(const Lattice& c, const View& from, int64_t t, int64_t first, int count, int64_t dim, float* to) {
    c.walk(first, count, [&](int i, int64_t y, int64_t x) {
        const float* cell = from.at(t, y, x);
        ask(cell + AHEAD * c.p.a * from.row, 0, 1, dim);
        int64_t n = 0;
        for (; n + LANES <= dim; n += LANES) store(to + i * dim + n, load(cell + n));
        for (; n + 4 <= dim; n += 4) *(Four*)(to + i * dim + n) = *(const Four*)(cell + n);
        for (; n < dim; n++) to[i * dim + n] = cell[n];
    });
}

// The rows of a tile: `count` from the class's row `begin` on, with the frame, first cell and raster indices of each.
struct Rows {
    const Lattice& c;
    int64_t begin;
    int count;
    int64_t frame[TALL], first[TALL], raster[TALL][LANES];
    int lanes[TALL];

    Rows(const Lattice& c, int64_t begin, int count) : c(c), begin(begin), count(count) {
        for (int r = 0; r < count; r++) {
            frame[r] = (begin + r) / c.rows(), first[r] = (begin + r) % c.rows() * LANES;
            lanes[r] = (int)std::min<int64_t>(LANES, c.size() - first[r]);
            c.walk(first[r], lanes[r], [&](int i, int64_t y, int64_t x) { raster[r][i] = (frame[r] * c.p.height + y) * c.p.width + x; });
        }
    }
    int before(int64_t frame) const { return (int)std::max<int64_t>(0, std::min<int64_t>(count, frame * c.rows() - begin)); }  // rows of frames before it
};

struct Scratch {  // what a thread gathers a row into
    std::vector<float> cells;
    explicit Scratch(const Problem& p) : cells(LANES * std::max(p.dim, p.value_dim)) {}
};

// Keys or values of a class, cell after cell: gathered, or where they are if they lie so.
struct Cells {
    std::vector<float> gathered;
    const float* data;
    int64_t step, frame;

    static bool whole(const Problem& p, const View& from) { return p.a * p.b == 1 && from.row == p.width * from.column; }
    void take(const Lattice& c, const View& from, int64_t dim, int64_t first, int64_t every) {
        if (whole(c.p, from)) return (void)(data = from.data, step = from.column, frame = from.frame);
        gathered.resize(c.p.time * c.size() * dim);
        data = gathered.data(), step = dim, frame = c.size() * dim;
        for (int64_t t = first; t < c.p.time; t += every) gather(c, from, t, 0, (int)c.size(), dim, &gathered[t * frame]);
    }
    const float* at(int64_t t, int64_t first) const { return data + t * frame + first * step; }
};

static void to_row(const Rows& rows, int row, const View& from, int64_t dim, float factor, Scratch& scratch, Vector* to) {
    gather(rows.c, from, rows.frame[row], rows.first[row], rows.lanes[row], dim, scratch.cells.data());
    to_tile(scratch.cells.data(), dim, rows.lanes[row], dim, factor, to);
}

static void from_row(const Vector* sums, const Rows& rows, int row, int64_t dim, Vector factor, Scratch& scratch, const View& to) {
    from_tile(sums, dim, factor, rows.lanes[row], scratch.cells.data(), dim);
    rows.c.walk(rows.first[row], rows.lanes[row], [&](int i, int64_t y, int64_t x) {
        memcpy(to.at(rows.frame[row], y, x), &scratch.cells[i * dim], dim * sizeof(float));
    });
}

static Run stretch(const Cells& keys, const Cells& values, const Lattice& c, int64_t t, int64_t first, int most) {
    Run run = {keys.at(t, first), values.at(t, first), keys.step, values.step, 1, 1, (int)std::min<int64_t>(most, c.size() - first)};
    run.cell = run.index = t * c.size() + first, run.index_step = 1;
    return run;
}

// What ranks the cells of a class for objects, and which of them each object has.
struct Listed {
    const Problem& p;
    const float absent;  // the term of a key that an object does not have
    std::vector<float> gathered;
    std::vector<int> keys;    // within their stretch of CAPACITY cells, for each object and stretch
    std::vector<size_t> ends;

    explicit Listed(const Problem& p) : p(p), absent(p.ranking == ADD ? -INFINITY : 0.f) {}
    int64_t stretches(const Lattice& c) const { return (c.size() + CAPACITY - 1) / CAPACITY; }
    const float* side(const Lattice& c, int64_t n) const { return gathered.data() + n * p.time * c.size(); }

    void take(const Lattice& c, int64_t group) {
        gathered.resize((p.objects + 1) * p.time * c.size()), keys.resize(p.objects * p.time * c.size()), ends.assign(1, 0);
        int* next = keys.data();
        for (int64_t n = 0; n < p.objects + (p.ranking == SIGMOID); n++) {
            const float* from = n < p.objects ? p.term(group, n) : p.key_term + group * p.cells();
            float* to = &gathered[n * p.time * c.size()];
            for (int64_t t = 0; t < p.time; t++, to += c.size(), from += p.height * p.width) {
                c.walk(0, (int)c.size(), [&](int i, int64_t y, int64_t x) { to[i] = from[y * p.width + x]; });
                for (int64_t first = 0; n < p.objects && first < c.size(); first += CAPACITY) {
                    for (int j = 0; j < std::min<int64_t>(CAPACITY, c.size() - first); j++) *next = j, next += to[first + j] != absent;
                    ends.push_back(next - keys.data());
                }
            }
        }
    }
    void show(const Lattice& c, Terms& terms) const {
        terms.picked.resize(p.objects), terms.object.resize(p.objects), terms.key = side(c, p.objects);
        for (int64_t o = 0; o < p.objects; o++) terms.object[o] = side(c, o);
    }
    void pick(const Lattice& c, int64_t t, int64_t first, Terms& terms) const {
        for (int64_t o = 0; o < p.objects; o++) {
            size_t n = (o * p.time + t) * stretches(c) + first / CAPACITY;
            terms.picked[o] = {keys.data() + ends[n], keys.data() + ends[n + 1]};
        }
    }
};

// The tiles of a class: `most` for each stretch of frames. With a temporal stride a tile keeps to one frame.
struct Tiling {
    const Problem& p;
    int64_t frames, apart, most, down, across;
    Tiling(const Problem& p, int64_t frames)
        : p(p), frames(frames), apart(p.c > 1 ? 1 : frames), most((apart * Lattice(p, 0).rows() + TALL - 1) / TALL),
          down(std::min(p.a, p.height)), across(std::min(p.b, p.width)) {}
    int64_t count() const { return frames / apart * most; }
    int64_t classes() const { return down * across; }
    Lattice lattice(int64_t number) const { return Lattice(p, number / across * p.b + number % across); }
    template <class Each>
    void visit(const Lattice& c, int64_t number, Each each) const {  // each(rows), unless the class is small and has no such tile
        int64_t begin = number % most * TALL, end = apart * c.rows();
        if (begin < end) each(Rows(c, number / most * end + begin, (int)std::min<int64_t>(TALL, end - begin)));
    }
};

// Attention of a tile to its class.
static void attend_tile(Tile<TALL>& tile, const Rows& rows, const Cells& keys, const Cells& values, const Listed& ranks, Terms& terms) {
    const Problem& p = tile.problem;
    int64_t least = p.first_frame() + rows.frame[0], last = p.first_frame() + rows.frame[rows.count - 1];
    auto see = [&](const Run& run, int from, int to) {
        together(from, to - from, [&](auto some, int row) { tile.template attend<Spread, decltype(some)::value>(row, run, terms); });
    };
    for (int64_t t = least % p.c; t < p.last_key_frame(last); t += p.c) {
        int begin = p.causal ? rows.before(t - p.first_frame()) : 0, later = p.objects ? rows.before(t + 1 - p.first_frame()) : rows.count;
        for (int64_t first = 0; first < rows.c.size(); first += CAPACITY) {
            Run run = stretch(keys, values, rows.c, t, first, CAPACITY);
            see(run, begin, later);
            if (later == rows.count) continue;
            ranks.pick(rows.c, t, first, terms);
            run.earlier = run.count;
            see(run, std::max(begin, later), rows.count);
        }
    }
}

static void forward_tile(Tile<TALL>& tile, const Rows& rows, const Cells& keys, const Cells& values, const Listed& ranks, Terms& terms,
                         int64_t group, Scratch& scratch) {
    const Problem& p = tile.problem;
    int64_t b = group / p.heads, h = group % p.heads, plane = p.height * p.width;
    tile.start();
    for (int r = 0; r < rows.count; r++) {
        to_row(rows, r, p.query.of(b, h), p.dim, p.scale * LOG2E, scratch, tile.query + r * tile.apart);
        take_terms(tile, r, group);
    }
    attend_tile(tile, rows, keys, values, ranks, terms);
    for (int r = 0; r < rows.count; r++) {
        for (int64_t o = 0; p.argmax && o < p.objects; o++)  // from cells of the class to cells of the buffer
            for (int i = 0; i < LANES; i++) {
                int32_t& found = ((int32_t*)&tile.argmax[o * TALL + r])[i];
                if (found >= 0) found = found / rows.c.size() * plane + rows.c.raster(found % rows.c.size());
            }
        from_row(tile.sums + r * tile.sums_apart, rows, r, p.value_dim, 1.f / tile.total[r], scratch, p.output.of(b, h));
        write_found(tile, r, group, [&](float* to, Vector lanes) {
            for (int i = 0; i < rows.lanes[r]; i++) to[rows.raster[r][i]] = lanes[i];
        });
    }
}

extern "C" void forward(float* const* tensors, const int64_t* numbers, double scale) {
    Problem p = read(tensors, numbers, scale);
    const Ranks ranks(p);
    const Tiling tiling(p, p.queried);
    int64_t parts = Cells::whole(p, p.key) ? tiling.count() : 1;  // a class that is gathered is so once
    int64_t groups = p.batch * p.heads, alike = !p.objects ? groups : p.per_head || p.ranking == SIGMOID ? 1 : p.heads;  // groups that rank alike
    std::vector<Listed> listed(tiling.classes(), Listed(p));
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p, false);
        Scratch scratch(p);
        Cells keys, values;
        Terms terms;
        for (int64_t start = 0; start < groups; start += alike) {
            if (p.objects) {
#pragma omp for
                for (int64_t n = 0; n < tiling.classes(); n++) listed[n].take(tiling.lattice(n), start);
            }
#pragma omp for schedule(dynamic)
            for (int64_t item = 0; item < alike * tiling.classes() * parts; item++) {
                int64_t number = item / parts % tiling.classes(), group = start + item / parts / tiling.classes(), b = group / p.heads, h = group % p.heads;
                const Lattice lattice = tiling.lattice(number);
                int64_t first = p.queried == 1 ? (p.time - 1) % p.c : 0, every = p.queried == 1 ? p.c : 1;  // frames that one query's frame sees
                keys.take(lattice, p.key.of(b, h), p.dim, first, every), values.take(lattice, p.value.of(b, h), p.value_dim, first, every);
                if (p.objects) listed[number].show(lattice, terms);
                for (int64_t n = item % parts; n < tiling.count(); n += parts)
                    tiling.visit(lattice, n, [&](const Rows& rows) { forward_tile(tile, rows, keys, values, listed[number], terms, group, scratch); });
            }
        }
    }
}

// One class in backward: its keys and values, gathered; what their gradients sum up to, lanes being cells; a tile's queries.
struct Class {
    const Problem& p;
    Cells keys, values;
    std::vector<float> queries, grads;
    std::vector<Vector> to_keys, to_values;

    explicit Class(const Problem& p)
        : p(p), queries(TALL * LANES * p.dim), grads(TALL * LANES * p.value_dim) {}

    void start(const Lattice& c, const View& key, const View& value) {
        keys.take(c, key, p.dim, 0, 1), values.take(c, value, p.value_dim, 0, 1);
        to_keys.assign(p.time * c.rows() * p.dim, Vector{}), to_values.assign(p.time * c.rows() * p.value_dim, Vector{});
    }
    void take(Tile<TALL>& tile, const Rows& rows, const View& query, const View& grad, int64_t group) {
        tile.start();
        for (int r = 0; r < rows.count; r++) {
            float *q = &queries[r * LANES * p.dim], *g = &grads[r * LANES * p.value_dim];
            gather(rows.c, query, rows.frame[r], rows.first[r], rows.lanes[r], p.dim, q);
            gather(rows.c, grad, rows.frame[r], rows.first[r], rows.lanes[r], p.value_dim, g);
            to_tile(q, p.dim, rows.lanes[r], p.dim, p.scale * LOG2E, tile.query + r * tile.apart);
            to_tile(g, p.value_dim, rows.lanes[r], p.value_dim, 1, tile.query + r * tile.apart + p.dim);
            take_softmax(tile, r, rows.lanes[r], [&](int i) { return group * p.query_cells() + rows.raster[r][i]; });
        }
    }
    void pull(Tile<TALL>& tile, const Rows& rows) {
        int64_t least = p.first_frame() + rows.frame[0], last = p.first_frame() + rows.frame[rows.count - 1];
        for (int64_t t = least % p.c; t < p.last_key_frame(last); t += p.c) {
            int begin = p.causal ? rows.before(t - p.first_frame()) : 0;
            for (int64_t first = 0; first < rows.c.size(); first += MOST * LANES) {
                int64_t block = t * rows.c.rows() + first / LANES;
                Run run = stretch(keys, values, rows.c, t, first, MOST * LANES);
                together(begin, rows.count - begin, [&](auto some, int row) {
                    tile.template pull<Spread, decltype(some)::value>(row, run);
                    for (int r = 0; r < decltype(some)::value; r++)
                        together(0, (run.count + LANES - 1) / LANES, [&](auto blocks, int) {
                            tile.template turn<decltype(blocks)::value>(
                                r, rows.lanes[row + r], &queries[(row + r) * LANES * p.dim], p.dim,
                                &grads[(row + r) * LANES * p.value_dim], p.value_dim, &to_keys[block * p.dim], p.dim,
                                &to_values[block * p.value_dim], p.value_dim);
                        });
                });
            }
        }
    }
    void end(const Lattice& c, Scratch& scratch, const View& to_key, const View& to_value) {
        for (int64_t first = 0; first < p.time * c.rows(); first += TALL) {
            const Rows rows(c, first, (int)std::min<int64_t>(TALL, p.time * c.rows() - first));
            for (int r = 0; r < rows.count; r++) {
                from_row(&to_keys[(first + r) * p.dim], rows, r, p.dim, all(p.scale), scratch, to_key);
                from_row(&to_values[(first + r) * p.value_dim], rows, r, p.value_dim, all(1), scratch, to_value);
            }
        }
    }
};

extern "C" void backward(float* const* tensors, const int64_t* numbers, double scale) {
    Problem p = read(tensors, numbers, scale);
    const Deltas deltas(p);
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p, true);
        Scratch scratch(p);
        Class cells(p);
        const Tiling tiling(p, p.queried);
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < p.batch * p.heads * tiling.classes(); item++) {  // a class is one thread's: its keys' sums keep one order
            int64_t group = item / tiling.classes(), b = group / p.heads, h = group % p.heads;
            const Lattice lattice = tiling.lattice(item % tiling.classes());
            cells.start(lattice, p.key.of(b, h), p.value.of(b, h));
            for (int64_t n = 0; n < tiling.count(); n++)
                tiling.visit(lattice, n, [&](const Rows& rows) {
                    cells.take(tile, rows, p.query.of(b, h), p.grad.of(b, h), group);
                    cells.pull(tile, rows);
                    for (int r = 0; r < rows.count; r++)
                        from_row(tile.sums + r * tile.sums_apart, rows, r, p.dim, all(p.scale), scratch, p.grad_query.of(b, h));
                });
            cells.end(lattice, scratch, p.grad_key.of(b, h), p.grad_value.of(b, h));
        }
    }
}
