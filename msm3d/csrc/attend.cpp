// Attention of each row to a band of rows before and after it, forward and backward, in memory linear in the rows.
//
// Lanes run over keys, which are transposed once per head: (e, keys). Softmax is taken block by block of keys, with the
// largest score so far, in powers of two. The backward pass computes the scores again from the saved sums.
#include "abi.h"
#include "simd.h"

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
    static_assert(ROWS % R == 0, "queries come in groups of three");
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

int32_t attend(const Attend& a) {
    const int64_t e = a.e, row = 3 * a.h * e;
    const float scale = LOG2_E / sqrtf(float(e));
    int64_t jobs = 0, longest = 0;
    for (int64_t scene = 0; scene < a.scenes; scene++) {
        jobs += segments(a, scene, SEGMENT) * a.h;
        const int64_t rows = a.offsets[scene + 1] - a.offsets[scene];
        longest = larger(longest, smaller(rows, SEGMENT + 2 * smaller(a.window, rows)));
    }
    const int64_t stride = padded(longest + KEYS, W);
    const int64_t size = padded(2 * e * stride + ROWS * (KEYS + e + e * W) + KEYS, 16);
    float* all = static_cast<float*>(workspace(a.threads * size * int64_t(sizeof(float))));
    if (!all) return NO_MEMORY;
#pragma omp parallel for schedule(dynamic, 1) num_threads(int(a.threads))
    for (int64_t index = 0; index < jobs; index++) {
        const Job job = job_at(a, index, SEGMENT);
        float *keys = all + thread() * size, *values = keys + e * stride, *scores = values + e * stride;
        float *queries = scores + ROWS * KEYS, *total = queries + ROWS * e;
        float* kept = total + ROWS * e * W;
        const float* q = a.qkv + job.head * e;
        const int64_t low = larger(job.start, job.first - a.window), high = smaller(job.stop, job.last + a.window);
        transpose(q + a.h * e, row, low, high, e, stride, keys);
        transpose(q + 2 * a.h * e, row, low, high, e, stride, values);
        const float longest_key = longest_of(keys, e, stride, high - low);
        for (int64_t first = job.first; first < job.last; first += ROWS) {
            const Band b = band(first, job.start, job.stop, a.window, low);
            gather(q, row, b, e, scale, queries);
            memset(total, 0, size_t(ROWS * e * W) * sizeof(float));
            const bool tame = sqrtf(longest_of(queries, e, ROWS, ROWS) * longest_key) <= TAME;  // Cauchy and Schwarz
            V sums[ROWS];
            float highest[ROWS];  // so far; of tame scores, none is subtracted
            for (int r = 0; r < ROWS; r++) sums[r] = splat(0.0f), highest[r] = tame ? 0.0f : -INFINITY;
            for (int64_t at = b.low, block = b.block(); at < b.high; at += block) {
                const int64_t count = padded(smaller(block, b.high - at), COLS * W);
                (tame ? score<true> : score<false>)(queries, keys + at - low, e, stride, count, scores);
                b.outside(at, count, [&](int r, int64_t from, int64_t to) {
                    for (int64_t j = from; j < to; j++) scores[r * KEYS + j] = tame ? 0.0f : -INFINITY;
                });
                for (int r = 0; r < ROWS; r++) {
                    float *s = scores + r * KEYS, *t = total + r * e * W;
                    if (!tame) highest[r] = soften(s, count, highest[r], sums[r], t, e);
                    V share[COLS];
                    UNROLLED(v, COLS) share[v] = splat(0.0f);
                    for (int64_t j = 0; j < count; j += COLS * W) {
                        UNROLLED(v, COLS) share[v] = share[v] + load(s + j + v * W);
                    }
                    UNROLLED(v, COLS) sums[r] = sums[r] + share[v];
                    if (a.dropout > 0.0) {
                        keep(a, job.head, b.query(r), at, count, kept);
                        for (int64_t j = 0; j < count; j++) s[j] *= kept[j];
                    }
                }
                weigh_all(scores, values + at - low, e, stride, count, total);
            }
            for (int r = 0; r < ROWS && first + r < job.last; r++) {
                float* out = a.out + ((first + r) * a.h + job.head) * e;
                const float all = sum(sums[r]);
                for (int64_t i = 0; i < e; i++) out[i] = sum(load(total + (r * e + i) * W)) / all;
                if (a.lse) a.lse[(first + r) * a.h + job.head] = highest[r] + log2f(all);
            }
        }
    }
    return OK;
}

