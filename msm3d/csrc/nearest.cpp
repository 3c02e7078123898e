// The rows of a bank with the largest products with some queries, exactly: all products in 16-bit whole numbers, of
// which processors do twice as many as in float32; then those that may be among the largest, whatever was rounded, in
// double.
//
// A row x becomes round(s * x), of length 32,000 at most: a product is below 2**31, and exact in 32 bits in any order.
// What rounding moves a product by is at most what the lengths of the rounded-off parts allow (Cauchy and Schwarz).
#include <math.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "abi.h"
#include "team.h"

namespace msm3d {

constexpr double LENGTH = 32000.0;
constexpr double MOST = 1e30;               // that a row is multiplied by
constexpr int64_t QUERIES = 192;            // at a time: they stay in the second-level cache; 12 holds any set's ROWS
constexpr int64_t BANK = int64_t(1) << 14;  // rows of the bank that are held as whole numbers at a time
constexpr int64_t FEW = 64;                 // candidates of a query that are held before the first are thrown out

// Products with some queries that may be among the k largest.
struct Candidates {
    std::vector<std::pair<int64_t, int32_t>> found;  // product in whole numbers, row
    int64_t limit = 0;                               // how many there may be before they are cut
    int64_t least = INT64_MIN;                       // what a product must reach
};

// One of the k largest so far.
struct Best {
    double product;
    int64_t row;
    bool operator<(const Best& other) const {
        return product != other.product ? product > other.product : row < other.row;
    }
};

struct Search {
    const Kernels& set;
    const Nearest& a;
    std::vector<int64_t> starts;  // (parts + 1): pairs of columns in which the parts begin
    int64_t pairs;
    double scale = 0.0, off = 0.0;  // of the bank's rows, and the length of the most that is rounded off one
    std::vector<int16_t> panels;    // (panels, pairs, panel, 2)
    std::vector<Best> best;         // (choices, n, kept)
    int64_t kept = 0;               // how many of the bank are the best so far: k, or all before

    Search(const Kernels& set_, const Nearest& a_) : set(set_), a(a_), starts(1, 0) {
        for (int64_t part = 0; part < a.parts; part++) {
            starts.push_back(starts.back() + (a.ends[part] - begin(part) + 1) / 2);
        }
        pairs = starts.back();
    }

    int64_t begin(int64_t part) const { return part ? a.ends[part - 1] : 0; }
    bool adds(int64_t choice, int64_t part) const { return a.chosen[choice * a.parts + part] != 0; }

    double length(const float* x) const { return sqrt(set.exact_product(a.c, x, x)); }

    // Rounds a row, each part to whole pairs; returns how long the part is that was rounded off.
    double rounded(const float* x, double by, int16_t* out) const {
        double squares = 0.0;
        for (int64_t part = 0; part < a.parts; part++) {
            const int64_t from = begin(part);
            const double off =
                set.whole_numbers(a.ends[part] - from, float(by), x + from, out + 2 * starts[size_t(part)]);
            squares += off * off;
        }
        return sqrt(squares);
    }

    double exact(int64_t choice, const float* x, const float* y) const {
        double sum = 0.0;
        for (int64_t part = 0; part < a.parts; part++) {
            const int64_t from = begin(part);
            if (adds(choice, part)) sum += set.exact_product(a.ends[part] - from, x + from, y + from);
        }
        return sum;
    }

    // Holds rows `first` to `last` of the bank as panels of whole numbers.
    void pack(int64_t first, int64_t last) {
        const int64_t blocks = (last - first + set.panel - 1) / set.panel;
        panels.assign(size_t(blocks * set.panel * pairs * 2), 0);
        std::vector<double> lost(static_cast<size_t>(blocks), 0.0);
        std::vector<int16_t> rows(size_t(blocks * 2 * pairs));  // one of each block
        in_parts(a.threads, blocks, [&](int64_t block) {
            int16_t *one = rows.data() + block * 2 * pairs, *out = panels.data() + block * pairs * set.panel * 2;
            for (int64_t j = 0; j < std::min(set.panel, last - first - block * set.panel); j++) {
                const float* row = a.bank + (first + block * set.panel + j) * a.c;
                lost[size_t(block)] = std::max(lost[size_t(block)], rounded(row, scale, one));
                for (int64_t p = 0; p < pairs; p++) {
                    out[(p * set.panel + j) * 2] = one[2 * p];
                    out[(p * set.panel + j) * 2 + 1] = one[2 * p + 1];
                }
            }
        });
        off = *std::max_element(lost.begin(), lost.end());
    }

