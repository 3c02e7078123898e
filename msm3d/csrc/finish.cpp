// Finishing on its own, and its gradients: everything is computed again from the sums, row by row, in one pass.
#include "finish.h"

namespace msm3d {
namespace MSM3D_ISA {

int32_t finish(const FinishGradient& a, float* out) {
    struct Buffers {
        Finisher finisher;
        int64_t wide;
        float* lines;  // one of `wide` floats for each thread
    };
    const auto cut = [&](Arena& arena) {
        const Finisher finisher = Finisher::cut(a.finish, arena);
        const int64_t wide = padded(finisher.line(), 16);
        return Buffers{finisher, wide, arena.take<float>(a.threads * wide)};
    };
    return with_workspace(cut, [&](const Buffers& buffers) {
        const Finisher finisher = buffers.finisher;
        finisher.fill(a.finish);
        in_threads(a.threads, [&](Team& team) {
            float* line = buffers.lines + team.number * buffers.wide;
            memset(line, 0, size_t(finisher.line()) * sizeof(float));
            team.share(a.n, [&](int64_t i) {
                memcpy(line, a.input + i * finisher.d, size_t(finisher.d) * sizeof(float));
                for (int64_t j = finisher.d; j < finisher.wide_d; j++) line[j] = 0.0f;
                const float* residual = a.finish.residual;
                finisher.row(line, residual ? residual + i * finisher.e : nullptr, out + i * finisher.e);
            });
        });
        return OK;
    });
}

int32_t inverse_rms(int64_t threads, int64_t n, int64_t c, float eps, const float* input, float* out) {
    in_parts(threads, n, [&](int64_t i) { out[i] = 1.0f / (sqrtf(mean_square(input + i * c, c, 0.0f)) + eps); });
    return OK;
}

// Rows whose sums for the parameters are added up together: the sums do not depend on the number of threads.
constexpr int64_t CHUNK = 512;

// Column sums of one chunk, null where nobody asks; lines for one row; and the parameters apart from each other, in
// whole vectors, where Finisher has them multiplied.
struct Sums { float *bias, *scale, *shift, *gamma; };
struct Lines { float *u, *v, *g; };
struct Parameters { float *scale, *shift, *gamma; };

static inline void add(float* sums, int64_t j, V x) {
    if (sums) store(sums + j, load(sums + j) + x);
}

static void gradient_row(const FinishGradient& a, const Finisher& f, const Parameters& p, int64_t i, Lines l,
                         Sums sums) {
    memcpy(l.u, a.input + i * f.d, size_t(f.d) * sizeof(float));
    for (int64_t j = f.d; j < f.line(); j++) l.u[j] = 0.0f;
    for (int64_t j = 0; f.bias && j < f.wide_d; j += W) store(l.u + j, load(l.u + j) + load(f.bias + j));
    memcpy(l.v, l.u, size_t(f.line()) * sizeof(float));
    Finisher unbiased = f;
    unbiased.bias = nullptr;
    unbiased.activate(l.v);
    const Statistics s = f.measure(l.v);
    const V middle = splat(s.mean), inverse = splat(s.inverse);

    // Down to the values after the activation: g = grad * gamma * scale, and the two means of a norm's gradient.
    memcpy(l.g, a.grad_out + i * f.e, size_t(f.e) * sizeof(float));
    for (int64_t j = f.e; j < f.wide_e; j++) l.g[j] = 0.0f;
    V dots = splat(0.0f), means = splat(0.0f);
    for (int64_t j = 0; j < f.wide_e; j += W) {
        const V normal = (load(l.v + j) - middle) * inverse, scale = load(p.scale + j);
        const V grad = load(l.g + j), scaled = grad * load(p.gamma + j), g = scaled * scale;
        add(sums.gamma, j, grad * fma(normal, scale, load(p.shift + j)));
        add(sums.scale, j, scaled * normal);
        add(sums.shift, j, scaled);
        store(l.g + j, g);
        dots = fma(g, normal, dots);
        means = means + g;
    }
    if (f.norm != NO_NORM) {
        float dot = sum(dots) / float(f.e);
        const float mean = f.norm == LAYERNORM ? sum(means) / float(f.e) : 0.0f;
        // RMSNorm adds eps to the root itself, so its slope has one factor of the root alone.
        if (f.norm == RMSNORM) dot = s.rms > 0.0f ? dot / (s.rms * s.inverse) : 0.0f;
        for (int64_t j = 0; j < f.wide_e; j += W) {
            const V normal = (load(l.v + j) - middle) * inverse;
            store(l.g + j, inverse * (load(l.g + j) - splat(mean) - normal * splat(dot)));
        }
    }

    // Down to the sums: l.u becomes their gradient.
    if (f.activation == GELU) {
        for (int64_t j = 0; j < f.wide_e; j += W) store(l.u + j, load(l.g + j) * gelu(load(l.u + j)).slope);
    } else if (f.activation == GEGLU) {
        // The values move to l.v first: vectors of the gates reach into them when e is no multiple of W.
        memcpy(l.v, l.u + f.e, size_t(f.e) * sizeof(float));
        for (int64_t j = f.e; j < f.wide_e; j++) l.v[j] = 0.0f;
        for (int64_t j = 0; j < f.wide_e; j += W) {
            const Gelu gate = gelu(load(l.u + j));
            const V g = load(l.g + j);
            store(l.u + j, g * load(l.v + j) * gate.slope);
            store(l.v + j, g * gate.value);
        }
        memcpy(l.u + f.e, l.v, size_t(f.e) * sizeof(float));
    } else {
        memcpy(l.u, l.g, size_t(f.e) * sizeof(float));
    }
    for (int64_t j = 0; j < f.wide_d; j += W) add(sums.bias, j, load(l.u + j));
    if (a.grad_input) memcpy(a.grad_input + i * f.d, l.u, size_t(f.d) * sizeof(float));
}

// Adds up what the chunks have for each parameter, in their order.
static void add_chunks(const FinishGradient& a, const Finisher& f, const float* sums, int64_t chunks, int64_t wide) {
    float* grads[4] = {a.grad_bias, a.grad_scale, a.grad_shift, a.grad_gamma};
    for (int which = 0; which < 4; which++) {
        const int64_t width = which == 0 ? f.d : f.e;
        for (int64_t j = 0; grads[which] && j < width; j++) grads[which][j] = 0.0f;
        for (int64_t chunk = 0; grads[which] && chunk < chunks; chunk++) {
            const float* part = sums + (chunk * 4 + which) * wide;
            for (int64_t j = 0; j < width; j++) grads[which][j] += part[j];
        }
    }
}

int32_t finish_gradient(const FinishGradient& a) {
    const int64_t chunks = blocks(a.n, CHUNK);
    struct Buffers {
        Finisher finisher;
        int64_t wide;
        float *lines, *sums;  // three lines for each thread, four sums for each chunk, of `wide` floats
        Parameters parameters;
    };
    const auto cut = [&](Arena& arena) {
        const Finisher finisher = Finisher::cut(a.finish, arena);
        const int64_t wide = padded(finisher.line(), 16);
        float *lines = arena.take<float>(a.threads * 3 * wide), *sums = arena.take<float>(chunks * 4 * wide);
        const Parameters parameters = {arena.take<float>(wide), arena.take<float>(wide), arena.take<float>(wide)};
        return Buffers{finisher, wide, lines, sums, parameters};
    };
    return with_workspace(cut, [&](const Buffers& buffers) {
        const Finisher finisher = buffers.finisher;
        const Parameters parameters = buffers.parameters;
        const int64_t wide = buffers.wide;
        finisher.fill(a.finish);
        for (int64_t j = 0; j < finisher.wide_e; j++) {
            parameters.scale[j] = j < finisher.e && a.finish.scale ? a.finish.scale[j] : 1.0f;
            parameters.shift[j] = j < finisher.e && a.finish.shift ? a.finish.shift[j] : 0.0f;
            parameters.gamma[j] = j < finisher.e && a.finish.gamma ? a.finish.gamma[j] : 1.0f;
        }
        in_threads(a.threads, [&](Team& team) {
            team.queue(chunks, 1, [&](int64_t chunk) {
                float *line = buffers.lines + team.number * 3 * wide, *first = buffers.sums + chunk * 4 * wide;
                memset(first, 0, size_t(4 * wide) * sizeof(float));
                const Sums parts = {a.grad_bias ? first : nullptr, a.grad_scale ? first + wide : nullptr,
                                    a.grad_shift ? first + 2 * wide : nullptr,
                                    a.grad_gamma ? first + 3 * wide : nullptr};
                for (int64_t i = chunk * CHUNK; i < smaller(a.n, (chunk + 1) * CHUNK); i++) {
                    gradient_row(a, finisher, parameters, i, {line, line + wide, line + 2 * wide}, parts);
                }
            });
        });
        add_chunks(a, finisher, buffers.sums, chunks, wide);
        return OK;
    });
}

}  // namespace MSM3D_ISA
}  // namespace msm3d
