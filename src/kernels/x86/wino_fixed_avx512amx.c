/*
 * Winograd steps in 16-bit fixed point whose products run on AMX's tile registers. These multiply bytes,
 * sixteen times as many a cycle as vpdpwssd multiplies 16-bit integers. An integer is taken apart into a
 * signed and an unsigned byte, 256 · high + low, so that a product is four of bytes:
 *
 *     v · w = high·high << 16 + (high·low + low·high) << 8 + low·low
 *
 * Sums of each wrap around at 2³² and so does what they are put together to; vpdpwssd's sum does not
 * (wino_ops.h), so both are the same number.
 *
 * A panel by half of 32 output channels: three registers of sums, two of V, two of weights. While the tile
 * unit multiplies, the vector units put the sums of the product before together, some rows behind each
 * instruction: alone they would take as long as 64 channels' products. So the last sums of a task reach M
 * when it ends.
 *
 * V: [channel block of 64][tile][64 high, 64 low] bytes; weights: scales, then [half of the lanes][channel
 * block of 64][high, low][16][16 lanes][4]. Byte 4 i + j of 64 belongs to channel 16 j + i: as integers come
 * out of rounding they need not be moved across lanes, and the order in which products are added is free.
 *
 * Source of the instructions' timing: "Intel 64 and IA-32 Architectures Optimization Reference Manual",
 * chapter 20.
 */
#include "base/cpu.h"
#include "kernels/wino_panels.h"
#include "kernels/x86/tiles.h"
#include "kernels/x86/wino_fixed_avx512.h"

#define ROWS      14u /* where there are 16, bands that hold one panel outgrow the second-level cache */
#define LANES     32u
#define BLOCK     64u
#define TILE      (CSI_TILE_ROWS * CSI_TILE_BYTES) /* bytes */
#define ROW_BYTES (2 * BLOCK)                      /* of V: a tile's high and low bytes */

/* The tile registers. */
#define HIGH   0 /* sums of high · high, */
#define MIDDLE 1 /* high · low + low · high, */
#define LOW    2 /* low · low */
#define V_HIGH 3
#define V_LOW  4
#define W_HIGH 5
#define W_LOW  6
#define SUMS   3u
/* Products of a block of channels. */
#define PRODUCTS 4u

/* Sums of a panel and half of the lanes, on their way to M. */
struct sums {
    const int32_t *integers; /* [SUMS][16][16] */
    const float *scales;     /* of the panel's tiles */
    __m512 scale;            /* of the lanes */
    float *m;
    size_t rows; /* that are left */
};

/* A thread's products. */
static _Thread_local struct {
    _Alignas(64) int32_t integers[2][SUMS * TILE / sizeof(int32_t)];
    struct sums waiting; /* to be put together */
    size_t turn;         /* number of the next sums */
    size_t configured;   /* tiles of a panel that the registers are configured for; 0: not in use */
} own;

static void configure(size_t rows)
{
    if (own.configured == rows)
        return;
    csi_tiles_configure(W_LOW + 1, rows);
    own.configured = rows;
}

CSI_INLINE void put_rows(struct sums *sums, size_t rows)
{
    for (; rows > 0 && sums->rows > 0; rows--, sums->rows--) {
        const int32_t *at = sums->integers;
        const size_t next = TILE / sizeof(int32_t);
        const __m512i high = _mm512_slli_epi32(_mm512_load_si512(at + HIGH * next), 16);
        const __m512i middle = _mm512_slli_epi32(_mm512_load_si512(at + MIDDLE * next), 8);
        const __m512i low = _mm512_load_si512(at + LOW * next);
        const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(high, low), middle);
        _mm512_store_ps(sums->m, _mm512_mul_ps(_mm512_cvtepi32_ps(sum),
                                               _mm512_mul_ps(_mm512_set1_ps(*sums->scales), sums->scale)));
        sums->integers += 16;
        sums->scales++;
        sums->m += LANES;
    }
}

static void end(void)
{
    if (own.configured == 0)
        return;
    put_rows(&own.waiting, CSI_TILE_ROWS);
    own.configured = 0;
    _tile_release();
}

/* What is to be fetched: at each place behind an instruction for tiles `step` of `lines` lines of the next
 * call's weights to the second-level cache, */
struct ahead {
    const float *weights;
    size_t lines, step;
};
/* and four of V and of the weights of the next block of channels to the first-level one; or NULL, where they
 * are there. */
struct near {
    const uint8_t *v, *w;
};

#define PLACES     8u /* of a block of channels */
#define NEAR_LINES 4u /* of V, and of weights, at each: all that a block has */

