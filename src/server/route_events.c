/* GET /api/v1/events: this session's stream of server-sent events. */
#include "server/events.h"
#include "server/router.h"
#include "server/session.h"

void csi_route_events(struct csi_request *request)
{
    struct csi_server *server = request->server;
    struct csi_session *session = csi_request_session(request);
    struct MHD_Response *response;
    struct cs_error error = {CS_OK, ""};
    struct csi_buffer now;

    if (session == NULL)
        return;
    if (csi_hub_open(server->hub, csi_session_token(session), request->connection, request->conn, &response,
                     &error) != CS_OK) {
        csi_reply_error(request, &error);
        return;
    }
    request->stream = true;
    csi_reply_response(request, 200, "text/event-stream", response);
    csi_reply_header(request, "Cache-Control", "no-store");
    csi_reply_header(request, "X-Accel-Buffering", "no"); /* proxies: pass on at once */
    /* What is true now, so that a page that connects (again) is up to date. */
    csi_buffer_init(&now);
    csi_session_performance_json(server->sessions, session, server->options.target_ms, &now);
    if (!now.failed)
        csi_hub_greet(server->hub, request->conn, "performance", (const char *)now.bytes);
    csi_buffer_free(&now);
}
