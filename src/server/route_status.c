/* GET /api/v1/status */
#include "server/describe.h"
#include "server/router.h"

void csi_route_status(struct csi_request *request)
{
    csi_reply_json(request, 200, csi_describe_status(request->server));
}
