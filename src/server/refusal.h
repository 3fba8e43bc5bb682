/*
 * Errors as clients see them: the status of each code, the JSON of an error, and whole answers for requests
 * that never reach libmicrohttpd's own writer.
 */
#ifndef CSI_SERVER_REFUSAL_H
#define CSI_SERVER_REFUSAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define CSI_REFUSAL_SIZE 2048u

/* The HTTP status of an error code. */
unsigned csi_http_status(enum cs_status status);
/* "Bad Request"; "Error" for a number the server never sends. */
const char *csi_http_reason(unsigned http_status);

/* Sent with every answer that the page's policy has to cover; constant. */
extern const char csi_security_policy[];

/* Appends {"error":{"code":…,"message":…}} or, for /v2, {"error":"message"}. */
void csi_error_json(struct csi_buffer *buffer, const char *code, const char *message, bool v2);

/* A whole HTTP/1.1 answer with "Connection: close" into `out` (cut when it does not fit). `headers`: further
 * header lines, each with its CRLF. Returns its size. */
size_t csi_refusal_format(char *out, size_t size, unsigned http_status, const char *code, const char *message,
                          const char *headers, bool v2, unsigned retry_after_s);

#endif
