/* Inference requests of the Open Inference Protocol v2: see v2_request.h. */
#include "server/v2_request.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

static const char *const output_names[CSI_V2_OUTPUTS] = {"probabilities", "logits", "embedding", "cam"};

const char *csi_v2_output_name(enum csi_v2_output output)
{
    return output_names[output];
}

static enum cs_status bad(struct cs_error *error, const char *message)
{
    return csi_fail(error, CS_BAD_REQUEST, "%s", message);
}

void csi_v2_request_free(struct csi_v2_request *request)
{
    free(request->decoded);
    free(request->tensor);
    memset(request, 0, sizeof *request);
}

/* `shape` must be [batch] (or [batch, 1]) for photos and [batch, 3, side, side] for tensors. */
static enum cs_status take_shape(const json_t *shape, size_t side, struct csi_v2_request *request,
                                 struct cs_error *error)
{
    size_t rank = json_array_size(shape);
    json_int_t batch = json_integer_value(json_array_get(shape, 0));

    if (!json_is_array(shape) || batch < 1 || batch > (json_int_t)CSI_V2_BATCH_MAX)
        return csi_fail(error, CS_BAD_REQUEST, "the first dimension of shape must be from 1 to %u",
                        CSI_V2_BATCH_MAX);
    request->batch = (size_t)batch;
    if (request->images) {
        if (rank != 1 && !(rank == 2 && json_integer_value(json_array_get(shape, 1)) == 1))
            return bad(error, "the shape of IMAGE must be [n]");
        return CS_OK;
    }
    if (rank != 4 || json_integer_value(json_array_get(shape, 1)) != 3 ||
        json_integer_value(json_array_get(shape, 2)) != (json_int_t)side ||
        json_integer_value(json_array_get(shape, 3)) != (json_int_t)side)
        return csi_fail(error, CS_BAD_REQUEST, "the shape of input must be [n, 3, %zu, %zu]", side, side);
    return CS_OK;
}

/* Numbers of `data`, flat or nested as the shape, into the tensor. */
static bool flatten(const json_t *data, unsigned depth, float *values, size_t count, size_t *used)
{
    for (size_t i = 0; i < json_array_size(data); i++) {
        const json_t *item = json_array_get(data, i);

        if (json_is_array(item)) {
            if (depth == 0 || !flatten(item, depth - 1, values, count, used))
                return false;
        } else {
            double number = json_number_value(item);

            if (!json_is_number(item) || *used == count || !(fabs(number) <= 1e30))
                return false;
            values[(*used)++] = (float)number;
        }
    }
    return true;
}

static enum cs_status take_tensor(const json_t *data, const uint8_t *binary, size_t binary_size, size_t side,
                                  struct csi_v2_request *request, struct cs_error *error)
{
    size_t count = request->batch * 3 * side * side, used = 0;

    /* Bytes are compared with what is at hand before anything is allocated. Numbers in JSON are counted when
     * they are taken: until then the shape alone, whose batch is bounded, says how many there are. */
    if (binary != NULL ? binary_size != count * sizeof(float) : !json_is_array(data))
        return csi_fail(error, CS_BAD_REQUEST, "the data of input must be %zu numbers", count);
    request->tensor = malloc(count * sizeof(float));
    if (request->tensor == NULL)
        return csi_fail_memory(error, "tensor");
    if (binary != NULL) {
        memcpy(request->tensor, binary, count * sizeof(float)); /* little-endian, as all machines we run on */
        for (size_t i = 0; i < count; i++)
            if (!(fabsf(request->tensor[i]) <= 1e30f))
                return bad(error, "the data of input holds a number that is not finite");
        return CS_OK;
    }
    if (!flatten(data, 4, request->tensor, count, &used) || used != count)
        return csi_fail(error, CS_BAD_REQUEST, "the data of input must be %zu numbers", count);
    return CS_OK;
}

