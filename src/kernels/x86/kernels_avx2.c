/*
 * The kernel set for AVX2 and FMA: eight lanes. Register tile 6 × 2: 12 sums, 2 weights, 1 input value of 16
 * registers.
 */
#include "kernels/x86/lanes_avx2.h"

#define TILE_ROWS    6u
#define TILE_VECTORS 2u

#include "kernels/lanes_kernels.h"

static void tile(const struct csi_tile *t)
{
    switch (t->rows) {
    case 1: tile_body(t, 1, 2); break;
    case 2: tile_body(t, 2, 2); break;
    case 3: tile_body(t, 3, 2); break;
    case 4: tile_body(t, 4, 2); break;
    case 5: tile_body(t, 5, 2); break;
    default: tile_body(t, 6, 2); break;
    }
}

void csi_kernels_fill_avx2(struct csi_kernels *kernels)
{
    fill_lanes(kernels);
    kernels->name = "avx2";
    kernels->tile = tile;
    csi_bytes_fill_avx2(kernels);
}
