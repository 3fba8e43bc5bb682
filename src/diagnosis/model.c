/*
 * Loading a model: file or embedded bytes -> graph -> plan, labels, gate. Owns the counted handle. Sessions
 * are session.c's, the life of a model under replacement is slot.c's.
 */
#include "diagnosis/model.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/memory.h"
#include "diagnosis/device.h"
#include "formats/model_file.h"
#include "kernels/kernels.h"

#define DEFAULT_BATCH    8u
#define MAX_BATCH        1024u
#define DEFAULT_MAX_SIZE 800u
/* That keep a GPU busy while others are with the CPU: each has memory of its own there. */
#define GPU_SESSIONS 4u

enum cs_status csi_compute_create(const struct cs_model_options *options, struct csi_compute **compute,
                                  struct cs_error *error)
{
    struct csi_compute *made;
    enum cs_status status;

    *compute = NULL;
    made = calloc(1, sizeof *made);
    if (made == NULL)
        return csi_fail_memory(error, "compute pool");
    status = csi_cpu_allowed(options->cpu_mask, &made->cpu_features, error);
    made->threads = options->threads != 0 ? options->threads : csi_cpu()->physical_cores;
    if (status == CS_OK)
        status = csi_pool_create(made->threads, &made->pool, error);
    if (status != CS_OK) {
        free(made);
        return status;
    }
    atomic_init(&made->references, 1);
    csi_turns_init(&made->turns, made->threads);
    *compute = made;
    return CS_OK;
}

struct csi_compute *csi_compute_retain(struct csi_compute *compute)
{
    atomic_fetch_add(&compute->references, 1);
    return compute;
}

void csi_compute_release(struct csi_compute *compute)
{
    if (compute == NULL || atomic_fetch_sub(&compute->references, 1) != 1)
        return;
    csi_pool_destroy(compute->pool);
    csi_turns_destroy(&compute->turns);
    free(compute);
}

/* "models/my_net.pth" -> "my_net"; as UTF-8, because it stands in JSON and URLs. */
static char *name_of_path(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path,
               *dot = strrchr(base, '.');
    size_t length = dot != NULL && dot != base ? (size_t)(dot - base) : strlen(base);
    char *stem = malloc(length + 1);
    struct csi_buffer name;

    csi_buffer_init(&name);
    if (stem != NULL) {
        memcpy(stem, base, length);
        stem[length] = '\0';
        csi_buffer_utf8(&name, stem);
        free(stem);
    }
    if (name.failed)
        csi_buffer_free(&name);
    return (char *)name.bytes;
}

static bool is_embedded(const char *path)
{
    return path == NULL || path[0] == '\0' || strcmp(path, "lite") == 0;
}

/* The file's bytes: read whole rather than mapped, because a file that is cut while it is mapped kills the
 * reader. */
static enum cs_status read_bytes(const char *path, const uint8_t **bytes, uint8_t **owned, size_t *size,
                                 struct cs_error *error)
{
    enum cs_status status;

    *owned = NULL;
    if (is_embedded(path)) {
        *bytes = csi_embedded_model(path, size);
        if (*bytes == NULL)
            return csi_fail(error, CS_NOT_FOUND, "this build holds no model named '%s'",
                            path == NULL || path[0] == '\0' ? "default" : path);
        return CS_OK;
    }
    status = csi_file_read(path, 0, owned, size, error);
    *bytes = *owned;
    if (status == CS_OK && *size == 0) {
        free(*owned);
        *owned = NULL;
        status = csi_fail(error, CS_MODEL_INVALID, "'%s' is empty", path);
    }
    return status;
}

static void apply_override(struct csi_preprocess *preprocess, const struct cs_preprocess_override *override)
{
    if (override->resize != 0)
        preprocess->resize = override->resize;
    if (override->crop != 0)
        preprocess->crop = override->crop;
    if (override->has_mean)
        memcpy(preprocess->mean, override->mean, sizeof preprocess->mean);
    if (override->has_std)
        memcpy(preprocess->std_dev, override->std_dev, sizeof preprocess->std_dev);
    if (preprocess->max_size == 0)
        preprocess->max_size = DEFAULT_MAX_SIZE;
}