CSI_INLINE void fetch(const uint8_t *bytes, size_t place)
{
    CSI_UNROLL
    for (size_t i = 0; bytes && i < NEAR_LINES; i++)
        _mm_prefetch((const char *)bytes + (place * NEAR_LINES + i) * CSI_TILE_BYTES, _MM_HINT_T0);
}

/* Stands behind each instruction for tiles. */
CSI_INLINE void apart(const struct near *near, size_t place, struct ahead *ahead)
{
    const size_t lines = csi_min_size(ahead->step, ahead->lines);
    fetch(near->w, place);
    fetch(near->v, place);
    for (size_t i = 0; i < lines; i++, ahead->weights += 16)
        _mm_prefetch((const char *)ahead->weights, _MM_HINT_T1);
    ahead->lines -= lines;
    CSI_TILES_APART();
}

/* Products of a panel with half of the lanes. */
struct product {
    const uint8_t *v, *w;
    float *m;
    size_t rows, blocks;
    bool near_v, near_w; /* they are in the first-level cache already */
    struct near behind;  /* what the first block of the next product needs */
};

/* Between them, the sums of the product before are put together. */
static void multiply_panel(const struct product *product, struct ahead *ahead)
{
    const size_t v_step = product->rows * ROW_BYTES, w_step = 2 * TILE, sums = TILE / sizeof(int32_t);
    const uint8_t *v = product->v, *w = product->w;
    struct sums before = own.waiting; /* copies: what is stored might be any of the originals */
    struct ahead far = *ahead;
    const size_t share = (before.rows + PRODUCTS * product->blocks - 1) / (PRODUCTS * product->blocks);
    int32_t *integers = own.integers[own.turn];
    for (size_t r = 0; r < product->rows; r++) /* written while the next product is made */
        _mm_prefetch((const char *)(product->m + r * LANES), _MM_HINT_T0);
    CSI_TILES_READ_MEMORY();
    _tile_zero(HIGH);
    _tile_zero(MIDDLE);
    _tile_zero(LOW);
    for (size_t left = product->blocks; left > 0; left--, v += v_step, w += w_step) {
        struct near near = product->behind;
        if (left > 1)
            near = (struct near){product->near_v ? NULL : v + v_step, product->near_w ? NULL : w + w_step};
        _tile_loadd(V_HIGH, v, ROW_BYTES);
        apart(&near, 0, &far);
        _tile_loadd(W_HIGH, w, CSI_TILE_BYTES);
        apart(&near, 1, &far);
        _tile_dpbssd(HIGH, V_HIGH, W_HIGH);
        apart(&near, 2, &far);
        put_rows(&before, share);
        _tile_loadd(W_LOW, w + TILE, CSI_TILE_BYTES);
        apart(&near, 3, &far);
        _tile_dpbsud(MIDDLE, V_HIGH, W_LOW);
        apart(&near, 4, &far);
        put_rows(&before, share);
        _tile_loadd(V_LOW, v + BLOCK, ROW_BYTES);
        apart(&near, 5, &far);
        _tile_dpbusd(MIDDLE, V_LOW, W_HIGH);
        apart(&near, 6, &far);
        put_rows(&before, share);
        _tile_dpbuud(LOW, V_LOW, W_LOW);
        apart(&near, 7, &far);
        put_rows(&before, share);
    }
    _tile_stored(HIGH, integers + HIGH * sums, CSI_TILE_BYTES);
    CSI_TILES_APART();
    _tile_stored(MIDDLE, integers + MIDDLE * sums, CSI_TILE_BYTES);
    CSI_TILES_APART();
    _tile_stored(LOW, integers + LOW * sums, CSI_TILE_BYTES);
    CSI_TILES_READ_MEMORY();
    *ahead = far;
}

CSI_INLINE const uint8_t *v_bytes(const float *panel)
{
    return (const uint8_t *)(const void *)(panel + CSI_WINO_FIXED_HEAD);
}

CSI_INLINE const uint8_t *w_bytes(const float *weights)
{
    return (const uint8_t *)(const void *)(weights + LANES);
}

/* What the product behind panel `p` of `panels` and half `half` multiplies first, unless it is near. */
static struct near near_behind(const struct product *product, const float *v_behind, size_t p, size_t panels,
                               size_t half, struct csi_wino_factors factors, struct csi_wino_factors next)
{
    if (p + 1 < panels)
        return (struct near){v_bytes(v_behind), NULL};
    if (half == 0)
        return (struct near){panels > 1 ? v_bytes(factors.v) : NULL, product->w + product->blocks * 2 * TILE};
    return (struct near){next.v != factors.v || panels > 1 ? v_bytes(next.v) : NULL, w_bytes(next.w)};
}

