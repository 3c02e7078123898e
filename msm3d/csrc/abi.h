// What the library exports: plain C, so that one binary serves every Python and every torch.
//
// Sizes are int64_t, tables int32_t with -1 for an absent row, everything row-major and dense. A function returns 0 or
// one of Error; nothing is written outside the arrays it is given, whatever the tables hold.
#pragma once
#include <stdint.h>

#if defined(_WIN32)
#define MSM3D_EXPORT extern "C" __declspec(dllexport)
#else
#define MSM3D_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace msm3d {

constexpr int64_t ABI = 2;  // raised here and in library.py whenever a function or a structure changes

enum Error : int32_t { OK, NO_MEMORY, ROW_OUT_OF_RANGE, NOT_ASCENDING, NO_SUCH_ISA, BAD_ARGUMENT };
enum Activation : int64_t { NONE = 0, GELU = 1, GEGLU = 2 };
enum Norm : int64_t { NO_NORM = 0, RMSNORM = 1, LAYERNORM = 2 };
enum Dtype : int64_t { FLOAT32 = 0, BFLOAT16 = 1, FLOAT16 = 2, FLOAT64 = 3, UINT8 = 4 };

enum Isa : int64_t { PORTABLE, NEON, AVX2, AVX512, AVX512BF16, AMX, ISAS };  // in the order of ISAS in native.py

// What follows a product, row by row, in this order; a null pointer leaves its step out.
struct Finish {
    int64_t channels;  // of the product; the result has half as many after GEGLU
    int64_t activation, norm;
    float eps;  // of the norm: added to the variance by LAYERNORM, to the root mean square by RMSNORM
    const float *bias, *scale, *shift, *gamma, *residual;
};

// The entries of a table (m, k) that are not -1, slot by slot, by row within a slot: entry in[p] stands in row row[p].
// Those of slot s begin at slots[s]; those of its rows from b * PAIR_ROWS on, starts[b * k + s] behind that.
// Null stands for one slot in which each row has its own number. Written by msm3d_count_pairs and msm3d_list_pairs.
constexpr int64_t PAIR_ROWS = 8;
struct Pairs {
    const int64_t* slots;
    const int32_t *starts, *in, *row;
};

// out[i] = finish(sum over the pairs (j, i) of each slot s of factor[j] * (x[j] * scale) * weight[s]).
struct Product {
    int64_t threads, n, m, k, c;  // rows of x, rows of out, slots, channels of x
    int64_t dtype, x_dtype;  // of weight and x; AVX512BF16 takes x in the type of weight, AMX in any, others FLOAT32
    int64_t stride;          // values from one row of x to the next, even for AVX512BF16
    int64_t slot_stride, c_stride, d_stride;  // values between neighbours in weight
    const void *x, *weight;
    const float *factor, *scale;  // (n) and (c), or null for ones; with weights that are widened only
    Pairs pairs;
    float *out, *product;  // product: the sums before finishing, or null
    Finish finish;
};

// grad[s, i, j] = sum over the pairs (p, r) of slot s of a[p, i] * b[r, j].
struct WeightGradient {
    int64_t threads, n, m, k, c, d;
    int64_t dtype, a_dtype, b_dtype;  // BFLOAT16 for products of rounded rows; all but AMX take FLOAT32 alone
    const void *a, *b;
    Pairs pairs;
    float* grad;
};

// The gradients of `finish(x)`; null pointers among the results are left out.
struct FinishGradient {
    int64_t threads, n;
    const float *x, *grad_out;
    float *grad_x, *grad_bias, *grad_scale, *grad_shift, *grad_gamma;
    Finish finish;
};

// qkv (n, 3, h, e), offsets (scenes + 1), out (n, h, e), lse (n, h): log2 of each row's sum of 2**score.
struct Attend {
    int64_t threads, n, h, e, scenes, window, seed;
    double dropout;  // share of the attention weights set to zero, by a hash of `seed`
    const int64_t* offsets;
    const float* qkv;
    float *out, *lse;
    const float* grad_out;  // these two for the backward pass alone
    float* grad_qkv;
};

// Per level l: features (rows[l], channels[l]), corners and weights (m, counts[l]). owner (n) or null, then n == m.
struct Blend {
    int64_t threads, n, m, levels;
    int64_t dtype;  // of out: FLOAT32, BFLOAT16 or FLOAT16
    const int64_t *rows, *channels, *counts;
    const float* const* features;
    const int32_t* const* corners;
    const float* const* weights;
    const int64_t* owner;
    void* out;
    const float* grad_out;  // these two for the backward pass alone
    float* const* grad_features;
};

// The kernels of one instruction set.
struct Kernels {
    int32_t (*product)(const Product&);
    int32_t (*weight_gradient)(const WeightGradient&);
    int32_t (*finish)(const FinishGradient&, float* out);
    int32_t (*finish_gradient)(const FinishGradient&);
    int32_t (*inverse_rms)(int64_t threads, int64_t n, int64_t c, float eps, const float* x, float* out);
    int32_t (*attend)(const Attend&);
    int32_t (*attend_gradient)(const Attend&);
    int32_t (*blend)(const Blend&);
    int32_t (*blend_gradient)(const Blend&);
    double (*multiply_add)(int64_t threads, int64_t repeats);
};

// Memory of the calling thread, kept for its next call; 64-byte aligned, null when there is not enough.
void* workspace(int64_t bytes);

}  // namespace msm3d
