// The mean cross-entropy of a linear layer on some rows, and its gradients, in one pass over the rows.
//
// A block of rows is read twice while it stays in the caches: for the logits, and for its outer products with their
// gradients. Parts of the rows have sums of their own, which are added in their order: the threads change no bit.
#include "arena.h"

namespace msm3d {
namespace MSM3D_ISA {

constexpr int64_t PARTS = 16, BLOCK = 64, SLICE = 256;  // rows of a block; columns whose weights stay close
constexpr int TALL = W == 16 ? 8 : 4, WIDE = 3;         // rows and vectors of classes whose sums are in registers
static_assert(BLOCK % TALL == 0, "a block's last rows need no code of their own");

// out[r, j] += the sum over columns first to last of x[r, i] * weight[i, j], for TALL rows and N vectors of classes.
template <int N>
static void multiply(const float* const* x, int64_t first, int64_t last, const float* weight, int64_t stride,
                     float* out) {
    V total[TALL][N];
    UNROLLED(r, TALL) {
        UNROLLED(v, N) total[r][v] = load(out + r * stride + v * W);
    }
    for (int64_t i = first; i < last; i++) {
        V w[N];
        UNROLLED(v, N) w[v] = load(weight + i * stride + v * W);
        UNROLLED(r, TALL) {
            const V value = splat(x[r][i]);
            UNROLLED(v, N) total[r][v] = fma(value, w[v], total[r][v]);
        }
    }
    UNROLLED(r, TALL) {
        UNROLLED(v, N) store(out + r * stride + v * W, total[r][v]);
    }
}

// grad[i, j] += the sum over `count` rows of x[r, first + i] * slope[r, j], for R columns and N vectors of classes.
template <int R, int N>
static void outer(const float* const* x, int64_t count, int64_t first, const float* slope, int64_t stride,
                  float* grad) {
    V total[R][N];
    UNROLLED(i, R) {
        UNROLLED(v, N) total[i][v] = load(grad + i * stride + v * W);
    }
    for (int64_t r = 0; r < count; r++) {
        const float* row = x[r] + first;
        V s[N];
        UNROLLED(v, N) s[v] = load(slope + r * stride + v * W);
        UNROLLED(i, R) {
            const V value = splat(row[i]);
            UNROLLED(v, N) total[i][v] = fma(value, s[v], total[i][v]);
        }
    }
    UNROLLED(i, R) {
        UNROLLED(v, N) store(grad + i * stride + v * W, total[i][v]);
    }
}

// A block's logits of N vectors of classes, to which the bias has been added.
template <int N>
static void logits(const float* const* x, int64_t c, const float* weight, int64_t stride, float* out) {
    for (int64_t first = 0; first < c; first += SLICE) {
        const int64_t last = smaller(first + SLICE, c);
        for (int64_t r = 0; r < BLOCK; r += TALL) {
            multiply<N>(x + r, first, last, weight, stride, out + r * stride);
        }
    }
}

template <int N>
static void gradient(const float* const* x, int64_t count, int64_t c, const float* slope, int64_t stride, float* grad) {
    int64_t i = 0;
    for (; i + TALL <= c; i += TALL) outer<TALL, N>(x, count, i, slope, stride, grad + i * stride);
    for (; i < c; i++) outer<1, N>(x, count, i, slope, stride, grad + i * stride);
}

// Turns a row of logits into the slopes of its loss, times `share`; returns the loss.
static double slopes(float* row, int64_t width, int64_t label, float share) {
    V top = load(row);
    for (int64_t j = W; j < width; j += W) top = max(top, load(row + j));
    const float most = largest(top), ours = row[label];
    V all = splat(0.0f);
    for (int64_t j = 0; j < width; j += W) {
        const V power = exp2((load(row + j) - splat(most)) * splat(1.44269504f));
        store(row + j, power);
        all = all + power;
    }
    const float total = sum(all);
    for (int64_t j = 0; j < width; j += W) store(row + j, load(row + j) * splat(share / total));
    row[label] -= share;
    return double(logf(total)) + double(most - ours);
}

// What a part of the rows adds up: (c, width), (width) and one number; and the logits of a block (BLOCK, width).
struct Sums {
    float *weight, *bias, *block;
    double* loss;
};

// Adds a block of `count` rows: those that x points to, BLOCK of them, of which the last ones count nothing.
static void add_block(const Entropy& a, const float* const* x, const int64_t* rows, int64_t count, const float* weight,
                      const float* bias, int64_t width, const Sums& sums) {
    for (int64_t r = 0; r < BLOCK; r++) memcpy(sums.block + r * width, bias, size_t(width) * sizeof(float));
    for (int64_t j = 0; j < width; j += WIDE * W) {
        switch (smaller((width - j) / W, int64_t(WIDE))) {
            case 1: logits<1>(x, a.c, weight + j, width, sums.block + j); break;
            case 2: logits<2>(x, a.c, weight + j, width, sums.block + j); break;
            default: logits<WIDE>(x, a.c, weight + j, width, sums.block + j);
        }
    }
    const float share = 1.0f / float(a.m);
    for (int64_t r = 0; r < count; r++) {
        float* row = sums.block + r * width;
        *sums.loss += slopes(row, width, a.labels[rows[r]], share);
        for (int64_t j = 0; j < width; j += W) store(sums.bias + j, load(sums.bias + j) + load(row + j));
    }
    for (int64_t j = 0; j < width; j += WIDE * W) {
        switch (smaller((width - j) / W, int64_t(WIDE))) {
            case 1: gradient<1>(x, count, a.c, sums.block + j, width, sums.weight + j); break;
            case 2: gradient<2>(x, count, a.c, sums.block + j, width, sums.weight + j); break;
            default: gradient<WIDE>(x, count, a.c, sums.block + j, width, sums.weight + j);
        }
    }
}

static void add_part(const Entropy& a, int64_t first, int64_t last, const float* weight, const float* bias,
                     int64_t width, const Sums& sums) {
    memset(sums.weight, 0, size_t(a.c * width) * sizeof(float));
    memset(sums.bias, 0, size_t(width) * sizeof(float));
    *sums.loss = 0.0;
    for (int64_t start = first; start < last; start += BLOCK) {
        const int64_t count = smaller(last - start, BLOCK);
        int64_t rows[BLOCK];
        const float* x[BLOCK];
        for (int64_t r = 0; r < BLOCK; r++) {
            const int64_t i = start + smaller(r, count - 1);
            rows[r] = a.rows ? a.rows[i] : i;
            x[r] = a.input + rows[r] * a.c;
        }
        add_block(a, x, rows, count, weight, bias, width, sums);
    }
}

int32_t entropy(const Entropy& a) {
    const int64_t width = padded(a.d, W), share = padded(blocks(a.m, PARTS), BLOCK), parts = blocks(a.m, share);
    struct Buffers {
        float *weight, *bias;
        Sums sums;
    };
    const auto cut = [&](Arena& arena) {
        return Buffers{arena.take<float>(a.c * width), arena.take<float>(width),
                       Sums{arena.take<float>(parts * a.c * width), arena.take<float>(parts * width),
                            arena.take<float>(parts * BLOCK * width), arena.take<double>(parts)}};
    };
    return with_workspace(cut, [&](const Buffers& b) {
        for (int64_t j = 0; j < width; j++) b.bias[j] = j < a.d ? a.bias[j] : -1e30f;  // no class: its share is 0
        in_threads(a.threads, [&](Team& team) {
            team.share(a.c, [&](int64_t i) {
                for (int64_t j = 0; j < width; j++) b.weight[i * width + j] = j < a.d ? a.weight[j * a.c + i] : 0.0f;
            });
            team.wait();
            team.queue(parts, 1, [&](int64_t p) {
                const Sums sums{b.sums.weight + p * a.c * width, b.sums.bias + p * width,
                                b.sums.block + p * BLOCK * width, b.sums.loss + p};
                add_part(a, p * share, smaller(a.m, (p + 1) * share), b.weight, b.bias, width, sums);
            });
            team.wait();
            team.share(a.c, [&](int64_t i) {
                float* total = b.sums.weight + i * width;
                for (int64_t p = 1; p < parts; p++) {
                    const float* more = total + p * a.c * width;
                    for (int64_t j = 0; j < width; j += W) store(total + j, load(total + j) + load(more + j));
                }
                for (int64_t j = 0; j < a.d; j++) a.grad_weight[j * a.c + i] = total[j];
            });
        });
        double loss = 0.0;
        for (int64_t p = 0; p < parts; p++) loss += b.sums.loss[p];
        for (int64_t j = 0; j < a.d; j++) {
            float total = 0.0f;
            for (int64_t p = 0; p < parts; p++) total += b.sums.bias[p * width + j];
            a.grad_bias[j] = total;
        }
        *a.loss = float(loss / double(a.m));
        return OK;
    });
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