/* Half by half, so that the weights of one stay in the first-level cache from panel to panel. */
static void multiply(const struct csi_wino_shape *shape, struct csi_wino_factors factors,
                     struct csi_wino_factors next, float *m, size_t tiles)
{
    const size_t panels = csi_wino_panels(shape, tiles), blocks = csi_wino_fixed_pitch(shape) / BLOCK,
                 places = 2 * panels * blocks * PLACES;
    /* What one panel multiplies by few weights passes too quickly: they are left to the fetches from near. */
    const size_t lines = panels > 1 || blocks > 2 ? csi_wino_weight_floats(shape) / 16 : 0;
    struct ahead ahead = {next.w, lines, (lines + places - 1) / places};
    configure(csi_wino_panel_rows(shape, tiles));
    for (size_t half = 0; half < 2; half++) {
        for (size_t p = 0; p < panels; p++) {
            const struct csi_wino_panel panel = csi_wino_panel_at(shape, tiles, p);
            const float *v = factors.v + csi_wino_panel_offset(shape, p, panel.start);
            struct product product = {
                .v = v_bytes(v),
                .w = w_bytes(factors.w) + half * blocks * 2 * TILE,
                .m = m + panel.start * LANES + half * 16,
                .rows = panel.rows,
                .blocks = blocks,
                .near_v = panels == 1 && half == 1,
                .near_w = p > 0,
            };
            product.behind =
                near_behind(&product, v + panel.rows * csi_wino_tile_floats(shape) + CSI_WINO_FIXED_HEAD, p,
                            panels, half, factors, next);
            multiply_panel(&product, &ahead);
            own.waiting = (struct sums){own.integers[own.turn], v, _mm512_load_ps(factors.w + half * 16),
                                        product.m, panel.rows};
            own.turn = 1 - own.turn;
        }
    }
}

/* Sixteen channels' integers in the lower halves of 32 bits, and others in the upper ones. */
CSI_INLINE __m512i pair(__m512i lower, __m512i upper)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaa, lower, _mm512_slli_epi32(upper, 16));
}

/* `count` sixteens of a block's channels. */
CSI_INLINE void put_block(const float *v, __m512 factor, size_t count, int16_t *to)
{
    const __mmask64 upper = 0xaaaaaaaaaaaaaaaa;
    const __m512i zero = _mm512_setzero_si512(), a = rounded(v, factor);
    const __m512i b = count > 1 ? rounded(v + 16, factor) : zero;
    const __m512i c = count > 2 ? rounded(v + 32, factor) : zero;
    const __m512i d = count > 3 ? rounded(v + 48, factor) : zero;
    const __m512i even = pair(a, c), odd = pair(b, d);
    _mm512_store_si512(to, _mm512_mask_blend_epi8(upper, _mm512_srli_epi16(even, 8), odd));
    _mm512_store_si512(to + BLOCK / 2, _mm512_mask_blend_epi8(upper, even, _mm512_slli_epi16(odd, 8)));
}

CSI_INLINE void put(const float *v, __m512 factor, size_t channels, int16_t *to, size_t block_stride)
{
    size_t k = 0;
    for (; k + BLOCK <= channels; k += BLOCK, to += block_stride)
        put_block(v + k, factor, BLOCK / 16, to);
    if (k < channels)
        put_block(v + k, factor, (channels - k) / 16, to);
}

static void quantize(const struct csi_wino_fixed_tile *tile)
{
    quantize_tile(tile, put);
}

static void put_weights(void *integers, size_t pitch, size_t channel, const int16_t *weights)
{
    uint8_t *to = (uint8_t *)integers + channel / BLOCK * 2 * TILE + channel % 16 * CSI_TILE_BYTES +
                  channel % BLOCK / 16;
    for (size_t i = 0; i < LANES; i++) {
        const uint16_t bits = (uint16_t)weights[i];
        uint8_t *at = to + i / 16 * (pitch / BLOCK) * 2 * TILE + i % 16 * 4;
        at[0] = (uint8_t)(bits >> 8);
        at[TILE] = (uint8_t)bits;
    }
}

const struct csi_wino_fixed_ops csi_wino_fixed_avx512amx = {
    .features = CSI_CPU_AVX512 | CSI_CPU_AVX512_VNNI | CSI_CPU_AMX_INT8,
    .rows = ROWS,
    .block = BLOCK,
    .weights_block = BLOCK,
    .padded = true,
    .quantize = quantize,
    .put_weights = put_weights,
    .multiply = multiply,
    .end = end,
};
