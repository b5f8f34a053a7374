// Grid attention: the three axis lines under one softmax. Lanes are neighbouring queries of a row.
//
// The line along x is broadcast from where the keys lie; those along y and t are rows laid out channel by channel, lane by
// lane. The own cell counts along x: the y line masks it, the t line consists of the frames before and the frames after.
// Affinity comes from the frames before alone, since rows and columns lie in the query's own frame.
#include "planes.h"

constexpr int TALL = 8;

struct Lines {
    const Problem& p;
    Planes left, right;
    View key, value;  // as they came, for the x line

    explicit Lines(const Problem& p) : p(p), left(p, p.time, p.dim, 0), right(p, p.time, p.value_dim, 0) {}

    void fill(const View& from, const View& other, int64_t frames) {  // by all threads together
        key = from, value = other;
#pragma omp for
        for (int64_t line = 0; line < frames * p.height; line++) {
            left.fill(from, p, line / p.height, line % p.height, 1);
            right.fill(other, p, line / p.height, line % p.height, 1);
        }
    }
    Run row(int64_t t, int64_t y, int64_t x, int count) const {
        return {key.at(t, y, x), value.at(t, y, x), key.column, value.column, 1, 1, count};
    }
    Run column(int64_t t, int64_t y, int64_t x, int count) {
        return {left.at(t, y) + x, right.at(t, y) + x, left.row, right.row, left.width, right.width, count};
    }
    Run frames(int64_t t, int64_t y, int64_t x, int count) {
        Run run = {left.at(t, y) + x, right.at(t, y) + x, left.frame, right.frame, left.width, right.width, count};
        run.cell = run.index = (t * p.height + y) * p.width + x, run.index_step = p.height * p.width;
        return run;
    }
    // Visits pieces of a line of `length` cells, CAPACITY at a time.
    template <class Visit>
    static void pieces(int64_t length, Visit visit) {
        for (int64_t done = 0; done < length; done += CAPACITY) visit(done, (int)std::min<int64_t>(length - done, CAPACITY));
    }
    // Visits the frames from..to-1 but `own` as pieces on either side of it.
    template <class Visit>
    void others(int64_t from, int64_t to, int64_t own, int64_t y, int64_t x, Visit visit) {
        pieces(std::max<int64_t>(0, std::min(own, to) - from), [&](int64_t done, int count) { visit(frames(from + done, y, x, count), from + done); });
        int64_t next = std::max(own + 1, from);
        pieces(std::max<int64_t>(0, to - next), [&](int64_t done, int count) { visit(frames(next + done, y, x, count), next + done); });
    }
};

template <class Each>
static void tiles(const Problem& p, int64_t frames, Each each) {
    int64_t stacks = (p.height + TALL - 1) / TALL, columns = (p.width + LANES - 1) / LANES;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < frames * stacks * columns; item++) {
        int64_t t = item % frames, y = item / frames % stacks * TALL, x = item / frames / stacks * LANES;
        each(t, y, x, (int)std::min<int64_t>(LANES, p.width - x), (int)std::min<int64_t>(TALL, p.height - y));
    }
}

extern "C" void forward(float* const* tensors, const int64_t* numbers, double scale) {
    const Problem p = read(tensors, numbers, scale);
    Lines keys(p);
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p);
        for (int64_t group = 0; group < p.batch * p.heads; group++) {
            int64_t b = group / p.heads, h = group % p.heads;
            View query = p.query.of(b, h), output = p.output.of(b, h);
            Terms terms;
            terms.step = p.height * p.width, terms.key = p.key_term + group * p.cells();
            for (int64_t o = 0; o < p.objects; o++) terms.object.push_back(p.term(group, o));
            keys.fill(p.key.of(b, h), p.value.of(b, h), p.time);
            tiles(p, p.queried, [&](int64_t at, int64_t y, int64_t x, int count, int tall) {
                int64_t t = p.first_frame() + at;
                tile.start();
                for (int r = 0; r < tall; r++) {
                    to_tile(query.at(at, y + r, x), query.column, count, p.dim, p.scale * LOG2E, tile.query + r * tile.apart);
                    take_terms(tile, r, group, (at * p.height + y + r) * p.width + x, count);
                    Lines::pieces(p.width, [&](int64_t done, int number) {
                        Run run = keys.row(t, y + r, done, number);
                        tile.template attend<1, true, 0>(r, &run, 1, terms);
                    });
                    keys.others(0, p.last_key_frame(t), t, y + r, x, [&](Run run, int64_t frame) {
                        run.earlier = frame < t;
                        tile.template attend<1, false, 0>(r, &run, 1, terms);
                    });
                }
                Lines::pieces(p.height, [&](int64_t done, int number) {
                    Run run = keys.column(t, done, x, number);
                    auto see = [&](auto rows, int row) { tile.template attend<decltype(rows)::value, false, 0>(row, &run, 1, terms, (int)(y + row - done)); };
                    paired(0, tall, [&](int row) { see(Number<PAIR>{}, row); }, [&](int row) { see(Number<1>{}, row); });
                });
                for (int r = 0; r < tall; r++)
                    write(tile, r, group, output.at(at, y + r, x), output.column, (at * p.height + y + r) * p.width + x, count);
            });
        }
    }
}

