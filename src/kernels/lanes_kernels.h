/*
 * The kernels of kernels.h written once in terms of "lanes" (one vector register of floats). A set's file
 * includes its lanes_….h, defines TILE_ROWS, TILE_VECTORS and PRODUCT_ROWS, includes this and fills its
 * table, so every instruction set runs the same algorithm with its own width and register tile. Included by
 * kernels_….c files only.
 */
#ifndef CSI_KERNELS_LANES_KERNELS_H
#define CSI_KERNELS_LANES_KERNELS_H

#include <math.h>

#include "kernels/kernels.h"
#include "kernels/lanes_common.h"

/* ---- functions of one value ---- */

/* x = n·ln 2 + r; e^r is 1 + r + r²·p, p is given back (Cephes' expf). Clamped to ±87. */
ALWAYS_INLINE lanes exp_parts(lanes x, lanes *whole, lanes *rest)
{
    lanes n, r, p;

    x = lanes_clamp(x, lanes_set(-87.3f), lanes_set(88.0f));
    n = lanes_round(lanes_mul(x, lanes_set(1.44269504f)));
    r = lanes_fma(n, lanes_set(-0.693359375f), x);
    r = lanes_fma(n, lanes_set(2.12194440e-4f), r);
    p = lanes_set(1.9875691500e-4f);
    p = lanes_fma(p, r, lanes_set(1.3981999507e-3f));
    p = lanes_fma(p, r, lanes_set(8.3334519073e-3f));
    p = lanes_fma(p, r, lanes_set(4.1665795894e-2f));
    p = lanes_fma(p, r, lanes_set(1.6666665459e-1f));
    *whole = n;
    *rest = r;
    return lanes_fma(p, r, lanes_set(5.0000001201e-1f));
}

/* e^x to about 1e-7 relative. */
ALWAYS_INLINE lanes lanes_exp(lanes x)
{
    lanes n, r, p = exp_parts(x, &n, &r);

    p = lanes_fma(lanes_mul(r, r), p, lanes_add(r, lanes_set(1.0f)));
    return lanes_scale2(p, n);
}

/* e^x - 1, as exact where x is small: 2^n·(e^r - 1) + (2^n - 1). */
ALWAYS_INLINE lanes lanes_expm1(lanes x)
{
    lanes n, r, p = exp_parts(x, &n, &r), power = lanes_scale2(lanes_set(1.0f), n);

    p = lanes_fma(lanes_mul(r, r), p, r);
    return lanes_fma(power, p, lanes_sub(power, lanes_set(1.0f)));
}

ALWAYS_INLINE lanes lanes_sigmoid(lanes x)
{
    return lanes_reciprocal(lanes_add(lanes_set(1.0f), lanes_exp(lanes_sub(lanes_set(0.0f), x))));
}

/* (e^2x - 1) / (e^2x + 1); 1 in float32 from 9.01 on. */
ALWAYS_INLINE lanes lanes_tanh(lanes x)
{
    lanes e;

    x = lanes_clamp(x, lanes_set(-10.0f), lanes_set(10.0f));
    e = lanes_expm1(lanes_add(x, x));
    return lanes_mul(e, lanes_reciprocal(lanes_add(e, lanes_set(2.0f))));
}

/* x·Φ(x), Φ(-|x|) = e^(-x²/2)·t·P(t) with t = 1/(1 + 0.2316419·|x|) after Abramowitz and Stegun 26.2.17, P
 * fitted anew to 1.3e-7 relative. Beyond 40 the tail is nothing. */
