/*
 * The record: what computing one photo gave, as the flat bytes that caches keep. Everything that does not
 * depend on the request (top-k, name) is in it; probabilities and verdict are derived from it.
 *
 * Layout, in the byte order of the machine (a disk cache belongs to one machine; the magic number tells the
 * orders apart): struct csi_record_head, class_count float32 logits, then map_classes × map_height ×
 * map_width uint16: the class-activation maps, ReLU applied, normalised to 0…65535. Sixteen bits keep a map
 * within 1e-5 at half the size.
 *
 * Records come from a cache file too, and whoever can write that can write a checksum: sizes are taken from
 * the model and the options, and bytes that say otherwise are no record.
 */
#ifndef CSI_DIAGNOSIS_RECORD_H
#define CSI_DIAGNOSIS_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define CSI_RECORD_MAGIC 0x31525343u /* "CSR1" */

/* What the file and its decoder said. */
struct csi_photo_facts {
    uint64_t bytes;
    uint32_t format; /* enum cs_image_format */
    uint32_t width, height, display_width, display_height;
    uint32_t reserved;
};

struct csi_record_head {
    uint32_t magic;
    uint32_t class_count;
    uint32_t map_classes, map_width, map_height; /* 0 when the network has no closed-form maps */
    uint32_t hints;                              /* bits of enum csi_hint */
    double leaf_score;                           /* NaN without a gate */
    struct csi_photo_facts photo;
};

/* What the records of one model hold. */
struct csi_record_shape {
    size_t class_count;
    size_t map_classes, map_width, map_height; /* 0 without closed-form maps */
};

/* A record read in place: pointers into the bytes. */
struct csi_record {
    struct csi_record_head head;
    const float *logits;
    const uint16_t *maps;
};

/* `maps`: map_classes × map_height × map_width floats in [0, 1], or NULL. `*bytes` is malloc'ed. */
enum cs_status csi_record_write(const struct csi_record_head *head, const float *logits, const float *maps,
                                uint8_t **bytes, size_t *size, struct cs_error *error);
/* `bytes` aligned as malloc aligns. CS_INTERNAL when they are no record of this shape: every dimension of
 * what is read is the shape's, so that a map fits where one of the model's does. */
enum cs_status csi_record_read(const uint8_t *bytes, size_t size, const struct csi_record_shape *shape,
                               struct csi_record *record, struct cs_error *error);
/* One class's map as floats; `map` holds map_height × map_width. */
void csi_record_map(const struct csi_record *record, size_t class_index, float *map);

/* The kept display image: facts, then width × height × 3 bytes of RGB without padding. */
enum cs_status csi_display_write(const struct csi_photo_facts *facts, const cs_image *image, uint8_t **bytes,
                                 size_t *size, struct cs_error *error);
/* CS_INTERNAL when the bytes are no photo displayed with at most `max_side` pixels a side (0: no bound). */
enum cs_status csi_display_read(const uint8_t *bytes, size_t size, uint32_t max_side,
                                struct csi_photo_facts *facts, cs_image **image, struct cs_error *error);

#endif
