/*
 * Who is asking: Host and Origin checks against DNS rebinding and cross-site requests. Pure functions over
 * header values.
 */
#ifndef CSI_SERVER_ORIGIN_H
#define CSI_SERVER_ORIGIN_H

#include <stdbool.h>

#include "server/guard.h"

/* The path in a target that the guard let through, decoded and without its query. Of "http://host/path" the
 * host, which counts in the place of the Host header (RFC 9112 section 3.2.2), goes to `authority`; else that
 * is "". */
const char *csi_target_path(const char *target, char authority[CSI_HTTP_HOST_MAX + 1]);

/* Whether a request for `host` (the Host header: name or address, with or without a port; NULL: HTTP/1.0
 * without one) may be answered. A page of a foreign site can have its own name resolve to this machine, but
 * it cannot make the browser send another Host: so a server on a loopback address (`loopback`) answers only
 * to addresses, "localhost", `bound` and the names in `allowed` (comma-separated, may be NULL). A server that
 * was bound to another address answers to every name, since only its operator knows by which it is reached,
 * unless `allowed` says more. */
bool csi_host_allowed(const char *host, const char *bound, bool loopback, const char *allowed);

/* Whether a state-changing request may come from where its headers say. `origin`: the Origin header, NULL
 * when there is none (then the client is no browser, or the request is a plain GET). Must name the same host
 * and port as `host`, unless `site` (Sec-Fetch-Site or NULL) says "same-origin": that counts alone. */
bool csi_origin_allowed(const char *origin, const char *host, const char *site);

#endif
