/*
 * 8-bit convolution for NEON with dot products: sdot multiplies signed bytes, so the input is read minus 128,
 * which the tile's start makes up for. Register tile 6 × 4: 24 sums, 6 inputs, 1 of weights of 32 registers.
 * Sixteen bytes of every row are loaded at once and used by lane: one by one, each four bytes would take a
 * load and an exclusive or for four products.
 */
#include "kernels/arm/lanes_neon.h"

#include "kernels/lanes_common.h"

#define BYTE_ROWS    6u
#define BYTE_VECTORS 4u

typedef int32x4_t dots;

ALWAYS_INLINE dots dots_load(const int32_t *p)
{
    return vld1q_s32(p);
}
ALWAYS_INLINE lanes dots_floats(dots sum)
{
    return vcvtq_f32_s32(sum);
}

#include "kernels/byte_finish.h"

/* Four quads of a row. */
ALWAYS_INLINE int8x16_t quads_load(const uint8_t *p)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(128)));
}
/* One, in every lane. */
ALWAYS_INLINE int8x16_t quad_load(const uint8_t *p)
{
    uint32_t four;

    memcpy(&four, p, sizeof four);
    return vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), vdupq_n_u8(128)));
}

/* sum[r][v] += the quad in that lane of x[r] · its weights, which `weights` steps over. */
#define ADD_QUAD(lane)                                                                                       \
    do {                                                                                                     \
        UNROLL                                                                                               \
        for (size_t v = 0; v < BYTE_VECTORS; v++, weights += 4 * LANES) {                                    \
            const int8x16_t w = vld1q_s8(weights);                                                           \
            UNROLL                                                                                           \
            for (size_t r = 0; r < rows; r++)                                                                \
                sum[r][v] = vdotq_laneq_s32(sum[r][v], w, x[r], lane);                                       \
        }                                                                                                    \
    } while (0)

/* Adds a tap, from the first row's bytes `in`; where the next tap's weights begin. */
ALWAYS_INLINE const int8_t *add_tap(dots sum[BYTE_ROWS][BYTE_VECTORS], const uint8_t *in, size_t step,
                                    size_t quads, const int8_t *weights, const size_t rows)
{
    int8x16_t x[BYTE_ROWS];

    for (; quads >= 4; quads -= 4, in += 16) {
        UNROLL
        for (size_t r = 0; r < rows; r++)
            x[r] = quads_load(in + r * step);
        ADD_QUAD(0);
        ADD_QUAD(1);
        ADD_QUAD(2);
        ADD_QUAD(3);
    }
    for (; quads > 0; quads--, in += 4) {
        UNROLL
        for (size_t r = 0; r < rows; r++)
            x[r] = quad_load(in + r * step);
        ADD_QUAD(0);
    }
    return weights;
}

ALWAYS_INLINE void tile_rows(const struct csi_byte_tile *t, const size_t rows)
{
    const int8_t *weights = t->weights;
    int32_t sums[BYTE_ROWS * BYTE_VECTORS * LANES];
    dots sum[BYTE_ROWS][BYTE_VECTORS];

    UNROLL
    for (size_t v = 0; v < BYTE_VECTORS; v++) {
        UNROLL
        for (size_t r = 0; r < rows; r++)
            sum[r][v] = dots_load(t->start + v * LANES);
    }
    for (size_t tap = 0; tap < t->taps; tap++)
        weights = add_tap(sum, t->in + t->offsets[tap], t->row_step, t->quads, weights, rows);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t v = 0; v < BYTE_VECTORS; v++)
            vst1q_s32(sums + (r * BYTE_VECTORS + v) * LANES, sum[r][v]);
    }
    byte_finish(t, sums);
}

static void byte_tile(const struct csi_byte_tile *t)
{
    switch (t->rows) {
    case 1: tile_rows(t, 1); break;
    case 2: tile_rows(t, 2); break;
    case 3: tile_rows(t, 3); break;
    case 4: tile_rows(t, 4); break;
    case 5: tile_rows(t, 5); break;
    default: tile_rows(t, 6); break;
    }
}

static const char *byte_name(size_t rows, size_t taps, size_t quads, bool bytes)
{
    (void)rows;
    (void)taps;
    (void)quads;
    (void)bytes;
    return "dotprod";
}

/* Over csi_bytes_fill_neon's, whose other kernels need no dot products. */
void csi_bytes_fill_dotprod(struct csi_kernels *kernels)
{
    kernels->byte_rows = BYTE_ROWS;
    kernels->byte_panel = BYTE_VECTORS * LANES;
    kernels->byte_offset = 128;
    kernels->byte_fast = true;
    kernels->byte_name = byte_name;
    kernels->byte_tile = byte_tile;
}
