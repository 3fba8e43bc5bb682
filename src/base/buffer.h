/*
 * A growing byte buffer. One thread at a time.
 */
#ifndef CSI_BASE_BUFFER_H
#define CSI_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct csi_buffer {
    uint8_t *bytes;
    size_t size, capacity;
    int failed; /* an append ran out of memory; the content is then cut */
};

void csi_buffer_init(struct csi_buffer *buffer);
void csi_buffer_append(struct csi_buffer *buffer, const void *bytes, size_t size);
void csi_buffer_printf(struct csi_buffer *buffer, const char *format, ...) CSI_PRINTF(2, 3);
/* `text` as a JSON string with its quotes; what is not UTF-8 (file names may be anything) becomes U+FFFD,
 * and control characters are escaped. */
void csi_buffer_json(struct csi_buffer *buffer, const char *text);
/* `text` with U+FFFD in the place of every byte that is not UTF-8. */
void csi_buffer_utf8(struct csi_buffer *buffer, const char *text);
void csi_buffer_free(struct csi_buffer *buffer);

#endif
