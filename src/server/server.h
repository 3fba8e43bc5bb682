/*
 * The server: web app, REST API, Open Inference Protocol, metrics over one cs_diagnoser. Stands on the public
 * header and base.
 */
#ifndef CSI_SERVER_SERVER_H
#define CSI_SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct csi_server_options {
    cs_diagnoser *diagnoser; /* borrowed; outlives the server */
    const char *host;        /* address to bind; default "127.0.0.1" */
    uint16_t port;           /* 0: the system chooses, see csi_server_port */
    struct cs_limits limits; /* max_bytes bounds a photo in a body */
    size_t max_body_bytes;   /* whole request body (several photos); default 6 × max_bytes + 64 KiB */
    unsigned
        max_in_flight; /* requests being worked on; past it 503 overloaded with Retry-After; default 64 */
    double header_timeout_s;    /* absolute deadline for the request head; default 10 */
    double body_timeout_s;      /* absolute deadline for the body; default 30 */
    double reply_timeout_s;     /* absolute deadline for the client to take the answer; default 60 */
    double target_ms;           /* what the page and the API compare with; default 200 */
    size_t default_top_k;       /* default 3 */
    uint32_t max_size;          /* display size, as the diagnoser has it; 0: its default */
    enum cs_decode_mode decode; /* as the diagnoser has it */
    const char
        *token;      /* NULL: open; else "Authorization: Bearer <token>" is needed for /api, /v2, /metrics */
    bool access_log; /* one log line a request */
    const char
        *allowed_hosts; /* comma-separated host names that requests may name besides addresses, localhost and
                         * `host` (behind a proxy that passes its own name on); NULL: see origin.h */
};
struct csi_server_options csi_server_options_defaults(void);

struct csi_server;

/* Binds and starts serving in background threads. CS_INTERNAL with the system's words when the port is taken.
 */
enum cs_status csi_server_start(const struct csi_server_options *options, struct csi_server **server,
                                struct cs_error *error);
uint16_t csi_server_port(const struct csi_server *server);
/* Bound to an address that only this machine reaches. */
bool csi_server_is_local(const struct csi_server *server);
/* "0.9.75": the version of libmicrohttpd that is linked at run time. Constant. */
const char *csi_server_library_version(void);
/* Stops accepting, lets requests in flight end (at most `grace_s` seconds), frees everything. */
void csi_server_stop(struct csi_server *server, double grace_s);

#endif
