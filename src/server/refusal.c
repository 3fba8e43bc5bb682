/* Errors as clients see them: see refusal.h. */
#include "server/refusal.h"

#include <stdio.h>
#include <string.h>

const char csi_security_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src "
    "'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

unsigned csi_http_status(enum cs_status status)
{
    switch (status) {
    case CS_OK: return 200;
    case CS_EMPTY_INPUT:
    case CS_BAD_REQUEST: return 400;
    case CS_UNAUTHORIZED: return 401;
    case CS_NOT_FOUND: return 404;
    case CS_TIMEOUT: return 408;
    case CS_IMAGE_TOO_LARGE: return 413;
    case CS_UNSUPPORTED_FORMAT: return 415;
    case CS_CORRUPT_IMAGE: return 422;
    case CS_OVERLOADED: return 503;
    case CS_MODEL_INVALID:
    case CS_MODEL_UNSUPPORTED:
    case CS_INTERNAL: break;
    }
    return 500;
}

const char *csi_http_reason(unsigned http_status)
{
    switch (http_status) {
    case 200: return "OK";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    default: return "Error";
    }
}

void csi_error_json(struct csi_buffer *buffer, const char *code, const char *message, bool v2)
{
    if (v2) {
        csi_buffer_printf(buffer, "{\"error\":");
        csi_buffer_json(buffer, message);
        csi_buffer_printf(buffer, "}");
        return;
    }
    csi_buffer_printf(buffer, "{\"error\":{\"code\":\"%s\",\"message\":", code);
    csi_buffer_json(buffer, message);
    csi_buffer_printf(buffer, "}}");
}

size_t csi_refusal_format(char *out, size_t size, unsigned http_status, const char *code, const char *message,
                          const char *headers, bool v2, unsigned retry_after_s)
{
    struct csi_buffer body;
    char retry[48] = "";
    int length;

    csi_buffer_init(&body);
    csi_error_json(&body, code, message, v2);
    if (retry_after_s > 0)
        snprintf(retry, sizeof retry, "Retry-After: %u\r\n", retry_after_s);
    length =
        snprintf(out, size,
                 "HTTP/1.1 %u %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s%s"
                 "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n%s",
                 http_status, csi_http_reason(http_status), body.size, retry, headers,
                 body.bytes == NULL ? "" : (const char *)body.bytes);
    csi_buffer_free(&body);
    if (length < 0)
        return 0;
    return (size_t)length < size ? (size_t)length : size - 1;
}
