/* POST /api/v1/predict: one photo, several, or a case. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/events.h"
#include "server/router.h"
#include "server/session.h"

/* What one diagnosis of a request needs to know. */
struct task {
    struct csi_request *request;
    struct csi_session *session;
    size_t top_k;
    bool gradcam, as_case;
    const char *name, *plant;
    cs_model *model; /* of all its photos, though another one may replace it meanwhile */
};

/* A stage has ended: told to the session's streams. */
static void on_stage(void *context, enum cs_stage stage, double ms)
{
    const struct task *task = context;
    struct csi_buffer data;

    csi_buffer_init(&data);
    csi_buffer_printf(&data, "{\"request\":\"%s\",\"name\":", task->request->id);
    csi_buffer_json(&data, task->name);
    csi_buffer_printf(&data, ",\"stage\":\"%s\",\"ms\":%.3f}", cs_stage_name(stage), ms);
    if (!data.failed)
        csi_hub_publish(task->request->server->hub, csi_session_token(task->session), "stage",
                        (const char *)data.bytes);
    csi_buffer_free(&data);
}

/* The last member of an object, and its end. */
static void append_error(struct csi_buffer *object, const struct cs_error *error)
{
    csi_buffer_printf(object, ",\"error\":{\"code\":\"%s\",\"message\":", cs_status_name(error->status));
    csi_buffer_json(object, error->message);
    csi_buffer_printf(object, "}}");
}

/* The end of a photo that cannot be diagnosed: counted, and told to the session's streams. The event's name
 * is not "error", by which browsers call the end of the stream itself. */
static void tell_failure(const struct task *task, const char *name, const struct cs_error *error)
{
    struct csi_buffer data;

    atomic_fetch_add(&task->request->server->metrics.photo_errors, 1);
    csi_buffer_init(&data);
    csi_buffer_printf(&data, "{\"request\":\"%s\",\"name\":", task->request->id);
    csi_buffer_json(&data, name);
    append_error(&data, error);
    if (!data.failed)
        csi_hub_publish(task->request->server->hub, csi_session_token(task->session), "failed",
                        (const char *)data.bytes);
    csi_buffer_free(&data);
}

static struct cs_request ask_of(struct task *task)
{
    struct cs_request ask = cs_request_defaults();

    ask.top_k = task->top_k;
    ask.gradcam = task->gradcam;
    ask.plant = task->plant;
    ask.model = task->model;
    ask.on_stage = on_stage;
    ask.context = task;
    return ask;
}

/* Counts a good photo, notes it in the session and appends its object to `answer`. */
static enum cs_status note(struct task *task, const cs_diagnosis *diagnosis, struct csi_buffer *answer,
                           struct cs_error *error)
{
    struct csi_server *server = task->request->server;
    struct cs_blob json = {NULL, 0};
    enum cs_status status = cs_diagnosis_json(diagnosis, &json, error);

    if (status != CS_OK)
        return status;
    csi_metrics_diagnosis(&server->metrics, diagnosis);
    csi_session_record(server->sessions, task->session, diagnosis, (const char *)json.bytes, json.size);
    csi_buffer_append(answer, json.bytes, json.size);
    cs_blob_destroy(&json);
    return CS_OK;
}

/* One photo on this thread; `*diagnosis` is the caller's. */
static enum cs_status diagnose(struct task *task, const void *bytes, size_t size, const char *name,
                               cs_diagnosis **diagnosis, struct csi_buffer *answer, struct cs_error *error)
{
    struct csi_server *server = task->request->server;
    struct cs_request ask = ask_of(task);
    enum cs_status status;

    task->name = ask.name = name;
    status = cs_diagnose(server->options.diagnoser, bytes, size, &ask, diagnosis, error);
    if (status == CS_OK)
        status = note(task, *diagnosis, answer, error);
    if (status != CS_OK) {
        cs_diagnosis_destroy(*diagnosis);
        *diagnosis = NULL;
    }
    return status;
}

/* "decode;dur=22.1, …": what browsers' developer tools show. */
static void add_timing_header(struct csi_request *request, const struct cs_timings *t)
{
    char text[256];

    snprintf(text, sizeof text,
             "decode;dur=%.2f, resize;dur=%.2f, preprocess;dur=%.2f, inference;dur=%.2f, gradcam;dur=%.2f, "
             "total;dur=%.2f",
             t->decode, t->resize, t->preprocess, t->inference, t->gradcam, t->total);
    csi_reply_header(request, "Server-Timing", text);
}

static void fail_one(struct task *task, const char *name, const struct cs_error *error)
{
    tell_failure(task, name, error);
    csi_reply_error(task->request, error);
}

