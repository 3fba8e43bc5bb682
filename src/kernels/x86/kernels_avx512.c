/*
 * The kernel set for AVX-512 (F, BW, DQ, VL): sixteen lanes. Register tile 12 × 2: 24 sums, 2 weights, 1
 * input value; 12 input pointers are what the general registers hold.
 */
#include "kernels/x86/lanes_avx512.h"

#define TILE_ROWS    12u
#define TILE_VECTORS 2u

#include "kernels/lanes_kernels.h"

static void tile_wide(const struct csi_tile *t)
{
    switch (t->rows) {
    case 1: tile_body(t, 1, 2); break;
    case 2: tile_body(t, 2, 2); break;
    case 3: tile_body(t, 3, 2); break;
    case 4: tile_body(t, 4, 2); break;
    case 5: tile_body(t, 5, 2); break;
    case 6: tile_body(t, 6, 2); break;
    case 7: tile_body(t, 7, 2); break;
    case 8: tile_body(t, 8, 2); break;
    case 9: tile_body(t, 9, 2); break;
    case 10: tile_body(t, 10, 2); break;
    case 11: tile_body(t, 11, 2); break;
    default: tile_body(t, 12, 2); break;
    }
}

static void tile_narrow(const struct csi_tile *t)
{
    switch (t->rows) {
    case 1: tile_body(t, 1, 1); break;
    case 2: tile_body(t, 2, 1); break;
    case 3: tile_body(t, 3, 1); break;
    case 4: tile_body(t, 4, 1); break;
    case 5: tile_body(t, 5, 1); break;
    case 6: tile_body(t, 6, 1); break;
    case 7: tile_body(t, 7, 1); break;
    case 8: tile_body(t, 8, 1); break;
    case 9: tile_body(t, 9, 1); break;
    case 10: tile_body(t, 10, 1); break;
    case 11: tile_body(t, 11, 1); break;
    default: tile_body(t, 12, 1); break;
    }
}

static void tile(const struct csi_tile *t)
{
    if (t->width == 2 * LANES)
        tile_wide(t);
    else
        tile_narrow(t);
}

void csi_kernels_fill_avx512(struct csi_kernels *kernels)
{
    fill_lanes(kernels);
    kernels->name = "avx512";
    kernels->tile = tile;
    csi_bytes_fill_avx2(kernels); /* until VNNI adds its own */
}
