// The gradient of a product's weights on an AMX processor, from rows rounded to bfloat16.
//
// A job owns one slot and some channels of `a`, and walks the rows in order, slab by slab, so that all jobs read the
// same part of the table. No two jobs add to the same number, and the order of the sums does not depend on the jobs.
#include "amx.h"
#include "pairs.h"

namespace msm3d {
namespace MSM3D_ISA {

constexpr int64_t SLAB = 8192;  // rows: what all slots read of them stays in the caches
constexpr int64_t GROUP = 512;  // pairs that are laid out at once
constexpr int64_t JOBS_PER_THREAD = 4;

// Lays `count` rows of x out, channels [start, stop), as tiles [step][tile] of 32 rows and 16 channels: pairs of rows
// side by side for each channel (b), or for each channel its 32 values (a: the transposed tile).
template <bool TRANSPOSED, class X>
static void lay_out(const X* x, int64_t c, const int32_t* rows, int64_t count, int64_t start, int64_t stop, bf16* out) {
    const int64_t tiles = blocks(stop - start, SIDE);
    for (int64_t p = 0; p < count; p += STEP, out += tiles * TILE) {
        for (int64_t i = start; i < stop; i += STEP) {
            const int64_t width = smaller(STEP, stop - i);
            bf16* tile = out + (i - start) / SIDE * TILE;
            alignas(64) bf16 second[TILE];
            bf16* next = width > SIDE ? tile + TILE : second;
            for (int64_t q = 0; q < SIDE; q++) {
                const int64_t even = p + 2 * q, odd = even + 1;
                const Woven woven = weave(read(x + (even < count ? rows[even] * c : 0) + i, even < count ? width : 0),
                                          read(x + (odd < count ? rows[odd] * c : 0) + i, odd < count ? width : 0));
                _mm512_store_si512(tile + q * STEP, woven.first);
                _mm512_store_si512(next + q * STEP, woven.second);
            }
            if constexpr (TRANSPOSED) {
                for (int64_t half = 0; half < (width > SIDE ? 2 : 1); half++, tile += TILE) {
                    __m512i words[SIDE];
                    UNROLLED(q, SIDE) words[q] = _mm512_load_si512(tile + q * STEP);
                    transpose(words);
                    UNROLLED(q, SIDE) _mm512_store_si512(tile + q * STEP, words[q]);
                }
            }
        }
    }
}

// H x N tiles of the gradient: adds the products of `steps` tiles of a and b, which are `next_a` and `next_b` apart.
template <int H, int N>
static inline void add(const bf16* a, int64_t next_a, const bf16* b, int64_t next_b, int64_t steps, float* sums,
                       int64_t wide) {
    float* low = sums + SIDE * wide;
    TILE_LOAD(0, sums, wide * 4);
    if constexpr (N == 2) TILE_LOAD(1, sums + SIDE, wide * 4);
    if constexpr (H == 2) TILE_LOAD(2, low, wide * 4);
    if constexpr (H == 2 && N == 2) TILE_LOAD(3, low + SIDE, wide * 4);
    for (int64_t step = 0; step < steps; step++, a += next_a, b += next_b) {
        TILE_LOAD(4, a, 64);
        TILE_LOAD(6, b, 64);
        TILE_DOT(0, 4, 6);
        if constexpr (N == 2) TILE_LOAD(7, b + TILE, 64);
        if constexpr (N == 2) TILE_DOT(1, 4, 7);
        if constexpr (H == 2) TILE_LOAD(5, a + TILE, 64);
        if constexpr (H == 2) TILE_DOT(2, 5, 6);
        if constexpr (H == 2 && N == 2) TILE_DOT(3, 5, 7);
    }
    TILE_STORE(0, sums, wide * 4);
    if constexpr (N == 2) TILE_STORE(1, sums + SIDE, wide * 4);
    if constexpr (H == 2) TILE_STORE(2, low, wide * 4);
    if constexpr (H == 2 && N == 2) TILE_STORE(3, low + SIDE, wide * 4);
}

// Adds the products of laid out rows: `high` tiles of a by `across` of b, `steps` deep, to sums `wide` floats apart.
static void add_all(const bf16* a, int64_t high, const bf16* b, int64_t across, int64_t steps, float* sums,
                    int64_t wide) {
    const int64_t next_a = high * TILE, next_b = across * TILE;
    for (int64_t i = 0; i < high; i += 2) {
        for (int64_t j = 0; j < across; j += 2) {
            float* at = sums + i * SIDE * wide + j * SIDE;
            const bf16 *x = a + i * TILE, *y = b + j * TILE;
            if (i + 1 < high && j + 1 < across) {
                add<2, 2>(x, next_a, y, next_b, steps, at, wide);
            } else if (i + 1 < high) {
                add<2, 1>(x, next_a, y, next_b, steps, at, wide);
            } else if (j + 1 < across) {
                add<1, 2>(x, next_a, y, next_b, steps, at, wide);
            } else {
                add<1, 1>(x, next_a, y, next_b, steps, at, wide);
            }
        }
    }
}

template <class A, class B> static int32_t gradient_of(const WeightGradient& g) {
    const int64_t tall = padded(g.c, SIDE), wide = padded(g.d, SIDE);
    const int64_t wanted = blocks(g.threads * JOBS_PER_THREAD, g.k);
    const int64_t share = padded(blocks(g.c, wanted), STEP), parts = blocks(g.c, share);
    const bool whole = tall == g.c && wide == g.d;  // whole tiles are added up in place
    struct Buffers {
        float* sums;
        int32_t* same;  // these three for each thread
        bf16 *a, *b;
    };
    const auto cut = [&](Arena& arena) {
        return Buffers{whole ? g.grad : arena.take<float>(g.k * tall * wide), arena.take<int32_t>(g.threads * SLAB),
                       arena.take<bf16>(g.threads * GROUP * share), arena.take<bf16>(g.threads * GROUP * wide)};
    };
    return with_workspace(cut, [&](const Buffers& all) {
        in_threads(g.threads, [&](Team& team) {
            const Tiles set_up;
            int32_t* same = all.same + team.number * SLAB;
            bf16 *a = all.a + team.number * GROUP * share, *b = all.b + team.number * GROUP * wide;
            team.share(g.k, [&](int64_t slot) {
                memset(all.sums + slot * tall * wide, 0, size_t(tall * wide) * sizeof(float));
            });
            for (int64_t first = 0; first < g.m; first += SLAB) {
                team.wait();
                team.queue(g.k * parts, 1, [&](int64_t job) {
                    const int64_t slot = job / parts, start = job % parts * share, stop = smaller(start + share, g.c);
                    const Span found = span(g.pairs, g.k, slot, first, smaller(SLAB, g.m - first), same);
                    for (int64_t p = 0; p < found.count; p += GROUP) {
                        const int64_t pairs = smaller(GROUP, found.count - p);
                        lay_out<true>(static_cast<const A*>(g.left), g.c, found.in + p, pairs, start, stop, a);
                        lay_out<false>(static_cast<const B*>(g.right), g.d, found.row + p, pairs, 0, g.d, b);
                        add_all(a, blocks(stop - start, SIDE), b, wide / SIDE, blocks(pairs, STEP),
                                all.sums + (slot * tall + start) * wide, wide);
                    }
                });
            }
        });
        for (int64_t row = 0; !whole && row < g.k * g.c; row++) {
            const float* from = all.sums + (row / g.c * tall + row % g.c) * wide;
            memcpy(g.grad + row * g.d, from, size_t(g.d) * sizeof(float));
        }
        return OK;
    });
}

int32_t gradient_in_tiles(const WeightGradient& g) {
    if (g.left_dtype == BFLOAT16)
        return g.right_dtype == BFLOAT16 ? gradient_of<bf16, bf16>(g) : gradient_of<bf16, float>(g);
    return g.right_dtype == BFLOAT16 ? gradient_of<float, bf16>(g) : gradient_of<float, float>(g);
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
