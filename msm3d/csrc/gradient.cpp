// The gradient of a product's weights: for each slot the sum over its pairs of rows of their outer products.
//
// A job owns one slot and some channels of `a`, and walks the rows in order, slab by slab, so that all jobs read the
// same part of the table. No two jobs add to the same number, and the order of the sums does not depend on the jobs.
#include "pairs.h"

namespace msm3d {
namespace MSM3D_ISA {

constexpr int64_t SLAB = 2048;  // rows: what all slots read of them stays in the caches
constexpr int64_t GROUP = 64;   // pairs at once: their part of a panel and of rows of a stays in the first-level cache
constexpr int64_t JOBS_PER_THREAD = 4;

// Lays `count` rows of b out in panels of P channels: (panel, row, P), zeros behind the last channel.
template <int64_t P>
static void lay_out(const float* b, int64_t d, const int32_t* rows, int64_t count, float* out) {
    for (int64_t p = 0; p < count; p++) {
        const float* from = b + rows[p] * d;
        float* to = out + p * P;
        int64_t j = 0;
        for (; j + P <= d; j += P, to += count * P) memcpy(to, from + j, P * sizeof(float));
        if (j < d) {
            memset(to, 0, P * sizeof(float));
            memcpy(to, from + j, size_t(d - j) * sizeof(float));
        }
    }
}

// Where the rows of a group of pairs start.
struct Places { int64_t *a, *b; };

// Adds the products of R channels of rows of a and a panel of b to `columns` of grad.
template <int R, int N>
static void outer(const float* a, const float* b, const Places& places, int64_t count, int64_t columns, float* grad,
                  int64_t stride) {
    V total[R][N];
    UNROLLED(r, R) {
        UNROLLED(v, N) total[r][v] = splat(0.0f);
    }
    for (int64_t p = 0; p < count; p++) {
        const float *a_row = a + places.a[p], *b_row = b + places.b[p];
        V w[N];
        UNROLLED(v, N) w[v] = load(b_row + v * W);
        UNROLLED(r, R) {
            const V x = splat(a_row[r]);
            UNROLLED(v, N) total[r][v] = fma(x, w[v], total[r][v]);
        }
    }
    if (columns == N * W) {
        UNROLLED(r, R) {
            float* g = grad + r * stride;
            UNROLLED(v, N) store(g + v * W, load(g + v * W) + total[r][v]);
        }
    } else {
        float all[R][N * W];
        UNROLLED(r, R) {
            UNROLLED(v, N) store(all[r] + v * W, total[r][v]);
        }
        for (int64_t r = 0; r < R; r++) {
            for (int64_t j = 0; j < columns; j++) grad[r * stride + j] += all[r][j];
        }
    }
}

// As above for the last `rows` <= R channels of a.
template <int R, int N>
static void outer_rest(int64_t rows, const float* a, const float* b, const Places& places, int64_t count,
                       int64_t columns, float* grad, int64_t stride) {
    if (rows == R) {
        outer<R, N>(a, b, places, count, columns, grad, stride);
    } else if constexpr (R > 1) {
        outer_rest<R - 1, N>(rows, a, b, places, count, columns, grad, stride);
    }
}

template <int R, int N> static int32_t gradient_in(const WeightGradient& g) {
    constexpr int64_t width = N * W;
    const int64_t wanted = blocks(g.threads * JOBS_PER_THREAD, g.k);
    const int64_t share = padded(blocks(g.c, wanted), R), parts = blocks(g.c, share), wide = padded(g.d, width);
    const bool in_place = wide == g.d && g.d <= 2 * width;  // rows of one or two whole panels are read where they stand
    const float *a = static_cast<const float*>(g.left), *b = static_cast<const float*>(g.right);
    struct Buffers {
        int32_t* same;
        Places places;
        float* panels;
    };
    const auto cut = [&](Arena& arena) {
        return Buffers{arena.take<int32_t>(SLAB),
                       {arena.take<int64_t>(GROUP), arena.take<int64_t>(GROUP)},
                       arena.take<float>(in_place ? 0 : GROUP * wide)};
    };
    return with_workspaces(g.threads, cut, [&](const auto& own) {
        in_threads(g.threads, [&](Team& team) {
            const Buffers buffers = own(team);
            team.share(g.k,
                       [&](int64_t slot) { memset(g.grad + slot * g.c * g.d, 0, size_t(g.c * g.d) * sizeof(float)); });
            for (int64_t first = 0; first < g.m; first += SLAB) {
                team.wait();
                team.queue(g.k * parts, 1, [&](int64_t job) {
                    const int64_t slot = job / parts, start = job % parts * share, stop = smaller(start + share, g.c);
                    const Span all = span(g.pairs, g.k, slot, first, smaller(SLAB, g.m - first), buffers.same);
                    for (int64_t p = 0; p < all.count; p += GROUP) {
                        const int64_t pairs = smaller(GROUP, all.count - p);
                        for (int64_t q = 0; q < pairs; q++) {
                            buffers.places.a[q] = all.in[p + q] * g.c;
                            buffers.places.b[q] = in_place ? all.row[p + q] * g.d : q * width;
                        }
                        if (!in_place) lay_out<width>(b, g.d, all.row + p, pairs, buffers.panels);
                        for (int64_t j = 0; j < g.d; j += width) {
                            const float* panel = in_place ? b + j : buffers.panels + j * pairs;
                            for (int64_t i = start; i < stop; i += R) {
                                outer_rest<R, N>(smaller(stop - i, int64_t(R)), a + i, panel, buffers.places, pairs,
                                                 smaller(g.d - j, width), g.grad + (slot * g.c + i) * g.d + j, g.d);
                            }
                        }
                    }
                });
            }
        });
        return OK;
    });
}

#if defined(MSM3D_AMX)
int32_t gradient_in_tiles(const WeightGradient&);
#endif

int32_t weight_gradient(const WeightGradient& g) {
#if defined(MSM3D_AMX)
    if (g.dtype == BFLOAT16) return gradient_in_tiles(g);
#endif
    if (g.dtype != FLOAT32 || g.left_dtype != FLOAT32 || g.right_dtype != FLOAT32) return BAD_ARGUMENT;
    if constexpr (W == 16) {  // registers for wider panels, which read a less often
        if (g.d % (4 * W) == 0) return gradient_in<6, 4>(g);
        if (g.d % (3 * W) == 0) return gradient_in<8, 3>(g);
    }
    return gradient_in<ROWS, COLS>(g);
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