static void predict_one(struct task *task, const struct csi_buffer *photo, const char *name)
{
    struct csi_request *request = task->request;
    cs_diagnosis *diagnosis = NULL;
    struct cs_error error = {CS_OK, ""};
    struct csi_buffer answer;

    csi_buffer_init(&answer);
    if (diagnose(task, photo->bytes, photo->size, name, &diagnosis, &answer, &error) != CS_OK) {
        csi_buffer_free(&answer);
        fail_one(task, name, &error);
        return;
    }
    csi_reply_buffer(request, 200, "application/json", &answer);
    add_timing_header(request, &diagnosis->timings);
    cs_diagnosis_destroy(diagnosis);
    csi_publish_performance(task->request->server, task->session);
}

static void append_failure(const struct task *task, struct csi_buffer *answer, const char *name,
                           const struct cs_error *error)
{
    tell_failure(task, name, error);
    csi_buffer_printf(answer, "{\"image\":{\"name\":");
    csi_buffer_json(answer, name);
    csi_buffer_append(answer, "}", 1);
    append_error(answer, error);
}

static enum cs_status append_case(struct csi_buffer *answer, const cs_diagnosis *combined,
                                  struct cs_error *error)
{
    struct cs_blob blob;
    enum cs_status status = cs_diagnosis_json(combined, &blob, error);

    if (status != CS_OK)
        return status;
    csi_buffer_printf(answer, ",\"case\":");
    csi_buffer_append(answer, blob.bytes, blob.size);
    cs_blob_destroy(&blob);
    return CS_OK;
}

/* A case none of whose photos could be read: what was wrong with the first one. */
static enum cs_status refuse_case(const struct csi_body *body, const struct cs_error *first,
                                  struct cs_error *error)
{
    if (body->part_count == 1)
        *error = *first;
    else
        csi_fail(error, first->status, "none of the %zu photos of the case could be read; the first: %s",
                 body->part_count, first->message);
    return error->status;
}

/* Closes {"results":[… with the combined diagnosis of the photos that could be read. */
static enum cs_status finish_case(struct task *task, cs_diagnosis *const *photos, size_t count,
                                  struct csi_buffer *answer, struct cs_error *error)
{
    cs_diagnosis *combined = NULL;
    enum cs_status status;

    status = cs_diagnose_case(task->request->server->options.diagnoser, (const cs_diagnosis *const *)photos,
                              count, task->top_k, &combined, NULL, error);
    if (status == CS_OK)
        status = append_case(answer, combined, error);
    cs_diagnosis_destroy(combined);
    return status;
}

/* The photos of a form on their way through a stream. */
struct several {
    struct task *task;
    struct csi_buffer answer;
};

static bool is_too_large(const struct csi_body *body, size_t index, struct cs_error *error)
{
    if (body->parts[index].too_large)
        csi_fail(error, CS_IMAGE_TOO_LARGE, "the photo is larger than %zu bytes", body->max_part_bytes);
    return body->parts[index].too_large;
}

static enum cs_status load_part(void *context, size_t index, const void **bytes, size_t *size,
                                const char **name, struct cs_error *error)
{
    const struct several *several = context;
    const struct csi_body *body = &several->task->request->body;
    const struct csi_part *part = &body->parts[index];

    if (is_too_large(body, index, error))
        return CS_IMAGE_TOO_LARGE;
    *bytes = part->bytes.bytes;
    *size = part->bytes.size;
    *name = part->name;
    return CS_OK;
}

/* Streams compute on threads of their own, so that stages are told when the photo is done. */
static void tell_stages(struct task *task, const cs_diagnosis *diagnosis)
{
    const struct cs_timings *t = &diagnosis->timings;
    const double ms[] = {t->decode, t->resize, t->preprocess, t->inference, t->gradcam, t->total};
    static const enum cs_stage stages[] = {CS_STAGE_DECODE,    CS_STAGE_RESIZE,  CS_STAGE_PREPROCESS,
                                           CS_STAGE_INFERENCE, CS_STAGE_GRADCAM, CS_STAGE_DONE};

    task->name = diagnosis->name;
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++)
        if (ms[i] > 0)
            on_stage(task, stages[i], ms[i]);
}

static bool photo_done(void *context, size_t index, const cs_diagnosis *diagnosis,
                       const struct cs_error *failure)
{
    struct several *several = context;
    struct task *task = several->task;
    struct cs_error error = {CS_OK, ""};

    csi_buffer_append(&several->answer, ",", index > 0);
    if (diagnosis != NULL && note(task, diagnosis, &several->answer, &error) == CS_OK) {
        tell_stages(task, diagnosis);
        return true;
    }
    append_failure(task, &several->answer, task->request->body.parts[index].name,
                   failure != NULL ? failure : &error);
    return true;
}

