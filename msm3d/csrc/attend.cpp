// Attention of each row to a band of rows before and after it, forward and backward, in memory linear in the rows.
//
// Keys stand in panels: (keys / PANEL, e, PANEL). Lanes run over them, and for what is gathered over channels where a
// head has whole vectors of them. Several bands of queries go over a block of keys while the first-level cache has it.
// Softmax is taken block by block, with the largest score so far, in powers of two. The backward pass computes the
// scores again from the saved sums.
#include "arena.h"

namespace msm3d {
namespace MSM3D_ISA {

constexpr int64_t PANEL = COLS * W;  // keys that are scored at once
constexpr int64_t KEYS = 256;        // keys of a block at most
constexpr int64_t BANDS = 8;         // bands that go over a block together
constexpr int64_t SEGMENT = 4096;    // queries of one job: bounds the transposed keys and feeds many cores
constexpr int64_t AHEAD = 64;        // rows that are fetched before they are read: one head's are far from each other
constexpr float LOG2_E = 1.44269504f;
constexpr float TAME = 60.0f;  // powers of two of scores up to it are summed as they are: none is lost

// Keys of a block: they and their values stay in the first-level cache.
static int64_t block_of(int64_t e) { return larger(smaller(padded(2048 / e, PANEL), KEYS), PANEL); }

// Floats for what one query gathers in one channel: its value, or one per lane, to be added up.
static int64_t lanes_of(int64_t e) { return e % PANEL ? W : 1; }

// scores[r, j] = sum over i of q[i, r] * k[i, j], for ROWS queries and `keys` keys (a multiple of PANEL); or two to the
// power of that, if all are tame, which is added to `sums`, too.
template <bool POWER>
static void score(const float* q, const float* k, int64_t e, int64_t keys, float* scores, V* sums = nullptr) {
    for (int64_t j = 0; j < keys; j += PANEL) {
        V total[ROWS][COLS];
        UNROLLED(r, ROWS) {
            UNROLLED(v, COLS) total[r][v] = splat(0.0f);
        }
        for (int64_t i = 0; i < e; i++, k += PANEL) {
            V key[COLS];
            UNROLLED(v, COLS) key[v] = load(k + v * W);
            UNROLLED(r, ROWS) {
                const V a = splat(q[i * ROWS + r]);
                UNROLLED(v, COLS) total[r][v] = fma(a, key[v], total[r][v]);
            }
        }
        UNROLLED(r, ROWS) {
            if (POWER) exp2_tame(total[r]);
            V share = total[r][0];
            UNROLLED(v, COLS) store(scores + r * KEYS + j + v * W, total[r][v]);
            for (int v = 1; v < COLS; v++) share = share + total[r][v];
            if (POWER) sums[r] = sums[r] + share;
        }
    }
}

// total[r, i] += weights[r] . k[i], kept as one vector per (r, i): R queries, E channels.
template <int R, int E>
static inline void weigh(const float* weights, const float* k, int64_t keys, int64_t e, float* total) {
    V t[R][E];
    UNROLLED(r, R) {
        UNROLLED(i, E) t[r][i] = load(total + (r * e + i) * W);
    }
    for (int64_t j = 0; j < keys; j += PANEL, k += e * PANEL) {
        UNROLLED(v, COLS) {
            V w[R];
            UNROLLED(r, R) w[r] = load(weights + r * KEYS + j + v * W);
            UNROLLED(i, E) {
                const V x = load(k + i * PANEL + v * W);
                UNROLLED(r, R) t[r][i] = fma(w[r], x, t[r][i]);
            }
        }
    }
    UNROLLED(r, R) {
        UNROLLED(i, E) store(total + (r * e + i) * W, t[r][i]);
    }
}

static void weigh_panels(const float* weights, const float* k, int64_t e, int64_t keys, float* total) {
    constexpr int R = 3, E = ROWS * COLS >= 24 ? 8 : 4;  // as many sums as there are registers for
    for (int r = 0; r < ROWS; r += R) {
        int64_t i = 0;
        const float* w = weights + r * KEYS;
        float* t = total + r * e * W;
        for (; i + E <= e; i += E) weigh<R, E>(w, k + i * PANEL, keys, e, t + i * W);
        for (; E > 4 && i + 4 <= e; i += 4) weigh<R, 4>(w, k + i * PANEL, keys, e, t + i * W);
        for (; i < e; i++) weigh<R, 1>(w, k + i * PANEL, keys, e, t + i * W);
    }
}

// total[r, i] += sum over j of weights[r, j] * k[j, i], of whole vectors of channels.
static void weigh_rows(const float* weights, const float* k, int64_t e, int64_t keys, float* total) {
    for (int64_t i = 0; i < e; i += PANEL) {
        V t[ROWS][COLS];
        UNROLLED(r, ROWS) {
            UNROLLED(v, COLS) t[r][v] = load(total + r * e + i + v * W);
        }
        for (int64_t j = 0; j < keys; j++) {
            V x[COLS];
            UNROLLED(v, COLS) x[v] = load(k + j * e + i + v * W);
            UNROLLED(r, ROWS) {
                const V w = splat(weights[r * KEYS + j]);
                UNROLLED(v, COLS) t[r][v] = fma(w, x[v], t[r][v]);
            }
        }
        UNROLLED(r, ROWS) {
            UNROLLED(v, COLS) store(total + r * e + i + v * W, t[r][v]);
        }
    }
}

// k[i, j] += sum over r of weights[r, j] * x[i, r]: what ROWS queries send back to their keys.
static void spread(const float* weights, const float* x, int64_t e, int64_t keys, float* k) {
    for (int64_t j = 0; j < keys; j += PANEL) {
        V w[ROWS][COLS];
        UNROLLED(r, ROWS) {
            UNROLLED(v, COLS) w[r][v] = load(weights + r * KEYS + j + v * W);
        }
        for (int64_t i = 0; i < e; i++, k += PANEL) {
            V t[COLS];
            UNROLLED(v, COLS) t[v] = load(k + v * W);
            UNROLLED(r, ROWS) {
                const V a = splat(x[i * ROWS + r]);
                UNROLLED(v, COLS) t[v] = fma(w[r][v], a, t[v]);
            }
            UNROLLED(v, COLS) store(k + v * W, t[v]);
        }
    }
}

// The band of ROWS queries [first, end), the last one repeated past it: rows [low, high) of their scene.
struct Band {
    int64_t first, end, start, stop, window, low, high;
    int64_t query(int r) const { return smaller(first + r, end - 1); }
    struct Range { int64_t from, to; };
    // Whole panels of the block of keys [at, at + count) that every query sees.
    Range seen(int64_t at, int64_t count) const {
        const int64_t first = larger(start, query(ROWS) - window) - at,
                      last = smaller(stop, this->first + window + 1) - at;
        const int64_t from = smaller(padded(larger(first, int64_t(0)), PANEL), count);
        return {from, larger(from, smaller(last, count) / PANEL * PANEL)};
    }
    // Calls fill(r, from, to) for those that query r may not see.
    template <class F> void outside(int64_t at, int64_t count, F fill) const {
        const Range all = seen(at, count);
        if (all.from == 0 && all.to == count) return;
        for (int r = 0; r < ROWS; r++) {
            const int64_t from = larger(start, query(r) - window), to = smaller(stop, query(r) + window + 1);
            fill(r, int64_t(0), smaller(larger(from - at, int64_t(0)), count));
            fill(r, smaller(larger(to - at, int64_t(0)), count), count);
        }
    }
};

// Of queries up to `last`. `origin` is the first row of the keys at hand: the band starts at a whole panel from there.
static Band band(int64_t first, int64_t last, int64_t start, int64_t stop, int64_t window, int64_t origin) {
    const int64_t end = smaller(first + ROWS, last), low = larger(start, first - window);
    return {first, end, start, stop, window, origin + (low - origin) / PANEL * PANEL, smaller(stop, end + window)};
}

// Calls run(g, at, count) for each block of keys and each of `many` bands that see some of it, in whole panels.
template <class F> static void sweep(const Band* bands, int64_t many, int64_t block, F run) {
    for (int64_t at = bands[0].low; at < bands[many - 1].high; at += block) {
        for (int64_t g = 0; g < many; g++) {
            const int64_t low = larger(at, bands[g].low), high = smaller(at + block, bands[g].high);
            if (low < high) run(g, low, padded(high - low, PANEL));
        }
    }
}

static void fetch(const float* x, int64_t e) {
    for (int64_t i = 0; i < e; i += LINE / int64_t(sizeof(float))) prefetch(x + i);
}

// Rows [low, high) of the part of qkv that `x` points at, side by side, and zeros up to a whole panel.
static void copy(const float* x, int64_t row, int64_t low, int64_t high, int64_t e, float* out) {
    for (int64_t j = 0; j < padded(high - low, PANEL); j++) {
        fetch(x + smaller(low + j + AHEAD, high - 1) * row, e);
        if (low + j < high) memcpy(out + j * e, x + (low + j) * row, size_t(e) * sizeof(float));
        else memset(out + j * e, 0, size_t(e) * sizeof(float));
    }
}

// The same in panels. Returns the largest square of a row's length, without NaN, which stay what they are on any way.
static float panels(const float* x, int64_t row, int64_t low, int64_t high, int64_t e, float* out) {
    V most = splat(0.0f);
    for (int64_t j = low; j < low + padded(high - low, PANEL); j += W) {
        for (int r = 0; r < W; r++) fetch(x + smaller(j + r + AHEAD, high - 1) * row, e);
        const int64_t many = smaller(int64_t(W), high - j);
        int64_t i = 0;
        for (; many == W && i + W <= e; i += W) {
            V part[W];
            UNROLLED(r, W) part[r] = load(x + (j + r) * row + i);
            transpose(part);
            UNROLLED(r, W) store(out + (i + r) * PANEL, part[r]);
        }
        for (; i < e; i++) {
            for (int r = 0; r < W; r++) out[i * PANEL + r] = r < many ? x[(j + r) * row + i] : 0.0f;
        }
        V square = splat(0.0f);
        for (i = 0; i < e; i++) square = fma(load(out + i * PANEL), load(out + i * PANEL), square);
        most = max(square, most);
        out += (j + W - low) % PANEL ? W : W + PANEL * (e - 1);
    }
    return largest(most);
}

// The queries of a band, (e, ROWS). Returns the largest square of their lengths.
static float gather(const float* x, int64_t row, const Band& b, int64_t e, float scale, float* out) {
    float most = 0.0f;
    for (int r = 0; r < ROWS; r++) {
        const float* query = x + b.query(r) * row;
        fetch(x + smaller(b.first + BANDS * ROWS + r, b.stop - 1) * row, e);  // of a band to come
        V squares = splat(0.0f);
        int64_t i = 0;
        for (; i + W <= e; i += W) squares = fma(load(query + i), load(query + i), squares);
        float square = sum(squares);
        for (; i < e; i++) square += query[i] * query[i];
        for (i = 0; i < e; i++) out[i * ROWS + r] = query[i] * scale;
        most = larger(most, square * scale * scale);
    }
    return most;
}

// What dropout leaves of the attention of one query to `count` keys from `key` on: 0 or 1 / (1 - dropout), by a hash of
// the seed, the head, the query and the key, so that the backward pass and any division of the work see the same.
static void keep(const Attend& a, int64_t head, int64_t query, int64_t key, int64_t count, float* kept) {
    uint64_t state = uint64_t(a.seed) + 0x9e3779b97f4a7c15u * uint64_t(query * a.h + head + 1);
    state = (state ^ state >> 30) * 0xbf58476d1ce4e5b9u;
    state = (state ^ state >> 27) * 0x94d049bb133111ebu;
    const uint32_t base = uint32_t(state ^ state >> 31), least = uint32_t(a.dropout * 16777216.0);
    const float scale = float(1.0 / (1.0 - a.dropout));
    for (int64_t j = 0; j < count; j++) {
        uint32_t x = base + uint32_t(key + j) * 0x9e3779b9u;
        x = (x ^ x >> 16) * 0x85ebca6bu;
        x = (x ^ x >> 13) * 0xc2b2ae35u;
        kept[j] = ((x ^ x >> 16) >> 8) >= least ? scale : 0.0f;
    }
}

struct Job { int64_t head, start, stop, first, last; };  // scene [start, stop), queries [first, last)

static int64_t segments(const Attend& a, int64_t scene, int64_t size) {
    return blocks(a.offsets[scene + 1] - a.offsets[scene], size);
}

// Job number `index` of those that cut every scene into segments of `size` queries, for every head.
static Job job_at(const Attend& a, int64_t index, int64_t size) {
    const int64_t head = index % a.h;
    int64_t segment = index / a.h, scene = 0;
    while (segment >= segments(a, scene, size)) segment -= segments(a, scene++, size);
    const int64_t start = a.offsets[scene], stop = a.offsets[scene + 1], first = start + segment * size;
    return {head, start, stop, first, smaller(stop, first + size)};
}

// --- forward ---------------------------------------------------------------------------------------------------------

// One thread's memory: one head's keys and values from row `low` on; of each band its queries (e, ROWS) and what they
// gather (ROWS, e, lanes); the scores of ROWS queries for a block of keys, and what dropout keeps of one query's block.
struct Scratch {
    int64_t low, lanes;
    float *keys, *values, *queries, *scores, *total, *kept;

