/*
 * Winograd steps whose products run on AMX's tile registers. These multiply bfloat16, sixteen times as many a
 * cycle as AVX-512 multiplies float32, and add in float32. A float32 is taken apart into two bfloat16, 16 of
 * its 24 bits: v·w is then first·first + second·first + first·second, three products where float32 has one,
 * and what is left out is about 2⁻¹⁷ of it. With F(4,3) alone, whose transforms magnify errors least, a
 * layer's outputs are three times as far from exact ones as float32's F(8,3) are.
 *
 * A panel of up to 16 tiles by 32 output channels: two registers of sums, two of V, two of weights.
 *
 * Source of the splitting: Henry, Tang and Heinecke, "Leveraging the bfloat16 Artificial Intelligence
 * Datatype For Higher-Precision Computations" (2019).
 */
#include "kernels/x86/wino_lanes_avx512.h"

#include "base/cpu.h"
#include "kernels/x86/tiles.h"

#define ROWS  16u
#define LANES 32u

/* Sixteen channels: what they round to, and what that leaves, a line of 32 behind. */
CSI_INLINE void store_split(float *v, vec a)
{
    const __m256bh first = _mm512_cvtneps_pbh(a);
    const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)first), 16);
    const __m256bh second = _mm512_cvtneps_pbh(_mm512_sub_ps(a, _mm512_castsi512_ps(wide)));
    _mm256_storeu_si256((__m256i *)(void *)v, (__m256i)first);
    _mm256_storeu_si256((__m256i *)(void *)(v + CSI_WINO_SPLIT_BLOCK / 2), (__m256i)second);
}

#define V_STORE_INPUT store_split
#include "kernels/wino_tile.h"

/* The tile registers. */
#define SUMS_0    0
#define SUMS_1    1
#define FIRST     2
#define SECOND    3
#define WEIGHTS_0 4
#define WEIGHTS_1 5

/* Tiles of a panel that this thread's registers are configured for; 0: not in use. */
static _Thread_local size_t configured;

static void begin(size_t rows)
{
    if (configured == rows)
        return;
    csi_tiles_configure(WEIGHTS_1 + 1, rows);
    configured = rows;
}

static void end(void)
{
    if (configured == 0)
        return;
    configured = 0;
    _tile_release();
}

static void row_gemm(size_t rows, size_t blocks, const float *v, const float *w, size_t stride, float *m,
                     bool add, const float *ahead, size_t ahead_lines)
{
    (void)stride;
    const size_t tile = CSI_TILE_ROWS * CSI_TILE_BYTES / sizeof(float), line = CSI_WINO_SPLIT_BLOCK;
    CSI_TILES_READ_MEMORY();
    if (add) {
        _tile_loadd(SUMS_0, m, LANES * sizeof(float));
        _tile_loadd(SUMS_1, m + LANES / 2, LANES * sizeof(float));
    } else {
        _tile_zero(SUMS_0);
        _tile_zero(SUMS_1);
    }
    for (size_t left = (blocks + 1) / 2; left > 0; left--, v += rows * line, w += 4 * tile) {
        for (size_t i = 8 * ahead_lines; i > 0; i--, ahead += 16)
            _mm_prefetch((const char *)ahead, _MM_HINT_T1);
        _tile_loadd(FIRST, v, line * sizeof(float));
        CSI_TILES_APART();
        _tile_loadd(WEIGHTS_0, w, CSI_TILE_BYTES);
        CSI_TILES_APART();
        _tile_dpbf16ps(SUMS_0, FIRST, WEIGHTS_0);
        CSI_TILES_APART();
        _tile_loadd(WEIGHTS_1, w + tile, CSI_TILE_BYTES);
        CSI_TILES_APART();
        _tile_dpbf16ps(SUMS_1, FIRST, WEIGHTS_1);
        CSI_TILES_APART();
        _tile_loadd(SECOND, v + line / 2, line * sizeof(float));
        CSI_TILES_APART();
        _tile_dpbf16ps(SUMS_0, SECOND, WEIGHTS_0);
        CSI_TILES_APART();
        _tile_dpbf16ps(SUMS_1, SECOND, WEIGHTS_1);
        CSI_TILES_APART();
        _tile_loadd(WEIGHTS_0, w + 2 * tile, CSI_TILE_BYTES);
        CSI_TILES_APART();
        _tile_dpbf16ps(SUMS_0, FIRST, WEIGHTS_0);
        CSI_TILES_APART();
        _tile_loadd(WEIGHTS_1, w + 3 * tile, CSI_TILE_BYTES);
        CSI_TILES_APART();
        _tile_dpbf16ps(SUMS_1, FIRST, WEIGHTS_1);
        CSI_TILES_APART();
    }
    _tile_stored(SUMS_0, m, LANES * sizeof(float));
    _tile_stored(SUMS_1, m + LANES / 2, LANES * sizeof(float));
}

const struct csi_wino_ops csi_wino_ops_avx512amx = {
    .set = "avx512amx",
    .features = CSI_CPU_AVX512 | CSI_CPU_AVX512_BF16 | CSI_CPU_AMX_BF16,
    .split = true,
    .begin = begin,
    .end = end,
    .rows = ROWS,
    .lanes = LANES,
    .input = {input4},
    .row_gemm = row_gemm,
    .output = {output4},
};
