/*
 * Winograd steps for AVX2 with FMA. The product's register tile is 6 tiles × 16 output channels: 12
 * accumulators, 2 registers of weights, 2 of broadcast input.
 */
#include <immintrin.h>

#include "base/cpu.h"
#include "kernels/wino_ops.h"

typedef __m256 vec;
#define VEC_LANES 8u

CSI_INLINE vec v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
CSI_INLINE void v_store(float *p, vec a)
{
    _mm256_storeu_ps(p, a);
}
CSI_INLINE vec v_set1(float a)
{
    return _mm256_set1_ps(a);
}
CSI_INLINE vec v_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}
CSI_INLINE vec v_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}
CSI_INLINE vec v_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}
/* A NaN in the second operand comes through. */
CSI_INLINE vec v_max(vec bound, vec x)
{
    return _mm256_max_ps(bound, x);
}
/* a·b + c and c - a·b */
CSI_INLINE vec v_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
CSI_INLINE vec v_fnma(vec a, vec b, vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
CSI_INLINE void v_prefetch(const float *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}

#define ROWS  6u
#define LANES 16u

#include "kernels/wino_tile.h"
#include "kernels/wino_weights.h"

CSI_INLINE void gemm_rows(size_t rows, size_t blocks, const float *v, const float *w, size_t stride, float *m,
                          bool add, const float *ahead, size_t ahead_lines)
{
    __m256 sum[ROWS][2];
    CSI_UNROLL
    for (size_t r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_ps();
    for (; blocks > 0; blocks--, v += rows * CSI_WINO_BLOCK) {
        for (size_t c = 0; c < CSI_WINO_BLOCK; c += 4) {
            for (size_t line = ahead_lines; line > 0; line--, ahead += 16)
                _mm_prefetch((const char *)ahead, _MM_HINT_T1);
            CSI_UNROLL
            for (size_t k = 0; k < 4; k++, w += stride) {
                const __m256 w0 = _mm256_load_ps(w), w1 = _mm256_load_ps(w + 8);
                CSI_UNROLL
                for (size_t r = 0; r < rows; r++) {
                    const __m256 b = _mm256_broadcast_ss(v + r * CSI_WINO_BLOCK + c + k);
                    sum[r][0] = _mm256_fmadd_ps(b, w0, sum[r][0]);
                    sum[r][1] = _mm256_fmadd_ps(b, w1, sum[r][1]);
                }
            }
        }
    }
    CSI_UNROLL
    for (size_t r = 0; add && r < rows; r++) {
        sum[r][0] = _mm256_add_ps(sum[r][0], _mm256_load_ps(m + r * LANES));
        sum[r][1] = _mm256_add_ps(sum[r][1], _mm256_load_ps(m + r * LANES + 8));
    }
    CSI_UNROLL
    for (size_t r = 0; r < rows; r++) {
        _mm256_store_ps(m + r * LANES, sum[r][0]);
        _mm256_store_ps(m + r * LANES + 8, sum[r][1]);
    }
}

static void gemm(size_t rows, size_t blocks, const float *v, const float *w, float *m, const float *ahead,
                 size_t ahead_lines)
{
    switch (rows) {
    case 1: gemm_rows(1, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 2: gemm_rows(2, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 3: gemm_rows(3, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 4: gemm_rows(4, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 5: gemm_rows(5, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    default: gemm_rows(6, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    }
}

/* Apart from gemm, whose weights lie without gaps: a stride known when compiling. */
static void row_gemm(size_t rows, size_t blocks, const float *v, const float *w, size_t stride, float *m,
                     bool add, const float *ahead, size_t ahead_lines)
{
    switch (rows) {
    case 1: gemm_rows(1, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 2: gemm_rows(2, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 3: gemm_rows(3, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 4: gemm_rows(4, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 5: gemm_rows(5, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    default: gemm_rows(6, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    }
}

const struct csi_wino_ops csi_wino_ops_avx2 = {
    .set = "avx2",
    .features = CSI_CPU_AVX2,
    .rows = ROWS,
    .lanes = LANES,
    .input = {input4, input6, input8},
    .weights = {weights4, weights6},
    .gemm = gemm,
    .row_gemm = row_gemm,
    .output = {output4, output6, output8},
};
