// Voxel sets and the tables between them, from ascending Morton keys: no hash and no search below the root.
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <vector>

#include "abi.h"
#include "team.h"

namespace msm3d {

static int highest_bit(uint64_t x) {
    int bit = -1;
    for (int step = 32; step > 0; step /= 2) {
        if (x >> step) x >>= step, bit += step;
    }
    return x ? bit + 1 : bit;
}

// Around a voxel in octant q of its parent, slot s is octant OCTANT[q][s] of the parent's neighbour PARENT[q][s].
struct Steps {
    int8_t parent[8][27], octant[8][27];
    Steps() {
        for (int q = 0; q < 8; q++) {
            for (int slot = 0; slot < 27; slot++) {
                const int step[3] = {slot / 9 - 1, slot / 3 % 3 - 1, slot % 3 - 1};
                parent[q][slot] = octant[q][slot] = 0;
                for (int axis = 0; axis < 3; axis++) {
                    const int x = (q >> (2 - axis) & 1) + step[axis];
                    parent[q][slot] = int8_t(parent[q][slot] * 3 + (x < 0 ? 0 : x > 1 ? 2 : 1));
                    octant[q][slot] = int8_t(octant[q][slot] * 2 + (x & 1));
                }
            }
        }
    }
};

static void finer_neighbours(int64_t threads, const int64_t* keys, int64_t m, const int32_t* parents,
                             const int32_t* children, const int32_t* coarse, int32_t* table) {
    const Steps steps;
    in_parts(threads, m, [&](int64_t i) {
        const int8_t *parent = steps.parent[keys[i] & 7], *octant = steps.octant[keys[i] & 7];
        const int32_t* around = coarse + int64_t(parents[i]) * 27;
        for (int slot = 0; slot < 27; slot++) {
            const int32_t row = around[parent[slot]];
            table[i * 27 + slot] = row < 0 ? -1 : children[int64_t(row) * 8 + octant[slot]];
        }
    });
}

static void coarsen(const int64_t* keys, int64_t m, int64_t* coarse, int32_t* parents, int32_t* children) {
    int64_t row = -1;
    for (int64_t i = 0; i < m; i++) {
        const int64_t key = keys[i] >> 3;
        if (row < 0 || key != coarse[row]) {
            coarse[++row] = key;
            for (int octant = 0; octant < 8; octant++) children[row * 8 + octant] = -1;
        }
        parents[i] = int32_t(row);
        children[row * 8 + (keys[i] & 7)] = int32_t(i);
    }
}

// One bucket per leading digits of the keys' range, so that a search has few rows left.
struct Buckets {
    int shift = 0;
    int64_t lowest = 0;
    std::vector<int64_t> first;
    Buckets(const int64_t* keys, int64_t m) {
        lowest = m ? keys[0] : 0;
        const uint64_t range = m ? uint64_t(keys[m - 1]) - uint64_t(lowest) : 0;
        shift = std::max(highest_bit(range) - highest_bit(uint64_t(m)), 0);
        first.assign(size_t(range >> shift) + 2, 0);
        int64_t row = 0;
        for (size_t bucket = 0; bucket < first.size(); bucket++) {
            while (row < m && (uint64_t(keys[row]) - uint64_t(lowest)) >> shift < bucket) row++;
            first[bucket] = row;
        }
    }
};

static void fill(int64_t threads, int64_t levels, const int64_t* counts, int64_t* const* keys, int32_t* const* parents,
                 int32_t* const* children, int32_t* const* neighbours) {
    for (int64_t level = 0; level + 1 < levels; level++) {
        coarsen(keys[level], counts[level], keys[level + 1], parents[level], children[level + 1]);
    }
    // Levels above the coarsest, down from one voxel per scene, whose only neighbour is itself.
    std::vector<std::vector<int64_t>> upper_keys(BITS + 1);
    std::vector<std::vector<int32_t>> upper_parents(BITS + 1), upper_children(BITS + 1);
    const int64_t top = levels - 1;
    const int64_t* below = keys[top];
    for (int64_t level = top; level < BITS; level++) {
        upper_keys[level + 1].resize(size_t(counts[level + 1]));
        upper_parents[level].resize(size_t(counts[level]));
        upper_children[level + 1].resize(size_t(counts[level + 1]) * 8);
        coarsen(below, counts[level], upper_keys[level + 1].data(), upper_parents[level].data(),
                upper_children[level + 1].data());
        below = upper_keys[level + 1].data();
    }
    std::vector<int32_t> coarse(size_t(counts[BITS]) * 27, -1), fine;
    for (int64_t i = 0; i < counts[BITS]; i++) coarse[size_t(i) * 27 + 13] = int32_t(i);
    for (int64_t level = BITS - 1; level >= top; level--) {
        fine.resize(size_t(counts[level]) * 27);
        finer_neighbours(threads, level > top ? upper_keys[level].data() : keys[top], counts[level],
                         upper_parents[level].data(), upper_children[level + 1].data(), coarse.data(), fine.data());
        coarse.swap(fine);
    }
    if (!coarse.empty()) memcpy(neighbours[top], coarse.data(), coarse.size() * sizeof(int32_t));
    for (int64_t level = top - 1; level >= 0; level--) {
        finer_neighbours(threads, keys[level], counts[level], parents[level], children[level + 1],
                         neighbours[level + 1], neighbours[level]);
    }
}

static void search(int64_t threads, const int64_t* keys, int64_t m, const int64_t* queries, int64_t n, int32_t* rows) {
    const Buckets buckets(keys, m);
    in_parts(threads, n, [&](int64_t i) {
        const int64_t query = queries[i];
        rows[i] = -1;
        if (m == 0 || query < keys[0] || query > keys[m - 1]) return;
        const size_t bucket = size_t((uint64_t(query) - uint64_t(buckets.lowest)) >> buckets.shift);
        const int64_t* stop = keys + buckets.first[bucket + 1];
        const int64_t* found = std::lower_bound(keys + buckets.first[bucket], stop, query);
        if (found != stop && *found == query) rows[i] = int32_t(found - keys);
    });
}

}  // namespace msm3d

