/* POST /v2/models/{model}/infer: photos or tensors in, tensors out (Open Inference Protocol v2). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/router.h"
#include "server/tensor_sessions.h"
#include "server/v2_model.h"
#include "server/v2_request.h"

/* The results of all photos: one plane an output, `width` floats a photo. */
struct results {
    float *values[CSI_V2_OUTPUTS];
    size_t width[CSI_V2_OUTPUTS];
};

static void free_results(struct results *results)
{
    for (unsigned i = 0; i < CSI_V2_OUTPUTS; i++)
        free(results->values[i]);
}

/* Leaves out what the model has not: nobody has asked for it by name. */
static void want_what_there_is(struct csi_v2_request *ask, const struct results *results)
{
    size_t kept = 0;

    for (size_t i = 0; i < ask->wanted_count; i++)
        if (results->width[ask->wanted[i].output] > 0)
            ask->wanted[kept++] = ask->wanted[i];
    ask->wanted_count = kept;
}

static enum cs_status allocate(struct csi_v2_request *ask, const struct cs_model_info *info,
                               struct results *results, struct cs_error *error)
{
    memset(results, 0, sizeof *results);
    results->width[CSI_V2_PROBABILITIES] = results->width[CSI_V2_LOGITS] = info->class_count;
    results->width[CSI_V2_EMBEDDING] = info->embedding_size;
    results->width[CSI_V2_CAM] = (size_t)info->map_width * info->map_height;
    if (ask->wanted_all)
        want_what_there_is(ask, results);
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the caller frees `results`, on failure too */
    for (size_t i = 0; i < ask->wanted_count; i++) {
        enum csi_v2_output output = ask->wanted[i].output;

        if (results->width[output] == 0)
            return csi_fail(error, CS_BAD_REQUEST, "the model has no output %s", csi_v2_output_name(output));
        if (ask->wanted[i].class_index != SIZE_MAX && ask->wanted[i].class_index >= info->class_count)
            return csi_fail(error, CS_BAD_REQUEST, "class must be less than %zu", info->class_count);
        free(results->values[output]); /* one output may be wanted twice */
        results->values[output] = calloc(ask->batch * results->width[output], sizeof(float));
        if (results->values[output] == NULL)
            return csi_fail_memory(error, "results");
    }
    return CS_OK;
}

static enum cs_status load_photo(struct csi_server *server, cs_model *model, const void *bytes, size_t size,
                                 float *input, struct cs_error *error)
{
    cs_image *image = NULL;
    enum cs_status status;

    if (size == 0)
        return csi_fail(error, CS_EMPTY_INPUT, "the photo is empty");
    status = cs_image_decode_display(bytes, size, &server->options.limits, server->options.decode,
                                     server->options.max_size, &image, NULL, error);
    if (status == CS_OK)
        status = cs_preprocess(model, image, input, error);
    cs_image_destroy(image);
    return status;
}