/* Binary BYTES: each element is a 4-byte little-endian length and so many bytes. */
static enum cs_status take_binary_photos(const uint8_t *bytes, size_t size, struct csi_v2_request *request,
                                         struct cs_error *error)
{
    size_t at = 0;

    for (size_t i = 0; i < request->batch; i++) {
        size_t length;

        if (size - at < 4)
            return bad(error, "the binary data of IMAGE ends inside a length");
        length = (size_t)bytes[at] | (size_t)bytes[at + 1] << 8 | (size_t)bytes[at + 2] << 16 |
                 (size_t)bytes[at + 3] << 24;
        at += 4;
        if (length > size - at)
            return bad(error, "the binary data of IMAGE ends inside a photo");
        request->photos[i].bytes = bytes + at;
        request->photos[i].size = length;
        at += length;
    }
    return at == size ? CS_OK : bad(error, "the binary data of IMAGE is longer than its photos");
}

/* JSON BYTES: strings, base64 of the encoded photo (JSON cannot hold the bytes themselves). */
static enum cs_status take_json_photos(const json_t *data, struct csi_v2_request *request,
                                       struct cs_error *error)
{
    size_t total = 0, used = 0;

    if (!json_is_array(data) || json_array_size(data) != request->batch)
        return csi_fail(error, CS_BAD_REQUEST, "the data of IMAGE must be %zu base64 strings",
                        request->batch);
    for (size_t i = 0; i < request->batch; i++)
        total += json_string_length(json_array_get(data, i));
    request->decoded = malloc(total + 1);
    if (request->decoded == NULL)
        return csi_fail_memory(error, "photos");
    for (size_t i = 0; i < request->batch; i++) {
        const json_t *item = json_array_get(data, i);
        size_t size = 0;

        if (!json_is_string(item) ||
            sodium_base642bin(request->decoded + used, total - used, json_string_value(item),
                              json_string_length(item), "\r\n", &size, NULL,
                              sodium_base64_VARIANT_ORIGINAL) != 0)
            return csi_fail(error, CS_BAD_REQUEST, "element %zu of IMAGE is not base64", i);
        request->photos[i].bytes = request->decoded + used;
        request->photos[i].size = size;
        used += size;
    }
    return CS_OK;
}

/* The request's one input. `binary`: what stands behind the JSON. */
static enum cs_status take_input(const json_t *inputs, const uint8_t *binary, size_t binary_size, size_t side,
                                 struct csi_v2_request *request, struct cs_error *error)
{
    const json_t *input = json_array_get(inputs, 0), *announced;
    const char *name = json_string_value(json_object_get(input, "name"));
    const char *type = json_string_value(json_object_get(input, "datatype"));
    const json_t *data = json_object_get(input, "data");
    enum cs_status status;

    if (json_array_size(inputs) != 1 || name == NULL || type == NULL)
        return bad(error, "inputs must be one tensor, IMAGE or input, with name, datatype and shape");
    request->images = strcmp(name, "IMAGE") == 0;
    if (!request->images && strcmp(name, "input") != 0)
        return bad(error, "the inputs are IMAGE and input");
    if (strcmp(type, request->images ? "BYTES" : "FP32") != 0)
        return csi_fail(error, CS_BAD_REQUEST, "the datatype of %s is %s", name,
                        request->images ? "BYTES" : "FP32");
    status = take_shape(json_object_get(input, "shape"), side, request, error);
    if (status != CS_OK)
        return status;
    announced = json_object_get(json_object_get(input, "parameters"), "binary_data_size");
    if (announced == NULL) {
        if (binary_size > 0)
            return bad(error, "bytes follow the JSON, but no input has binary_data_size");
        return request->images ? take_json_photos(data, request, error)
                               : take_tensor(data, NULL, 0, side, request, error);
    }
    if (binary == NULL || data != NULL || !json_is_integer(announced) || json_integer_value(announced) < 0 ||
        (uint64_t)json_integer_value(announced) != binary_size)
        return bad(error, "binary_data_size differs from the bytes behind the JSON");
    return request->images ? take_binary_photos(binary, binary_size, request, error)
                           : take_tensor(NULL, binary, binary_size, side, request, error);
}

