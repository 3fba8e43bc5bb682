/*
 * The kernel set for NEON: four lanes. Register tile 5 × 4: 20 sums, 4 weights, 1 input value of 32
 * registers.
 */
#include "kernels/arm/lanes_neon.h"

#define TILE_ROWS    5u
#define TILE_VECTORS 4u
#define PRODUCT_ROWS 5u

#include "kernels/lanes_kernels.h"

static void tile(const struct csi_tile *t)
{
    switch (t->rows) {
        TILE_CASE(1, 4);
        TILE_CASE(2, 4);
        TILE_CASE(3, 4);
        TILE_CASE(4, 4);
        TILE_CASE(5, 4);
    }
}

static void product(const struct csi_product *p)
{
    switch (p->rows) {
        PRODUCT_CASE(1, 4);
        PRODUCT_CASE(2, 4);
        PRODUCT_CASE(3, 4);
        PRODUCT_CASE(4, 4);
        PRODUCT_CASE(5, 4);
    }
}

void csi_kernels_fill_neon(struct csi_kernels *kernels)
{
    fill_lanes(kernels);
    kernels->name = "neon";
    kernels->tile = tile;
    kernels->product = product;
    csi_bytes_fill_neon(kernels); /* until dot products add their own */
}
