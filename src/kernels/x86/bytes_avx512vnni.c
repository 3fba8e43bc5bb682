/*
 * 8-bit convolution for AVX-512 VNNI: vpdpbusd multiplies 64 bytes and adds fours of them to 16 sums, without
 * saturating. Register tile 14 × 2: 28 sums, 2 weights, 1 input quad of 32 registers; 16 loads feed 28 dot
 * products.
 */
#include "kernels/x86/lanes_avx512.h"

#include "kernels/byte_lanes.h"
#include "kernels/x86/bytes_avx512vnni.h"

#define BYTE_ROWS    CSI_BYTE_ROWS_AVX512VNNI
#define BYTE_VECTORS 2u

typedef __m512i dots;
typedef __m512i quad;
typedef __m512i quad_weights;

ALWAYS_INLINE dots dots_load(const int32_t *p)
{
    return _mm512_loadu_si512(p);
}
ALWAYS_INLINE void dots_store(int32_t *p, dots sum)
{
    _mm512_store_si512(p, sum);
}
ALWAYS_INLINE lanes dots_floats(dots sum)
{
    return _mm512_cvtepi32_ps(sum);
}
ALWAYS_INLINE quad quad_load(const uint8_t *p)
{
    float four; /* as float: an integer would take the way through a general register */

    memcpy(&four, p, sizeof four);
    return _mm512_castps_si512(_mm512_set1_ps(four));
}
ALWAYS_INLINE quad_weights quad_weights_load(const int8_t *p)
{
    return _mm512_load_si512(p);
}
ALWAYS_INLINE dots dots_add(dots sum, quad x, quad_weights w)
{
    return _mm512_dpbusd_epi32(sum, x, w);
}

#include "kernels/byte_tile.h"

static void tile_wide(const struct csi_byte_tile *t)
{
    switch (t->rows) {
    case 1: byte_body(t, 1, 2); break;
    case 2: byte_body(t, 2, 2); break;
    case 3: byte_body(t, 3, 2); break;
    case 4: byte_body(t, 4, 2); break;
    case 5: byte_body(t, 5, 2); break;
    case 6: byte_body(t, 6, 2); break;
    case 7: byte_body(t, 7, 2); break;
    case 8: byte_body(t, 8, 2); break;
    case 9: byte_body(t, 9, 2); break;
    case 10: byte_body(t, 10, 2); break;
    case 11: byte_body(t, 11, 2); break;
    case 12: byte_body(t, 12, 2); break;
    case 13: byte_body(t, 13, 2); break;
    default: byte_body(t, 14, 2); break;
    }
}

static void tile_narrow(const struct csi_byte_tile *t)
{
    switch (t->rows) {
    case 1: byte_body(t, 1, 1); break;
    case 2: byte_body(t, 2, 1); break;
    case 3: byte_body(t, 3, 1); break;
    case 4: byte_body(t, 4, 1); break;
    case 5: byte_body(t, 5, 1); break;
    case 6: byte_body(t, 6, 1); break;
    case 7: byte_body(t, 7, 1); break;
    case 8: byte_body(t, 8, 1); break;
    case 9: byte_body(t, 9, 1); break;
    case 10: byte_body(t, 10, 1); break;
    case 11: byte_body(t, 11, 1); break;
    case 12: byte_body(t, 12, 1); break;
    case 13: byte_body(t, 13, 1); break;
    default: byte_body(t, 14, 1); break;
    }
}

void csi_byte_tile_avx512vnni(const struct csi_byte_tile *t)
{
    if (t->width == 2 * LANES)
        tile_wide(t);
    else
        tile_narrow(t);
}

static const char *byte_name(size_t rows, size_t taps, size_t quads, bool bytes)
{
    (void)rows;
    (void)taps;
    (void)quads;
    (void)bytes;
    return "vnni";
}

void csi_bytes_fill_avx512vnni(struct csi_kernels *kernels)
{
    fill_byte_lanes(kernels);
    kernels->byte_rows = BYTE_ROWS;
    kernels->byte_panel = BYTE_VECTORS * LANES;
    kernels->byte_fast = true;
    kernels->byte_name = byte_name;
    kernels->byte_tile = csi_byte_tile_avx512vnni;
}
