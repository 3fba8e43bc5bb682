/*
 * The HTTP layer: see http.h. One I/O thread runs every callback here; it parses, collects bodies and sends
 * answers, and never computes: requests of CSI_ROUTE_WORK are suspended and handed to the workers. So slow
 * clients cost a socket and a buffer, and a long diagnosis never delays a health check.
 */
#include "server/http.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "server/gate.h"
#include "server/origin.h"
#include "server/refusal.h"
#include "server/router.h"
#include "server/session.h"

/* Bodies in memory, all requests together: many slow uploads at once must not fill it. One that is allowed
 * always fits. */
#define BODIES_MAX ((size_t)512 << 20)

#define REFUSAL_HEADERS 256u /* an id of 64, three names, and methods of 64 */

static void destroy_request(struct csi_request *request)
{
    struct csi_server *server = request->server;

    atomic_fetch_sub(&server->body_bytes, request->body.received);
    csi_body_free(&request->body);
    csi_session_release(server->sessions, request->session);
    if (request->response != NULL)
        MHD_destroy_response(request->response);
    free(request->path);
    free(request->segments);
    free(request);
}

/* X-Request-Id is echoed and logged: only plain tokens are taken. */
static void take_request_id(struct csi_request *request)
{
    const char *id = csi_header(request, "X-Request-Id");
    size_t length = id == NULL ? 0 : strlen(id);

    if (length == 0 || length >= sizeof request->id)
        return;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)id[i]) && strchr("._-", id[i]) == NULL)
            return;
    memcpy(request->id, id, length + 1);
}

