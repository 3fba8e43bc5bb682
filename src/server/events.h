/*
 * Server-sent events: who listens, and bounded queues to them. A stream holds a suspended connection and no
 * thread; a client that does not read fast enough is dropped, so that nobody waits for it and memory stays
 * bounded.
 */
#ifndef CSI_SERVER_EVENTS_H
#define CSI_SERVER_EVENTS_H

#include <microhttpd.h>
#include <stddef.h>

#include "base/error.h"

struct csi_hub;
struct csi_conn;

#define CSI_STREAMS_MAX         64u /* all sessions together */
#define CSI_STREAMS_PER_SESSION 8u
#define CSI_STREAM_QUEUE        64u /* events that wait for one client */

enum cs_status csi_hub_create(struct csi_hub **hub, struct cs_error *error);
void csi_hub_destroy(struct csi_hub *hub);

/* A response that streams the events of session `token` over `connection`. `conn` only names it for
 * csi_hub_hangup. CS_OVERLOADED when there are too many. The stream ends when the response is destroyed. */
enum cs_status csi_hub_open(struct csi_hub *hub, const char *token, struct MHD_Connection *connection,
                            const struct csi_conn *conn, struct MHD_Response **response,
                            struct cs_error *error);
/* Sends an event to the streams of session `token` (NULL: to all). `data` is one line of JSON. Any thread. */
void csi_hub_publish(struct csi_hub *hub, const char *token, const char *event, const char *data);
/* Sends an event to the stream of `conn` alone. Any thread. */
void csi_hub_greet(struct csi_hub *hub, const struct csi_conn *conn, const char *event, const char *data);
/* A comment to everybody, which keeps proxies from closing and finds clients that are gone. */
void csi_hub_heartbeat(struct csi_hub *hub);
/* The peer of `conn` is gone: ends its stream. */
void csi_hub_hangup(struct csi_hub *hub, const struct csi_conn *conn);
/* Ends all streams and takes no more. */
void csi_hub_close(struct csi_hub *hub);
size_t csi_hub_count(struct csi_hub *hub);

#endif
