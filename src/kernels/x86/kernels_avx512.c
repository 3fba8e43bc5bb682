/*
 * The kernel set for AVX-512 (F, BW, DQ, VL): sixteen lanes. Register tile 12 × 2: 24 sums, 2 weights, 1
 * input value; 12 input pointers are what the general registers hold. Over packed inputs 14 × 2.
 */
#include "kernels/x86/lanes_avx512.h"

#define TILE_ROWS    12u
#define TILE_VECTORS 2u
#define PRODUCT_ROWS 14u

#include "kernels/lanes_kernels.h"

static void tile_wide(const struct csi_tile *t)
{
    switch (t->rows) {
        TILE_CASE(1, 2);
        TILE_CASE(2, 2);
        TILE_CASE(3, 2);
        TILE_CASE(4, 2);
        TILE_CASE(5, 2);
        TILE_CASE(6, 2);
        TILE_CASE(7, 2);
        TILE_CASE(8, 2);
        TILE_CASE(9, 2);
        TILE_CASE(10, 2);
        TILE_CASE(11, 2);
        TILE_CASE(12, 2);
    }
}

static void tile_narrow(const struct csi_tile *t)
{
    switch (t->rows) {
        TILE_CASE(1, 1);
        TILE_CASE(2, 1);
        TILE_CASE(3, 1);
        TILE_CASE(4, 1);
        TILE_CASE(5, 1);
        TILE_CASE(6, 1);
        TILE_CASE(7, 1);
        TILE_CASE(8, 1);
        TILE_CASE(9, 1);
        TILE_CASE(10, 1);
        TILE_CASE(11, 1);
        TILE_CASE(12, 1);
    }
}

static void tile(const struct csi_tile *t)
{
    if (t->width == 2 * LANES)
        tile_wide(t);
    else
        tile_narrow(t);
}

static void product_wide(const struct csi_product *p)
{
    switch (p->rows) {
        PRODUCT_CASE(1, 2);
        PRODUCT_CASE(2, 2);
        PRODUCT_CASE(3, 2);
        PRODUCT_CASE(4, 2);
        PRODUCT_CASE(5, 2);
        PRODUCT_CASE(6, 2);
        PRODUCT_CASE(7, 2);
        PRODUCT_CASE(8, 2);
        PRODUCT_CASE(9, 2);
        PRODUCT_CASE(10, 2);
        PRODUCT_CASE(11, 2);
        PRODUCT_CASE(12, 2);
        PRODUCT_CASE(13, 2);
        PRODUCT_CASE(14, 2);
    }
}

static void product_narrow(const struct csi_product *p)
{
    switch (p->rows) {
        PRODUCT_CASE(1, 1);
        PRODUCT_CASE(2, 1);
        PRODUCT_CASE(3, 1);
        PRODUCT_CASE(4, 1);
        PRODUCT_CASE(5, 1);
        PRODUCT_CASE(6, 1);
        PRODUCT_CASE(7, 1);
        PRODUCT_CASE(8, 1);
        PRODUCT_CASE(9, 1);
        PRODUCT_CASE(10, 1);
        PRODUCT_CASE(11, 1);
        PRODUCT_CASE(12, 1);
        PRODUCT_CASE(13, 1);
        PRODUCT_CASE(14, 1);
    }
}

static void product(const struct csi_product *p)
{
    if (p->width == 2 * LANES)
        product_wide(p);
    else
        product_narrow(p);
}

void csi_kernels_fill_avx512(struct csi_kernels *kernels)
{
    fill_lanes(kernels);
    kernels->name = "avx512";
    kernels->tile = tile;
    kernels->product = product;
    csi_bytes_fill_avx2(kernels); /* until VNNI adds its own */
}
