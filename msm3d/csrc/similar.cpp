// What the search for nearest rows asks of an instruction set: products of whole numbers, many at a time, and exact
// products of two rows.
#include "abi.h"
#include "simd.h"

namespace msm3d {
namespace MSM3D_ISA {

extern const int64_t PANEL;
const int64_t PANEL = COLS * W;

// out[r, j] = the product of query r and row j of the panel over the columns 2 * first to 2 * last, for n queries, a
// multiple of ROWS. Both are pairs of int16: pair p of query r is queries[r * stride + p], that of row j of the panel
// panel[p * PANEL + j].
void whole_products(int64_t n, int64_t first, int64_t last, const int32_t* queries, int64_t stride,
                    const int32_t* panel, int32_t* out) {
    for (int64_t r = 0; r < n; r += ROWS) {
        const int32_t* row = queries + r * stride;
        I total[ROWS][COLS];
        UNROLLED(i, ROWS)
            UNROLLED(j, COLS) total[i][j] = zeros();
        for (int64_t p = first; p < last; p++) {
            I of_panel[COLS];
            UNROLLED(j, COLS) of_panel[j] = load_ints(panel + (p * COLS + j) * W);
            UNROLLED(i, ROWS) {
                const I x = splat_ints(row[i * stride + p]);
                UNROLLED(j, COLS) total[i][j] = add_pairs(x, of_panel[j], total[i][j]);
            }
        }
        UNROLLED(i, ROWS)
            UNROLLED(j, COLS) store_ints(out + ((r + i) * COLS + j) * W, total[i][j]);
    }
}

// The sum of a[i] * b[i]. A product of two float32 is exact in double, so that it does not matter whether it is rounded
// before it is added; the order of the sums is the same for every set.
double exact_product(int64_t c, const float* a, const float* b) {
    constexpr int LANES = 8;
    double lanes[LANES] = {};
    int64_t i = 0;
    for (; i + LANES <= c; i += LANES) {
        for (int j = 0; j < LANES; j++) lanes[j] += double(a[i + j]) * double(b[i + j]);
    }
    for (int j = 0; i + j < c; j++) lanes[j] += double(a[i + j]) * double(b[i + j]);
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int j = 0; j < width; j++) lanes[j] += lanes[j + width];
    }
    return lanes[0];
}

// Writes round(scale * x), of sizes below 2**15; returns at most how long the part is that was rounded off.
double whole_numbers(int64_t c, float scale, const float* x, int16_t* out) {
    constexpr int LANES = 16;
    constexpr float MAGIC = 12582912.0f;  // 1.5 * 2**23: a float32 of this size has no digits behind the point
    float squares[LANES] = {};
    int64_t i = 0;
    for (; i + LANES <= c; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            const float exact = scale * x[i + j], whole = (exact + MAGIC) - MAGIC, off = exact - whole;
            squares[j] += off * off;
            out[i + j] = int16_t(int32_t(whole));
        }
    }
    for (int j = 0; i + j < c; j++) {
        const float exact = scale * x[i + j], whole = (exact + MAGIC) - MAGIC, off = exact - whole;
        squares[j] += off * off;
        out[i + j] = int16_t(int32_t(whole));
    }
    double all = 0.0;
    for (int j = 0; j < LANES; j++) all += double(squares[j]);
    return sqrt(all) * 1.001 + 0.004 * sqrt(double(c));  // the products with scale and their sum are rounded, too
}

// Whether one of a panel's products is large enough.
bool reaches(const int32_t* products, int32_t least) {
    int32_t there = 0;
    for (int j = 0; j < COLS * W; j++) there |= products[j] >= least;
    return there != 0;
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
