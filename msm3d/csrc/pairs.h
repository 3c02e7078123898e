// Which rows of x a tile of output rows reads, slot by slot: a table without its holes.
#pragma once
#include "abi.h"
#include "simd.h"

namespace msm3d {
namespace MSM3D_ISA {

// The pairs of one slot and some rows of a table, ascending: row of x, and row of the table counted from the first.
struct Column {
    static constexpr int64_t AHEAD = 16;  // a whole vector may be written behind the last pair
    int32_t *in, *row;

    // Those of `rows` rows of a table (null: each row itself) from `first` on; returns their number, or -1 if an entry
    // is not below n.
    int64_t list(const int32_t* table, int64_t k, int64_t n, int64_t slot, int64_t first, int64_t rows) const {
        if (!table) {
            for (int64_t r = 0; r < rows; r++) in[r] = int32_t(first + r), row[r] = int32_t(r);
            return rows;
        }
        const int32_t* column = table + first * k + slot;
        int64_t count = 0;
#if defined(MSM3D_AVX512)
        const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i step = _mm512_mullo_epi32(lane, _mm512_set1_epi32(int32_t(k))), absent = _mm512_set1_epi32(-1);
        __m512i most = absent;
        for (int64_t r = 0; r < rows; r += 16, column += 16 * k) {
            const __mmask16 there = rows - r >= 16 ? __mmask16(0xffff) : __mmask16((1 << (rows - r)) - 1);
            const __m512i entry = _mm512_mask_i32gather_epi32(absent, there, step, column, 4);
            const __mmask16 has = _mm512_cmpgt_epi32_mask(entry, absent);
            most = _mm512_max_epi32(most, entry);
            _mm512_storeu_si512(in + count, _mm512_maskz_compress_epi32(has, entry));
            const __m512i rest = _mm512_add_epi32(lane, _mm512_set1_epi32(int32_t(r)));
            _mm512_storeu_si512(row + count, _mm512_maskz_compress_epi32(has, rest));
            count += __builtin_popcount(has);
        }
        const int32_t highest = _mm512_reduce_max_epi32(most);
#else
        int32_t highest = -1;
        for (int64_t r = 0; r < rows; r++) {
            const int32_t entry = column[r * k];
            in[count] = entry;
            row[count] = int32_t(r);
            count += entry >= 0;
            highest = larger(highest, entry);
        }
#endif
        return highest < n ? count : -1;
    }
};

// The pairs of every slot of a tile: those of slot s are (in, row)[s * room .. s * room + counts[s]).
struct Pairs {
    int32_t *in, *row;
    int64_t *counts, room;

    static int64_t size(int64_t k, int64_t tile) { return k * (tile + Column::AHEAD); }

    // False if an entry is not below n.
    bool list(const int32_t* table, int64_t k, int64_t n, int64_t first, int64_t rows) const {
        bool good = true;
        for (int64_t slot = 0; slot < k; slot++) {
            counts[slot] = Column{in + slot * room, row + slot * room}.list(table, k, n, slot, first, rows);
            good = good && counts[slot] >= 0;
        }
        return good;
    }
};

// Pairs of every thread, cut from the workspace.
struct AllPairs {
    int32_t *in, *row;
    int64_t *counts, k, tile;

    static AllPairs cut(Arena& arena, int64_t threads, int64_t k, int64_t tile) {
        const int64_t size = padded(Pairs::size(k, tile), 16);
        return {arena.take<int32_t>(threads * size), arena.take<int32_t>(threads * size),
                arena.take<int64_t>(threads * padded(k, 8)), k, tile};
    }
    Pairs mine() const {
        const int64_t size = padded(Pairs::size(k, tile), 16);
        return {in + thread() * size, row + thread() * size, counts + thread() * padded(k, 8), tile + Column::AHEAD};
    }
};

}  // namespace MSM3D_ISA
}  // namespace msm3d
