// What a tile of queries does with its runs of keys: joint softmax, object affinity, and backward.
#pragma once
#include "products.h"

constexpr int CAPACITY = 67;  // keys whose scores are held at a time
constexpr float SLACK = 16;  // by how much scores may pass their reference (in log 2) before sums are scaled down
constexpr float TINY = 1e-12f;  // least length that cosine divides by
constexpr int UNMASKED = -(1 << 20);  // no row of the tile has a key that it does not see
enum Ranking { NONE, ADD, MULTIPLY, SIGMOID };  // how keys rank for objects, and
enum Kind { WEIGHT, DISTANCE, COSINE, DOT };  // what of: affinity.py has the table

// One attention call, as Python describes it (see kernels/__init__.py): sizes, options and one tensor view each.
struct View {
    float* data = nullptr;
    int64_t batch = 0, head = 0, frame = 0, row = 0, column = 0;
    View of(int64_t b, int64_t h) const { return {data + b * batch + h * head, 0, 0, frame, row, column}; }
    float* at(int64_t t, int64_t y, int64_t x) const { return data + t * frame + y * row + x * column; }
};

struct Problem {
    int64_t batch, heads, time, queried, height, width, dim, value_dim, a, b, c, causal, objects, kind, threads;
    float scale;
    View query, key, value, output, grad, grad_query, grad_key, grad_value;
    float *lse, *delta;
    const int64_t* labels;                        // of the keys, or else their
    const float *members, *bias;                  // memberships; of distance, one a head
    float* affinity;
    int32_t* argmax;
    Ranking ranking = NONE;                       // what follows is made of the above (abi.h)
    bool per_head = false;                        // whether heads have terms of their own
    const float *terms = nullptr, *key_term = nullptr;  // (group or batch, object, cell), and (group, cell) for SIGMOID

    int64_t cells() const { return time * height * width; }
    int64_t query_cells() const { return queried * height * width; }
    int64_t first_frame() const { return time - queried; }
    int64_t last_key_frame(int64_t frame) const { return causal ? frame + 1 : time; }  // one past the last
    bool alike() const { return ranking == ADD && !per_head && labels; }  // an object's keys rank by their scores alone
    const float* term(int64_t group, int64_t object) const {
        return terms + ((per_head ? group : group / heads) * objects + object) * cells();
    }
};

// What ranks keys for objects beside their scores, as the runs of a pattern see it.
struct Terms {
    std::vector<const float*> object;  // one a object, indexed as the run's cells are
    const float* key = nullptr;        // |k|^2 term of the distance, for SIGMOID
    int64_t step = 1;                  // of these arrays, from one key of a run to the next
    struct List {
        const int *first, *last;
        const int* begin() const { return first; }
        const int* end() const { return last; }
    };
    std::vector<int> present;  // the objects that a run has
    std::vector<List> picked;  // for spread keys: which of the run each object has, where they are listed
};

// A stack of TALL rows of LANES queries.
template <int TALL>
struct Tile {
    const Problem& problem;
    std::vector<Vector> memory;
    Vector *query, *sums, *scores, *other;
    int64_t apart, sums_apart;  // of rows in `query` (in backward gradient channels follow its own) and `sums`
    Vector top[TALL], total[TALL];  // reference of the scores and sum; log-sum-exp and delta in backward
    std::vector<Vector> best, query_term;
    std::vector<Whole> argmax;

    Tile(const Problem& p, bool backward)
        : problem(p), apart(p.dim + backward * p.value_dim), sums_apart(p.value_dim + backward * p.dim), best(TALL * p.objects),
          query_term(TALL), argmax(TALL * p.objects) {
        memory.resize(TALL * (apart + sums_apart) + 2 * MOST * CAPACITY);
        query = memory.data(), sums = query + TALL * apart;
        scores = sums + TALL * sums_apart, other = scores + MOST * CAPACITY;
    }

    void start() {
        for (int r = 0; r < TALL; r++) top[r] = all(START), total[r] = Vector{};
        memset((void*)sums, 0, TALL * sums_apart * sizeof(Vector));
        float least = problem.ranking == ADD ? -INFINITY : 0;  // products must be above 0 to count at all (Eq. 4)
        for (auto& b : best) b = all(least);
        for (auto& a : argmax) a = Whole{} - 1;
    }

