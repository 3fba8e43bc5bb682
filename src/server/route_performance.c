/* GET /api/v1/performance: this session's times. */
#include "server/router.h"
#include "server/session.h"

void csi_route_performance(struct csi_request *request)
{
    struct csi_server *server = request->server;
    struct csi_buffer out;

    csi_buffer_init(&out);
    csi_session_performance_json(server->sessions, request->session, server->options.target_ms, &out);
    csi_reply_buffer(request, 200, "application/json", &out);
}
