// The exported functions: choice of the instruction set, and workspace.
#include <stdlib.h>

#include <memory>

#include "abi.h"

#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#include <malloc.h>
#endif

#if defined(MSM3D_HAS_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if !defined(MSM3D_KEPT)
#define MSM3D_KEPT (int64_t(64) << 20)
#endif

namespace msm3d {

namespace portable {
extern const Kernels kernels;
}
#if defined(MSM3D_HAS_X86)
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
#endif
#if defined(MSM3D_HAS_BF16)
namespace avx512bf16 {
extern const Kernels kernels;
}
#endif
#if defined(MSM3D_HAS_AMX)
namespace amx {
extern const Kernels kernels;
}
#endif
#if defined(MSM3D_HAS_NEON)
namespace neon {
extern const Kernels kernels;
}
#endif

#if defined(MSM3D_HAS_X86) && defined(_MSC_VER)
// What GCC and clang offer as __builtin_cpu_supports: the processor has it, and the system saves its registers.
static bool has(Isa isa) {
    int leaf[4], more[4], last[4] = {};
    __cpuid(leaf, 1);
    __cpuidex(more, 7, 0);
    if (more[0] >= 1) __cpuidex(last, 7, 1);
    const bool saved = leaf[2] >> 27 & 1;
    const unsigned long long state = saved ? _xgetbv(0) : 0;
    const bool avx2 = (state & 6) == 6 && (leaf[2] >> 12 & 1) && (leaf[2] >> 29 & 1) && (more[1] >> 5 & 1);
    const bool avx512 = avx2 && (state & 0xe6) == 0xe6 && (more[1] >> 16 & 1) && (more[1] >> 17 & 1) &&
                        (more[1] >> 30 & 1) && (more[1] >> 31 & 1);
    return isa == AVX2 ? avx2 : isa == AVX512 ? avx512 : avx512 && (last[0] >> 5 & 1);
}
#elif defined(MSM3D_HAS_X86)
static bool has(Isa isa) {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#if defined(MSM3D_HAS_BF16)
    const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
#else
    const bool bf16 = false;
#endif
    return isa == AVX2 ? avx2 : isa == AVX512 ? avx512 : bf16;
}
#endif

#if defined(MSM3D_HAS_AMX)
// The processor has tiles of bfloat16, the system saves them, and this process may use them: Linux must be asked.
static bool has_amx() {
    if (!has(AVX512BF16)) return false;
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1)) return false;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return (low >> 17 & 3) == 3 && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

static const Kernels* kernels(int64_t isa) {
    switch (isa) {
        case PORTABLE: return &portable::kernels;
#if defined(MSM3D_HAS_NEON)
        case NEON: return &neon::kernels;
#endif
#if defined(MSM3D_HAS_X86)
        case AVX2: return has(AVX2) ? &avx2::kernels : nullptr;
        case AVX512: return has(AVX512) ? &avx512::kernels : nullptr;
#endif
#if defined(MSM3D_HAS_BF16)
        case AVX512BF16: return has(AVX512BF16) ? &avx512bf16::kernels : nullptr;
#endif
#if defined(MSM3D_HAS_AMX)
        case AMX: {
            static const bool there = has_amx();
            return there ? &amx::kernels : nullptr;
        }
#endif
        default: return nullptr;
    }
}

#if defined(_MSC_VER)
struct Free {
    void operator()(void* memory) const { _aligned_free(memory); }
};
static void* allocate(size_t bytes) { return _aligned_malloc(bytes, 64); }
#else
struct Free {
    void operator()(void* memory) const { free(memory); }
};
static void* allocate(size_t bytes) {
    void* memory = nullptr;
    return posix_memalign(&memory, 64, bytes) == 0 ? memory : nullptr;
}
#endif

void* workspace(int64_t bytes) {
    constexpr int64_t KEPT = MSM3D_KEPT;  // more than that is not held between calls
    static thread_local std::unique_ptr<void, Free> memory;
    static thread_local int64_t size = 0;
    if (bytes < 64) bytes = 64;
    if (bytes > size || size > KEPT) {
        memory.reset();
        size = 0;
        memory.reset(allocate(size_t(bytes + 63) / 64 * 64));
        if (memory) size = bytes;
    }
    return memory.get();
}

static bool good(const Finish& f) {
    if (f.channels < 0 || f.activation < NONE || f.activation > GEGLU || f.norm < NO_NORM || f.norm > LAYERNORM) return false;
    return f.activation != GEGLU || f.channels % 2 == 0;
}

}  // namespace msm3d

using namespace msm3d;

MSM3D_EXPORT int32_t msm3d_has(int64_t isa) { return kernels(isa) != nullptr; }

