// What follows a product while its row is in cache: bias, activation, norm, gamma, residual.
#pragma once
#include "arena.h"

namespace msm3d {
namespace MSM3D_ISA {

// A row's statistics: of `x` after the activation the norm subtracts `mean` and multiplies by `inverse`.
struct Statistics { float mean, inverse, rms; };

// Of the c values of a row, each less `middle`.
static inline float mean_square(const float* row, int64_t c, float middle) {
    V squares = splat(0.0f);
    int64_t j = 0;
    for (; j + W <= c; j += W) {
        const V x = load(row + j) - splat(middle);
        squares = fma(x, x, squares);
    }
    float total = sum(squares);
    for (; j < c; j++) total += (row[j] - middle) * (row[j] - middle);
    return total / float(c);
}

// The parameters, copied to whole vectors: zeros past the last channel keep every sum right.
struct Finisher {
    int64_t d, e, wide_d, wide_e;  // channels before and after the activation, and their whole vectors
    int64_t activation, norm;
    float eps;
    float *bias, *scale, *shift;  // scale and shift include gamma; null when there is nothing to do

    static Finisher cut(const Finish& f, Arena& arena) {
        Finisher s{};
        s.d = f.channels;
        s.e = f.activation == GEGLU ? s.d / 2 : s.d;
        s.wide_d = padded(s.d, W);
        s.wide_e = padded(s.e, W);
        s.activation = f.activation;
        s.norm = f.norm;
        s.eps = f.eps;
        if (f.bias) s.bias = arena.take<float>(s.wide_d);
        if (f.scale || f.gamma) s.scale = arena.take<float>(s.wide_e);
        if (f.shift) s.shift = arena.take<float>(s.wide_e);
        return s;
    }

    void fill(const Finish& f) const {
        for (int64_t j = 0; bias && j < wide_d; j++) bias[j] = j < d ? f.bias[j] : 0.0f;
        for (int64_t j = 0; scale && j < wide_e; j++) {
            scale[j] = j < e ? (f.scale ? f.scale[j] : 1.0f) * (f.gamma ? f.gamma[j] : 1.0f) : 0.0f;
        }
        for (int64_t j = 0; shift && j < wide_e; j++) {
            shift[j] = j < e ? f.shift[j] * (f.gamma ? f.gamma[j] : 1.0f) : 0.0f;
        }
    }

    // Floats that a caller's `line` holds: geglu reads its second half at any alignment.
    int64_t line() const { return wide_d + W; }

    // Turns the d sums in `line` into the e values after the activation.
    void activate(float* line) const {
        if (bias) {
            for (int64_t j = 0; j < wide_d; j += W) store(line + j, load(line + j) + load(bias + j));
        }
        if (activation == GELU) {
            for (int64_t j = 0; j < wide_e; j += W) store(line + j, gelu(load(line + j)).value);
        } else if (activation == GEGLU) {
            for (int64_t j = 0; j < wide_e; j += W) store(line + j, gelu(load(line + j)).value * load(line + e + j));
            for (int64_t j = e; j < wide_e; j++) line[j] = 0.0f;
        }
    }

    Statistics measure(float* line) const {
        if (norm == NO_NORM) return {0.0f, 1.0f, 0.0f};
        float mean = 0.0f;
        if (norm == LAYERNORM) {
            V total = splat(0.0f);
            for (int64_t j = 0; j < wide_e; j += W) total = total + load(line + j);
            mean = sum(total) / float(e);
        }
        const float variance = mean_square(line, e, mean), rms = sqrtf(variance);
        return {mean, norm == LAYERNORM ? 1.0f / sqrtf(variance + eps) : 1.0f / (rms + eps), rms};
    }

    // Writes the finished row; `line` holds its d sums and is used up. `residual` may be null.
    void row(float* line, const float* residual, float* out) const {
        activate(line);
        const Statistics s = measure(line);
        const V mean = splat(s.mean), inverse = splat(s.inverse);
        for (int64_t j = 0; j < wide_e; j += W) {
            V y = (load(line + j) - mean) * inverse;
            if (scale) y = y * load(scale + j);
            if (shift) y = y + load(shift + j);
            if (j + W <= e) {
                store(out + j, residual ? y + load(residual + j) : y);
            } else {
                store(line, y);
                for (int64_t i = 0; j + i < e; i++) out[j + i] = residual ? line[i] + residual[j + i] : line[i];
            }
        }
    }

    // Writes rows [first, first + rows) of a product, whose sums are `wide` floats apart and are used up.
    void rows(const Product& a, int64_t first, int64_t rows, float* sums, int64_t wide) const {
        for (int64_t i = first; i < first + rows; i++, sums += wide) {
            if (a.product) memcpy(a.product + i * d, sums, size_t(d) * sizeof(float));
            row(sums, a.finish.residual ? a.finish.residual + i * e : nullptr, a.out + i * e);
        }
    }
};

}  // namespace MSM3D_ISA
}  // namespace msm3d
