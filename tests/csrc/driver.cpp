// Calls every exported function on random shapes, with arrays of exactly the size that abi.h asks for, so that a
// sanitizer sees any step beyond them; and with tables that point outside, which must come back as an error. Every
// instruction set must give what the portable one gives: where Python does not run (under an emulator), this says so.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "abi.h"

using namespace msm3d;

static std::mt19937 generator(0);
static int64_t below(int64_t n) { return int64_t(generator() % uint64_t(n)); }
static int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }

static void expect(int32_t code, int32_t wanted, const char* what) {
    if (code != wanted) {
        std::printf("%s returned %d, expected %d\n", what, code, wanted);
        std::exit(1);
    }
}

static std::unique_ptr<float[]> numbers(int64_t n) {
    std::unique_ptr<float[]> values(new float[size_t(n)]);
    for (int64_t i = 0; i < n; i++) values[size_t(i)] = float(int64_t(generator() % 2001) - 1000) * 1e-3f;
    return values;
}

static void agree(const float* ours, const float* portable, int64_t n, float tolerance, const char* what) {
    float most = 1.0f;
    for (int64_t i = 0; i < n; i++) most = std::fmax(most, std::fabs(portable[i]));
    for (int64_t i = 0; i < n; i++) {
        if (!(std::fabs(ours[i] - portable[i]) <= tolerance * most)) {
            std::printf("%s gives %g, the portable one %g\n", what, double(ours[i]), double(portable[i]));
            std::exit(1);
        }
    }
}

static std::unique_ptr<uint16_t[]> halves(int64_t n) {
    std::unique_ptr<uint16_t[]> values(new uint16_t[size_t(n)]);
    for (int64_t i = 0; i < n; i++) values[size_t(i)] = uint16_t(0x3f00 + below(0x100) + below(2) * 0x8000);
    return values;
}

static std::unique_ptr<int32_t[]> table(int64_t m, int64_t k, int64_t n) {
    std::unique_ptr<int32_t[]> rows(new int32_t[size_t(m * k)]);
    for (int64_t i = 0; i < m * k; i++) rows[size_t(i)] = int32_t(below(n + 1)) - 1;
    return rows;
}

struct Listed {
    std::unique_ptr<int64_t[]> slots;
    std::unique_ptr<int32_t[]> starts, in, row;
    Pairs pairs() const { return {slots.get(), starts.get(), in.get(), row.get()}; }
};

static Listed list(const int32_t* rows, int64_t m, int64_t k, int64_t n) {
    Listed l;
    l.slots.reset(new int64_t[size_t(k + 1)]);
    l.starts.reset(new int32_t[size_t(((m + PAIR_ROWS - 1) / PAIR_ROWS + 1) * k)]);
    expect(msm3d_count_pairs(between(1, 4), rows, m, k, n, l.slots.get(), l.starts.get()), OK, "count_pairs");
    l.in.reset(new int32_t[size_t(l.slots[size_t(k)])]);
    l.row.reset(new int32_t[size_t(l.slots[size_t(k)])]);
    expect(msm3d_list_pairs(between(1, 4), rows, m, k, l.slots.get(), l.starts.get(), l.in.get(), l.row.get()), OK,
           "list_pairs");
    return l;
}

