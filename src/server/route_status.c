/* GET /api/v1/status */
#include "server/describe.h"
#include "server/router.h"

void csi_route_status(struct csi_request *request)
{
    const char *cookie = MHD_lookup_connection_value(request->connection, MHD_COOKIE_KIND, "cs_session");

    /* A page that was open while the server was started anew asks this first, and several things at once
     * then: it gets its new session here, so that they share it. So does one that shows the access token for
     * the first time. Scripts that keep no cookies get none. */
    if (cookie != NULL && csi_request_session(request) == NULL)
        return;
    csi_reply_json(request, 200, csi_describe_status(request->server));
}
