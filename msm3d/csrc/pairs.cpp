// Tables without their holes, which the products read, and tables turned around, for the way back.
#include <string.h>

#include <algorithm>

#include "abi.h"
#include "team.h"

namespace msm3d {

constexpr int64_t CHUNK = 256;  // rows listed at once: their part of a table stays in the first-level cache

static_assert(CHUNK % PAIR_ROWS == 0, "a chunk begins where pairs can be found");

}  // namespace msm3d

using namespace msm3d;

MSM3D_EXPORT int32_t msm3d_count_pairs(int64_t threads, const int32_t* table, int64_t m, int64_t k, int64_t n,
                                       int64_t* slots, int32_t* starts) {
    if (threads < 1 || m < 0 || k < 1) return BAD_ARGUMENT;
    const int64_t blocks = (m + PAIR_ROWS - 1) / PAIR_ROWS;
    Failure error;
    memset(starts, 0, size_t((blocks + 1) * k) * sizeof(int32_t));
    in_parts(threads, blocks, [&](int64_t block) {
        int32_t *counts = starts + (block + 1) * k, highest = -1;
        for (int64_t r = block * PAIR_ROWS; r < std::min(m, (block + 1) * PAIR_ROWS); r++) {
            const int32_t* row = table + r * k;
            for (int64_t s = 0; s < k; s++) {
                counts[s] += row[s] >= 0;
                highest = row[s] > highest ? row[s] : highest;
            }
        }
        if (highest >= n) {
            error = ROW_OUT_OF_RANGE;
        }
    });
    for (int64_t i = 0; i < blocks * k; i++) starts[i + k] += starts[i];
    slots[0] = 0;
    for (int64_t s = 0; s < k; s++) slots[s + 1] = slots[s] + starts[blocks * k + s];
    return error;
}

MSM3D_EXPORT int32_t msm3d_list_pairs(int64_t threads, const int32_t* table, int64_t m, int64_t k, const int64_t* slots,
                                      const int32_t* starts, int32_t* in, int32_t* row) {
    if (threads < 1 || m < 0 || k < 1) return BAD_ARGUMENT;
    in_parts(threads, (m + CHUNK - 1) / CHUNK, [&](int64_t chunk) {
        const int64_t first = chunk * CHUNK, rows = std::min(CHUNK, m - first);
        int32_t entries[CHUNK], places[CHUNK];
        for (int64_t s = 0; s < k; s++) {
            int64_t count = 0;
            for (int64_t r = 0; r < rows; r++) {  // an absent row is written, too, and then overwritten: no branch
                entries[count] = table[(first + r) * k + s];
                places[count] = int32_t(first + r);
                count += entries[count] >= 0;
            }
            const int64_t at = slots[s] + starts[first / PAIR_ROWS * k + s];
            memcpy(in + at, entries, size_t(count) * sizeof(int32_t));
            memcpy(row + at, places, size_t(count) * sizeof(int32_t));
        }
    });
    return OK;
}

MSM3D_EXPORT int32_t msm3d_turn(int64_t threads, const int32_t* table, int64_t m, int64_t k, int64_t n,
                                int32_t* turned) {
    if (threads < 1) return BAD_ARGUMENT;
    Failure error;
    in_parts(threads, n * k, [&](int64_t i) { turned[i] = -1; });
    in_parts(threads, m, [&](int64_t i) {
        for (int64_t slot = 0; slot < k; slot++) {
            const int32_t row = table[i * k + slot];
            if (row >= n) {
                error = ROW_OUT_OF_RANGE;
            } else if (row >= 0) {
                turned[int64_t(row) * k + slot] = int32_t(i);
            }
        }
    });
    return error;
}
