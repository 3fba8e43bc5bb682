/*
 * The first layer's row for AVX2: 6 pixels × 16 channels in 12 accumulators, both halves of a block in turn.
 */
#include <immintrin.h>
#include <math.h>

#include "base/cpu.h"
#include "kernels/conv3x3_first_ops.h"

#define PIXELS 6u

CSI_INLINE void pixels(size_t count, const struct csi_first_row *row, size_t x, size_t half)
{
    __m256 sum[PIXELS][2];
    const float *w = row->weights + half, *line = row->lines + x;
    const __m256 bias0 = _mm256_loadu_ps(row->bias + half), bias1 = _mm256_loadu_ps(row->bias + half + 8);
    CSI_UNROLL
    for (size_t p = 0; p < count; p++) {
        sum[p][0] = bias0;
        sum[p][1] = bias1;
    }
    for (size_t n = row->line_count; n > 0; n--, line += row->line_pitch) {
        /* Not unrolled: three taps at once would keep each other's pixels in registers, and spill. */
        for (size_t dx = 0; dx < 3; dx++, w += CSI_FIRST_LANES) {
            const __m256 w0 = _mm256_loadu_ps(w), w1 = _mm256_loadu_ps(w + 8);
            CSI_UNROLL
            for (size_t p = 0; p < count; p++) {
                const __m256 b = _mm256_broadcast_ss(line + p + dx);
                sum[p][0] = _mm256_fmadd_ps(b, w0, sum[p][0]);
                sum[p][1] = _mm256_fmadd_ps(b, w1, sum[p][1]);
            }
        }
    }
    /* The bound comes first: a NaN in the second operand comes through. */
    const __m256 low = _mm256_set1_ps(row->relu ? 0.0F : -INFINITY);
    float *out = row->out + x * row->pitch + half;
    CSI_UNROLL
    for (size_t p = 0; p < count; p++, out += row->pitch) {
        _mm256_storeu_ps(out, _mm256_max_ps(low, sum[p][0]));
        _mm256_storeu_ps(out + 8, _mm256_max_ps(low, sum[p][1]));
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

const struct csi_conv_first csi_conv_first_avx2 = {"conv3x3_first_avx2", CSI_CPU_AVX2, row};
