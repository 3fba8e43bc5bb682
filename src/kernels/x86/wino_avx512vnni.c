/*
 * Winograd steps in 16-bit fixed point for AVX-512 with VNNI: the transforms are float32's, the product
 * multiplies pairs of 13-bit integers (vpdpwssd), twice as many a cycle as float32.
 *
 * V has one scale for 128 channels of a panel of tiles and a position, found from the panel itself: nothing
 * is calibrated and nothing clamps. Weights have one a position and output channel. |integers| ≤ 4095, and
 * 4095² · 128 < 2³¹: 128 channels are added in int32, then the sum moves to float32, so no input can
 * overflow.
 *
 * V of a panel: the scales, rounded up to whole cache lines, then [channel block of 16][tile][16] int16.
 * Weights of a position: LANES scales, then [channel pair][LANES][2] int16.
 */
#if defined(__GNUC__) && !defined(__clang__)
/* gcc 12 would merge the sums' variables of different loops and move a third of them through the stack. */
#pragma GCC optimize("no-tree-coalesce-vars")
#endif

#include <immintrin.h>

#include "base/cpu.h"
#include "kernels/wino_ops.h"

#define ROWS  14u
#define LANES 32u
/* Blocks of 16 channels that are added in int32. */
#define EXACT_BLOCKS (CSI_WINO_FIXED_CHANNELS / CSI_WINO_BLOCK)

CSI_INLINE void product(size_t rows, size_t blocks, const int16_t *v, const int16_t *w, float *m,
                        const float *v_scale, const float *w_scales, bool first, const float *ahead,
                        size_t ahead_lines)
{
    __m512i sum[ROWS][2];
    CSI_UNROLL
    for (size_t r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    for (; blocks > 0; blocks--, v += rows * CSI_WINO_BLOCK) {
        for (size_t c = 0; c < CSI_WINO_BLOCK; c += 8) {
            for (size_t line = ahead_lines; line > 0; line--, ahead += 16)
                _mm_prefetch((const char *)ahead, _MM_HINT_T1);
            CSI_UNROLL
            for (size_t k = 0; k < 8; k += 2, w += 2 * LANES) {
                const __m512i w0 = _mm512_load_si512(w), w1 = _mm512_load_si512(w + 32);
                CSI_UNROLL
                for (size_t r = 0; r < rows; r++) {
                    float pair; /* as float: an integer would take the way through a general register */
                    __builtin_memcpy(&pair, v + r * CSI_WINO_BLOCK + c + k, sizeof(pair));
                    const __m512i b = _mm512_castps_si512(_mm512_set1_ps(pair));
                    sum[r][0] = _mm512_dpwssd_epi32(sum[r][0], b, w0);
                    sum[r][1] = _mm512_dpwssd_epi32(sum[r][1], b, w1);
                }
            }
        }
    }
    /* Made here: above, they would take the registers that the sums need. */
    const __m512 scale = _mm512_set1_ps(*v_scale);
    const __m512 scale0 = _mm512_mul_ps(scale, _mm512_load_ps(w_scales));
    const __m512 scale1 = _mm512_mul_ps(scale, _mm512_load_ps(w_scales + 16));
    CSI_UNROLL
    for (size_t r = 0; r < rows; r++, m += LANES) {
        __m512 sum0 = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][0]), scale0);
        __m512 sum1 = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][1]), scale1);
        if (!first) {
            sum0 = _mm512_add_ps(sum0, _mm512_load_ps(m));
            sum1 = _mm512_add_ps(sum1, _mm512_load_ps(m + 16));
        }
        _mm512_store_ps(m, sum0);
        _mm512_store_ps(m + 16, sum1);
    }
}

CSI_INLINE void gemm_rows(size_t rows, size_t blocks, const float *v, const float *w, float *m,
                          const float *ahead, size_t ahead_lines)
{
    const int16_t *panel = (const int16_t *)(const void *)(v + csi_wino_fixed_head(blocks * CSI_WINO_BLOCK));
    const int16_t *weights = (const int16_t *)(const void *)(w + LANES);
    for (size_t done = 0; done < blocks; done += EXACT_BLOCKS, v++) {
        const size_t here = blocks - done < EXACT_BLOCKS ? blocks - done : EXACT_BLOCKS;
        product(rows, here, panel, weights, m, v, w, done == 0, ahead, ahead_lines);
        panel += here * rows * CSI_WINO_BLOCK;
        weights += here * CSI_WINO_BLOCK * LANES;
        ahead += here * 2 * ahead_lines * 16;
    }
}

static void gemm(size_t rows, size_t blocks, const float *v, const float *w, float *m, const float *ahead,
                 size_t ahead_lines)
{
    switch (rows) {
    case 1: gemm_rows(1, blocks, v, w, m, ahead, ahead_lines); break;
    case 2: gemm_rows(2, blocks, v, w, m, ahead, ahead_lines); break;
    case 3: gemm_rows(3, blocks, v, w, m, ahead, ahead_lines); break;
    case 4: gemm_rows(4, blocks, v, w, m, ahead, ahead_lines); break;
    case 5: gemm_rows(5, blocks, v, w, m, ahead, ahead_lines); break;
    case 6: gemm_rows(6, blocks, v, w, m, ahead, ahead_lines); break;
    case 7: gemm_rows(7, blocks, v, w, m, ahead, ahead_lines); break;
    case 8: gemm_rows(8, blocks, v, w, m, ahead, ahead_lines); break;
    case 9: gemm_rows(9, blocks, v, w, m, ahead, ahead_lines); break;
    case 10: gemm_rows(10, blocks, v, w, m, ahead, ahead_lines); break;
    case 11: gemm_rows(11, blocks, v, w, m, ahead, ahead_lines); break;
    case 12: gemm_rows(12, blocks, v, w, m, ahead, ahead_lines); break;
    case 13: gemm_rows(13, blocks, v, w, m, ahead, ahead_lines); break;
    default: gemm_rows(14, blocks, v, w, m, ahead, ahead_lines); break;
    }
}

static void quantize(const float *v, size_t count, int16_t *out, float *scale_out)
{
    __m512 most0 = _mm512_setzero_ps(), most1 = most0;
    size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        most0 = _mm512_max_ps(most0, _mm512_abs_ps(_mm512_load_ps(v + i)));
        most1 = _mm512_max_ps(most1, _mm512_abs_ps(_mm512_load_ps(v + i + 16)));
    }
    if (i < count)
        most0 = _mm512_max_ps(most0, _mm512_abs_ps(_mm512_load_ps(v + i)));
    const float most = _mm512_reduce_max_ps(_mm512_max_ps(most0, most1));
    /* All zero: any scale will do. */
    const float scale = most > 0.0F ? most / CSI_WINO_FIXED_MOST : 1.0F;
    const __m512 inverse = _mm512_set1_ps(1.0F / scale);
    *scale_out = scale;
    for (i = 0; i < count; i += 16) {
        const __m512i wide = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_load_ps(v + i), inverse));
        _mm256_store_si256((__m256i *)(void *)(out + i), _mm512_cvtepi32_epi16(wide));
    }
}

/* The transforms are those of float32: this file brings the product only. */
const struct csi_wino_fixed_ops csi_wino_fixed_avx512vnni = {CSI_CPU_AVX512 | CSI_CPU_AVX512_VNNI, quantize,
                                                             gemm};
