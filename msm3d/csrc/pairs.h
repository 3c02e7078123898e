// Which rows of x a tile of output rows reads, slot by slot: a table without its holes.
#pragma once
#include "abi.h"
#include "simd.h"

namespace msm3d {
namespace MSM3D_ISA {

// The pairs of slot s of a tile are (in, row)[s * room .. s * room + counts[s]): row of x, row of the tile, ascending.
struct Pairs {
    static constexpr int64_t AHEAD = 16;  // a whole vector may be written behind the last pair of a slot
    int32_t *in, *row;
    int64_t* counts;
    int64_t room;

    static int64_t size(int64_t k, int64_t tile) { return k * (tile + AHEAD); }

    // The pairs of `rows` rows of a table (null: one slot, each row itself) from `first` on; false if an entry is not
    // below n.
    bool list(const int32_t* table, int64_t k, int64_t n, int64_t first, int64_t rows) const {
        if (!table) {
            for (int64_t r = 0; r < rows; r++) in[r] = int32_t(first + r), row[r] = int32_t(r);
            counts[0] = rows;
            return true;
        }
        table += first * k;
        for (int64_t slot = 0; slot < k; slot++) counts[slot] = 0;
#if defined(MSM3D_AVX512)
        const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i step = _mm512_mullo_epi32(lane, _mm512_set1_epi32(int32_t(k)));
        const __m512i absent = _mm512_set1_epi32(-1);
        __m512i highest = absent;
        for (int64_t start = 0; start < rows; start += 16, table += 16 * k) {
            const __mmask16 there = rows - start >= 16 ? __mmask16(0xffff) : __mmask16((1 << (rows - start)) - 1);
            const __m512i rest = _mm512_add_epi32(lane, _mm512_set1_epi32(int32_t(start)));
            for (int64_t slot = 0; slot < k; slot++) {
                const __m512i entry = _mm512_mask_i32gather_epi32(absent, there, step, table + slot, 4);
                const __mmask16 has = _mm512_cmpgt_epi32_mask(entry, absent);
                highest = _mm512_max_epi32(highest, entry);
                const int64_t at = slot * room + counts[slot];
                _mm512_storeu_si512(in + at, _mm512_maskz_compress_epi32(has, entry));
                _mm512_storeu_si512(row + at, _mm512_maskz_compress_epi32(has, rest));
                counts[slot] += __builtin_popcount(has);
            }
        }
        return _mm512_cmplt_epi32_mask(highest, _mm512_set1_epi32(int32_t(smaller(n, int64_t(INT32_MAX))))) == 0xffff;
#else
        constexpr int64_t LISTED = 64;  // rows of the table at once: they stay in the first-level cache
        int32_t highest = -1;
        for (int64_t start = 0; start < rows; start += LISTED) {
            const int64_t stop = smaller(rows, start + LISTED);
            for (int64_t slot = 0; slot < k; slot++) {
                const int32_t* column = table + slot;
                int32_t *to_in = in + slot * room, *to_row = row + slot * room;
                int64_t count = counts[slot];
                for (int64_t r = start; r < stop; r++) {
                    const int32_t entry = column[r * k];
                    to_in[count] = entry;
                    to_row[count] = int32_t(r);
                    count += entry >= 0;
                    highest = larger(highest, entry);
                }
                counts[slot] = count;
            }
        }
        return highest < n;
#endif
    }
};

// The pairs of one slot, ascending: row of x, row of the output.
struct Column {
    static constexpr int64_t AHEAD = 16;  // a whole vector may be written behind the last pair
    int32_t *in, *row;

    // Those of `rows` rows of a table (null: each row itself) from `first` on; returns their number, or -1 if an entry
    // is not below n.
    int64_t list(const int32_t* table, int64_t k, int64_t n, int64_t slot, int64_t first, int64_t rows) const {
        if (!table) {
            for (int64_t r = 0; r < rows; r++) in[r] = row[r] = int32_t(first + r);
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
            const __m512i rest = _mm512_add_epi32(lane, _mm512_set1_epi32(int32_t(first + r)));
            _mm512_storeu_si512(in + count, _mm512_maskz_compress_epi32(has, entry));
            _mm512_storeu_si512(row + count, _mm512_maskz_compress_epi32(has, rest));
            count += __builtin_popcount(has);
        }
        const int32_t highest = _mm512_reduce_max_epi32(most);
#else
        int32_t highest = -1;
        for (int64_t r = 0; r < rows; r++) {
            const int32_t entry = column[r * k];
            in[count] = entry;
            row[count] = int32_t(first + r);
            count += entry >= 0;
            highest = larger(highest, entry);
        }
#endif
        return highest < n ? count : -1;
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
        return {in + thread() * size, row + thread() * size, counts + thread() * padded(k, 8), tile + Pairs::AHEAD};
    }
};

}  // namespace MSM3D_ISA
}  // namespace msm3d
