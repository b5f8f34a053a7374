// Strided attention: dense attention inside each residue class. Dense attention is the class of stride 1.
//
// Lanes are queries of one frame and class, gathered; keys are broadcast from where they lie, so nothing is laid out anew.
// The rows of a tile are further queries of the same frame and class, which share the keys.
#include "abi.h"

constexpr int TALL = 8;

// The cells of a class within a frame, and a tile's share of them.
struct Lattice {
    const Problem& p;
    int64_t y0, x0, rows, columns;
    Lattice(const Problem& p, int64_t residue)
        : p(p), y0(residue / p.b), x0(residue % p.b), rows((p.height - y0 + p.a - 1) / p.a), columns((p.width - x0 + p.b - 1) / p.b) {}
    int64_t size() const { return rows * columns; }
    int64_t y(int64_t i) const { return y0 + i / columns * p.a; }
    int64_t x(int64_t i) const { return x0 + i % columns * p.b; }
    int64_t raster(int64_t i) const { return y(i) * p.width + x(i); }
};

struct Cells {  // the cells first.. of a lattice in one frame, `count` of them, LANES a row of the tile
    const Lattice& lattice;
    int64_t t, first;
    int count;
    int rows() const { return (count + LANES - 1) / LANES; }
    int lanes(int row) const { return std::min(LANES, count - row * LANES); }
    int64_t cell(int row, int lane) const { return first + row * LANES + lane; }
};

// Channels of a row of cells, gathered and transposed.
static void gather(const View& from, const Cells& cells, int row, int64_t dim, float factor, std::vector<float>& scratch, Vector* to) {
    scratch.resize(LANES * dim);
    for (int i = 0; i < cells.lanes(row); i++) {
        int64_t cell = cells.cell(row, i);
        memcpy(&scratch[i * dim], from.at(cells.t, cells.lattice.y(cell), cells.lattice.x(cell)), dim * sizeof(float));
    }
    to_tile(scratch.data(), dim, cells.lanes(row), dim, factor, to);
}

static void scatter(const Vector* sums, const Cells& cells, int row, int64_t dim, Vector factor, std::vector<float>& scratch, const View& to) {
    scratch.resize(LANES * dim);
    from_tile(sums, dim, factor, cells.lanes(row), scratch.data(), dim);
    for (int i = 0; i < cells.lanes(row); i++) {
        int64_t cell = cells.cell(row, i);
        memcpy(to.at(cells.t, cells.lattice.y(cell), cells.lattice.x(cell)), &scratch[i * dim], dim * sizeof(float));
    }
}

// Visits the class's cells in frames from..to-1 as lists of runs of CAPACITY cells at most, read from two views.
template <class Visit>
static void lists(const Lattice& c, const View& left, const View& right, int64_t from, int64_t to, int64_t step, Visit visit) {
    std::vector<Run> runs;
    int held = 0;
    for (int64_t t = from; t < to; t += step) {
        for (int64_t i = 0; i < c.size();) {
            int count = (int)std::min<int64_t>(CAPACITY - held, c.columns - i % c.columns);
            int64_t y = c.y(i), x = c.x(i), index = (t * c.p.height + y) * c.p.width + x;
            runs.push_back({left.at(t, y, x), right.at(t, y, x), left.column * c.p.b, right.column * c.p.b, 1, 1, count, nullptr, false,
                            index, index, c.p.b});
            i += count, held += count;
            if (held == CAPACITY) visit(runs.data(), (int)runs.size(), t), runs.clear(), held = 0;
        }
        if (held) visit(runs.data(), (int)runs.size(), t), runs.clear(), held = 0;  // a list stays within a frame
    }
}

// Calls each(group, cells) for all tiles of `frames` frames, on all threads.
template <class Each>
static void tiles(const Problem& p, int64_t frames, Each each) {
    int64_t most = ((p.height + p.a - 1) / p.a * ((p.width + p.b - 1) / p.b) + TALL * LANES - 1) / (TALL * LANES);
    int64_t classes = std::min(p.a, p.height) * p.b;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < p.batch * p.heads * classes * frames * most; item++) {
        int64_t part = item % most, t = item / most % frames, residue = item / most / frames % classes;
        Lattice lattice(p, residue);
        int64_t first = part * TALL * LANES;
        if (lattice.x0 >= p.width || first >= lattice.size()) continue;
        each(item / most / frames / classes, Cells{lattice, t, first, (int)std::min<int64_t>(TALL * LANES, lattice.size() - first)});
    }
}

static void write_rows(Tile<TALL>& tile, const Cells& cells, int64_t group, const View& output, std::vector<float>& scratch) {
    const Problem& p = tile.problem;
    for (int r = 0; r < cells.rows(); r++) {
        scatter(tile.sums + r * tile.apart, cells, r, p.value_dim, 1.f / tile.total[r], scratch, output);
        for (int i = 0; i < cells.lanes(r); i++)
            write_lane(tile, r, i, group, cells.t * p.height * p.width + cells.lattice.raster(cells.cell(r, i)));
    }
}

