// Descriptors: for each voxel the weighted sum of eight rows of every level, side by side, copied to its points.
#include <algorithm>

#include "arena.h"

namespace msm3d {
namespace MSM3D_ISA {

constexpr int64_t CORNERS = 8;  // at most, of one row and level

// Counting sort: the positions p of `items` that hold i are order[first[i]] .. order[first[i + 1] - 1], ascending.
// Negative items are left out; false if one is not below n.
template <class T> static bool group_by(const T* items, int64_t count, int64_t n, int64_t* first, int64_t* order) {
    memset(first, 0, size_t(n + 2) * sizeof(int64_t));
    for (int64_t p = 0; p < count; p++) {
        if (items[p] >= n) return false;
        if (items[p] >= 0) first[items[p] + 2]++;
    }
    for (int64_t i = 2; i < n + 2; i++) first[i] += first[i - 1];
    for (int64_t p = 0; p < count; p++) {
        if (items[p] >= 0) order[first[items[p] + 1]++] = p;
    }
    return true;
}

// The points of each row, where points have owners: those of row i are points[first[i]] .. points[first[i + 1] - 1].
struct Points {
    int64_t *first, *points;

    static Points cut(const Blend& a, Arena& arena) {
        return {arena.take<int64_t>(a.owner ? a.m + 2 : 0), arena.take<int64_t>(a.owner ? a.n : 0)};
    }

    bool group(const Blend& a) const {
        if (!a.owner) return true;
        return group_by(a.owner, a.n, a.m, first, points) && first[a.m] == a.n;  // none was negative
    }
};

// The rows that are read, and the points of each: all rows in their order, or those that have points. For a few points
// of many rows the points are sorted, so that the work grows with the points alone.
struct Read {
    int64_t *rows, *first, *points, count;  // the points of rows[k] are points[first[k]] .. points[first[k + 1] - 1]

    static bool few(const Blend& a) { return a.owner && a.n < a.m; }

    static Read cut(const Blend& a, Arena& arena) {
        const int64_t most = smaller(a.n, a.m);
        return {arena.take<int64_t>(a.owner ? most : 0),
                arena.take<int64_t>(a.owner ? larger(most, few(a) ? 0 : a.m) + 2 : 0),
                arena.take<int64_t>(a.owner ? a.n : 0), a.m};
    }

