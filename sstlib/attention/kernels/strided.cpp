// Strided attention: dense attention inside each residue class. Dense attention is the class of stride 1.
//
// Lanes are queries of one frame and class, gathered; keys are gathered a list at a time and spread. The rows of a tile are
// further queries of the same class, of the same and of later frames, which share the keys.
#include "abi.h"

constexpr int TALL = 8;

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
        int64_t n = 0;
        for (; n + 4 <= dim; n += 4) *(Four*)(to + i * dim + n) = *(const Four*)(cell + n);
        for (; n < dim; n++) to[i * dim + n] = cell[n];
    });
}

// The rows of a tile: `count` from the class's row `begin` on.
struct Rows {
    const Lattice& c;
    int64_t begin;
    int count;
    int64_t frame(int row) const { return (begin + row) / c.rows(); }
    int64_t first(int row) const { return (begin + row) % c.rows() * LANES; }
    int lanes(int row) const { return (int)std::min<int64_t>(LANES, c.size() - first(row)); }
    int64_t raster(int row, int lane) const { return frame(row) * c.p.height * c.p.width + c.raster(first(row) + lane); }
    int before(int64_t frame) const { return (int)std::max<int64_t>(0, std::min<int64_t>(count, frame * c.rows() - begin)); }  // rows of frames before it
};

struct Scratch {  // what a thread gathers into
    std::vector<float> cells, left, right, ranks;
    explicit Scratch(const Problem& p)
        : cells(LANES * std::max(p.dim, p.value_dim)), left(CAPACITY * p.dim), right(CAPACITY * p.value_dim),
          ranks(CAPACITY * std::max<int64_t>(p.objects + 1, 2)) {}
};

static void to_row(const Rows& rows, int row, const View& from, int64_t dim, float factor, Scratch& scratch, Vector* to) {
    gather(rows.c, from, rows.frame(row), rows.first(row), rows.lanes(row), dim, scratch.cells.data());
    to_tile(scratch.cells.data(), dim, rows.lanes(row), dim, factor, to);
}

static void from_row(const Vector* sums, const Rows& rows, int row, int64_t dim, Vector factor, Scratch& scratch, const View& to) {
    from_tile(sums, dim, factor, rows.lanes(row), scratch.cells.data(), dim);
    rows.c.walk(rows.first(row), rows.lanes(row), [&](int i, int64_t y, int64_t x) {
        memcpy(to.at(rows.frame(row), y, x), &scratch.cells[i * dim], dim * sizeof(float));
    });
}

// Visits the class's cells in frames from, from + step, ... before `to` as runs of CAPACITY cells at most, gathered from two
// views; a run's index counts the cells of the class, and `ranks` holds one row of CAPACITY numbers for each of `beside`.
template <class Visit>
static void runs(const Lattice& c, const View& left, const View& right, const std::vector<const float*>& beside, int64_t from, int64_t to,
                 int64_t step, Scratch& scratch, Visit visit) {
    for (int64_t t = from; t < to; t += step)
        for (int64_t first = 0; first < c.size(); first += CAPACITY) {
            int count = (int)std::min<int64_t>(CAPACITY, c.size() - first);
            gather(c, left, t, first, count, c.p.dim, scratch.left.data());
            gather(c, right, t, first, count, c.p.value_dim, scratch.right.data());
            for (size_t n = 0; n < beside.size(); n++) {
                const float* frame = beside[n] + t * c.p.height * c.p.width;
                c.walk(first, count, [&](int j, int64_t y, int64_t x) { scratch.ranks[n * CAPACITY + j] = frame[y * c.p.width + x]; });
            }
            Run run = {scratch.left.data(), scratch.right.data(), c.p.dim, c.p.value_dim, 1, 1, count};
            run.index = t * c.size() + first, run.index_step = 1;
            visit(run, t);
        }
}

// Calls each(group, rows) for all tiles of `frames` frames, on all threads. With a temporal stride a tile keeps to one frame.
template <class Each>
static void tiles(const Problem& p, int64_t frames, Each each) {
    int64_t apart = p.c > 1 ? 1 : frames, stretches = frames / apart, classes = std::min(p.a, p.height) * std::min(p.b, p.width);
    int64_t most = (apart * Lattice(p, 0).rows() + TALL - 1) / TALL;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < p.batch * p.heads * classes * stretches * most; item++) {
        int64_t part = item % most, stretch = item / most % stretches, residue = item / most / stretches % classes;
        Lattice lattice(p, residue / std::min(p.b, p.width) * p.b + residue % std::min(p.b, p.width));
        int64_t begin = part * TALL, end = apart * lattice.rows();
        if (begin < end)
            each(item / most / stretches / classes,
                 Rows{lattice, stretch * apart * lattice.rows() + begin, (int)std::min<int64_t>(TALL, end - begin)});
    }
}

