/*
 * The door: recognises a model file's format, reads it, and builds the network. See model_file.h.
 */
#include "formats/model_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "formats/metadata.h"
#include "formats/onnx.h"
#include "formats/pytorch.h"
#include "formats/safetensors.h"
#include "formats/wrappers.h"

#define MAX_CLASS_FILE ((size_t)4 << 20)

/* Messages quote names from foreign files: what could steer a terminal is blanked. */
static void clean_message(struct cs_error *error)
{
    for (char *c = error->message; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    if (error->message[0] != '\0') {
        json_t *text = json_string(error->message); /* NULL unless it is UTF-8 */

        for (char *c = error->message; text == NULL && *c != '\0'; c++)
            if ((unsigned char)*c >= 0x80)
                *c = '?';
        json_decref(text);
    }
}

/* The class list that wins over the metadata (`classes_path`) or stands in for it (beside the model), and
 * `*list`, its file, for free(); NULL: none. */
static enum cs_status find_classes(const struct csi_model_file_options *options, const json_t *metadata,
                                   json_t **classes, char **list, struct cs_error *error)
{
    static const char beside[] = "class_to_idx.json";
    const char *path = options->classes_path,
               *slash = options->path == NULL ? NULL : strrchr(options->path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - options->path) + 1, size;
    struct csi_file_stamp stamp;
    uint8_t *bytes = NULL;
    char *made = NULL;
    enum cs_status status = CS_OK;

    *classes = NULL;
    *list = NULL;
    if (path == NULL) {
        if (options->path == NULL || json_object_get(metadata, "classes") != NULL)
            return CS_OK;
        made = malloc(folder + sizeof beside);
        if (made == NULL)
            return csi_fail_memory(error, "path");
        memcpy(made, options->path, folder);
        memcpy(made + folder, beside, sizeof beside);
        path = made;
        if (!csi_file_stamp(path, &stamp))
            goto done;
    }
    status = csi_file_read(path, MAX_CLASS_FILE, &bytes, &size, error);
    if (status == CS_OK)
        status = csi_classes_parse(bytes, size, classes, error);
    if (status == CS_MODEL_INVALID)
        csi_error_prefix(error, "%.200s", path);
    if (status == CS_OK) {
        *list = made != NULL ? made : csi_strdup(path);
        made = NULL;
        if (*list == NULL)
            status = csi_fail_memory(error, "path");
    }

done:
    free(bytes);
    free(made);
    return status;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the network's constants, sorted; for free(). NULL: no memory. */
static const char **constant_names(const struct csi_graph *graph, size_t *count)
{
    const char **names = calloc(graph->value_count + 1, sizeof *names);

    *count = 0;
    for (size_t i = 0; i < graph->value_count && names != NULL; i++)
        if (csi_value_is_constant(&graph->values[i]))
            names[(*count)++] = graph->values[i].name;
    if (names != NULL)
        qsort(names, *count, sizeof *names, by_text);
    return names;
}

/* Every tensor is used by the network or is an extra: nothing of a user's model is dropped silently. Only
 * files of ours hold more, which the program that wrote them knew. */
static enum cs_status keep_extras(const struct csi_tensor_set *set, struct csi_graph *graph,
                                  struct cs_error *error)
{
    enum cs_status status = CS_OK;
    size_t used;
    const char **names = constant_names(graph, &used);

    if (names == NULL)
        return csi_fail_memory(error, "tensor names");
    for (size_t i = 0; i < set->count && status == CS_OK; i++) {
        const struct csi_tensor *tensor = &set->tensors[i];
        const char *name = tensor->name;

        if (bsearch(&name, names, used, sizeof *names, by_text) != NULL)
            continue;
        if (!set->keep_unknown && !csi_is_extra_name(name))
            status = csi_fail(error, CS_MODEL_UNSUPPORTED,
                              "tensor '%s' is no part of %s: export the network to ONNX, which tells its use",
                              name, graph->architecture);
        else
            status = csi_graph_add_extra(graph, name, tensor->rank, tensor->dims, tensor->data, error);
    }
    free(names);
    return status;
}

/* "models/my_leaf_net.v2.pth" -> "my_leaf_net.v2" */
static enum cs_status name_from_path(const char *path, struct csi_graph *graph, struct cs_error *error)
{
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    char name[CSI_NAME_SIZE], *dot;

    if (path == NULL)
        return csi_graph_set_string(&graph->name, graph->architecture, error);
    csi_utf8_copy(name, sizeof name, slash == NULL ? path : slash + 1);
    dot = strrchr(name, '.');
    if (dot != NULL && dot != name)
        *dot = '\0';
    return csi_graph_set_string(&graph->name, name, error);
}

/* Whether there are more or fewer class names than the network has outputs. */
static bool has_other_count(const struct csi_graph *graph)
{
    const struct csi_value *output;

    if (graph->output < 0 || (size_t)graph->output >= graph->value_count)
        return false;
    output = &graph->values[graph->output];
    return output->rank == 2 && output->dims[1] != graph->class_count;
}

/* Class names, metadata, checks: the same whatever the network came from. */
static enum cs_status finish_graph(const struct csi_model_file_options *options, const json_t *metadata,
                                   struct csi_graph *graph, struct cs_error *error)
{
    json_t *classes = NULL;
    char *list = NULL;
    enum cs_status status = find_classes(options, metadata, &classes, &list, error);

    if (status == CS_OK)
        status = csi_metadata_finish(metadata, classes, graph, error);
    json_decref(classes);
    if (status == CS_OK && graph->name[0] == '\0')
        status = name_from_path(options->path, graph, error);
    if (status == CS_OK)
        status = csi_graph_validate(graph, error);
    if (status == CS_MODEL_INVALID && list != NULL && has_other_count(graph))
        csi_error_prefix(error, "%.200s", list);
    free(list);
    return status;
}

static enum cs_status build_from_tensors(struct csi_tensor_set *set,
                                         const struct csi_model_file_options *options,
                                         struct csi_graph *graph, struct cs_error *error)
{
    const char *architecture = json_string_value(json_object_get(set->metadata, "architecture"));
    struct csi_weights weights;
    enum cs_status status = CS_OK;

    if (strcmp(set->format, "torchscript") != 0 &&
        (architecture == NULL || strcmp(architecture, CSI_ARCHITECTURE_GRAPH) != 0))
        status = csi_tensor_set_unwrap(set, error);
    if (status == CS_OK)
        status = csi_tensor_set_check(set, error);
    weights = csi_tensor_set_weights(set);
    csi_graph_borrow(graph); /* from the set, whose data are handed over or outlive the graph */
    if (status == CS_OK)
        status = csi_graph_set_string(&graph->format, set->format, error);
    if (status == CS_OK)
        status = csi_metadata_to_graph(set->metadata, options->input_size, graph, error);
    if (status == CS_OK)
        status = csi_build_architecture(
            graph, architecture, json_string_value(json_object_get(set->metadata, "architecture_config")),
            &weights, graph->preprocess.crop, error);
    if (status == CS_OK)
        status = keep_extras(set, graph, error);
    if (status == CS_OK)
        status = finish_graph(options, set->metadata, graph, error);
    return status;
}

/* An ONNX file brings its network along. */
static enum cs_status build_from_onnx(const uint8_t *bytes, size_t size,
                                      const struct csi_model_file_options *options,
                                      struct csi_tensor_set *set, struct csi_graph *graph,
                                      struct cs_error *error)
{
    enum cs_status status = csi_tensor_set_init(set, "onnx", error);

    if (status == CS_OK)
        status = csi_graph_set_string(&graph->format, set->format, error);
    if (status == CS_OK)
        status = csi_onnx_read(bytes, size, options->input_size, graph, set->metadata, error);
    if (status == CS_OK && graph->input == CSI_NO_VALUE)
        status = csi_fail(error, CS_MODEL_INVALID, "the network has no input");
    if (status == CS_OK)
        status =
            csi_metadata_to_graph(set->metadata, (uint32_t)graph->values[graph->input].dims[2], graph, error);
    if (status == CS_OK)
        status = finish_graph(options, set->metadata, graph, error);
    return status;
}

/* Reads a file of named tensors. */
static enum cs_status read_tensors(const uint8_t *bytes, size_t size, struct csi_tensor_set *set,
                                   struct cs_error *error)
{
    struct csi_hash digest;
    enum cs_status status;

    if (csi_is_safetensors(bytes, size)) {
        status = csi_tensor_set_init(set, "safetensors", error);
        set->sound = csi_embedded_digest(bytes, &digest);
        return status == CS_OK ? csi_safetensors_read(bytes, size, set, error) : status;
    }
    if (csi_is_pytorch(bytes, size)) {
        status = csi_tensor_set_init(set, "pytorch", error);
        return status == CS_OK ? csi_pytorch_read(bytes, size, set, error) : status;
    }
    return csi_fail(error, CS_MODEL_INVALID,
                    "the file is none of native .safetensors, PyTorch .pth or .pt, or ONNX");
}

static enum cs_status read_graph(const uint8_t *bytes, size_t size,
                                 const struct csi_model_file_options *options, struct csi_tensor_set *set,
                                 struct csi_graph *graph, struct cs_error *error)
{
    enum cs_status status;

    if (size == 0)
        return csi_fail(error, CS_MODEL_INVALID, "the file is empty");
    /* The length of a safetensors header may look like the beginning of an ONNX file, never the reverse. */
    if (csi_is_onnx(bytes, size) && !csi_is_safetensors(bytes, size))
        return build_from_onnx(bytes, size, options, set, graph, error);
    status = read_tensors(bytes, size, set, error);
    if (status == CS_OK)
        status = build_from_tensors(set, options, graph, error);
    return status;
}

enum cs_status csi_model_file_read(const uint8_t *bytes, size_t size,
                                   const struct csi_model_file_options *options, struct csi_graph **out,
                                   struct csi_hash *digest, struct cs_error *error)
{
    static const struct csi_model_file_options defaults = {0};
    struct csi_tensor_set set = {0};
    struct csi_graph *graph = NULL;
    struct csi_hash_job hashing = {0};
    struct csi_hash hash;
    bool known;
    struct cs_error local;
    enum cs_status status;

    *out = NULL;
    if (error == NULL)
        error = &local;
    if (options == NULL)
        options = &defaults;
    known = csi_embedded_digest(bytes, &hash);
    if (digest != NULL && !known)
        csi_hash_begin(&hashing, bytes, size);
    status = csi_graph_create(&graph, error);
    if (status == CS_OK)
        status = read_graph(bytes, size, options, &set, graph, error);
    if (status == CS_OK)
        status = csi_tensor_set_hand_over(&set, graph, error);
    csi_tensor_set_free(&set);
    if (digest != NULL && known)
        *digest = hash;
    else if (digest != NULL)
        csi_hash_end(&hashing, digest);
    if (status != CS_OK) {
        csi_graph_destroy(graph);
        clean_message(error);
        return status;
    }
    *out = graph;
    return CS_OK;
}

/* A network of no known family goes into the file node by node; its constants are the tensors. */
static enum cs_status describe_graph(const struct csi_graph *graph, struct csi_tensor_set *set,
                                     struct cs_error *error)
{
    char *config = csi_graph_to_config(graph);
    enum cs_status status = CS_OK;

    if (config == NULL || json_object_set_new(set->metadata, "architecture_config", json_string(config)) != 0)
        status = csi_fail_memory(error, "model metadata");
    free(config);
    for (size_t i = 0; i < graph->value_count && status == CS_OK; i++) {
        const struct csi_value *value = &graph->values[i];
        float *data;

        if (!csi_value_is_constant(value))
            continue;
        status = csi_tensor_set_add(set, csi_graph_constant_name(graph, (int)i).text, CSI_F32, value->rank,
                                    value->dims, &data, error);
        if (status == CS_OK)
            memcpy(data, value->data, csi_value_elements(value) * sizeof *data);
        if (status == CS_OK && value->scales != NULL) {
            const struct csi_layer_name name = csi_graph_constant_name(graph, (int)i);

            status = csi_tensor_set_add(set, csi_graph_scales_name(name.text).text, CSI_F32, 1, value->dims,
                                        &data, error);
            if (status == CS_OK)
                memcpy(data, value->scales, value->dims[0] * sizeof *data);
        }
    }
    return status;
}

/* The strings of the object `text` into `metadata`, over what is there. */
static enum cs_status put_over(json_t *metadata, const char *text, struct cs_error *error)
{
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *value;
    const char *key;
    enum cs_status status = CS_OK;

    if (!json_is_object(object))
        status = csi_fail(error, CS_BAD_REQUEST, "metadata: not a JSON object");
    json_object_foreach(object, key, value)
    {
        if (status == CS_OK && !json_is_string(value))
            status = csi_fail(error, CS_BAD_REQUEST, "metadata: '%.60s' is no string", key);
        if (status == CS_OK && json_object_set(metadata, key, value) != 0)
            status = csi_fail_memory(error, "metadata");
    }
    json_decref(object);
    return status;
}

/* The extras of the options instead of those that the file has. */
static enum cs_status put_extras(const struct csi_model_file_options *options, struct csi_tensor_set *set,
                                 struct cs_error *error)
{
    enum cs_status status = CS_OK;

    csi_tensor_set_drop(set, options->extra_prefix);
    for (size_t i = 0; i < options->extra_count && status == CS_OK; i++) {
        const struct csi_tensor *tensor = &options->extras[i];
        size_t count = 1;
        float *data;

        for (unsigned k = 0; k < tensor->rank; k++)
            count *= tensor->dims[k];
        status = csi_tensor_set_add(set, tensor->name, CSI_F32, tensor->rank, tensor->dims, &data, error);
        if (status == CS_OK)
            memcpy(data, tensor->data, count * sizeof *data);
    }
    return status;
}

enum cs_status csi_model_file_convert(const uint8_t *bytes, size_t size,
                                      const struct csi_model_file_options *options, uint8_t **out,
                                      size_t *out_size, struct cs_error *error)
{
    static const struct csi_model_file_options defaults = {0};
    struct csi_tensor_set set = {0};
    struct csi_graph *graph = NULL;
    struct csi_buffer buffer;
    struct cs_error local;
    enum cs_status status;

    *out = NULL;
    *out_size = 0;
    csi_buffer_init(&buffer);
    if (error == NULL)
        error = &local;
    if (options == NULL)
        options = &defaults;
    status = csi_graph_create(&graph, error);
    if (status == CS_OK)
        status = read_graph(bytes, size, options, &set, graph, error);
    if (status == CS_OK && options->preprocess != NULL) {
        graph->preprocess = *options->preprocess;
        status = csi_graph_validate(graph, error); /* a reader of the file will ask for no less */
    }
    if (status == CS_OK && options->gradcam_layer != NULL) {
        if (csi_graph_find_layer(graph, options->gradcam_layer) < 0)
            status =
                csi_fail(error, CS_NOT_FOUND, "the network has no layer '%.100s'", options->gradcam_layer);
        else
            status = csi_graph_set_string(&graph->gradcam_layer, options->gradcam_layer, error);
    }
    if (status == CS_OK && set.count == 0)
        status = describe_graph(graph, &set, error);
    if (status == CS_OK)
        status = csi_metadata_from_graph(graph, set.metadata, error);
    if (status == CS_OK && options->extra_prefix != NULL)
        status = put_extras(options, &set, error);
    if (status == CS_OK && options->metadata_json != NULL)
        status = put_over(set.metadata, options->metadata_json, error);
    if (status == CS_OK)
        status = csi_safetensors_write(&set, &buffer, error);
    csi_graph_destroy(graph);
    csi_tensor_set_free(&set);
    if (status != CS_OK) {
        csi_buffer_free(&buffer);
        clean_message(error);
        return status;
    }
    *out = buffer.bytes;
    *out_size = buffer.size;
    return CS_OK;
}
