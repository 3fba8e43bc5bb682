/*
 * The one pipeline: bytes -> id -> (cache | decode -> preprocess -> forward -> maps -> gate) -> diagnosis.
 * Command line and server come through here, one photo or many.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "diagnosis/diagnoser.h"
#include "diagnosis/diagnosis.h"

/* From this size on a photo is hashed and resampled beside its decoding: a thread costs about as much as
 * hashing 64 KiB. */
#define LARGE_PHOTO ((size_t)512 << 10)

void csi_job_stage(const struct csi_job *job, enum cs_stage stage, double ms)
{
    if (job->request != NULL && job->request->on_stage != NULL)
        job->request->on_stage(job->request->context, stage, ms);
}

void csi_prediction_key(const cs_diagnoser *diagnoser, const cs_model *model, const struct csi_hash *id,
                        struct csi_hash *key)
{
    struct csi_hasher hasher;
    uint32_t numbers[2] = {(uint32_t)diagnoser->options.decode, diagnoser->options.max_size};

    csi_hasher_init(&hasher);
    csi_hasher_update(&hasher, "prediction 2", sizeof "prediction 2");
    csi_hasher_update(&hasher, id->bytes, CSI_HASH_SIZE);
    csi_hasher_update(&hasher, model->identity.bytes, CSI_HASH_SIZE);
    csi_hasher_update(&hasher, numbers, sizeof numbers);
    csi_hasher_final(&hasher, key);
}

void csi_display_key(const cs_diagnoser *diagnoser, const struct csi_hash *id, struct csi_hash *key)
{
    struct csi_hasher hasher;
    uint32_t numbers[2] = {(uint32_t)diagnoser->options.decode, diagnoser->options.max_size};

    csi_hasher_init(&hasher);
    csi_hasher_update(&hasher, "display 1", sizeof "display 1");
    csi_hasher_update(&hasher, id->bytes, CSI_HASH_SIZE);
    csi_hasher_update(&hasher, numbers, sizeof numbers);
    csi_hasher_final(&hasher, key);
}

struct csi_record_shape csi_model_record_shape(const cs_model *model)
{
    struct csi_record_shape shape = {.class_count = model->class_count};

    if (csi_model_has_linear_maps(model)) {
        shape.map_classes = model->class_count;
        shape.map_width = model->plan_info->map_width;
        shape.map_height = model->plan_info->map_height;
    }
    return shape;
}

/* Keeps the display image for heat maps asked for later. */
static void keep_display(const struct csi_job *job)
{
    const cs_diagnoser *diagnoser = job->diagnoser;
    struct csi_hash key;
    uint8_t *bytes;
    size_t size;

    if (diagnoser->options.gradcam_cache_bytes == 0 || (job->request != NULL && job->request->no_cache))
        return;
    if (csi_display_write(&job->facts, job->display, &bytes, &size, NULL) != CS_OK)
        return; /* without memory the photo has to be sent again for a heat map */
    csi_display_key(diagnoser, &job->id, &key);
    csi_cache_put_taking(diagnoser->gradcams, &key, bytes, size, job->display_generation);
}

/* Decodes job->bytes into job->display and job->facts, once. Needs no id and no model, touches no cache. */
static void decode(struct csi_job *job)
{
    const struct cs_diagnoser_options *options = &job->diagnoser->options;
    struct csi_display_options how = {.limits = options->limits,
                                      .mode = options->decode,
                                      .max_side = options->max_size,
                                      .cpu_features = job->diagnoser->slot.compute->cpu_features,
                                      .beside = !job->serial && job->size >= LARGE_PHOTO &&
                                                job->diagnoser->slot.compute->threads > 1};
    struct cs_image_info info;
    enum cs_status status;

    job->decode_tried = true;
    job->display_generation = csi_cache_generation(job->diagnoser->gradcams);
    csi_error_clear(&job->decode_error);
    csi_places_enter(&job->diagnoser->decoding);
    status = csi_image_load_display(job->bytes, job->size, &how, &job->display, &info, &job->timings.decode,
                                    &job->timings.resize, &job->decode_error);
    csi_places_leave(&job->diagnoser->decoding);
    if (status != CS_OK) {
        job->decode_error.status = status;
        return;
    }
    job->facts = (struct csi_photo_facts){.bytes = job->size,
                                          .format = (uint32_t)info.format,
                                          .width = info.width,
                                          .height = info.height,
                                          .display_width = job->display->width,
                                          .display_height = job->display->height};
    csi_job_stage(job, CS_STAGE_DECODE, job->timings.decode);
    csi_job_stage(job, CS_STAGE_RESIZE, job->timings.resize);
}

enum cs_status csi_job_decode(struct csi_job *job, struct cs_error *error)
{
    if (job->display == NULL && !job->decode_tried)
        decode(job);
    if (job->display == NULL) {
        if (error != NULL)
            *error = job->decode_error;
        return job->decode_error.status;
    }
    if (!job->display_kept)
        keep_display(job);
    job->display_kept = true;
    return CS_OK;
}

