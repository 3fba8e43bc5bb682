/* The model and the machine as JSON: see describe.h. */
#include "server/describe.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "server/session.h"

/* Text that may hold a file's name, which need not be UTF-8, as JSON must be. */
static json_t *json_text(const char *text)
{
    struct csi_buffer clean;
    json_t *string;

    csi_buffer_init(&clean);
    csi_buffer_utf8(&clean, text);
    string = json_stringn(clean.bytes == NULL ? "" : (const char *)clean.bytes, clean.size);
    csi_buffer_free(&clean);
    return string;
}

static json_t *describe_classes(const struct cs_model_info *info)
{
    json_t *classes = json_array();

    for (size_t i = 0; i < info->class_count; i++)
        json_array_append_new(classes, json_pack("{s:I, s:s, s:s, s:b}", "index", (json_int_t)i, "class",
                                                 info->classes[i], "label", info->labels[i], "tested",
                                                 info->tested == NULL || info->tested[i]));
    return classes;
}

static json_t *describe_plants(const struct cs_model_info *info)
{
    json_t *plants = json_array();

    for (size_t i = 0; i < info->plant_count; i++)
        json_array_append_new(plants, json_text(info->plants[i]));
    return plants;
}

static json_t *model_object(struct csi_server *server, const struct cs_model_info *info)
{
    struct cs_diagnoser_status status;
    json_t *object, *metadata;
    char loaded[40];

    cs_diagnoser_status(server->options.diagnoser, &status);
    csi_time_text(status.model_loaded_unix_ms, loaded, sizeof loaded);
    metadata = info->metadata_json == NULL ? NULL : json_loads(info->metadata_json, 0, NULL);
    if (metadata == NULL)
        metadata = json_object();
    object = json_pack("{s:s, s:o, s:s, s:s, s:s, s:I, s:f, s:o, s:I, s:f}", "name", info->name, "path",
                       json_text(info->path), "architecture", info->architecture, "digest", info->digest,
                       "format", info->format, "parameters", (json_int_t)info->parameters, "gmac", info->gmac,
                       "classes", describe_classes(info), "input_size", (json_int_t)info->input_size,
                       "temperature", info->temperature);
    json_object_set_new(object, "resize", json_integer((json_int_t)info->resize));
    json_object_set_new(object, "plants", describe_plants(info));
    json_object_set_new(object, "load_ms", json_real(status.model_load_ms));
    json_object_set_new(object, "loaded_at", json_string(loaded));
    json_object_set_new(object, "loads", json_integer((json_int_t)status.model_loads));
    json_object_set_new(object, "load_failures", json_integer((json_int_t)status.model_load_failures));
    json_object_set_new(object, "last_error",
                        status.last_error[0] == '\0' ? json_null() : json_text(status.last_error));
    json_object_set_new(object, "has_leaf_gate", json_boolean(info->has_leaf_gate));
    json_object_set_new(object, "gradcam_layer",
                        json_string(info->gradcam_layer == NULL ? "" : info->gradcam_layer));
    json_object_set_new(object, "metadata", metadata);
    return object;
}

json_t *csi_describe_model(struct csi_server *server)
{
    cs_model *model = cs_diagnoser_model(server->options.diagnoser);
    struct cs_model_info info = cs_model_info(model);
    json_t *object = model_object(server, &info);

    cs_model_destroy(model);
    return object;
}

json_t *csi_describe_status(struct csi_server *server)
{
    const struct csi_server_options *options = &server->options;
    struct cs_build_info build = cs_build_info();
    cs_model *model = cs_diagnoser_model(options->diagnoser);
    struct cs_model_info info = cs_model_info(model);
    json_t *status = json_object();
    char features[256];

    csi_cpu_feature_names(csi_cpu()->features, features, sizeof features);
    json_object_set_new(status, "version", json_string(build.version));
    json_object_set_new(status, "git", json_string(build.git_hash));
    json_object_set_new(status, "uptime_s", json_real(csi_ms_since(server->started_ns) / 1000));
    json_object_set_new(status, "target_ms", json_real(options->target_ms));
    json_object_set_new(status, "model", model_object(server, &info));
    json_object_set_new(status, "device", json_string(cs_device_name(info.device)));
    json_object_set_new(status, "device_name",
                        json_string(info.device_name != NULL ? info.device_name : csi_cpu()->brand));
    json_object_set_new(status, "precision", json_string(cs_precision_name(info.precision)));
    json_object_set_new(status, "threads", json_integer((json_int_t)info.threads));
    json_object_set_new(status, "kernels", json_string(info.kernels == NULL ? "" : info.kernels));
    json_object_set_new(status, "features", json_string(features));
    json_object_set_new(
        status, "limits",
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "max_bytes",
                  (json_int_t)options->limits.max_bytes, "max_pixels", (json_int_t)options->limits.max_pixels,
                  "max_side", (json_int_t)options->limits.max_side, "max_scans",
                  (json_int_t)options->limits.max_jpeg_scans, "max_body_bytes",
                  (json_int_t)options->max_body_bytes, "in_flight", (json_int_t)options->max_in_flight,
                  "header_timeout_s", options->header_timeout_s, "body_timeout_s", options->body_timeout_s));
    json_object_set_new(status, "formats", json_pack("[s, s, s]", "jpeg", "png", "webp"));
    cs_model_destroy(model);
    return status;
}
