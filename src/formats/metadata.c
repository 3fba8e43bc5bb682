/*
 * Metadata and class lists: see metadata.h.
 */
#include "formats/metadata.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/names.h"

#define MAX_SIDE 4096 /* of the network's input */

/* Class names are shown in terminals and pages: not empty, no control characters. */
static bool is_clean_name(const char *name)
{
    const char *c = name;

    while ((unsigned char)*c >= 0x20 && *c != 0x7f)
        c++;
    return c != name && *c == '\0';
}

static enum cs_status classes_from_object(const json_t *object, json_t **classes, struct cs_error *error)
{
    size_t count = json_object_size(object);
    json_t *names = json_array(), *index;
    const char *name;

    *classes = NULL;
    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(names, json_null()) != 0)
            goto memory;
    json_object_foreach((json_t *)(uintptr_t)object, name, index)
    {
        json_int_t value = json_integer_value(index);

        if (!is_clean_name(name) || !json_is_integer(index) || value < 0 || (uint64_t)value >= count ||
            !json_is_null(json_array_get(names, (size_t)value))) {
            json_decref(names);
            return csi_fail(error, CS_MODEL_INVALID,
                            "class indices are not 0 to %zu, each once: look at '%.100s'", count - 1, name);
        }
        if (json_array_set_new(names, (size_t)value, json_string(name)) != 0)
            goto memory;
    }
    *classes = names;
    return CS_OK;

memory:
    json_decref(names);
    return csi_fail_memory(error, "class names");
}

enum cs_status csi_classes_from_json(const json_t *json, json_t **classes, struct cs_error *error)
{
    size_t i;
    json_t *name;

    *classes = NULL;
    if (json_object_size(json) == 0 && json_array_size(json) == 0)
        return csi_fail(error, CS_MODEL_INVALID, "the class list is not a JSON object or array, or is empty");
    if (json_object_size(json) > CSI_GRAPH_MAX_CLASSES || json_array_size(json) > CSI_GRAPH_MAX_CLASSES)
        return csi_fail(error, CS_MODEL_INVALID, "more than %u classes", CSI_GRAPH_MAX_CLASSES);
    if (json_is_object(json))
        return classes_from_object(json, classes, error);
    json_array_foreach(json, i, name)
    {
        if (!json_is_string(name))
            return csi_fail(error, CS_MODEL_INVALID, "class %zu is not a string", i);
        if (!is_clean_name(json_string_value(name)))
            return csi_fail(error, CS_MODEL_INVALID,
                            "the name of class %zu is empty or holds a control character", i);
    }
    *classes = json_incref((json_t *)(uintptr_t)json);
    return CS_OK;
}

enum cs_status csi_classes_parse(const void *bytes, size_t size, json_t **classes, struct cs_error *error)
{
    json_error_t where;
    json_t *json = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
    enum cs_status status;

    *classes = NULL;
    if (json == NULL)
        return csi_fail(error, CS_MODEL_INVALID, "the class list is no JSON: %.200s in line %d", where.text,
                        where.line);
    status = csi_classes_from_json(json, classes, error);
    json_decref(json);
    return status;
}

/* The JSON value that metadata `key` holds as text; NULL when the key is absent. */
static enum cs_status parse_member(const json_t *metadata, const char *key, json_t **value,
                                   struct cs_error *error)
{
    const char *text = json_string_value(json_object_get(metadata, key));
    json_error_t where;

    *value = NULL;
    if (text == NULL)
        return CS_OK;
    *value = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (*value == NULL)
        return csi_fail(error, CS_MODEL_INVALID, "metadata '%s' is no JSON: %.200s", key, where.text);
    return CS_OK;
}

static enum cs_status read_side(const json_t *object, const char *key, uint32_t highest, uint32_t *side,
                                struct cs_error *error)
{
    const json_t *value = json_object_get(object, key);

    if (value == NULL)
        return CS_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 1 ||
        json_integer_value(value) > (json_int_t)highest)
        return csi_fail(error, CS_MODEL_INVALID, "preprocess.%s is not between 1 and %u", key, highest);
    *side = (uint32_t)json_integer_value(value);
    return CS_OK;
}

static enum cs_status read_triple(const json_t *object, const char *key, float *triple,
                                  struct cs_error *error)
{
    const json_t *value = json_object_get(object, key);