static void *identify(void *context)
{
    struct csi_job *job = context;

    csi_recent_identify(job->diagnoser->recent, job->bytes, job->size, &job->id);
    return NULL;
}

/* The photo's id. Hashing a large photo takes a quarter of what decoding it takes; of one that was surely
 * never seen, whose decoding no cache can save, both are done at once. */
static void identify_job(struct csi_job *job)
{
    pthread_t hashing;

    bool sure_to_decode =
        job->request->no_cache || !csi_recent_may_know(job->diagnoser->recent, job->bytes, job->size);

    if (job->serial || job->size < LARGE_PHOTO || !sure_to_decode ||
        pthread_create(&hashing, NULL, identify, job) != 0) {
        identify(job);
        return;
    }
    decode(job);
    pthread_join(hashing, NULL);
}

enum cs_status csi_job_record(struct csi_job *job, cs_session *session, size_t index, uint8_t **bytes,
                              size_t *size, struct cs_error *error)
{
    const cs_model *model = job->model;
    const float *logits = csi_exec_logits(session->exec) + index * model->class_count;
    const float *embedding = csi_exec_embedding(session->exec);
    const struct csi_record_shape shape = csi_model_record_shape(model);
    struct csi_record_head head = {.magic = CSI_RECORD_MAGIC,
                                   .class_count = (uint32_t)shape.class_count,
                                   .map_classes = (uint32_t)shape.map_classes,
                                   .map_width = (uint32_t)shape.map_width,
                                   .map_height = (uint32_t)shape.map_height,
                                   .leaf_score = (double)NAN,
                                   .photo = job->facts};
    uint64_t start = csi_now_ns();
    enum cs_status status = csi_exec_check(session->exec, index, error);

    if (status != CS_OK)
        return status;
    if (shape.map_classes != 0) {
        csi_session_all_maps(session, index);
        job->timings.gradcam = csi_ms_since(start);
    }
    if (embedding != NULL)
        embedding += index * model->plan_info->embedding_size;
    if (model->gate != NULL)
        head.leaf_score = csi_gate_score(model->gate, logits, model->class_count, embedding, &job->content);
    if (model->coach != NULL)
        head.hints = csi_coach_hints(model->coach, &job->content);
    return csi_record_write(&head, logits, head.map_classes != 0 ? session->maps : NULL, bytes, size, error);
}

enum cs_status csi_job_compute(struct csi_job *job, uint8_t **bytes, size_t *size, struct cs_error *error)
{
    cs_session *session = NULL;
    uint64_t start;
    enum cs_status status = csi_session_borrow(job->model, &session, error);

    if (status != CS_OK)
        return status;
    start = csi_now_ns();
    status = csi_model_preprocess(job->model, job->display, session->input, &job->content, error);
    if (status == CS_OK) {
        job->timings.preprocess = csi_ms_since(start);
        csi_job_stage(job, CS_STAGE_PREPROCESS, job->timings.preprocess);
        status = csi_session_forward(session, session->input, 1, job->serial, error);
    }
    if (status == CS_OK) {
        job->timings.inference = session->run_ms;
        csi_job_stage(job, CS_STAGE_INFERENCE, job->timings.inference);
        status = csi_job_record(job, session, 0, bytes, size, error);
    }
    csi_session_return(session);
    return status;
}

static enum cs_status compute_prediction(void *context, uint8_t **bytes, size_t *size, struct cs_error *error)
{
    struct csi_job *job = context;
    enum cs_status status = csi_job_decode(job, error);

    return status == CS_OK ? csi_job_compute(job, bytes, size, error) : status;
}

/* A cached prediction whose display image has gone meanwhile: decoded again, so that sending a photo is
 * always enough for asking for its heat map afterwards. */
static void restore_display(struct csi_job *job)
{
    struct csi_hash key;

    if (job->display_kept || job->diagnoser->options.gradcam_cache_bytes == 0)
        return;
    csi_display_key(job->diagnoser, &job->id, &key);
    if (!csi_cache_contains(job->diagnoser->gradcams, &key))
        csi_job_decode(
            job, NULL); /* it was decoded before; should memory fail now, the prediction is still right */
}

static enum cs_status check_request(const struct cs_request *request, struct cs_error *error)
{
    if ((int)request->method < 0 || request->method > CS_CAM_ABLATIONCAM)
        return csi_fail(error, CS_BAD_REQUEST, "no heat-map method has the number %d", (int)request->method);
    if ((int)request->colormap < 0 || request->colormap > CS_COLORMAP_GREY)
        return csi_fail(error, CS_BAD_REQUEST, "no colour map has the number %d", (int)request->colormap);
    if (!(request->alpha <= 1.0f))
        return csi_fail(error, CS_BAD_REQUEST, "alpha has to be at most 1");
    return CS_OK;
}

