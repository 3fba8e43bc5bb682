/*
 * Image formats by content: which format the first bytes are of, the words for those and for what CropShield
 * does not read, the limits on what is read. A file's name is never looked at.
 */
#ifndef CSI_IMAGE_FORMAT_H
#define CSI_IMAGE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* `given` with the defaults of the public header for members that are 0; NULL: defaults alone. */
struct cs_limits csi_limits_complete(const struct cs_limits *given);

/* CS_EMPTY_INPUT: no bytes; CS_IMAGE_TOO_LARGE: more than limits->max_bytes; CS_UNSUPPORTED_FORMAT: neither
 * JPEG, PNG nor WebP (the message names what it is when that is known); CS_CORRUPT_IMAGE: too few bytes to
 * tell one of the three. */
enum cs_status csi_format_recognise(const void *bytes, size_t size, const struct cs_limits *limits,
                                    enum cs_image_format *format, struct cs_error *error);

/* Compares what a header declares with the limits, before anything is allocated for it. */
enum cs_status csi_format_check_size(uint64_t width, uint64_t height, const struct cs_limits *limits,
                                     struct cs_error *error);

#endif