    if (value == NULL)
        return CS_OK;
    for (size_t i = 0; i < 3; i++) {
        const json_t *number = json_array_get(value, i);

        if (json_array_size(value) != 3 || !json_is_number(number) ||
            !(fabs(json_number_value(number)) < 1e6))
            return csi_fail(error, CS_MODEL_INVALID, "preprocess.%s is not three numbers", key);
        triple[i] = (float)json_number_value(number);
    }
    return CS_OK;
}

static enum cs_status read_filter(const json_t *object, const char *key, const char *known,
                                  struct cs_error *error)
{
    const json_t *value = json_object_get(object, key);

    if (value == NULL || (json_is_string(value) && strcmp(json_string_value(value), known) == 0))
        return CS_OK;
    return csi_fail(error, CS_MODEL_UNSUPPORTED, "preprocess.%s is not \"%s\"", key, known);
}

static enum cs_status read_preprocess(const json_t *object, struct csi_preprocess *preprocess,
                                      struct cs_error *error)
{
    enum cs_status status;

    if (!json_is_object(object))
        return csi_fail(error, CS_MODEL_INVALID, "metadata 'preprocess' is not an object");
    status = read_side(object, "max_size", 65535, &preprocess->max_size, error);
    if (status == CS_OK)
        status = read_side(object, "resize", 65535, &preprocess->resize, error);
    if (status == CS_OK)
        status = read_side(object, "crop", MAX_SIDE, &preprocess->crop, error);
    if (status == CS_OK)
        status = read_triple(object, "mean", preprocess->mean, error);
    if (status == CS_OK)
        status = read_triple(object, "std", preprocess->std_dev, error);
    if (status == CS_OK)
        status = read_filter(object, "resize_filter", "bilinear", error);
    if (status == CS_OK)
        status = read_filter(object, "display_filter", "lanczos", error);
    return status;
}

enum cs_status csi_metadata_to_graph(const json_t *metadata, uint32_t input_size, struct csi_graph *graph,
                                     struct cs_error *error)
{
    const char *name = json_string_value(json_object_get(metadata, "name"));
    struct csi_preprocess *preprocess = &graph->preprocess;
    json_t *value;
    enum cs_status status = CS_OK;

    if (name != NULL)
        status = csi_graph_set_string(&graph->name, name, error);
    if (status == CS_OK)
        status = parse_member(metadata, "preprocess", &value, error);
    if (status == CS_OK && value != NULL) {
        status = read_preprocess(value, preprocess, error);
        json_decref(value);
    }
    if (status == CS_OK)
        status = parse_member(metadata, "temperature", &value, error);
    if (status == CS_OK && value != NULL) {
        if (json_is_number(value))
            graph->temperature = json_number_value(value);
        else
            status = csi_fail(error, CS_MODEL_INVALID, "metadata 'temperature' is not a number");
        json_decref(value);
    }
    if (status != CS_OK)
        return status;
    if (input_size > MAX_SIDE)
        return csi_fail(error, CS_BAD_REQUEST, "an input size of %u is more than %d", input_size, MAX_SIDE);
    if (input_size != 0 && input_size != preprocess->crop) {
        /* The share of the photo that the crop keeps stays what it was. */
        preprocess->resize =
            (uint32_t)(((uint64_t)input_size * preprocess->resize + preprocess->crop / 2) / preprocess->crop);
        preprocess->crop = input_size;
    }
    if (preprocess->resize < preprocess->crop)
        return csi_fail(error, CS_MODEL_INVALID, "photos are resized to %u, less than the crop of %u",
                        preprocess->resize, preprocess->crop);
    return CS_OK;
}

static enum cs_status set_classes(const json_t *names, struct csi_graph *graph, struct cs_error *error)
{
    size_t count = json_array_size(names);
    const char **texts = calloc(count + 1, sizeof *texts);
    enum cs_status status;

    if (texts == NULL)
        return csi_fail_memory(error, "class names");
    for (size_t i = 0; i < count; i++)
        texts[i] = json_string_value(json_array_get(names, i));
    status = csi_graph_set_classes(graph, texts, count, error);
    free((void *)texts);
    return status;
}

