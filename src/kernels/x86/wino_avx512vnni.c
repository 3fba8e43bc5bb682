/*
 * Winograd steps in 16-bit fixed point for AVX-512 with VNNI (wino_ops.h): the transforms are float32's, the
 * product multiplies pairs of integers (vpdpwssd), twice as many a cycle as float32.
 */
#include "base/cpu.h"
#include "kernels/x86/wino_fixed_avx512.h"

#define ROWS  14u
#define LANES 32u
/* Channels of a block of V: a cache line a tile. */
#define BLOCK 32u

/* sum += the products of a's and b's pairs. As an instruction: for the intrinsic function gcc 12 copies sums
 * to and fro. */
CSI_INLINE void add_products(__m512i *sum, __m512i a, __m512i b)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
}

CSI_INLINE void gemm_rows(size_t rows, size_t blocks, const float *panel, const float *weights, float *m,
                          const float *ahead, size_t ahead_lines)
{
    const int16_t *v = (const int16_t *)(const void *)(panel + CSI_WINO_FIXED_HEAD);
    const int16_t *w = (const int16_t *)(const void *)(weights + LANES);
    __m512i sum[ROWS][2];
    CSI_UNROLL
    for (size_t r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    for (size_t left = 2 * blocks; left > 0; v += rows * BLOCK) {
        const size_t here = left < 4 ? left : 4; /* eights of channels */
        left -= here;
        for (size_t c = 0; c < here; c++) {
            for (size_t line = ahead_lines; line > 0; line--, ahead += 16)
                _mm_prefetch((const char *)ahead, _MM_HINT_T1);
            CSI_UNROLL
            for (size_t k = 0; k < 8; k += 2, w += 2 * LANES) {
                const __m512i w0 = _mm512_load_si512(w), w1 = _mm512_load_si512(w + 32);
                CSI_UNROLL
                for (size_t r = 0; r < rows; r++) {
                    float pair; /* as float: an integer would take the way through a general register */
                    __builtin_memcpy(&pair, v + r * BLOCK + c * 8 + k, sizeof(pair));
                    const __m512i b = _mm512_castps_si512(_mm512_set1_ps(pair));
                    add_products(&sum[r][0], b, w0);
                    add_products(&sum[r][1], b, w1);
                }
            }
        }
    }
    /* Loaded here: above, they would take the registers that the sums need. */
    CSI_FORGET(weights);
    const __m512 scale0 = _mm512_load_ps(weights), scale1 = _mm512_load_ps(weights + 16);
    CSI_UNROLL
    for (size_t r = 0; r < rows; r++, m += LANES) {
        const __m512 scale = _mm512_set1_ps(panel[r]);
        _mm512_store_ps(m, _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][0]), _mm512_mul_ps(scale, scale0)));
        _mm512_store_ps(m + 16, _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][1]), _mm512_mul_ps(scale, scale1)));
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

/* Where the low halves of two vectors stand. */
static const _Alignas(64) int16_t low_halves[32] = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20,
                                                    22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42,
                                                    44, 46, 48, 50, 52, 54, 56, 58, 60, 62};

CSI_INLINE void put(const float *v, __m512 factor, size_t channels, int16_t *to, size_t block_stride)
{
    const __m512i low = _mm512_load_si512(low_halves);
    size_t k = 0;
    for (; k + BLOCK <= channels; k += BLOCK, to += block_stride)
        _mm512_store_si512(
            to, _mm512_permutex2var_epi16(rounded(v + k, factor), low, rounded(v + k + 16, factor)));
    if (k < channels)
        _mm256_store_si256((__m256i *)(void *)to, _mm512_cvtepi32_epi16(rounded(v + k, factor)));
}

static void quantize(const struct csi_wino_fixed_tile *tile)
{
    quantize_tile(tile, put);
}

/* [channel pair][LANES][2] */
static void put_weights(void *integers, size_t pitch, size_t channel, const int16_t *weights)
{
    int16_t *to = (int16_t *)integers + channel / 2 * LANES * 2 + channel % 2;
    (void)pitch;
    for (size_t i = 0; i < LANES; i++)
        to[i * 2] = weights[i];
}

/* The transforms are those of float32: this file brings the product only. */
const struct csi_wino_fixed_ops csi_wino_fixed_avx512vnni = {
    .features = CSI_CPU_AVX512 | CSI_CPU_AVX512_VNNI,
    .rows = ROWS,
    .block = BLOCK,
    .weights_block = 2,
    .quantize = quantize,
    .put_weights = put_weights,
    .gemm = gemm,
};
