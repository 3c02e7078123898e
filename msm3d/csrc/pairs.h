// Which rows of x a tile of output rows reads, slot by slot.
#pragma once
#include "arena.h"

namespace msm3d {
namespace MSM3D_ISA {

// Row of x and row of the table, by the latter.
struct Span {
    const int32_t *in, *row;
    int64_t count;
};

// The pairs of one of k slots in `rows` rows from `first` on, a multiple of PAIR_ROWS, as is `rows` but at the end of
// the table. `same` has room for as many, where each row is its own.
static inline Span span(const Pairs& pairs, int64_t k, int64_t slot, int64_t first, int64_t rows, int32_t* same) {
    if (!pairs.slots) {
        for (int64_t r = 0; r < rows; r++) same[r] = int32_t(first + r);
        return {same, same, rows};
    }
    const int64_t from = pairs.starts[first / PAIR_ROWS * k + slot];
    const int64_t to = pairs.starts[blocks(first + rows, PAIR_ROWS) * k + slot];
    return {pairs.in + pairs.slots[slot] + from, pairs.row + pairs.slots[slot] + from, to - from};
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
