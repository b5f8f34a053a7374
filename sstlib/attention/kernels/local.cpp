// Local attention: windows cut off at the border. Lanes are neighboring queries of a row, keys are shifted rows.
//
// Keys and values of one head are laid out channel by channel, each row with a margin of zeros, so that key j of all lanes is
// one load. Rows of queries share these loads. Backward runs the same windows once: the weights that give a query's gradient are
// scattered to the keys of the window, too. Bands of rows keep threads apart, so that their number does not matter.
#include "planes.h"

constexpr int TALL = 2 * MOST, SHORT = MOST;  // rows of a tile, forward and backward, where each row holds twice as much
constexpr int64_t OWN = 1 << 20, SHARED = 4 << 20;  // bytes that a core's cache holds, and that it has of a shared one

struct Window {
    const Problem& p;
    int64_t ry, rx;
    std::vector<float> border;  // 0 inside the row, NEVER in its margins

    explicit Window(const Problem& p) : p(p), ry(p.a < p.height ? p.a : p.height - 1), rx(p.b < p.width ? p.b : p.width - 1) {
        Planes shape(p, 0, 1, rx);
        border.assign(shape.width + LANES, NEVER);
        std::fill_n(border.begin() + shape.margin, p.width, 0.f);
    }

    // Calls visit(t, key row, first row of the tile, how many rows) for each row of keys in frames from..to-1 that the rows y..
    // of a tile see, while the next one is on its way from memory.
    template <class Visit>
    void walk(int64_t from, int64_t to, int64_t y, int64_t x, int count, std::initializer_list<Planes*> read, Visit visit) const {
        int64_t begin = std::max<int64_t>(0, y - ry), end = std::min(p.height, y + count + ry);
        for (int64_t t = from; t < to; t++)
            for (int64_t key = begin; key < end; key++) {
                bool last = key + 1 == end;
                if (!last || t + 1 < to)
                    for (Planes* planes : read) planes->fetch(t + last, last ? begin : key + 1, x - rx, 2 * rx + LANES);
                int first = (int)std::max<int64_t>(0, key - ry - y), over = (int)std::min<int64_t>(count - 1, key + ry - y);
                visit(t, key, first, over - first + 1);
            }
    }
    bool touches(int64_t x) const { return x < rx || x + LANES + rx > p.width; }
};

static Run shifted(Planes& keys, Planes& values, int64_t t, int64_t y, int64_t x, int count) {
    return {keys.at(t, y) + x, values.at(t, y) + x, 1, 1, keys.width, values.width, count};
}

// Which objects the rows of keys have where: objects are compact, so that most runs have few of them.
struct Presence {
    const Problem& p;
    bool alike;                   // so that an object that has all keys of a run needs no look at them
    std::vector<int32_t> counts;  // (batch, row, object, 0..width): cells of the object before each column

    explicit Presence(const Problem& p)
        : p(p), alike(p.alike() && !p.argmax), counts(p.batch * p.objects * p.time * p.height * (p.width + 1)) {
        const float absent = p.ranking == ADD ? -INFINITY : 0.f;
#pragma omp parallel for num_threads(p.threads)
        for (int64_t row = 0; row < (p.objects ? p.batch * p.time * p.height : 0); row++)
            for (int64_t o = 0; o < p.objects; o++) {
                int64_t lines = p.time * p.height;
                const float* term = p.term(row / lines * p.heads, o) + row % lines * p.width;
                int32_t* to = at(row, o);
                for (int64_t x = 0; x < p.width; x++) to[x + 1] = to[x] + (term[x] != absent);
            }
    }
    int32_t* at(int64_t row, int64_t object) { return &counts[(row * p.objects + object) * (p.width + 1)]; }

    // Lists the objects with cells in columns from..to-1 of a row; returns the one that has them all if that decides alone, else -1.
    int list(int64_t row, int64_t from, int64_t to, std::vector<int>& present) {
        present.clear();
        from = std::max<int64_t>(from, 0), to = std::min(to, p.width);
        for (int64_t o = 0; o < p.objects && from < to; o++) {
            int32_t cells = at(row, o)[to] - at(row, o)[from];
            if (alike && cells == to - from) return (int)o;
            if (cells) present.push_back((int)o);
        }
        return -1;
    }
};

