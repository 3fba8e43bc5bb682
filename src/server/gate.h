/*
 * The gate: accepts connections, lets the guard look at each request head, lends sound ones to libmicrohttpd
 * and closes every connection in good order. Owns sockets and absolute deadlines; knows no routes.
 *
 * How: the head is only peeked at (MSG_PEEK), so that what the guard checked is byte for byte what
 * libmicrohttpd reads next from the very same socket; no relay and no copy stands between. Since nobody could
 * check a second head on that connection, every answer carries "Connection: close": one request a connection,
 * which also leaves nothing to smuggle. A client that dawdles over its head costs a descriptor and no memory
 * of ours.
 *
 * The gate keeps a duplicate of each lent descriptor. Through it a request is refused in the middle of its
 * body (libmicrohttpd cannot answer there), late bodies are cut off, and after the answer the connection
 * lingers until the peer has closed or 2 s are over: closing at once with unread bytes would make the kernel
 * send a reset that can destroy the answer on its way.
 */
#ifndef CSI_SERVER_GATE_H
#define CSI_SERVER_GATE_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum csi_conn_phase {
    CSI_CONN_HEAD,   /* waiting for the head; header deadline */
    CSI_CONN_BODY,   /* lent; waiting for the body; body deadline */
    CSI_CONN_WORK,   /* lent; a worker has it; no deadline */
    CSI_CONN_REPLY,  /* lent; the answer is being sent; reply deadline */
    CSI_CONN_STREAM, /* lent; an event stream; no deadline */
    CSI_CONN_CUT,    /* lent, but already answered or given up by the gate */
    CSI_CONN_LINGER  /* back from libmicrohttpd, or never lent; linger deadline */
};

/* Why a request was answered by the gate itself. */
enum csi_refusal_reason {
    CSI_REFUSED_HEAD,         /* the guard found its head malformed or too large */
    CSI_REFUSED_HEAD_TIMEOUT, /* the head did not come in time */
    CSI_REFUSED_BODY_TIMEOUT, /* the body did not come in time */
    CSI_REFUSED_CONNECTIONS,  /* too many open connections */
    CSI_REFUSED_EARLY,        /* csi_conn_refuse: a route answered before the body had come */
    CSI_REFUSED_COUNT
};
/* "head", "head_timeout", "body_timeout", "connections", "early": a metric's label. Constant. */
const char *csi_refusal_reason_name(enum csi_refusal_reason reason);

struct csi_conn;
struct csi_http_gate;

struct csi_http_gate_options {
    int listener;              /* bound, listening, non-blocking; the gate closes it */
    struct MHD_Daemon *daemon; /* borrowed */
    unsigned max_connections;  /* past it new ones get 503 */
    double header_timeout_s, body_timeout_s, reply_timeout_s;
    /* A request was answered by the gate itself. On the gate's thread or that of csi_conn_refuse's caller;
     * the gate's lock is held. */
    void (*refused)(void *context, unsigned status, enum csi_refusal_reason reason);
    void (*tick)(void *context); /* about once a second, on the gate's thread */
    void (*hangup)(void *context,
                   struct csi_conn *conn); /* the peer of an event stream has gone; the gate's thread */
    void *context;
};

enum cs_status csi_http_gate_start(const struct csi_http_gate_options *options, struct csi_http_gate **gate,
                                   struct cs_error *error);
/* No new connections from now on; those still waiting for a head are closed. */
void csi_http_gate_close(struct csi_http_gate *gate);
/* Requests that are lent and not streams. */
unsigned csi_http_gate_busy(struct csi_http_gate *gate);
unsigned csi_http_gate_connections(struct csi_http_gate *gate);
/* After libmicrohttpd was stopped: ends the thread and closes what is left. */
void csi_http_gate_destroy(struct csi_http_gate *gate);

/* libmicrohttpd began with the connection on descriptor `fd`. NULL: not one of ours. */
struct csi_conn *csi_http_gate_claim(struct csi_http_gate *gate, int fd);
/* libmicrohttpd is about to close it: it lingers from now on and `conn` must not be used any more. */
void csi_http_gate_release(struct csi_http_gate *gate, struct csi_conn *conn);

/* Moves a lent connection on. False: the gate has cut it off in the meantime; do not answer. */
bool csi_conn_enter(struct csi_http_gate *gate, struct csi_conn *conn, enum csi_conn_phase phase);
/* Answers at once, whatever the peer is still sending; afterwards return MHD_NO to libmicrohttpd. `headers`:
 * further header lines, each with its CRLF. `v2` chooses the form of the error. `retry_after_s` 0: no such
 * header. False: it was cut off before. */
bool csi_conn_refuse(struct csi_http_gate *gate, struct csi_conn *conn, unsigned status, const char *code,
                     const char *message, const char *headers, bool v2, unsigned retry_after_s);

#endif
