/*
 * Winograd steps for AVX-512. The product's register tile is 14 tiles × 32 output channels: 28 accumulators,
 * 2 registers of weights and 1 or 2 of broadcast input. 16 loads feed 28 multiply-adds, so two loads a cycle
 * never hold up two FMA units, and 14 divides the tile counts of the usual maps (196 of 56×56, 784 of
 * 112×112).
 */
#include "base/cpu.h"
#include "kernels/x86/wino_lanes_avx512.h"

#define ROWS  14u
#define LANES 32u

#include "kernels/wino_tile.h"
#include "kernels/wino_weights.h"

CSI_INLINE void gemm_rows(size_t rows, size_t blocks, const float *v, const float *w, size_t stride, float *m,
                          bool add, const float *ahead, size_t ahead_lines)
{
    __m512 sum[ROWS][2];
    CSI_UNROLL
    for (size_t r = 0; r < rows; r++) {
        sum[r][0] = sum[r][1] = _mm512_setzero_ps();
        _mm_prefetch((const char *)(m + r * LANES), _MM_HINT_T0); /* written at the end */
        _mm_prefetch((const char *)(m + r * LANES + 16), _MM_HINT_T0);
    }
    for (; blocks > 0; blocks--, v += rows * CSI_WINO_BLOCK) {
        for (size_t c = 0; c < CSI_WINO_BLOCK; c += 4) {
            for (size_t line = ahead_lines; line > 0; line--, ahead += 16)
                _mm_prefetch((const char *)ahead, _MM_HINT_T1);
            CSI_UNROLL
            for (size_t k = 0; k < 4; k++, w += stride) {
                const __m512 w0 = _mm512_load_ps(w), w1 = _mm512_load_ps(w + 16);
                CSI_UNROLL
                for (size_t r = 0; r < rows; r++) {
                    const __m512 b = _mm512_set1_ps(v[r * CSI_WINO_BLOCK + c + k]);
                    sum[r][0] = _mm512_fmadd_ps(b, w0, sum[r][0]);
                    sum[r][1] = _mm512_fmadd_ps(b, w1, sum[r][1]);
                }
            }
        }
    }
    CSI_UNROLL
    for (size_t r = 0; add && r < rows; r++) {
        sum[r][0] = _mm512_add_ps(sum[r][0], _mm512_load_ps(m + r * LANES));
        sum[r][1] = _mm512_add_ps(sum[r][1], _mm512_load_ps(m + r * LANES + 16));
    }
    CSI_UNROLL
    for (size_t r = 0; r < rows; r++) {
        _mm512_store_ps(m + r * LANES, sum[r][0]);
        _mm512_store_ps(m + r * LANES + 16, sum[r][1]);
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
    case 6: gemm_rows(6, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 7: gemm_rows(7, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 8: gemm_rows(8, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 9: gemm_rows(9, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 10: gemm_rows(10, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 11: gemm_rows(11, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 12: gemm_rows(12, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    case 13: gemm_rows(13, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
    default: gemm_rows(14, blocks, v, w, LANES, m, false, ahead, ahead_lines); break;
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
    case 6: gemm_rows(6, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 7: gemm_rows(7, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 8: gemm_rows(8, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 9: gemm_rows(9, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 10: gemm_rows(10, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 11: gemm_rows(11, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 12: gemm_rows(12, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    case 13: gemm_rows(13, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    default: gemm_rows(14, blocks, v, w, stride, m, add, ahead, ahead_lines); break;
    }
}

const struct csi_wino_ops csi_wino_ops_avx512 = {
    .set = "avx512",
    .features = CSI_CPU_AVX512,
    .rows = ROWS,
    .lanes = LANES,
    .input = {input4, input6, input8},
    .weights = {weights4, weights6},
    .gemm = gemm,
    .row_gemm = row_gemm,
    .output = {output4, output6, output8},
};