static void products(int64_t isa) {
    const int64_t n = between(1, 300), m = between(0, 600), k = between(1, 27);
    const int64_t c = between(1, 70), d = 2 * between(1, 70);
    Finish finish{};
    finish.channels = d, finish.activation = below(3), finish.norm = below(3), finish.eps = below(2) ? 1e-4f : 1e-2f;
    const int64_t e = finish.activation == GEGLU ? d / 2 : d;
    auto bias = numbers(d), scale = numbers(e), shift = numbers(e), gamma = numbers(e), residual = numbers(m * e);
    if (below(2)) finish.bias = bias.get();
    if (finish.norm) finish.scale = scale.get();
    if (finish.norm == LAYERNORM) finish.shift = shift.get();
    if (below(2)) finish.gamma = gamma.get(), finish.residual = residual.get();
    auto x = numbers(n * c), weight = numbers(k * c * d), out = numbers(m * e), sums = numbers(m * d);
    auto rows = table(m, k, n);
    const Listed listed = list(rows.get(), m, k, n);
    auto factor = numbers(n), channel = numbers(c);
    expect(msm3d_inverse_rms(isa, between(1, 4), n, c, finish.eps, x.get(), factor.get()), OK, "inverse_rms");
    auto plain_factor = numbers(n);
    expect(msm3d_inverse_rms(PORTABLE, 1, n, c, finish.eps, x.get(), plain_factor.get()), OK,
           "the portable inverse_rms");
    agree(factor.get(), plain_factor.get(), n, 1e-4f, "inverse_rms");
    double square = 0.0;
    for (int64_t j = 0; j < c; j++) square += double(x[size_t(j)]) * x[size_t(j)];
    const float inverse = float(1.0 / (std::sqrt(square / double(c)) + finish.eps));
    agree(factor.get(), &inverse, 1, 1e-4f, "inverse_rms of the first row");
    Product p{};
    p.threads = between(1, 4), p.n = n, p.m = m, p.k = k, p.c = c;
    p.dtype = p.input_dtype = FLOAT32;
    p.stride = c, p.slot_stride = c * d, p.c_stride = d, p.d_stride = 1;
    p.input = x.get(), p.weight = weight.get(), p.pairs = listed.pairs();
    p.out = out.get(), p.product = sums.get(), p.finish = finish;
    if (below(2)) p.factor = factor.get(), p.scale = channel.get();
    expect(msm3d_product(isa, &p), OK, "product");
    auto plain = numbers(m * e), plain_sums = numbers(m * d);
    Product portable = p;
    portable.out = plain.get(), portable.product = plain_sums.get();
    expect(msm3d_product(PORTABLE, &portable), OK, "the portable product");
    agree(sums.get(), plain_sums.get(), m * d, 1e-4f, "product");
    const bool steady = !finish.norm || e > 16;  // a norm over few channels magnifies the last digits
    if (steady) agree(out.get(), plain.get(), m * e, 1e-3f, "product, finished");
    // bfloat16 weights, laid out as (k, c, d) or (k, d, c); x in whichever type the instruction set takes it.
    const int64_t stride = c + c % 2;
    auto half_x = halves(n * stride), half_weight = halves(k * c * d);
    Product q = p;
    q.dtype = BFLOAT16, q.weight = half_weight.get(), q.factor = q.scale = nullptr;
    if (below(2)) q.c_stride = 1, q.d_stride = c;
    q.input_dtype = isa == AVX512BF16 || (isa == AMX && below(2)) ? BFLOAT16 : FLOAT32;
    if (q.input_dtype == BFLOAT16) q.input = half_x.get(), q.stride = stride;
    expect(msm3d_product(isa, &q), OK, "product of bfloat16");
    if (q.input_dtype == FLOAT32) {
        portable = q;
        portable.out = plain.get(), portable.product = plain_sums.get();
        expect(msm3d_product(PORTABLE, &portable), OK, "the portable product of bfloat16");
        agree(sums.get(), plain_sums.get(), m * d, 2e-2f, "product of bfloat16");
    }
    auto grad = numbers(k * c * d), b = numbers(m * d);
    WeightGradient w{};
    w.threads = between(1, 4), w.n = n, w.m = m, w.k = k, w.c = c, w.d = d;
    w.dtype = w.left_dtype = w.right_dtype = FLOAT32;
    w.left = x.get(), w.right = b.get(), w.pairs = listed.pairs(), w.grad = grad.get();
    expect(msm3d_weight_gradient(isa, &w), OK, "weight_gradient");
    auto plain_grad = numbers(k * c * d);
    WeightGradient plain_w = w;
    plain_w.grad = plain_grad.get();
    expect(msm3d_weight_gradient(PORTABLE, &plain_w), OK, "the portable weight_gradient");
    agree(grad.get(), plain_grad.get(), k * c * d, 1e-4f, "weight_gradient");
    if (isa == AMX) {
        auto half_b = halves(m * d);
        WeightGradient v = w;
        v.dtype = BFLOAT16;
        if (below(2)) v.left_dtype = BFLOAT16, v.left = half_x.get();
        if (below(2)) v.right_dtype = BFLOAT16, v.right = half_b.get();
        expect(msm3d_weight_gradient(isa, &v), OK, "weight_gradient of bfloat16");
    }
    auto grad_out = numbers(m * e), grad_x = numbers(m * d), grad_bias = numbers(d);
    auto grad_scale = numbers(e), grad_shift = numbers(e), grad_gamma = numbers(e);
    FinishGradient f{};
    f.threads = between(1, 4), f.n = m, f.input = sums.get(), f.finish = finish;
    f.grad_out = grad_out.get(), f.grad_input = grad_x.get(), f.grad_bias = grad_bias.get();
    f.grad_scale = grad_scale.get(), f.grad_shift = grad_shift.get(), f.grad_gamma = grad_gamma.get();
    expect(msm3d_finish(isa, &f, out.get()), OK, "finish");
    expect(msm3d_finish_gradient(isa, &f), OK, "finish_gradient");
    FinishGradient plain_f = f;
    plain_f.grad_input = plain_sums.get();
    expect(msm3d_finish(PORTABLE, &plain_f, plain.get()), OK, "the portable finish");
    expect(msm3d_finish_gradient(PORTABLE, &plain_f), OK, "the portable finish_gradient");
    if (steady) agree(out.get(), plain.get(), m * e, 1e-3f, "finish");
    if (steady) agree(grad_x.get(), plain_sums.get(), m * d, 1e-3f, "finish_gradient");
    std::unique_ptr<int32_t[]> turned(new int32_t[size_t(n * k)]);
    expect(msm3d_turn(1, rows.get(), m, k, n, turned.get()), OK, "turn");
    if (m > 0) {
        rows[size_t(below(m * k))] = int32_t(n + below(1 << 30));
        expect(msm3d_count_pairs(3, rows.get(), m, k, n, listed.slots.get(), listed.starts.get()), ROW_OUT_OF_RANGE,
               "count_pairs with a wrong row");
        expect(msm3d_turn(3, rows.get(), m, k, n, turned.get()), ROW_OUT_OF_RANGE, "turn with a wrong row");
    }
    p.pairs = {}, p.k = 1, p.m = n, p.finish = {}, p.finish.channels = d;
    auto all = numbers(n * d);
    p.out = all.get(), p.product = nullptr;
    expect(msm3d_product(isa, &p), OK, "a linear product");
    p.m = n + 1;
    expect(msm3d_product(isa, &p), BAD_ARGUMENT, "a linear product of too many rows");
}