ALWAYS_INLINE lanes lanes_gelu(lanes x)
{
    const lanes one = lanes_set(1.0f), near = lanes_max(lanes_set(-40.0f), x);
    lanes size = lanes_min(lanes_set(40.0f), lanes_max(lanes_sub(lanes_set(0.0f), x), x));
    lanes t = lanes_reciprocal(lanes_fma(size, lanes_set(0.2316419f), one)), p;

    p = lanes_set(-0.0704239979f);
    p = lanes_fma(p, t, lanes_set(0.247686058f));
    p = lanes_fma(p, t, lanes_set(-0.201659307f));
    p = lanes_fma(p, t, lanes_set(0.225252315f));
    p = lanes_fma(p, t, lanes_set(0.0135523919f));
    p = lanes_fma(p, t, lanes_set(0.10265024f));
    p = lanes_fma(p, t, lanes_set(0.0904201120f));
    p = lanes_fma(p, t, lanes_set(0.0925222486f));
    p = lanes_mul(lanes_mul(p, t), lanes_exp(lanes_mul(lanes_mul(size, size), lanes_set(-0.5f))));
    return lanes_if_negative(x, lanes_mul(near, p), lanes_mul(x, lanes_sub(one, p)));
}

ALWAYS_INLINE lanes lanes_gelu_tanh(lanes x)
{
    lanes factor = lanes_fma(lanes_mul(x, x), lanes_set(CSI_GELU_TANH_3), lanes_set(CSI_GELU_TANH_1));

    return lanes_mul(x, lanes_sigmoid(lanes_mul(x, factor)));
}

ALWAYS_INLINE lanes act_value(const enum csi_act kind, lanes x, lanes alpha, lanes beta)
{
    const lanes zero = lanes_set(0.0f), one = lanes_set(1.0f);

    switch (kind) {
    case CSI_FN_NONE: break;
    case CSI_FN_RELU: return lanes_max(zero, x);
    case CSI_FN_LEAKY_RELU: return lanes_if_negative(x, lanes_mul(x, alpha), x);
    case CSI_FN_CLIP: return lanes_clamp(x, alpha, beta);
    case CSI_FN_SIGMOID: return lanes_sigmoid(x);
    case CSI_FN_HARD_SIGMOID: return lanes_clamp(lanes_fma(x, alpha, beta), zero, one);
    case CSI_FN_SWISH: return lanes_mul(x, lanes_sigmoid(x));
    case CSI_FN_HARD_SWISH:
        return lanes_mul(x, lanes_clamp(lanes_fma(x, lanes_set(1.0f / 6.0f), lanes_set(0.5f)), zero, one));
    case CSI_FN_TANH: return lanes_tanh(x);
    case CSI_FN_ELU: return lanes_if_negative(x, lanes_mul(alpha, lanes_expm1(lanes_min(zero, x))), x);
    case CSI_FN_GELU: return lanes_gelu(x);
    case CSI_FN_GELU_TANH: return lanes_gelu_tanh(x);
    }
    return x;
}

/* Constants are made once for all of `rows` × `width` values, rows `step` apart. */
ALWAYS_INLINE void act_loop(const enum csi_act kind, const struct csi_act_params *act, const float *in,
                            float *out, size_t rows, size_t step, size_t width)
{
    const lanes alpha = lanes_set(act->alpha), beta = lanes_set(act->beta);

    for (size_t r = 0; r < rows; r++, in += step, out += step) {
        for (size_t i = 0; i < width; i += LANES)
            lanes_store(out + i, act_value(kind, lanes_load(in + i), alpha, beta));
    }
}

