// What the library exports: plain C, so that one binary serves every Python and every torch.
//
// Sizes are int64_t, tables int32_t with -1 for an absent row, everything row-major and dense. A function returns 0 or
// one of Error; nothing is written outside the arrays it is given, whatever the tables hold.
//
// Sizes go by one letter, as in the documentation of the operations:
//   n  rows that come in            k  slots of a table             h  heads of attention
//   m  rows of the result           c  channels that come in        e  channels of a head, or after the activation
//                                   d  channels of a product
// `threads` is how many a call may use; the result does not depend on it. `isa` is one of Isa.
#pragma once
#include <stdint.h>

#if defined(_WIN32)
#define MSM3D_EXPORT extern "C" __declspec(dllexport)
#else
#define MSM3D_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace msm3d {

// --- what library.py has, too, and compares with its own when it loads the library -----------------------------------

constexpr int64_t ABI = 6;        // raised here and there whenever a function or a structure changes
constexpr int64_t PAIR_ROWS = 8;  // rows of a table between which a slot's pairs can be found
constexpr int64_t BITS = 19;      // of a key per axis; level BITS has one voxel per scene

// An enumeration, and the names of its values in their order.
#define MSM3D_ENUM(name, type, ...)   \
    enum name : type { __VA_ARGS__ }; \
    constexpr char name##_ORDER[] = #__VA_ARGS__;

MSM3D_ENUM(Error, int32_t, OK, NO_MEMORY, ROW_OUT_OF_RANGE, NOT_ASCENDING, NO_SUCH_ISA, BAD_ARGUMENT, NO_SUCH_LABEL)
MSM3D_ENUM(Activation, int64_t, NONE, GELU, GEGLU)
MSM3D_ENUM(Norm, int64_t, NO_NORM, RMSNORM, LAYERNORM)
MSM3D_ENUM(Dtype, int64_t, FLOAT32, BFLOAT16, FLOAT16, FLOAT64, UINT8)
MSM3D_ENUM(Isa, int64_t, PORTABLE, NEON, AVX2, AVX512, AVX512BF16, AMX, ISAS)

// --- structures, of which library.py has copies ----------------------------------------------------------------------

// What follows a product, row by row, in this order; a null pointer leaves its step out.
struct Finish {
    int64_t channels;            // of the product; the result has half as many after GEGLU
    int64_t activation;          // one of Activation
    int64_t norm;                // one of Norm
    float eps;                   // of the norm: LAYERNORM adds it to the variance, RMSNORM to the root mean square
    const float* bias;           // (channels), added before the activation
    const float *scale, *shift;  // (e), of the norm
    const float* gamma;          // (e), a factor of what the norm gives
    const float* residual;       // (m, e), added at the end
};

// The entries of a table (m, k) that are not -1, slot by slot, by row within a slot: entry in[p] stands in row row[p].
// Null stands for one slot in which each row has its own number. Written by msm3d_count_pairs and msm3d_list_pairs.
struct Pairs {
    const int64_t* slots;   // (k + 1): where the pairs of each slot begin, and their number
    const int32_t* starts;  // (blocks + 1, k): behind slots[s], where those of rows from block * PAIR_ROWS on begin
    const int32_t *in, *row;
};

// out[i] = finish(sum over the pairs (j, i) of each slot s of factor[j] * (input[j] * scale) * weight[s]).
struct Product {
    int64_t threads, n, m, k, c;
    int64_t dtype;        // of weight: FLOAT32 or BFLOAT16
    int64_t input_dtype;  // AVX512BF16 takes the input in the type of weight, AMX in any, others in FLOAT32
    int64_t stride;       // values from one row of the input to the next, even for AVX512BF16
    int64_t slot_stride, c_stride, d_stride;  // values between neighbours in weight
    const void *input, *weight;
    const float *factor, *scale;  // (n) and (c), or null for ones; with weights that are widened only
    Pairs pairs;
    float* out;      // (m, e)
    float* product;  // (m, d), the sums before finishing, or null
    Finish finish;
};

// grad[s, i, j] = sum over the pairs (p, r) of slot s of left[p, i] * right[r, j].
struct WeightGradient {
    int64_t threads, n, m, k, c, d;
    int64_t dtype;                    // BFLOAT16 for products of rounded rows; all but AMX take FLOAT32 alone
    int64_t left_dtype, right_dtype;  // as dtype, or FLOAT32 for rows that are rounded on the way
    const void *left, *right;         // (n, c) and (m, d)
    Pairs pairs;
    float* grad;  // (k, c, d)
};

// The gradients of finish(input), with n rows; null pointers among the results are left out.
struct FinishGradient {
    int64_t threads, n;
    const float *input, *grad_out;  // (n, channels) and (n, e)
    float *grad_input, *grad_bias, *grad_scale, *grad_shift, *grad_gamma;
    Finish finish;
};

