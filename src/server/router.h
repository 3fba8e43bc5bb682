/*
 * The table of routes: method and path to handler. The only place where a path is written down; docs, OpenAPI
 * and metrics are checked against it.
 */
#ifndef CSI_SERVER_ROUTER_H
#define CSI_SERVER_ROUTER_H

#include <stdbool.h>
#include <stddef.h>

#include "server/request.h"

enum {
    CSI_ROUTE_WORK = 1u,   /* computes or waits: runs on a worker and counts as in flight */
    CSI_ROUTE_BODY = 2u,   /* has a body: the photo, the form, JSON */
    CSI_ROUTE_FORM = 4u,   /* the body may be multipart/form-data */
    CSI_ROUTE_GUARD = 8u,  /* needs the access token when the server has one */
    CSI_ROUTE_CHANGE = 16u /* changes state or costs work: refused when a foreign page sends it */
};

struct csi_route {
    const char *method;
    const char *pattern; /* "{x}" takes one segment of the path */
    unsigned flags;
    void (*handle)(struct csi_request *request);
};

/* The n-th route, NULL behind the last. */
const struct csi_route *csi_route_at(size_t index);
size_t csi_route_index(const struct csi_route *route);
void csi_route_labels(unsigned index, const char **method, const char **pattern);

/* Finds the route of `method` (HEAD counts as GET) and `path`; captured segments are cut out of `path` in
 * place. NULL: none; then `allow` holds the methods that the path has, "" when there is no such path. */
const struct csi_route *csi_route_match(const char *method, char *path, const char **captures, char *allow,
                                        size_t allow_size);

/* Tells the streams of `session` its times as they are now; where memory is short, nothing. Any thread. */
void csi_publish_performance(struct csi_server *server, struct csi_session *session);

/* The handlers, one file each. */
void csi_route_page(struct csi_request *request);
void csi_route_predict(struct csi_request *request);
void csi_route_gradcam(struct csi_request *request);
void csi_route_display(struct csi_request *request);
void csi_route_status(struct csi_request *request);
void csi_route_performance(struct csi_request *request);
void csi_route_caches(struct csi_request *request);
void csi_route_caches_clear(struct csi_request *request);
void csi_route_history(struct csi_request *request);
void csi_route_history_clear(struct csi_request *request);
void csi_route_events(struct csi_request *request);
void csi_route_metrics(struct csi_request *request);
void csi_route_openapi(struct csi_request *request);
void csi_route_v2_server(struct csi_request *request);
void csi_route_v2_live(struct csi_request *request);
void csi_route_v2_ready(struct csi_request *request);
void csi_route_v2_model(struct csi_request *request);
void csi_route_v2_model_ready(struct csi_request *request);
void csi_route_v2_stats(struct csi_request *request);
void csi_route_v2_index(struct csi_request *request);
void csi_route_v2_infer(struct csi_request *request);

#endif
