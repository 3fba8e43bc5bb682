/*
 * Heat maps of photos diagnosed before: from the record's maps when the closed form covers the method, else
 * from a fresh forward pass of the kept display image. Overlays go through the heat-map cache.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "diagnosis/diagnoser.h"
#include "explain/explain.h"

#define PHOTO_QUALITY 90

enum cs_status csi_encode(const cs_image *image, enum cs_image_format format, struct csi_pool *pool,
                          struct csi_buffer *out, struct cs_error *error)
{
    switch (format) {
    case CS_FORMAT_PNG: return csi_image_encode_png(image, pool, out, error);
    case CS_FORMAT_JPEG: return csi_image_encode_jpeg(image, PHOTO_QUALITY, out, error);
    case CS_FORMAT_WEBP: return csi_image_encode_webp(image, PHOTO_QUALITY, out, error);
    case CS_FORMAT_UNKNOWN: break;
    }
    return csi_fail(error, CS_BAD_REQUEST, "no image format has the number %d", (int)format);
}

static enum cs_status parse_id(const char *id, struct csi_hash *hash, struct cs_error *error)
{
    if (id == NULL || !csi_hash_from_hex(id, hash))
        return csi_fail(error, CS_BAD_REQUEST, "a photo's id is 64 lower-case hexadecimal digits");
    return CS_OK;
}

/* job->display and job->facts: at hand, kept, or decoded from the bytes at hand. */
static enum cs_status need_display(struct csi_job *job, struct cs_error *error)
{
    struct cs_cache_stats stats;
    struct csi_cached kept;
    struct csi_hash key;
    enum cs_status status = CS_NOT_FOUND;

    if (job->display != NULL)
        return CS_OK;
    csi_display_key(job->diagnoser, &job->id, &key);
    if (csi_cache_peek(job->diagnoser->gradcams, &key, &kept)) {
        status = csi_display_read(kept.bytes, kept.size, job->diagnoser->options.max_size, &job->facts,
                                  &job->display, error);
        csi_cached_release(&kept);
        job->display_kept = status == CS_OK;
    }
    if (status == CS_OK || job->bytes != NULL)
        return status == CS_OK ? CS_OK : csi_job_decode(job, error);
    csi_cache_stats(job->diagnoser->gradcams, &stats);
    if (!stats.enabled)
        return csi_fail(error, CS_NOT_FOUND,
                        "no photo is kept: the cache of display images and heat maps is off");
    return csi_fail(error, CS_NOT_FOUND, "the photo is not kept any more: send it again");
}

/* The photo's record: kept, or computed again from the display image and kept. The caller releases *cached.
 */
static enum cs_status need_record(struct csi_job *job, struct csi_cached *cached, struct csi_record *record,
                                  struct cs_error *error)
{
    const struct csi_record_shape shape = csi_model_record_shape(job->model);
    uint64_t generation;
    struct csi_hash key;
    uint8_t *bytes;
    size_t size;
    enum cs_status status;

    csi_prediction_key(job->diagnoser, job->model, &job->id, &key);
    if (csi_cache_peek(job->diagnoser->predictions, &key, cached)) {
        if (csi_record_read(cached->bytes, cached->size, &shape, record, NULL) == CS_OK)
            return CS_OK;
        csi_cached_release(cached); /* none of this model's: replaced */
    }
    generation = csi_cache_generation(job->diagnoser->predictions);
    status = need_display(job, error);
    if (status == CS_OK)
        status = csi_job_compute(job, &bytes, &size, error);
    if (status == CS_OK)
        status = csi_cached_own(bytes, size, cached, error);
    if (status != CS_OK)
        return status;
    csi_cache_put(job->diagnoser->predictions, &key, cached->bytes, cached->size, generation);
    status = csi_record_read(cached->bytes, cached->size, &shape, record, error);
    if (status != CS_OK)
        csi_cached_release(cached);
    return status;
}