    // Throws out of the candidates those that cannot be among the k largest, `slack` being what rounding may do.
    void cut(Candidates& one, int64_t slack) const {
        auto& found = one.found;
        if (int64_t(found.size()) <= a.k) return;
        std::nth_element(found.begin(), found.begin() + (a.k - 1), found.end(),
                         [](const auto& x, const auto& y) { return x.first > y.first; });
        one.least = std::max(one.least, found[size_t(a.k - 1)].first - slack);
        found.erase(std::remove_if(found.begin(), found.end(), [&](const auto& x) { return x.first < one.least; }),
                    found.end());
    }

    // Notes that all products with a query are the same.
    void all_alike(int64_t query, double product) {
        for (int64_t choice = 0; choice < a.choices; choice++) {
            for (int64_t i = 0; i < a.k; i++) best[size_t((choice * a.n + query) * a.k + i)] = {product, i};
        }
    }

    // Merges the best of some queries with the exact products of their candidates.
    void settle(int64_t choice, int64_t query, const Candidates& one, int64_t rows) {
        std::vector<Best> all;
        Best* mine = best.data() + (choice * a.n + query) * a.k;
        all.assign(mine, mine + kept);
        const float* x = a.queries + query * a.c;
        for (const auto& [product, row] : one.found) all.push_back({exact(choice, x, a.bank + row * a.c), row});
        const size_t count = size_t(std::min(a.k, rows));
        std::partial_sort(all.begin(), all.begin() + int64_t(count), all.end());
        std::copy(all.begin(), all.begin() + int64_t(count), mine);
    }

    // Searches rows `first` to `last` of the bank, which are packed, for QUERIES queries from `start` on.
    void search(int64_t start, int64_t first, int64_t last) {
        const int64_t count = std::min(QUERIES, a.n - start);
        std::vector<int16_t> queries(size_t(QUERIES * pairs * 2));
        std::vector<int64_t> slack(size_t(count), 0);
        std::vector<Candidates> candidates(size_t(count * a.choices));
        for (int64_t q = 0; q < count; q++) {
            const float* x = a.queries + (start + q) * a.c;
            const double size = length(x);
            if (!(size > 0.0) || !std::isfinite(size)) {
                all_alike(start + q, size > 0.0 || size != size ? std::numeric_limits<double>::quiet_NaN() : 0.0);
                for (int64_t i = 0; i < a.choices; i++) candidates[size_t(q * a.choices + i)].least = INT64_MAX;
                continue;
            }
            const double by = std::min(LENGTH / size, MOST);
            const double mine = rounded(x, by, queries.data() + q * pairs * 2);
            const double moved = mine * (LENGTH + off) + LENGTH * off + 2.0;
            slack[size_t(q)] = int64_t(ceil(2.0 * moved));
            for (int64_t choice = 0; kept == a.k && choice < a.choices; choice++) {
                const double least = best[size_t((choice * a.n + start + q) * a.k + a.k - 1)].product;
                candidates[size_t(q * a.choices + choice)].least = int64_t(floor(least * by * scale - moved));
            }
        }
        compare(first, last, count, queries, slack, candidates);
        for (int64_t q = 0; q < count; q++) {
            for (int64_t choice = 0; choice < a.choices; choice++) {
                Candidates& one = candidates[size_t(q * a.choices + choice)];
                if (one.least == INT64_MAX) continue;
                cut(one, slack[size_t(q)]);
                settle(choice, start + q, one, last);
            }
        }
    }

