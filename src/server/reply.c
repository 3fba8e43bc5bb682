/* Answers and parameters of a request: see request.h. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "server/refusal.h"
#include "server/request.h"
#include "server/router.h"
#include "server/session.h"

/* Whether a proxy in front says that the client speaks TLS; of several proxies the first one, which the
 * client talks to, counts. Who makes it up harms the own cookie alone. */
static bool came_by_tls(const struct csi_request *request)
{
    const char *scheme = csi_header(request, "X-Forwarded-Proto");

    return scheme != NULL && strncasecmp(scheme, "https", 5) == 0 &&
           (scheme[5] == '\0' || strchr(" ,", scheme[5]) != NULL);
}

/* Not SameSite=Strict: who follows a link of another site to the page would come without the cookie and get
 * another session. Requests of foreign pages that change something are refused by their Origin. */
static void add_cookie(struct csi_request *request)
{
    char cookie[128];

    snprintf(cookie, sizeof cookie, "cs_session=%s; Path=/; HttpOnly; SameSite=Lax%s",
             csi_session_token(request->session), came_by_tls(request) ? "; Secure" : "");
    MHD_add_response_header(request->response, "Set-Cookie", cookie);
}

/* Headers that every answer carries. */
static void add_common_headers(struct csi_request *request, const char *type)
{
    struct MHD_Response *response = request->response;

    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Connection", "close"); /* why: gate.h */
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(response, "Cross-Origin-Opener-Policy", "same-origin");
    MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(response, "Content-Security-Policy", csi_security_policy);
    if (request->id[0] != '\0')
        MHD_add_response_header(response, "X-Request-Id", request->id);
    if (request->new_session)
        add_cookie(request);
}

void csi_reply_response(struct csi_request *request, unsigned status, const char *type,
                        struct MHD_Response *response)
{
    if (response == NULL)
        return; /* no memory at all: the connection is closed without an answer */
    if (request->response != NULL) {
        MHD_destroy_response(response);
        return;
    }
    request->response = response;
    request->status = status;
    add_common_headers(request, type);
}

void csi_reply_bytes(struct csi_request *request, unsigned status, const char *type, void *bytes, size_t size)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(size, bytes, MHD_RESPMEM_MUST_FREE);

    if (response == NULL)
        free(bytes);
    csi_reply_response(request, status, type, response);
}

void csi_reply_static(struct csi_request *request, unsigned status, const char *type, const void *bytes,
                      size_t size)
{
    /* libmicrohttpd only reads them. */
    csi_reply_response(
        request, status, type,
        MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes, MHD_RESPMEM_PERSISTENT));
}

void csi_reply_buffer(struct csi_request *request, unsigned status, const char *type,
                      struct csi_buffer *buffer)
{
    if (buffer->failed) {
        csi_buffer_free(buffer);
        csi_reply_fail(request, CS_INTERNAL, "out of memory (answer)");
        return;
    }
    csi_reply_bytes(request, status, type, buffer->bytes, buffer->size);
    csi_buffer_init(buffer);
    csi_reply_header(request, "Cache-Control", "no-store");
}

void csi_reply_json(struct csi_request *request, unsigned status, json_t *json)
{
    /* Six digits say all that milliseconds and probabilities have to say. */
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(6));

    json_decref(json);
    if (text == NULL) {
        csi_reply_fail(request, CS_INTERNAL, "out of memory (answer)");
        return;
    }
    csi_reply_bytes(request, status, "application/json", text, strlen(text));
    csi_reply_header(request, "Cache-Control", "no-store");
}