    bool group(const Blend& a) {
        if (!a.owner) return true;
        if (!few(a)) {
            if (!group_by(a.owner, a.n, a.m, first, points) || first[a.m] != a.n) return false;
            count = 0;
            for (int64_t i = 0; i < a.m; i++) {
                if (first[i] == first[i + 1]) continue;
                first[count] = first[i];
                rows[count++] = i;
            }
        } else {
            for (int64_t p = 0; p < a.n; p++) {
                if (a.owner[p] < 0 || a.owner[p] >= a.m) return false;
                points[p] = p;
            }
            std::sort(points, points + a.n,
                      [&](int64_t p, int64_t q) { return a.owner[p] != a.owner[q] ? a.owner[p] < a.owner[q] : p < q; });
            count = 0;
            for (int64_t p = 0; p < a.n; p++) {
                if (count && rows[count - 1] == a.owner[points[p]]) continue;
                first[count] = p;
                rows[count++] = a.owner[points[p]];
            }
        }
        first[count] = a.n;
        return true;
    }
};

// Channels of a descriptor.
static int64_t width(const Blend& a) {
    int64_t size = 0;
    for (int64_t level = 0; level < a.levels; level++) size += a.channels[level];
    return size;
}

// Writes the sums of voxel i at one level; false if a corner is out of range.
static bool blend_row(const Blend& a, int64_t level, int64_t i, float* out) {
    const int64_t c = a.channels[level];
    const float *rows[CORNERS], *features = a.features[level];
    float weights[CORNERS];
    int count = 0;
    for (int64_t j = i * a.counts[level]; j < (i + 1) * a.counts[level]; j++) {
        const int32_t row = a.corners[level][j];
        if (row >= a.rows[level]) return false;
        if (row < 0) continue;
        rows[count] = features + row * c;
        weights[count++] = a.weights[level][j];
    }
    int64_t j = 0;
    for (; j + 4 * W <= c; j += 4 * W) {
        V total[4];
        UNROLLED(v, 4) total[v] = splat(0.0f);
        for (int k = 0; k < count; k++) {
            const V w = splat(weights[k]);
            UNROLLED(v, 4) total[v] = fma(load(rows[k] + j + v * W), w, total[v]);
        }
        UNROLLED(v, 4) store(out + j + v * W, total[v]);
    }
    for (; j + W <= c; j += W) {
        V total = splat(0.0f);
        for (int k = 0; k < count; k++) total = fma(load(rows[k] + j), splat(weights[k]), total);
        store(out + j, total);
    }
    for (; j < c; j++) {
        out[j] = 0.0f;
        for (int k = 0; k < count; k++) out[j] += rows[k][j] * weights[k];
    }
    return true;
}

// Past the cache, but for what lies before and behind whole aligned vectors: a descriptor is not read again soon, and
// its lines need not be fetched to be written.
static void copy_row(const void* row, int64_t bytes, void* out) {
    constexpr int64_t WHOLE = W * sizeof(float);
    const char* from = static_cast<const char*>(row);
    char* to = static_cast<char*>(out);
    int64_t at = smaller(bytes, (WHOLE - int64_t(reinterpret_cast<uintptr_t>(out) % WHOLE)) % WHOLE);
    memcpy(to, from, size_t(at));
    for (; at + WHOLE <= bytes; at += WHOLE) {
        stream(reinterpret_cast<float*>(to + at), load(reinterpret_cast<const float*>(from + at)));
    }
    memcpy(to + at, from + at, size_t(bytes - at));
}

// `narrow` holds the row in the type of the result, of two bytes per value, with room for a whole vector at its end.
static void to_narrow(const float* row, int64_t size, int64_t dtype, uint16_t* narrow) {
    if (dtype == BFLOAT16) {
        for (int64_t j = 0; j < size; j++) narrow[j] = to_bf16(row[j]);
    } else {
        for (int64_t j = 0; j < size; j += W) store_half(narrow + j, load(row + j));
    }
}

int32_t blend(const Blend& a) {
    const int64_t size = width(a);
    const int64_t wide = padded(size, 32);
    struct Buffers {
        float* lines;  // one for each thread
        uint16_t* narrow;
        Read read;
    };
    const auto cut = [&](Arena& arena) {
        return Buffers{arena.take<float>(a.threads * wide), arena.take<uint16_t>(a.threads * wide),
                       Read::cut(a, arena)};
    };
    return with_workspace(cut, [&](const Buffers& buffers) -> int32_t {
        Read read = buffers.read;
        if (!read.group(a)) return ROW_OUT_OF_RANGE;
        Failure error;
        in_threads(a.threads, [&](Team& team) {
            team.queue(read.count, 256, [&](int64_t k) {
                const int64_t i = a.owner ? read.rows[k] : k;
                float *line = buffers.lines + team.number * wide, *part = line;
                uint16_t* narrow = buffers.narrow + team.number * wide;
                bool good = true;
                for (int64_t level = 0; level < a.levels; part += a.channels[level++])
                    good &= blend_row(a, level, i, part);
                if (!good) {
                    error = ROW_OUT_OF_RANGE;
                    return;
                }
                if (a.dtype != FLOAT32) to_narrow(line, size, a.dtype, narrow);
                const void* row = a.dtype == FLOAT32 ? static_cast<const void*>(line) : narrow;
                const int64_t bytes = size * (a.dtype == FLOAT32 ? 4 : 2);
                for (int64_t p = a.owner ? read.first[k] : k; p < (a.owner ? read.first[k + 1] : k + 1); p++) {
                    copy_row(row, bytes, static_cast<char*>(a.out) + (a.owner ? read.points[p] : p) * bytes);
                }
            });
        });
        return int32_t(error);
    });
}

// The gradient of one row of a level: what the points whose corners [start, stop) it is send back, in their order.
static void gather_row(const Blend& a, int64_t level, const int64_t* start, const int64_t* stop, const Points& points,
                       int64_t offset, float* total) {
    const int64_t c = a.channels[level], size = width(a);
    memset(total, 0, size_t(c) * sizeof(float));
    for (; start < stop; start++) {
        const int64_t i = *start / a.counts[level];
        const float weight = a.weights[level][*start];
        const int64_t last = a.owner ? points.first[i + 1] : i + 1;
        for (int64_t p = a.owner ? points.first[i] : i; p < last; p++) {
            const float* from = a.grad_out + (a.owner ? points.points[p] : p) * size + offset;
            int64_t j = 0;
            for (; j + W <= c; j += W) store(total + j, fma(load(from + j), splat(weight), load(total + j)));
            for (; j < c; j++) total[j] += from[j] * weight;
        }
    }
}

// Each row of a level gathers from the corners that read it, in their order: no two threads add to the same number.
int32_t blend_gradient(const Blend& a) {
    int64_t longest = 0, most = 0;
    for (int64_t level = 0; level < a.levels; level++) {
        longest = larger(longest, a.rows[level]);
        most = larger(most, a.counts[level]);
    }
    struct Buffers {
        Points points;
        int64_t *first, *corners;  // of each row of a level
    };
    const auto cut = [&](Arena& arena) {
        return Buffers{Points::cut(a, arena), arena.take<int64_t>(longest + 2), arena.take<int64_t>(a.m * most)};
    };
    return with_workspace(cut, [&](const Buffers& buffers) -> int32_t {
        int64_t *first = buffers.first, *corners = buffers.corners;
        if (!buffers.points.group(a)) return ROW_OUT_OF_RANGE;
        int64_t offset = 0;
        for (int64_t level = 0; level < a.levels; offset += a.channels[level++]) {
            const int64_t c = a.channels[level];
            float* grad = a.grad_features[level];
            if (!grad) continue;
            if (!group_by(a.corners[level], a.m * a.counts[level], a.rows[level], first, corners)) {
                return ROW_OUT_OF_RANGE;
            }
            in_threads(a.threads, [&](Team& team) {
                team.queue(a.rows[level], 64, [&](int64_t row) {
                    gather_row(a, level, corners + first[row], corners + first[row + 1], buffers.points, offset,
                               grad + row * c);
                });
            });
        }
        return OK;
    });
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
