/* The table of routes: see router.h. */
#include "server/router.h"

#include <stdio.h>
#include <string.h>

#include "server/assets.h"

#define API CSI_ROUTE_GUARD
/* Whoever may wait for the disk or another thread's model load works; the rest answers at once on the I/O
 * thread. */
static const struct csi_route routes[] = {
    {"GET", "/", 0, csi_route_page},
    {"POST", "/api/v1/predict", API | CSI_ROUTE_WORK | CSI_ROUTE_BODY | CSI_ROUTE_FORM | CSI_ROUTE_CHANGE,
     csi_route_predict},
    {"GET", "/api/v1/images/{id}/gradcam", API | CSI_ROUTE_WORK, csi_route_gradcam},
    {"GET", "/api/v1/images/{id}/display", API | CSI_ROUTE_WORK, csi_route_display},
    {"GET", "/api/v1/status", API, csi_route_status},
    {"GET", "/api/v1/performance", API, csi_route_performance},
    {"GET", "/api/v1/caches", API, csi_route_caches},
    {"DELETE", "/api/v1/caches", API | CSI_ROUTE_WORK | CSI_ROUTE_CHANGE, csi_route_caches_clear},
    {"DELETE", "/api/v1/caches/{cache}", API | CSI_ROUTE_WORK | CSI_ROUTE_CHANGE, csi_route_caches_clear},
    {"GET", "/api/v1/history", API, csi_route_history},
    {"DELETE", "/api/v1/history", API | CSI_ROUTE_CHANGE, csi_route_history_clear},
    {"GET", "/api/v1/events", API, csi_route_events},
    {"GET", "/metrics", API, csi_route_metrics},
    {"GET", "/openapi.json", 0, csi_route_openapi},
    {"GET", "/v2", API, csi_route_v2_server},
    {"GET", "/v2/health/live", 0, csi_route_v2_live},
    {"GET", "/v2/health/ready", 0, csi_route_v2_ready},
    {"GET", "/v2/models/{model}", API, csi_route_v2_model},
    {"GET", "/v2/models/{model}/ready", API, csi_route_v2_model_ready},
    {"GET", "/v2/models/{model}/stats", API, csi_route_v2_stats},
    {"POST", "/v2/models/{model}/infer", API | CSI_ROUTE_WORK | CSI_ROUTE_BODY | CSI_ROUTE_CHANGE,
     csi_route_v2_infer},
    {"GET", "/v2/models/{model}/versions/{version}", API, csi_route_v2_model},
    {"GET", "/v2/models/{model}/versions/{version}/ready", API, csi_route_v2_model_ready},
    {"GET", "/v2/models/{model}/versions/{version}/stats", API, csi_route_v2_stats},
    {"POST", "/v2/models/{model}/versions/{version}/infer",
     API | CSI_ROUTE_WORK | CSI_ROUTE_BODY | CSI_ROUTE_CHANGE, csi_route_v2_infer},
    {"POST", "/v2/repository/index", API | CSI_ROUTE_BODY | CSI_ROUTE_CHANGE, csi_route_v2_index},
    {"GET", "/{file}", 0, csi_route_page},
};
#define ROUTE_COUNT (sizeof routes / sizeof routes[0])
_Static_assert(ROUTE_COUNT < CSI_METRICS_ROUTES, "each route has its counters");

const struct csi_route *csi_route_at(size_t index)
{
    return index < ROUTE_COUNT ? &routes[index] : NULL;
}

size_t csi_route_index(const struct csi_route *route)
{
    return route == NULL ? CSI_METRICS_ROUTES - 1 : (size_t)(route - routes);
}

void csi_route_labels(unsigned index, const char **method, const char **pattern)
{
    *method = index < ROUTE_COUNT ? routes[index].method : "other";
    *pattern = index < ROUTE_COUNT ? routes[index].pattern : "other";
}

/* Whether `path` fits `pattern`; where captured segments begin goes to `captures`, their lengths to
 * `lengths`. */
static bool fits(const char *pattern, const char *path, size_t *captures, size_t *lengths)
{
    const char *start = path;
    size_t count = 0;

    memset(lengths, 0, CSI_CAPTURES_MAX * sizeof lengths[0]);
    while (*pattern != '\0') {
        if (*pattern == '{') {
            size_t length = strcspn(path, "/");

            if (length == 0 || count == CSI_CAPTURES_MAX)
                return false;
            captures[count] = (size_t)(path - start);
            lengths[count++] = length;
            pattern = strchr(pattern, '}') + 1;
            path += length;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *path == '\0';
}

const struct csi_route *csi_route_match(const char *method, char *path, const char **captures, char *allow,
                                        size_t allow_size)
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    size_t starts[CSI_CAPTURES_MAX] = {0}, lengths[CSI_CAPTURES_MAX] = {0}, used = 0;
    struct csi_asset asset;

    allow[0] = '\0';
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (!fits(routes[i].pattern, path, starts, lengths))
            continue;
        if (strcmp(routes[i].method, wanted) == 0) {
            for (size_t j = 0; j < CSI_CAPTURES_MAX && lengths[j] > 0; j++)
                captures[j] = path + starts[j];
            for (size_t j = 0; j < CSI_CAPTURES_MAX && lengths[j] > 0; j++)
                path[starts[j] + lengths[j]] = '\0';
            return &routes[i];
        }
        if (strcmp(routes[i].pattern, "/{file}") == 0 && (used > 0 || !csi_asset_find(path + 1, &asset)))
            continue; /* a page file is no second meaning of a path that has one, and any name fits it */
        used += (size_t)snprintf(allow + used, used < allow_size ? allow_size - used : 0, "%s%s",
                                 used > 0 ? ", " : "",
                                 strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : routes[i].method);
    }
    return NULL;
}
