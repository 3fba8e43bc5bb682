/* GET /metrics: Prometheus text. */
#include "base/clock.h"
#include "server/events.h"
#include "server/gate.h"
#include "server/router.h"
#include "server/session.h"

static void gauge(struct csi_buffer *out, const char *name, const char *help, double value)
{
    csi_buffer_printf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %.17g\n", name, help, name, name, value);
}

static void counter(struct csi_buffer *out, const char *name, const char *help, uint64_t value)
{
    csi_buffer_printf(out, "# HELP %s %s\n# TYPE %s counter\n%s %llu\n", name, help, name, name,
                      (unsigned long long)value);
}

static void write_caches(cs_diagnoser *diagnoser, struct csi_buffer *out)
{
    struct cs_cache_stats stats[CS_CACHE_COUNT];
    static const struct {
        const char *name, *type, *help;
        size_t offset;
    } rows[] = {
        {"cropshield_cache_hits_total", "counter", "Answers found in a cache",
         offsetof(struct cs_cache_stats, hits)},
        {"cropshield_cache_misses_total", "counter", "Answers computed",
         offsetof(struct cs_cache_stats, misses)},
        {"cropshield_cache_coalesced_total", "counter", "Requests that waited for an equal one",
         offsetof(struct cs_cache_stats, coalesced)},
        {"cropshield_cache_evictions_total", "counter", "Entries pushed out by the bound",
         offsetof(struct cs_cache_stats, evictions)},
        {"cropshield_cache_entries", "gauge", "Entries in memory", offsetof(struct cs_cache_stats, entries)},
        {"cropshield_cache_bytes", "gauge", "Bytes in memory", offsetof(struct cs_cache_stats, bytes)},
        {"cropshield_cache_disk_entries", "gauge", "Entries on disk",
         offsetof(struct cs_cache_stats, disk_entries)},
        {"cropshield_cache_disk_errors_total", "counter", "Failures of the disk tier",
         offsetof(struct cs_cache_stats, disk_errors)},
    };

    for (int i = 0; i < CS_CACHE_COUNT; i++)
        cs_diagnoser_cache_stats(diagnoser, (enum cs_cache)i, &stats[i]);
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        csi_buffer_printf(out, "# HELP %s %s.\n# TYPE %s %s\n", rows[row].name, rows[row].help,
                          rows[row].name, rows[row].type);
        for (int i = 0; i < CS_CACHE_COUNT; i++) {
            const uint64_t *value =
                (const uint64_t *)(const void *)((const char *)&stats[i] + rows[row].offset);

            csi_buffer_printf(out, "%s{cache=\"%s\"} %llu\n", rows[row].name, cs_cache_name((enum cs_cache)i),
                              (unsigned long long)*value);
        }
    }
}

static void write_labels(struct csi_buffer *out, const char *const *pairs)
{
    for (size_t i = 0; pairs[i] != NULL; i += 2) {
        csi_buffer_printf(out, "%s%s=\"", i > 0 ? "," : "{", pairs[i]);
        csi_metrics_label(out, pairs[i + 1] == NULL ? "" : pairs[i + 1]);
        csi_buffer_printf(out, "\"");
    }
    csi_buffer_printf(out, "} 1\n");
}

static void write_infos(cs_diagnoser *diagnoser, struct csi_buffer *out)
{
    struct cs_build_info build = cs_build_info();
    cs_model *model = cs_diagnoser_model(diagnoser);
    struct cs_model_info info = cs_model_info(model);
    const char *const build_pairs[] = {"version",  build.version,  "git", build.git_hash,
                                       "compiler", build.compiler, NULL};
    const char *const model_pairs[] = {"name",      info.name,
                                       "digest",    info.digest,
                                       "precision", cs_precision_name(info.precision),
                                       "device",    cs_device_name(info.device),
                                       "kernels",   info.kernels == NULL ? "" : info.kernels,
                                       NULL};

    csi_buffer_printf(out, "# TYPE cropshield_build_info gauge\ncropshield_build_info");
    write_labels(out, build_pairs);
    csi_buffer_printf(out, "# TYPE cropshield_model_info gauge\ncropshield_model_info");
    write_labels(out, model_pairs);
    cs_model_destroy(model);
}

void csi_route_metrics(struct csi_request *request)
{
    struct csi_server *server = request->server;
    struct cs_diagnoser_status status;
    struct csi_buffer out;

    csi_buffer_init(&out);
    cs_diagnoser_status(server->options.diagnoser, &status);
    csi_metrics_write_requests(&server->metrics, &out, csi_route_labels);
    csi_metrics_write_stages(&server->metrics, &out);
    gauge(&out, "cropshield_http_in_flight", "Requests that workers have.", atomic_load(&server->in_flight));
    gauge(&out, "cropshield_http_connections", "Open connections.", csi_http_gate_connections(server->gate));
    gauge(&out, "cropshield_event_streams", "Open event streams.", (double)csi_hub_count(server->hub));
    gauge(&out, "cropshield_sessions", "Sessions in memory.", (double)csi_sessions_count(server->sessions));
    gauge(&out, "cropshield_uptime_seconds", "Since the server began.",
          csi_ms_since(server->started_ns) / 1000);
    counter(&out, "cropshield_model_loads_total", "Models loaded.", status.model_loads);
    counter(&out, "cropshield_model_load_failures_total", "Models that could not be loaded.",
            status.model_load_failures);
    gauge(&out, "cropshield_models_in_memory", "The model in use and replaced ones that requests still hold.",
          (double)status.models_in_memory);
    write_caches(server->options.diagnoser, &out);
    write_infos(server->options.diagnoser, &out);
    csi_metrics_write_process(&out);
    csi_reply_buffer(request, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
}
