/*
 * The HTTP layer: libmicrohttpd's callbacks, checks that hold for every route, and the way of a request from
 * head to answer. Knows no route's meaning.
 */
#ifndef CSI_SERVER_HTTP_H
#define CSI_SERVER_HTTP_H

#include "server/request.h"

/* The callbacks for MHD_start_daemon; `context` is the server. */
enum MHD_Result csi_http_access(void *context, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *data, size_t *data_size,
                                void **state);
void csi_http_completed(void *context, struct MHD_Connection *connection, void **state,
                        enum MHD_RequestTerminationCode code);
void csi_http_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                         enum MHD_ConnectionNotificationCode code);

/* Runs a request on a worker thread. */
void csi_http_work(struct csi_job *job);

#endif