    // The state between runs, as floats: to be left and resumed where keys come in several parts.
    int64_t state() const { return (TALL * (sums_apart + 2) + best.size() + argmax.size()) * LANES; }
    void leave(float* to) { parts([&](Vector* from, size_t n) { memcpy(to, from, n * sizeof(Vector)), to += n * LANES; }); }
    void resume(const float* from) { parts([&](Vector* to, size_t n) { memcpy((void*)to, from, n * sizeof(Vector)), from += n * LANES; }); }
    // What softmax and ranking know of one row, as 2 + 2 objects vectors: to be left and resumed likewise.
    void keep(int row, Vector* to) const {
        *to++ = top[row], *to++ = total[row];
        for (size_t slot = row; slot < best.size(); slot += TALL) *to++ = best[slot], *to++ = (Vector)argmax[slot];
    }
    void recall(int row, const Vector* from) {
        top[row] = *from++, total[row] = *from++;
        for (size_t slot = row; slot < best.size(); slot += TALL) best[slot] = *from++, argmax[slot] = (Whole)*from++;
    }
    template <class Each>
    void parts(Each each) {
        each(sums, TALL * sums_apart), each(top, TALL), each(total, TALL), each(best.data(), best.size());
        each((Vector*)argmax.data(), argmax.size());
    }

    // The r-th of the rows does not see key `masked` + r; with `after` nor those behind it.
    template <class Kind, int COUNT, int APART>
    void score(int first, const Run& run, int masked, bool after = false) {
        correlate<Kind, COUNT>(query + first * apart, APART * apart, run.key, run.key_step, run.key_channel, problem.dim, run.count, run.bias,
                               scores, CAPACITY);
        for (int r = 0; r < COUNT; r++)
            for (int j = masked + r; j < run.count && (after || j == masked + r); j++)
                if (j >= 0) scores[r * CAPACITY + j] = all(NEVER);
    }

    // Attends from COUNT rows, `first` and every APART-th, to a run of CAPACITY keys at most.
    template <class Kind, int COUNT, int APART = 1>
    void attend(int first, const Run& run, const Terms& terms, int masked = UNMASKED) {
        score<Kind, COUNT, APART>(first, run, masked);
        weigh<Kind, COUNT, APART>(first, run, terms);
        blend<Kind, COUNT>(scores, CAPACITY, run.value, run.value_step, run.value_channel, run.count, problem.value_dim,
                           sums + first * sums_apart, APART * sums_apart);
    }

    // Scores of a run become weights, once they have ranked its keys for objects.
    template <class Kind, int COUNT, int APART = 1>
    void weigh(int first, const Run& run, const Terms& terms) {
        if (run.earlier && problem.ranking == ADD) rank<Kind, COUNT, APART, ADD>(first, run, terms);
        if (run.earlier && problem.ranking == MULTIPLY) rank<Kind, COUNT, APART, MULTIPLY>(first, run, terms);
        if (run.earlier && problem.ranking == SIGMOID) rank<Kind, COUNT, APART, SIGMOID>(first, run, terms);
        soften<COUNT, APART>(first, run.count, run.only);
    }

