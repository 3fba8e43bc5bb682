/*
 * The kernel set for NEON: four lanes. Register tile 5 × 4: 20 sums, 4 weights, 1 input value of 32
 * registers.
 */
#include "kernels/arm/lanes_neon.h"

#define TILE_ROWS    5u
#define TILE_VECTORS 4u

#include "kernels/lanes_kernels.h"

static void tile(const struct csi_tile *t)
{
    switch (t->rows) {
    case 1: tile_body(t, 1, 4); break;
    case 2: tile_body(t, 2, 4); break;
    case 3: tile_body(t, 3, 4); break;
    case 4: tile_body(t, 4, 4); break;
    default: tile_body(t, 5, 4); break;
    }
}

void csi_kernels_fill_neon(struct csi_kernels *kernels)
{
    fill_lanes(kernels);
    kernels->name = "neon";
    kernels->tile = tile;
}