static void act_rows(const struct csi_act_params *act, const float *in, float *out, size_t rows, size_t step,
                     size_t width)
{
    switch (act->kind) {
    case CSI_FN_NONE: act_loop(CSI_FN_NONE, act, in, out, rows, step, width); break;
    case CSI_FN_RELU: act_loop(CSI_FN_RELU, act, in, out, rows, step, width); break;
    case CSI_FN_LEAKY_RELU: act_loop(CSI_FN_LEAKY_RELU, act, in, out, rows, step, width); break;
    case CSI_FN_CLIP: act_loop(CSI_FN_CLIP, act, in, out, rows, step, width); break;
    case CSI_FN_SIGMOID: act_loop(CSI_FN_SIGMOID, act, in, out, rows, step, width); break;
    case CSI_FN_HARD_SIGMOID: act_loop(CSI_FN_HARD_SIGMOID, act, in, out, rows, step, width); break;
    case CSI_FN_SWISH: act_loop(CSI_FN_SWISH, act, in, out, rows, step, width); break;
    case CSI_FN_HARD_SWISH: act_loop(CSI_FN_HARD_SWISH, act, in, out, rows, step, width); break;
    case CSI_FN_TANH: act_loop(CSI_FN_TANH, act, in, out, rows, step, width); break;
    case CSI_FN_ELU: act_loop(CSI_FN_ELU, act, in, out, rows, step, width); break;
    case CSI_FN_GELU: act_loop(CSI_FN_GELU, act, in, out, rows, step, width); break;
    case CSI_FN_GELU_TANH: act_loop(CSI_FN_GELU_TANH, act, in, out, rows, step, width); break;
    }
}

static void activate(const struct csi_act_params *act, const float *in, float *out, size_t count)
{
    act_rows(act, in, out, 1, 0, count);
}

/* ---- register tile of the implicit matrix product ---- */

ALWAYS_INLINE void tile_body(const struct csi_tile *t, const size_t rows, const size_t vectors,
                             const bool scaled)
{
    lanes sum[TILE_ROWS][TILE_VECTORS];
    const float *weights = t->weights;
    const size_t depth = t->depth;

    UNROLL
    for (size_t v = 0; v < vectors; v++) {
        lanes bias = lanes_load(t->bias + v * LANES);

        UNROLL
        for (size_t r = 0; r < rows; r++)
            sum[r][v] = bias;
    }
    for (size_t tap = 0; tap < t->taps; tap++) {
        const float *const *at = t->at + tap * t->row_step;
        const float *in[TILE_ROWS];

        UNROLL
        for (size_t r = 0; r < rows; r++)
            in[r] = at[r];
        for (size_t k = 0; k < depth; k++) {
            lanes w[TILE_VECTORS];

            UNROLL
            for (size_t v = 0; v < vectors; v++) {
                w[v] = lanes_load(weights + v * LANES);
                if (scaled)
                    w[v] = lanes_mul(w[v], lanes_set(t->scale[k]));
            }
            weights += vectors * LANES;
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                lanes x = lanes_set(in[r][k]);

                UNROLL
                for (size_t v = 0; v < vectors; v++)
                    sum[r][v] = lanes_fma(x, w[v], sum[r][v]);
            }
        }
    }
    {
        const lanes low = lanes_set(t->low), high = lanes_set(t->high);

        if (t->residual != NULL) {
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                UNROLL
                for (size_t v = 0; v < vectors; v++)
                    sum[r][v] = lanes_add(sum[r][v], lanes_load(t->residual + r * t->out_step + v * LANES));
            }
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            UNROLL
            for (size_t v = 0; v < vectors; v++)
                lanes_store(t->out + r * t->out_step + v * LANES, lanes_clamp(sum[r][v], low, high));
        }
    }
    if (t->act != NULL) /* what was just written is still close by */
        act_rows(t->act, t->out, t->out, rows, t->out_step, vectors * LANES);
}

/* One number of rows, in a set's switch over them. */
#define TILE_CASE(count, vectors)                                                                            \
    case count:                                                                                              \
        if (t->scale != NULL)                                                                                \
            tile_body(t, count, vectors, true);                                                              \
        else                                                                                                 \
            tile_body(t, count, vectors, false);                                                             \
        break

/* ---- register tile over packed inputs ---- */

/* `steps` ≤ 16 of the depth: `in` is [rows][16]. */
ALWAYS_INLINE void product_steps(lanes (*sum)[TILE_VECTORS], const float *in, const float *weights,
                                 const size_t steps, const size_t rows, const size_t vectors)
{
    for (size_t k = 0; k < steps; k++) {
        lanes w[TILE_VECTORS];

        UNROLL
        for (size_t v = 0; v < vectors; v++)
            w[v] = lanes_load(weights + (k * vectors + v) * LANES);
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            lanes x = lanes_set(in[r * CSI_PITCH + k]);

            UNROLL
            for (size_t v = 0; v < vectors; v++)
                sum[r][v] = lanes_fma(x, w[v], sum[r][v]);
        }
    }
}