static enum cs_status map_by_forward(struct csi_job *job, size_t class_index, enum cs_cam_method method,
                                     float *map, struct cs_error *error)
{
    cs_session *session = NULL;
    enum cs_status status = need_display(job, error);

    if (status == CS_OK)
        status = csi_session_borrow(job->model, &session, error);
    if (status != CS_OK)
        return status;
    status = csi_model_preprocess(job->model, job->display, session->input, NULL, error);
    if (status == CS_OK)
        status = csi_session_forward(session, session->input, 1, job->serial, error);
    if (status == CS_OK)
        status = csi_exec_check(session->exec, 0, error);
    if (status == CS_OK)
        status = csi_session_map(session, 0, class_index, method, map, error);
    csi_session_return(session);
    return status;
}

/* One class's map, malloc'ed. `record` NULL: looked up. */
static enum cs_status make_map(struct csi_job *job, const struct csi_record *record, size_t class_index,
                               enum cs_cam_method method, float **map, struct cs_error *error)
{
    const struct csi_plan_info *plan = job->model->plan_info;
    struct csi_cached cached = {0};
    struct csi_record own;
    enum cs_status status = CS_OK;

    *map = NULL;
    if (plan->map_width == 0)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "the network has no layer whose output is a map");
    if (method == CS_CAM_GRADCAM && csi_model_has_linear_maps(job->model) && record == NULL) {
        status = need_record(job, &cached, &own, error);
        if (status != CS_OK)
            return status;
        record = &own;
    }
    *map = malloc(plan->map_width * plan->map_height * sizeof **map);
    if (*map == NULL)
        status = csi_fail_memory(error, "heat map");
    else if (method == CS_CAM_GRADCAM && record != NULL && record->head.map_classes != 0)
        csi_record_map(record, class_index, *map);
    else
        status = map_by_forward(job, class_index, method, *map, error);
    csi_cached_release(&cached);
    if (status != CS_OK) {
        free(*map);
        *map = NULL;
    }
    return status;
}

struct overlay_job {
    struct csi_job *job;
    const struct csi_record *record;
    struct cs_heatmap_request request; /* class and format settled */
};

static enum cs_status compute_overlay(void *context, uint8_t **bytes, size_t *size, struct cs_error *error)
{
    struct overlay_job *overlay = context;
    struct csi_job *job = overlay->job;
    const struct cs_heatmap_request *request = &overlay->request;
    cs_image *image = NULL;
    struct csi_buffer out;
    float *map = NULL;
    enum cs_status status = need_display(job, error);

    csi_buffer_init(&out);
    if (status == CS_OK)
        status = make_map(job, overlay->record, request->class_index, request->method, &map, error);
    if (status == CS_OK)
        status = csi_overlay(job->display, map, (uint32_t)job->model->plan_info->map_width,
                             (uint32_t)job->model->plan_info->map_height, request->colormap, request->alpha,
                             &image, error);
    if (status == CS_OK)
        status =
            csi_encode(image, request->format, job->serial ? NULL : job->model->compute->pool, &out, error);
    if (status == CS_OK && out.failed)
        status = csi_fail_memory(error, "heat map");
    if (status == CS_OK) {
        *bytes = out.bytes;
        *size = out.size;
    } else {
        csi_buffer_free(&out);
    }
    csi_image_destroy(image);
    free(map);
    return status;
}

static void overlay_key(const struct csi_job *job, const struct cs_heatmap_request *request,
                        struct csi_hash *key)
{
    struct csi_hash prediction;
    struct csi_hasher hasher;
    uint64_t class_index = request->class_index;
    uint32_t numbers[3] = {(uint32_t)request->method, (uint32_t)request->colormap, (uint32_t)request->format};

