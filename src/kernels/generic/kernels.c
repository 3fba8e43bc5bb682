/*
 * The kernel set in plain C: the definition of every kernel, and what a CPU without a vector set of ours
 * runs. Also the helpers that all sets share: activation values and weight packing.
 */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#define TILE_ROWS 4u
#define PANEL     16u

float csi_act_value(const struct csi_act_params *act, float x)
{
    switch (act->kind) {
    case CSI_FN_NONE: break;
    case CSI_FN_RELU: return x < 0.0f ? 0.0f : x;
    case CSI_FN_LEAKY_RELU: return x < 0.0f ? act->alpha * x : x;
    case CSI_FN_CLIP: return x < act->alpha ? act->alpha : x > act->beta ? act->beta : x;
    case CSI_FN_SIGMOID: return 1.0f / (1.0f + expf(-x));
    case CSI_FN_HARD_SIGMOID: x = act->alpha * x + act->beta; return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x;
    case CSI_FN_SWISH: return x / (1.0f + expf(-x));
    case CSI_FN_HARD_SWISH: {
        float gate = x / 6.0f + 0.5f;

        return x * (gate < 0.0f ? 0.0f : gate > 1.0f ? 1.0f : gate);
    }
    case CSI_FN_TANH: return tanhf(x);
    case CSI_FN_ELU: return x < 0.0f ? act->alpha * expm1f(x) : x;
    case CSI_FN_GELU: return 0.5f * x * erfcf(x * -0.707106781f);
    case CSI_FN_GELU_TANH: /* (1 + tanh(u)) / 2 is sigmoid(2u) */
        return x / (1.0f + expf(-x * (CSI_GELU_TANH_1 + CSI_GELU_TANH_3 * x * x)));
    }
    return x;
}

bool csi_act_as_clamp(const struct csi_act_params *act, float *low, float *high)
{
    *low = -INFINITY;
    *high = INFINITY;
    switch (act->kind) {
    case CSI_FN_NONE: return true;
    case CSI_FN_RELU: *low = 0.0f; return true;
    case CSI_FN_CLIP:
        *low = act->alpha;
        *high = act->beta;
        return true;
    default: return false;
    }
}

void csi_pack_panel(const struct csi_kernels *kernels, const struct csi_panel_source *source, size_t index,
                    float *packed)
{
    size_t first = index * kernels->panel_width, width = csi_panel_width(kernels, source->outputs, index);
    size_t real = csi_min_size(width, source->outputs - first);

    for (size_t t = 0; t < source->taps; t++) {
        for (size_t k = 0; k < source->depth; k++) {
            const float *from =
                source->weight + first * source->output_step + t * source->tap_step + k * source->depth_step;

            for (size_t w = 0; w < real; w++)
                packed[w] = from[w * source->output_step];
            for (size_t w = real; w < width; w++)
                packed[w] = 0.0f;
            packed += width;
        }
    }
}

static inline float clamp(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

static void tile(const struct csi_tile *t)
{
    for (size_t r = 0; r < t->rows; r++) {
        float sum[PANEL];
        float *out = t->out + r * t->out_step;
        const float *weights = t->weights;

        memcpy(sum, t->bias, sizeof sum);
        for (size_t tap = 0; tap < t->taps; tap++) {
            const float *in = t->at[tap * t->row_step + r];

            for (size_t k = 0; k < t->depth; k++) {
                float x = t->scale == NULL ? in[k] : in[k] * t->scale[k];

                for (size_t o = 0; o < PANEL; o++)
                    sum[o] += x * weights[o];
                weights += PANEL;
            }
        }
        for (size_t o = 0; o < PANEL; o++) {
            if (t->residual != NULL)
                sum[o] += t->residual[r * t->out_step + o];
            out[o] = clamp(sum[o], t->low, t->high);
            if (t->act != NULL)
                out[o] = csi_act_value(t->act, out[o]);
        }
    }
}

static void product(const struct csi_product *p)
{
    for (size_t r = 0; r < p->rows; r++) {
        float sum[PANEL];
        float *out = p->out + p->at[r];

        memcpy(sum, p->bias != NULL ? p->bias : out, sizeof sum);
        for (size_t k = 0; k < p->depth; k++) {
            float x = p->in[(k / CSI_PITCH * p->rows + r) * CSI_PITCH + k % CSI_PITCH];

            for (size_t o = 0; o < PANEL; o++)
                sum[o] += x * p->weights[k * PANEL + o];
        }
        for (size_t o = 0; o < PANEL; o++) {
            out[o] = sum[o];
            if (!p->last)
                continue;
            if (p->residual != NULL)
                out[o] += p->residual[p->at[r] + o];
            out[o] = clamp(out[o], p->low, p->high);
            if (p->act != NULL)
                out[o] = csi_act_value(p->act, out[o]);
        }
    }
}

static void pack_rows(const float *const *in, size_t rows, size_t blocks, const float *scale, float *out)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t k = 0; k < blocks * CSI_PITCH; k++)
            out[(k / CSI_PITCH * rows + r) * CSI_PITCH + k % CSI_PITCH] =
                scale == NULL ? in[r][k] : in[r][k] * scale[k];
    }
}