ALWAYS_INLINE void product_body(const struct csi_product *p, const size_t rows, const size_t vectors)
{
    lanes sum[PRODUCT_ROWS][TILE_VECTORS];
    const float *in = p->in, *weights = p->weights, *ahead = p->ahead;
    size_t depth = p->depth;

    UNROLL
    for (size_t r = 0; r < rows; r++) {
        const float *start = p->bias != NULL ? p->bias : p->out + p->at[r];

        UNROLL
        for (size_t v = 0; v < vectors; v++)
            sum[r][v] = lanes_load(start + v * LANES);
    }
    /* What the end writes and reads: from another core's cache or from memory. */
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < vectors * LANES; i += 16) {
            __builtin_prefetch(p->out + p->at[r] + i, 1);
            if (p->residual != NULL)
                __builtin_prefetch(p->residual + p->at[r] + i);
        }
    }
    for (; depth >= CSI_PITCH; depth -= CSI_PITCH) {
        for (size_t k = 0; k < CSI_PITCH; k += 4) {
            for (size_t line = k / 4; line < p->ahead_lines; line += 4)
                __builtin_prefetch(ahead + line * 16, 0, 2);
            product_steps(sum, in + k, weights + k * vectors * LANES, 4, rows, vectors);
        }
        ahead += p->ahead_lines * 16;
        in += rows * CSI_PITCH;
        weights += CSI_PITCH * vectors * LANES;
    }
    product_steps(sum, in, weights, depth, rows, vectors);
    if (p->last) {
        const lanes low = lanes_set(p->low), high = lanes_set(p->high);

        if (p->residual != NULL) {
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                UNROLL
                for (size_t v = 0; v < vectors; v++)
                    sum[r][v] = lanes_add(sum[r][v], lanes_load(p->residual + p->at[r] + v * LANES));
            }
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            UNROLL
            for (size_t v = 0; v < vectors; v++)
                sum[r][v] = lanes_clamp(sum[r][v], low, high);
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t v = 0; v < vectors; v++)
            lanes_store(p->out + p->at[r] + v * LANES, sum[r][v]);
    }
    for (size_t r = 0; p->last && p->act != NULL && r < rows; r++)
        act_rows(p->act, p->out + p->at[r], p->out + p->at[r], 1, 0, vectors * LANES);
}

#define PRODUCT_CASE(count, vectors)                                                                         \
    case count: product_body(p, count, vectors); break

static void pack_rows(const float *const *in, size_t rows, size_t blocks, const float *scale, float *out)
{
    for (size_t r = 0; r < rows; r++) {
        const float *from = in[r], *soon = in[r + 2 < rows ? r + 2 : r];
        float *to = out + r * CSI_PITCH;

        for (size_t b = 0; b < blocks; b++, from += CSI_PITCH, to += rows * CSI_PITCH) {
            __builtin_prefetch(soon + b * CSI_PITCH);
            UNROLL
            for (size_t i = 0; i < CSI_PITCH; i += LANES) {
                lanes x = lanes_load(from + i);

                lanes_store(to + i, scale == NULL ? x : lanes_mul(x, lanes_load(scale + b * CSI_PITCH + i)));
            }
        }
    }
}

/* ---- depthwise ---- */

/* How many neighbouring outputs share the inputs in registers: 7 divides the widths of the usual maps (224
 * halved again and again). */
#define SPAN (LANES == 8 ? 4u : 7u)

/* SPAN outputs from `x` on: each input column is loaded once for all of them and for all taps. Input columns
 * outside [first, last) are padding; none is when `inside`. */