static void attention(int64_t isa) {
    std::vector<int64_t> offsets{0};
    for (int64_t scene = below(4); scene > 0; scene--) offsets.push_back(offsets.back() + below(1500));
    const int64_t n = offsets.back(), h = between(1, 3), e = between(1, 20);
    auto qkv = numbers(n * 3 * h * e), out = numbers(n * h * e), lse = numbers(n * h);
    auto grad_out = numbers(n * h * e), grad_qkv = numbers(n * 3 * h * e);
    Attend a{};
    a.threads = between(1, 4), a.n = n, a.h = h, a.e = e, a.scenes = int64_t(offsets.size()) - 1;
    a.window = below(1000), a.seed = 7, a.dropout = below(2) * 0.3, a.offsets = offsets.data();
    a.qkv = qkv.get(), a.out = out.get(), a.lse = lse.get();
    a.grad_out = grad_out.get(), a.grad_qkv = grad_qkv.get();
    expect(msm3d_attend(isa, &a), OK, "attend");
    expect(msm3d_attend_gradient(isa, &a), OK, "attend_gradient");
    auto plain_out = numbers(n * h * e), plain_grad = numbers(n * 3 * h * e);
    Attend portable = a;
    portable.out = plain_out.get(), portable.grad_qkv = plain_grad.get();
    expect(msm3d_attend(PORTABLE, &portable), OK, "the portable attend");
    expect(msm3d_attend_gradient(PORTABLE, &portable), OK, "the portable attend_gradient");
    agree(out.get(), plain_out.get(), n * h * e, 1e-4f, "attend");
    agree(grad_qkv.get(), plain_grad.get(), n * 3 * h * e, 1e-3f, "attend_gradient");
    offsets.back()++;
    expect(msm3d_attend(isa, &a), BAD_ARGUMENT, "attend beyond its rows");
}