static bool token_matches(const char *given, const char *token)
{
    struct csi_hash a, b;

    /* Hashes have equal lengths, so that comparing them tells nothing, not even the token's length. */
    csi_hash_bytes(given, strlen(given), &a);
    csi_hash_bytes(token, strlen(token), &b);
    return sodium_memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

/* The access token, as a header or through a session that has shown it: an <img> or an EventSource cannot
 * send headers. */
static bool authorized(struct csi_request *request)
{
    struct csi_server *server = request->server;
    const char *header = csi_header(request, "Authorization");

    if (server->options.token == NULL)
        return true;
    if (header != NULL && strncasecmp(header, "Bearer ", 7) == 0 &&
        token_matches(header + 7, server->options.token)) {
        request->showed_token = true;
        /* Only a session that the token made is authorized: the cookie of another one may have been planted,
         * and who planted it would be let in as well. */
        if (request->session != NULL && !csi_session_authorized(server->sessions, request->session)) {
            csi_session_release(server->sessions, request->session);
            request->session = NULL;
        }
        return true;
    }
    return header == NULL && request->session != NULL &&
           csi_session_authorized(server->sessions, request->session);
}

/* One photo sent as it is has the limit of a photo; forms and tensors that of a body. */
static size_t body_limit(const struct csi_request *request)
{
    const struct csi_server_options *options = &request->server->options;
    const char *type = csi_header(request, "Content-Type");

    if ((request->route->flags & CSI_ROUTE_FORM) &&
        (type == NULL || strncasecmp(type, "multipart/", 10) != 0))
        return options->limits.max_bytes;
    return options->max_body_bytes;
}

/* Bodies are taken as they are sent: bytes in another coding would be called a damaged photo. False:
 * answered. */
static bool coding_is_plain(struct csi_request *request)
{
    const char *coding = csi_header(request, "Content-Encoding");

    if (coding == NULL || coding[0] == '\0' || strcasecmp(coding, "identity") == 0)
        return true;
    csi_reply_fail(request, CS_UNSUPPORTED_FORMAT,
                   "bodies with Content-Encoding '%.32s' are not read: send it without", coding);
    csi_reply_header(request, "Accept-Encoding", "identity");
    return false;
}

/* Checks that need the head alone. False: an error stands in the request. */
static bool admit(struct csi_request *request)
{
    struct csi_server *server = request->server;
    const struct csi_server_options *options = &server->options;
    const char *host = request->authority[0] != '\0' ? request->authority : csi_header(request, "Host");
    const char *length = csi_header(request, "Content-Length");
    const char *cookie = MHD_lookup_connection_value(request->connection, MHD_COOKIE_KIND, "cs_session");
    uint64_t announced =
        length == NULL ? 0 : strtoull(length, NULL, 10); /* the guard has seen a plain number */
    char allow[64];
    bool may_enter;

    if (!csi_host_allowed(host, options->host, server->loopback, options->allowed_hosts)) {
        csi_reply_fail(request, CS_BAD_REQUEST, "this server does not answer for that host name");
        return false;
    }
    request->route =
        csi_route_match(request->method, request->segments, request->captures, allow, sizeof allow);
    if (request->route == NULL && allow[0] != '\0') {
        csi_reply_status(request, 405, "bad_request", "the method is not allowed here");
        csi_reply_header(request, "Allow", allow);
        return false;
    }
    if (request->route == NULL) {
        csi_reply_fail(request, CS_NOT_FOUND, "no such route");
        return false;
    }
    request->session = csi_session_find(server->sessions, cookie);
    if ((request->route->flags & CSI_ROUTE_CHANGE) &&
        !csi_origin_allowed(csi_header(request, "Origin"), host, csi_header(request, "Sec-Fetch-Site"))) {
        csi_reply_fail(request, CS_BAD_REQUEST, "the request comes from a foreign site");
        return false;
    }
    may_enter = authorized(request); /* asked on open routes too: a token shown there counts as well */
    if ((request->route->flags & CSI_ROUTE_GUARD) && !may_enter) {
        csi_reply_fail(request, CS_UNAUTHORIZED, "the access token is missing or wrong");
        csi_reply_header(request, "WWW-Authenticate", "Bearer");
        return false;
    }
    if (announced > 0 && !(request->route->flags & CSI_ROUTE_BODY)) {
        csi_reply_fail(request, CS_BAD_REQUEST, "this route takes no body");
        return false;
    }
    if ((request->route->flags & CSI_ROUTE_BODY) && !coding_is_plain(request))
        return false;
    if (announced > body_limit(request)) {
        csi_reply_fail(request, CS_IMAGE_TOO_LARGE, "the body is larger than %zu bytes", body_limit(request));
        return false;
    }
    if ((request->route->flags & CSI_ROUTE_WORK) &&
        (atomic_load(&server->in_flight) >= options->max_in_flight || atomic_load(&server->stopping))) {
        csi_reply_fail(request, CS_OVERLOADED, "%u requests are being worked on", options->max_in_flight);
        return false;
    }
    return true;
}

/* Headers that an answer sent by the gate must not lack, as lines: what tells the client which methods there
 * are and what to authenticate by, and its own id. */
static const char *refusal_headers(const struct csi_request *request, char *lines, size_t size)
{
    static const char *const names[] = {"Allow", "WWW-Authenticate", "Accept-Encoding"};
    size_t used = 0;

    lines[0] = '\0';
    if (request->id[0] != '\0')
        used = (size_t)snprintf(lines, size, "X-Request-Id: %s\r\n", request->id);
    for (size_t i = 0; request->response != NULL && used < size && i < sizeof names / sizeof names[0]; i++) {
        const char *value = MHD_get_response_header(request->response, names[i]);

        if (value != NULL)
            used += (size_t)snprintf(lines + used, size - used, "%s: %s\r\n", names[i], value);
    }
    if (used >= size)
        lines[0] = '\0'; /* half a line would swallow what comes after it */
    return lines;
}

#define PATH_IN_MESSAGE 800u /* bytes: what comes behind a longer path must still fit the line */

/* Every request that came as far as here and is answered ends here. */
static void count_and_log(const struct csi_request *request, unsigned status)
{
    struct csi_server *server = request->server;
    double ms = csi_ms_since(request->started_ns);
    struct csi_buffer members;

    csi_metrics_request(&server->metrics, (unsigned)csi_route_index(request->route), status, ms);
    if (!server->options.access_log)
        return;
    csi_buffer_init(&members);
    csi_buffer_printf(&members, "\"method\":");
    csi_buffer_json(&members, request->method);
    csi_buffer_printf(&members, ",\"path\":");
    csi_buffer_json(&members, request->path);
    csi_buffer_printf(&members, ",\"status\":%u,\"ms\":%.1f", status, ms);
    if (request->id[0] != '\0')
        csi_buffer_printf(&members, ",\"request\":\"%s\"", request->id); /* a plain token */
    csi_log_with(CSI_LOG_INFO, members.failed ? NULL : (const char *)members.bytes, "%s %.*s %u %.1f ms%s%s",
                 request->method, (int)csi_utf8_prefix(request->path, PATH_IN_MESSAGE), request->path, status,
                 ms, request->id[0] == '\0' ? "" : " ", request->id);
    csi_buffer_free(&members);
}

/* Ends a request whose body is (maybe) still coming: answered through the gate, since libmicrohttpd would
 * first read it all (or, in the middle of a body, cannot answer at all). */
static enum MHD_Result cut(struct csi_request *request, const struct cs_error *error)
{
    struct csi_server *server = request->server;
    char headers[REFUSAL_HEADERS];

    if (csi_conn_refuse(server->gate, request->conn, csi_http_status(error->status),
                        cs_status_name(error->status), error->message,
                        refusal_headers(request, headers, sizeof headers), request->v2,
                        error->status == CS_OVERLOADED))
        count_and_log(request, csi_http_status(error->status));
    return MHD_NO;
}

static enum MHD_Result queue(struct csi_request *request)
{
    struct csi_server *server = request->server;

    if (request->response == NULL)
        csi_reply_fail(request, CS_INTERNAL, "the request got no answer");
    if (request->response == NULL)
        return MHD_NO;
    count_and_log(request, request->status);
    if (!csi_conn_enter(server->gate, request->conn, request->stream ? CSI_CONN_STREAM : CSI_CONN_REPLY))
        return MHD_NO;
    return MHD_queue_response(request->connection, request->status, request->response);
}

/* First callback: the head is there. */
static enum MHD_Result begin(struct csi_server *server, struct MHD_Connection *connection, const char *url,
                             const char *method, void **state)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct csi_request *request = calloc(1, sizeof *request);
    const char *length;
    bool has_body, admitted;

    if (request == NULL || info == NULL || info->socket_context == NULL) {
        free(request);
        return MHD_NO;
    }
    *state = request;
    request->server = server;
    request->connection = connection;
    request->conn = info->socket_context;
    request->method = method;
    request->started_ns = csi_now_ns();
    url = csi_target_path(url, request->authority);
    request->path = csi_strdup(url);
    request->segments = csi_strdup(url);
    request->v2 = strncmp(url, "/v2", 3) == 0 && (url[3] == '\0' || url[3] == '/');
    if (request->path == NULL || request->segments == NULL)
        return MHD_NO;
    take_request_id(request);
    length = csi_header(request, "Content-Length");
    has_body = csi_header(request, "Transfer-Encoding") != NULL ||
               (length != NULL && strtoull(length, NULL, 10) > 0);
    admitted = admit(request);
    if (admitted && (request->route->flags & CSI_ROUTE_BODY)) {
        struct cs_error error = {CS_OK, ""};

        admitted = csi_body_begin(&request->body, csi_header(request, "Content-Type"),
                                  (request->route->flags & CSI_ROUTE_FORM) != 0, body_limit(request),
                                  server->options.limits.max_bytes, &error) == CS_OK;
        if (!admitted)
            csi_reply_error(request, &error);
    }
    if (!admitted && request->response == NULL)
        return MHD_NO; /* no memory to say why: it must not pass for one that was let in */
    if (request->response != NULL && has_body) {
        char headers[REFUSAL_HEADERS];

        /* The answer is known and the body is not: say so now. */
        count_and_log(request, request->status);
        csi_conn_refuse(server->gate, request->conn, request->status, request->refusal_code, request->refusal,
                        refusal_headers(request, headers, sizeof headers), request->v2,
                        request->status == 503);
        return MHD_NO;
    }
    return MHD_YES; /* without a body the next callback follows at once */
}