    csi_prediction_key(job->diagnoser, job->model, &job->id, &prediction);
    csi_hasher_init(&hasher);
    csi_hasher_update(&hasher, "overlay 1", sizeof "overlay 1");
    csi_hasher_update(&hasher, prediction.bytes, CSI_HASH_SIZE);
    csi_hasher_update(&hasher, &class_index, sizeof class_index);
    csi_hasher_update(&hasher, numbers, sizeof numbers);
    csi_hasher_update(&hasher, &request->alpha, sizeof request->alpha);
    csi_hasher_final(&hasher, key);
}

static enum cs_status check_heatmap(const cs_model *model, const struct cs_heatmap_request *request,
                                    struct cs_error *error)
{
    if ((int)request->method < 0 || request->method > CS_CAM_ABLATIONCAM)
        return csi_fail(error, CS_BAD_REQUEST, "no heat-map method has the number %d", (int)request->method);
    if ((int)request->colormap < 0 || request->colormap > CS_COLORMAP_GREY)
        return csi_fail(error, CS_BAD_REQUEST, "no colour map has the number %d", (int)request->colormap);
    if (!(request->alpha >= 0 && request->alpha <= 1))
        return csi_fail(error, CS_BAD_REQUEST, "alpha has to be within 0 and 1");
    if ((int)request->format < 0 || request->format > CS_FORMAT_WEBP)
        return csi_fail(error, CS_BAD_REQUEST, "no image format has the number %d", (int)request->format);
    if (request->class_index != SIZE_MAX && request->class_index >= model->class_count)
        return csi_fail(error, CS_BAD_REQUEST, "class %zu is not within 0 and %zu", request->class_index,
                        model->class_count - 1);
    return CS_OK;
}

enum cs_status csi_job_heatmap(struct csi_job *job, const struct csi_record *record,
                               const struct cs_heatmap_request *request, struct csi_cached *image,
                               enum cs_cache_result *result, struct cs_error *error)
{
    struct overlay_job overlay = {.job = job, .record = record, .request = *request};
    struct csi_cached cached = {0};
    struct csi_record own;
    struct csi_hash key;
    enum cs_status status = check_heatmap(job->model, request, error);

    memset(image, 0, sizeof *image);
    *result = CS_CACHE_OFF;
    if (status != CS_OK)
        return status;
    if (request->class_index == SIZE_MAX && record == NULL) {
        status = need_record(job, &cached, &own, error);
        if (status != CS_OK)
            return status;
        overlay.record = &own;
    }
    if (request->class_index == SIZE_MAX)
        overlay.request.class_index = csi_model_top_class(job->model, overlay.record->logits, CSI_ANY_PLANT);
    if (request->format == CS_FORMAT_UNKNOWN)
        overlay.request.format = CS_FORMAT_PNG;
    if (job->request != NULL && job->request->no_cache) {
        status = csi_compute_uncached(compute_overlay, &overlay, image, error);
    } else {
        overlay_key(job, &overlay.request, &key);
        status = csi_cache_get_or_compute(job->diagnoser->gradcams, &key, compute_overlay, &overlay, image,
                                          result, error);
    }
    csi_cached_release(&cached);
    return status;
}

static enum cs_status copy_to_blob(const void *bytes, size_t size, struct cs_blob *blob,
                                   struct cs_error *error)
{
    blob->bytes = malloc(size == 0 ? 1 : size);
    if (blob->bytes == NULL)
        return csi_fail_memory(error, "image");
    memcpy(blob->bytes, bytes, size);
    blob->size = size;
    return CS_OK;
}

/* A job about a photo diagnosed before, by the model in use; end_job is for the caller when this succeeds. */
static enum cs_status begin_job(struct csi_job *job, const char *id, struct cs_error *error)
{
    enum cs_status status = parse_id(id, &job->id, error);

    if (status != CS_OK)
        return status;
    job->model = csi_slot_model(job->diagnoser, error);
    return job->model != NULL ? CS_OK : job->diagnoser->slot.first_error.status;
}

static void end_job(struct csi_job *job)
{
    csi_image_destroy(job->display);
    csi_model_release(job->model);
}

