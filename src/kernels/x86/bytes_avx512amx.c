/*
 * 8-bit convolution on AMX's tile registers: tdpbusd multiplies 16 rows of 64 bytes by 64 × 16 weights and
 * adds them to 16 × 16 sums, in 16 cycles: eight times what vpdpbusd does meanwhile. The packed weights of a
 * panel are the second operand as they stand, and so are the pixels of a band: rows `row_step` apart.
 *
 * Register tile 32 × 32: four tiles of sums, two of pixels, two of weights; four loads feed four products. A
 * call computes a whole line, block by block. While the tile unit multiplies, the vector units scale, clamp
 * and store the block before, a row behind each product: alone they would take as long as 64 channels'
 * products.
 *
 * Source of the instructions' timing: "Intel 64 and IA-32 Architectures Optimization Reference Manual",
 * chapter 20.
 */
#include "kernels/x86/lanes_avx512.h"

#include "kernels/lanes_common.h"
#include "kernels/x86/bytes_avx512vnni.h"
#include "kernels/x86/tiles.h"

typedef __m512i dots;

ALWAYS_INLINE dots dots_load(const int32_t *p)
{
    return _mm512_load_si512(p);
}
ALWAYS_INLINE lanes dots_floats(dots sum)
{
    return _mm512_cvtepi32_ps(sum);
}

#include "kernels/byte_finish.h"

#define BLOCK_ROWS (2 * CSI_TILE_ROWS)
#define LINE_ROWS  256u /* of a call */
#define PANEL      32u
/* A panel's bytes that stay in the first-level cache beside the pixels; more are fetched a step ahead. */
#define NEAR ((size_t)24 << 10)

/* The tile registers. */
#define SUMS_00   0
#define SUMS_01   1
#define SUMS_10   2
#define SUMS_11   3
#define PIXELS_0  4
#define PIXELS_1  5
#define WEIGHTS_0 6
#define WEIGHTS_1 7

/* Rows on their way: first their sums are computed, then, one block later, the outputs from these. */
struct block {
    const struct csi_byte_tile *line;
    size_t first, rows; /* of the line */
    int32_t *sums;      /* [rows][width] */
};

/* Quads of a step: as many as a tile holds, and the same in every step, because another shape of the tiles
 * costs as much as 20 products. */
static size_t step_quads(size_t quads)
{
    size_t steps = (quads + 15) / 16;

    while (quads % steps != 0)
        steps++;
    return quads / steps;
}

/* What this thread's tile registers are configured for; all zero: not in use. */
static _Thread_local struct csi_tile_config configured;

static void configure(size_t quads, size_t upper, size_t lower)
{
    struct csi_tile_config config = {.palette = 1};
    const size_t rows[CSI_TILES] = {upper, upper, lower, lower, upper, lower, quads, quads};

    if (configured.rows[SUMS_00] == upper && configured.rows[WEIGHTS_0] == quads &&
        (configured.rows[SUMS_10] == lower || lower == 0)) /* a lower half may stay unused */
        return;
    for (size_t i = 0; i < CSI_TILES; i++) {
        bool pixels = i == PIXELS_0 || i == PIXELS_1;

        config.rows[i] = (uint8_t)rows[i];
        config.row_bytes[i] = (uint16_t)(rows[i] == 0 ? 0 : pixels ? quads * 4 : CSI_TILE_BYTES);
    }
    configured = config;
    CSI_TILES_READ_MEMORY();
    _tile_loadconfig(&configured);
}

static void byte_release(void)
{
    if (configured.palette == 0)
        return;
    configured = (struct csi_tile_config){0};
    _tile_release();
}

/* Rows of a line as a tile of their own. */
static struct csi_byte_tile rows_of(const struct csi_byte_tile *t, size_t first, size_t rows)
{
    struct csi_byte_tile part = *t;