static enum MHD_Result feed(struct csi_request *request, const char *data, size_t *size)
{
    struct csi_server *server = request->server;
    struct cs_error error = {CS_OK, ""};
    size_t before = request->body.received;
    enum cs_status status;

    if (!(request->route->flags & CSI_ROUTE_BODY)) {
        csi_fail(&error, CS_BAD_REQUEST,
                 "this route takes no body"); /* it came in chunks: no length announced it */
        return cut(request, &error);
    }
    status = csi_body_feed(&request->body, data, *size, &error);
    if (atomic_fetch_add(&server->body_bytes, request->body.received - before) >
            csi_max_size(BODIES_MAX, server->options.max_body_bytes) &&
        status == CS_OK)
        status = csi_fail(&error, CS_OVERLOADED, "too many uploads at the same time");
    if (status != CS_OK)
        return cut(request, &error);
    *size = 0;
    return MHD_YES;
}

/* The whole request is there: to a worker, or answered here. */
static enum MHD_Result finish(struct csi_request *request)
{
    struct csi_server *server = request->server;
    struct cs_error error = {CS_OK, ""};

    if (!csi_conn_enter(server->gate, request->conn, CSI_CONN_WORK))
        return MHD_NO; /* the deadline was faster */
    if (request->response == NULL && csi_body_end(&request->body, &error) != CS_OK)
        csi_reply_error(request, &error);
    if (request->response != NULL)
        return queue(request);
    if (!(request->route->flags & CSI_ROUTE_WORK)) {
        request->route->handle(request);
        return queue(request);
    }
    if (atomic_fetch_add(&server->in_flight, 1) >= server->options.max_in_flight ||
        atomic_load(&server->stopping)) {
        atomic_fetch_sub(&server->in_flight, 1);
        csi_reply_fail(request, CS_OVERLOADED, "%u requests are being worked on",
                       server->options.max_in_flight);
        return queue(request);
    }
    request->working = true;
    request->ready_ns = csi_now_ns();
    MHD_suspend_connection(request->connection); /* before the worker can resume it */
    csi_workers_push(server->workers, &request->job);
    return MHD_YES;
}

