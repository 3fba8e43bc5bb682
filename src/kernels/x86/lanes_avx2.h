/* Eight float lanes on AVX2 and FMA. The vocabulary that kernels/lanes_kernels.h is written in; included by
 * _avx2.c files only. */
#ifndef CSI_KERNELS_X86_LANES_AVX2_H
#define CSI_KERNELS_X86_LANES_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 8u
typedef __m256 lanes;

static inline lanes lanes_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline void lanes_store(float *p, lanes x)
{
    _mm256_storeu_ps(p, x);
}
static inline lanes lanes_set(float x)
{
    return _mm256_set1_ps(x);
}
static inline lanes lanes_add(lanes a, lanes b)
{
    return _mm256_add_ps(a, b);
}
static inline lanes lanes_sub(lanes a, lanes b)
{
    return _mm256_sub_ps(a, b);
}
static inline lanes lanes_mul(lanes a, lanes b)
{
    return _mm256_mul_ps(a, b);
}
static inline lanes lanes_div(lanes a, lanes b)
{
    return _mm256_div_ps(a, b);
}
/* 1/x. The guess that this set has is of 11 bits: one step of Newton's would leave an error of 2e-7. */
static inline lanes lanes_reciprocal(lanes x)
{
    return _mm256_div_ps(_mm256_set1_ps(1.0f), x);
}
/* a·b + c */
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm256_fmadd_ps(a, b, c);
}
/* A NaN in the second operand comes through. */
static inline lanes lanes_min(lanes bound, lanes x)
{
    return _mm256_min_ps(bound, x);
}
static inline lanes lanes_max(lanes bound, lanes x)
{
    return _mm256_max_ps(bound, x);
}
/* The larger one; a NaN in either comes through: of two numbers both maxima are the same, else one is the
 * NaN. */
static inline lanes lanes_most(lanes a, lanes b)
{
    return _mm256_or_ps(_mm256_max_ps(a, b), _mm256_max_ps(b, a));
}
static inline lanes lanes_round(lanes x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* x·2^n, n whole and within ±127: in two halves, because 2^127 and 2^-127 are no normal numbers both. */
static inline lanes lanes_scale2(lanes x, lanes n)
{
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1),
            rest = _mm256_sub_epi32(whole, half);
    __m256i bias = _mm256_set1_epi32(127);

    x = _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}
/* x < 0 ? a : b */
static inline lanes lanes_if_negative(lanes x, lanes a, lanes b)
{
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
}

/* Bytes to floats. */
static inline lanes lanes_load_bytes(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
/* Rounded to nearest even, plus zero, saturated. */
static inline void lanes_store_bytes(uint8_t *p, lanes x, int32_t zero)
{
    const __m256i whole = _mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(zero));
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));

    _mm_storel_epi64((__m128i *)(void *)p, _mm_packus_epi16(halves, halves));
}

#endif
