/*
 * The first layer's row for AVX-512: 14 pixels × 32 channels in 28 accumulators, as in wino_avx512.c.
 */
#include <immintrin.h>
#include <math.h>

#include "base/cpu.h"
#include "kernels/conv3x3_first_ops.h"

#define PIXELS 14u

CSI_INLINE void pixels(size_t count, const struct csi_first_row *row, size_t x)
{
    __m512 sum[PIXELS][2];
    const float *w = row->weights, *line = row->lines + x;
    const __m512 bias0 = _mm512_loadu_ps(row->bias), bias1 = _mm512_loadu_ps(row->bias + 16);
    CSI_UNROLL
    for (size_t p = 0; p < count; p++) {
        sum[p][0] = bias0;
        sum[p][1] = bias1;
    }
    for (size_t n = row->line_count; n > 0; n--, line += row->line_pitch) {
        CSI_UNROLL
        for (size_t dx = 0; dx < 3; dx++, w += CSI_FIRST_LANES) {
            /* Hidden: the compiler would see that taps share pixels, keep these in registers, and spill. */
            const float *at = line + dx;
            CSI_FORGET(at);
            const __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w + 16);
            CSI_UNROLL
            for (size_t p = 0; p < count; p++) {
                const __m512 b = _mm512_set1_ps(at[p]);
                sum[p][0] = _mm512_fmadd_ps(b, w0, sum[p][0]);
                sum[p][1] = _mm512_fmadd_ps(b, w1, sum[p][1]);
            }
        }
    }
    /* The bound comes first: a NaN in the second operand comes through. */
    const __m512 low = _mm512_set1_ps(row->relu ? 0.0F : -INFINITY);
    float *out = row->out + x * row->pitch;
    CSI_UNROLL
    for (size_t p = 0; p < count; p++, out += row->pitch) {
        _mm512_storeu_ps(out, _mm512_max_ps(low, sum[p][0]));
        if (row->lanes == CSI_FIRST_LANES)
            _mm512_storeu_ps(out + 16, _mm512_max_ps(low, sum[p][1]));
    }
}

static void row(const struct csi_first_row *row)
{
    size_t x = 0;
    for (; x + PIXELS <= row->width; x += PIXELS)
        pixels(PIXELS, row, x);
    for (; x + 4 <= row->width; x += 4)
        pixels(4, row, x);
    for (; x < row->width; x++)
        pixels(1, row, x);
}

const struct csi_conv_first csi_conv_first_avx512 = {"conv3x3_first_avx512", CSI_CPU_AVX512, row};