static size_t best_class(const float *logits, size_t count)
{
    size_t best = 0;

    for (size_t i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* The results of photo `index`, whose forward pass has just been made. */
static enum cs_status collect(const struct csi_v2_request *ask, struct csi_tensor_session *session,
                              const struct cs_model_info *info, size_t index, struct results *results,
                              struct cs_error *error)
{
    const float *logits = cs_session_logits(session->session),
                *embedding = cs_session_embedding(session->session);

    for (size_t i = 0; i < ask->wanted_count; i++) {
        const struct csi_v2_wanted *wanted = &ask->wanted[i];
        size_t width = results->width[wanted->output];
        float *out = results->values[wanted->output] + index * width;
        enum cs_status status = CS_OK;

        switch (wanted->output) {
        case CSI_V2_LOGITS: memcpy(out, logits, width * sizeof *out); break;
        case CSI_V2_PROBABILITIES: cs_probabilities(session->model, logits, out); break;
        case CSI_V2_EMBEDDING:
            if (embedding != NULL)
                memcpy(out, embedding, width * sizeof *out);
            break;
        case CSI_V2_CAM:
            status = cs_session_map(session->session, 0,
                                    wanted->class_index == SIZE_MAX ? best_class(logits, info->class_count)
                                                                    : wanted->class_index,
                                    CS_CAM_GRADCAM, out, error);
            break;
        case CSI_V2_OUTPUTS: break;
        }
        if (status != CS_OK)
            return status;
    }
    return CS_OK;
}

static enum cs_status compute(struct csi_server *server, const struct csi_v2_request *ask,
                              struct csi_tensor_session *session, const struct cs_model_info *info,
                              struct results *results, uint64_t part_ns[CSI_V2_PARTS], struct cs_error *error)
{
    size_t count = (size_t)3 * info->input_size * info->input_size;
    float *input = ask->images ? malloc(count * sizeof *input) : NULL;
    enum cs_status status = CS_OK;

    if (ask->images && input == NULL)
        return csi_fail_memory(error, "input");
    for (size_t i = 0; i < ask->batch && status == CS_OK; i++) {
        uint64_t start = csi_now_ns(), loaded, inferred;

        if (ask->images) {
            status =
                load_photo(server, session->model, ask->photos[i].bytes, ask->photos[i].size, input, error);
            if (status != CS_OK)
                csi_error_prefix(error, "photo %zu", i);
        }
        loaded = csi_now_ns();
        if (status == CS_OK)
            status =
                cs_session_forward(session->session, ask->images ? input : ask->tensor + i * count, 1, error);
        inferred = csi_now_ns();
        if (status == CS_OK)
            status = collect(ask, session, info, i, results, error);
        part_ns[CSI_V2_INPUT] += loaded - start;
        part_ns[CSI_V2_INFER] += inferred - loaded;
        part_ns[CSI_V2_OUTPUT] += csi_now_ns() - inferred;
    }
    free(input);
    return status;
}

/* The k best of a photo as "value:index:label" (classification extension). */
static void classify(const struct csi_v2_wanted *wanted, const float *values,
                     const struct cs_model_info *info, struct csi_buffer *json, struct csi_buffer *binary)
{
    size_t k = wanted->classification < info->class_count ? wanted->classification : info->class_count;
    bool *taken = calloc(info->class_count, sizeof *taken);

    if (taken == NULL) {
        json->failed = 1;
        return;
    }
    for (size_t i = 0; i < k; i++) {
        struct csi_buffer text;
        size_t best = SIZE_MAX;

        for (size_t c = 0; c < info->class_count; c++)
            if (!taken[c] && (best == SIZE_MAX || values[c] > values[best]))
                best = c;
        taken[best] = true;
        csi_buffer_init(&text);
        csi_buffer_printf(&text, "%.6f:%zu:%s", (double)values[best], best, info->classes[best]);
        if (text.failed) {
            json->failed = 1;
        } else if (wanted->binary) {
            const uint8_t length[4] = {(uint8_t)text.size, (uint8_t)(text.size >> 8),
                                       (uint8_t)(text.size >> 16), (uint8_t)(text.size >> 24)};

            csi_buffer_append(binary, length, sizeof length);
            csi_buffer_append(binary, text.bytes, text.size);
        } else {
            csi_buffer_append(json, ",", i > 0);
            csi_buffer_json(json, (const char *)text.bytes);
        }
        csi_buffer_free(&text);
    }
    free(taken);
}

static void write_output(const struct csi_v2_request *ask, const struct csi_v2_wanted *wanted,
                         const struct cs_model_info *info, const struct results *results,
                         struct csi_buffer *json, struct csi_buffer *binary)
{
    const float *values = results->values[wanted->output];
    size_t width = results->width[wanted->output], count = ask->batch * width, before = binary->size;
    size_t k = wanted->classification < info->class_count ? wanted->classification : info->class_count;
    struct csi_buffer data;

    csi_buffer_init(&data);
    if (wanted->classification > 0) {
        for (size_t i = 0; i < ask->batch; i++) {
            csi_buffer_append(&data, ",", i > 0 && !wanted->binary);
            classify(wanted, values + i * width, info, &data, binary);
        }
    } else if (wanted->binary) {
        csi_buffer_append(binary, values, count * sizeof *values);
    } else {
        for (size_t i = 0; i < count; i++)
            csi_buffer_printf(&data, i > 0 ? ",%.9g" : "%.9g", (double)values[i]);
    }
    csi_buffer_printf(json, "{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[%zu",
                      csi_v2_output_name(wanted->output), wanted->classification > 0 ? "BYTES" : "FP32",
                      ask->batch);
    if (wanted->output == CSI_V2_CAM)
        csi_buffer_printf(json, ",%u,%u]", info->map_height, info->map_width);
    else
        csi_buffer_printf(json, ",%zu]", wanted->classification > 0 ? k : width);
    if (wanted->binary) {
        csi_buffer_printf(json, ",\"parameters\":{\"binary_data_size\":%zu}}", binary->size - before);
    } else {
        csi_buffer_printf(json, ",\"data\":[");
        csi_buffer_append(json, data.bytes, data.size);
        csi_buffer_printf(json, "]}");
    }
    json->failed |= data.failed;
    csi_buffer_free(&data);
}

static void answer(struct csi_request *request, const struct csi_v2_request *ask,
                   const struct cs_model_info *info, const struct results *results)
{
    struct csi_buffer json, binary;
    size_t header_size;
    char text[32];

    csi_buffer_init(&json);
    csi_buffer_init(&binary);
    csi_buffer_printf(&json, "{\"model_name\":");
    csi_buffer_json(&json, info->name);
    csi_buffer_printf(&json, ",\"model_version\":\"1\"");
    if (ask->id[0] != '\0') {
        csi_buffer_printf(&json, ",\"id\":");
        csi_buffer_json(&json, ask->id);
    }
    csi_buffer_printf(&json, ",\"outputs\":[");
    for (size_t i = 0; i < ask->wanted_count; i++) {
        csi_buffer_append(&json, ",", i > 0);
        write_output(ask, &ask->wanted[i], info, results, &json, &binary);
    }
    csi_buffer_printf(&json, "]}");
    header_size = json.size;
    csi_buffer_append(&json, binary.bytes, binary.size);
    json.failed |= binary.failed;
    csi_reply_buffer(request, 200, binary.size > 0 ? "application/octet-stream" : "application/json", &json);
    if (binary.size > 0) {
        snprintf(text, sizeof text, "%zu", header_size);
        csi_reply_header(request, "Inference-Header-Content-Length", text);
    }
    csi_buffer_free(&binary);
}

/* Inference-Header-Content-Length; SIZE_MAX when there is none. */
static bool take_header_size(struct csi_request *request, size_t *size)
{
    const char *text = csi_header(request, "Inference-Header-Content-Length");
    unsigned long long value;
    char *end;

    *size = SIZE_MAX;
    if (text == NULL)
        return true;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) {
        csi_reply_fail(request, CS_BAD_REQUEST, "Inference-Header-Content-Length is not a number");
        return false;
    }
    *size = (size_t)value;
    return true;
}

void csi_route_v2_infer(struct csi_request *request)
{
    struct csi_server *server = request->server;
    const struct csi_buffer *body = &request->body.raw;
    struct csi_tensor_session *session = NULL;
    struct csi_v2_request *ask = calloc(1, sizeof *ask);
    struct cs_error error = {CS_OK, ""};
    struct cs_model_info info;
    struct results results = {0};
    enum cs_status status;
    size_t header_size;
    uint64_t start = csi_now_ns(), computed, part_ns[CSI_V2_PARTS] = {start - request->ready_ns};

    if (ask == NULL) {
        csi_reply_fail(request, CS_INTERNAL, "out of memory (request)");
        return;
    }
    if (!take_header_size(request, &header_size)) {
        csi_v2_count_failure(&server->v2, csi_now_ns() - start);
        goto done;
    }
    status = csi_tensor_sessions_take(server->tensor_sessions, server->options.diagnoser, &session, &error);
    if (status == CS_OK) {
        info = cs_model_info(session->model);
        status = csi_v2_model_check(&info, request->captures[0], request->captures[1], &error);
    }
    if (status == CS_OK)
        status = csi_v2_request_parse(body->bytes == NULL ? (const uint8_t *)"" : body->bytes, body->size,
                                      header_size, info.input_size, ask, &error);
    if (status == CS_OK)
        status = allocate(ask, &info, &results, &error);
    part_ns[CSI_V2_INPUT] = csi_now_ns() - start;
    if (status == CS_OK)
        status = compute(server, ask, session, &info, &results, part_ns, &error);
    if (status == CS_OK) {
        computed = csi_now_ns();
        answer(request, ask, &info, &results);
        part_ns[CSI_V2_OUTPUT] += csi_now_ns() - computed;
        csi_v2_count_success(&server->v2, ask->batch, part_ns);
    } else {
        csi_reply_error(request, &error);
        csi_v2_count_failure(&server->v2, csi_now_ns() - start);
    }
    free_results(&results);
done:
    if (session != NULL)
        csi_tensor_sessions_give(server->tensor_sessions, server->options.diagnoser, session);
    csi_v2_request_free(ask);
    free(ask);
}
