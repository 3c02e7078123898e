// Rows with the same key, put together by a radix sort, and from each group the row with the smallest columns.
#include <stddef.h>
#include <stdint.h>

#include <new>
#include <vector>

#include "abi.h"
#include "team.h"

namespace msm3d {

constexpr int DIGITS = 11, BUCKETS = 1 << DIGITS;

struct Item {
    uint64_t key;
    int64_t row;
};

struct Column {
    const char* data;
    int64_t dtype, stride;  // stride in bytes
    double at(int64_t row) const {
        const char* p = data + row * stride;
        switch (dtype) {
            case FLOAT64: return *reinterpret_cast<const double*>(p);
            case FLOAT32: return *reinterpret_cast<const float*>(p);
            default: return *reinterpret_cast<const uint8_t*>(p);
        }
    }
};

// Sorts by key, and by row where keys are the same: stable, digit by digit, skipping digits that are all alike.
static void sort(int64_t threads, std::vector<Item>& items, uint64_t differing) {
    const int64_t n = int64_t(items.size());
    std::vector<Item> sorted(items.size());
    std::vector<int64_t> places(size_t(threads) * BUCKETS);
    for (int shift = 0; shift < 64; shift += DIGITS) {
        if (!(differing >> shift & (BUCKETS - 1))) continue;
        places.assign(places.size(), 0);
        // Parts of fixed borders rather than threads: a team may turn out smaller than asked for.
        in_parts(threads, threads, [&](int64_t part) {
            int64_t* counts = places.data() + part * BUCKETS;
            for (int64_t i = n * part / threads; i < n * (part + 1) / threads; i++) {
                counts[items[size_t(i)].key >> shift & (BUCKETS - 1)]++;
            }
        });
        int64_t total = 0;
        for (int digit = 0; digit < BUCKETS; digit++) {
            for (int64_t part = 0; part < threads; part++) {
                const int64_t count = places[size_t(part * BUCKETS + digit)];
                places[size_t(part * BUCKETS + digit)] = total;
                total += count;
            }
        }
        in_parts(threads, threads, [&](int64_t part) {
            int64_t* next = places.data() + part * BUCKETS;
            for (int64_t i = n * part / threads; i < n * (part + 1) / threads; i++) {
                sorted[size_t(next[items[size_t(i)].key >> shift & (BUCKETS - 1)]++)] = items[size_t(i)];
            }
        });
        items.swap(sorted);
    }
}

static bool before(const std::vector<Column>& columns, int64_t a, int64_t b) {
    for (const Column& column : columns) {
        const double x = column.at(a), y = column.at(b);
        if (x != y) return x < y;
    }
    return false;
}

static int64_t group(int64_t threads, int64_t n, const int64_t* keys, const std::vector<Column>& columns,
                     int64_t* unique, int64_t* owner, int64_t* picks) {
    std::vector<Item> items(static_cast<size_t>(n));
    uint64_t differing = 0;
    for (int64_t i = 0; i < n; i++) {
        items[size_t(i)] = {uint64_t(keys[i]) ^ uint64_t(1) << 63, i};  // signed order
        differing |= uint64_t(keys[i]) ^ uint64_t(keys[0]);
    }
    sort(threads, items, differing);
    std::vector<int64_t> first;
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || items[size_t(i)].key != items[size_t(i - 1)].key) first.push_back(i);
    }
    const int64_t m = int64_t(first.size());
    first.push_back(n);
    in_parts(threads, m, [&](int64_t group) {
        int64_t pick = items[size_t(first[size_t(group)])].row;
        unique[group] = keys[pick];
        for (int64_t i = first[size_t(group)]; i < first[size_t(group + 1)]; i++) {
            const int64_t row = items[size_t(i)].row;
            owner[row] = group;
            if (row != pick && before(columns, row, pick)) pick = row;
        }
        picks[group] = pick;
    });
    return m;
}

}  // namespace msm3d

using namespace msm3d;

MSM3D_EXPORT int32_t msm3d_group(int64_t threads, int64_t n, const int64_t* keys, int64_t columns,
                                 const void* const* data, const int64_t* dtypes, const int64_t* strides,
                                 int64_t* unique, int64_t* owner, int64_t* picks, int64_t* groups) {
    if (threads < 1 || n < 0 || columns < 0) return BAD_ARGUMENT;
    try {
        std::vector<Column> all;
        for (int64_t c = 0; c < columns; c++) {
            if (dtypes[c] != FLOAT64 && dtypes[c] != FLOAT32 && dtypes[c] != UINT8) return BAD_ARGUMENT;
            all.push_back({static_cast<const char*>(data[c]), dtypes[c], strides[c]});
        }
        *groups = group(threads, n, keys, all, unique, owner, picks);
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    }
    return OK;
}
