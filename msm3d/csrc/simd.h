// A vector of W floats: all that the kernels know of an instruction set. Each kernel file is compiled once per set,
// with MSM3D_ISA naming its namespace; so nothing here or there may be an inline function of the standard library,
// which the linker would share between sets.
//
// A set defines, in its part of this file:
//   W, ROWS, COLS          floats of a vector, a power of two; ROWS x COLS vectors are the sums a core keeps in
//   registers
//                          while it multiplies, ROWS a multiple of three
//   V                      a vector
//   load(p), store(p, a)   at any address; stream(p, a): past the cache, to an address that is a multiple of a vector
//   splat(x)               x in every lane
//   + - * /, abs, max      lane by lane; max(a, b) is a NaN where b is one
//   fma(a, b, c)           a * b + c, rounded once if the processor has an instruction for it
//   round(a)               the nearest whole number, of two the even one
//   ldexp(a, n)            a * 2**n of whole n, where a and that are normal numbers
//   copysign(size, sign)   the size of one with the sign of the other
//   store_half(p, a)       as float16, to nearest, ties to even
//   I                      W int32, each also a pair of int16
//   zeros(), load_ints(p), store_ints(p, a), splat_ints(x)
//   add_pairs(a, b, c)     c plus the products of each lane's pair, of whole numbers that leave 32 bits
// and with MSM3D_BF16, where the processor multiplies bfloat16:
//   B                      2 * W bfloat16, in pairs
//   load_pairs(p), splat_pair(pair)
//   dot(a, b, c)           c plus the products of each lane's pair
// It may define sum(a) and largest(a), over the lanes, if it has better than the loops below. It is named in Isa in
// abi.h, ISAS in library.py, Sets in dispatch.cpp and cmake/native.cmake.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(MSM3D_AVX2) || defined(MSM3D_AVX512)
#include <immintrin.h>
#elif defined(MSM3D_NEON)
#include <arm_neon.h>
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 64")
#else
#define UNROLL
#endif
// A loop of a constant number of turns, written out: what it indexes stays in registers.
#define UNROLLED(i, turns) UNROLL for (int i = 0; i < (turns); i++)

#if defined(_MSC_VER)
#define NOINLINE __declspec(noinline)
#else
#define NOINLINE __attribute__((noinline))
#endif