    void compare(int64_t first, int64_t last, int64_t count, const std::vector<int16_t>& queries,
                 const std::vector<int64_t>& slack, std::vector<Candidates>& candidates) const {
        const int64_t width = set.panel, full = std::max(FEW, 4 * a.k);
        std::vector<int32_t> products(size_t(a.parts * QUERIES * width)), sums(static_cast<size_t>(width));
        const int32_t* rows = reinterpret_cast<const int32_t*>(queries.data());
        const bool whole =
            a.choices == 1 && std::all_of(a.chosen, a.chosen + a.parts, [](int64_t x) { return x != 0; });
        const int64_t parts = whole ? 1 : a.parts;
        for (int64_t row = first; row < last; row += width) {
            const int32_t* panel = reinterpret_cast<const int32_t*>(panels.data()) + (row - first) * pairs;
            for (int64_t part = 0; part < parts; part++) {
                set.whole_products((count + 11) / 12 * 12, starts[size_t(part)],
                                   whole ? pairs : starts[size_t(part + 1)], rows, pairs, panel,
                                   products.data() + part * QUERIES * width);
            }
            const int64_t columns = std::min(width, last - row);
            for (int64_t q = 0; q < count; q++) {
                for (int64_t choice = 0; choice < a.choices; choice++) {
                    const int32_t* sum = products.data() + q * width;
                    if (!whole) {
                        std::fill(sums.begin(), sums.end(), 0);
                        for (int64_t part = 0; part < parts; part++) {
                            if (!adds(choice, part)) continue;
                            const int32_t* one = products.data() + (part * QUERIES + q) * width;
                            for (int64_t j = 0; j < width; j++) sums[size_t(j)] += one[j];
                        }
                        sum = sums.data();
                    }
                    Candidates& mine = candidates[size_t(q * a.choices + choice)];
                    if (mine.least > INT32_MIN &&
                        !set.reaches(sum, int32_t(std::min<int64_t>(mine.least, INT32_MAX)))) {
                        continue;
                    }
                    for (int64_t j = 0; j < columns; j++) {
                        if (sum[j] < mine.least) continue;
                        mine.found.emplace_back(sum[j], int32_t(row + j));
                    }
                    if (int64_t(mine.found.size()) < std::max(mine.limit, full)) continue;
                    cut(mine, slack[size_t(q)]);
                    mine.limit = 2 * int64_t(mine.found.size());  // alike ones are not cut again with every panel
                }
            }
        }
    }

    int32_t run() {
        std::vector<double> lengths(static_cast<size_t>(a.m));
        in_parts(a.threads, a.m, [&](int64_t row) { lengths[size_t(row)] = length(a.bank + row * a.c); });
        for (double size : lengths) {
            if (!std::isfinite(size)) return BAD_ARGUMENT;
        }
        const double longest = *std::max_element(lengths.begin(), lengths.end());
        scale = longest > 0.0 ? std::min(LENGTH / longest, MOST) : 0.0;
        best.resize(size_t(a.choices * a.n * a.k));
        Failure error;
        for (int64_t first = 0; first < a.m; first += BANK) {
            const int64_t last = std::min(a.m, first + BANK);
            pack(first, last);
            in_threads(a.threads, [&](Team& team) {
                team.queue((a.n + QUERIES - 1) / QUERIES, 1, [&](int64_t part) {
                    try {
                        search(part * QUERIES, first, last);
                    } catch (const std::bad_alloc&) {
                        error = NO_MEMORY;
                    }
                });
            });
            if (error) return error;
            kept = std::min(a.k, last);
        }
        for (size_t i = 0; i < best.size(); i++) {
            a.products[i] = float(best[i].product);
            a.rows[i] = best[i].row;
        }
        return OK;
    }
};

int32_t nearest(const Kernels& set, const Nearest& a) {
    try {
        return Search(set, a).run();
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    }
}

}  // namespace msm3d
