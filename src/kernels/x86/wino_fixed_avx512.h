/*
 * What the files of fixed-point Winograd share: lengths of vectors, their scales and their rounding
 * (wino_ops.h), float32 in and 16-bit integers out. Where these go is the files' part.
 */
#ifndef CSI_KERNELS_X86_WINO_FIXED_AVX512_H
#define CSI_KERNELS_X86_WINO_FIXED_AVX512_H

#include <immintrin.h>

#include "kernels/wino_ops.h"

/* Lane i of the result is the sum of a[i]'s lanes. Each step adds halves of two vectors. */
CSI_INLINE __m512 sum_lanes(__m512 *a)
{
    CSI_UNROLL
    for (size_t k = 0; k < 8; k++) {
        const size_t i = k < 4 ? k : k + 4;
        a[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[i], a[i + 4], 0x44),
                             _mm512_shuffle_f32x4(a[i], a[i + 4], 0xee));
    }
    CSI_UNROLL
    for (size_t i = 0; i < 4; i++)
        a[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[i], a[i + 8], 0x88),
                             _mm512_shuffle_f32x4(a[i], a[i + 8], 0xdd));
    CSI_UNROLL
    for (size_t i = 0; i < 4; i += 2)
        a[i] =
            _mm512_add_ps(_mm512_shuffle_ps(a[i], a[i + 1], 0x44), _mm512_shuffle_ps(a[i], a[i + 1], 0xee));
    return _mm512_add_ps(_mm512_shuffle_ps(a[0], a[2], 0x88), _mm512_shuffle_ps(a[0], a[2], 0xdd));
}

/* Adding it leaves a rounded integer in a float's lowest bits. */
#define ROUNDER 12582912.0F /* 1.5 · 2²³ */

/* Shorter than that, a vector counts as zero: the inverse of its length might be infinite. */
#define LENGTH_LEAST 1e-18F

/* Lengths of the vectors of up to sixteen positions. */
CSI_INLINE __m512 lengths_of(const float *v, size_t stride, size_t channels, size_t count)
{
    __m512 squares[16];
    CSI_UNROLL
    for (size_t p = 0; p < 16; p++)
        squares[p] = _mm512_setzero_ps();
    for (size_t p = 0; p < count; p++, v += stride) {
        __m512 sum0 = _mm512_setzero_ps(), sum1 = sum0;
        size_t k = 0;
        for (; k + 32 <= channels; k += 32) {
            const __m512 a = _mm512_load_ps(v + k), b = _mm512_load_ps(v + k + 16);
            sum0 = _mm512_fmadd_ps(a, a, sum0);
            sum1 = _mm512_fmadd_ps(b, b, sum1);
        }
        if (k < channels) {
            const __m512 a = _mm512_load_ps(v + k);
            sum0 = _mm512_fmadd_ps(a, a, sum0);
        }
        squares[p] = _mm512_add_ps(sum0, sum1);
    }
    return _mm512_sqrt_ps(sum_lanes(squares));
}

/* Integers in the low halves of the result's 32 bits. */
CSI_INLINE __m512i rounded(const float *v, __m512 factor)
{
    return _mm512_castps_si512(_mm512_fmadd_ps(_mm512_load_ps(v), factor, _mm512_set1_ps(ROUNDER)));
}

/* Puts the integers of one position of a tile, `block_stride` from a block of channels to the next. */
typedef void put_integers(const float *v, __m512 factor, size_t channels, int16_t *to, size_t block_stride);

CSI_INLINE void quantize_tile(const struct csi_wino_fixed_tile *job, put_integers *put)
{
    const struct csi_wino_fixed_tile tile = *job; /* nothing that is stored lies in it */
    const float length = csi_wino_fixed_length(CSI_WINO_FIXED_V_LENGTH, tile.channels);
    _Alignas(64) float inverse[16], scale[16];
    const float *v = tile.v;
    int16_t *out = tile.out;
    float *scales = tile.scales;
    for (size_t first = 0; first < tile.positions; first += 16) {
        const size_t count = tile.positions - first < 16 ? tile.positions - first : 16;
        const __m512 lengths = lengths_of(v, tile.stride, tile.channels, count);
        const __mmask16 some = _mm512_cmp_ps_mask(lengths, _mm512_set1_ps(LENGTH_LEAST), _CMP_GT_OQ);
        _mm512_store_ps(inverse, _mm512_maskz_div_ps(some, _mm512_set1_ps(length), lengths));
        _mm512_store_ps(scale, _mm512_mul_ps(lengths, _mm512_set1_ps(1.0F / length)));
        for (size_t p = 0; p < count; p++) {
            put(v, _mm512_set1_ps(inverse[p]), tile.channels, out, tile.block_stride);
            *scales = scale[p];
            v += tile.stride;
            out += tile.position_stride;
            scales += tile.scale_stride;
        }
    }
}

#endif
