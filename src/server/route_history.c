/* GET and DELETE /api/v1/history: this session's diagnoses. */
#include "server/router.h"
#include "server/session.h"

void csi_route_history(struct csi_request *request)
{
    struct csi_buffer out;

    csi_buffer_init(&out);
    csi_session_history_json(request->server->sessions, request->session, &out);
    csi_reply_buffer(request, 200, "application/json", &out);
}

void csi_route_history_clear(struct csi_request *request)
{
    if (request->session != NULL) {
        csi_session_history_clear(request->server->sessions, request->session);
        csi_publish_performance(request->server, request->session); /* without the photos' names */
    }
    csi_route_history(request);
}