static enum cs_status take_output(const json_t *output, bool binary, struct csi_v2_request *request,
                                  struct cs_error *error)
{
    struct csi_v2_wanted *wanted = &request->wanted[request->wanted_count];
    const char *name = json_string_value(json_object_get(output, "name"));
    const json_t *parameters = json_object_get(output, "parameters"), *value;
    unsigned i = 0;

    while (name != NULL && i < CSI_V2_OUTPUTS && strcmp(name, output_names[i]) != 0)
        i++;
    if (name == NULL || i == CSI_V2_OUTPUTS)
        return bad(error, "the outputs are probabilities, logits, embedding and cam");
    for (size_t j = 0; j < request->wanted_count; j++)
        if (request->wanted[j].output == (enum csi_v2_output)i)
            return bad(error, "an output is asked for twice");
    wanted->output = (enum csi_v2_output)i;
    wanted->class_index = SIZE_MAX;
    value = json_object_get(parameters, "binary_data");
    wanted->binary = value == NULL ? binary : json_is_true(value);
    value = json_object_get(parameters, "classification");
    if (value != NULL) {
        if (!json_is_integer(value) || json_integer_value(value) < 1 || i > CSI_V2_LOGITS)
            return bad(error, "classification is a number from 1, for probabilities or logits");
        wanted->classification = (size_t)json_integer_value(value);
    }
    value = json_object_get(parameters, "class");
    if (value != NULL) {
        if (!json_is_integer(value) || json_integer_value(value) < 0 || i != CSI_V2_CAM)
            return bad(error, "class is an index, for cam");
        wanted->class_index = (size_t)json_integer_value(value);
    }
    request->wanted_count++;
    return CS_OK;
}

static enum cs_status take_outputs(const json_t *outputs, bool binary, struct csi_v2_request *request,
                                   struct cs_error *error)
{
    if (outputs == NULL || (json_is_array(outputs) && json_array_size(outputs) == 0)) {
        request->wanted_all = true;
        for (unsigned i = 0; i < CSI_V2_OUTPUTS; i++)
            request->wanted[request->wanted_count++] = (struct csi_v2_wanted){
                .output = (enum csi_v2_output)i, .binary = binary, .class_index = SIZE_MAX};
        return CS_OK;
    }
    if (!json_is_array(outputs) || json_array_size(outputs) > CSI_V2_OUTPUTS)
        return bad(error, "outputs must be a list of probabilities, logits, embedding, cam");
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        enum cs_status status = take_output(json_array_get(outputs, i), binary, request, error);

        if (status != CS_OK)
            return status;
    }
    return CS_OK;
}

/* What stands in the JSON, as far as it takes memory. */
struct amounts {
    size_t commas, lists, others; /* others: objects and strings, names of members included */
};

static struct amounts count_values(const uint8_t *json, size_t size)
{
    struct amounts amounts = {0, 0, 0};
    bool in_string = false;

    for (size_t i = 0; i < size; i++) {
        if (in_string) {
            if (json[i] == '\\')
                i++; /* whatever is escaped does not end it */
            else if (json[i] == '"')
                in_string = false;
            continue;
        }
        in_string = json[i] == '"';
        amounts.commas += json[i] == ',';
        amounts.lists += json[i] == '[';
        amounts.others += json[i] == '{' || json[i] == '"';
    }
    return amounts;
}

/* Refuses what no request for inference needs, before jansson makes memory of it: some 40 bytes of a number,
 * 130 of a list, even an empty one, 90 of a string, more of an object or member. Every value but the first of
 * a list or object has a comma before it, so that commas bound the numbers: no more than the largest tensor
 * has. Its lists, one a row, are far fewer, and all the rest is a handful. */
static enum cs_status check_amounts(const struct amounts *amounts, size_t side, struct cs_error *error)
{
    const size_t rows = (size_t)CSI_V2_BATCH_MAX * 3 * side, spare = 10000;

