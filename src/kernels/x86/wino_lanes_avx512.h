/*
 * The vector type of wino_tile.h for AVX-512; included by _avx512.c and _avx512amx.c files only.
 */
#ifndef CSI_KERNELS_X86_WINO_LANES_AVX512_H
#define CSI_KERNELS_X86_WINO_LANES_AVX512_H

#include <immintrin.h>

#include "kernels/wino_ops.h"

typedef __m512 vec;
#define VEC_LANES 16u

CSI_INLINE vec v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
CSI_INLINE void v_store(float *p, vec a)
{
    _mm512_storeu_ps(p, a);
}
CSI_INLINE vec v_set1(float a)
{
    return _mm512_set1_ps(a);
}
CSI_INLINE vec v_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
CSI_INLINE vec v_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}
CSI_INLINE vec v_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}
/* A NaN in the second operand comes through. */
CSI_INLINE vec v_max(vec bound, vec x)
{
    return _mm512_max_ps(bound, x);
}
/* a·b + c and c - a·b */
CSI_INLINE vec v_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
CSI_INLINE vec v_fnma(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
CSI_INLINE void v_prefetch(const float *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}

#endif