static enum cs_status mark_untested(const json_t *metadata, struct csi_graph *graph, struct cs_error *error)
{
    struct csi_names untested = {0};
    json_t *list, *name;
    size_t i;
    bool noted = true;
    enum cs_status status = parse_member(metadata, "untested_classes", &list, error);

    if (status != CS_OK || list == NULL)
        return status;
    json_array_foreach(list, i, name)
    {
        if (json_is_string(name))
            noted = noted && csi_names_put(&untested, json_string_value(name), i);
    }
    for (size_t k = 0; k < graph->class_count; k++)
        if (csi_names_find(&untested, graph->classes[k], &i))
            graph->tested[k] = false;
    csi_names_free(&untested);
    json_decref(list);
    return noted ? CS_OK : csi_fail_memory(error, "class names");
}

/* A checkpoint's `num_classes` is the width of the last layer. */
static enum cs_status check_class_count(const json_t *metadata, const struct csi_value *output,
                                        struct cs_error *error)
{
    json_t *count;
    enum cs_status status = parse_member(metadata, "num_classes", &count, error);

    if (status == CS_OK && json_is_integer(count) && output->rank == 2 &&
        json_integer_value(count) != (json_int_t)output->dims[1])
        status = csi_fail(error, CS_MODEL_INVALID,
                          "the file says num_classes %lld, but the network has %zu outputs",
                          (long long)json_integer_value(count), output->dims[1]);
    json_decref(count);
    return status;
}

static enum cs_status read_scale(const json_t *row, const struct csi_graph *graph,
                                 struct csi_output_scale *scale, struct cs_error *error)
{
    json_int_t node = json_integer_value(json_array_get(row, 0));
    json_int_t zero = json_integer_value(json_array_get(row, 3));
    const char *name = json_string_value(json_array_get(row, 1));

    if (json_array_size(row) != 4 || node < 0 || (uint64_t)node >= graph->node_count || name == NULL ||
        !json_is_number(json_array_get(row, 2)) || !json_is_integer(json_array_get(row, 3)))
        return csi_fail(error, CS_MODEL_INVALID, "metadata 'int8': a scale is not [node, name, scale, zero]");
    if (strcmp(graph->nodes[node].name, name) != 0)
        return csi_fail(error, CS_MODEL_INVALID, "metadata 'int8': node %lld is '%.60s', not '%.60s'",
                        (long long)node, graph->nodes[node].name, name);
    scale->node = (size_t)node;
    scale->scale = (float)json_number_value(json_array_get(row, 2));
    if (zero < 0 || zero > 255)
        return csi_fail(error, CS_MODEL_INVALID,
                        "metadata 'int8': the zero point %lld of '%.60s' is not 0 to 255", (long long)zero,
                        name);
    scale->zero = (int)zero;
    return CS_OK;
}

enum cs_status csi_metadata_take_scales(const json_t *metadata, struct csi_graph *graph,
                                        struct cs_error *error)
{
    struct csi_output_scale *scales = NULL;
    json_t *object, *rows, *row;
    size_t i;
    enum cs_status status = parse_member(metadata, "int8", &object, error);

    if (status != CS_OK || object == NULL)
        return status;
    rows = json_object_get(object, "scales");
    scales = calloc(json_array_size(rows) + 1, sizeof *scales);
    if (scales == NULL)
        status = csi_fail_memory(error, "INT8 scales");
    else if (json_array_size(rows) == 0 || json_array_size(rows) > graph->node_count)
        status = csi_fail(error, CS_MODEL_INVALID, "metadata 'int8' has no list of scales");
    if (status == CS_OK) {
        json_array_foreach(rows, i, row)
        {
            status = read_scale(row, graph, &scales[i], error);
            if (status != CS_OK)
                break;
        }
    }
    if (status == CS_OK)
        status = csi_graph_set_scales(graph, scales, json_array_size(rows), error);
    free(scales);
    json_decref(object);
    return status;
}

char *csi_metadata_scales_text(const struct csi_graph *graph, const char *method,
                               const struct csi_output_scale *scales, size_t count)
{
    json_t *rows = json_array(), *object;
    char *text;

    for (size_t i = 0; i < count; i++)
        json_array_append_new(rows, json_pack("[I, s, f, i]", (json_int_t)scales[i].node,
                                              graph->nodes[scales[i].node].name, (double)scales[i].scale,
                                              scales[i].zero));
    object = json_pack("{s:s, s:o}", "method", method, "scales", rows);
    text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(object);
    return text;
}

