/*
 * Parameters of MIME header values, as in `form-data; name="image"` and `multipart/form-data; boundary=x`.
 * Pure functions over text.
 */
#ifndef CSI_SERVER_MIME_H
#define CSI_SERVER_MIME_H

#include <stdbool.h>

#include "base/buffer.h"

enum csi_mime_found {
    CSI_MIME_ABSENT,
    CSI_MIME_FOUND,
    CSI_MIME_MALFORMED /* the value is no list of parameters, or names this one twice */
};

/* Looks for the parameter `name` (ASCII letters of either case) behind the first ';' of `header`. Its value,
 * a token or a quoted string (RFC 2045 section 5.1), replaces what `value` holds, which stays the caller's
 * and must have been initialised; `value->failed`: out of memory. An unquoted value may hold all but ';':
 * clients leave quotes out around boundaries and file names that need them. Thread-safe. */
enum csi_mime_found csi_mime_parameter(const char *header, const char *name, struct csi_buffer *value);

/* Decodes the value of a parameter like `filename*` (RFC 8187) in place: UTF-8'language'percent-encoded.
 * False: it is none, or holds a NUL; `value` then is of no use. Thread-safe. */
bool csi_mime_decode_extended(struct csi_buffer *value);

#endif
