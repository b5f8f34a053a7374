// Local attention: windows cut off at the border. Lanes are neighbouring queries of a row, keys are shifted rows.
//
// Keys and values of one head are laid out channel by channel, each row with a margin of zeros, so that key j of all lanes is
// one load. Rows of queries share these loads in pairs. Backward runs the same windows twice, once from the queries and once
// from the keys, so that each sum has one owner and the result does not depend on the number of threads.
#include "planes.h"

constexpr int TALL = LANES == 16 ? 2 : 1, KEY_TALL = 3;

struct Window {
    const Problem& p;
    int64_t ry, rx;
    std::vector<float> border;  // 0 inside the row, NEVER in its margins

    explicit Window(const Problem& p) : p(p), ry(p.a < p.height ? p.a : p.height - 1), rx(p.b < p.width ? p.b : p.width - 1) {
        Planes shape(p, 0, 1, rx);
        border.assign(shape.width + LANES, NEVER);
        std::fill_n(border.begin() + shape.margin, p.width, 0.f);
    }

    // Calls visit(first row of the tile, how many rows, key row) for each key row that the rows y.. of a tile see.
    template <class Visit>
    void rows(int64_t y, int count, Visit visit) const {
        for (int64_t key = std::max<int64_t>(0, y - ry); key < std::min(p.height, y + count + ry); key++) {
            int first, last;
            seen(y, count, key, first, last);
            visit(first, last - first + 1, key);
        }
    }
    void seen(int64_t y, int count, int64_t key, int& first, int& last) const {  // the rows of the tile that see a row of keys
        first = (int)std::max<int64_t>(0, key - ry - y), last = (int)std::min<int64_t>(count - 1, key + ry - y);
    }
    bool touches(int64_t x) const { return x < rx || x + LANES + rx > p.width; }
};

static Run shifted(Planes& keys, Planes& values, int64_t t, int64_t y, int64_t x, int count) {
    return {keys.at(t, y) + x, values.at(t, y) + x, 1, 1, keys.width, values.width, count};
}

static void attend_tile(Tile<TALL>& tile, const Window& w, Planes& keys, Planes& values, const Planes& planes, const Terms& terms,
                        int64_t frame, int64_t y, int64_t x, int rows) {
    const Problem& p = w.p;
    Run runs[2];
    auto see = [&](int first, int last, const Run* from, int number) {
        paired(first, last - first + 1, [&](int row) { tile.template attend<PAIR, false, 1>(row, from, number, terms); },
               [&](int row) { tile.template attend<1, false, 1>(row, from, number, terms); });
    };
    int64_t begin = std::max<int64_t>(0, y - w.ry), end = std::min(p.height, y + rows + w.ry);
    for (int64_t t = 0; t < p.last_key_frame(frame); t++)
        for (int64_t key = begin; key < end; key += 2)  // two rows of keys at a time: half the updates of the running maximum
            for (int done = 0; done < 2 * w.rx + 1; done += CAPACITY / 2) {
                int64_t from = x - w.rx + done;
                int both = key + 1 < end ? 2 : 1, first[2], last[2];
                for (int n = 0; n < both; n++) {
                    w.seen(y, rows, key + n, first[n], last[n]);
                    Run& run = runs[n] = shifted(keys, values, t, key + n, from, std::min<int>(2 * w.rx + 1 - done, CAPACITY / 2));
                    if (w.touches(x)) run.bias = w.border.data() + keys.margin + from;
                    run.earlier = t < frame, run.cell = t * planes.frame + (key + n) * planes.row + from;
                    run.index = (t * p.height + key + n) * p.width + from, run.index_step = 1;
                }
                if (both == 1) { see(first[0], last[0], runs, 1); continue; }
                see(first[0], std::min(last[0], first[1] - 1), runs, 1);
                see(first[1], last[0], runs, 2);
                see(std::max(first[1], last[0] + 1), last[1], runs + 1, 1);
            }
}