// Softmax attention of each row to the `window` rows before it and as many after, within its scene.
struct Attend {
    int64_t threads, n, h, e, scenes, window, seed;
    double dropout;          // share of the attention weights set to zero, by a hash of `seed`
    const int64_t* offsets;  // (scenes + 1): the first row of each scene, and n
    const float* qkv;        // (n, 3, h, e)
    float* out;              // (n, h, e)
    float* lse;              // (n, h), log2 of each row's sum of 2**score; null if no gradient is wanted
    const float* grad_out;   // these two for the gradient alone
    float* grad_qkv;
};

// out[p] = for each level l, side by side, the sum over j of weights[l][i, j] * features[l][corners[l][i, j]], where i
// is owner[p], or p.
struct Blend {
    int64_t threads, n, m, levels;   // n points, m rows of corners
    int64_t dtype;                   // of out: FLOAT32, BFLOAT16 or FLOAT16
    const int64_t *rows, *channels;  // (levels): of each level's features
    const int64_t* counts;           // (levels): corners of a row, 8 at most
    const float* const* features;    // (rows, channels) each
    const int32_t* const* corners;   // (m, counts) each
    const float* const* weights;     // (m, counts) each
    const int64_t* owner;            // (n), or null, then n == m
    void* out;                       // (n, sum of channels)
    const float* grad_out;           // these two for the gradient alone
    float* const* grad_features;     // a null pointer among them is left out
};

// The k rows of the bank with the largest product with each query, for each choice among parts of the columns: part p
// holds columns ends[p - 1] to ends[p], and a choice adds up those of its parts that are not 0. Of equal products the
// lower row comes first. Products of float32 are exact in double, and added in one order: the same on every machine.
struct Nearest {
    int64_t threads, n, m, k, c, parts, choices;
    const int64_t *ends, *chosen;  // (parts) and (choices, parts)
    const float *queries, *bank;   // (n, c) and (m, c)
    float* products;               // (choices, n, k), descending; of a query that is not finite all NaN
    int64_t* rows;                 // (choices, n, k)
};

// The mean cross-entropy of input * weight^T + bias on m rows of the input, and its gradients.
struct Entropy {
    int64_t threads, n, m, c, d;            // d classes
    const float *input, *weight, *bias;     // (n, c), (d, c) and (d)
    const int64_t *rows, *labels;           // (m), or null, then n == m; and (n), of each row of the input
    float *loss, *grad_weight, *grad_bias;  // one number, (d, c) and (d)
};

// --- inside the library ----------------------------------------------------------------------------------------------

// The kernels of one instruction set; what each is given has been checked.
struct Kernels {
    int32_t (*product)(const Product&);
    int32_t (*weight_gradient)(const WeightGradient&);
    int32_t (*finish)(const FinishGradient&, float* out);
    int32_t (*finish_gradient)(const FinishGradient&);
    int32_t (*inverse_rms)(int64_t threads, int64_t n, int64_t c, float eps, const float* input, float* out);
    int32_t (*attend)(const Attend&);
    int32_t (*attend_gradient)(const Attend&);
    int32_t (*blend)(const Blend&);
    int32_t (*blend_gradient)(const Blend&);
    int32_t (*entropy)(const Entropy&);
    double (*multiply_add)(int64_t threads, int64_t repeats);
    int64_t panel;  // rows of the bank whose products with a query are computed side by side
    void (*whole_products)(int64_t n, int64_t first, int64_t last, const int32_t* queries, int64_t stride,
                           const int32_t* panel, int32_t* out);
    double (*exact_product)(int64_t c, const float* a, const float* b);
    double (*whole_numbers)(int64_t c, float scale, const float* x, int16_t* out);
    bool (*reaches)(const int32_t* products, int32_t least);
};

int32_t nearest(const Kernels& set, const Nearest& a);

// Memory of the calling thread, kept for its next call; 64-byte aligned, null when there is not enough.
void* workspace(int64_t bytes);

}  // namespace msm3d

// --- exported: the library and the instruction sets ------------------------------------------------------------------

// ABI for 0, then the sizes of the structures in the order above, PAIR_ROWS and BITS, then -1.
MSM3D_EXPORT int64_t msm3d_abi(int64_t which);

// The names in Error, Activation, Norm, Dtype and Isa, parted by "; ".
MSM3D_EXPORT const char* msm3d_orders();

// Whether the library has the instruction set, and the processor, too.
MSM3D_EXPORT int32_t msm3d_has(int64_t isa);

// The file of the OpenMP runtime whose threads the library uses, empty if it found none and uses one thread.
MSM3D_EXPORT const char* msm3d_runtime();

// Whether a plainer set is faster: Intel's processors take the dot product of bfloat16 at a fraction of their speed.
MSM3D_EXPORT int32_t msm3d_slow(int64_t isa);

// Multiply-adds on registers alone, `repeats` rounds of them: how many floating-point operations were done.
MSM3D_EXPORT double msm3d_multiply_add(int64_t isa, int64_t threads, int64_t repeats);

