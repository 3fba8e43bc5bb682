/*
 * The kernels of bytes.h that work channel by channel, written once in terms of "lanes" like
 * lanes_kernels.h. Included by bytes_….c files only, behind their lanes_….h. The register tile stands in
 * byte_tile.h.
 */
#ifndef CSI_KERNELS_BYTE_LANES_H
#define CSI_KERNELS_BYTE_LANES_H

#include <string.h>

#include "kernels/kernels.h"
#include "kernels/lanes_common.h"

/* ---- depthwise ---- */

/* `count` neighbouring outputs from `x` on; the taps [first, last) lie inside the input for all of them. The
 * sums are whole numbers: exact in float, in any order and fused or not, up to 2^24, which is what windows of
 * up to 514 taps keep below (255 · 128 a tap). Larger ones, 23×23 and more, may round differently from set to
 * set. */
ALWAYS_INLINE void byte_depthwise_outputs(const struct csi_byte_depthwise_row *row, size_t x,
                                          const size_t count, size_t first, size_t last)
{
    const lanes low = lanes_set(row->low), high = lanes_set(row->high);
    const lanes zero = lanes_set((float)row->zero_in), inverse = lanes_set(row->inverse);
    const size_t pitch = row->pitch, step = row->stride * pitch;

    for (size_t c = 0; c < pitch; c += LANES) {
        const lanes scale = lanes_load(row->scale + c), bias = lanes_load(row->bias + c);
        lanes sum[4];

        UNROLL
        for (size_t j = 0; j < count; j++)
            sum[j] = lanes_set(0.0f);
        for (size_t ky = 0; ky < row->kernel_height; ky++) {
            const float *weights = row->weights + ky * row->kernel_width * pitch + c;

            if (row->in[ky] == NULL)
                continue;
            for (size_t kx = first; kx < last; kx++) {
                const uint8_t *at =
                    row->in[ky] + (x * row->stride + kx * row->dilation - row->pad_left) * pitch + c;
                const lanes w = lanes_load(weights + kx * pitch);

                UNROLL
                for (size_t j = 0; j < count; j++)
                    sum[j] = lanes_fma(lanes_sub(lanes_load_bytes(at + j * step), zero), w, sum[j]);
            }
        }
        UNROLL
        for (size_t j = 0; j < count; j++) {
            const lanes y = lanes_clamp(lanes_add(lanes_mul(sum[j], scale), bias), low, high);

            if (row->out_bytes != NULL)
                lanes_store_bytes(row->out_bytes + (x + j) * pitch + c, lanes_mul(y, inverse), row->zero);
            else
                lanes_store(row->out_floats + (x + j) * pitch + c, y);
        }
    }
}

static void byte_depthwise_row(const struct csi_byte_depthwise_row *row)
{
    size_t x = 0;

    while (x < row->out_width) {
        size_t first, last, first4, last4;

        csi_inside_columns(x, row->stride, row->dilation, row->kernel_width, row->pad_left, row->in_width,
                           &first, &last);
        if (x + 4 <= row->out_width && first == 0 && last == row->kernel_width) {
            csi_inside_columns(x + 3, row->stride, row->dilation, row->kernel_width, row->pad_left,
                               row->in_width, &first4, &last4);
            if (last4 == row->kernel_width) {
                byte_depthwise_outputs(row, x, 4, 0, row->kernel_width);
                x += 4;
                continue;
            }
        }
        byte_depthwise_outputs(row, x, 1, first, last);
        x++;
    }
}

/* ---- value by value ---- */

static void byte_add(const struct csi_byte_add *add)
{
    const lanes a_scale = lanes_set(add->a_scale.scale), b_scale = lanes_set(add->b_scale.scale);
    const lanes a_zero = lanes_set((float)add->a_scale.zero), b_zero = lanes_set((float)add->b_scale.zero);
    const lanes low = lanes_set(add->low), high = lanes_set(add->high), inverse = lanes_set(add->inverse);

    for (size_t i = 0; i < add->count; i += LANES) {
        const lanes a = lanes_mul(lanes_sub(lanes_load_bytes(add->a + i), a_zero), a_scale);
        const lanes b = lanes_mul(lanes_sub(lanes_load_bytes(add->b + i), b_zero), b_scale);

        lanes_store_bytes(add->out + i, lanes_mul(lanes_clamp(lanes_add(a, b), low, high), inverse),
                          add->zero);
    }
}

static void quantize(const float *in, struct csi_byte_scale scale, uint8_t *out, size_t count)
{
    const lanes divisor = lanes_set(scale.scale), low = lanes_set(-1e6f), high = lanes_set(1e6f);

    for (size_t i = 0; i < count; i += LANES)
        lanes_store_bytes(out + i, lanes_clamp(lanes_div(lanes_load(in + i), divisor), low, high),
                          scale.zero);
}

static void dequantize(const uint8_t *in, struct csi_byte_scale scale, float *out, size_t count)
{
    const lanes factor = lanes_set(scale.scale), zero = lanes_set((float)scale.zero);

    for (size_t i = 0; i < count; i += LANES)
        lanes_store(out + i, lanes_mul(lanes_sub(lanes_load_bytes(in + i), zero), factor));
}

/* Sums of bytes stay whole below 2^24: exact for up to 65,000 pixels. */
static void byte_global_average(const uint8_t *in, size_t pixels, size_t channels, size_t pitch,
                                struct csi_byte_scale scale, float *out)
{
    const lanes count = lanes_set((float)pixels);
    const lanes factor = lanes_set(scale.scale), zero = lanes_set((float)scale.zero);

    for (size_t c = 0; c < channels; c += LANES) {
        lanes sum = lanes_set(0.0f);

        for (size_t p = 0; p < pixels; p++)
            sum = lanes_add(sum, lanes_load_bytes(in + p * pitch + c));
        lanes_store(out + c, lanes_mul(lanes_sub(lanes_div(sum, count), zero), factor));
    }
}

static void fill_byte_lanes(struct csi_kernels *kernels)
{
    kernels->byte_depthwise_row = byte_depthwise_row;
    kernels->byte_add = byte_add;
    kernels->quantize = quantize;
    kernels->dequantize = dequantize;
    kernels->byte_global_average = byte_global_average;
}

#endif
