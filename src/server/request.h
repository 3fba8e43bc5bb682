/*
 * One request on its way through the server, and how handlers answer it. Owned by the HTTP layer (http.c); a
 * handler gets it whole: matched, checked, with its body, and leaves exactly one answer in it.
 *
 * Threads: a request is with one thread at a time (I/O thread, then maybe a worker, then the I/O thread
 * again); while a worker has it, its connection is suspended and libmicrohttpd leaves it alone.
 */
#ifndef CSI_SERVER_REQUEST_H
#define CSI_SERVER_REQUEST_H

#include <jansson.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "server/body.h"
#include "server/guard.h"
#include "server/metrics.h"
#include "server/server.h"
#include "server/v2_model.h"
#include "server/workers.h"

#define CSI_CAPTURES_MAX 2u

struct csi_hub;
struct csi_route;
struct csi_session;
struct csi_sessions;
struct csi_tensor_sessions;

/* What all handlers share. */
struct csi_server {
    struct csi_server_options options; /* its strings are copies */
    bool loopback;                     /* bound to a loopback address */
    uint16_t port;
    uint64_t started_ns;
    struct MHD_Daemon *daemon;
    struct csi_http_gate *gate;
    struct csi_workers *workers;
    struct csi_sessions *sessions;
    struct csi_hub *hub;
    struct csi_tensor_sessions *tensor_sessions;
    struct csi_metrics metrics;
    struct csi_v2_counters v2;
    _Atomic unsigned in_flight;  /* requests that were handed to a worker and are not answered yet */
    _Atomic uint64_t body_bytes; /* of bodies in memory */
    _Atomic bool stopping;
    uint64_t known_model_loads;     /* the gate's thread */
    uint64_t tensor_sessions_loads; /* the gate's thread */
    unsigned ticks;                 /* the gate's thread */
};

struct csi_request {
    struct csi_job job; /* first: a job is its request */
    struct csi_server *server;
    struct MHD_Connection *connection;
    struct csi_conn *conn;
    const struct csi_route *route;
    char *path;     /* decoded, as it was asked for */
    char *segments; /* a copy of it, in which captures end; they point into it */
    const char *captures[CSI_CAPTURES_MAX];
    const char *method;
    char authority[CSI_HTTP_HOST_MAX + 1]; /* of a target "http://host/path"; else "" */
    char id[65];                           /* X-Request-Id of the client, else "" */
    bool v2;                               /* the path is under /v2: errors have that form */
    struct csi_session *session;           /* may be NULL */
    bool new_session;
    bool showed_token; /* its Authorization header is the access token: a session made for it is authorized,
                          and `session` is an authorized one or NULL */
    struct csi_body body;
    uint64_t started_ns, ready_ns; /* the head was there; a worker could have begun */
    bool working, done;            /* handed to a worker; the worker is through */
    /* The answer. */
    struct MHD_Response *response;
    unsigned status;
    bool stream;
    char refusal[CS_ERROR_MESSAGE_SIZE]; /* of an error answer: what it says, for the case that the gate has
                                            to send it */
    const char *refusal_code;
};

/* Answers. The first one counts; later ones are ignored (and their bytes freed). */

/* `bytes` must come from malloc and belongs to the answer from now on. */
void csi_reply_bytes(struct csi_request *request, unsigned status, const char *type, void *bytes,
                     size_t size);
/* Constant bytes that outlive the server. */
void csi_reply_static(struct csi_request *request, unsigned status, const char *type, const void *bytes,
                      size_t size);
/* Takes the buffer's content; a buffer that ran out of memory becomes 500. */
void csi_reply_buffer(struct csi_request *request, unsigned status, const char *type,
                      struct csi_buffer *buffer);
/* Takes over a response that was made elsewhere. */
void csi_reply_response(struct csi_request *request, unsigned status, const char *type,
                        struct MHD_Response *response);
/* Steals the reference to `json`; NULL (no memory) becomes 500. */
void csi_reply_json(struct csi_request *request, unsigned status, json_t *json);
/* The error in the form of the route's family; 503 gets Retry-After. */
void csi_reply_error(struct csi_request *request, const struct cs_error *error);
void csi_reply_fail(struct csi_request *request, enum cs_status status, const char *format, ...)
    CSI_PRINTF(3, 4);
/* A status that no error code stands for by itself (405, 415…). */
void csi_reply_status(struct csi_request *request, unsigned http_status, const char *code,
                      const char *message);
/* Adds a header to the answer that was given. */
void csi_reply_header(struct csi_request *request, const char *name, const char *value);

#define CSI_ETAG_SIZE 20u /* 16 digits in quotes */
/* The tag of these bytes. */
void csi_etag(const void *bytes, size_t size, char etag[CSI_ETAG_SIZE]);
/* 304 when the client says that it has what `etag` names, else 200. */
unsigned csi_etag_status(const struct csi_request *request, const char *etag);

/* Query parameters. `*value` keeps its default when the parameter is absent; a bad one answers 400 and
 * returns false. */
const char *csi_query(const struct csi_request *request, const char *name);
const char *csi_header(const struct csi_request *request, const char *name);
bool csi_query_size(struct csi_request *request, const char *name, size_t least, size_t most, size_t *value);
bool csi_query_flag(struct csi_request *request, const char *name, bool *value);
bool csi_query_float(struct csi_request *request, const char *name, double least, double most, float *value);

/* The request's session, created (and its cookie set with the answer) when there is none yet. NULL: no
 * memory. */
struct csi_session *csi_request_session(struct csi_request *request);

#endif
