/* GET / and the files of the page. */
#include <string.h>

#include "server/assets.h"
#include "server/router.h"

void csi_route_page(struct csi_request *request)
{
    const char *name = request->captures[0] == NULL ? "index.html" : request->captures[0];
    char etag[CSI_ETAG_SIZE];
    struct csi_asset asset;

    if (!csi_asset_find(name, &asset)) {
        csi_reply_fail(request, CS_NOT_FOUND, "no such page");
        return;
    }
    /* The page asks several things at once: it gets its session first, so that they share it. */
    if (request->captures[0] == NULL && csi_request_session(request) == NULL)
        return;
    /* A 304 carries the length of the whole answer, and none of its bytes: libmicrohttpd leaves them out. */
    /* Some hundred kilobytes at most: hashing takes less than sending. */
    csi_etag(asset.bytes, asset.size, etag);
    csi_reply_static(request, csi_etag_status(request, etag), asset.type, asset.bytes, asset.size);
    csi_reply_header(request, "ETag", etag);
    /* Ask again, by ETag: a new binary shows its new page at once. The page itself may carry a cookie, which
     * no cache in between may give to others. */
    csi_reply_header(request, "Cache-Control",
                     request->captures[0] == NULL ? "private, no-cache" : "no-cache");
}