using namespace msm3d;

MSM3D_EXPORT int32_t msm3d_octree_counts(const int64_t* keys, int64_t m, int64_t* counts) {
    for (int level = 0; level <= BITS; level++) counts[level] = m > 0;
    int64_t steps[64] = {};
    for (int64_t i = 0; i < m; i++) {
        if (keys[i] < 0 || (i > 0 && keys[i] <= keys[i - 1])) return NOT_ASCENDING;
        if (i > 0) steps[highest_bit(uint64_t(keys[i] ^ keys[i - 1])) / 3]++;
    }
    for (int level = 0; level <= BITS; level++) {
        for (int bit = level; bit < 64; bit++) counts[level] += steps[bit];  // neighbours that differ above the level
    }
    return OK;
}

MSM3D_EXPORT int32_t msm3d_octree(int64_t threads, int64_t levels, const int64_t* counts, int64_t* const* keys,
                                  int32_t* const* parents, int32_t* const* children, int32_t* const* neighbours) {
    if (threads < 1 || levels < 1 || levels > BITS + 1) return BAD_ARGUMENT;
    try {
        fill(threads, levels, counts, keys, parents, children, neighbours);
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    }
    return OK;
}

MSM3D_EXPORT int32_t msm3d_lookup(int64_t threads, const int64_t* keys, int64_t m, const int64_t* queries, int64_t n,
                                  int32_t* rows) {
    if (threads < 1) return BAD_ARGUMENT;
    for (int64_t i = 1; i < m; i++) {
        if (keys[i] <= keys[i - 1]) return NOT_ASCENDING;
    }
    try {
        search(threads, keys, m, queries, n, rows);
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    }
    return OK;
}

MSM3D_EXPORT int32_t msm3d_corners(int64_t threads, int64_t r, const int32_t* cells, const int64_t* ancestors,
                                   const int32_t* neighbours, int64_t m, int64_t level, const double* scale,
                                   int64_t scenes, int32_t* rows, float* weights) {
    if (threads < 1 || level < 0 || level > BITS) return BAD_ARGUMENT;
    const double unit = 1.0 / double(int64_t(1) << level);
    Failure error;
    in_parts(threads, r, [&](int64_t i) {
        const int32_t* cell = cells + i * 4;
        bool good = ancestors[i] >= 0 && ancestors[i] < m && (!scale || (cell[0] >= 0 && cell[0] < scenes));
        float share[3][2];
        int64_t slot = 0;
        for (int axis = 0; good && axis < 3; axis++) {
            const double centre = (double(cell[axis + 1]) + 0.5) * unit;
            const double position = scale ? centre * scale[cell[0] * 3 + axis] : centre - 0.5;
            const double low = std::floor(position);
            const int64_t lowest = int64_t(low) - (cell[axis + 1] >> level) + 1;
            good = lowest == 0 || lowest == 1;
            slot = slot * 3 + lowest;
            share[axis][1] = float(position - low);
            share[axis][0] = 1.0f - share[axis][1];
        }
        if (!good) {
            error = ROW_OUT_OF_RANGE;
            return;
        }
        const int32_t* around = neighbours + ancestors[i] * 27 + slot;
        for (int corner = 0; corner < 8; corner++) {
            const int x = corner >> 2, y = corner >> 1 & 1, z = corner & 1;
            rows[i * 8 + corner] = around[x * 9 + y * 3 + z];
            weights[i * 8 + corner] = share[0][x] * share[1][y] * share[2][z];
        }
    });
    return error;
}