ALWAYS_INLINE void depthwise_span(const struct csi_depthwise_row *row, size_t x, const size_t width,
                                  const size_t stride, const bool inside, size_t first, size_t last)
{
    enum { MOST_COLUMNS = (SPAN - 1) * 2 + 5 };
    const size_t pitch = row->pitch, columns = (SPAN - 1) * stride + width;
    const lanes low = lanes_set(row->low), high = lanes_set(row->high);
    float *out = row->out + x * pitch;

    for (size_t c = 0; c < row->channels; c += LANES) {
        lanes sum[SPAN];

        UNROLL
        for (size_t j = 0; j < SPAN; j++)
            sum[j] = lanes_load(row->bias + c);
        for (size_t ky = 0; ky < row->kernel_height; ky++) {
            const float *weights = row->weights + ky * width * pitch + c;
            const float *line = row->in[ky];
            lanes in[MOST_COLUMNS];

            if (line == NULL)
                continue;
            UNROLL
            for (size_t i = 0; i < columns; i++)
                in[i] = inside || (i >= first && i < last)
                            ? lanes_load(line + (x * stride + i - row->pad_left) * pitch + c)
                            : lanes_set(0.0f);
            UNROLL
            for (size_t kx = 0; kx < width; kx++) {
                lanes w = lanes_load(weights + kx * pitch);

                UNROLL
                for (size_t j = 0; j < SPAN; j++)
                    sum[j] = lanes_fma(in[j * stride + kx], w, sum[j]);
            }
        }
        UNROLL
        for (size_t j = 0; j < SPAN; j++)
            lanes_store(out + j * pitch + c, lanes_clamp(sum[j], low, high));
    }
    if (row->act != NULL) /* what was just written is still close by */
        act_rows(row->act, out, out, SPAN, pitch, row->channels);
}

/* A whole row in spans; the last one reaches back over outputs that are done and computes them again. */
ALWAYS_INLINE void depthwise_spans(const struct csi_depthwise_row *row, const size_t width,
                                   const size_t stride)
{
    const size_t columns = (SPAN - 1) * stride + width;

    for (size_t at = 0; at < row->out_width; at += SPAN) {
        size_t x = csi_min_size(at, row->out_width - SPAN), begin = x * stride;
        size_t first = begin < row->pad_left ? row->pad_left - begin : 0;
        size_t end = row->pad_left + row->in_width; /* in the padded row */
        size_t last = begin + columns > end ? (end > begin ? end - begin : 0) : columns;

        if (first == 0 && last == columns)
            depthwise_span(row, x, width, stride, true, 0, columns);
        else
            depthwise_span(row, x, width, stride, false, first, last);
    }
}

/* Any window, one output at a time. */
static void depthwise_any(const struct csi_depthwise_row *row)
{
    const size_t pitch = row->pitch;
    const lanes low = lanes_set(row->low), high = lanes_set(row->high);

    for (size_t x = 0; x < row->out_width; x++) {
        size_t first, last;

        csi_inside_columns(x, row->stride, row->dilation, row->kernel_width, row->pad_left, row->in_width,
                           &first, &last);
        for (size_t c = 0; c < row->channels; c += LANES) {
            lanes sum = lanes_load(row->bias + c);

            for (size_t ky = 0; ky < row->kernel_height; ky++) {
                const float *line = row->in[ky];
                const float *weights = row->weights + ky * row->kernel_width * pitch + c;

                for (size_t kx = first; line != NULL && kx < last; kx++)
                    sum = lanes_fma(
                        lanes_load(line + (x * row->stride + kx * row->dilation - row->pad_left) * pitch + c),
                        lanes_load(weights + kx * pitch), sum);
            }
            lanes_store(row->out + x * pitch + c, lanes_clamp(sum, low, high));
        }
    }
    if (row->act != NULL)
        act_rows(row->act, row->out, row->out, row->out_width, pitch, row->channels);
}