    part.rows = rows;
    part.in += first * t->row_step;
    if (t->out_bytes != NULL)
        part.out_bytes += first * t->out_step;
    else
        part.out_floats += first * t->out_step;
    if (t->residual_bytes != NULL)
        part.residual_bytes += first * t->residual_step;
    else if (t->residual_floats != NULL)
        part.residual_floats += first * t->residual_step;
    return part;
}

/* ---- the outputs of a block ---- */

/* What is asked once instead of for every row. */
enum kind { BYTES, BYTES_AND_RESIDUAL, ANY };

static enum kind kind_of(const struct csi_byte_tile *t)
{
    if (t->width != PANEL || t->out_bytes == NULL || t->residual_floats != NULL)
        return ANY;
    return t->residual_bytes == NULL ? BYTES : BYTES_AND_RESIDUAL;
}

/* What its next row needs, but for `ANY`; copies, because a byte that is stored might be any of the
 * originals. */
struct output {
    __m512i start[2], zero;
    lanes scale[2], bias[2], low, high, inverse, residual_scale, residual_zero;
    const int32_t *sums;
    uint8_t *out;
    const uint8_t *residual;
    size_t rows, out_step, residual_step; /* rows: that are left */
};

ALWAYS_INLINE struct output outputs_of(const struct block *block, const enum kind kind)
{
    const struct csi_byte_tile *t = block->line;

    if (kind == ANY)
        return (struct output){.rows = 0};
    return (struct output){
        .start = {_mm512_load_si512(t->start), _mm512_load_si512(t->start + LANES)},
        .zero = _mm512_set1_epi32(t->zero),
        .scale = {lanes_load(t->scale), lanes_load(t->scale + LANES)},
        .bias = {lanes_load(t->bias), lanes_load(t->bias + LANES)},
        .low = lanes_set(t->low),
        .high = lanes_set(t->high),
        .inverse = lanes_set(t->inverse),
        .residual_scale = lanes_set(t->residual.scale),
        .residual_zero = lanes_set((float)t->residual.zero),
        .sums = block->sums,
        .out = t->out_bytes + block->first * t->out_step,
        .residual = kind == BYTES_AND_RESIDUAL ? t->residual_bytes + block->first * t->residual_step : NULL,
        .rows = block->rows,
        .out_step = t->out_step,
        .residual_step = t->residual_step,
    };
}

ALWAYS_INLINE void put_vector(const struct output *o, const size_t v, const enum kind kind)
{
    const __m512i sum = _mm512_add_epi32(_mm512_load_si512(o->sums + v * LANES), o->start[v]);
    lanes x = lanes_add(lanes_mul(_mm512_cvtepi32_ps(sum), o->scale[v]), o->bias[v]);
    __m512i whole;

    if (kind == BYTES_AND_RESIDUAL) {
        const lanes residual = lanes_load_bytes(o->residual + v * LANES);

        x = lanes_add(x, lanes_mul(lanes_sub(residual, o->residual_zero), o->residual_scale));
    }
    x = lanes_clamp(x, o->low, o->high);
    whole = _mm512_max_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(lanes_mul(x, o->inverse)), o->zero),
                             _mm512_setzero_si512());
    _mm_storeu_si128((__m128i *)(void *)(o->out + v * LANES), _mm512_cvtusepi32_epi8(whole));
}

ALWAYS_INLINE void put_rows(struct output *o, size_t rows, const enum kind kind)
{
    if (kind == ANY)
        return;
    for (; rows > 0 && o->rows > 0; rows--, o->rows--) {
        put_vector(o, 0, kind);
        put_vector(o, 1, kind);
        o->sums += PANEL;
        o->out += o->out_step;
        if (kind == BYTES_AND_RESIDUAL)
            o->residual += o->residual_step;
    }
}

/* ---- its sums ---- */