static void predict_several(struct task *task)
{
    struct csi_request *request = task->request;
    struct several several = {.task = task};
    struct cs_error error = {CS_OK, ""};
    struct cs_stream stream = {.count = request->body.part_count,
                               .request = ask_of(task),
                               .load = load_part,
                               .done = photo_done,
                               .context = &several};

    csi_buffer_init(&several.answer);
    csi_buffer_printf(&several.answer, "{\"results\":[");
    if (cs_diagnose_stream(request->server->options.diagnoser, &stream, &error) != CS_OK) {
        csi_buffer_free(&several.answer);
        csi_reply_error(request, &error);
        return;
    }
    csi_buffer_append(&several.answer, "]}", 2);
    csi_reply_buffer(request, 200, "application/json", &several.answer);
    csi_publish_performance(task->request->server, task->session);
}

/* The photos of one plant, one after the other: their diagnoses are needed together at the end, and a stream
 * lends each only for a moment. */
static void predict_case(struct task *task)
{
    struct csi_request *request = task->request;
    struct several several = {.task = task};
    cs_diagnosis *photos[CS_CASE_MAX];
    size_t count = 0;
    struct cs_error error = {CS_OK, ""}, first = {CS_OK, ""};
    enum cs_status status;

    csi_buffer_init(&several.answer);
    csi_buffer_printf(&several.answer, "{\"results\":[");
    for (size_t i = 0; i < request->body.part_count; i++) {
        const void *bytes = NULL;
        const char *name = request->body.parts[i].name;
        size_t size = 0;

        csi_buffer_append(&several.answer, ",", i > 0);
        if (load_part(&several, i, &bytes, &size, &name, &error) == CS_OK &&
            diagnose(task, bytes, size, name, &photos[count], &several.answer, &error) == CS_OK)
            count++;
        else
            append_failure(task, &several.answer, name, &error);
        if (first.status == CS_OK)
            first = error;
    }
    csi_buffer_append(&several.answer, "]", 1);
    status = count == 0 ? refuse_case(&request->body, &first, &error)
                        : finish_case(task, photos, count, &several.answer, &error);
    if (status != CS_OK) {
        csi_buffer_free(&several.answer);
        csi_reply_error(request, &error);
    } else {
        csi_buffer_append(&several.answer, "}", 1);
        csi_reply_buffer(request, 200, "application/json", &several.answer);
    }
    while (count > 0)
        cs_diagnosis_destroy(photos[--count]);
    csi_publish_performance(task->request->server, task->session);
}

/* `plant=`: refused before any photo is worked on, if the model knows none of that name. */
static bool take_plant(struct task *task)
{
    struct cs_error error = {CS_OK, ""};
    size_t index;
    enum cs_status status;

    task->plant = csi_query(task->request, "plant");
    if (task->plant == NULL)
        return true;
    status = cs_model_find_plant(task->model, task->plant, &index, &error);
    if (status != CS_OK)
        csi_reply_error(task->request, &error);
    return status == CS_OK;
}

static void predict_body(struct task *task)
{
    struct csi_request *request = task->request;
    struct csi_body *body = &request->body;
    struct cs_error error = {CS_OK, ""};
    char name[CSI_PART_NAME_SIZE];

    if (!body->multipart) {
        csi_part_name(csi_query(request, "name"), name, sizeof name);
        if (body->raw.size == 0) {
            csi_fail(&error, CS_EMPTY_INPUT, "the body is empty");
            fail_one(task, name, &error);
        } else if (task->as_case) {
            /* A case of one photo, sent raw: the same answer as by form. */
            body->parts = calloc(1, sizeof *body->parts);
            if (body->parts == NULL) {
                csi_reply_fail(request, CS_INTERNAL, "out of memory (case)");
                return;
            }
            body->part_count = 1;
            body->parts[0].bytes = body->raw;
            csi_buffer_init(&body->raw);
            memcpy(body->parts[0].name, name, sizeof name);
            predict_case(task);
        } else {
            predict_one(task, &body->raw, name);
        }
    } else if (body->part_count == 0) {
        csi_body_no_image(body, &error);
        csi_reply_error(request, &error);
    } else if (task->as_case && body->part_count > CS_CASE_MAX) {
        csi_reply_fail(request, CS_BAD_REQUEST, "a case has at most %d photos", CS_CASE_MAX);
    } else if (body->part_count == 1 && !task->as_case) {
        if (is_too_large(body, 0, &error))
            fail_one(task, body->parts[0].name, &error);
        else
            predict_one(task, &body->parts[0].bytes, body->parts[0].name);
    } else if (task->as_case) {
        predict_case(task);
    } else {
        predict_several(task);
    }
}

void csi_route_predict(struct csi_request *request)
{
    struct task task = {.request = request, .top_k = request->server->options.default_top_k};

    if (!csi_query_size(request, "top_k", 1, 1000, &task.top_k) ||
        !csi_query_flag(request, "gradcam", &task.gradcam) || !csi_query_flag(request, "case", &task.as_case))
        return;
    task.model = cs_diagnoser_model(request->server->options.diagnoser);
    if (take_plant(&task)) {
        task.session = csi_request_session(request);
        if (task.session != NULL)
            predict_body(&task);
    }
    cs_model_destroy(task.model);
}