static void blending(int64_t isa) {
    const int64_t levels = between(1, 3), m = between(1, 80), n = below(300);
    std::vector<std::unique_ptr<float[]>> features, weights, grads;
    std::vector<std::unique_ptr<int32_t[]>> corners;
    std::vector<int64_t> rows, channels, counts, owner;
    std::vector<const float*> f, w;
    std::vector<const int32_t*> t;
    std::vector<float*> g;
    int64_t size = 0;
    for (int64_t level = 0; level < levels; level++) {
        rows.push_back(between(1, 40)), channels.push_back(between(1, 70)), counts.push_back(between(1, 8));
        features.push_back(numbers(rows.back() * channels.back())), weights.push_back(numbers(m * counts.back()));
        grads.push_back(numbers(rows.back() * channels.back()));
        corners.push_back(table(m, counts.back(), rows.back()));
        f.push_back(features.back().get()), w.push_back(weights.back().get());
        t.push_back(corners.back().get()), g.push_back(grads.back().get());
        size += channels.back();
    }
    for (int64_t p = 0; p < n; p++) owner.push_back(below(m));
    owner.push_back(0);
    const bool owned = below(2);
    const int64_t points = owned ? n : m, dtype = below(3);
    auto out = numbers(dtype == FLOAT32 ? points * size : (points * size + 1) / 2), grad_out = numbers(points * size);
    Blend b{};
    b.threads = between(1, 4), b.n = points, b.m = m, b.levels = levels, b.dtype = dtype;
    b.rows = rows.data(), b.channels = channels.data(), b.counts = counts.data();
    b.features = f.data(), b.corners = t.data(), b.weights = w.data(), b.owner = owned ? owner.data() : nullptr;
    b.out = out.get(), b.grad_out = grad_out.get(), b.grad_features = g.data();
    expect(msm3d_blend(isa, &b), OK, "blend");
    expect(msm3d_blend_gradient(isa, &b), OK, "blend_gradient");
    if (dtype == FLOAT32) {
        auto plain = numbers(points * size);
        Blend portable = b;
        portable.out = plain.get();
        expect(msm3d_blend(PORTABLE, &portable), OK, "the portable blend");
        agree(out.get(), plain.get(), points * size, 1e-4f, "blend");
    }
    std::vector<std::unique_ptr<float[]>> plain_grads;
    std::vector<float*> plain_g;
    for (int64_t level = 0; level < levels; level++) {
        plain_grads.push_back(numbers(rows[size_t(level)] * channels[size_t(level)]));
        plain_g.push_back(plain_grads.back().get());
    }
    Blend plain_b = b;
    plain_b.grad_features = plain_g.data();
    expect(msm3d_blend_gradient(PORTABLE, &plain_b), OK, "the portable blend_gradient");
    for (size_t level = 0; level < size_t(levels); level++) {
        agree(g[level], plain_g[level], rows[level] * channels[level], 1e-4f, "blend_gradient");
    }
    corners[0][0] = int32_t(rows[0]);
    if (!owned) expect(msm3d_blend(isa, &b), ROW_OUT_OF_RANGE, "blend with a wrong row");
    expect(msm3d_blend_gradient(isa, &b), ROW_OUT_OF_RANGE, "blend_gradient with a wrong row");
}

static void geometry() {
    const int64_t n = below(500), levels = between(1, 20);
    std::vector<int64_t> raw, unique(size_t(n) + 1), owner(size_t(n) + 1), picks(size_t(n) + 1), counts(20);
    for (int64_t i = 0; i < n; i++) raw.push_back(below(1 << 20) | below(3) << 57);
    auto column = numbers(n);
    const void* data[] = {column.get()};
    const int64_t dtypes[] = {FLOAT32}, strides[] = {4};
    int64_t m = 0;
    const int32_t grouped = msm3d_group(between(1, 4), n, raw.data(), 1, data, dtypes, strides, unique.data(),
                                        owner.data(), picks.data(), &m);
    expect(grouped, OK, "group");
    expect(msm3d_octree_counts(unique.data(), m, counts.data()), OK, "octree_counts");
    std::vector<std::vector<int64_t>> keys;
    std::vector<std::unique_ptr<int32_t[]>> owned;
    std::vector<int64_t*> key_sets;
    std::vector<int32_t*> parents, children, neighbours;
    for (int64_t level = 0; level < levels; level++) keys.emplace_back(size_t(counts[size_t(level)]));
    std::copy(unique.begin(), unique.begin() + m, keys[0].begin());
    for (int64_t level = 0; level < levels; level++) {
        const size_t size = size_t(counts[size_t(level)]);
        key_sets.push_back(keys[size_t(level)].data());
        for (auto [all, width] : {std::pair{&parents, size_t(1)}, {&children, size_t(8)}, {&neighbours, size_t(27)}}) {
            owned.emplace_back(new int32_t[size * width]);
            all->push_back(owned.back().get());
        }
    }
    const int32_t built = msm3d_octree(between(1, 4), levels, counts.data(), key_sets.data(), parents.data(),
                                       children.data(), neighbours.data());
    expect(built, OK, "octree");
    std::unique_ptr<int32_t[]> rows(new int32_t[size_t(n)]);
    expect(msm3d_lookup(between(1, 4), unique.data(), m, raw.data(), n, rows.get()), OK, "lookup");
    for (int64_t i = 0; i < n; i++) expect(rows[size_t(i)], int32_t(owner[size_t(i)]), "the row of a key");
    if (m > 1) {
        std::swap(unique[0], unique[1]);
        expect(msm3d_octree_counts(unique.data(), m, counts.data()), NOT_ASCENDING, "octree_counts of unsorted keys");
    }
}

