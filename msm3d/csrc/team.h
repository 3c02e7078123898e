// Threads for the kernels: those of the OpenMP runtime that is in the process already, which is torch's.
//
// The library is not linked to a runtime: every wheel of torch carries its own, on most systems under a name of its
// own, and two in a process take each other's cores, or end it (macOS). team.cpp looks for what is loaded, and works
// with one thread where there is none. So no compiler needs to know OpenMP.
#pragma once
#include <stdint.h>

#include <atomic>

namespace msm3d {

// What one thread knows of those that work together.
class Team {
public:
    int64_t size, number;

    // Waits for the others.
    void wait();

    // Calls work(i) for the thread's part of n; the parts are alike, one after the other.
    template <class Work> void share(int64_t n, const Work& work) const {
        const int64_t each = n / size, more = n % size;
        const int64_t first = number * each + (number < more ? number : more), last = first + each + (number < more);
        for (int64_t i = first; i < last; i++) work(i);
    }

    // Calls work(i) for all i below n, `chunk` at a time for whoever is free. Wait between two queues.
    template <class Work> void queue(int64_t n, int64_t chunk, const Work& work) {
        const int64_t chunks = (n + chunk - 1) / chunk;
        for (int64_t next; (next = take()) < chunks;) {
            const int64_t last = (next + 1) * chunk < n ? (next + 1) * chunk : n;
            for (int64_t i = next * chunk; i < last; i++) work(i);
        }
        taken += chunks + size;  // each thread has asked once in vain
    }

    // Calls call(team, work) in as many threads as there are, `threads` at most, and waits for them.
    static void run(int64_t threads, void (*call)(Team&, const void*), const void* work);

private:
    struct Shared;
    friend struct Shared;
    Shared* shared;
    int64_t taken;  // of what the queues so far have handed out

    int64_t take();
    Team(int64_t size, int64_t number, Shared* shared) : size(size), number(number), shared(shared), taken(0) {}
};

// Calls work(team) in each of the threads.
template <class Work> static inline void in_threads(int64_t threads, const Work& work) {
    Team::run(threads, [](Team& team, const void* all) { (*static_cast<const Work*>(all))(team); }, &work);
}

// Calls work(i) for all i below n, a part in each of the threads.
template <class Work> static inline void in_parts(int64_t threads, int64_t n, const Work& work) {
    in_threads(threads, [&](Team& team) { team.share(n, work); });
}

// An error that any of the threads may set.
class Failure {
public:
    void operator=(int32_t error);
    operator int32_t() const;

private:
    std::atomic<int32_t> code{0};
};

}  // namespace msm3d