namespace msm3d {
namespace MSM3D_ISA {

constexpr int64_t LINE = 64;  // bytes of a line of the cache

static inline void prefetch(const void* p) {
#if defined(__GNUC__)
    __builtin_prefetch(p);
#elif defined(MSM3D_AVX2) || defined(MSM3D_AVX512)
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
#else
    (void)p;
#endif
}

using bf16 = uint16_t;
using half = uint16_t;

#if defined(MSM3D_AVX512)

constexpr int W = 16, ROWS = 12, COLS = 2;
struct V { __m512 v; };
static inline V load(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline void store(float* p, V a) { _mm512_storeu_ps(p, a.v); }
static inline void stream(float* p, V a) { _mm512_stream_ps(p, a.v); }
static inline V splat(float a) { return {_mm512_set1_ps(a)}; }
static inline V fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
static inline V operator+(V a, V b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline V operator-(V a, V b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline V operator*(V a, V b) { return {_mm512_mul_ps(a.v, b.v)}; }
static inline V operator/(V a, V b) { return {_mm512_div_ps(a.v, b.v)}; }
static inline V max(V a, V b) { return {_mm512_max_ps(a.v, b.v)}; }
static inline V abs(V a) { return {_mm512_abs_ps(a.v)}; }
static inline V round(V a) { return {_mm512_roundscale_ps(a.v, 0)}; }
static inline V ldexp(V a, V n) { return {_mm512_scalef_ps(a.v, n.v)}; }
static inline V copysign(V size, V sign) {
    const __m512i bit = _mm512_set1_epi32(INT32_MIN);
    return {_mm512_castsi512_ps(_mm512_or_si512(_mm512_andnot_si512(bit, _mm512_castps_si512(size.v)),
                                                _mm512_and_si512(bit, _mm512_castps_si512(sign.v))))};
}
static inline void store_half(half* p, V a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
struct I { __m512i v; };
static inline I zeros() { return {_mm512_setzero_si512()}; }
static inline I load_ints(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
static inline void store_ints(int32_t* p, I a) { _mm512_storeu_si512(p, a.v); }
static inline I splat_ints(int32_t a) { return {_mm512_set1_epi32(a)}; }
static inline I add_pairs(I a, I b, I c) { return {_mm512_add_epi32(c.v, _mm512_madd_epi16(a.v, b.v))}; }
#if defined(MSM3D_BF16)
struct B { __m512bh v; };  // 2 * W bfloat16
static inline B load_pairs(const bf16* p) { return {(__m512bh)_mm512_loadu_si512(p)}; }
static inline B splat_pair(uint32_t pair) { return {(__m512bh)_mm512_set1_epi32(int32_t(pair))}; }
static inline V dot(B a, B b, V c) { return {_mm512_dpbf16_ps(c.v, a.v, b.v)}; }
#endif

#elif defined(MSM3D_AVX2)

constexpr int W = 8, ROWS = 6, COLS = 2;
struct V { __m256 v; };
static inline V load(const float* p) { return {_mm256_loadu_ps(p)}; }
static inline void store(float* p, V a) { _mm256_storeu_ps(p, a.v); }
static inline void stream(float* p, V a) { _mm256_stream_ps(p, a.v); }
static inline V splat(float a) { return {_mm256_set1_ps(a)}; }
static inline V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
static inline V operator+(V a, V b) { return {_mm256_add_ps(a.v, b.v)}; }
static inline V operator-(V a, V b) { return {_mm256_sub_ps(a.v, b.v)}; }
static inline V operator*(V a, V b) { return {_mm256_mul_ps(a.v, b.v)}; }
static inline V operator/(V a, V b) { return {_mm256_div_ps(a.v, b.v)}; }
static inline V max(V a, V b) { return {_mm256_max_ps(a.v, b.v)}; }
static inline V abs(V a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
static inline V round(V a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
static inline V ldexp(V a, V n) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n.v), 23);
    return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.v), exponent))};
}
static inline V copysign(V size, V sign) {
    const __m256 bit = _mm256_set1_ps(-0.0f);
    return {_mm256_or_ps(_mm256_andnot_ps(bit, size.v), _mm256_and_ps(bit, sign.v))};
}
static inline void store_half(half* p, V a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
struct I { __m256i v; };
static inline I zeros() { return {_mm256_setzero_si256()}; }
static inline I load_ints(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
static inline void store_ints(int32_t* p, I a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
static inline I splat_ints(int32_t a) { return {_mm256_set1_epi32(a)}; }
static inline I add_pairs(I a, I b, I c) { return {_mm256_add_epi32(c.v, _mm256_madd_epi16(a.v, b.v))}; }

#elif defined(MSM3D_NEON)

constexpr int W = 4, ROWS = 6, COLS = 4;
struct V { float32x4_t v; };
static inline V load(const float* p) { return {vld1q_f32(p)}; }
static inline void store(float* p, V a) { vst1q_f32(p, a.v); }
static inline void stream(float* p, V a) { vst1q_f32(p, a.v); }
static inline V splat(float a) { return {vdupq_n_f32(a)}; }
static inline V fma(V a, V b, V c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
static inline V operator+(V a, V b) { return {vaddq_f32(a.v, b.v)}; }
static inline V operator-(V a, V b) { return {vsubq_f32(a.v, b.v)}; }
static inline V operator*(V a, V b) { return {vmulq_f32(a.v, b.v)}; }
static inline V operator/(V a, V b) { return {vdivq_f32(a.v, b.v)}; }
static inline V max(V a, V b) { return {vmaxq_f32(a.v, b.v)}; }
static inline V abs(V a) { return {vabsq_f32(a.v)}; }
static inline V round(V a) { return {vrndnq_f32(a.v)}; }
static inline V ldexp(V a, V n) {
    const int32x4_t exponent = vshlq_n_s32(vcvtq_s32_f32(n.v), 23);
    return {vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a.v), exponent))};
}
static inline V copysign(V size, V sign) { return {vbslq_f32(vdupq_n_u32(0x80000000u), sign.v, size.v)}; }
static inline void store_half(half* p, V a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a.v))); }
struct I { int32x4_t v; };
static inline I zeros() { return {vdupq_n_s32(0)}; }
static inline I load_ints(const int32_t* p) { return {vld1q_s32(p)}; }
static inline void store_ints(int32_t* p, I a) { vst1q_s32(p, a.v); }
static inline I splat_ints(int32_t a) { return {vdupq_n_s32(a)}; }
static inline I add_pairs(I a, I b, I c) {
    const int16x8_t x = vreinterpretq_s16_s32(a.v), y = vreinterpretq_s16_s32(b.v);
    const int32x4_t low = vmull_s16(vget_low_s16(x), vget_low_s16(y)), high = vmull_high_s16(x, y);
    return {vaddq_s32(c.v, vpaddq_s32(low, high))};
}

