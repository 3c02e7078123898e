// Attention of each row to a band of rows before and after it, forward and backward, in memory linear in the rows.
//
// Lanes run over keys, which are transposed once per head: (e, keys). Softmax is taken block by block of keys, with the
// largest score so far, in powers of two. The backward pass computes the scores again from the saved sums.
#include "arena.h"

namespace msm3d {
namespace MSM3D_ISA {

constexpr int64_t KEYS = 352;      // keys of a block at most: they and their scores stay in the first-level cache
constexpr int64_t SEGMENT = 4096;  // queries of one job: bounds the transposed keys and feeds many cores
constexpr int64_t AHEAD = 24;      // rows that are fetched before they are read: one head's are far from each other
constexpr float LOG2_E = 1.44269504f;
constexpr float TAME = 60.0f;  // powers of two of scores up to it are summed as they are: none is lost

// scores[r, j] = sum over i of q[i, r] * k[i, j], for ROWS queries and `keys` keys (a multiple of COLS * W); or two to
// the power of that, if all are tame.
template <bool POWER>
static void score(const float* q, const float* k, int64_t e, int64_t stride, int64_t keys, float* scores) {
    for (int64_t j = 0; j < keys; j += COLS * W) {
        V total[ROWS][COLS];
        UNROLLED(r, ROWS) {
            UNROLLED(v, COLS) total[r][v] = splat(0.0f);
        }
        for (int64_t i = 0; i < e; i++) {
            V key[COLS];
            UNROLLED(v, COLS) key[v] = load(k + i * stride + j + v * W);
            UNROLLED(r, ROWS) {
                const V a = splat(q[i * ROWS + r]);
                UNROLLED(v, COLS) total[r][v] = fma(a, key[v], total[r][v]);
            }
        }
        UNROLLED(r, ROWS) {
            UNROLLED(v, COLS) {
                store(scores + r * KEYS + j + v * W, POWER ? exp2_tame(total[r][v]) : total[r][v]);
            }
        }
    }
}

// total[r, i] += weights[r] . k[i], kept as one vector per (r, i): R queries, E channels.
template <int R, int E>
static inline void weigh(const float* weights, const float* k, int64_t stride, int64_t keys, int64_t e, float* total) {
    V t[R][E];
    UNROLLED(r, R) {
        UNROLLED(i, E) t[r][i] = load(total + (r * e + i) * W);
    }
    for (int64_t j = 0; j < keys; j += W) {
        V w[R];
        UNROLLED(r, R) w[r] = load(weights + r * KEYS + j);
        UNROLLED(i, E) {
            const V x = load(k + i * stride + j);
            UNROLLED(r, R) t[r][i] = fma(w[r], x, t[r][i]);
        }
    }
    UNROLLED(r, R) {
        UNROLLED(i, E) store(total + (r * e + i) * W, t[r][i]);
    }
}

static void weigh_all(const float* weights, const float* k, int64_t e, int64_t stride, int64_t keys, float* total) {
    constexpr int R = 3, E = ROWS * COLS >= 24 ? 8 : 4;  // as many sums as there are registers for
    for (int r = 0; r < ROWS; r += R) {
        int64_t i = 0;
        const float* w = weights + r * KEYS;
        float* t = total + r * e * W;
        for (; i + E <= e; i += E) weigh<R, E>(w, k + i * stride, stride, keys, e, t + i * W);
        for (; E > 4 && i + 4 <= e; i += 4) weigh<R, 4>(w, k + i * stride, stride, keys, e, t + i * W);
        for (; i < e; i++) weigh<R, 1>(w, k + i * stride, stride, keys, e, t + i * W);
    }
}

// k[i, j] += sum over r of weights[r, j] * x[i, r]: what ROWS queries send back to their keys.
static void spread(const float* weights, const float* x, int64_t e, int64_t stride, int64_t keys, float* k) {
    for (int64_t j = 0; j < keys; j += W) {
        V w[ROWS];
        UNROLLED(r, ROWS) w[r] = load(weights + r * KEYS + j);
        for (int64_t i = 0; i < e; i++) {
            V total = load(k + i * stride + j);
            UNROLLED(r, ROWS) total = fma(w[r], splat(x[i * ROWS + r]), total);
            store(k + i * stride + j, total);
        }
    }
}

// The band of ROWS queries from `first` on, those past `stop` repeating the last: rows [low, high) of their scene.
struct Band {
    int64_t first, start, stop, window, low, high;
    int64_t query(int r) const { return smaller(first + r, stop - 1); }
    // Keys of a block: as many in each, in whole vectors.
    int64_t block() const { return padded(blocks(high - low, blocks(high - low, KEYS)), COLS * W); }
    // Calls fill(r, from, to) for the keys of block [at, at + count) that query r may not see.
    template <class F> void outside(int64_t at, int64_t count, F fill) const {
        for (int r = 0; r < ROWS; r++) {
            const int64_t from = larger(start, query(r) - window), to = smaller(stop, query(r) + window + 1);
            fill(r, int64_t(0), smaller(larger(from - at, int64_t(0)), count));
            fill(r, smaller(larger(to - at, int64_t(0)), count), count);
        }
    }
};

// `origin` is the first row of the keys at hand: the band starts at a whole vector from there.
static Band band(int64_t first, int64_t start, int64_t stop, int64_t window, int64_t origin) {
    const int64_t last = smaller(first + ROWS, stop) - 1, low = larger(start, first - window);
    return {first, start, stop, window, origin + (low - origin) / W * W, smaller(stop, last + window + 1)};
}

// Channel-major copy of rows [low, high) of the part of qkv that `x` points at; zeros behind, for whole vectors.
static void transpose(const float* x, int64_t row, int64_t low, int64_t high, int64_t e, int64_t stride, float* out) {
    for (int64_t j = 0; j < high - low; j++) {
        prefetch(x + smaller(low + j + AHEAD, high - 1) * row);
        for (int64_t i = 0; i < e; i++) out[i * stride + j] = x[(low + j) * row + i];
    }
    for (int64_t i = 0; i < e; i++) memset(out + i * stride + high - low, 0, COLS * W * sizeof(float));
}

static void gather(const float* x, int64_t row, const Band& b, int64_t e, float scale, float* out) {
    for (int r = 0; r < ROWS; r++) {
        prefetch(x + b.query(ROWS + r) * row);  // of the next band
        for (int64_t i = 0; i < e; i++) out[i * ROWS + r] = x[b.query(r) * row + i] * scale;
    }
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

// The largest square of a column's length, of (e, columns).
static float longest_of(const float* x, int64_t e, int64_t stride, int64_t columns) {
    float most = 0.0f;
    for (int64_t j = 0; j < columns; j++) {
        float square = 0.0f;
        for (int64_t i = 0; i < e; i++) square += x[i * stride + j] * x[i * stride + j];
        most = larger(most, square);  // without NaN, which stay what they are on either way
    }
    return most;
}

// Turns one query's scores into powers of two relative to the largest so far, which it returns, and scales what was
// summed relative to `highest` before.
static float soften(float* s, int64_t count, float highest, V& sum_before, float* total, int64_t e) {
    V top = splat(highest);
    for (int64_t j = 0; j < count; j += W) top = max(top, load(s + j));
    const float now = largest(top), fade = exp2f(highest - now);
    if (now == -INFINITY) {  // nothing in sight yet
        memset(s, 0, size_t(count) * sizeof(float));
        return now;
    }
    for (int64_t j = 0; j < count; j += W) store(s + j, exp2(load(s + j) - splat(now)));
    if (fade != 1.0f) {
        sum_before = sum_before * splat(fade);
        for (int64_t i = 0; i < e; i++) store(total + i * W, load(total + i * W) * splat(fade));
    }
    return now;
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

// One thread's memory: one head's keys and values from row `low` on, as (e, stride); a band's queries (e, ROWS), their
// scores for a block of keys (ROWS, KEYS), what they gather (ROWS, e, W), and what dropout keeps of one query's block.
struct Scratch {
    int64_t stride, low;
    float *keys, *values, *queries, *scores, *total, *kept;

    static Scratch cut(Arena& arena, int64_t e, int64_t stride) {
        const auto floats = [&](int64_t count) { return arena.take<float>(count); };
        Scratch s{};
        s.stride = stride;
        s.keys = floats(e * stride), s.values = floats(e * stride);
        s.queries = floats(ROWS * e), s.scores = floats(ROWS * KEYS);
        s.total = floats(ROWS * e * W), s.kept = floats(KEYS);
        return s;
    }
};

// Softmax of ROWS queries as far as they have seen keys: sums of powers of two, relative to the highest score so far.
struct Softmax {
    bool tame;
    V sums[ROWS];
    float highest[ROWS];  // of tame scores, none is subtracted

    explicit Softmax(bool tame) : tame(tame) {
        for (int r = 0; r < ROWS; r++) sums[r] = splat(0.0f), highest[r] = tame ? 0.0f : -INFINITY;
    }

    // Turns the scores of query r into powers, and adds them up; `total` is what it has gathered so far.
    void add(int r, float* scores, int64_t count, float* total, int64_t e) {
        if (!tame) highest[r] = soften(scores, count, highest[r], sums[r], total, e);
        V share[COLS];
        UNROLLED(v, COLS) share[v] = splat(0.0f);
        for (int64_t j = 0; j < count; j += COLS * W) {
            UNROLLED(v, COLS) share[v] = share[v] + load(scores + j + v * W);
        }
        UNROLLED(v, COLS) sums[r] = sums[r] + share[v];
    }
};

// What the queries of a band gather from the keys [at, at + count).
static void attend_block(const Attend& a, int64_t head, const Band& b, int64_t at, int64_t count, Softmax& softmax,
                         const Scratch& s) {
    const float *keys = s.keys + at - s.low, *values = s.values + at - s.low;
    (softmax.tame ? score<true> : score<false>)(s.queries, keys, a.e, s.stride, count, s.scores);
    b.outside(at, count, [&](int r, int64_t from, int64_t to) {
        for (int64_t j = from; j < to; j++) s.scores[r * KEYS + j] = softmax.tame ? 0.0f : -INFINITY;
    });
    for (int r = 0; r < ROWS; r++) {
        float* scores = s.scores + r * KEYS;
        softmax.add(r, scores, count, s.total + r * a.e * W, a.e);
        if (a.dropout > 0.0) {
            keep(a, head, b.query(r), at, count, s.kept);
            for (int64_t j = 0; j < count; j++) scores[j] *= s.kept[j];
        }
    }
    weigh_all(s.scores, values, a.e, s.stride, count, s.total);
}

// Divides what each query gathered by its sum.
static void finish_band(const Attend& a, const Job& job, int64_t first, const Softmax& softmax, const Scratch& s) {
    for (int r = 0; r < ROWS && first + r < job.last; r++) {
        float* out = a.out + ((first + r) * a.h + job.head) * a.e;
        const float all = sum(softmax.sums[r]);
        for (int64_t i = 0; i < a.e; i++) out[i] = sum(load(s.total + (r * a.e + i) * W)) / all;
        if (a.lse) a.lse[(first + r) * a.h + job.head] = softmax.highest[r] + log2f(all);
    }
}

static void attend_job(const Attend& a, const Job& job, Scratch s) {
    const int64_t e = a.e, row = 3 * a.h * e;
    const float scale = LOG2_E / sqrtf(float(e)), *q = a.qkv + job.head * e;
    const int64_t high = smaller(job.stop, job.last + a.window);
    s.low = larger(job.start, job.first - a.window);
    transpose(q + a.h * e, row, s.low, high, e, s.stride, s.keys);
    transpose(q + 2 * a.h * e, row, s.low, high, e, s.stride, s.values);
    const float longest_key = longest_of(s.keys, e, s.stride, high - s.low);
    for (int64_t first = job.first; first < job.last; first += ROWS) {
        const Band b = band(first, job.start, job.stop, a.window, s.low);
        gather(q, row, b, e, scale, s.queries);
        memset(s.total, 0, size_t(ROWS * e * W) * sizeof(float));
        Softmax softmax(sqrtf(longest_of(s.queries, e, ROWS, ROWS) * longest_key) <= TAME);  // Cauchy and Schwarz
        for (int64_t at = b.low, block = b.block(); at < b.high; at += block) {
            attend_block(a, job.head, b, at, padded(smaller(block, b.high - at), COLS * W), softmax, s);
        }
        finish_band(a, job, first, softmax, s);
    }
}

int32_t attend(const Attend& a) {
    int64_t jobs = 0, longest = 0;
    for (int64_t scene = 0; scene < a.scenes; scene++) {
        jobs += segments(a, scene, SEGMENT) * a.h;
        const int64_t rows = a.offsets[scene + 1] - a.offsets[scene];
        longest = larger(longest, smaller(rows, SEGMENT + 2 * smaller(a.window, rows)));
    }
    const auto cut = [&](Arena& arena) { return Scratch::cut(arena, a.e, padded(longest + KEYS, W)); };
    return with_workspaces(a.threads, cut, [&](const auto& own) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(int(a.threads))
        for (int64_t index = 0; index < jobs; index++) attend_job(a, job_at(a, index, SEGMENT), own());
        return OK;
    });
}

// --- backward --------------------------------------------------------------------------------------------------------

// One thread's memory: as above, and the gradients of keys and values (e, stride); the result's gradients of a band's
// queries (e, ROWS), the slopes of their scores for a block of keys (ROWS, KEYS), their `lse` and mean slopes (ROWS).
struct GradientScratch {
    Scratch of;
    float *grad_keys, *grad_values, *grads, *slopes, *lse, *mean;

    static GradientScratch cut(Arena& arena, int64_t e, int64_t stride) {
        const auto floats = [&](int64_t count) { return arena.take<float>(count); };
        GradientScratch s{};
        s.of = Scratch::cut(arena, e, stride);
        s.grad_keys = floats(e * stride), s.grad_values = floats(e * stride);
        s.grads = floats(ROWS * e), s.slopes = floats(ROWS * KEYS);
        s.lse = floats(ROWS), s.mean = floats(ROWS);
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
    score<false>(s.of.queries, s.of.keys + at - s.of.low, a.e, s.of.stride, count, shares);
    score<false>(s.grads, s.of.values + at - s.of.low, a.e, s.of.stride, count, slopes);
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
    for (int64_t r = b.stop - b.first; r < ROWS; r++) {  // queries past the last one
        memset(shares + r * KEYS, 0, size_t(count) * sizeof(float));
        memset(slopes + r * KEYS, 0, size_t(count) * sizeof(float));
    }
}

static void gradient_band(const Attend& a, int64_t head, const Band& b, const GradientScratch& s) {
    const int64_t e = a.e, stride = s.of.stride;
    recall(a, head, b, s);
    memset(s.of.total, 0, size_t(ROWS * e * W) * sizeof(float));
    for (int64_t at = b.low, block = b.block(); at < b.high; at += block) {
        const int64_t count = padded(smaller(block, b.high - at), COLS * W), column = at - s.of.low;
        share_out(a, head, b, at, count, s);
        weigh_all(s.slopes, s.of.keys + column, e, stride, count, s.of.total);
        spread(s.slopes, s.of.queries, e, stride, count, s.grad_keys + column);
        spread(s.of.scores, s.grads, e, stride, count, s.grad_values + column);
    }
    const float scale = 1.0f / sqrtf(float(e));
    for (int r = 0; r < ROWS && b.first + r < b.stop; r++) {
        float* grad = a.grad_qkv + (b.first + r) * 3 * a.h * e + head * e;
        for (int64_t i = 0; i < e; i++) grad[i] = sum(load(s.of.total + (r * e + i) * W)) * scale;
    }
}

// A job is a head of a whole scene: what its queries send back to the keys is added up in their order.
static void gradient_job(const Attend& a, int64_t head, int64_t start, int64_t stop, GradientScratch s) {
    const int64_t e = a.e, row = 3 * a.h * e, stride = s.of.stride;
    const float* q = a.qkv + head * e;
    s.of.low = start;
    for (int64_t j = 0; j < KEYS; j++) s.of.kept[j] = 1.0f;
    transpose(q + a.h * e, row, start, stop, e, stride, s.of.keys);
    transpose(q + 2 * a.h * e, row, start, stop, e, stride, s.of.values);
    memset(s.grad_keys, 0, size_t(e * stride) * sizeof(float));
    memset(s.grad_values, 0, size_t(e * stride) * sizeof(float));
    for (int64_t first = start; first < stop; first += ROWS) {
        gradient_band(a, head, band(first, start, stop, a.window, start), s);
    }
    for (int64_t j = 0; j < stop - start; j++) {
        float* grad = a.grad_qkv + (start + j) * row + (a.h + head) * e;
        for (int64_t i = 0; i < e; i++) {
            grad[i] = s.grad_keys[i * stride + j] * (1.0f / LOG2_E);  // the queries held the base of the powers
            grad[a.h * e + i] = s.grad_values[i * stride + j];
        }
    }
}

int32_t attend_gradient(const Attend& a) {
    int64_t longest = 0;
    for (int64_t scene = 0; scene < a.scenes; scene++) {
        longest = larger(longest, a.offsets[scene + 1] - a.offsets[scene]);
    }
    const auto cut = [&](Arena& arena) { return GradientScratch::cut(arena, a.e, padded(longest + KEYS, W)); };
    return with_workspaces(a.threads, cut, [&](const auto& own) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(int(a.threads))
        for (int64_t index = 0; index < a.scenes * a.h; index++) {
            const int64_t scene = index / a.h;
            gradient_job(a, index % a.h, a.offsets[scene], a.offsets[scene + 1], own());
        }
        return OK;
    });
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
