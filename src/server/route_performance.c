/* GET /api/v1/performance: this session's times, and the event that tells of them. */
#include "server/events.h"
#include "server/router.h"
#include "server/session.h"

void csi_publish_performance(struct csi_server *server, struct csi_session *session)
{
    struct csi_buffer data;

    csi_buffer_init(&data);
    csi_session_performance_json(server->sessions, session, server->options.target_ms, &data);
    if (!data.failed)
        csi_hub_publish(server->hub, csi_session_token(session), "performance", (const char *)data.bytes);
    csi_buffer_free(&data);
}

void csi_route_performance(struct csi_request *request)
{
    struct csi_server *server = request->server;
    struct csi_buffer out;

    csi_buffer_init(&out);
    csi_session_performance_json(server->sessions, request->session, server->options.target_ms, &out);
    csi_reply_buffer(request, 200, "application/json", &out);
}