static enum cs_status check_options(const struct cs_model_options *options, struct cs_error *error)
{
    const struct cs_preprocess_override *override = &options->preprocess;

    if ((int)options->device < CS_DEVICE_AUTO || options->device > CS_DEVICE_CUDA)
        return csi_fail(error, CS_BAD_REQUEST, "no device has the number %d", (int)options->device);
    if (options->device_index < 0)
        return csi_fail(error, CS_BAD_REQUEST, "no device has the index %d", options->device_index);
    if ((int)options->precision < CS_PRECISION_AUTO || options->precision > CS_PRECISION_INT8)
        return csi_fail(error, CS_BAD_REQUEST, "no precision has the number %d", (int)options->precision);
    if (options->threads > 1024)
        return csi_fail(error, CS_BAD_REQUEST, "%u threads are more than the 1024 allowed", options->threads);
    if (options->max_batch > MAX_BATCH)
        return csi_fail(error, CS_BAD_REQUEST, "a batch of %u is larger than %u", options->max_batch,
                        MAX_BATCH);
    if (override->crop > 4096 || override->resize > 16384)
        return csi_fail(error, CS_BAD_REQUEST, "preprocessing to %u, crop %u: larger than 16384 or 4096",
                        override->resize, override->crop);
    for (int i = 0; i < 3; i++)
        if ((override->has_mean && !isfinite(override->mean[i])) ||
            (override->has_std && !(isfinite(override->std_dev[i]) && override->std_dev[i] > 0)))
            return csi_fail(error, CS_BAD_REQUEST, "mean and deviation have to be finite, deviation above 0");
    return csi_gpu_check(options, error);
}

/* Copies of what the graph says about itself: the graph goes after compiling, its weights are as large as the
 * plan's. */
static enum cs_status take_facts(cs_model *model, const struct csi_graph *graph, struct cs_error *error)
{
    bool complete;

    model->class_count = graph->class_count;
    model->classes = calloc(graph->class_count, sizeof *model->classes);
    model->labels = calloc(graph->class_count, sizeof *model->labels);
    model->tested = calloc(graph->class_count, sizeof *model->tested);
    model->format = csi_strdup(graph->format);
    model->architecture = csi_strdup(graph->architecture);
    model->metadata_json = csi_strdup(
        graph->metadata_json != NULL && graph->metadata_json[0] != '\0' ? graph->metadata_json : "{}");
    model->name = graph->name != NULL && graph->name[0] != '\0' ? csi_strdup(graph->name)
                  : model->embedded                             ? csi_strdup("cropshield")
                                                                : name_of_path(model->path);
    complete = model->classes != NULL && model->labels != NULL && model->tested != NULL &&
               model->format != NULL && model->architecture != NULL && model->metadata_json != NULL &&
               model->name != NULL;
    for (size_t i = 0; complete && i < graph->class_count; i++) {
        model->classes[i] = csi_strdup(graph->classes[i]);
        model->labels[i] = csi_class_label(graph->classes[i]);
        model->tested[i] = graph->tested == NULL || graph->tested[i];
        complete = model->classes[i] != NULL && model->labels[i] != NULL;
    }
    if (!complete || !csi_model_find_plants(model))
        return csi_fail_memory(error, "model facts");
    model->temperature = graph->temperature > 0 ? graph->temperature : 1.0;
    model->parameters = graph->parameters;
    model->gmac = csi_graph_macs(graph) / 1e9;
    return CS_OK;
}

/* Everything that decides the logits and maps: part of every cache key, so that nothing stale can be served.
 */