void csi_http_work(struct csi_job *job)
{
    struct csi_request *request = (struct csi_request *)job;
    struct csi_server *server = request->server;

    request->route->handle(request);
    request->done = true;
    atomic_fetch_sub(&server->in_flight, 1);
    MHD_resume_connection(request->connection); /* from here on the request is the I/O thread's again */
}

enum MHD_Result csi_http_access(void *context, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *data, size_t *data_size,
                                void **state)
{
    struct csi_request *request = *state;

    (void)version;
    if (request == NULL)
        return begin(context, connection, url, method, state);
    if (*data_size > 0)
        return feed(request, data, data_size);
    if (request->working)
        return request->done ? queue(request) : MHD_YES;
    return finish(request);
}

void csi_http_completed(void *context, struct MHD_Connection *connection, void **state,
                        enum MHD_RequestTerminationCode code)
{
    struct csi_request *request = *state;

    (void)context;
    (void)connection;
    (void)code;
    *state = NULL;
    if (request != NULL)
        destroy_request(request);
}

void csi_http_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                         enum MHD_ConnectionNotificationCode code)
{
    struct csi_server *server = context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

        *socket_context = info == NULL ? NULL : csi_http_gate_claim(server->gate, info->connect_fd);
    } else if (*socket_context != NULL) {
        csi_http_gate_release(server->gate, *socket_context);
        *socket_context = NULL;
    }
}
