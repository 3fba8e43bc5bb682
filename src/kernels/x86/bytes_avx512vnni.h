/*
 * The 8-bit register tile for AVX-512 VNNI, for the set above it, which leaves thin products to it.
 */
#ifndef CSI_KERNELS_X86_BYTES_AVX512VNNI_H
#define CSI_KERNELS_X86_BYTES_AVX512VNNI_H

#include "kernels/bytes.h"

#define CSI_BYTE_ROWS_AVX512VNNI 14u

/* csi_kernels.byte_tile with byte_rows CSI_BYTE_ROWS_AVX512VNNI and byte_panel 32. Thread-safe. */
void csi_byte_tile_avx512vnni(const struct csi_byte_tile *tile);

#endif
