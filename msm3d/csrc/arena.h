// Memory of a call: the calling thread's workspace, cut into arrays.
#pragma once
#include "abi.h"
#include "simd.h"
#include "team.h"

namespace msm3d {
namespace MSM3D_ISA {

// Cuts memory into arrays, each from the start of a line of the cache on; without memory, only learns how much it
// takes.
struct Arena {
    char* base;
    int64_t used;
    template <class T> T* take(int64_t count) {
        T* array = base ? reinterpret_cast<T*>(base + used) : nullptr;
        used += padded(count * int64_t(sizeof(T)), LINE);
        return array;
    }
};

// Returns run(cut(arena)), or NO_MEMORY. `cut` takes its arrays from the arena, and is called once before to learn the
// size: it must not touch them.
template <class Cut, class Run> static inline int32_t with_workspace(const Cut& cut, const Run& run) {
    Arena arena{};
    cut(arena);
    arena = {static_cast<char*>(workspace(arena.used)), 0};
    if (!arena.base) return NO_MEMORY;
    return run(cut(arena));
}

// The same with arrays of each thread's own: returns run(own), where own(team) gives a thread of the team what `cut`
// returns.
template <class Cut, class Run>
static inline int32_t with_workspaces(int64_t threads, const Cut& cut, const Run& run) {
    Arena one{};
    cut(one);
    const auto all = [&](Arena& arena) { return arena.take<char>(threads * one.used); };
    return with_workspace(all, [&](char* base) {
        return run([&](const Team& team) {
            Arena own{base + team.number * one.used, 0};
            return cut(own);
        });
    });
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
