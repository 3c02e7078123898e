// Tiles of 16 rows of 64 bytes: the registers and the product of an AMX processor (Linux, GCC or clang).
//
// Written as assembly because compilers of our time reorder their intrinsics with ordinary stores. A thread sets its
// tiles up when it begins and releases them when it ends, so that nobody else meets them.
#pragma once
#include "simd.h"

namespace msm3d {
namespace MSM3D_ISA {

constexpr int64_t SIDE = 16;           // rows of a tile, and its sums per row
constexpr int64_t STEP = 2 * SIDE;     // bfloat16 of a row: what one product sums over
constexpr int64_t TILE = SIDE * STEP;  // bfloat16 of a tile

struct Tiles {
    Tiles() {
        alignas(64) uint8_t setup[64] = {1};  // palette 1: eight tiles
        uint16_t bytes[8];
        for (int t = 0; t < 8; t++) setup[48 + t] = SIDE, bytes[t] = 64;
        memcpy(setup + 16, bytes, sizeof bytes);
        asm volatile("ldtilecfg %0" ::"m"(setup));
    }
    ~Tiles() { asm volatile("tilerelease" ::: "memory"); }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
};

// `stride` in bytes from row to row.
// clang-format off
#define TILE_ZERO(t) asm volatile("tilezero %%tmm" #t ::: "memory")
#define TILE_LOAD(t, p, stride) \
    asm volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(p), "r"(int64_t(stride)) : "memory")
#define TILE_STORE(t, p, stride) \
    asm volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(p), "r"(int64_t(stride)) : "memory")
// sums += a * b: rows of a, and of b the rows in pairs, as VNNI has them.
#define TILE_DOT(sums, a, b) asm volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #sums ::: "memory")
// clang-format on

// Up to 32 values of a row, rounded to bfloat16; zeros behind the last.
static inline __m512i read(const bf16* p, int64_t count) {
    return count >= STEP ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16(__mmask32((uint64_t(1) << count) - 1), p);
}
static inline __m512i read(const float* p, int64_t count) {
    if (count >= STEP) return (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(p + SIDE), _mm512_loadu_ps(p));
    const uint32_t mask = (uint32_t(1) << count) - 1;
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(__mmask16(mask >> 16), p + SIDE),
                                        _mm512_maskz_loadu_ps(__mmask16(mask), p));
}

// Swaps the blocks that `pick` names between rows r and r + apart, for every r: one stage of a transposition.
template <int APART> static inline void exchange(__m512i (&rows)[16], __m512i low, __m512i high) {
    UNROLLED(r, 16) {
        if (r & APART) continue;
        const __m512i a = rows[r], b = rows[r + APART];
        rows[r] = _mm512_permutex2var_epi32(a, low, b);
        rows[r + APART] = _mm512_permutex2var_epi32(a, high, b);
    }
}

// Transposes sixteen rows of sixteen 32-bit words.
static inline void transpose(__m512i (&rows)[16]) {
    exchange<8>(rows, _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
                _mm512_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31));
    exchange<4>(rows, _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
                _mm512_setr_epi32(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31));
    exchange<2>(rows, _mm512_setr_epi32(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
                _mm512_setr_epi32(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31));
    exchange<1>(rows, _mm512_setr_epi32(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
                _mm512_setr_epi32(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31));
}

// Words whose halves are value i of `even` and of `odd`: i from 0 to 15 in the first vector, from 16 on in the second.
struct Woven { __m512i first, second; };
static inline Woven weave(__m512i even, __m512i odd) {
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,  //
                                         39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    return {_mm512_permutex2var_epi16(even, low, odd), _mm512_permutex2var_epi16(even, high, odd)};
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
