/* What AVX-512 VNNI adds to the AVX-512 set. */
#include <immintrin.h>

#include "kernels/kernels.h"

static double peak_int8(size_t rounds, float *sink)
{
    const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-2);
    __m512i sum[12];

    _Pragma("GCC unroll 12") for (size_t i = 0; i < 12; i++) sum[i] = _mm512_set1_epi32((int)i);
    for (size_t r = 0; r < rounds; r++) {
        _Pragma("GCC unroll 12") for (size_t i = 0; i < 12; i++) sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
    }
    _Pragma("GCC unroll 12") for (size_t i = 1; i < 12; i++) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    *sink = _mm512_reduce_add_ps(_mm512_cvtepi32_ps(sum[0])); /* in integers, the lanes' sum would overflow */
    return (double)rounds * 12.0 * 2.0 * 64.0;
}

void csi_kernels_fill_avx512vnni(struct csi_kernels *kernels)
{
    kernels->peak_int8 = peak_int8;
    csi_bytes_fill_avx512vnni(kernels);
}