static void pull_tile(Tile<TALL>& tile, Lines& keys, int64_t t, int64_t y, int64_t x, int tall) {
    const Problem& p = keys.p;
    for (int r = 0; r < tall; r++) {
        Lines::pieces(p.width, [&](int64_t done, int number) { tile.template pull<1, true, 0>(r, keys.row(t, y + r, done, number)); });
        keys.others(0, p.last_key_frame(t), t, y + r, x, [&](const Run& run, int64_t) { tile.template pull<1, false, 0>(r, run); });
    }
    Lines::pieces(p.height, [&](int64_t done, int number) {
        Run run = keys.column(t, done, x, number);
        auto see = [&](auto rows, int row) { tile.template pull<decltype(rows)::value, false, 0>(row, run, (int)(y + row - done)); };
        paired(0, tall, [&](int row) { see(Number<PAIR>{}, row); }, [&](int row) { see(Number<1>{}, row); });
    });
}

// `at` is the keys' frame among the queried ones (negative before them), `lse` and `delta` those of the head's queries.
static void push_tile(Tile<TALL>& tile, Lines& queries, const float* lse, const float* delta, int64_t at, int64_t y, int64_t x, int tall) {
    const Problem& p = queries.p;
    int64_t plane = p.height * p.width;
    for (int r = 0; r < tall; r++) {
        int64_t row = (at * p.height + y + r) * p.width, from = p.causal ? std::max<int64_t>(0, at) : 0;
        if (at >= 0)
            Lines::pieces(p.width, [&](int64_t done, int number) {
                tile.template push<1, true, 0>(r, queries.row(at, y + r, done, number), lse + row + done, delta + row + done, 1);
            });
        queries.others(from, p.queried, at, y + r, x, [&](const Run& run, int64_t) {
            tile.template push<1, false, 0>(r, run, lse + run.cell, delta + run.cell, plane);
        });
    }
    if (at < 0) return;
    Lines::pieces(p.height, [&](int64_t done, int number) {
        Run run = queries.column(at, done, x, number);
        int64_t first = (at * p.height + done) * p.width + x;
        auto see = [&](auto rows, int row) {
            tile.template push<decltype(rows)::value, false, 0>(row, run, lse + first, delta + first, p.width, (int)(y + row - done));
        };
        paired(0, tall, [&](int row) { see(Number<PAIR>{}, row); }, [&](int row) { see(Number<1>{}, row); });
    });
}

extern "C" void backward(float* const* tensors, const int64_t* numbers, double scale) {
    const Problem p = read(tensors, numbers, scale);
    Lines lines(p);
    std::vector<float> lse(p.query_cells() + LANES), delta(p.query_cells() + LANES);  // lanes beyond the last row read on
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p);
        for (int64_t group = 0; group < p.batch * p.heads; group++) {
            int64_t b = group / p.heads, h = group % p.heads;
            View query = p.query.of(b, h), key = p.key.of(b, h), value = p.value.of(b, h), grad = p.grad.of(b, h);
            View to_query = p.grad_query.of(b, h), to_key = p.grad_key.of(b, h), to_value = p.grad_value.of(b, h);
            lines.fill(key, value, p.time);
            tiles(p, p.queried, [&](int64_t at, int64_t y, int64_t x, int count, int tall) {
                tile.start();
                for (int r = 0; r < tall; r++) {
                    take(tile, r, query, grad, at, y + r, x, count, p.scale * LOG2E);
                    take_softmax(tile, r, group * p.query_cells() + (at * p.height + y + r) * p.width + x, count);
                }
                pull_tile(tile, lines, p.first_frame() + at, y, x, tall);
                for (int r = 0; r < tall; r++)
                    from_tile(tile.sums + r * tile.apart, p.dim, all(p.scale), count, to_query.at(at, y + r, x), to_query.column);
            });
#pragma omp for
            for (int64_t i = 0; i < p.query_cells(); i++) {
                lse[i] = -p.lse[group * p.query_cells() + i] * LOG2E;
                delta[i] = p.delta[group * p.query_cells() + i];
            }
            lines.fill(query, grad, p.queried);
            tiles(p, p.time, [&](int64_t t, int64_t y, int64_t x, int count, int tall) {
                tile.start();
                for (int r = 0; r < tall; r++) take(tile, r, key, value, t, y + r, x, count, p.scale * LOG2E);
                push_tile(tile, lines, lse.data(), delta.data(), t - p.first_frame(), y, x, tall);
                for (int r = 0; r < tall; r++) {
                    Vector* sums = tile.sums + r * tile.apart;
                    from_tile(sums, p.dim, all(p.scale), count, to_key.at(t, y + r, x), to_key.column);
                    from_tile(sums + p.dim, p.value_dim, all(1), count, to_value.at(t, y + r, x), to_value.column);
                }
            });
        }
    }
}