    static Scratch cut(Arena& arena, int64_t e, int64_t rows) {
        const auto floats = [&](int64_t count) { return arena.take<float>(count); };
        Scratch s{};
        s.lanes = lanes_of(e);
        s.keys = floats(rows * e), s.values = floats(rows * e);
        s.queries = floats(BANDS * ROWS * e), s.scores = floats(ROWS * KEYS);
        s.total = floats(BANDS * ROWS * e * s.lanes), s.kept = floats(KEYS);
        return s;
    }

    Scratch of_band(int64_t g, int64_t e) const {
        Scratch s = *this;
        s.queries += g * ROWS * e, s.total += g * ROWS * e * lanes;
        return s;
    }
    float* of_query(int r, int64_t e) const { return total + r * e * lanes; }
    // Adds up what the queries gather with `weights` from `count` keys of `from`, rows or panels.
    void weigh(const float* weights, const float* from, int64_t e, int64_t count) const {
        (lanes == 1 ? weigh_rows : weigh_panels)(weights, from, e, count, total);
    }
    float gathered(int r, int64_t i, int64_t e) const {
        const float* t = of_query(r, e) + i * lanes;
        return lanes == 1 ? *t : sum(load(t));
    }
};

// Softmax of ROWS queries as far as they have seen keys: sums of powers of two, relative to the highest score so far.
struct Softmax {
    bool tame;
    float highest[ROWS];  // of tame scores, none is subtracted
    V sums[ROWS];

