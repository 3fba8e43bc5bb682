/* GET /openapi.json: the description of all routes, for machines: openapi.json beside this file, embedded by
 * the build. A test compares it with the router's table. */
#include "server/router.h"

extern const char csi_blob_openapi[];
extern const size_t csi_blob_openapi_size;

void csi_route_openapi(struct csi_request *request)
{
    char etag[CSI_ETAG_SIZE];

    csi_etag(csi_blob_openapi, csi_blob_openapi_size, etag);
    csi_reply_static(request, csi_etag_status(request, etag), "application/json", csi_blob_openapi,
                     csi_blob_openapi_size);
    csi_reply_header(request, "ETag", etag);
    csi_reply_header(request, "Cache-Control", "no-cache");
}