// One head's keys and values of some frames, and what ranks them.
struct Keys {
    const Problem& p;
    Planes keys, values, terms;
    int64_t first = 0, last = 0;  // the frames that are there

    Keys(const Problem& p, int64_t rx, int64_t frames)
        : p(p), keys(p, frames, p.dim, rx), values(p, frames, p.value_dim, rx),
          terms(p, p.objects ? frames : 0, p.objects + (p.ranking == SIGMOID), rx) {
        std::fill_n(terms.data, terms.size, p.ranking == ADD ? -INFINITY : 0.f);
    }
    void fill(int64_t group, int64_t line) {  // a row of those frames
        int64_t t = line / p.height, y = line % p.height, from = ((first + t) * p.height + y) * p.width;
        keys.fill(p.key.of(group / p.heads, group % p.heads), p, first + t, y, t);
        values.fill(p.value.of(group / p.heads, group % p.heads), p, first + t, y, t);
        for (int64_t o = 0; o < p.objects; o++) memcpy(terms.at(t, y) + o * terms.width, p.term(group, o) + from, p.width * sizeof(float));
        if (p.ranking == SIGMOID) memcpy(terms.at(t, y) + p.objects * terms.width, p.key_term + group * p.cells() + from, p.width * sizeof(float));
    }
};

static void attend_tile(Tile<TALL>& tile, const Window& w, Keys& k, Terms& terms, Presence& presence, int64_t batch, int64_t frame, int64_t y,
                        int64_t x, int rows) {
    const Problem& p = w.p;
    int window = 2 * w.rx + 1;
    w.walk(0, std::min(k.last, p.last_key_frame(frame)) - k.first, y, x, rows, {&k.keys, &k.values}, [&](int64_t t, int64_t key, int first, int count) {
        for (int done = 0; done < window; done += CAPACITY) {
            int64_t from = x - w.rx + done, row = (k.first + t) * p.height + key;
            Run run = shifted(k.keys, k.values, t, key, from, std::min(window - done, CAPACITY));
            if (w.touches(x)) run.bias = w.border.data() + k.keys.margin + from;
            run.cell = t * k.terms.frame + key * k.terms.row + from;
            run.index = row * p.width + from, run.index_step = 1;
            if (p.objects && k.first + t < frame)
                run.only = presence.list(batch * p.time * p.height + row, from, from + run.count - 1 + LANES, terms.present);
            run.earlier = k.first + t < frame && run.only < 0 ? run.count : 0;
            together(first, count, [&](auto rows, int row) { tile.template attend<Shifted, decltype(rows)::value>(row, run, terms); });
        }
    });
}

// One head by `threads` threads. Of the last frame's queries alone, keys go by a frame at a time, which a core's cache holds, and
// the tiles' states are kept meanwhile; for all frames that would be much to keep.
static void forward_head(const Problem& p, const Window& w, Presence& presence, Keys& k, Reserve& kept, int64_t group, int threads) {
    int64_t b = group / p.heads, h = group % p.heads, stacks = (p.height + TALL - 1) / TALL, columns = (p.width + LANES - 1) / LANES;
    int64_t step = p.queried == 1 ? 1 : p.time, end = p.last_key_frame(p.time - 1);
    View query = p.query.of(b, h), output = p.output.of(b, h);
#pragma omp parallel num_threads(threads)
    {
        Tile<TALL> tile(p, false);
        Terms ranked;
        for (int64_t o = 0; o < p.objects; o++) ranked.object.push_back(k.terms.at(0, 0) + o * k.terms.width);
        ranked.key = k.terms.at(0, 0) + p.objects * k.terms.width;
        for (int64_t first = 0; first < end; first += step) {
#pragma omp single
            k.first = first, k.last = std::min(first + step, end);
#pragma omp for
            for (int64_t line = 0; line < (k.last - k.first) * p.height; line++) k.fill(group, line);
#pragma omp for schedule(dynamic)
            for (int64_t item = 0; item < p.queried * stacks * columns; item++) {
                int64_t t = item / columns / stacks, y = item / columns % stacks * TALL, x = item % columns * LANES;
                int count = std::min<int64_t>(LANES, p.width - x), tall = std::min<int64_t>(TALL, p.height - y);
                if (first == 0) tile.start();
                else tile.resume(kept.data() + item * tile.state());
                for (int r = 0; r < tall; r++) {
                    to_tile(query.at(t, y + r, x), query.column, count, p.dim, p.scale * LOG2E, tile.query + r * tile.apart);
                    take_terms(tile, r, group);
                }
                attend_tile(tile, w, k, ranked, presence, b, p.first_frame() + t, y, x, tall);
                if (k.last < end) tile.leave(kept.data() + item * tile.state());
                else
                    for (int r = 0; r < tall; r++)
                        write(tile, r, group, output.at(t, y + r, x), output.column, (t * p.height + y + r) * p.width + x, count);
            }
        }
    }
}