    if (amounts->commas > rows * side + spare)
        return bad(error, "the request holds more values than its largest tensor could");
    if (amounts->lists > rows + spare)
        return bad(error, "the request holds more lists than its largest tensor could");
    if (amounts->others > spare)
        return bad(error, "the request holds more objects and strings than any could need");
    return CS_OK;
}

/* JSON's white space may stand in front of the object. */
static bool begins_object(const uint8_t *json, size_t size)
{
    static const char space[] = {' ', '\t', '\r', '\n'};
    size_t i = 0;

    while (i < size && memchr(space, json[i], sizeof space) != NULL)
        i++;
    return i < size && json[i] == '{';
}

/* The largest tensor's values take hundreds of megabytes while it is read, many times its text: one request
 * at a time may do that. Below are single tensors and usual photos, which do not wait. */
#define LARGE_TREE ((size_t)32 << 20)
static pthread_mutex_t large_tree = PTHREAD_MUTEX_INITIALIZER;

/* Memory that jansson takes for JSON of `size` bytes, by the costs above; a string is held up to three times
 * while it is read. */
static size_t tree_size(const struct amounts *amounts, size_t size)
{
    return 3 * size + 40 * amounts->commas + 130 * amounts->lists + 90 * amounts->others;
}

/* What the JSON of a request says. The tree of its values lives in here alone. */
static enum cs_status take_json(const uint8_t *body, size_t size, size_t header_size, size_t side,
                                struct csi_v2_request *request, struct cs_error *error)
{
    size_t json_size = header_size == SIZE_MAX ? size : header_size;
    json_error_t failure;
    json_t *root = json_loadb((const char *)body, json_size, JSON_REJECT_DUPLICATES, &failure);
    const char *id = json_string_value(json_object_get(root, "id"));
    bool binary;
    enum cs_status status;

    if (root == NULL)
        return csi_fail(error, CS_BAD_REQUEST, "the request is no JSON: %s", failure.text);
    if (id != NULL && strlen(id) >= sizeof request->id) {
        status = bad(error, "id is longer than 127 bytes");
    } else {
        snprintf(request->id, sizeof request->id, "%s", id == NULL ? "" : id);
        binary = json_is_true(json_object_get(json_object_get(root, "parameters"), "binary_data_output"));
        status =
            take_input(json_object_get(root, "inputs"), header_size == SIZE_MAX ? NULL : body + json_size,
                       size - json_size, side, request, error);
        if (status == CS_OK)
            status = take_outputs(json_object_get(root, "outputs"), binary, request, error);
    }
    json_decref(root);
    return status;
}

enum cs_status csi_v2_request_parse(const uint8_t *body, size_t size, size_t header_size, size_t side,
                                    struct csi_v2_request *request, struct cs_error *error)
{
    size_t json_size = header_size == SIZE_MAX ? size : header_size;
    struct amounts amounts;
    bool large;
    enum cs_status status;

    memset(request, 0, sizeof *request);
    if (json_size > size)
        return bad(error, "Inference-Header-Content-Length is larger than the body");
    if (header_size == 0 && size > 0) {
        request->images = true;
        request->batch = 1;
        request->photos[0].bytes = body;
        request->photos[0].size = size;
        return take_outputs(NULL, false, request, error);
    }
    if (!begins_object(body, json_size))
        return bad(error, "the request is no JSON object; a bare photo needs the header "
                          "Inference-Header-Content-Length: 0");
    amounts = count_values(body, json_size);
    status = check_amounts(&amounts, side, error);
    if (status != CS_OK)
        return status;
    large = tree_size(&amounts, json_size) > LARGE_TREE;
    if (large)
        pthread_mutex_lock(&large_tree);
    status = take_json(body, size, header_size, side, request, error);
    if (large)
        pthread_mutex_unlock(&large_tree);
    if (status != CS_OK)
        csi_v2_request_free(request);
    return status;
}