extern "C" void forward(float* const* tensors, const int64_t* numbers, double scale) {
    const Problem p = read(tensors, numbers, scale);
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p);
        std::vector<float> scratch;
        tiles(p, p.queried, [&](int64_t group, Cells cells) {
            int64_t b = group / p.heads, h = group % p.heads, frame = p.first_frame() + cells.t;
            View query = p.query.of(b, h), key = p.key.of(b, h), value = p.value.of(b, h);
            Terms terms;
            terms.step = p.b, terms.key = p.key_term + group * p.cells();
            for (int64_t o = 0; o < p.objects; o++) terms.object.push_back(p.term(group, o));
            tile.start();
            for (int r = 0; r < cells.rows(); r++) {
                gather(query, cells, r, p.dim, p.scale * LOG2E, scratch, tile.query + r * tile.apart);
                for (int i = 0; i < cells.lanes(r) && p.ranking == SIGMOID; i++)
                    tile.query_term[r][i] = p.query_term[group * p.query_cells() + cells.t * p.height * p.width + cells.lattice.raster(cells.cell(r, i))];
            }
            lists(cells.lattice, key, value, frame % p.c, p.last_key_frame(frame), p.c, [&](Run* runs, int number, int64_t t) {
                for (int n = 0; n < number; n++) runs[n].earlier = t < frame;
                paired(0, cells.rows(), [&](int row) { tile.template attend<PAIR, true, 0>(row, runs, number, terms); },
                       [&](int row) { tile.template attend<1, true, 0>(row, runs, number, terms); });
            });
            write_rows(tile, cells, group, p.output.of(b, h), scratch);
        });
    }
}

extern "C" void backward(float* const* tensors, const int64_t* numbers, double scale) {
    const Problem p = read(tensors, numbers, scale);
    std::vector<float> negated(p.batch * p.heads * p.query_cells());
    for (size_t i = 0; i < negated.size(); i++) negated[i] = -p.lse[i] * LOG2E;
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p);
        std::vector<float> scratch;
        auto take = [&](const View& left, const View& right, const Cells& cells) {
            tile.start();
            for (int r = 0; r < cells.rows(); r++) {
                gather(left, cells, r, p.dim, p.scale * LOG2E, scratch, tile.query + r * tile.apart);
                gather(right, cells, r, p.value_dim, 1, scratch, tile.query + r * tile.apart + p.dim);
            }
        };
        tiles(p, p.queried, [&](int64_t group, Cells cells) {
            int64_t b = group / p.heads, h = group % p.heads, frame = p.first_frame() + cells.t;
            take(p.query.of(b, h), p.grad.of(b, h), cells);
            for (int r = 0; r < cells.rows(); r++) {
                tile.top[r] = tile.total[r] = Vector{};
                for (int i = 0; i < cells.lanes(r); i++) {
                    int64_t at = group * p.query_cells() + cells.t * p.height * p.width + cells.lattice.raster(cells.cell(r, i));
                    tile.top[r][i] = -negated[at], tile.total[r][i] = p.delta[at];
                }
            }
            lists(cells.lattice, p.key.of(b, h), p.value.of(b, h), frame % p.c, p.last_key_frame(frame), p.c, [&](Run* runs, int number, int64_t) {
                for (Run* run = runs; run < runs + number; run++)
                    paired(0, cells.rows(), [&](int row) { tile.template pull<PAIR, true, 0>(row, *run); },
                           [&](int row) { tile.template pull<1, true, 0>(row, *run); });
            });
            for (int r = 0; r < cells.rows(); r++)
                scatter(tile.sums + r * tile.apart, cells, r, p.dim, all(p.scale), scratch, p.grad_query.of(b, h));
        });
        tiles(p, p.time, [&](int64_t group, Cells cells) {
            int64_t b = group / p.heads, h = group % p.heads, last = p.first_frame();
            take(p.key.of(b, h), p.value.of(b, h), cells);
            int64_t from = p.causal ? std::max(cells.t, last) : last;  // in the buffer; then the first of the key's class
            from += ((cells.t - from) % p.c + p.c) % p.c;
            lists(cells.lattice, p.query.of(b, h), p.grad.of(b, h), from - last, p.queried, p.c, [&](Run* runs, int number, int64_t) {
                for (Run* run = runs; run < runs + number; run++) {
                    const float *lse = negated.data() + group * p.query_cells() + run->cell, *delta = p.delta + group * p.query_cells() + run->cell;
                    paired(0, cells.rows(), [&](int row) { tile.template push<PAIR, true, 0>(row, *run, lse, delta, p.b); },
                           [&](int row) { tile.template push<1, true, 0>(row, *run, lse, delta, p.b); });
                }
            });
            for (int r = 0; r < cells.rows(); r++) {
                scatter(tile.sums + r * tile.apart, cells, r, p.dim, all(p.scale), scratch, p.grad_key.of(b, h));
                scatter(tile.sums + r * tile.apart + p.dim, cells, r, p.value_dim, all(1), scratch, p.grad_value.of(b, h));
            }
        });
    }
}