/* Jansson does not say which of the two it was. */
static enum cs_status no_json(struct cs_error *error)
{
    return csi_fail(error, CS_INTERNAL,
                    "the model's metadata cannot be written as JSON: a text is not UTF-8, or memory is out");
}

enum cs_status csi_metadata_finish(const json_t *metadata, const json_t *classes, struct csi_graph *graph,
                                   struct cs_error *error)
{
    const struct csi_value *output = &graph->values[graph->output];
    const char *layer = json_string_value(json_object_get(metadata, "gradcam_layer"));
    json_t *stated = NULL, *names = NULL;
    char *text;
    enum cs_status status = check_class_count(metadata, output, error);

    if (status == CS_OK && classes == NULL)
        status = parse_member(metadata, "classes", &stated, error);
    if (status == CS_OK && (classes != NULL || stated != NULL)) {
        status = csi_classes_from_json(classes != NULL ? classes : stated, &names, error);
        if (status == CS_OK)
            status = set_classes(names, graph, error);
    } else if (status == CS_OK) {
        status = csi_graph_set_classes(graph, NULL, output->rank == 2 ? output->dims[1] : 0, error);
    }
    json_decref(stated);
    json_decref(names);
    if (status == CS_OK)
        status = mark_untested(metadata, graph, error);
    if (status == CS_OK)
        status = csi_metadata_take_scales(metadata, graph, error);
    if (status == CS_OK && layer != NULL && layer[0] != '\0') {
        if (csi_graph_find_layer(graph, layer) < 0)
            status =
                csi_fail(error, CS_MODEL_INVALID, "gradcam_layer '%.100s' is no layer of the network", layer);
        else
            status = csi_graph_set_string(&graph->gradcam_layer, layer, error);
    }
    if (status != CS_OK)
        return status;
    text = json_dumps(metadata, JSON_COMPACT);
    if (text == NULL)
        return no_json(error);
    status = csi_graph_set_string(&graph->metadata_json, text, error);
    free(text);
    return status;
}

/* Stores `value` (a reference that is taken) as JSON text. */
static void put_json(json_t *metadata, const char *key, json_t *value, bool *failed)
{
    char *text =
        value == NULL ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));

    if (text == NULL || json_object_set_new(metadata, key, json_string(text)) != 0)
        *failed = true;
    free(text);
    json_decref(value);
}

static json_t *triple(const float *numbers)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < 3; i++)
        json_array_append_new(array, json_real((double)numbers[i]));
    return array;
}

enum cs_status csi_metadata_from_graph(const struct csi_graph *graph, json_t *metadata,
                                       struct cs_error *error)
{
    json_t *names = json_array(), *untested = json_array();
    bool failed = false;

    for (size_t i = 0; i < graph->class_count; i++) {
        failed |= json_array_append_new(names, json_string(graph->classes[i])) != 0;
        if (!graph->tested[i])
            failed |= json_array_append_new(untested, json_string(graph->classes[i])) != 0;
    }
    failed |= json_object_set_new(metadata, "format_version", json_string("1")) != 0;
    failed |= json_object_set_new(metadata, "name", json_string(graph->name)) != 0;
    failed |= json_object_set_new(metadata, "architecture", json_string(graph->architecture)) != 0;
    failed |= json_object_set_new(metadata, "gradcam_layer", json_string(graph->gradcam_layer)) != 0;
    put_json(metadata, "classes", names, &failed);
    put_json(metadata, "untested_classes", untested, &failed);
    put_json(metadata, "temperature", json_real(graph->temperature), &failed);
    put_json(metadata, "preprocess",
             json_pack("{s:i, s:i, s:i, s:s, s:s, s:o, s:o}", "max_size", (int)graph->preprocess.max_size,
                       "resize", (int)graph->preprocess.resize, "crop", (int)graph->preprocess.crop,
                       "resize_filter", "bilinear", "display_filter", "lanczos", "mean",
                       triple(graph->preprocess.mean), "std", triple(graph->preprocess.std_dev)),
             &failed);
    return failed ? no_json(error) : CS_OK;
}