extern "C" void forward(float* const* tensors, const int64_t* numbers, double scale) {
    Problem p = read(tensors, numbers, scale);
    const Ranks ranks(p);
    const Window w(p);
    Presence presence(p);
    int64_t groups = p.batch * p.heads, frames = p.queried == 1 ? 1 : p.time;
    int outer = groups % p.threads == 0 || groups >= 4 * p.threads ? (int)p.threads : 1;  // threads with heads of their own
#pragma omp parallel num_threads(outer)
    {
        Keys keys(p, w.rx, frames);
        int64_t tiles = ((p.height + TALL - 1) / TALL) * ((p.width + LANES - 1) / LANES);
        Reserve kept(frames < p.time ? tiles * Tile<TALL>(p, false).state() : 0);
#pragma omp for schedule(dynamic)
        for (int64_t group = 0; group < groups; group++) forward_head(p, w, presence, keys, kept, group, (int)p.threads / outer);
    }
}

// The planes of one head in backward: keys and values, and what their gradients sum up to.
struct Head {
    Planes keys, values, to_keys, to_values;
    // a scattered run may end LANES beyond its last cell
    Head(const Problem& p, int64_t rx)
        : keys(p, p.time, p.dim, rx), values(p, p.time, p.value_dim, rx), to_keys(p, p.time, p.dim, rx, LANES),
          to_values(p, p.time, p.value_dim, rx, LANES) {}
};

static void pull_tile(Tile<TALL>& tile, const Window& w, Head& head, int64_t from, int64_t to, int64_t y, int64_t x, int rows) {
    int window = 2 * w.rx + 1, pieces = (window + LANES) / (LANES + 1);
    std::initializer_list<Planes*> read = {&head.keys, &head.values, &head.to_keys, &head.to_values};
    w.walk(from, to, y, x, rows, read, [&](int64_t t, int64_t key, int first, int count) {
        for (int piece = 0, done = 0, some; piece < pieces; piece++, done += some) {
            some = (window - done) / (pieces - piece);
            int64_t from = x - w.rx + done;
            Run run = shifted(head.keys, head.values, t, key, from, some);
            if (w.touches(x)) run.bias = w.border.data() + head.keys.margin + from;
            float *to_key = head.to_keys.at(t, key) + from, *to_value = head.to_values.at(t, key) + from;
            together(first, count, [&](auto rows, int row) {
                tile.template pull<Shifted, decltype(rows)::value>(row, run);
                tile.template scatter_shifted<decltype(rows)::value>(row, some, to_key, head.to_keys.width, to_value, head.to_values.width);
            });
        }
    });
}

