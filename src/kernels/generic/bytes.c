/*
 * The kernels of bytes.h in plain C: their definition. Also weight packing, and the max-pool of all sets: a
 * loop over sixteen bytes is one instruction everywhere.
 */
#include "kernels/bytes.h"

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

#define BYTE_ROWS  4u
#define BYTE_PANEL 16u

static inline float clamp(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

static inline uint8_t to_byte(float x, int32_t zero)
{
    float level = nearbyintf(x) + (float)zero; /* saturated before it is narrowed; NaN is 0 */

    return (uint8_t)(level > 0.0f ? level < 255.0f ? level : 255.0f : 0.0f);
}

static inline float to_float(uint8_t q, struct csi_byte_scale scale)
{
    return (float)(q - scale.zero) * scale.scale;
}

void csi_pack_byte_panel(const struct csi_kernels *kernels, const struct csi_byte_source *source,
                         size_t index, int8_t *packed)
{
    size_t first = index * kernels->byte_panel, width = csi_byte_panel_width(kernels, source->outputs, index);
    size_t real = csi_min_size(width, source->outputs - first);

    memset(packed, 0, source->taps * source->quads * 4 * width);
    for (size_t t = 0; t < source->taps; t++) {
        int8_t *to = packed + t * source->quads * 4 * width;

        for (size_t w = 0; w < real; w++) {
            const int8_t *from = source->levels + (first + w) * source->output_step + t * source->tap_step;

            for (size_t k = 0; k < source->depth; k++)
                to[k / 4 * 4 * width + w * 4 + k % 4] = from[k * source->depth_step];
        }
    }
}

static void byte_tile(const struct csi_byte_tile *t)
{
    for (size_t r = 0; r < t->rows; r++) {
        int32_t sum[BYTE_PANEL];
        const int8_t *weights = t->weights;

        memcpy(sum, t->start, sizeof sum);
        for (size_t tap = 0; tap < t->taps; tap++) {
            const uint8_t *in = t->in + r * t->row_step + t->offsets[tap];

            for (size_t q = 0; q < t->quads; q++, weights += BYTE_PANEL * 4) {
                for (size_t o = 0; o < BYTE_PANEL; o++) {
                    for (size_t k = 0; k < 4; k++)
                        sum[o] += in[q * 4 + k] * weights[o * 4 + k];
                }
            }
        }
        for (size_t o = 0; o < BYTE_PANEL; o++) {
            float x = (float)sum[o] * t->scale[o] + t->bias[o];

            if (t->residual_bytes != NULL)
                x += to_float(t->residual_bytes[r * t->residual_step + o], t->residual);
            else if (t->residual_floats != NULL)
                x += t->residual_floats[r * t->residual_step + o];
            x = clamp(x, t->low, t->high);
            if (t->out_bytes != NULL)
                t->out_bytes[r * t->out_step + o] = to_byte(x * t->inverse, t->zero);
            else
                t->out_floats[r * t->out_step + o] = x;
        }
    }
}

/* Σ (in - zero)·weight of output x, channel c. */
static float depthwise_sum(const struct csi_byte_depthwise_row *row, size_t x, size_t c)
{
    float sum = 0.0f;

    for (size_t ky = 0; ky < row->kernel_height; ky++) {
        if (row->in[ky] == NULL)
            continue;
        for (size_t kx = 0; kx < row->kernel_width; kx++) {
            size_t at = x * row->stride + kx * row->dilation; /* in the padded row */

            if (at >= row->pad_left && at - row->pad_left < row->in_width)
                sum += (float)(row->in[ky][(at - row->pad_left) * row->pitch + c] - row->zero_in) *
                       row->weights[(ky * row->kernel_width + kx) * row->pitch + c];
        }
    }
    return sum;
}

static void byte_depthwise_row(const struct csi_byte_depthwise_row *row)
{
    for (size_t x = 0; x < row->out_width; x++) {
        for (size_t c = 0; c < row->pitch; c++) {
            float y = depthwise_sum(row, x, c) * row->scale[c] + row->bias[c];

            y = clamp(y, row->low, row->high);
            if (row->out_bytes != NULL)
                row->out_bytes[x * row->pitch + c] = to_byte(y * row->inverse, row->zero);
            else
                row->out_floats[x * row->pitch + c] = y;
        }
    }
}

static void byte_max_pool_row(const struct csi_byte_pool_row *row)
{
    for (size_t x = 0; x < row->out_width; x++) {
        for (size_t c = 0; c < row->channels; c += 16) {
            uint8_t best[16] = {0};

            for (size_t ky = 0; ky < row->rows; ky++) {
                for (size_t kx = 0; kx < row->kernel_width; kx++) {
                    size_t at = x * row->stride + kx * row->dilation;
                    uint8_t in[16];

                    if (at < row->pad_left || at - row->pad_left >= row->in_width)
                        continue;
                    memcpy(in, row->in[ky] + (at - row->pad_left) * row->in_pitch + c, sizeof in);
                    for (size_t i = 0; i < 16; i++)
                        best[i] = in[i] > best[i] ? in[i] : best[i];
                }
            }
            memcpy(row->out + x * row->out_pitch + c, best, sizeof best);
        }
    }
}

static void byte_add(const struct csi_byte_add *add)
{
    for (size_t i = 0; i < add->count; i++) {
        float x = to_float(add->a[i], add->a_scale) + to_float(add->b[i], add->b_scale);

        add->out[i] = to_byte(clamp(x, add->low, add->high) * add->inverse, add->zero);
    }
}

static void quantize(const float *in, struct csi_byte_scale scale, uint8_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = to_byte(clamp(in[i] / scale.scale, -1e6f, 1e6f), scale.zero);
}

static void dequantize(const uint8_t *in, struct csi_byte_scale scale, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = to_float(in[i], scale);
}

static void byte_global_average(const uint8_t *in, size_t pixels, size_t channels, size_t pitch,
                                struct csi_byte_scale scale, float *out)
{
    for (size_t c = 0; c < channels; c++) {
        float sum = 0.0f;

        for (size_t p = 0; p < pixels; p++)
            sum += in[p * pitch + c];
        out[c] = (sum / (float)pixels - (float)scale.zero) * scale.scale;
    }
}

static void byte_release(void)
{
}

static const char *byte_name(size_t rows, size_t taps, size_t quads, bool bytes)
{
    (void)rows;
    (void)taps;
    (void)quads;
    (void)bytes;
    return "";
}

void csi_bytes_fill_generic(struct csi_kernels *kernels)
{
    kernels->byte_rows = BYTE_ROWS;
    kernels->byte_panel = BYTE_PANEL;
    kernels->byte_offset = 0;
    kernels->byte_skew = 0;
    kernels->byte_fast = false;
    kernels->byte_name = byte_name;
    kernels->byte_release = byte_release;
    kernels->byte_tile = byte_tile;
    kernels->byte_depthwise_row = byte_depthwise_row;
    kernels->byte_max_pool_row = byte_max_pool_row;
    kernels->byte_add = byte_add;
    kernels->quantize = quantize;
    kernels->dequantize = dequantize;
    kernels->byte_global_average = byte_global_average;
}