enum cs_status csi_diagnoser_heatmap(cs_diagnoser *diagnoser, const char *id,
                                     const struct cs_heatmap_request *request, struct cs_blob *image,
                                     enum cs_cache_result *result, double *ms, struct cs_error *error)
{
    struct csi_job job = {.diagnoser = diagnoser};
    enum cs_cache_result way = CS_CACHE_OFF;
    struct csi_cached cached;
    uint64_t start = csi_now_ns();
    enum cs_status status = begin_job(&job, id, error);

    if (status != CS_OK)
        return status;
    status = csi_job_heatmap(&job, NULL, request, &cached, &way, error);
    if (status == CS_OK) {
        status = copy_to_blob(cached.bytes, cached.size, image, error);
        csi_cached_release(&cached);
    }
    if (result != NULL)
        *result = way;
    if (ms != NULL)
        *ms = csi_ms_since(start);
    end_job(&job);
    return status;
}

enum cs_status csi_diagnoser_map(cs_diagnoser *diagnoser, const char *id, size_t class_index,
                                 enum cs_cam_method method, struct cs_blob *blob, uint32_t *width,
                                 uint32_t *height, struct cs_error *error)
{
    struct csi_job job = {.diagnoser = diagnoser};
    struct cs_heatmap_request request = {.class_index = class_index, .method = method};
    struct csi_cached cached = {0};
    struct csi_record record;
    const struct csi_record *known = NULL;
    float *map = NULL;
    enum cs_status status = begin_job(&job, id, error);

    if (status != CS_OK)
        return status;
    status = check_heatmap(job.model, &request, error);
    if (status == CS_OK && class_index == SIZE_MAX) {
        status = need_record(&job, &cached, &record, error);
        if (status == CS_OK) {
            class_index = csi_model_top_class(job.model, record.logits, CSI_ANY_PLANT);
            known = &record;
        }
    }
    if (status == CS_OK)
        status = make_map(&job, known, class_index, method, &map, error);
    if (status == CS_OK) {
        *width = (uint32_t)job.model->plan_info->map_width;
        *height = (uint32_t)job.model->plan_info->map_height;
        blob->bytes = (uint8_t *)map;
        blob->size = (size_t)*width * *height * sizeof *map;
    }
    csi_cached_release(&cached);
    end_job(&job);
    return status;
}

enum cs_status csi_diagnoser_top_class(cs_diagnoser *diagnoser, const char *id, const char *plant,
                                       size_t *class_index, struct cs_error *error)
{
    struct csi_job job = {.diagnoser = diagnoser};
    struct csi_cached cached = {0};
    struct csi_record record;
    size_t among;
    enum cs_status status = begin_job(&job, id, error);

    *class_index = SIZE_MAX;
    if (status != CS_OK)
        return status;
    status = csi_model_find_plant(job.model, plant, &among, error);
    if (status == CS_OK)
        status = need_record(&job, &cached, &record, error);
    if (status == CS_OK)
        *class_index = csi_model_top_class(job.model, record.logits, among);
    csi_cached_release(&cached);
    end_job(&job);
    return status;
}

enum cs_status csi_diagnoser_display(cs_diagnoser *diagnoser, const char *id, enum cs_image_format format,
                                     struct cs_blob *image, struct cs_error *error)
{
    struct csi_job job = {.diagnoser = diagnoser};
    struct csi_buffer out;
    enum cs_status status = parse_id(id, &job.id, error);

    csi_buffer_init(&out);
    if (status == CS_OK)
        status = need_display(&job, error);
    if (status == CS_OK)
        status =
            csi_encode(job.display, format == CS_FORMAT_UNKNOWN ? CS_FORMAT_JPEG : format, NULL, &out, error);
    if (status == CS_OK && out.failed)
        status = csi_fail_memory(error, "image");
    if (status == CS_OK) {
        image->bytes = out.bytes;
        image->size = out.size;
    } else {
        csi_buffer_free(&out);
    }
    csi_image_destroy(job.display);
    return status;
}