static void depthwise_row(const struct csi_depthwise_row *row)
{
    for (size_t x = 0; x < row->out_width; x++) {
        float *out = row->out + x * row->pitch;

        memcpy(out, row->bias, row->channels * sizeof *out);
        for (size_t ky = 0; ky < row->kernel_height; ky++) {
            if (row->in[ky] == NULL)
                continue;
            for (size_t kx = 0; kx < row->kernel_width; kx++) {
                size_t at = x * row->stride + kx * row->dilation; /* in the padded row */
                const float *weights = row->weights + (ky * row->kernel_width + kx) * row->pitch;

                if (at < row->pad_left || at - row->pad_left >= row->in_width)
                    continue;
                for (size_t c = 0; c < row->channels; c++)
                    out[c] += row->in[ky][(at - row->pad_left) * row->pitch + c] * weights[c];
            }
        }
        for (size_t c = 0; c < row->channels; c++) {
            out[c] = clamp(out[c], row->low, row->high);
            if (row->act != NULL)
                out[c] = csi_act_value(row->act, out[c]);
        }
    }
}

static void max_pool_row(const struct csi_pool_row *row)
{
    for (size_t x = 0; x < row->out_width; x++) {
        for (size_t c = 0; c < row->pitch; c++) {
            float best = -INFINITY;

            for (size_t ky = 0; ky < row->rows; ky++) {
                for (size_t kx = 0; kx < row->kernel_width; kx++) {
                    size_t at = x * row->stride + kx * row->dilation;

                    if (at >= row->pad_left && at - row->pad_left < row->in_width) {
                        float value = row->in[ky][(at - row->pad_left) * row->pitch + c];

                        best = value > best || isnan(value) ? value : best; /* a NaN stays */
                    }
                }
            }
            row->out[x * row->pitch + c] = best;
        }
    }
}

static void average_pool_row(const struct csi_pool_row *row)
{
    for (size_t x = 0; x < row->out_width; x++) {
        float *out = row->out + x * row->pitch;
        size_t columns = 0;
        float scale;

        memset(out, 0, row->pitch * sizeof *out);
        for (size_t kx = 0; kx < row->kernel_width; kx++) {
            size_t at = x * row->stride + kx * row->dilation;
            bool inside = at >= row->pad_left && at - row->pad_left < row->in_width;

            columns += inside || (row->count_include_pad && at < row->padded_width) ? 1 : 0;
            for (size_t ky = 0; inside && ky < row->rows; ky++) {
                for (size_t c = 0; c < row->pitch; c++)
                    out[c] += row->in[ky][(at - row->pad_left) * row->pitch + c];
            }
        }
        scale = columns * row->window_rows == 0 ? 0.0f : 1.0f / (float)(columns * row->window_rows);
        for (size_t c = 0; c < row->pitch; c++)
            out[c] *= scale;
    }
}

static void global_average(const float *in, size_t pixels, size_t channels, size_t pitch, float *out)
{
    memset(out, 0, channels * sizeof *out);
    for (size_t p = 0; p < pixels; p++) {
        for (size_t c = 0; c < channels; c++)
            out[c] += in[p * pitch + c];
    }
    for (size_t c = 0; c < channels; c++)
        out[c] /= (float)pixels;
}

static void activate(const struct csi_act_params *act, const float *in, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = csi_act_value(act, in[i]);
}

static void arith(enum csi_arith op, const float *a, const float *b, size_t b_step, size_t b_channel,
                  float *out, size_t pixels, size_t channels, size_t pitch, float low, float high)
{
    for (size_t p = 0; p < pixels; p++) {
        for (size_t c = 0; c < channels; c++) {
            float x = a[p * pitch + c], y = b[p * b_step + c * b_channel], z = 0.0f;

            switch (op) {
            case CSI_ARITH_ADD: z = x + y; break;
            case CSI_ARITH_SUB: z = x - y; break;
            case CSI_ARITH_MUL: z = x * y; break;
            case CSI_ARITH_DIV: z = x / y; break;
            }
            out[p * pitch + c] = clamp(z, low, high);
        }
    }
}

static void scale_shift(const float *in, const float *scale, const float *shift, float *out, size_t pixels,
                        size_t pitch, float low, float high)
{
    for (size_t p = 0; p < pixels; p++) {
        for (size_t c = 0; c < pitch; c++)
            out[p * pitch + c] = clamp(in[p * pitch + c] * scale[c] + shift[c], low, high);
    }
}

static void pack_nchw(const float *in, size_t channels, size_t pixels, float *out, size_t pitch)
{
    for (size_t p = 0; p < pixels; p++) {
        for (size_t c = 0; c < pitch; c++)
            out[p * pitch + c] = c < channels ? in[c * pixels + p] : 0.0f;
    }
}

static double peak_fma(size_t rounds, float *sink)
{
    float sum[PANEL];

    for (size_t i = 0; i < PANEL; i++)
        sum[i] = (float)i;
    for (size_t r = 0; r < rounds; r++) {
        for (size_t i = 0; i < PANEL; i++)
            sum[i] = sum[i] * 0.999f + 0.001f;
    }
    *sink = 0.0f;
    for (size_t i = 0; i < PANEL; i++)
        *sink += sum[i];
    return (double)rounds * 2.0 * PANEL;
}

void csi_kernels_fill_generic(struct csi_kernels *kernels)
{
    *kernels = (struct csi_kernels){
        .name = "generic",
        .tile_rows = TILE_ROWS,
        .panel_width = PANEL,
        .product_rows = TILE_ROWS,
        .tile = tile,
        .product = product,
        .pack_rows = pack_rows,
        .depthwise_row = depthwise_row,
        .max_pool_row = max_pool_row,
        .average_pool_row = average_pool_row,
        .global_average = global_average,
        .activate = activate,
        .arith = arith,
        .scale_shift = scale_shift,
        .pack_nchw = pack_nchw,
        .peak_fma = peak_fma,
        .peak_int8 = NULL,
    };
    csi_bytes_fill_generic(kernels);
}