    // Scores of rows become weights. Their reference is an earlier maximum, not always the latest: weights may be as large
    // as 2^SLACK, which costs no precision, and the sums are seldom scaled. `only`: the one object that all keys are of, or -1.
    template <int COUNT, int APART>
    void soften(int first, int n, int only) {
        Vector high[COUNT], sum[COUNT];
        Whole risen{};
        EACH(r, COUNT) high[r] = scores[r * CAPACITY], sum[r] = Vector{}; });
        for (int j = 1; j < n; j++) EACH(r, COUNT) high[r] = larger(high[r], scores[r * CAPACITY + j]); });
        EACH(r, COUNT) risen |= high[r] > top[first + r * APART] + SLACK; });
        if (only >= 0) EACH(r, COUNT) best[only * TALL + first + r * APART] = larger(best[only * TALL + first + r * APART], high[r]); });
        if (any(risen)) EACH(r, COUNT) raise(first + r * APART, high[r]); });
        EACH(r, COUNT) high[r] = top[first + r * APART]; });
        for (int j = 0; j < n; j++) EACH(r, COUNT) sum[r] += scores[r * CAPACITY + j] = exp2(scores[r * CAPACITY + j] - high[r]); });
        EACH(r, COUNT) total[first + r * APART] += sum[r]; });
    }

    void raise(int row, Vector high) {  // the reference of a row, and its sums with it
        high = larger(high, top[row]);
        Vector keep = exp2(top[row] - high);
        for (int c = 0; c < problem.value_dim; c++) sums[row * sums_apart + c] *= keep;
        total[row] *= keep, top[row] = high;
    }

    // `log` takes any bits for a number: what is none stays none by the difference, which is 0 otherwise
    Vector logsumexp(int row) const { return top[row] * LN2 + log(total[row]) + (total[row] - total[row]); }

    template <int MODE>
    static Vector ranked(Vector s, Vector t) { return MODE == ADD ? s + t : s * t; }

    // Raises the records of the rows by the run whose scores are held.
    template <class Kind, int COUNT, int APART, int MODE>
    void rank(int first, const Run& run, const Terms& terms) {
        Vector* s = scores;
        if (MODE == SIGMOID) {
            for (int r = 0; r < COUNT; r++)
                for (int j = 0; j < run.earlier; j++) {
                    Vector raised = s[r * CAPACITY + j] + take<Kind>(terms.key + run.cell + j * terms.step);
                    other[r * CAPACITY + j] = Tile::near(query_term[first + r * APART] - raised * (2 / problem.scale));
                }
            s = other;
        }
        for (int o = 0; o < (int)terms.picked.size(); o++) record_picked<Kind, COUNT, APART, MODE>(first, run, terms, o, s);
        int number = (int)terms.present.size(), n = 0;
        for (; n + 3 <= number; n += 3) record<Kind, COUNT, APART, MODE, 3>(first, run, terms, &terms.present[n], s);
        for (; n < number; n++) record<Kind, COUNT, APART, MODE, 1>(first, run, terms, &terms.present[n], s);
    }

    template <class Kind, int COUNT, int APART, int MODE, int OBJECTS>
    void record(int first, const Run& run, const Terms& terms, const int* object, const Vector* s) {
        Vector high[OBJECTS][COUNT];
        const float* at[OBJECTS];
        for (int o = 0; o < OBJECTS; o++) at[o] = terms.object[object[o]] + run.cell;
        EACH(o, OBJECTS) EACH(r, COUNT) high[o][r] = best[object[o] * TALL + first + r * APART]; }); });
        for (int j = 0; j < run.earlier; j++) {
            Vector score[COUNT];
            EACH(r, COUNT)
                score[r] = s[r * CAPACITY + j];
                HOLD(score[r]);
            });
            EACH(o, OBJECTS)
                Vector t = take<Kind>(at[o] + j * terms.step);
                HOLD(t);
                EACH(r, COUNT) high[o][r] = larger(ranked<MODE>(score[r], t), high[o][r]); });
            });
        }
        EACH(o, OBJECTS) EACH(r, COUNT)
            int slot = object[o] * TALL + first + r * APART;
            if (problem.argmax) note<Kind, MODE>(argmax[slot], best[slot], high[o][r], s + r * CAPACITY, at[o], terms.step, run);
            best[slot] = high[o][r];
        }); });
    }

    // The same for keys that are listed: each key costs one step for its own object, not one for every object.
    template <class Kind, int COUNT, int APART, int MODE>
    void record_picked(int first, const Run& run, const Terms& terms, int object, const Vector* s) {
        Vector high[COUNT];
        const float* at = terms.object[object] + run.cell;
        EACH(r, COUNT) high[r] = best[object * TALL + first + r * APART]; });
        if (problem.alike())  // their terms are 0
            for (int j : terms.picked[object]) EACH(r, COUNT) high[r] = larger(s[r * CAPACITY + j], high[r]); });
        else
            for (int j : terms.picked[object]) {
                Vector t = take<Kind>(at + j * terms.step);
                HOLD(t);
                EACH(r, COUNT) high[r] = larger(ranked<MODE>(s[r * CAPACITY + j], t), high[r]); });
            }
        for (int r = 0; r < COUNT; r++) {
            int slot = object * TALL + first + r * APART;
            if (problem.argmax) note<Kind, MODE>(argmax[slot], best[slot], high[r], s + r * CAPACITY, at, terms.step, run);
            best[slot] = high[r];
        }
    }

    // The affinity of a squared distance with its bias, in units of log 2.
    static Vector near(Vector squared) { return 2.f / (1.f + exp2_any(squared)); }

    static Vector exp2_any(Vector x) {  // 2^x for x of both signs: the upper half by division, 2^126 or infinite at the end
        Vector small = exp2(x > 0.f ? -x : x);
        return x > 0.f ? 1.f / small : small;
    }

    // Remembers which key set a record, in the lanes that have a new one (few, after the first runs).
    template <class Kind, int MODE>
    static void note(Whole& argmax, Vector before, Vector after, const Vector* s, const float* at, int64_t step, const Run& run) {
        Whole news = after > before;
        if (!any(news)) return;
        Whole lane{};
        for (int i = 0; i < LANES && !Kind::spread; i++) lane[i] = i;
        for (int j = run.earlier - 1; j >= 0; j--) {
            Whole here = (ranked<MODE>(s[j], take<Kind>(at + j * step)) == after) & news;
            Whole cell = lane + (int32_t)(run.index + j * run.index_step);
            argmax = (here & cell) | (~here & argmax);
        }
    }

    // Backward for the queries: p and ds of the run, and ds key added to the sums.
    template <class Kind, int COUNT, int APART = 1>
    void pull(int first, const Run& run, int masked = UNMASKED, bool after = false) {
        score<Kind, COUNT, APART>(first, run, masked, after);
        correlate<Kind, COUNT>(query + first * apart + problem.dim, APART * apart, run.value, run.value_step, run.value_channel,
                               problem.value_dim, run.count, nullptr, other, CAPACITY);
        for (int r = 0; r < COUNT; r++) {
            Vector *s = scores + r * CAPACITY, *d = other + r * CAPACITY, lse = top[first + r * APART], delta = total[first + r * APART];
            for (int j = 0; j < run.count; j++) {
                s[j] = exp2(s[j] - lse);
                d[j] = s[j] * (d[j] - delta);
            }
        }
        blend<Kind, COUNT>(other, CAPACITY, run.key, run.key_step, run.key_channel, run.count, problem.dim, sums + first * sums_apart,
                           APART * sums_apart);
    }

    // Backward for the shifted keys of the run just pulled: ds query and p gradient added to their channels.
    template <int COUNT>
    void scatter_shifted(int first, int count, float* to_key, int64_t key_channel, float* to_value, int64_t value_channel) {
        const Vector* q = query + first * apart;
        scatter<COUNT>(other, CAPACITY, q, apart, count, problem.dim, to_key, key_channel);
        scatter<COUNT>(scores, CAPACITY, q + problem.dim, apart, count, problem.value_dim, to_value, value_channel);
    }

    // The same for stacked keys, `step` vectors apart; the rows' queries and gradients are given, `left` unscaled.
    template <int COUNT>
    void scatter_run(int count, const Vector* left, int64_t left_apart, const Vector* right, int64_t right_apart, Vector* to_key, int64_t key_step,
                     Vector* to_value, int64_t value_step) {
        scatter_stacked<COUNT>(other, CAPACITY, left, left_apart, count, problem.dim, to_key, key_step);
        scatter_stacked<COUNT>(scores, CAPACITY, right, right_apart, count, problem.value_dim, to_value, value_step);
    }

    // The same for keys in order, from LANES queries of one of the rows just pulled (the n-th). The lanes of the sums are keys, LANES
    // a block, blocks `key_apart` and `value_apart` vectors apart; queries and gradients are read as cells (`left`, `right`).
    template <int BLOCKS>
    void turn(int n, int queries, const float* left, int64_t left_step, const float* right, int64_t right_step, Vector* to_key,
              int64_t key_apart, Vector* to_value, int64_t value_apart) {
        Vector turned[2 * BLOCKS * LANES];
        for (int side = 0; side < 2; side++)
            for (int block = 0; block < BLOCKS; block++)
                to_tile((const float*)((side ? scores : other) + n * CAPACITY + block * LANES), LANES, LANES, LANES, 1,
                        turned + (side * BLOCKS + block) * LANES);  // beyond the keys, into lanes that do not matter
        blend<Spread, BLOCKS>(turned, LANES, left, left_step, 1, queries, problem.dim, to_key, key_apart);
        blend<Spread, BLOCKS>(turned + BLOCKS * LANES, LANES, right, right_step, 1, queries, problem.value_dim, to_value, value_apart);
    }
};

// Visits rows first..first+count-1 of a tile, as many at a time as share loads (LIMIT at most): visit(how many as a type, the first).
template <int LIMIT = MOST, class Visit>
INLINE void together(int first, int count, Visit visit) {
    while (count > 0) {
        int some = count < LIMIT ? count : LIMIT;
        if (some == 1) visit(Number<1>{}, first);
        if constexpr (LIMIT >= 2) if (some == 2) visit(Number<2>{}, first);
        if constexpr (LIMIT >= 3) if (some == 3) visit(Number<3>{}, first);
        if constexpr (LIMIT >= 4) if (some == 4) visit(Number<4>{}, first);
        first += some, count -= some;
    }
}