// --- exported: the network -------------------------------------------------------------------------------------------

MSM3D_EXPORT int32_t msm3d_product(int64_t isa, const msm3d::Product* a);
MSM3D_EXPORT int32_t msm3d_weight_gradient(int64_t isa, const msm3d::WeightGradient* a);
MSM3D_EXPORT int32_t msm3d_attend(int64_t isa, const msm3d::Attend* a);
MSM3D_EXPORT int32_t msm3d_attend_gradient(int64_t isa, const msm3d::Attend* a);
MSM3D_EXPORT int32_t msm3d_blend(int64_t isa, const msm3d::Blend* a);
MSM3D_EXPORT int32_t msm3d_blend_gradient(int64_t isa, const msm3d::Blend* a);

// out (n, e): the input finished on its own; a->grad_out and the gradients are not read.
MSM3D_EXPORT int32_t msm3d_finish(int64_t isa, const msm3d::FinishGradient* a, float* out);
MSM3D_EXPORT int32_t msm3d_finish_gradient(int64_t isa, const msm3d::FinishGradient* a);

// out (n): what a norm by the root mean square multiplies each row of input (n, c) by.
MSM3D_EXPORT int32_t msm3d_inverse_rms(int64_t isa, int64_t threads, int64_t n, int64_t c, float eps,
                                       const float* input, float* out);

MSM3D_EXPORT int32_t msm3d_nearest(int64_t isa, const msm3d::Nearest* a);
MSM3D_EXPORT int32_t msm3d_entropy(int64_t isa, const msm3d::Entropy* a);

// --- exported: tables ------------------------------------------------------------------------------------------------

// First half of listing the pairs of a table (m, k) whose entries are below n: fills `slots` (k + 1) and `starts`
// (blocks + 1, k), both as in Pairs. There are slots[k] pairs.
MSM3D_EXPORT int32_t msm3d_count_pairs(int64_t threads, const int32_t* table, int64_t m, int64_t k, int64_t n,
                                       int64_t* slots, int32_t* starts);

// Second half: fills `in` and `row`, each of slots[k] numbers.
MSM3D_EXPORT int32_t msm3d_list_pairs(int64_t threads, const int32_t* table, int64_t m, int64_t k, const int64_t* slots,
                                      const int32_t* starts, int32_t* in, int32_t* row);

// The table of the opposite direction: turned[table[i, s], s] = i, -1 elsewhere. turned is (n, k).
MSM3D_EXPORT int32_t msm3d_turn(int64_t threads, const int32_t* table, int64_t m, int64_t k, int64_t n,
                                int32_t* turned);

// --- exported: geometry ----------------------------------------------------------------------------------------------

// counts[l]: voxels of level l above ascending keys (m), for every level up to BITS.
MSM3D_EXPORT int32_t msm3d_octree_counts(const int64_t* keys, int64_t m, int64_t* counts);

// Fills the arrays of `levels` levels, sized by msm3d_octree_counts: keys (m) of which keys[0] is given, parents (m),
// null at the coarsest, children (m, 8), null at the finest, and neighbours (m, 27).
MSM3D_EXPORT int32_t msm3d_octree(int64_t threads, int64_t levels, const int64_t* counts, int64_t* const* keys,
                                  int32_t* const* parents, int32_t* const* children, int32_t* const* neighbours);

// rows[i]: where queries[i] of n stands in the ascending keys (m), or -1.
MSM3D_EXPORT int32_t msm3d_lookup(int64_t threads, const int64_t* keys, int64_t m, const int64_t* queries, int64_t n,
                                  int32_t* rows);

// Groups n keys: unique and picks (n at most; *groups of them are filled) and owner (n), each key's group. The pick of
// a group is its row with the smallest columns; column c of row i stands strides[c] * i bytes after data[c] and is
// FLOAT64, FLOAT32 or UINT8, as dtypes[c] says.
MSM3D_EXPORT int32_t msm3d_group(int64_t threads, int64_t n, const int64_t* keys, int64_t columns,
                                 const void* const* data, const int64_t* dtypes, const int64_t* strides,
                                 int64_t* unique, int64_t* owner, int64_t* picks, int64_t* groups);

// The eight voxels around the centre of each of `cells` (r, 4: scene, x, y, z) of the finest level, in units of the
// cells of `level`, times the scene's `scale` (scenes, 3), or half a cell lower where that is null: their rows (r, 8),
// and weights (r, 8). They are among the `neighbours` (m, 27) of the cell's ancestor, whose row is ancestors[i].
MSM3D_EXPORT int32_t msm3d_corners(int64_t threads, int64_t r, const int32_t* cells, const int64_t* ancestors,
                                   const int32_t* neighbours, int64_t m, int64_t level, const double* scale,
                                   int64_t scenes, int32_t* rows, float* weights);