void csi_reply_status(struct csi_request *request, unsigned http_status, const char *code,
                      const char *message)
{
    struct csi_buffer body;

    csi_buffer_init(&body);
    csi_error_json(&body, code, message, request->v2);
    if (body.failed) {
        csi_buffer_free(&body);
        snprintf(request->refusal, sizeof request->refusal, "out of memory (answer)");
        request->refusal_code = "internal";
        csi_reply_response(request, 500, "application/json",
                           MHD_create_response_from_buffer(2, "{}", MHD_RESPMEM_PERSISTENT));
        return;
    }
    snprintf(request->refusal, sizeof request->refusal, "%s", message);
    request->refusal_code = code;
    csi_reply_bytes(request, http_status, "application/json", body.bytes, body.size);
    csi_reply_header(request, "Cache-Control", "no-store");
    if (http_status == 503)
        csi_reply_header(request, "Retry-After", "1");
}

void csi_reply_error(struct csi_request *request, const struct cs_error *error)
{
    csi_reply_status(request, csi_http_status(error->status), cs_status_name(error->status), error->message);
}

void csi_reply_fail(struct csi_request *request, enum cs_status status, const char *format, ...)
{
    struct cs_error error = {status, ""};
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error.message, sizeof error.message, format, arguments);
    va_end(arguments);
    csi_reply_error(request, &error);
}

void csi_reply_header(struct csi_request *request, const char *name, const char *value)
{
    if (request->response != NULL)
        MHD_add_response_header(request->response, name, value);
}

void csi_etag(const void *bytes, size_t size, char etag[CSI_ETAG_SIZE])
{
    struct csi_hash hash;
    char hex[CSI_HASH_HEX_SIZE];

    csi_hash_bytes(bytes, size, &hash);
    csi_hash_to_hex(&hash, hex);
    snprintf(etag, CSI_ETAG_SIZE, "\"%.16s\"", hex);
}

unsigned csi_etag_status(const struct csi_request *request, const char *etag)
{
    const char *known = csi_header(request, "If-None-Match");

    return known != NULL && (strstr(known, etag) != NULL || strcmp(known, "*") == 0) ? 304 : 200;
}

const char *csi_query(const struct csi_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *csi_header(const struct csi_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

bool csi_query_size(struct csi_request *request, const char *name, size_t least, size_t most, size_t *value)
{
    const char *text = csi_query(request, name);
    unsigned long long number;
    char *end;

    if (text == NULL)
        return true;
    errno = 0;
    number = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < least || number > most) {
        csi_reply_fail(request, CS_BAD_REQUEST, "%s must be a whole number from %zu to %zu", name, least,
                       most);
        return false;
    }
    *value = (size_t)number;
    return true;
}

bool csi_query_flag(struct csi_request *request, const char *name, bool *value)
{
    const char *text = csi_query(request, name), *bare;
    size_t size;

    if (text == NULL) { /* "?case" alone has no value, but is there */
        if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name, strlen(name),
                                          &bare, &size) == MHD_YES)
            *value = true;
        return true;
    }
    if (strcmp(text, "1") == 0 || strcmp(text, "true") == 0) {
        *value = true;
        return true;
    }
    if (strcmp(text, "0") == 0 || strcmp(text, "false") == 0) {
        *value = false;
        return true;
    }
    csi_reply_fail(request, CS_BAD_REQUEST, "%s must be 0 or 1", name);
    return false;
}

bool csi_query_float(struct csi_request *request, const char *name, double least, double most, float *value)
{
    const char *text = csi_query(request, name);
    char *end;
    double number;

    if (text == NULL)
        return true;
    number = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(number) || number < least || number > most) {
        csi_reply_fail(request, CS_BAD_REQUEST, "%s must be a number from %g to %g", name, least, most);
        return false;
    }
    *value = (float)number;
    return true;
}

struct csi_session *csi_request_session(struct csi_request *request)
{
    if (request->session == NULL) {
        request->session = csi_session_get(request->server->sessions, NULL, &request->new_session);
        if (request->session == NULL)
            csi_reply_fail(request, CS_INTERNAL, "out of memory (session)");
        else if (request->showed_token)
            csi_session_authorize(request->server->sessions, request->session);
    }
    return request->session;
}