#else  // portable: loops that a compiler turns into whatever the processor has

#if !defined(MSM3D_WIDTH)
#define MSM3D_WIDTH 4
#endif
constexpr int W = MSM3D_WIDTH, ROWS = 6, COLS = 2;
#if defined(__GNUC__)  // the compiler's own vectors stay in registers; an array often does not
typedef float Lanes __attribute__((vector_size(4 * MSM3D_WIDTH)));
struct V { Lanes v; };
#else
struct V { float v[W]; };
#endif
static inline V load(const float* p) {
    V a;
    memcpy(&a, p, sizeof a);
    return a;
}
static inline void store(float* p, V a) { memcpy(p, &a, sizeof a); }
static inline void stream(float* p, V a) { store(p, a); }
#define MSM3D_LANES(expression)   \
    V r;                          \
    for (int i = 0; i < W; i++) { \
        r.v[i] = (expression);    \
    }                             \
    return r;
static inline float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static inline uint32_t to_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static inline V splat(float a) { MSM3D_LANES(a) }
#if defined(__GNUC__)
static inline V operator+(V a, V b) { return {a.v + b.v}; }
static inline V operator-(V a, V b) { return {a.v - b.v}; }
static inline V operator*(V a, V b) { return {a.v * b.v}; }
static inline V operator/(V a, V b) { return {a.v / b.v}; }
#else
static inline V operator+(V a, V b) { MSM3D_LANES(a.v[i] + b.v[i]) }
static inline V operator-(V a, V b) { MSM3D_LANES(a.v[i] - b.v[i]) }
static inline V operator*(V a, V b) { MSM3D_LANES(a.v[i] * b.v[i]) }
static inline V operator/(V a, V b) { MSM3D_LANES(a.v[i] / b.v[i]) }
#endif
static inline V fma(V a, V b, V c) { return a * b + c; }  // fmaf is a slow call where there is no such instruction
static inline V max(V a, V b) { MSM3D_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]) }
static inline V abs(V a) { MSM3D_LANES(fabsf(a.v[i])) }
static inline V round(V a) { MSM3D_LANES(rintf(a.v[i])) }
static inline V ldexp(V a, V n) { MSM3D_LANES(from_bits(to_bits(a.v[i]) + (uint32_t(int32_t(n.v[i])) << 23))) }
static inline V copysign(V size, V sign) { MSM3D_LANES(copysignf(size.v[i], sign.v[i])) }
static inline half to_half(float f) {  // to nearest, ties to even
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    const uint32_t sign = u >> 16 & 0x8000u, size = u & 0x7fffffffu;
    if (size > 0x7f800000u) return half(sign | 0x7e00u);
    if (size >= 0x477ff000u) return half(sign | 0x7c00u);
    if (size < 0x38800000u) {  // below the normal numbers: adding 1/2 leaves the rounded digits at the end
        uint32_t digits;
        const float shifted = from_bits(size) + 0.5f;
        memcpy(&digits, &shifted, sizeof digits);
        return half(sign | (digits - 0x3f000000u));
    }
    return half(sign | ((size - 0x38000000u + 0xfffu + (size >> 13 & 1)) >> 13));
}
static inline void store_half(half* p, V a) {
    for (int i = 0; i < W; i++) p[i] = to_half(a.v[i]);
}
struct I { int32_t v[W]; };
static inline I zeros() { return {}; }
static inline I load_ints(const int32_t* p) {
    I a;
    memcpy(&a, p, sizeof a);
    return a;
}
static inline void store_ints(int32_t* p, I a) { memcpy(p, &a, sizeof a); }
static inline I splat_ints(int32_t a) {
    I r;
    for (int i = 0; i < W; i++) r.v[i] = a;
    return r;
}
static inline I add_pairs(I a, I b, I c) {
    int16_t x[2 * W], y[2 * W];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < W; i++) c.v[i] += int32_t(x[2 * i]) * y[2 * i] + int32_t(x[2 * i + 1]) * y[2 * i + 1];
    return c;
}

#endif

// --- the same for every set -----------------------------------------------------------------------------------------

static_assert((W & (W - 1)) == 0 && W <= 16, "a line of the cache holds whole vectors");
static_assert(ROWS % 3 == 0, "attention takes its queries in groups of three");

#if defined(MSM3D_AVX512)
static inline float sum(V a) { return _mm512_reduce_add_ps(a.v); }
static inline float largest(V a) { return _mm512_reduce_max_ps(a.v); }
#elif defined(MSM3D_AVX2)
static inline float sum(V a) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
static inline float largest(V a) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
#else
static inline float sum(V a) {
    float lanes[W];
    store(lanes, a);
    for (int width = W / 2; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    }
    return lanes[0];
}