static void identify(cs_model *model, bool compact)
{
    struct csi_hasher hasher;
    const char *layer = model->plan_info->target_layer, *kernels = model->plan_info->kernels;
    uint32_t numbers[4] = {(uint32_t)model->plan_info->precision, model->plan_info->integers ? 1 : 0,
                           model->preprocess.resize, model->preprocess.crop};

    csi_hasher_init(&hasher);
    csi_hasher_update(&hasher, model->digest.bytes, CSI_HASH_SIZE);
    csi_hasher_update(&hasher, numbers, sizeof numbers);
    csi_hasher_update(&hasher, model->preprocess.mean, sizeof model->preprocess.mean);
    csi_hasher_update(&hasher, model->preprocess.std_dev, sizeof model->preprocess.std_dev);
    csi_hasher_update(&hasher, kernels, strlen(kernels) + 1);
    csi_hasher_update(&hasher, layer, strlen(layer) + 1);
    if (model->plan_info->device != CS_DEVICE_CPU) { /* what stands behind the map is still the CPU's */
        kernels = csi_kernels_select(model->compute->cpu_features)->name;
        csi_hasher_update(&hasher, kernels, strlen(kernels) + 1);
    }
    if (compact) /* other sums: the last digits differ */
        csi_hasher_update(&hasher, "compact", sizeof "compact");
    if (model->plan_info->split_floats) /* of AMX, under the name of AVX-512's kernels; so do they here */
        csi_hasher_update(&hasher, "split", sizeof "split");
    csi_hasher_final(&hasher, &model->identity);
}

/* What AUTO means: the fastest precision whose accuracy the file vouches for (`cropshield quantize` writes
 * that down), or what the network itself is made of. Integers pay where the CPU has dot products of bytes. */
static enum cs_precision vouched_precision(const struct csi_graph *graph, uint32_t cpu_features)
{
    json_t *metadata = json_loads(graph->metadata_json != NULL ? graph->metadata_json : "{}", 0, NULL);
    const char *name = json_string_value(json_object_get(metadata, "vouched_precision"));
    enum cs_precision precision = name != NULL && strcmp(name, cs_precision_name(CS_PRECISION_INT8)) == 0
                                      ? CS_PRECISION_INT8
                                      : CS_PRECISION_FP32;

    json_decref(metadata);
    if (csi_graph_is_quantized(graph))
        precision = CS_PRECISION_INT8;
    return csi_kernels_select(cpu_features)->byte_fast ? precision : CS_PRECISION_FP32;
}

static enum cs_status compile(cs_model *model, const struct csi_graph *graph,
                              const struct cs_model_options *options, struct cs_error *error)
{
    struct csi_plan_options plan = {
        .precision = options->precision == CS_PRECISION_AUTO
                         ? vouched_precision(graph, model->compute->cpu_features)
                         : options->precision,
        .fastest = options->precision == CS_PRECISION_AUTO,
        .cpu_features = model->compute->cpu_features,
        .max_batch = model->max_batch,
        .target_layer = model->target_layer,
        .pool = model->compute->pool,
        .compact = options->compact,
    };
    enum cs_status status = csi_plan_for(graph, options, &plan, &model->plan, error);

    if (status != CS_OK)
        return status;
    model->plan_info = csi_plan_info(model->plan);
    if (model->plan_info->input_channels != 3 ||
        model->plan_info->input_height != model->plan_info->input_width)
        return csi_fail(
            error, CS_MODEL_UNSUPPORTED, "the network wants %zu×%zu×%zu, not a square photo of 3 channels",
            model->plan_info->input_channels, model->plan_info->input_height, model->plan_info->input_width);
    if (model->plan_info->class_count != model->class_count)
        return csi_fail(error, CS_MODEL_INVALID, "%zu class names for %zu outputs", model->class_count,
                        model->plan_info->class_count);
    model->preprocess.crop = (uint32_t)model->plan_info->input_height;
    if (model->preprocess.resize == 0) /* the usual 256 for 224 */
        model->preprocess.resize = model->preprocess.crop * 8 / 7;
    return CS_OK;
}