/* From zero where `start` is added with the outputs: a tile's load takes as long as half a product. */
ALWAYS_INLINE void begin_sums(const struct csi_byte_tile *t, const bool lower, const bool wide,
                              const enum kind kind)
{
    if (kind == ANY) {
        _tile_loadd(SUMS_00, t->start, 0);
        if (wide)
            _tile_loadd(SUMS_01, t->start + CSI_TILE_ROWS, 0);
        if (lower)
            _tile_loadd(SUMS_10, t->start, 0);
        if (lower && wide)
            _tile_loadd(SUMS_11, t->start + CSI_TILE_ROWS, 0);
        return;
    }
    _tile_zero(SUMS_00);
    _tile_zero(SUMS_01);
    if (lower) {
        _tile_zero(SUMS_10);
        _tile_zero(SUMS_11);
    }
}

/* Between its products, the outputs of the block before. */
ALWAYS_INLINE void multiply(const struct block *block, const struct block *before, size_t quads, size_t upper,
                            const bool lower, const bool wide, const enum kind kind)
{
    const struct csi_byte_tile *t = block->line;
    const size_t steps = t->quads / quads, width = wide ? PANEL : CSI_TILE_ROWS, line = width * 4;
    const size_t slots = t->taps * steps * (lower ? 2 : 1) * (wide ? 2 : 1);
    const size_t share = (before->rows + slots - 1) / slots; /* rows put behind a product */
    const size_t row_step = t->row_step, down = upper * row_step;
    const size_t ahead = t->taps * t->quads * line > NEAR ? quads * line : 0; /* bytes to fetch */
    const uint8_t *in = t->in + block->first * row_step;
    const int8_t *weights = t->weights;
    struct output o = outputs_of(before, kind);

    begin_sums(t, lower, wide, kind);
    for (size_t tap = 0; tap < t->taps; tap++) {
        const uint8_t *at = in + t->offsets[tap];

        for (size_t step = 0; step < steps; step++, at += quads * 4) {
            UNROLL
            for (size_t i = 0; i < ahead; i += CSI_TILE_BYTES)
                _mm_prefetch(weights + quads * line + i, _MM_HINT_T0);
            _tile_loadd(WEIGHTS_0, weights, line);
            CSI_TILES_APART();
            _tile_loadd(PIXELS_0, at, row_step);
            CSI_TILES_APART();
            _tile_dpbusd(SUMS_00, PIXELS_0, WEIGHTS_0);
            CSI_TILES_APART();
            put_rows(&o, share, kind);
            if (wide) {
                _tile_loadd(WEIGHTS_1, weights + CSI_TILE_BYTES, line);
                CSI_TILES_APART();
                _tile_dpbusd(SUMS_01, PIXELS_0, WEIGHTS_1);
                CSI_TILES_APART();
                put_rows(&o, share, kind);
            }
            if (lower) {
                _tile_loadd(PIXELS_1, at + down, row_step);
                CSI_TILES_APART();
                _tile_dpbusd(SUMS_10, PIXELS_1, WEIGHTS_0);
                CSI_TILES_APART();
                put_rows(&o, share, kind);
            }
            if (lower && wide) {
                _tile_dpbusd(SUMS_11, PIXELS_1, WEIGHTS_1);
                CSI_TILES_APART();
                put_rows(&o, share, kind);
            }
            weights += quads * line;
        }
    }
    _tile_stored(SUMS_00, block->sums, line);
    if (wide)
        _tile_stored(SUMS_01, block->sums + CSI_TILE_ROWS, line);
    if (lower)
        _tile_stored(SUMS_10, block->sums + upper * width, line);
    if (lower && wide)
        _tile_stored(SUMS_11, block->sums + upper * width + CSI_TILE_ROWS, line);
}