static void depthwise_row(const struct csi_depthwise_row *row)
{
    const bool spans = row->dilation == 1 && row->out_width >= SPAN;

    if (spans && row->kernel_width == 3 && row->stride == 1)
        depthwise_spans(row, 3, 1);
    else if (spans && row->kernel_width == 3 && row->stride == 2)
        depthwise_spans(row, 3, 2);
    else if (spans && row->kernel_width == 5 && row->stride == 1)
        depthwise_spans(row, 5, 1);
    else if (spans && row->kernel_width == 5 && row->stride == 2)
        depthwise_spans(row, 5, 2);
    else
        depthwise_any(row);
}

/* ---- pooling ---- */

static void max_pool_row(const struct csi_pool_row *row)
{
    for (size_t x = 0; x < row->out_width; x++) {
        size_t first, last;
        const float *in;

        csi_inside_columns(x, row->stride, row->dilation, row->kernel_width, row->pad_left, row->in_width,
                           &first, &last);
        for (size_t c = 0; c < row->pitch; c += LANES) {
            lanes best = lanes_set(-INFINITY);

            for (size_t ky = 0; ky < row->rows; ky++) {
                for (size_t kx = first; kx < last; kx++) {
                    in =
                        row->in[ky] + (x * row->stride + kx * row->dilation - row->pad_left) * row->pitch + c;
                    best = lanes_most(best, lanes_load(in));
                }
            }
            lanes_store(row->out + x * row->pitch + c, best);
        }
    }
}

static void average_pool_row(const struct csi_pool_row *row)
{
    for (size_t x = 0; x < row->out_width; x++) {
        size_t first, last, columns;
        lanes scale;

        csi_inside_columns(x, row->stride, row->dilation, row->kernel_width, row->pad_left, row->in_width,
                           &first, &last);
        columns = last - first;
        if (row->count_include_pad) {
            columns = row->kernel_width;
            while (columns > 0 && x * row->stride + (columns - 1) * row->dilation >= row->padded_width)
                columns--;
        }
        scale =
            lanes_set(columns * row->window_rows == 0 ? 0.0f : 1.0f / (float)(columns * row->window_rows));
        for (size_t c = 0; c < row->pitch; c += LANES) {
            lanes sum = lanes_set(0.0f);

            for (size_t ky = 0; ky < row->rows; ky++) {
                for (size_t kx = first; kx < last; kx++) {
                    size_t at = x * row->stride + kx * row->dilation - row->pad_left;

                    sum = lanes_add(sum, lanes_load(row->in[ky] + at * row->pitch + c));
                }
            }
            lanes_store(row->out + x * row->pitch + c, lanes_mul(sum, scale));
        }
    }
}

static void global_average(const float *in, size_t pixels, size_t channels, size_t pitch, float *out)
{
    const lanes count = lanes_set((float)pixels);

    for (size_t c = 0; c < channels; c += LANES) {
        lanes even = lanes_set(0.0f), odd = even;
        size_t p = 0;

        for (; p + 2 <= pixels; p += 2) {
            even = lanes_add(even, lanes_load(in + p * pitch + c));
            odd = lanes_add(odd, lanes_load(in + (p + 1) * pitch + c));
        }
        if (p < pixels)
            even = lanes_add(even, lanes_load(in + p * pitch + c));
        lanes_store(out + c, lanes_div(lanes_add(even, odd), count));
    }
}

/* ---- arithmetic ---- */

ALWAYS_INLINE void arith_loop(const enum csi_arith op, const float *a, const float *b, size_t b_step,
                              size_t b_channel, float *out, size_t pixels, size_t channels, size_t pitch,
                              float low, float high)
{
    const lanes lo = lanes_set(low), hi = lanes_set(high);

    for (size_t p = 0; p < pixels; p++) {
        for (size_t c = 0; c < channels; c += LANES) {
            lanes x = lanes_load(a + p * pitch + c);
            lanes y = b_channel == 0 ? lanes_set(b[p * b_step]) : lanes_load(b + p * b_step + c);

            switch (op) {
            case CSI_ARITH_ADD: x = lanes_add(x, y); break;
            case CSI_ARITH_SUB: x = lanes_sub(x, y); break;
            case CSI_ARITH_MUL: x = lanes_mul(x, y); break;
            case CSI_ARITH_DIV: x = lanes_div(x, y); break;
            }
            lanes_store(out + p * pitch + c, lanes_clamp(x, lo, hi));
        }
    }
}

