/*
 * The kernel set for AVX2 and FMA: eight lanes. Register tile 6 × 2: 12 sums, 2 weights, 1 input value of 16
 * registers.
 */
#include "kernels/x86/lanes_avx2.h"

#define TILE_ROWS    6u
#define TILE_VECTORS 2u
#define PRODUCT_ROWS 6u

#include "kernels/lanes_kernels.h"

static void tile(const struct csi_tile *t)
{
    switch (t->rows) {
        TILE_CASE(1, 2);
        TILE_CASE(2, 2);
        TILE_CASE(3, 2);
        TILE_CASE(4, 2);
        TILE_CASE(5, 2);
        TILE_CASE(6, 2);
    }
}

static void product(const struct csi_product *p)
{
    switch (p->rows) {
        PRODUCT_CASE(1, 2);
        PRODUCT_CASE(2, 2);
        PRODUCT_CASE(3, 2);
        PRODUCT_CASE(4, 2);
        PRODUCT_CASE(5, 2);
        PRODUCT_CASE(6, 2);
    }
}

void csi_kernels_fill_avx2(struct csi_kernels *kernels)
{
    fill_lanes(kernels);
    kernels->name = "avx2";
    kernels->tile = tile;
    kernels->product = product;
    csi_bytes_fill_avx2(kernels);
}
