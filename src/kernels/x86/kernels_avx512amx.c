/* What AMX adds to the AVX-512 set with VNNI. */
#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/x86/tiles.h"

static double peak_tiles(size_t rounds, float *sink)
{
    _Alignas(64) int32_t sums[CSI_TILE_ROWS][CSI_TILE_ROWS];
    struct csi_tile_config config = {.palette = 1};

    for (size_t i = 0; i < CSI_TILES; i++) {
        config.rows[i] = CSI_TILE_ROWS;
        config.row_bytes[i] = CSI_TILE_BYTES;
    }
    memset(sums, 1, sizeof sums);
    CSI_TILES_READ_MEMORY();
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, sums, CSI_TILE_BYTES);
    _tile_loadd(5, sums, CSI_TILE_BYTES);
    _tile_loadd(6, sums, CSI_TILE_BYTES);
    _tile_loadd(7, sums, CSI_TILE_BYTES);
    for (size_t r = 0; r < rounds; r++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_stored(0, sums, CSI_TILE_BYTES);
    _tile_release();
    *sink = (float)sums[0][0];
    return (double)rounds * 4.0 * 2.0 * CSI_TILE_ROWS * CSI_TILE_ROWS * CSI_TILE_BYTES;
}

void csi_kernels_fill_avx512amx(struct csi_kernels *kernels)
{
    csi_kernels_fill_avx512(kernels);
    csi_kernels_fill_avx512vnni(kernels);
    csi_bytes_fill_avx512amx(kernels);
    kernels->peak_tiles = peak_tiles;
}