static void arith(enum csi_arith op, const float *a, const float *b, size_t b_step, size_t b_channel,
                  float *out, size_t pixels, size_t channels, size_t pitch, float low, float high)
{
    switch (op) {
    case CSI_ARITH_ADD:
        arith_loop(CSI_ARITH_ADD, a, b, b_step, b_channel, out, pixels, channels, pitch, low, high);
        break;
    case CSI_ARITH_SUB:
        arith_loop(CSI_ARITH_SUB, a, b, b_step, b_channel, out, pixels, channels, pitch, low, high);
        break;
    case CSI_ARITH_MUL:
        arith_loop(CSI_ARITH_MUL, a, b, b_step, b_channel, out, pixels, channels, pitch, low, high);
        break;
    case CSI_ARITH_DIV:
        arith_loop(CSI_ARITH_DIV, a, b, b_step, b_channel, out, pixels, channels, pitch, low, high);
        break;
    }
}

static void scale_shift(const float *in, const float *scale, const float *shift, float *out, size_t pixels,
                        size_t pitch, float low, float high)
{
    const lanes lo = lanes_set(low), hi = lanes_set(high);

    for (size_t p = 0; p < pixels; p++) {
        for (size_t c = 0; c < pitch; c += LANES) {
            lanes x = lanes_fma(lanes_load(in + p * pitch + c), lanes_load(scale + c), lanes_load(shift + c));

            lanes_store(out + p * pitch + c, lanes_clamp(x, lo, hi));
        }
    }
}

/* ---- measured peak ---- */

/* Independent chains: twelve hide four cycles of latency on two pipes, with room to spare, and fit into
 * AVX2's sixteen registers; large 64-bit Arm cores have four pipes. */
#define PEAK_CHAINS (LANES == 4 ? 16u : 12u)

/* Each chain adds to its sum: Arm's instruction overwrites what it adds to, and would need a copy of anything
 * else. */
static double peak_fma(size_t rounds, float *sink)
{
    const lanes scale = lanes_set(0.999f), shift = lanes_set(0.001f);
    lanes sum[PEAK_CHAINS];
    float last[LANES];

    UNROLL
    for (size_t i = 0; i < PEAK_CHAINS; i++)
        sum[i] = lanes_set((float)i);
    for (size_t r = 0; r < rounds; r++) {
        UNROLL
        for (size_t i = 0; i < PEAK_CHAINS; i++)
            sum[i] = lanes_fma(scale, shift, sum[i]);
    }
    UNROLL
    for (size_t i = 1; i < PEAK_CHAINS; i++)
        sum[0] = lanes_add(sum[0], sum[i]);
    lanes_store(last, sum[0]);
    *sink = last[0];
    return (double)rounds * PEAK_CHAINS * 2.0 * LANES;
}

static void fill_lanes(struct csi_kernels *kernels)
{
    kernels->tile_rows = TILE_ROWS;
    kernels->panel_width = TILE_VECTORS * LANES;
    kernels->product_rows = PRODUCT_ROWS;
    kernels->pack_rows = pack_rows;
    kernels->depthwise_row = depthwise_row;
    kernels->max_pool_row = max_pool_row;
    kernels->average_pool_row = average_pool_row;
    kernels->global_average = global_average;
    kernels->activate = activate;
    kernels->arith = arith;
    kernels->scale_shift = scale_shift;
    kernels->peak_fma = peak_fma;
}

#endif
