/*
 * The first layer's row for 64-bit Arm: 6 pixels × 16 channels in 24 accumulators, both halves of a block in
 * turn.
 */
#include <arm_neon.h>
#include <math.h>

#include "base/cpu.h"
#include "kernels/conv3x3_first_ops.h"

#define PIXELS 6u

CSI_INLINE void pixels(size_t count, const struct csi_first_row *row, size_t x, size_t half)
{
    float32x4_t sum[PIXELS][4];
    const float *w = row->weights + half, *line = row->lines + x;
    CSI_UNROLL
    for (size_t p = 0; p < count; p++) {
        CSI_UNROLL
        for (size_t q = 0; q < 4; q++)
            sum[p][q] = vld1q_f32(row->bias + half + q * 4);
    }
    for (size_t n = row->line_count; n > 0; n--, line += row->line_pitch) {
        for (size_t dx = 0; dx < 3; dx++, w += CSI_FIRST_LANES) {
            float32x4_t weights[4];
            CSI_UNROLL
            for (size_t q = 0; q < 4; q++)
                weights[q] = vld1q_f32(w + q * 4);
            CSI_UNROLL
            for (size_t p = 0; p < count; p++) {
                const float32x4_t b = vld1q_dup_f32(line + p + dx);
                CSI_UNROLL
                for (size_t q = 0; q < 4; q++)
                    sum[p][q] = vfmaq_f32(sum[p][q], b, weights[q]);
            }
        }
    }
    const float32x4_t low = vdupq_n_f32(row->relu ? 0.0F : -INFINITY);
    float *out = row->out + x * row->pitch + half;
    CSI_UNROLL
    for (size_t p = 0; p < count; p++, out += row->pitch) {
        CSI_UNROLL
        for (size_t q = 0; q < 4; q++)
            vst1q_f32(out + q * 4, vmaxq_f32(sum[p][q], low));
    }
}

static void row(const struct csi_first_row *row)
{
    for (size_t half = 0; half < row->lanes; half += 16) {
        size_t x = 0;
        for (; x + PIXELS <= row->width; x += PIXELS)
            pixels(PIXELS, row, x, half);
        for (; x < row->width; x++)
            pixels(1, row, x, half);
    }
}

const struct csi_conv_first csi_conv_first_neon = {"conv3x3_first_neon", CSI_CPU_NEON, row};