    void start(bool all_tame) {
        tame = all_tame;
        for (int r = 0; r < ROWS; r++) sums[r] = splat(0.0f), highest[r] = tame ? 0.0f : -INFINITY;
    }

    // Turns the scores of query r into powers. `total` is the `size` floats that it has gathered.
    void soften(int r, float* s, int64_t count, float* total, int64_t size) {
        V top = splat(highest[r]);
        for (int64_t j = 0; j < count; j += W) top = max(top, load(s + j));
        const float before = highest[r], now = largest(top);
        highest[r] = now;
        if (now == -INFINITY) {  // nothing in sight yet
            memset(s, 0, size_t(count) * sizeof(float));
            return;
        }
        for (int64_t j = 0; j < count; j += W) store(s + j, exp2(load(s + j) - splat(now)));
        if (now == before) return;
        const float fade = exp2f(before - now);
        sums[r] = sums[r] * splat(fade);
        for (int64_t i = 0; i < size; i++) total[i] *= fade;
    }

    void add(const float* s, int64_t from, int64_t to) {
        for (int r = 0; r < ROWS; r++) {
            V share = splat(0.0f);
            for (int64_t j = from; j < to; j += W) share = share + load(s + r * KEYS + j);
            sums[r] = sums[r] + share;
        }
    }
};

// The powers of the scores of tame queries of a band, for the keys [at, at + count).
static void tame_block(const Band& b, int64_t e, int64_t at, int64_t count, Softmax& softmax, const Scratch& s) {
    const float* keys = s.keys + (at - s.low) * e;
    V aside[ROWS];
    for (int r = 0; r < ROWS; r++) aside[r] = splat(0.0f);
    const auto range = b.seen(at, count);  // the panels that all see need no mask
    const int64_t from = range.from, to = range.to;
    score<true>(s.queries, keys, e, from, s.scores, aside);
    score<true>(s.queries, keys + from * e, e, to - from, s.scores + from, softmax.sums);
    score<true>(s.queries, keys + to * e, e, count - to, s.scores + to, aside);
    b.outside(at, count, [&](int r, int64_t first, int64_t last) {
        for (int64_t j = first; j < last; j++) s.scores[r * KEYS + j] = 0.0f;
    });
    softmax.add(s.scores, 0, from);
    softmax.add(s.scores, to, count);
}

// The same of any.
static void wild_block(const Band& b, int64_t e, int64_t at, int64_t count, Softmax& softmax, const Scratch& s) {
    score<false>(s.queries, s.keys + (at - s.low) * e, e, count, s.scores);
    b.outside(at, count, [&](int r, int64_t from, int64_t to) {
        for (int64_t j = from; j < to; j++) s.scores[r * KEYS + j] = -INFINITY;
    });
    for (int r = 0; r < ROWS; r++) softmax.soften(r, s.scores + r * KEYS, count, s.of_query(r, e), e * s.lanes);
    softmax.add(s.scores, 0, count);
}

// What the queries of a band gather from the keys [at, at + count).
static void attend_block(const Attend& a, int64_t head, const Band& b, int64_t at, int64_t count, Softmax& softmax,
                         const Scratch& s) {
    (softmax.tame ? tame_block : wild_block)(b, a.e, at, count, softmax, s);
    for (int r = 0; r < ROWS && a.dropout > 0.0; r++) {
        keep(a, head, b.query(r), at, count, s.kept);
        for (int64_t j = 0; j < count; j++) s.scores[r * KEYS + j] *= s.kept[j];
    }
    s.weigh(s.scores, s.values + (at - s.low) * a.e, a.e, count);
}

// Divides what each query gathered by its sum.
static void finish_band(const Attend& a, int64_t head, const Band& b, const Softmax& softmax, const Scratch& s) {
    for (int r = 0; r < b.end - b.first; r++) {
        const int64_t at = (b.first + r) * a.h + head;
        const float all = sum(softmax.sums[r]), share = 1.0f / all;
        for (int64_t i = 0; i < a.e; i++) a.out[at * a.e + i] = s.gathered(r, i, a.e) * share;
        if (a.lse) a.lse[at] = softmax.highest[r] + log2f(all);
    }
}

static void attend_job(const Attend& a, const Job& job, Scratch s) {
    const int64_t e = a.e, row = 3 * a.h * e;
    const float scale = LOG2_E / sqrtf(float(e)), *q = a.qkv + job.head * e;
    const int64_t high = smaller(job.stop, job.last + a.window);
    s.low = larger(job.start, job.first - a.window);
    const float longest_key = panels(q + a.h * e, row, s.low, high, e, s.keys);
    if (s.lanes == 1) copy(q + 2 * a.h * e, row, s.low, high, e, s.values);
    else panels(q + 2 * a.h * e, row, s.low, high, e, s.values);
    for (int64_t first = job.first; first < job.last; first += BANDS * ROWS) {
        Band bands[BANDS];
        Softmax softmax[BANDS];
        const int64_t many = smaller(BANDS, blocks(job.last - first, ROWS));
        memset(s.total, 0, size_t(BANDS * ROWS * e * s.lanes) * sizeof(float));
        for (int64_t g = 0; g < many; g++) {
            bands[g] = band(first + g * ROWS, job.last, job.start, job.stop, a.window, s.low);
            const float longest_query = gather(q, row, bands[g], e, scale, s.of_band(g, e).queries);
            softmax[g].start(sqrtf(longest_query * longest_key) <= TAME);  // Cauchy and Schwarz
        }
        sweep(bands, many, block_of(e), [&](int64_t g, int64_t at, int64_t count) {
            attend_block(a, job.head, bands[g], at, count, softmax[g], s.of_band(g, e));
        });
        for (int64_t g = 0; g < many; g++) finish_band(a, job.head, bands[g], softmax[g], s.of_band(g, e));
    }
}

int32_t attend(const Attend& a) {
    int64_t jobs = 0, longest = 0;
    for (int64_t scene = 0; scene < a.scenes; scene++) {
        jobs += segments(a, scene, SEGMENT) * a.h;
        const int64_t rows = a.offsets[scene + 1] - a.offsets[scene];
        longest = larger(longest, smaller(rows, SEGMENT + 2 * smaller(a.window, rows)));
    }
    const auto cut = [&](Arena& arena) { return Scratch::cut(arena, a.e, padded(longest, PANEL)); };
    return with_workspaces(a.threads, cut, [&](const auto& own) {
        in_threads(a.threads, [&](Team& team) {
            team.queue(jobs, 1, [&](int64_t index) { attend_job(a, job_at(a, index, SEGMENT), own(team)); });
        });
        return OK;
    });
}

// --- backward --------------------------------------------------------------------------------------------------------

// One thread's memory: as above, where what is gathered comes from `sources`, the keys as weigh takes them, and the
// gradients of keys and values in panels; of each band the result's gradients (e, ROWS), `lse` and mean slopes (ROWS);
// the slopes of the scores of ROWS queries for a block of keys.
struct GradientScratch {
    Scratch of;
    float *sources, *grad_keys, *grad_values, *grads, *slopes, *lse, *mean;