extern "C" void forward(float* const* tensors, const int64_t* numbers, double scale) {
    const Problem p = read(tensors, numbers, scale);
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p, false);
        Scratch scratch(p);
        Terms terms;
        for (int64_t o = 0; o < p.objects; o++) terms.object.push_back(&scratch.ranks[o * CAPACITY]);
        terms.key = &scratch.ranks[p.objects * CAPACITY];
        terms.picked.resize(p.objects);
        const float absent = p.ranking == ADD ? -INFINITY : 0.f;  // the term of a key that an object does not have
        tiles(p, p.queried, [&](int64_t group, const Rows& rows) {
            int64_t b = group / p.heads, h = group % p.heads;
            std::vector<const float*> beside;
            for (int64_t o = 0; o < p.objects; o++) beside.push_back(p.term(group, o));
            if (p.ranking == SIGMOID) beside.push_back(p.key_term + group * p.cells());
            tile.start();
            for (int r = 0; r < rows.count; r++) {
                to_row(rows, r, p.query.of(b, h), p.dim, p.scale * LOG2E, scratch, tile.query + r * tile.apart);
                for (int i = 0; i < rows.lanes(r) && p.ranking == SIGMOID; i++)
                    tile.query_term[r][i] = p.query_term[group * p.query_cells() + rows.raster(r, i)];
            }
            int64_t least = p.first_frame() + rows.frame(0), last = p.first_frame() + rows.frame(rows.count - 1);
            runs(rows.c, p.key.of(b, h), p.value.of(b, h), beside, least % p.c, p.last_key_frame(last), p.c, scratch, [&](Run& run, int64_t t) {
                int begin = p.causal ? rows.before(t - p.first_frame()) : 0, later = p.objects ? rows.before(t + 1 - p.first_frame()) : begin;
                auto see = [&](int from, int to) {
                    together(from, to - from, [&](auto some, int row) { tile.template attend<Spread, decltype(some)::value>(row, run, terms); });
                };
                see(begin, later);
                if (later == rows.count) return;
                for (int64_t o = 0; o < p.objects; o++) {
                    terms.picked[o].clear();
                    for (int j = 0; j < run.count; j++)
                        if (terms.object[o][j] != absent) terms.picked[o].push_back(j);
                }
                run.earlier = run.count;
                see(later, rows.count);
            });
            for (int r = 0; r < rows.count; r++) {
                for (int64_t o = 0; p.argmax && o < p.objects; o++)  // from cells of the class to cells of the buffer
                    for (int i = 0; i < LANES; i++) {
                        int32_t found = tile.argmax[o * TALL + r][i];
                        if (found >= 0)
                            tile.argmax[o * TALL + r][i] = found / rows.c.size() * p.height * p.width + rows.c.raster(found % rows.c.size());
                    }
                from_row(tile.sums + r * tile.sums_apart, rows, r, p.value_dim, 1.f / tile.total[r], scratch, p.output.of(b, h));
                write_found(tile, r, group, rows.lanes(r), [&](int lane) { return rows.raster(r, lane); });
            }
        });
    }
}

extern "C" void backward(float* const* tensors, const int64_t* numbers, double scale) {
    const Problem p = read(tensors, numbers, scale);
    std::vector<float> negated(p.batch * p.heads * p.query_cells());
    for (size_t i = 0; i < negated.size(); i++) negated[i] = -p.lse[i] * LOG2E;
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p, true);
        Scratch scratch(p);
        auto take = [&](const View& left, const View& right, const Rows& rows) {
            tile.start();
            for (int r = 0; r < rows.count; r++) {
                to_row(rows, r, left, p.dim, p.scale * LOG2E, scratch, tile.query + r * tile.apart);
                to_row(rows, r, right, p.value_dim, 1, scratch, tile.query + r * tile.apart + p.dim);
            }
        };
        tiles(p, p.queried, [&](int64_t group, const Rows& rows) {
            int64_t b = group / p.heads, h = group % p.heads;
            take(p.query.of(b, h), p.grad.of(b, h), rows);
            for (int r = 0; r < rows.count; r++) {
                tile.top[r] = tile.total[r] = Vector{};
                for (int i = 0; i < rows.lanes(r); i++) {
                    int64_t at = group * p.query_cells() + rows.raster(r, i);
                    tile.top[r][i] = -negated[at], tile.total[r][i] = p.delta[at];
                }
            }
            int64_t least = p.first_frame() + rows.frame(0), last = p.first_frame() + rows.frame(rows.count - 1);
            runs(rows.c, p.key.of(b, h), p.value.of(b, h), {}, least % p.c, p.last_key_frame(last), p.c, scratch, [&](Run& run, int64_t t) {
                int begin = p.causal ? rows.before(t - p.first_frame()) : 0;
                together(begin, rows.count - begin, [&](auto some, int row) { tile.template pull<Spread, decltype(some)::value>(row, run); });
            });
            for (int r = 0; r < rows.count; r++)
                from_row(tile.sums + r * tile.sums_apart, rows, r, p.dim, all(p.scale), scratch, p.grad_query.of(b, h));
        });
        tiles(p, p.time, [&](int64_t group, const Rows& rows) {
            int64_t b = group / p.heads, h = group % p.heads, offset = group * p.query_cells();
            take(p.key.of(b, h), p.value.of(b, h), rows);
            int64_t from = std::max<int64_t>(0, (p.causal ? rows.frame(0) : 0) - p.first_frame());  // the first queried frame that sees the first row
            from += (((rows.frame(0) - p.first_frame() - from) % p.c) + p.c) % p.c;
            const float *lse = &scratch.ranks[0], *delta = &scratch.ranks[CAPACITY];
            runs(rows.c, p.query.of(b, h), p.grad.of(b, h), {negated.data() + offset, p.delta + offset}, from, p.queried, p.c, scratch,
                 [&](Run& run, int64_t t) {
                int end = p.causal ? rows.before(p.first_frame() + t + 1) : rows.count;
                together(0, end, [&](auto some, int row) { tile.template push<Spread, decltype(some)::value>(row, run, lse, delta, 1); });
            });
            for (int r = 0; r < rows.count; r++) {
                from_row(tile.sums + r * tile.sums_apart, rows, r, p.dim, all(p.scale), scratch, p.grad_key.of(b, h));
                from_row(tile.sums + r * tile.sums_apart + p.dim, rows, r, p.value_dim, all(1), scratch, p.grad_value.of(b, h));
            }
        });
    }
}