// Whether a plainer set is faster: Intel's processors take the dot product of bfloat16 at a fraction of their speed.
MSM3D_EXPORT int32_t msm3d_slow(int64_t isa) {
#if defined(MSM3D_HAS_BF16)
    return isa == AVX512BF16 && __builtin_cpu_is("intel");
#else
    return isa < 0;
#endif
}

MSM3D_EXPORT int32_t msm3d_product(int64_t isa, const Product* a) {
    const Kernels* set = kernels(isa);
    if (!set) return NO_SUCH_ISA;
    if (a->threads < 1 || a->n < 0 || a->m < 0 || a->k < 1 || a->c < 1 || !good(a->finish)) return BAD_ARGUMENT;
    if (a->finish.channels == 0 || (!a->pairs.slots && (a->k != 1 || a->m > a->n))) return BAD_ARGUMENT;
    return set->product(*a);
}

MSM3D_EXPORT int32_t msm3d_weight_gradient(int64_t isa, const WeightGradient* a) {
    const Kernels* set = kernels(isa);
    if (!set) return NO_SUCH_ISA;
    if (a->threads < 1 || a->n < 0 || a->m < 0 || a->k < 1 || a->c < 1 || a->d < 1) return BAD_ARGUMENT;
    if (!a->pairs.slots && (a->k != 1 || a->m > a->n)) return BAD_ARGUMENT;
    return set->weight_gradient(*a);
}

MSM3D_EXPORT int32_t msm3d_finish(int64_t isa, const FinishGradient* a, float* out) {
    const Kernels* set = kernels(isa);
    if (!set) return NO_SUCH_ISA;
    if (a->threads < 1 || a->n < 0 || !good(a->finish)) return BAD_ARGUMENT;
    return set->finish(*a, out);
}

MSM3D_EXPORT int32_t msm3d_finish_gradient(int64_t isa, const FinishGradient* a) {
    const Kernels* set = kernels(isa);
    if (!set) return NO_SUCH_ISA;
    if (a->threads < 1 || a->n < 0 || !good(a->finish)) return BAD_ARGUMENT;
    return set->finish_gradient(*a);
}

// out[i]: what a norm by the root mean square multiplies row i of x (n, c) by.
MSM3D_EXPORT int32_t msm3d_inverse_rms(int64_t isa, int64_t threads, int64_t n, int64_t c, const float* x, float* out) {
    const Kernels* set = kernels(isa);
    if (!set) return NO_SUCH_ISA;
    if (threads < 1 || n < 0 || c < 1) return BAD_ARGUMENT;
    return set->inverse_rms(threads, n, c, x, out);
}

static bool good(const Attend& a) {
    if (a.threads < 1 || a.n < 0 || a.h < 1 || a.e < 1 || a.scenes < 0 || a.window < 0) return false;
    if (!(a.dropout >= 0.0 && a.dropout < 1.0)) return false;
    for (int64_t scene = 0; scene < a.scenes; scene++) {
        if (a.offsets[scene] > a.offsets[scene + 1]) return false;
    }
    return a.offsets[0] == 0 && a.offsets[a.scenes] == a.n;
}

MSM3D_EXPORT int32_t msm3d_attend(int64_t isa, const Attend* a) {
    const Kernels* set = kernels(isa);
    return !set ? NO_SUCH_ISA : !good(*a) ? BAD_ARGUMENT : set->attend(*a);
}

MSM3D_EXPORT int32_t msm3d_attend_gradient(int64_t isa, const Attend* a) {
    const Kernels* set = kernels(isa);
    return !set ? NO_SUCH_ISA : !good(*a) ? BAD_ARGUMENT : set->attend_gradient(*a);
}

static bool good(const Blend& a) {
    if (a.threads < 1 || a.n < 0 || a.m < 0 || a.levels < 1 || (!a.owner && a.n != a.m)) return false;
    for (int64_t level = 0; level < a.levels; level++) {
        if (a.rows[level] < 0 || a.channels[level] < 1 || a.counts[level] < 0 || a.counts[level] > 8) return false;
    }
    return a.dtype >= FLOAT32 && a.dtype <= FLOAT16;
}

MSM3D_EXPORT int32_t msm3d_blend(int64_t isa, const Blend* a) {
    const Kernels* set = kernels(isa);
    return !set ? NO_SUCH_ISA : !good(*a) ? BAD_ARGUMENT : set->blend(*a);
}

MSM3D_EXPORT int32_t msm3d_blend_gradient(int64_t isa, const Blend* a) {
    const Kernels* set = kernels(isa);
    return !set ? NO_SUCH_ISA : !good(*a) ? BAD_ARGUMENT : set->blend_gradient(*a);
}

MSM3D_EXPORT double msm3d_multiply_add(int64_t isa, int64_t threads, int64_t repeats) {
    const Kernels* set = kernels(isa);
    return set && threads >= 1 ? set->multiply_add(threads, repeats) : 0.0;
}
