/*
 * AMX's tile registers as the files that use them see them. The compiler's names for the instructions paste
 * register numbers, so these are numbers, not an enum.
 */
#ifndef CSI_KERNELS_X86_TILES_H
#define CSI_KERNELS_X86_TILES_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define CSI_TILES      8u
#define CSI_TILE_ROWS  16u
#define CSI_TILE_BYTES 64u /* of a row */

/* What ldtilecfg reads. */
struct csi_tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct csi_tile_config) == 64, "the layout that the instruction reads");

/* gcc 12's names for ldtilecfg and tileloadd don't say that they read memory: everything is stored before
 * this.
 */
#define CSI_TILES_READ_MEMORY() __asm__ volatile("" ::: "memory")

/* Configures so many registers: the last two, of weights, whole, the others, of sums and of what is
 * multiplied by weights, with `rows` rows. */
static inline void csi_tiles_configure(size_t registers, size_t rows)
{
    struct csi_tile_config config = {.palette = 1};
    for (size_t i = 0; i < registers; i++) {
        config.rows[i] = (uint8_t)(i + 2 >= registers ? CSI_TILE_ROWS : rows);
        config.row_bytes[i] = CSI_TILE_BYTES;
    }
    CSI_TILES_READ_MEMORY();
    _tile_loadconfig(&config);
}

/* Behind each instruction for tiles. In some minutes, probably while another thread is at work on the same
 * core, a product with its load takes 55 to 66 cycles of the clock where such instructions follow each other
 * closely, and 35 to 40 where seven others or more stand between, whatever they do; else 14 either way (found
 * by trial, docs/experiments.md). */
#define CSI_TILES_APART() __asm__ volatile("nop; nop; nop; nop; nop; nop; nop")

#endif