    static GradientScratch cut(Arena& arena, int64_t e, int64_t rows) {
        const auto floats = [&](int64_t count) { return arena.take<float>(count); };
        GradientScratch s{};
        s.of = Scratch::cut(arena, e, rows);
        s.sources = s.of.lanes == 1 ? floats(rows * e) : s.of.keys;
        s.grad_keys = floats(rows * e), s.grad_values = floats(rows * e);
        s.grads = floats(BANDS * ROWS * e), s.slopes = floats(ROWS * KEYS);
        s.lse = floats(BANDS * ROWS), s.mean = floats(BANDS * ROWS);
        return s;
    }

    GradientScratch of_band(int64_t g, int64_t e) const {
        GradientScratch s = *this;
        s.of = of.of_band(g, e);
        s.grads += g * ROWS * e, s.lse += g * ROWS, s.mean += g * ROWS;
        return s;
    }
};

// Gathers what the forward pass knew of the band's queries.
static void recall(const Attend& a, int64_t head, const Band& b, const GradientScratch& s) {
    const int64_t e = a.e, row = 3 * a.h * e;
    gather(a.qkv + head * e, row, b, e, 1.0f / sqrtf(float(e)) * LOG2_E, s.of.queries);
    gather(a.grad_out + head * e, a.h * e, b, e, 1.0f, s.grads);
    for (int r = 0; r < ROWS; r++) {
        const float* out = a.out + (b.query(r) * a.h + head) * e;
        s.lse[r] = a.lse[b.query(r) * a.h + head];
        s.mean[r] = 0.0f;
        for (int64_t i = 0; i < e; i++) s.mean[r] += out[i] * s.grads[i * ROWS + r];
    }
}

// The shares that the queries give to the keys [at, at + count), in place of scores, and the slopes of their scores.
static void share_out(const Attend& a, int64_t head, const Band& b, int64_t at, int64_t count,
                      const GradientScratch& s) {
    float *shares = s.of.scores, *slopes = s.slopes, *kept = s.of.kept;
    score<false>(s.of.queries, s.of.keys + (at - s.of.low) * a.e, a.e, count, shares);
    score<false>(s.grads, s.of.values + (at - s.of.low) * a.e, a.e, count, slopes);
    for (int r = 0; r < ROWS; r++) {
        float *share = shares + r * KEYS, *slope = slopes + r * KEYS;
        const V lse = splat(s.lse[r]), mean = splat(s.mean[r]);
        if (a.dropout > 0.0) keep(a, head, b.query(r), at, count, kept);
        for (int64_t j = 0; j < count; j += W) {
            const V p = exp2(load(share + j) - lse), k = load(kept + j);
            store(share + j, p * k);
            store(slope + j, p * (load(slope + j) * k - mean));
        }
    }
    b.outside(at, count, [&](int r, int64_t from, int64_t to) {
        for (int64_t j = from; j < to; j++) shares[r * KEYS + j] = slopes[r * KEYS + j] = 0.0f;
    });
    for (int64_t r = b.end - b.first; r < ROWS; r++) {  // queries past the last one
        memset(shares + r * KEYS, 0, size_t(count) * sizeof(float));
        memset(slopes + r * KEYS, 0, size_t(count) * sizeof(float));
    }
}

static void gradient_block(const Attend& a, int64_t head, const Band& b, int64_t at, int64_t count,
                           const GradientScratch& s) {
    const int64_t from = (at - s.of.low) * a.e;
    share_out(a, head, b, at, count, s);
    s.of.weigh(s.slopes, s.sources + from, a.e, count);
    spread(s.slopes, s.of.queries, a.e, count, s.grad_keys + from);
    spread(s.of.scores, s.grads, a.e, count, s.grad_values + from);
}

// The bands of queries from `first` on, of scene [start, stop).
static void gradient_bands(const Attend& a, int64_t head, int64_t first, int64_t start, int64_t stop,
                           const GradientScratch& s) {
    const int64_t e = a.e, many = smaller(BANDS, blocks(stop - first, ROWS));
    Band bands[BANDS];
    memset(s.of.total, 0, size_t(BANDS * ROWS * e * s.of.lanes) * sizeof(float));
    for (int64_t g = 0; g < many; g++) {
        bands[g] = band(first + g * ROWS, stop, start, stop, a.window, start);
        recall(a, head, bands[g], s.of_band(g, e));
    }
    sweep(bands, many, block_of(2 * e),
          [&](int64_t g, int64_t at, int64_t count) { gradient_block(a, head, bands[g], at, count, s.of_band(g, e)); });
    const float scale = 1.0f / sqrtf(float(e));
    for (int64_t g = 0; g < many; g++) {
        const Scratch own = s.of.of_band(g, e);
        for (int r = 0; r < bands[g].end - bands[g].first; r++) {
            float* grad = a.grad_qkv + (bands[g].first + r) * 3 * a.h * e + head * e;
            for (int64_t i = 0; i < e; i++) grad[i] = own.gathered(r, i, e) * scale;
        }
    }
}

// A job is a head of a whole scene: what its queries send back to the keys is added up in their order.
static void gradient_job(const Attend& a, int64_t head, int64_t start, int64_t stop, GradientScratch s) {
    const int64_t e = a.e, row = 3 * a.h * e, size = padded(stop - start, PANEL) * e;
    const float* q = a.qkv + head * e;
    s.of.low = start;
    for (int64_t j = 0; j < KEYS; j++) s.of.kept[j] = 1.0f;
    panels(q + a.h * e, row, start, stop, e, s.of.keys);
    panels(q + 2 * a.h * e, row, start, stop, e, s.of.values);
    if (s.of.lanes == 1) copy(q + a.h * e, row, start, stop, e, s.sources);
    memset(s.grad_keys, 0, size_t(size) * sizeof(float));
    memset(s.grad_values, 0, size_t(size) * sizeof(float));
    for (int64_t first = start; first < stop; first += BANDS * ROWS) gradient_bands(a, head, first, start, stop, s);
    for (int64_t j = 0; j < stop - start; j++) {
        const int64_t from = j / PANEL * PANEL * e + j % PANEL;
        float* grad = a.grad_qkv + (start + j) * row + (a.h + head) * e;
        for (int64_t i = 0; i < e; i++) {
            grad[i] = s.grad_keys[from + i * PANEL] * (1.0f / LOG2_E);  // the queries held the base of the powers
            grad[a.h * e + i] = s.grad_values[from + i * PANEL];
        }
    }
}

int32_t attend_gradient(const Attend& a) {
    int64_t longest = 0;
    for (int64_t scene = 0; scene < a.scenes; scene++) {
        longest = larger(longest, a.offsets[scene + 1] - a.offsets[scene]);
    }
    const auto cut = [&](Arena& arena) { return GradientScratch::cut(arena, a.e, padded(longest, PANEL)); };
    return with_workspaces(a.threads, cut, [&](const auto& own) {
        in_threads(a.threads, [&](Team& team) {
            team.queue(a.scenes * a.h, 1, [&](int64_t index) {
                const int64_t scene = index / a.h;
                gradient_job(a, index % a.h, a.offsets[scene], a.offsets[scene + 1], own(team));
            });
        });
        return OK;
    });
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