extern "C" void forward(float* const* tensors, const int64_t* numbers, double scale) {
    const Problem p = read(tensors, numbers, scale);
    const Window w(p);
    Planes keys(p, p.time, p.dim, w.rx), values(p, p.time, p.value_dim, w.rx);
    int64_t kinds = p.objects + (p.ranking == SIGMOID);
    Planes terms(p, p.objects ? p.time : 0, kinds, w.rx);
    if (p.ranking == ADD) std::fill(terms.data.begin(), terms.data.end(), -INFINITY);
    Terms ranked;
    for (int64_t o = 0; o < p.objects; o++) ranked.object.push_back(terms.at(0, 0) + o * terms.width);
    ranked.key = terms.at(0, 0) + p.objects * terms.width;
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p);
        for (int64_t group = 0; group < p.batch * p.heads; group++) {
            int64_t b = group / p.heads, h = group % p.heads, rows = (p.height + TALL - 1) / TALL;
            View key = p.key.of(b, h), value = p.value.of(b, h), query = p.query.of(b, h), output = p.output.of(b, h);
#pragma omp for
            for (int64_t line = 0; line < p.time * p.height; line++) {
                int64_t t = line / p.height, y = line % p.height;
                keys.fill(key, p, t, y, 1), values.fill(value, p, t, y, 1);
                for (int64_t o = 0; o < p.objects; o++)
                    memcpy(terms.at(t, y) + o * terms.width, p.term(group, o) + line * p.width, p.width * sizeof(float));
                if (p.ranking == SIGMOID)
                    memcpy(terms.at(t, y) + p.objects * terms.width, p.key_term + group * p.cells() + line * p.width, p.width * sizeof(float));
            }
#pragma omp for schedule(dynamic)
            for (int64_t line = 0; line < p.queried * rows; line++)
                for (int64_t x = 0; x < p.width; x += LANES) {
                    int64_t t = line / rows, y = line % rows * TALL;
                    int count = std::min<int64_t>(LANES, p.width - x), tall = std::min<int64_t>(TALL, p.height - y);
                    tile.start();
                    for (int r = 0; r < tall; r++) {
                        to_tile(query.at(t, y + r, x), query.column, count, p.dim, p.scale * LOG2E, tile.query + r * tile.apart);
                        take_terms(tile, r, group, (t * p.height + y + r) * p.width + x, count);
                    }
                    attend_tile(tile, w, keys, values, terms, ranked, p.first_frame() + t, y, x, tall);
                    for (int r = 0; r < tall; r++)
                        write(tile, r, group, output.at(t, y + r, x), output.column, (t * p.height + y + r) * p.width + x, count);
                }
        }
    }
}

static void pull_tile(Tile<TALL>& tile, const Window& w, Planes& keys, Planes& values, int64_t frame, int64_t y, int64_t x, int rows) {
    const Problem& p = w.p;
    int window = 2 * w.rx + 1;
    for (int64_t t = 0; t < p.last_key_frame(frame); t++)
        w.rows(y, rows, [&](int first, int count, int64_t key) {
            for (int done = 0; done < window; done += CAPACITY) {
                Run run = shifted(keys, values, t, key, x - w.rx + done, std::min(window - done, CAPACITY));
                if (w.touches(x)) run.bias = w.border.data() + keys.margin + x - w.rx + done;
                paired(first, count, [&](int row) { tile.template pull<PAIR, false, 1>(row, run); },
                       [&](int row) { tile.template pull<1, false, 1>(row, run); });
            }
        });
}

static void push_tile(Tile<TALL>& tile, const Window& w, Planes& queries, Planes& grads, Planes& softmax, int64_t frame, int64_t y,
                      int64_t x, int rows) {
    const Problem& p = w.p;
    int window = 2 * w.rx + 1;
    for (int64_t t = p.causal ? std::max<int64_t>(0, frame - p.first_frame()) : 0; t < p.queried; t++)
        w.rows(y, rows, [&](int first, int count, int64_t other) {
            for (int done = 0; done < window; done += CAPACITY) {
                int64_t from = x - w.rx + done;
                Run run = shifted(queries, grads, t, other, from, std::min(window - done, CAPACITY));
                const float *lse = softmax.at(t, other) + from, *delta = lse + softmax.width;
                paired(first, count, [&](int row) { tile.template push<PAIR, false, 1>(row, run, lse, delta, 1); },
                       [&](int row) { tile.template push<1, false, 1>(row, run, lse, delta, 1); });
            }
        });
}

