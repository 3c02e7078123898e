// The gradient of a product's weights: for each slot the sum over its pairs of rows of their outer products.
//
// A job owns some slots and some channels of `a`, and walks all rows in order: no two jobs add to the same number, so
// the result does not depend on the number of threads.
#include "abi.h"
#include "simd.h"

namespace msm3d {
namespace MSM3D_ISA {

constexpr int64_t STEP = 256;          // rows at once: those of a and b that a slot reads fit the second-level cache
constexpr int64_t JOBS_PER_THREAD = 4;

struct Rows { const float *a, *b; };   // one pair

// R channels of a from `i` on, N vectors of b from `j` on, summed over the pairs into a corner of the gradient.
template <int R, int N>
static void outer(const Rows* pairs, int64_t count, int64_t i, int64_t j, float* grad, int64_t stride) {
    V total[R][N];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int v = 0; v < N; v++) total[r][v] = load(grad + r * stride + v * W);
    }
    for (int64_t p = 0; p < count; p++) {
        const float *a = pairs[p].a + i, *b = pairs[p].b + j;
        V w[N];
        UNROLL for (int v = 0; v < N; v++) w[v] = load(b + v * W);
        UNROLL for (int r = 0; r < R; r++) {
            const V x = splat(a[r]);
            UNROLL for (int v = 0; v < N; v++) total[r][v] = fma(x, w[v], total[r][v]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int v = 0; v < N; v++) store(grad + r * stride + v * W, total[r][v]);
    }
}

// As above for the last `rows` <= R channels of a.
template <int R, int N>
static void outer_rest(int64_t rows, const Rows* pairs, int64_t count, int64_t i, int64_t j, float* grad, int64_t stride) {
    if (rows == R) {
        outer<R, N>(pairs, count, i, j, grad, stride);
    } else if constexpr (R > 1) {
        outer_rest<R - 1, N>(rows, pairs, count, i, j, grad, stride);
    }
}

static void add_slot(const Rows* pairs, int64_t count, int64_t start, int64_t stop, int64_t d, float* grad) {
    for (int64_t i = start; i < stop; i += ROWS) {
        const int64_t rows = smaller(stop - i, int64_t(ROWS));
        float* corner = grad + i * d;
        int64_t j = 0;
        for (; j + COLS * W <= d; j += COLS * W) outer_rest<ROWS, COLS>(rows, pairs, count, i, j, corner + j, d);
        for (; j + W <= d; j += W) outer_rest<ROWS, 1>(rows, pairs, count, i, j, corner + j, d);
        for (; j < d; j++) {
            for (int64_t r = 0; r < rows; r++) {
                float total = corner[r * d + j];
                for (int64_t p = 0; p < count; p++) total += pairs[p].a[i + r] * pairs[p].b[j];
                corner[r * d + j] = total;
            }
        }
    }
}

#if defined(MSM3D_AMX)
int32_t gradient_in_tiles(const WeightGradient&);
#endif

int32_t weight_gradient(const WeightGradient& g) {
#if defined(MSM3D_AMX)
    if (g.dtype == BFLOAT16) return gradient_in_tiles(g);
#endif
    if (g.dtype != FLOAT32 || g.a_dtype != FLOAT32 || g.b_dtype != FLOAT32) return BAD_ARGUMENT;
    const float *a = static_cast<const float*>(g.a), *b = static_cast<const float*>(g.b);
    // Slots first, as a slot reads little of the table; then channels, enough for all threads.
    const int64_t wanted = g.threads * JOBS_PER_THREAD;
    const int64_t slots = larger(g.k / wanted, int64_t(1)), groups = blocks(g.k, slots);
    const int64_t share = padded(blocks(g.c, blocks(wanted, groups)), ROWS), parts = blocks(g.c, share);
    Arena arena{static_cast<char*>(workspace(g.threads * STEP * int64_t(sizeof(Rows)))), 0};
    if (!arena.base) return NO_MEMORY;
    Rows* all_pairs = arena.take<Rows>(g.threads * STEP);
    int32_t error = OK;
#pragma omp parallel for schedule(dynamic, 1) num_threads(int(g.threads))
    for (int64_t job = 0; job < groups * parts; job++) {
        const int64_t first = job / parts * slots, last = smaller(first + slots, g.k);
        const int64_t start = job % parts * share, stop = smaller(start + share, g.c);
        Rows* pairs = all_pairs + thread() * STEP;
        for (int64_t slot = first; slot < last; slot++) {
            memset(g.grad + (slot * g.c + start) * g.d, 0, size_t((stop - start) * g.d) * sizeof(float));
        }
        for (int64_t row = 0; row < g.m; row += STEP) {
            for (int64_t slot = first; slot < last; slot++) {
                int64_t count = 0;
                for (int64_t r = row; r < smaller(row + STEP, g.m); r++) {
                    const int64_t in = g.table ? g.table[r * g.k + slot] : r;
                    if (in >= g.n) {
#pragma omp atomic write
                        error = ROW_OUT_OF_RANGE;
                    } else if (in >= 0) {
                        pairs[count++] = {a + in * g.c, b + r * g.d};
                    }
                }
                add_slot(pairs, count, start, stop, g.d, g.grad + slot * g.c * g.d);
            }
        }
    }
    return error;
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