static void searching(int64_t isa) {
    const int64_t n = below(300), m = between(1, 400), c = between(1, 90), parts = between(1, 3),
                  choices = between(1, 3);
    const int64_t k = between(1, m);
    std::vector<int64_t> ends, chosen;
    for (int64_t part = 1; part <= parts; part++) ends.push_back(c * part / parts);
    for (int64_t i = 0; i < parts * choices; i++) chosen.push_back(below(2));
    auto queries = numbers(n * c), bank = numbers(m * c);
    auto products = numbers(choices * n * k), plain = numbers(choices * n * k);
    std::vector<int64_t> rows(size_t(choices * n * k)), plain_rows(rows.size());
    Nearest a{};
    a.threads = between(1, 4), a.n = n, a.m = m, a.k = k, a.c = c, a.parts = parts, a.choices = choices;
    a.ends = ends.data(), a.chosen = chosen.data(), a.queries = queries.get(), a.bank = bank.get();
    a.products = products.get(), a.rows = rows.data();
    expect(msm3d_nearest(isa, &a), OK, "nearest");
    Nearest portable = a;
    portable.products = plain.get(), portable.rows = plain_rows.data();
    expect(msm3d_nearest(PORTABLE, &portable), OK, "the portable nearest");
    agree(products.get(), plain.get(), choices * n * k, 0.0f, "nearest");
    for (size_t i = 0; i < rows.size(); i++) expect(int32_t(rows[i]), int32_t(plain_rows[i]), "a nearest row");
    bank[size_t(below(m * c))] = NAN;
    expect(msm3d_nearest(isa, &a), BAD_ARGUMENT, "nearest in a bank that is not finite");
}

static void entropies(int64_t isa) {
    const int64_t n = between(1, 90), m = between(1, 300), c = between(1, 70), d = between(1, 70);
    const bool all = below(2);
    auto x = numbers(n * c), weight = numbers(d * c), bias = numbers(d);
    std::vector<int64_t> rows(static_cast<size_t>(m)), labels(static_cast<size_t>(n));
    for (auto& row : rows) row = below(n);
    for (auto& label : labels) label = below(d);
    auto loss = numbers(1), grad_weight = numbers(d * c), grad_bias = numbers(d);
    auto plain_loss = numbers(1), plain_weight = numbers(d * c), plain_bias = numbers(d);
    Entropy a{};
    a.threads = between(1, 4), a.n = n, a.m = all ? n : m, a.c = c, a.d = d, a.input = x.get();
    a.weight = weight.get(), a.bias = bias.get(), a.rows = all ? nullptr : rows.data(), a.labels = labels.data();
    a.loss = loss.get(), a.grad_weight = grad_weight.get(), a.grad_bias = grad_bias.get();
    expect(msm3d_entropy(isa, &a), OK, "entropy");
    Entropy portable = a;
    portable.loss = plain_loss.get(), portable.grad_weight = plain_weight.get(), portable.grad_bias = plain_bias.get();
    expect(msm3d_entropy(PORTABLE, &portable), OK, "the portable entropy");
    agree(loss.get(), plain_loss.get(), 1, 1e-5f, "entropy");
    agree(grad_weight.get(), plain_weight.get(), d * c, 1e-5f, "the gradient of its weight");
    agree(grad_bias.get(), plain_bias.get(), d, 1e-5f, "the gradient of its bias");
    labels[size_t(all ? below(n) : rows[0])] = d;
    expect(msm3d_entropy(isa, &a), NO_SUCH_LABEL, "entropy of a label that is no class");
}

int main(int count, char** arguments) {
    const int rounds = count > 1 ? std::atoi(arguments[1]) : 20;
    int sets = 0;
    for (int64_t isa = 0; isa < ISAS; isa++) {
        if (!msm3d_has(isa)) continue;
        sets++;
        for (int round = 0; round < rounds; round++)
            products(isa), attention(isa), blending(isa), searching(isa), entropies(isa);
    }
    for (int round = 0; round < rounds; round++) geometry();
    std::printf("%d instruction sets, %d rounds: clean\n", sets, rounds);
    return 0;
}
