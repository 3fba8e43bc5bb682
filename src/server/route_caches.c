/* GET and DELETE /api/v1/caches[/{cache}] */
#include <string.h>

#include "server/router.h"

static json_t *describe(cs_diagnoser *diagnoser, enum cs_cache cache)
{
    struct cs_cache_stats stats;
    uint64_t asked, served;

    cs_diagnoser_cache_stats(diagnoser, cache, &stats);
    asked = stats.hits + stats.misses + stats.coalesced;
    served = stats.hits + stats.coalesced;
    return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:{s:I, s:I, s:I, s:I}}", "enabled",
                     stats.enabled, "entries", (json_int_t)stats.entries, "bytes", (json_int_t)stats.bytes,
                     "max_bytes", (json_int_t)stats.max_bytes, "hits", (json_int_t)stats.hits, "misses",
                     (json_int_t)stats.misses, "coalesced", (json_int_t)stats.coalesced, "hit_rate",
                     asked == 0 ? 0.0 : (double)served / (double)asked, "evictions",
                     (json_int_t)stats.evictions, "expired", (json_int_t)stats.expired, "disk", "entries",
                     (json_int_t)stats.disk_entries, "bytes", (json_int_t)stats.disk_bytes, "hits",
                     (json_int_t)stats.disk_hits, "errors", (json_int_t)stats.disk_errors);
}

void csi_route_caches(struct csi_request *request)
{
    json_t *caches = json_object();

    for (int i = 0; i < CS_CACHE_COUNT; i++)
        json_object_set_new(caches, cs_cache_name((enum cs_cache)i),
                            describe(request->server->options.diagnoser, (enum cs_cache)i));
    csi_reply_json(request, 200, caches);
}

void csi_route_caches_clear(struct csi_request *request)
{
    cs_diagnoser *diagnoser = request->server->options.diagnoser;
    const char *only = request->captures[0];
    struct cs_error error, first = {CS_OK, ""};
    bool known = only == NULL;

    /* From the last to the first: loading the model again clears the others anyway. One that fails keeps none
     * of the others from being cleared. */
    for (int i = CS_CACHE_COUNT - 1; i >= 0; i--) {
        if (only != NULL && strcmp(only, cs_cache_name((enum cs_cache)i)) != 0)
            continue;
        known = true;
        if (cs_diagnoser_cache_clear(diagnoser, (enum cs_cache)i, &error) != CS_OK && first.status == CS_OK)
            first = error;
    }
    if (!known)
        csi_reply_fail(request, CS_NOT_FOUND, "the caches are model, prediction and gradcam");
    else if (first.status != CS_OK)
        csi_reply_error(request, &first);
    else
        csi_route_caches(request);
}
