/* The /v2 routes that describe: server, health, model, statistics, repository (Open Inference Protocol v2).
 */
#include <string.h>

#include "base/clock.h"
#include "server/router.h"
#include "server/v2_model.h"
#include "server/v2_request.h"

enum cs_status csi_v2_model_check(const struct cs_model_info *info, const char *name, const char *version,
                                  struct cs_error *error)
{
    if (strcmp(info->name, name) != 0)
        return csi_fail(error, CS_NOT_FOUND, "the model is called %s", info->name);
    if (version != NULL && strcmp(version, "1") != 0)
        return csi_fail(error, CS_NOT_FOUND, "%s has one version, 1", info->name);
    return CS_OK;
}

void csi_v2_count_success(struct csi_v2_counters *counters, uint64_t photos,
                          const uint64_t part_ns[CSI_V2_PARTS])
{
    uint64_t all = 0;

    for (int i = 0; i < CSI_V2_PARTS; i++) {
        atomic_fetch_add(&counters->part_ns[i], part_ns[i]);
        all += part_ns[i];
    }
    atomic_fetch_add(&counters->success, 1);
    atomic_fetch_add(&counters->success_ns, all);
    atomic_fetch_add(&counters->photos, photos);
    atomic_store(&counters->last_ms, (uint64_t)csi_unix_ms());
}

void csi_v2_count_failure(struct csi_v2_counters *counters, uint64_t ns)
{
    atomic_fetch_add(&counters->fail, 1);
    atomic_fetch_add(&counters->fail_ns, ns);
}

void csi_route_v2_server(struct csi_request *request)
{
    csi_reply_json(request, 200,
                   json_pack("{s:s, s:s, s:[s, s, s, s]}", "name", "cropshield", "version", cs_version(),
                             "extensions", "binary_tensor_data", "classification", "statistics",
                             "model_repository"));
}

void csi_route_v2_live(struct csi_request *request)
{
    csi_reply_json(request, 200, json_pack("{s:b}", "live", 1));
}

void csi_route_v2_ready(struct csi_request *request)
{
    csi_reply_json(request, 200,
                   json_pack("{s:b}", "ready", 1)); /* the server starts with its model loaded */
}

/* The model in use when it has the name in the path; else NULL and the answer is given. */
static cs_model *named_model(struct csi_request *request, struct cs_model_info *info)
{
    cs_model *model = cs_diagnoser_model(request->server->options.diagnoser);
    struct cs_error error = {CS_OK, ""};

    *info = cs_model_info(model);
    if (csi_v2_model_check(info, request->captures[0], request->captures[1], &error) == CS_OK)
        return model;
    csi_reply_error(request, &error);
    cs_model_destroy(model);
    return NULL;
}

static json_t *tensor(const char *name, const char *type, json_t *shape)
{
    return json_pack("{s:s, s:s, s:o}", "name", name, "datatype", type, "shape", shape);
}

void csi_route_v2_model(struct csi_request *request)
{
    struct cs_model_info info;
    cs_model *model = named_model(request, &info);
    json_t *outputs;

    if (model == NULL)
        return;
    outputs = json_array();
    json_array_append_new(
        outputs, tensor("probabilities", "FP32", json_pack("[i, I]", -1, (json_int_t)info.class_count)));
    json_array_append_new(outputs,
                          tensor("logits", "FP32", json_pack("[i, I]", -1, (json_int_t)info.class_count)));
    if (info.embedding_size > 0)
        json_array_append_new(
            outputs, tensor("embedding", "FP32", json_pack("[i, I]", -1, (json_int_t)info.embedding_size)));
    if (info.map_width > 0)
        json_array_append_new(outputs, tensor("cam", "FP32",
                                              json_pack("[i, I, I]", -1, (json_int_t)info.map_height,
                                                        (json_int_t)info.map_width)));
    csi_reply_json(request, 200,
                   json_pack("{s:s, s:[s], s:s, s:[o, o], s:o}", "name", info.name, "versions", "1",
                             "platform", "cropshield", "inputs",
                             tensor("IMAGE", "BYTES", json_pack("[i]", -1)),
                             tensor("input", "FP32",
                                    json_pack("[i, i, I, I]", -1, 3, (json_int_t)info.input_size,
                                              (json_int_t)info.input_size)),
                             "outputs", outputs));
    cs_model_destroy(model);
}

void csi_route_v2_model_ready(struct csi_request *request)
{
    struct cs_model_info info;
    cs_model *model = named_model(request, &info);

    if (model == NULL)
        return;
    csi_reply_json(request, 200, json_pack("{s:s, s:b}", "name", info.name, "ready", 1));
    cs_model_destroy(model);
}

/* Durations in nanoseconds, as the statistics extension has them. */
static json_t *duration(uint64_t count, uint64_t ns)
{
    return json_pack("{s:I, s:I}", "count", (json_int_t)count, "ns", (json_int_t)ns);
}

static json_t *durations(const struct csi_v2_counters *counters)
{
    static const char *const names[CSI_V2_PARTS] = {"queue", "compute_input", "compute_infer",
                                                    "compute_output"};
    uint64_t success = atomic_load(&counters->success);
    json_t *stats = json_object();

    json_object_set_new(stats, "success", duration(success, atomic_load(&counters->success_ns)));
    json_object_set_new(stats, "fail",
                        duration(atomic_load(&counters->fail), atomic_load(&counters->fail_ns)));
    for (int i = 0; i < CSI_V2_PARTS; i++)
        json_object_set_new(stats, names[i], duration(success, atomic_load(&counters->part_ns[i])));
    return stats;
}

void csi_route_v2_stats(struct csi_request *request)
{
    const struct csi_v2_counters *counters = &request->server->v2;
    struct cs_model_info info;
    cs_model *model = named_model(request, &info);
    json_t *statistics;

    if (model == NULL)
        return;
    statistics = json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:[]}", "name", info.name, "version", "1",
                           "last_inference", (json_int_t)atomic_load(&counters->last_ms), "inference_count",
                           (json_int_t)atomic_load(&counters->photos), "execution_count",
                           (json_int_t)atomic_load(&counters->photos), "inference_stats", durations(counters),
                           "batch_stats");
    csi_reply_json(request, 200, json_pack("{s:[o]}", "model_stats", statistics));
    cs_model_destroy(model);
}

void csi_route_v2_index(struct csi_request *request)
{
    cs_model *model = cs_diagnoser_model(request->server->options.diagnoser);
    struct cs_model_info info = cs_model_info(model);

    csi_reply_json(request, 200,
                   json_pack("[{s:s, s:s, s:s, s:s}]", "name", info.name, "version", "1", "state", "READY",
                             "reason", ""));
    cs_model_destroy(model);
}