// Backward from the queries of rows from..to-1 of all frames. Where a history is long, a few rows of queries in all frames go by some
// frames of keys at a time, which stay in a core's cache meanwhile; `sums` holds what each tile of them has found so far.
static void pull_band(Tile<TALL>& tile, const Window& w, Head& head, Vector* sums, int64_t group, int64_t from, int64_t to) {
    const Problem& p = w.p;
    int64_t b = group / p.heads, h = group % p.heads, columns = (p.width + LANES - 1) / LANES, size = SHORT * tile.sums_apart;
    View query = p.query.of(b, h), grad = p.grad.of(b, h), to_query = p.grad_query.of(b, h);
    int64_t bytes = (SHORT + 2 * w.ry) * 4 * head.keys.row * sizeof(float), some = p.time * bytes <= SHARED ? p.time : std::max<int64_t>(1, OWN / bytes);
    Vector* own = tile.sums;
    for (int64_t y = from; y < to; y += SHORT) {
        int tall = (int)std::min<int64_t>(SHORT, to - y);
        std::fill_n(sums, p.queried * columns * size, Vector{});
        for (int64_t seen = 0; seen < p.time; seen += some)
            for (int64_t t = 0; t < p.queried; t++) {
                int64_t end = p.last_key_frame(p.first_frame() + t);
                for (int64_t x = 0; seen < end && x < p.width; x += LANES) {
                    int count = (int)std::min<int64_t>(LANES, p.width - x);
                    tile.sums = sums + (t * columns + x / LANES) * size;
                    for (int r = 0; r < tall; r++) {
                        take(tile, r, query, grad, t, y + r, x, count, p.scale * LOG2E);
                        take_softmax(tile, r, group * p.query_cells() + (t * p.height + y + r) * p.width + x, count);
                    }
                    pull_tile(tile, w, head, seen, std::min(seen + some, end), y, x, tall);
                    for (int r = 0; r < tall && seen + some >= end; r++)
                        from_tile(tile.sums + r * tile.sums_apart, p.dim, all(p.scale), count, to_query.at(t, y + r, x), to_query.column);
                }
            }
    }
    tile.sums = own;
}

// One head by `threads` threads. Bands of rows that are as tall as a window share keys with their neighbors alone, so that every
// other band may run at a time, and each key's sum has the same order on any number of threads.
static void backward_head(const Problem& p, const Window& w, Head& head, int64_t group, int threads) {
    int64_t b = group / p.heads, h = group % p.heads, lines = p.time * p.height;
    int64_t band = (std::max<int64_t>(2 * w.ry, 1) + SHORT - 1) / SHORT * SHORT, bands = (p.height + band - 1) / band;
    View key = p.key.of(b, h), value = p.value.of(b, h), to_key = p.grad_key.of(b, h), to_value = p.grad_value.of(b, h);
#pragma omp parallel num_threads(threads)
    {
        Tile<TALL> tile(p, true);
        Reserve sums(p.queried * ((p.width + LANES - 1) / LANES) * SHORT * tile.sums_apart * LANES);
#pragma omp for
        for (int64_t line = 0; line < lines; line++) {
            int64_t t = line / p.height, y = line % p.height;
            head.keys.fill(key, p, t, y, t), head.values.fill(value, p, t, y, t);
            head.to_keys.clear(t, y), head.to_values.clear(t, y);
        }
        for (int64_t odd = 0; odd < 2; odd++) {
#pragma omp for schedule(dynamic)
            for (int64_t n = odd; n < bands; n += 2) pull_band(tile, w, head, (Vector*)sums.data(), group, n * band, std::min(p.height, (n + 1) * band));
        }
#pragma omp for
        for (int64_t line = 0; line < lines; line++) {
            int64_t t = line / p.height, y = line % p.height;
            head.to_keys.empty(t, y, LN2, p, to_key), head.to_values.empty(t, y, 1, p, to_value);
        }
    }
}

extern "C" void backward(float* const* tensors, const int64_t* numbers, double scale) {
    Problem p = read(tensors, numbers, scale);
    const Deltas deltas(p);
    const Window w(p);
    int64_t groups = p.batch * p.heads;
    int outer = groups >= p.threads ? (int)p.threads : 1;
#pragma omp parallel num_threads(outer)
    {
        Head head(p, w.rx);
#pragma omp for schedule(dynamic)
        for (int64_t group = 0; group < groups; group++) backward_head(p, w, head, group, (int)p.threads / outer);
    }
}