static enum cs_status load_into(cs_model *model, const struct cs_model_options *options,
                                struct cs_error *error)
{
    struct csi_model_file_options file = {.path = model->embedded ? NULL : model->path,
                                          .classes_path = options->classes_path,
                                          .input_size = options->preprocess.crop};
    const uint8_t *bytes = NULL;
    uint8_t *owned = NULL;
    size_t size = 0;
    struct csi_graph *graph = NULL;
    enum cs_status status = read_bytes(options->path, &bytes, &owned, &size, error);

    if (status != CS_OK)
        return status;
    status = csi_model_file_read(bytes, size, &file, &graph, &model->digest, error);
    if (status == CS_OK) {
        csi_hash_to_hex(&model->digest, model->digest_hex);
        model->preprocess = graph->preprocess;
        apply_override(&model->preprocess, &options->preprocess);
        status = take_facts(model, graph, error);
    }
    if (status == CS_OK)
        status = compile(model, graph, options, error);
    if (status == CS_OK)
        status = csi_gate_create(graph, model->plan_info->embedding_size, &model->gate, error);
    if (status == CS_OK)
        status = csi_coach_create(graph, &model->coach, error);
    if (status == CS_OK)
        identify(model, options->compact);
    else if (!model->embedded && error != NULL && strstr(error->message, model->path) == NULL)
        csi_error_prefix(error, "'%s'", model->path);
    csi_graph_destroy(graph);
    if (model->embedded)
        csi_memory_forget(bytes, size); /* all of it is in the plan now */
    free(owned);
    return status;
}

enum cs_status csi_model_load(const struct cs_model_options *options, struct csi_compute *compute,
                              cs_model **model, struct cs_error *error)
{
    uint64_t start = csi_now_ns();
    bool has_layer = options->target_layer != NULL && options->target_layer[0] != '\0';
    cs_model *made = NULL;
    enum cs_status status = check_options(options, error);

    *model = NULL;
    if (status != CS_OK)
        return status;
    made = calloc(1, sizeof *made);
    if (made == NULL)
        return csi_fail_memory(error, "model");
    atomic_init(&made->references, 1);
    pthread_mutex_init(&made->sessions_lock, NULL);
    pthread_cond_init(&made->session_back, NULL);
    made->embedded = is_embedded(options->path);
    made->path = csi_strdup(made->embedded ? "embedded" : options->path);
    made->classes_path = csi_strdup(options->classes_path);
    made->target_layer = has_layer ? csi_strdup(options->target_layer) : NULL;
    made->max_batch = options->max_batch != 0 ? options->max_batch : DEFAULT_BATCH;
    if (made->path == NULL || (made->classes_path == NULL && options->classes_path != NULL) ||
        (made->target_layer == NULL && has_layer))
        status = csi_fail_memory(error, "model");
    else if (compute != NULL)
        made->compute = csi_compute_retain(compute);
    else
        status = csi_compute_create(options, &made->compute, error);
    if (status == CS_OK)
        status = load_into(made, options, error);
    if (status != CS_OK) {
        csi_model_release(made);
        return status;
    }
    /* One that computes over all cores, and one a core that wait for going together. */
    made->session_limit = made->compute->threads + 1;
    if (made->plan_info->device != CS_DEVICE_CPU && made->session_limit > GPU_SESSIONS)
        made->session_limit = GPU_SESSIONS;
    made->load_ms = csi_ms_since(start);
    *model = made;
    return CS_OK;
}

cs_model *csi_model_retain(cs_model *model)
{
    atomic_fetch_add(&model->references, 1);
    return model;
}