static inline float largest(V a) {
    float lanes[W];
    store(lanes, a);
    for (int i = 1; i < W; i++) lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
    return lanes[0];
}
#endif

// Turns a square of W vectors: lane i of vector j becomes lane j of vector i.
#if defined(MSM3D_AVX2)
static inline void transpose(V (&x)[8]) {
    V pairs[8], fours[8];
    UNROLLED(i, 4) {
        pairs[2 * i] = {_mm256_unpacklo_ps(x[2 * i].v, x[2 * i + 1].v)};
        pairs[2 * i + 1] = {_mm256_unpackhi_ps(x[2 * i].v, x[2 * i + 1].v)};
    }
    UNROLLED(i, 4) {
        const __m256 a = pairs[i / 2 * 4 + i % 2].v, b = pairs[i / 2 * 4 + i % 2 + 2].v;
        fours[i / 2 * 4 + i % 2 * 2] = {_mm256_shuffle_ps(a, b, 0x44)};
        fours[i / 2 * 4 + i % 2 * 2 + 1] = {_mm256_shuffle_ps(a, b, 0xee)};
    }
    UNROLLED(i, 4) {
        x[i] = {_mm256_permute2f128_ps(fours[i].v, fours[i + 4].v, 0x20)};
        x[i + 4] = {_mm256_permute2f128_ps(fours[i].v, fours[i + 4].v, 0x31)};
    }
}
#else
static inline void transpose(V (&x)[W]) {
    float from[W * W], to[W * W];
    for (int i = 0; i < W; i++) store(from + i * W, x[i]);
    for (int i = 0; i < W; i++) {
        for (int j = 0; j < W; j++) to[i * W + j] = from[j * W + i];
    }
    for (int i = 0; i < W; i++) x[i] = load(to + i * W);
}
#endif

// 2**x where |x| <= 100 is known, to 2e-7 relative, of N vectors step by step: none waits for its own last step.
template <int N> static inline void exp2_tame(V (&x)[N]) {
    V n[N], p[N];
    UNROLLED(i, N) n[i] = round(x[i]);
    UNROLLED(i, N) x[i] = x[i] - n[i];
    UNROLLED(i, N) p[i] = fma(splat(1.32647273e-3f), x[i], splat(9.67151299e-3f));
    UNROLLED(i, N) p[i] = fma(p[i], x[i], splat(5.55073358e-2f));
    UNROLLED(i, N) p[i] = fma(p[i], x[i], splat(2.40222424e-1f));
    UNROLLED(i, N) p[i] = fma(p[i], x[i], splat(6.93147004e-1f));
    UNROLLED(i, N) x[i] = ldexp(fma(p[i], x[i], splat(1.0f)), n[i]);
}
// 0 from -100 on: what is masked must not be a tiny number, whose products are denormal and slow.
static inline V exp2(V x) {
    V p[1] = {max(splat(-100.0f), x)};  // in this order a NaN comes through
    exp2_tame(p);
    return p[0] - splat(0x1p-100f);
}

// x times the normal distribution's share below x, and its slope. Abramowitz and Stegun 7.1.26: 1.5e-7 absolute.
struct Gelu { V value, slope; };
static inline Gelu gelu(V x) {
    const V a = abs(x) * splat(0.70710678f);
    const V bell = exp2(a * a * splat(-1.44269504f));
    const V t = splat(1.0f) / fma(a, splat(0.3275911f), splat(1.0f));
    V p = splat(1.061405429f);
    p = fma(p, t, splat(-1.453152027f));
    p = fma(p, t, splat(1.421413741f));
    p = fma(p, t, splat(-0.284496736f));
    p = fma(p, t, splat(0.254829592f));
    const V erf = copysign(splat(1.0f) - p * t * bell, x);
    const V share = fma(splat(0.5f), erf, splat(0.5f));
    return {x * share, fma(x * bell, splat(0.39894228f), share)};
}

// To nearest, ties to even; a NaN stays one.
static inline bf16 to_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u) return bf16(u >> 16 | 0x40);
    return bf16((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float from_bf16(bf16 b) {
    const uint32_t u = uint32_t(b) << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

template <class T> static inline T smaller(T a, T b) { return a < b ? a : b; }
template <class T> static inline T larger(T a, T b) { return a > b ? a : b; }
static constexpr int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }
static constexpr int64_t padded(int64_t n, int64_t size) { return blocks(n, size) * size; }

}  // namespace MSM3D_ISA
}  // namespace msm3d
