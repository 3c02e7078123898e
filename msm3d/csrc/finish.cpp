// Finishing on its own, and its gradients: everything is computed again from the sums, row by row, in one pass.
#include "finish.h"

namespace msm3d {
namespace MSM3D_ISA {

int32_t finish(const FinishGradient& a, float* out) {
    Arena arena{};
    for (int pass = 0; pass < 2; pass++) {
        Finisher finisher = Finisher::cut(a.finish, arena);
        float* lines = arena.take<float>(a.threads * padded(finisher.line(), 16));
        if (pass == 0) {
            arena = {static_cast<char*>(workspace(arena.used)), 0};
            if (!arena.base) return NO_MEMORY;
            continue;
        }
        finisher.fill(a.finish);
#pragma omp parallel num_threads(int(a.threads))
        {
            float* line = lines + thread() * padded(finisher.line(), 16);
            memset(line, 0, size_t(finisher.line()) * sizeof(float));
#pragma omp for schedule(static)
            for (int64_t i = 0; i < a.n; i++) {
                memcpy(line, a.x + i * finisher.d, size_t(finisher.d) * sizeof(float));
                for (int64_t j = finisher.d; j < finisher.wide_d; j++) line[j] = 0.0f;
                const float* residual = a.finish.residual;
                finisher.row(line, residual ? residual + i * finisher.e : nullptr, out + i * finisher.e);
            }
        }
    }
    return OK;
}

// Rows whose sums for the parameters are added up together: the sums do not depend on the number of threads.
constexpr int64_t CHUNK = 512;

// Column sums of one chunk, each `wide` long, and lines for one row.
struct Sums { float *bias, *scale, *shift, *gamma; };
struct Lines { float *u, *v, *g; };

static void gradient_row(const FinishGradient& a, const Finisher& f, int64_t i, Lines l, Sums sums) {
    const Finish& finish = a.finish;
    const float* grad = a.grad_out + i * f.e;
    memcpy(l.u, a.x + i * f.d, size_t(f.d) * sizeof(float));
    for (int64_t j = f.d; j < f.line(); j++) l.u[j] = 0.0f;
    for (int64_t j = 0; f.bias && j < f.wide_d; j += W) store(l.u + j, load(l.u + j) + load(f.bias + j));
    memcpy(l.v, l.u, size_t(f.line()) * sizeof(float));
    Finisher unbiased = f;
    unbiased.bias = nullptr;
    unbiased.activate(l.v);
    const Statistics s = f.measure(l.v);

    // Down to the values after the activation: g = grad * scale, and the two sums that a norm's gradient needs.
    float dot = 0.0f, mean = 0.0f;
    for (int64_t j = 0; j < f.e; j++) {
        const float normal = (l.v[j] - s.mean) * s.inverse;
        const float gamma = finish.gamma ? finish.gamma[j] : 1.0f, scale = finish.scale ? finish.scale[j] : 1.0f;
        if (sums.gamma) sums.gamma[j] += grad[j] * (normal * scale + (finish.shift ? finish.shift[j] : 0.0f));
        if (sums.scale) sums.scale[j] += grad[j] * gamma * normal;
        if (sums.shift) sums.shift[j] += grad[j] * gamma;
        l.g[j] = grad[j] * gamma * scale;
    }
    for (int64_t j = f.e; j < f.wide_e; j++) l.g[j] = 0.0f;
    if (f.norm != NO_NORM) {
        V dots = splat(0.0f), means = splat(0.0f);
        for (int64_t j = 0; j < f.wide_e; j += W) {
            dots = fma(load(l.g + j), (load(l.v + j) - splat(s.mean)) * splat(s.inverse), dots);
            means = means + load(l.g + j);
        }
        dot = sum(dots) / float(f.e);
        mean = f.norm == LAYERNORM ? sum(means) / float(f.e) : 0.0f;
        // RMSNorm adds eps to the root itself, so its slope has one factor of the root alone.
        if (f.norm == RMSNORM) dot = s.rms > 0.0f ? dot / (s.rms * s.inverse) : 0.0f;
        for (int64_t j = 0; j < f.wide_e; j += W) {
            const V normal = (load(l.v + j) - splat(s.mean)) * splat(s.inverse);
            store(l.g + j, splat(s.inverse) * (load(l.g + j) - splat(mean) - normal * splat(dot)));
        }
    }

    // Down to the sums: l.u becomes their gradient.
    if (f.activation == GELU) {
        for (int64_t j = 0; j < f.wide_e; j += W) store(l.u + j, load(l.g + j) * gelu(load(l.u + j)).slope);
    } else if (f.activation == GEGLU) {
        // The values go to l.v first: vectors of the second half overlap the end of the first when e is no multiple of W.
        memcpy(l.v, l.u + f.e, size_t(f.e) * sizeof(float));
        for (int64_t j = f.e; j < f.wide_e; j++) l.v[j] = 0.0f;
        float* value = l.v;
        for (int64_t j = 0; j < f.wide_e; j += W) {
            const Gelu gate = gelu(load(l.u + j));
            const V g = load(l.g + j);
            store(l.u + j, g * load(value + j) * gate.slope);
            store(value + j, g * gate.value);
        }
        memcpy(l.u + f.e, value, size_t(f.e) * sizeof(float));
    } else {
        memcpy(l.u, l.g, size_t(f.e) * sizeof(float));
    }
    for (int64_t j = 0; sums.bias && j < f.d; j++) sums.bias[j] += l.u[j];
    if (a.grad_x) memcpy(a.grad_x + i * f.d, l.u, size_t(f.d) * sizeof(float));
}

int32_t finish_gradient(const FinishGradient& a) {
    const int64_t chunks = blocks(a.n, CHUNK);
    Arena arena{};
    for (int pass = 0; pass < 2; pass++) {
        Finisher finisher = Finisher::cut(a.finish, arena);
        const int64_t wide = padded(finisher.line(), 16);
        float* lines = arena.take<float>(a.threads * 3 * wide);
        float* sums = arena.take<float>(chunks * 4 * wide);
        if (pass == 0) {
            arena = {static_cast<char*>(workspace(arena.used)), 0};
            if (!arena.base) return NO_MEMORY;
            continue;
        }
        finisher.fill(a.finish);
#pragma omp parallel for schedule(dynamic, 1) num_threads(int(a.threads))
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            float *line = lines + thread() * 3 * wide, *first = sums + chunk * 4 * wide;
            memset(first, 0, size_t(4 * wide) * sizeof(float));
            const Sums parts = {a.grad_bias ? first : nullptr, a.grad_scale ? first + wide : nullptr,
                                a.grad_shift ? first + 2 * wide : nullptr, a.grad_gamma ? first + 3 * wide : nullptr};
            for (int64_t i = chunk * CHUNK; i < smaller(a.n, (chunk + 1) * CHUNK); i++) {
                gradient_row(a, finisher, i, {line, line + wide, line + 2 * wide}, parts);
            }
        }
        float* grads[4] = {a.grad_bias, a.grad_scale, a.grad_shift, a.grad_gamma};
        for (int which = 0; which < 4; which++) {
            const int64_t width = which == 0 ? finisher.d : finisher.e;
            for (int64_t j = 0; grads[which] && j < width; j++) grads[which][j] = 0.0f;
            for (int64_t chunk = 0; grads[which] && chunk < chunks; chunk++) {
                const float* part = sums + (chunk * 4 + which) * wide;
                for (int64_t j = 0; j < width; j++) grads[which][j] += part[j];
            }
        }
    }
    return OK;
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
