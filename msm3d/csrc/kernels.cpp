// The table of one instruction set's kernels, and the speed that they could reach at most.
#include "abi.h"
#include "simd.h"
#include "team.h"

namespace msm3d {
namespace MSM3D_ISA {

int32_t product(const Product&);
int32_t weight_gradient(const WeightGradient&);
int32_t finish(const FinishGradient&, float*);
int32_t finish_gradient(const FinishGradient&);
int32_t inverse_rms(int64_t, int64_t, int64_t, float, const float*, float*);
int32_t attend(const Attend&);
int32_t attend_gradient(const Attend&);
int32_t blend(const Blend&);
int32_t blend_gradient(const Blend&);
int32_t entropy(const Entropy&);
extern const int64_t PANEL;
void whole_products(int64_t, int64_t, int64_t, const int32_t*, int64_t, const int32_t*, int32_t*);
double exact_product(int64_t, const float*, const float*);
double whole_numbers(int64_t, float, const float*, int16_t*);
bool reaches(const int32_t*, int32_t);

// Multiply-adds on registers alone, for the benchmarks: returns how many floating-point operations were done.
static double multiply_add(int64_t threads, int64_t repeats) {
    constexpr int CHAINS = ROWS * COLS < 12 ? ROWS * COLS : 12;
    double all = 0.0;
    in_threads(threads, [&](Team& team) {
        V total[CHAINS];
        volatile float one = 1.0f, little = 1e-30f;  // so that no compiler sees through it
        const V x = splat(one), y = splat(little);
        UNROLLED(i, CHAINS) total[i] = splat(float(i));
        for (int64_t repeat = 0; repeat < repeats; repeat++) {
            UNROLLED(i, CHAINS) total[i] = fma(total[i], x, y);
        }
        float kept = 0.0f;
        UNROLLED(i, CHAINS) kept += sum(total[i]);
        one = kept;  // so that no sum can be left out
        if (team.number == 0) all = 2.0 * W * CHAINS * double(repeats) * double(team.size);
    });
    return all;
}

extern const Kernels kernels;
const Kernels kernels = {product,         weight_gradient, finish,         finish_gradient, inverse_rms,  attend,
                         attend_gradient, blend,           blend_gradient, entropy,         multiply_add, PANEL,
                         whole_products,  exact_product,   whole_numbers,  reaches};

}  // namespace MSM3D_ISA
}  // namespace msm3d
