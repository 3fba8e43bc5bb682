/*
 * Deflate (RFC 1951) by Huffman codes alone, for data that hardly repeats: a third of the time that zlib
 * takes for the same. Owns no container: PNG's chunks and checksums are png_write.c's. Internal to the image
 * floor.
 */
#ifndef CSI_IMAGE_DEFLATE_H
#define CSI_IMAGE_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for what csi_deflate makes of `size` bytes; 0: more than a size_t holds. */
size_t csi_deflate_bound(size_t size);

/* Writes `bytes` as deflate blocks to `to`, which has csi_deflate_bound(size) bytes, and returns their size.
 * They end on a byte boundary, so that further blocks may follow; with `last` they end the stream. */
size_t csi_deflate(const uint8_t *bytes, size_t size, bool last, uint8_t *to);

#endif