int32_t attend_gradient(const Attend& a) {
    const int64_t e = a.e, row = 3 * a.h * e;
    const float scale = 1.0f / sqrtf(float(e));
    int64_t longest = 0;
    for (int64_t scene = 0; scene < a.scenes; scene++) {
        longest = larger(longest, a.offsets[scene + 1] - a.offsets[scene]);
    }
    // A job is a head of a whole scene: what its queries send back to the keys is added up in their order.
    const int64_t stride = padded(longest + KEYS, W), jobs = a.scenes * a.h;
    const int64_t size = padded(4 * e * stride + ROWS * (2 * KEYS + 2 * e + e * W) + KEYS, 16);
    float* all = static_cast<float*>(workspace(a.threads * size * int64_t(sizeof(float))));
    if (!all) return NO_MEMORY;
#pragma omp parallel for schedule(dynamic, 1) num_threads(int(a.threads))
    for (int64_t index = 0; index < jobs; index++) {
        const int64_t head = index % a.h, start = a.offsets[index / a.h], stop = a.offsets[index / a.h + 1];
        float *keys = all + thread() * size, *values = keys + e * stride;
        float *grad_keys = values + e * stride, *grad_values = grad_keys + e * stride;
        float *shares = grad_values + e * stride, *slopes = shares + ROWS * KEYS;
        float *queries = slopes + ROWS * KEYS, *grads = queries + ROWS * e, *total = grads + ROWS * e;
        float* kept = total + ROWS * e * W;
        for (int64_t j = 0; j < KEYS; j++) kept[j] = 1.0f;
        const float* q = a.qkv + head * e;
        transpose(q + a.h * e, row, start, stop, e, stride, keys);
        transpose(q + 2 * a.h * e, row, start, stop, e, stride, values);
        memset(grad_keys, 0, size_t(2 * e * stride) * sizeof(float));
        for (int64_t first = start; first < stop; first += ROWS) {
            const Band b = band(first, start, stop, a.window, start);
            gather(q, row, b, e, scale * LOG2_E, queries);
            gather(a.grad_out + head * e, a.h * e, b, e, 1.0f, grads);
            memset(total, 0, size_t(ROWS * e * W) * sizeof(float));
            float lse[ROWS], mean[ROWS];
            for (int r = 0; r < ROWS; r++) {
                const float* out = a.out + (b.query(r) * a.h + head) * e;
                lse[r] = a.lse[b.query(r) * a.h + head];
                mean[r] = 0.0f;
                for (int64_t i = 0; i < e; i++) mean[r] += out[i] * grads[i * ROWS + r];
            }
            for (int64_t at = b.low, block = b.block(); at < b.high; at += block) {
                const int64_t count = padded(smaller(block, b.high - at), COLS * W), column = at - start;
                score<false>(queries, keys + column, e, stride, count, shares);
                score<false>(grads, values + column, e, stride, count, slopes);
                for (int r = 0; r < ROWS; r++) {
                    float *share = shares + r * KEYS, *slope = slopes + r * KEYS;
                    if (a.dropout > 0.0) keep(a, head, b.query(r), at, count, kept);
                    for (int64_t j = 0; j < count; j += W) {
                        const V p = exp2(load(share + j) - splat(lse[r])), k = load(kept + j);
                        store(share + j, p * k);
                        store(slope + j, p * (load(slope + j) * k - splat(mean[r])));
                    }
                }
                b.outside(at, count, [&](int r, int64_t from, int64_t to) {
                    for (int64_t j = from; j < to; j++) shares[r * KEYS + j] = slopes[r * KEYS + j] = 0.0f;
                });
                for (int64_t r = stop - first; r < ROWS; r++) {  // queries past the last one
                    memset(shares + r * KEYS, 0, size_t(count) * sizeof(float));
                    memset(slopes + r * KEYS, 0, size_t(count) * sizeof(float));
                }
                weigh_all(slopes, keys + column, e, stride, count, total);
                spread(slopes, queries, e, stride, count, grad_keys + column);
                spread(shares, grads, e, stride, count, grad_values + column);
            }
            for (int r = 0; r < ROWS && first + r < stop; r++) {
                float* grad = a.grad_qkv + (first + r) * row + head * e;
                for (int64_t i = 0; i < e; i++) grad[i] = sum(load(total + (r * e + i) * W)) * scale;
            }
        }
        for (int64_t j = 0; j < stop - start; j++) {
            float* grad = a.grad_qkv + (start + j) * row + (a.h + head) * e;
            for (int64_t i = 0; i < e; i++) {
                grad[i] = grad_keys[i * stride + j] * (1.0f / LOG2_E);  // the queries held the base of the powers
                grad[a.h * e + i] = grad_values[i * stride + j];
            }
        }
    }
    return OK;
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