/* The heat map of the top class, made now so that it is a hit later. */
static enum cs_status prepare_heatmap(struct csi_job *job, const struct csi_record *record,
                                      enum cs_cache_result *result, struct cs_error *error)
{
    const struct cs_request *request = job->request;
    struct cs_heatmap_request heatmap = {.method = request->method,
                                         .colormap = request->colormap,
                                         .alpha = request->alpha == 0  ? 0.5f
                                                  : request->alpha < 0 ? 0
                                                                       : request->alpha,
                                         .format = CS_FORMAT_PNG};
    struct csi_cached image;
    uint64_t start = csi_now_ns();
    size_t plant;
    enum cs_status status = csi_model_find_plant(job->model, request->plant, &plant, error);

    if (status == CS_OK) {
        heatmap.class_index = csi_model_top_class(job->model, record->logits, plant);
        status = csi_job_heatmap(job, record, &heatmap, &image, result, error);
    }
    if (status == CS_OK) {
        csi_cached_release(&image);
        if (*result != CS_CACHE_HIT)
            job->timings.gradcam += csi_ms_since(start);
    }
    return status;
}

/* The photo's record: kept, or computed. One that is no record of this model (the cache file is anybody's)
 * is computed again and replaced. The caller releases *cached. */
static enum cs_status predict(struct csi_job *job, struct csi_cached *cached, struct csi_record *record,
                              enum cs_cache_result *result, struct cs_error *error)
{
    const struct csi_record_shape shape = csi_model_record_shape(job->model);
    struct csi_cache *cache = job->diagnoser->predictions;
    struct csi_hash key;
    uint64_t generation;
    enum cs_status status;

    if (job->request->no_cache) {
        status = csi_compute_uncached(compute_prediction, job, cached, error);
        return status == CS_OK ? csi_record_read(cached->bytes, cached->size, &shape, record, error) : status;
    }
    csi_prediction_key(job->diagnoser, job->model, &job->id, &key);
    status = csi_cache_get_or_compute(cache, &key, compute_prediction, job, cached, result, error);
    if (status != CS_OK || csi_record_read(cached->bytes, cached->size, &shape, record, NULL) == CS_OK)
        return status;
    csi_cached_release(cached);
    generation = csi_cache_generation(cache);
    *result = CS_CACHE_MISS;
    status = csi_compute_uncached(compute_prediction, job, cached, error);
    if (status != CS_OK)
        return status;
    csi_cache_put(cache, &key, cached->bytes, cached->size, generation);
    return csi_record_read(cached->bytes, cached->size, &shape, record, error);
}

static enum cs_status run(struct csi_job *job, cs_diagnosis **diagnosis, struct cs_error *error)
{
    cs_diagnoser *diagnoser = job->diagnoser;
    enum cs_cache_result prediction = CS_CACHE_OFF, gradcam = CS_CACHE_OFF;
    struct csi_cached cached = {0};
    struct csi_record record;
    uint64_t start = csi_now_ns();
    enum cs_status status;

    /* The first photo's model may still be on its way: what needs none of it comes first. */
    identify_job(job);
    job->model = csi_slot_model_for(diagnoser, job->request, error);
    if (job->model == NULL)
        return diagnoser->slot.first_error.status;
    status = predict(job, &cached, &record, &prediction, error);
    if (status == CS_OK && !job->request->no_cache)
        restore_display(job);
    if (status == CS_OK && job->request->gradcam)
        status = prepare_heatmap(job, &record, &gradcam, error);
    if (status == CS_OK && job->timings.gradcam > 0)
        csi_job_stage(job, CS_STAGE_GRADCAM, job->timings.gradcam);
    if (status == CS_OK) {
        job->timings.total = csi_ms_since(start);
        status = csi_diagnosis_create(job->model, &job->id, &record, job->request, diagnosis, error);
    }
    if (status == CS_OK) {
        (*diagnosis)->prediction_cache = prediction;
        (*diagnosis)->gradcam_cache = gradcam;
        (*diagnosis)->timings = job->timings;
        csi_job_stage(job, CS_STAGE_DONE, job->timings.total);
    }
    csi_cached_release(&cached);
    return status;
}

enum cs_status csi_diagnose(cs_diagnoser *diagnoser, const void *bytes, size_t size,
                            const struct cs_request *request, bool serial, cs_diagnosis **diagnosis,
                            struct cs_error *error)
{
    static const struct cs_request defaults;
    struct csi_job job = {.diagnoser = diagnoser,
                          .bytes = bytes,
                          .size = size,
                          .request = request != NULL ? request : &defaults,
                          .serial = serial};
    size_t max_bytes = diagnoser->options.limits.max_bytes;
    enum cs_status status;

    *diagnosis = NULL;
    if (size == 0 || bytes == NULL)
        return csi_fail(error, CS_EMPTY_INPUT, "the photo has no bytes");
    if (size > max_bytes) /* before it is hashed */
        return csi_fail(error, CS_IMAGE_TOO_LARGE, "the photo has %zu bytes, the limit is %zu", size,
                        max_bytes);
    status = check_request(job.request, error);
    if (status != CS_OK)
        return status;
    status = run(&job, diagnosis, error);
    csi_image_destroy(job.display);
    csi_model_release(job.model);
    return status;
}
