/* Sixteen float lanes on AVX-512. The vocabulary that kernels/lanes_kernels.h, byte_lanes.h and byte_finish.h
 * are written in; included by _avx512.c, _avx512vnni.c and _avx512amx.c files only. */
#ifndef CSI_KERNELS_X86_LANES_AVX512_H
#define CSI_KERNELS_X86_LANES_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 16u
typedef __m512 lanes;

static inline lanes lanes_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void lanes_store(float *p, lanes x)
{
    _mm512_storeu_ps(p, x);
}
static inline lanes lanes_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline lanes lanes_add(lanes a, lanes b)
{
    return _mm512_add_ps(a, b);
}
static inline lanes lanes_sub(lanes a, lanes b)
{
    return _mm512_sub_ps(a, b);
}
static inline lanes lanes_mul(lanes a, lanes b)
{
    return _mm512_mul_ps(a, b);
}
static inline lanes lanes_div(lanes a, lanes b)
{
    return _mm512_div_ps(a, b);
}
/* 1/x to one unit in the last place: a guess of 14 bits and one step of Newton's, a third of a division. */
static inline lanes lanes_reciprocal(lanes x)
{
    lanes guess = _mm512_rcp14_ps(x);

    return _mm512_mul_ps(guess, _mm512_fnmadd_ps(x, guess, _mm512_set1_ps(2.0f)));
}
/* a·b + c */
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}
/* A NaN in the second operand comes through. */
static inline lanes lanes_min(lanes bound, lanes x)
{
    return _mm512_min_ps(bound, x);
}
static inline lanes lanes_max(lanes bound, lanes x)
{
    return _mm512_max_ps(bound, x);
}
/* The larger one; a NaN in either comes through: of two numbers both maxima are the same, else one is the
 * NaN. */
static inline lanes lanes_most(lanes a, lanes b)
{
    return _mm512_or_ps(_mm512_max_ps(a, b), _mm512_max_ps(b, a));
}
static inline lanes lanes_round(lanes x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* x·2^n, n whole and within ±127 */
static inline lanes lanes_scale2(lanes x, lanes n)
{
    return _mm512_scalef_ps(x, n);
}
/* x < 0 ? a : b */
static inline lanes lanes_if_negative(lanes x, lanes a, lanes b)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), b, a);
}

/* Bytes to floats. */
static inline lanes lanes_load_bytes(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
/* Rounded to nearest even, plus zero, saturated. */
static inline void lanes_store_bytes(uint8_t *p, lanes x, int32_t zero)
{
    __m512i whole = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(zero));

    whole = _mm512_max_epi32(whole, _mm512_setzero_si512());
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtusepi32_epi8(whole));
}

#endif
