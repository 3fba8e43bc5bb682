/* What the dot-product extension adds to the NEON set. */
#include <arm_neon.h>

#include "kernels/kernels.h"

static double peak_int8(size_t rounds, float *sink)
{
    const int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(-2);
    int32x4_t sum[12];

    _Pragma("GCC unroll 12") for (size_t i = 0; i < 12; i++) sum[i] = vdupq_n_s32((int32_t)i);
    for (size_t r = 0; r < rounds; r++) {
        _Pragma("GCC unroll 12") for (size_t i = 0; i < 12; i++) sum[i] = vdotq_s32(sum[i], a, b);
    }
    _Pragma("GCC unroll 12") for (size_t i = 1; i < 12; i++) sum[0] = vaddq_s32(sum[0], sum[i]);
    *sink = (float)vaddvq_s32(sum[0]);
    return (double)rounds * 12.0 * 2.0 * 16.0;
}

void csi_kernels_fill_dotprod(struct csi_kernels *kernels)
{
    kernels->peak_int8 = peak_int8;
    csi_bytes_fill_dotprod(kernels);
}