void csi_model_release(cs_model *model)
{
    bool give_back;

    if (model == NULL || atomic_fetch_sub(&model->references, 1) != 1)
        return;
    give_back = model->replaced;
    while (model->idle != NULL) {
        cs_session *session = model->idle;

        model->idle = session->next;
        csi_session_destroy(session);
    }
    csi_plan_destroy(model->plan);
    csi_gate_destroy(model->gate);
    csi_coach_destroy(model->coach);
    csi_compute_release(model->compute);
    for (size_t i = 0; i < model->class_count; i++) {
        if (model->classes != NULL)
            free(model->classes[i]);
        if (model->labels != NULL)
            free(model->labels[i]);
    }
    for (size_t i = 0; i < model->plant_count; i++)
        free(model->plants[i]);
    free(model->plants);
    free(model->plant_of);
    free(model->classes);
    free(model->labels);
    free(model->tested);
    free(model->name);
    free(model->path);
    free(model->classes_path);
    free(model->target_layer);
    free(model->format);
    free(model->architecture);
    free(model->metadata_json);
    pthread_cond_destroy(&model->session_back);
    pthread_mutex_destroy(&model->sessions_lock);
    free(model);
    if (give_back)
        csi_memory_give_back();
}

struct cs_model_info csi_model_info(const cs_model *model)
{
    const struct csi_plan_info *plan = model->plan_info;

    return (struct cs_model_info){
        .name = model->name,
        .path = model->path,
        .format = model->format,
        .architecture = model->architecture,
        .digest = model->digest_hex,
        .gradcam_layer = plan->target_layer,
        .metadata_json = model->metadata_json,
        .kernels = plan->kernels,
        .precision = plan->precision,
        .device = plan->device,
        .device_name = plan->device_name,
        .threads = model->compute->threads,
        .class_count = model->class_count,
        .classes = (const char *const *)model->classes,
        .labels = (const char *const *)model->labels,
        .tested = model->tested,
        .parameters = model->parameters,
        .gmac = model->gmac,
        .temperature = model->temperature,
        .input_size = (uint32_t)plan->input_height,
        .map_width = (uint32_t)plan->map_width,
        .map_height = (uint32_t)plan->map_height,
        .embedding_size = plan->embedding_size,
        .has_leaf_gate = model->gate != NULL,
        .load_ms = model->load_ms,
        .plants = (const char *const *)model->plants,
        .plant_count = model->plant_count,
        .plant_of = model->plant_of,
        .resize = model->preprocess.resize,
    };
}

enum cs_status csi_model_bytes(const cs_model *model, const uint8_t **bytes, uint8_t **owned, size_t *size,
                               struct cs_error *error)
{
    const char *source = !model->embedded ? model->path : NULL;
    struct csi_hash digest;
    enum cs_status status = read_bytes(source, bytes, owned, size, error);

    if (status != CS_OK)
        return status;
    csi_hash_bytes(*bytes, *size, &digest);
    if (memcmp(digest.bytes, model->digest.bytes, CSI_HASH_SIZE) != 0 && source == NULL) {
        *bytes = csi_embedded_model("lite", size); /* the other model of this build */
        if (*bytes != NULL)
            csi_hash_bytes(*bytes, *size, &digest);
    }
    if (*bytes == NULL || memcmp(digest.bytes, model->digest.bytes, CSI_HASH_SIZE) != 0) {
        free(*owned);
        *owned = NULL;
        return csi_fail(error, CS_NOT_FOUND, "'%s' has changed since the model was loaded", model->path);
    }
    return CS_OK;
}

enum cs_status csi_model_save(const cs_model *model, const char *metadata_json, const char *path,
                              struct cs_error *error)
{
    struct csi_model_file_options file = {.path = model->embedded ? NULL : model->path,
                                          .classes_path = model->classes_path,
                                          .input_size = model->preprocess.crop,
                                          .preprocess = &model->preprocess,
                                          .gradcam_layer = model->target_layer,
                                          .metadata_json = metadata_json};
    const uint8_t *bytes = NULL;
    uint8_t *owned = NULL, *out = NULL;
    size_t size = 0, out_size = 0;
    enum cs_status status = csi_model_bytes(model, &bytes, &owned, &size, error);

    if (status == CS_OK)
        status = csi_model_file_convert(bytes, size, &file, &out, &out_size, error);
    if (status == CS_OK)
        status = csi_file_write_atomic(path, out, out_size, error);
    free(out);
    free(owned);
    return status;
}
