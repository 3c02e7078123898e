// Convolutions and linear layers: one product of gathered rows with a weight per slot of a table, finished in cache.
//
// A tile of output rows keeps its sums in cache while every slot is applied to the rows that have it. Each output row
// is summed in the order of its slots, whatever the tile and the number of threads: same input, same bits.
#include "finish.h"
#include "pairs.h"

namespace msm3d {
namespace MSM3D_ISA {

constexpr int64_t TILE = 512;      // rows at most
constexpr int64_t SUMS = 1 << 18;  // and about as many sums: they stay in the second-level cache
constexpr int64_t SHARE = 2;       // tiles per thread at least, so that threads end together
constexpr int64_t DEPTH = 384;     // channels of x per pass: a panel of weights stays in the second-level cache, too
constexpr int64_t FEW = 1 << 14;   // weights of a slot that stay in the caches beside the rows

// --- the kernel: R rows of x, read and summed through pointers, times a factor each and N vectors of weights ---------

template <int R, int N>
static inline void multiply(const float* const* x, const float* factors, const float* weight, int64_t depth,
                            float* const* sums, int64_t at) {
    constexpr int STEP = 2;  // channels per turn: so few turns that the processor foresees the last
    V total[R][N];
    UNROLLED(r, R) {
        UNROLLED(j, N) total[r][j] = splat(0.0f);
    }
    const auto add = [&](int64_t i) {
        V w[N];
        UNROLLED(j, N) w[j] = load(weight + j * W);
        UNROLLED(r, R) {
            const V a = splat(x[r][i]);
            UNROLLED(j, N) total[r][j] = fma(a, w[j], total[r][j]);
        }
        weight += N * W;
    };
    int64_t i = 0;
    for (; i + STEP <= depth; i += STEP) {
        UNROLLED(s, STEP) add(i + s);
    }
    for (; i < depth; i++) add(i);
    UNROLLED(r, R) {
        const V factor = splat(factors[r]);
        float* to = sums[r] + at;
        UNROLLED(j, N) store(to + j * W, fma(total[r][j], factor, load(to + j * W)));
    }
}

#if defined(MSM3D_BF16) && !defined(MSM3D_AMX)
static inline uint32_t pair_at(const bf16* p) {
    uint32_t pair;
    memcpy(&pair, p, sizeof pair);
    return pair;
}

// Two channels at a time; `depth` is even.
template <int R, int N>
static inline void multiply(const bf16* const* x, const float* factors, const bf16* weight, int64_t depth,
                            float* const* sums, int64_t at) {
    V total[R][N];
    UNROLLED(r, R) {
        UNROLLED(j, N) total[r][j] = splat(0.0f);
    }
    for (int64_t i = 0; i < depth; i += 2, weight += 2 * N * W) {
        B w[N];
        UNROLLED(j, N) w[j] = load_pairs(weight + 2 * j * W);
        UNROLLED(r, R) {
            const B a = splat_pair(pair_at(x[r] + i));
            UNROLLED(j, N) total[r][j] = dot(a, w[j], total[r][j]);
        }
    }
    UNROLLED(r, R) {
        const V factor = splat(factors[r]);
        float* to = sums[r] + at;
        UNROLLED(j, N) store(to + j * W, fma(total[r][j], factor, load(to + j * W)));
    }
}
#endif

// The last `count` <= R pairs of a span.
template <int R, int N, class X>
static inline void multiply_rest(int64_t count, const X* const* x, const float* factors, const X* weight, int64_t depth,
                                 float* const* sums, int64_t at) {
    if (count == R) {
        multiply<R, N>(x, factors, weight, depth, sums, at);
    } else if constexpr (R > 1) {
        multiply_rest<R - 1, N>(count, x, factors, weight, depth, sums, at);
    }
}

// The weights of some panels for one slot, `stride` apart, and where the first panel begins in a row of sums.
template <class X> struct Panels {
    const X* weight;
    int64_t count, stride, at;
};

// Adds to the rows of `sums`, `wide` floats apart, of which the first belongs to row `first`.
// Kept out of line: on its own, the loop's addresses stay in registers.
template <int R, int N, class X>
NOINLINE static void multiply_all(const Span& pairs, const X* x, int64_t stride, const float* factor,
                                  const Panels<X>& panels, int64_t depth, float* sums, int64_t wide, int64_t first) {
    const X* in[R];
    float* out[R];
    float factors[R];
    const auto point = [&](int64_t p, int r) {
        in[r] = x + pairs.in[p + r] * stride;
        out[r] = sums + (pairs.row[p + r] - first) * wide;
        factors[r] = factor ? factor[pairs.in[p + r]] : 1.0f;
    };
    int64_t p = 0;
    for (; p + R <= pairs.count; p += R) {
        UNROLLED(r, R) point(p, r);
        if (p + 2 * R <= pairs.count) {  // the next rows, of which the processor foresees what is behind two lines
            UNROLLED(r, R) {
                const X* next = x + pairs.in[p + R + r] * stride;
                prefetch(next);
                prefetch(next + LINE / sizeof(X));
            }
        }
        for (int64_t q = 0; q < panels.count; q++) {
            multiply<R, N>(in, factors, panels.weight + q * panels.stride, depth, out, panels.at + q * N * W);
        }
    }
    for (int r = 0; r < int(pairs.count - p); r++) point(p, r);
    if constexpr (R > 1) {
        for (int64_t q = 0; q < panels.count; q++) {
            multiply_rest<R - 1, N>(pairs.count - p, in, factors, panels.weight + q * panels.stride, depth, out,
                                    panels.at + q * N * W);
        }
    }
}

// --- weights in panels of N vectors, slot by slot; channels past the last are zeros ----------------------------------

static inline void widen(float from, float scale, float* to) { *to = from * scale; }
static inline void widen(bf16 from, float scale, float* to) { *to = from_bf16(from) * scale; }
[[maybe_unused]] static inline void widen(bf16 from, float, bf16* to) { *to = from; }

// Where channel i of x and j of the panel stand; the bfloat16 instruction takes pairs of channels of x side by side.
static inline int64_t place(const float*, int64_t i, int64_t j, int64_t width) { return i * width + j; }
[[maybe_unused]] static inline int64_t place(const bf16*, int64_t i, int64_t j, int64_t width) {
    return (i / 2 * width + j) * 2 + i % 2;
}

template <class T, class X>
static void pack(const Product& a, const T* weight, int64_t columns, int64_t depth, int64_t width, X* panel) {
    if (columns < width || a.c < depth) memset(panel, 0, size_t(depth * width) * sizeof(X));
    const auto scale = [&](int64_t i) { return a.scale ? a.scale[i] : 1.0f; };
    if (a.d_stride == 1) {
        for (int64_t i = 0; i < a.c; i++) {
            const T* from = weight + i * a.c_stride;
            for (int64_t j = 0; j < columns; j++) widen(from[j], scale(i), panel + place(panel, i, j, width));
        }
    } else {  // of a transposed weight, along a line's worth of rows at once
        for (int64_t start = 0; start < columns; start += LINE / 4) {
            for (int64_t i = 0; i < a.c; i++) {
                for (int64_t j = start; j < smaller(start + LINE / 4, columns); j++) {
                    widen(weight[i * a.c_stride + j * a.d_stride], scale(i), panel + place(panel, i, j, width));
                }
            }
        }
    }
}

static void pack_panel(const Product& a, int64_t slot, int64_t first, int64_t depth, int64_t width, float* panel) {
    const int64_t start = slot * a.slot_stride + first * a.d_stride;
    const int64_t columns = smaller(width, a.finish.channels - first);
    if (a.dtype == FLOAT32) {
        pack(a, static_cast<const float*>(a.weight) + start, columns, depth, width, panel);
    } else {
        pack(a, static_cast<const bf16*>(a.weight) + start, columns, depth, width, panel);
    }
}

#if defined(MSM3D_BF16) && !defined(MSM3D_AMX)
static void pack_panel(const Product& a, int64_t slot, int64_t first, int64_t depth, int64_t width, bf16* panel) {
    const int64_t start = slot * a.slot_stride + first * a.d_stride;
    const int64_t columns = smaller(width, a.finish.channels - first);
    pack(a, static_cast<const bf16*>(a.weight) + start, columns, depth, width, panel);
}
#endif

// --- tiles -----------------------------------------------------------------------------------------------------------

template <int R, int N, class X> static int32_t product_in(const Product& a) {
    constexpr int64_t width = N * W, fewest = padded(4 * R, PAIR_ROWS);  // rows of a tile
    const int64_t depth = sizeof(X) == sizeof(bf16) ? padded(a.c, 2) : a.c, panels = blocks(a.finish.channels, width);
    const int64_t wide = panels * width + W;  // of a row of sums: as much as the finisher may read
    const int64_t together = depth * panels * width <= FEW ? panels : 1;  // panels for which rows are found once
    const int64_t most = larger(smaller(TILE, SUMS / wide), fewest);
    // As many tiles for each thread.
    const int64_t tiles = larger(a.threads * blocks(a.m, most * a.threads), SHARE * a.threads);
    const int64_t tile = larger(padded(blocks(a.m, tiles), PAIR_ROWS), fewest);
    struct Buffers {
        Finisher finisher;
        X* packed;
        float* sums;    // a tile's for each thread
        int32_t* same;  // a tile's for each thread
    };
    const auto cut = [&](Arena& arena) {
        return Buffers{Finisher::cut(a.finish, arena), arena.take<X>(panels * a.k * depth * width),
                       arena.take<float>(a.threads * tile * wide), arena.take<int32_t>(a.threads * tile)};
    };
    return with_workspace(cut, [&](const Buffers& buffers) {
        const Finisher finisher = buffers.finisher;
        X* packed = buffers.packed;
        finisher.fill(a.finish);
        in_threads(a.threads, [&](Team& team) {
            float* sums = buffers.sums + team.number * tile * wide;
            int32_t* same = buffers.same + team.number * tile;
            team.share(panels * a.k, [&](int64_t part) {
                pack_panel(a, part % a.k, part / a.k * width, depth, width, packed + part * depth * width);
            });
            team.wait();
            team.queue(blocks(a.m, tile), 1, [&](int64_t part) {
                const int64_t first = part * tile, rows = smaller(tile, a.m - first);
                memset(sums, 0, size_t(rows * wide) * sizeof(float));
                for (int64_t start = 0; start < depth; start += DEPTH) {
                    for (int64_t part = 0; part < panels / together * a.k; part++) {
                        const Panels<X> some = {packed + (part * depth + start) * width, together, a.k * depth * width,
                                                part / a.k * width};
                        multiply_all<R, N>(span(a.pairs, a.k, part % a.k, first, rows, same),
                                           static_cast<const X*>(a.input) + start, a.stride, a.factor, some,
                                           smaller(DEPTH, depth - start), sums, wide, first);
                    }
                }
                finisher.rows(a, first, rows, sums, wide);
            });
        });
        return OK;
    });
}

template <class X> static int32_t product_of(const Product& a) {
    if constexpr (W == 16) {  // registers for wider panels, which read x less often
        if (a.finish.channels % (4 * W) == 0) return product_in<6, 4, X>(a);
        if (a.finish.channels % (3 * W) == 0) return product_in<8, 3, X>(a);
    }
    return product_in<ROWS, COLS, X>(a);
}

#if defined(MSM3D_AMX)
int32_t product_in_tiles(const Product&);
#endif

int32_t product(const Product& a) {
#if defined(MSM3D_BF16)
    if (a.dtype == BFLOAT16 && (a.factor || a.scale)) return BAD_ARGUMENT;
#endif
#if defined(MSM3D_AMX)
    if (a.dtype == BFLOAT16) return product_in_tiles(a);
#elif defined(MSM3D_BF16)
    if (a.dtype == BFLOAT16) return a.input_dtype == BFLOAT16 ? product_of<bf16>(a) : int32_t(BAD_ARGUMENT);
#endif
    return a.input_dtype == FLOAT32 ? product_of<float>(a) : int32_t(BAD_ARGUMENT);
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