static void run_block(const struct block *block, const struct block *before, size_t quads, enum kind kind)
{
    size_t upper = block->rows > CSI_TILE_ROWS ? (block->rows + 1) / 2 : block->rows;
    bool lower = upper < block->rows;

    configure(quads, upper, block->rows - upper);
    if (lower && kind == BYTES)
        multiply(block, before, quads, upper, true, true, BYTES);
    else if (lower && kind == BYTES_AND_RESIDUAL)
        multiply(block, before, quads, upper, true, true, BYTES_AND_RESIDUAL);
    else if (lower && block->line->width == PANEL)
        multiply(block, before, quads, upper, true, true, ANY);
    else if (lower)
        multiply(block, before, quads, upper, true, false, ANY);
    else if (kind == BYTES)
        multiply(block, before, quads, upper, false, true, BYTES);
    else if (kind == BYTES_AND_RESIDUAL)
        multiply(block, before, quads, upper, false, true, BYTES_AND_RESIDUAL);
    else if (block->line->width == PANEL)
        multiply(block, before, quads, upper, false, true, ANY);
    else
        multiply(block, before, quads, upper, false, false, ANY);
}

/* The rest of a block's outputs. */
static void finish(const struct block *block, enum kind kind)
{
    struct csi_byte_tile part = rows_of(block->line, block->first, block->rows);
    struct output o;

    if (kind == ANY) {
        byte_finish(&part, block->sums);
        return;
    }
    o = outputs_of(block, kind);
    put_rows(&o, o.rows, kind);
}

static void tiled_line(const struct csi_byte_tile *t)
{
    _Alignas(64) int32_t sums[2][BLOCK_ROWS * PANEL];
    struct block before = {.line = t, .sums = sums[0]};
    size_t blocks = (t->rows + BLOCK_ROWS - 1) / BLOCK_ROWS, quads = step_quads(t->quads);
    enum kind kind = kind_of(t);
    bool whole = t->rows % CSI_TILE_ROWS == 0; /* tiles full of rows; else blocks of nearly one shape */

    CSI_TILES_READ_MEMORY();
    for (size_t i = 0; i < blocks; i++) {
        const size_t first = whole ? i * BLOCK_ROWS : t->rows * i / blocks;
        const size_t end = whole ? csi_min_size(first + BLOCK_ROWS, t->rows) : t->rows * (i + 1) / blocks;
        const struct block block = {t, first, end - first, sums[i % 2]};

        run_block(&block, &before, quads, kind);
        if (kind == ANY)
            finish(&block, ANY);
        before = block;
    }
    if (kind != ANY)
        finish(&before, kind);
}

static void thin_line(const struct csi_byte_tile *t)
{
    const size_t tiles = (t->rows + CSI_BYTE_ROWS_AVX512VNNI - 1) / CSI_BYTE_ROWS_AVX512VNNI;

    for (size_t i = 0; i < tiles; i++) {
        size_t first = t->rows * i / tiles;
        struct csi_byte_tile part = rows_of(t, first, t->rows * (i + 1) / tiles - first);

        csi_byte_tile_avx512vnni(&part);
    }
}

/* Cycles of a block, nearly: by tiles (their stores included) and by vpdpbusd, behind which bytes are put one
 * after the other. Tiles must promise more than half, because processors that are hot or shared issue them at
 * half of their rate. */
static bool tiles_pay(size_t rows, size_t taps, size_t quads, bool bytes)
{
    const size_t block = csi_min_size(rows, BLOCK_ROWS), steps = taps * quads / step_quads(quads);
    const size_t tiled = block > CSI_TILE_ROWS ? 64 * steps + 120 : 40 * steps + 70;
    const size_t untiled = block * (4 * taps * quads / 3 + (bytes ? 12 : 0));

    return 5 * untiled > 12 * tiled;
}

static void byte_tile(const struct csi_byte_tile *t)
{
    if (tiles_pay(t->rows, t->taps, t->quads, kind_of(t) != ANY))
        tiled_line(t);
    else
        thin_line(t);
}

static const char *byte_name(size_t rows, size_t taps, size_t quads, bool bytes)
{
    return tiles_pay(rows, taps, quads, bytes) ? "amx" : "vnni";
}

void csi_bytes_fill_avx512amx(struct csi_kernels *kernels)
{
    kernels->byte_rows = LINE_ROWS;
    kernels->byte_skew = CSI_TILE_BYTES;
    kernels->byte_tile = byte_tile;
    kernels->byte_release = byte_release;
    kernels->byte_name = byte_name;
}
