// The OpenMP runtime of the process, by two of its doors: GNU's, which LLVM's and Intel's have as well outside Windows,
// and LLVM's own.
#include "team.h"

#include <string.h>

#include <string>

#include "abi.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <dlfcn.h>
#endif
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#elif !defined(_WIN32)
#include <link.h>
#endif

namespace msm3d {

namespace {

// Where a parallel region stands in the source, as LLVM's runtime wants to be told.
struct Place {
    int32_t zero, flags, none, length;
    const char* names;
};
constexpr Place PLACE = {0, 2, 0, 0, ";msm3d;team;0;0;;"};

struct Runtime {
    std::string name;  // of its file; empty if there is none
    int32_t (*number)();
    int32_t (*size)();
    void (*gnu_run)(void (*)(void*), void*, unsigned, unsigned);
    void (*gnu_wait)();
    int32_t (*llvm_thread)(const Place*);
    void (*llvm_threads)(const Place*, int32_t, int32_t);
    void (*llvm_run)(const Place*, int32_t, void (*)(int32_t*, int32_t*, void*), ...);
    void (*llvm_wait)(const Place*, int32_t);

    bool usable() const { return number && size && ((gnu_run && gnu_wait) || llvm()); }
    bool llvm() const { return llvm_thread && llvm_threads && llvm_run && llvm_wait; }
};

#if defined(_WIN32)
using Handle = HMODULE;
static void* found(Handle library, const char* name) { return reinterpret_cast<void*>(GetProcAddress(library, name)); }
#else
using Handle = void*;
static void* found(Handle library, const char* name) { return dlsym(library, name); }
#endif

template <class F> static void find(F& function, Handle library, const char* name) {
    function = reinterpret_cast<F>(found(library, name));
}

static Runtime opened(Handle library, const char* name) {
    Runtime runtime{};
    if (!library) return runtime;
    runtime.name = name;
    find(runtime.number, library, "omp_get_thread_num");
    find(runtime.size, library, "omp_get_num_threads");
    find(runtime.gnu_run, library, "GOMP_parallel");
    find(runtime.gnu_wait, library, "GOMP_barrier");
    find(runtime.llvm_thread, library, "__kmpc_global_thread_num");
    find(runtime.llvm_threads, library, "__kmpc_push_num_threads");
    find(runtime.llvm_run, library, "__kmpc_fork_call");
    find(runtime.llvm_wait, library, "__kmpc_barrier");
    return runtime.usable() ? runtime : Runtime{};
}

#if defined(_WIN32)
static Runtime search() {
    for (const char* name : {"libiomp5md.dll", "libomp140.x86_64.dll", "libomp.dll"}) {
        Runtime runtime = opened(GetModuleHandleA(name), name);
        if (runtime.usable()) return runtime;
    }
    return {};
}
#else
// Whether a file is a runtime: 2 if it is torch's, of which other packages may have copies, else 1.
static int rank(const char* path) {
    const char* slash = strrchr(path, '/');
    const char* name = slash ? slash + 1 : path;
    bool is = false;
    for (const char* one : {"libgomp", "libomp", "libiomp5"}) {
        const char end = strncmp(name, one, strlen(one)) == 0 ? name[strlen(one)] : 0;
        is |= end == '.' || end == '-';
    }
    if (!is) return 0;
    for (const char* folder : {"/torch/lib/", "/torch/.dylibs/", "/torch.libs/"}) {
        const size_t length = strlen(folder);
        if (size_t(name - path) >= length && strncmp(name - length, folder, length) == 0) return 2;
    }
    return 1;
}

struct Best {
    std::string path;
    int rank;
    void see(const char* other) {
        if (msm3d::rank(other) > rank) *this = {other, msm3d::rank(other)};
    }
};

static Runtime search() {
    Best best{{}, 0};
#if defined(__APPLE__)
    for (uint32_t i = 0; i < _dyld_image_count(); i++) {
        if (const char* path = _dyld_get_image_name(i)) best.see(path);
    }
#else
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* data) {
            if (info->dlpi_name) static_cast<Best*>(data)->see(info->dlpi_name);
            return 0;
        },
        &best);
    if (best.rank == 0) best.path = "libgomp.so.1";  // a program without torch
    else
#endif
    if (best.rank == 0) return {};
    return opened(dlopen(best.path.c_str(), RTLD_LAZY | (best.rank ? RTLD_NOLOAD : 0)), best.path.c_str());
}
#endif

static const Runtime& runtime() {
    static const Runtime found = search();
    return found;
}

}  // namespace

struct Team::Shared {
    void (*call)(Team&, const void*);
    const void* work;
    std::atomic<int64_t> taken{0};

    void join(int64_t size, int64_t number) {
        Team team(size, number, this);
        call(team, work);
    }
};

void Team::run(int64_t threads, void (*call)(Team&, const void*), const void* work) {
    Shared shared{call, work};
    const Runtime& runtime = msm3d::runtime();
    if (threads < 2 || !runtime.usable()) {
        shared.join(1, 0);
    } else if (runtime.llvm()) {
        runtime.llvm_threads(&PLACE, runtime.llvm_thread(&PLACE), int32_t(threads));
        const auto join = [](int32_t*, int32_t* number, void* all) {
            static_cast<Shared*>(all)->join(msm3d::runtime().size(), *number);
        };
        runtime.llvm_run(&PLACE, 1, join, static_cast<void*>(&shared));
    } else {
        const auto join = [](void* all) {
            static_cast<Shared*>(all)->join(msm3d::runtime().size(), msm3d::runtime().number());
        };
        runtime.gnu_run(join, &shared, unsigned(threads), 0);
    }
}

void Team::wait() {
    if (size == 1) return;
    const Runtime& runtime = msm3d::runtime();
    if (runtime.llvm()) {
        runtime.llvm_wait(&PLACE, runtime.llvm_thread(&PLACE));
    } else {
        runtime.gnu_wait();
    }
}

int64_t Team::take() { return shared->taken.fetch_add(1, std::memory_order_relaxed) - taken; }

void Failure::operator=(int32_t error) { code.store(error, std::memory_order_relaxed); }

Failure::operator int32_t() const { return code.load(std::memory_order_relaxed); }

}  // namespace msm3d

MSM3D_EXPORT const char* msm3d_runtime() { return msm3d::runtime().name.c_str(); }