// One of the two halves of backward over a head: lanes are the cells of `left`, the windows hold those of the planes.
template <class Each>
static void sweep(const Problem& p, int64_t frames, Each each) {
    int64_t rows = (p.height + TALL - 1) / TALL;
#pragma omp for schedule(dynamic)
    for (int64_t line = 0; line < frames * rows; line++)
        for (int64_t x = 0; x < p.width; x += LANES) {
            int64_t t = line / rows, y = line % rows * TALL;
            each(t, y, x, (int)std::min<int64_t>(LANES, p.width - x), (int)std::min<int64_t>(TALL, p.height - y));
        }
}

extern "C" void backward(float* const* tensors, const int64_t* numbers, double scale) {
    const Problem p = read(tensors, numbers, scale);
    const Window w(p);
    Planes left(p, p.time, p.dim, w.rx), right(p, p.time, p.value_dim, w.rx), softmax(p, p.queried, 2, w.rx);
    std::fill(softmax.data.begin(), softmax.data.end(), NEVER);
#pragma omp parallel num_threads(p.threads)
    {
        Tile<TALL> tile(p);
        for (int64_t group = 0; group < p.batch * p.heads; group++) {
            int64_t b = group / p.heads, h = group % p.heads, lines = p.queried * p.height;
            View query = p.query.of(b, h), key = p.key.of(b, h), value = p.value.of(b, h), grad = p.grad.of(b, h);
            View to_query = p.grad_query.of(b, h), to_key = p.grad_key.of(b, h), to_value = p.grad_value.of(b, h);
#pragma omp for
            for (int64_t line = 0; line < p.time * p.height; line++) {
                int64_t t = line / p.height, y = line % p.height;
                left.fill(key, p, t, y, 1), right.fill(value, p, t, y, 1);
            }
            sweep(p, p.queried, [&](int64_t t, int64_t y, int64_t x, int count, int tall) {
                tile.start();
                for (int r = 0; r < tall; r++) {
                    take(tile, r, query, grad, t, y + r, x, count, p.scale * LOG2E);
                    take_softmax(tile, r, group * p.query_cells() + (t * p.height + y + r) * p.width + x, count);
                }
                pull_tile(tile, w, left, right, p.first_frame() + t, y, x, tall);
                for (int r = 0; r < tall; r++)
                    from_tile(tile.sums + r * tile.apart, p.dim, all(p.scale), count, to_query.at(t, y + r, x), to_query.column);
            });
#pragma omp for
            for (int64_t line = 0; line < lines; line++) {
                int64_t t = line / p.height, y = line % p.height, from = group * p.query_cells() + line * p.width;
                left.fill(query, p, t, y, 1), right.fill(grad, p, t, y, 1);
                for (int64_t x = 0; x < p.width; x++) {
                    softmax.at(t, y)[x] = -p.lse[from + x] * LOG2E;
                    softmax.at(t, y)[softmax.width + x] = p.delta[from + x];
                }
            }
            sweep(p, p.time, [&](int64_t t, int64_t y, int64_t x, int count, int tall) {
                tile.start();
                for (int r = 0; r < tall; r++) take(tile, r, key, value, t, y + r, x, count, p.scale * LOG2E);
                push_tile(tile, w, left, right, softmax, t, y, x, tall);
                for (int r = 0; r < tall; r++) {
                    Vector* sums = tile.sums + r * tile.apart;
                    from_tile(sums, p.dim, all(p.scale), count, to_key.at(t, y + r, x), to_key.column);
                    from_tile(sums + p.dim, p.value_dim, all(1), count, to_value.at(t, y + r, x), to_value.column);
                }
            });
        }
    }
}
