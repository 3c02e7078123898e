// Products of bfloat16 on an AMX processor, and the gradient of their weights.
//
// The rows that a slot reads are copied side by side, rounded if need be; tiles multiply them by the slot's weights,
// and what comes out is added to their rows' sums. Each sum is taken slot by slot, whatever the number of threads.
#include "amx.h"
#include "finish.h"
#include "pairs.h"

namespace msm3d {
namespace MSM3D_ISA {

constexpr int64_t ROWS_AT_ONCE = 256;  // at most: their sums stay in the second-level cache
constexpr int64_t SHARE = 2;           // tiles of rows per thread at least, so that threads end together
constexpr int64_t PANEL = 2 * SIDE;    // channels of the product that two tiles of weights give

// --- weights: per panel, slot and 32 channels of x two tiles, of words that hold channels 2 q and 2 q + 1 ------------

static void pack(const Product& a, int64_t panel, int64_t slot, bf16* out) {
    const bf16* weight = static_cast<const bf16*>(a.weight) + slot * a.slot_stride;
    const int64_t first = panel * PANEL, columns = smaller(PANEL, a.finish.channels - first);
    for (int64_t start = 0; start < a.c; start += STEP, out += 2 * TILE) {
        const int64_t channels = smaller(STEP, a.c - start);
        const bf16* corner = weight + start * a.c_stride + first * a.d_stride;
        if (a.d_stride == 1) {
            for (int64_t q = 0; q < SIDE; q++) {
                const bf16 *even = corner + 2 * q * a.c_stride, *odd = even + a.c_stride;
                const Woven woven =
                    weave(read(even, 2 * q < channels ? columns : 0), read(odd, 2 * q + 1 < channels ? columns : 0));
                _mm512_storeu_si512(out + q * STEP, woven.first);
                _mm512_storeu_si512(out + TILE + q * STEP, woven.second);
            }
            continue;
        }
        for (int64_t half = 0; half < 2; half++) {
            __m512i rows[SIDE];
            for (int64_t j = 0; j < SIDE; j++) {
                const int64_t column = half * SIDE + j, count = column < columns ? channels : 0;
                bf16 apart[STEP];
                const bf16* from = corner + column * a.d_stride;
                for (int64_t i = 0; a.c_stride != 1 && i < count; i++) apart[i] = from[i * a.c_stride];
                rows[j] = read(a.c_stride == 1 ? from : apart, count);
            }
            transpose(rows);
            for (int64_t q = 0; q < SIDE; q++) _mm512_storeu_si512(out + half * TILE + q * STEP, rows[q]);
        }
    }
}

// --- product ---------------------------------------------------------------------------------------------------------

// H x 2 tiles of sums of H * 16 rows of a and one panel of weights.
template <int H> static inline void multiply(const bf16* a, int64_t stride, const bf16* weight, int64_t steps) {
    TILE_ZERO(0);
    TILE_ZERO(1);
    if constexpr (H == 2) {
        TILE_ZERO(2);
        TILE_ZERO(3);
    }
    for (int64_t step = 0; step < steps; step++, a += STEP, weight += 2 * TILE) {
        TILE_LOAD(4, a, stride);
        TILE_LOAD(6, weight, 64);
        TILE_DOT(0, 4, 6);
        TILE_LOAD(7, weight + TILE, 64);
        TILE_DOT(1, 4, 7);
        if constexpr (H == 2) {
            TILE_LOAD(5, reinterpret_cast<const char*>(a) + SIDE * stride, stride);
            TILE_DOT(2, 5, 6);
            TILE_DOT(3, 5, 7);
        }
    }
}

// Stores those tiles as rows of 32 sums, `stride` floats apart.
template <int H> static inline void store_tiles(float* sums, int64_t stride) {
    TILE_STORE(0, sums, stride * 4);
    TILE_STORE(1, sums + SIDE, stride * 4);
    if constexpr (H == 2) {
        TILE_STORE(2, sums + SIDE * stride, stride * 4);
        TILE_STORE(3, sums + SIDE * stride + SIDE, stride * 4);
    }
}

// The rows of one slot, side by side, with zeros up to whole tiles.
template <class X> static void gather(const Product& a, const int32_t* in, int64_t count, int64_t depth, bf16* out) {
    for (int64_t p = 0; p < count; p++) {
        const X* x = static_cast<const X*>(a.input) + in[p] * a.stride;
        for (int64_t i = 0; i < depth; i += STEP) _mm512_storeu_si512(out + p * depth + i, read(x + i, a.c - i));
    }
    memset(out + count * depth, 0, size_t((padded(count, PANEL) - count) * depth) * sizeof(bf16));
}

template <int H>
static inline void multiply_group(const bf16* a, int64_t depth, const bf16* weight, const int32_t* rows, int64_t count,
                                  float* group, float* sums, int64_t wide, int64_t first) {
    multiply<H>(a, depth * 2, weight, depth / STEP);
    if (!rows) return store_tiles<H>(sums, wide);
    store_tiles<H>(group, PANEL);
    for (int64_t r = 0; r < count; r++) {
        float* to = sums + (rows[r] - first) * wide;
        UNROLLED(v, PANEL / W) {
            const V product = load(group + r * PANEL + v * W);
            store(to + v * W, load(to + v * W) + product);
        }
    }
}

// One thread's memory, and how many floats apart rows of sums are.
struct Buffers {
    bf16* staged;
    float* sums;
    int32_t* same;
    int64_t wide;
};

// The sums of rows [first, first + rows), slot by slot; `group` holds what a panel of pairs gives.
template <class X>
static void multiply_rows(const Product& a, int64_t first, int64_t rows, int64_t depth, const bf16* packed,
                          const Buffers& b, float* group) {
    const int64_t panels = b.wide / PANEL;
    if (a.pairs.slots) memset(b.sums, 0, size_t(rows * b.wide) * sizeof(float));
    for (int64_t slot = 0; slot < a.k; slot++) {
        const Span pairs = span(a.pairs, a.k, slot, first, rows, b.same);
        if (pairs.count) gather<X>(a, pairs.in, pairs.count, depth, b.staged);
        for (int64_t panel = 0; panel < panels; panel++) {
            const bf16* weight = packed + (panel * a.k + slot) * depth * PANEL;
            float* column = b.sums + panel * PANEL;
            for (int64_t p = 0; p < pairs.count; p += PANEL) {
                const int64_t left = smaller(PANEL, pairs.count - p);
                const int32_t* to = a.pairs.slots ? pairs.row + p : nullptr;
                float* at = a.pairs.slots ? column : column + p * b.wide;
                const auto multiply = left > SIDE ? multiply_group<2> : multiply_group<1>;
                multiply(b.staged + p * depth, depth, weight, to, left, group, at, b.wide, first);
            }
        }
    }
}

template <class X> static int32_t product_of(const Product& a) {
    const int64_t depth = padded(a.c, STEP), panels = blocks(a.finish.channels, PANEL), wide = panels * PANEL;
    const int64_t tile = smaller(ROWS_AT_ONCE, larger(padded(blocks(a.m, SHARE * a.threads), PANEL), 2 * PANEL));
    struct All {
        Finisher finisher;
        bf16 *packed, *staged;
        float* sums;
        int32_t* same;
    };
    const auto cut = [&](Arena& arena) {
        return All{Finisher::cut(a.finish, arena), arena.take<bf16>(panels * a.k * depth * PANEL),
                   arena.take<bf16>(a.threads * tile * depth),
                   arena.take<float>(a.threads * tile * wide + W),  // geglu reads past a row
                   arena.take<int32_t>(a.threads * tile)};
    };
    return with_workspace(cut, [&](const All& all) {
        const Finisher finisher = all.finisher;
        finisher.fill(a.finish);
        in_threads(a.threads, [&](Team& team) {
            const Tiles tiles;
            alignas(64) float group[PANEL * PANEL];
            const Buffers own = {all.staged + team.number * tile * depth, all.sums + team.number * tile * wide,
                                 all.same + team.number * tile, wide};
            memset(own.sums, 0, size_t(tile * wide) * sizeof(float));
            team.share(panels * a.k,
                       [&](int64_t part) { pack(a, part / a.k, part % a.k, all.packed + part * depth * PANEL); });
            team.wait();
            team.queue(blocks(a.m, tile), 1, [&](int64_t part) {
                const int64_t first = part * tile, rows = smaller(tile, a.m - first);
                multiply_rows<X>(a, first, rows, depth, all.packed, own, group);
                finisher.rows(a, first, rows, own.sums, wide);
            });
        });
        return OK;
    });
}

int32_t product_in_tiles(const Product& a) {
    return a.input_dtype == BFLOAT16 ? product_of<bf16>(a) : product_of<float>(a);
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
