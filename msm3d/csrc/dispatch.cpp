// The exported functions: choice of the instruction set, and workspace.
#include <stdlib.h>

#include <memory>
#include <string>

#include "abi.h"

#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#endif
#if defined(_WIN32)
#include <malloc.h>
#endif

#if defined(MSM3D_HAS_X86) && !defined(_MSC_VER)
#include <cpuid.h>
#endif
#if defined(MSM3D_HAS_AMX)
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

#if defined(MSM3D_HAS_X86)
// Asked of the processor itself: compilers differ in which names they know.
struct Registers { unsigned a, b, c, d; };

static Registers cpuid(int leaf, int part) {
    Registers r;
#if defined(_MSC_VER)
    int all[4];
    __cpuidex(all, leaf, part);
    r = {unsigned(all[0]), unsigned(all[1]), unsigned(all[2]), unsigned(all[3])};
#else
    __cpuid_count(leaf, part, r.a, r.b, r.c, r.d);
#endif
    return r;
}

// Whether the system saves all the registers of `mask`.
static bool saves(unsigned mask) {
    if (!(cpuid(1, 0).c >> 27 & 1)) return false;
#if defined(_MSC_VER)
    return (unsigned(_xgetbv(0)) & mask) == mask;
#else
    unsigned low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & mask) == mask;
#endif
}

static bool has(Isa isa) {
    const auto bit = [](unsigned bits, int at) { return bool(bits >> at & 1); };
    if (cpuid(0, 0).a < 7) return false;
    const Registers old = cpuid(1, 0), more = cpuid(7, 0);
    const bool avx2 = saves(0x6) && bit(old.c, 12) && bit(old.c, 29) && bit(more.b, 5);  // with fma and f16c
    const bool avx512 = avx2 && saves(0xe6) && bit(more.b, 16) && bit(more.b, 17) && bit(more.b, 30) && bit(more.b, 31);
    if (isa == AVX2) return avx2;
    if (isa == AVX512) return avx512;
    const bool bf16 = avx512 && more.a >= 1 && bit(cpuid(7, 1).a, 5);
    return isa == AVX512BF16 ? bf16 : bf16 && saves(0x60000) && bit(more.d, 22) && bit(more.d, 24);
}
#endif

#if defined(MSM3D_HAS_AMX)
// Linux must be asked for the tiles.
static bool has_amx() {
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return has(AMX) && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

struct Sets {
    const Kernels* of[ISAS] = {};
    Sets() {
        of[PORTABLE] = &portable::kernels;
#if defined(MSM3D_HAS_NEON)
        of[NEON] = &neon::kernels;
#endif
#if defined(MSM3D_HAS_X86)
        if (has(AVX2)) of[AVX2] = &avx2::kernels;
        if (has(AVX512)) of[AVX512] = &avx512::kernels;
#endif
#if defined(MSM3D_HAS_BF16)
        if (has(AVX512BF16)) of[AVX512BF16] = &avx512bf16::kernels;
#endif
#if defined(MSM3D_HAS_AMX)
        if (has_amx()) of[AMX] = &amx::kernels;
#endif
    }
};

static const Kernels* kernels(int64_t isa) {
    static const Sets sets;  // asked once: on a virtual machine each question goes to the host
    return isa >= 0 && isa < ISAS ? sets.of[isa] : nullptr;
}

#if defined(_WIN32)
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
    if (f.channels < 0 || f.activation < NONE || f.activation > GEGLU) return false;
    if (f.norm < NO_NORM || f.norm > LAYERNORM) return false;
    return f.activation != GEGLU || f.channels % 2 == 0;
}

}  // namespace msm3d

using namespace msm3d;

MSM3D_EXPORT int64_t msm3d_abi(int64_t which) {
    constexpr int64_t all[] = {
        ABI,
        sizeof(Finish),
        sizeof(Pairs),
        sizeof(Product),
        sizeof(WeightGradient),
        sizeof(FinishGradient),
        sizeof(Attend),
        sizeof(Blend),
        sizeof(Nearest),
        sizeof(Entropy),
        PAIR_ROWS,
        BITS,
    };
    return which >= 0 && which < int64_t(sizeof all / sizeof *all) ? all[which] : -1;
}

MSM3D_EXPORT const char* msm3d_orders() {
    static const std::string all =
        std::string(Error_ORDER) + "; " + Activation_ORDER + "; " + Norm_ORDER + "; " + Dtype_ORDER + "; " + Isa_ORDER;
    return all.c_str();
}

MSM3D_EXPORT int32_t msm3d_has(int64_t isa) { return kernels(isa) != nullptr; }

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

MSM3D_EXPORT int32_t msm3d_inverse_rms(int64_t isa, int64_t threads, int64_t n, int64_t c, float eps,
                                       const float* input, float* out) {
    const Kernels* set = kernels(isa);
    if (!set) return NO_SUCH_ISA;
    if (threads < 1 || n < 0 || c < 1) return BAD_ARGUMENT;
    return set->inverse_rms(threads, n, c, eps, input, out);
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

static bool good(const Nearest& a) {
    if (a.threads < 1 || a.n < 0 || a.k < 1 || a.k > a.m || a.m > INT32_MAX || a.c < 1) return false;
    if (a.parts < 1 || a.choices < 1 || a.ends[a.parts - 1] > a.c) return false;
    for (int64_t part = 0; part < a.parts; part++) {
        if (a.ends[part] < (part ? a.ends[part - 1] : 0)) return false;
    }
    return true;
}

MSM3D_EXPORT int32_t msm3d_nearest(int64_t isa, const Nearest* a) {
    const Kernels* set = kernels(isa);
    return !set ? NO_SUCH_ISA : !good(*a) ? BAD_ARGUMENT : nearest(*set, *a);
}

static int32_t checked(const Entropy& a) {
    if (a.threads < 1 || a.n < 0 || a.m < 1 || a.c < 1 || a.d < 1 || (!a.rows && a.n != a.m)) return BAD_ARGUMENT;
    for (int64_t i = 0; i < a.m; i++) {
        const int64_t row = a.rows ? a.rows[i] : i;
        if (row < 0 || row >= a.n || a.labels[row] < 0 || a.labels[row] >= a.d) return NO_SUCH_LABEL;
    }
    return OK;
}

MSM3D_EXPORT int32_t msm3d_entropy(int64_t isa, const Entropy* a) {
    const Kernels* set = kernels(isa);
    if (!set) return NO_SUCH_ISA;
    const int32_t wrong = checked(*a);
    return wrong ? wrong : set->entropy(*a);
}

MSM3D_EXPORT double msm3d_multiply_add(int64_t isa, int64_t threads, int64_t repeats) {
    const Kernels* set = kernels(isa);
    return set && threads >= 1 ? set->multiply_add(threads, repeats) : 0.0;
}
