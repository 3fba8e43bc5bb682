/*
 * Sessions: one thread's scratch memory for forward passes and maps, and the free list that lends them to
 * requests.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/memory.h"
#include "diagnosis/model.h"
#include "explain/explain.h"
#include "image/image.h"

static size_t map_pixels(const cs_model *model)
{
    return model->plan_info->map_width * model->plan_info->map_height;
}

static size_t input_elements(const cs_model *model)
{
    return 3 * model->plan_info->input_height * model->plan_info->input_width;
}

enum cs_status csi_session_create(cs_model *model, bool owns_model, cs_session **session,
                                  struct cs_error *error)
{
    cs_session *made = calloc(1, sizeof *made);
    enum cs_status status;

    *session = NULL;
    if (made == NULL)
        return csi_fail_memory(error, "session");
    made->model = owns_model ? csi_model_retain(model) : model;
    made->owns_model = owns_model;
    status = csi_exec_create(model->plan, &made->exec, error);
    if (status == CS_OK) {
        made->input = csi_aligned_alloc(input_elements(model) * sizeof(float));
        made->maps = csi_aligned_alloc(model->class_count * map_pixels(model) * sizeof(float));
        if (made->input == NULL || made->maps == NULL)
            status = csi_fail_memory(error, "session");
    }
    if (status != CS_OK) {
        csi_session_destroy(made);
        return status;
    }
    *session = made;
    return CS_OK;
}

void csi_session_destroy(cs_session *session)
{
    if (session == NULL)
        return;
    csi_exec_destroy(session->exec);
    csi_aligned_free(session->input);
    csi_aligned_free(session->maps);
    if (session->owns_model)
        csi_model_release(session->model);
    free(session);
}

/* One that lies idle, or the right to make one: NULL. Waits where as many are lent as there may be. */
static cs_session *take_idle(cs_model *model)
{
    cs_session *session;

    pthread_mutex_lock(&model->sessions_lock);
    while (model->idle == NULL && model->session_count >= model->session_limit)
        pthread_cond_wait(&model->session_back, &model->sessions_lock);
    session = model->idle;
    if (session != NULL)
        model->idle = session->next;
    else
        model->session_count++;
    pthread_mutex_unlock(&model->sessions_lock);
    return session;
}

/* There was no memory for one more. Whether there are others to wait for: then they are all there will be. */
static bool settle_for_fewer(cs_model *model)
{
    bool others;

    pthread_mutex_lock(&model->sessions_lock);
    others = --model->session_count > 0;
    if (others)
        model->session_limit = model->session_count;
    pthread_cond_signal(&model->session_back);
    pthread_mutex_unlock(&model->sessions_lock);
    return others;
}

enum cs_status csi_session_borrow(cs_model *model, cs_session **session, struct cs_error *error)
{
    for (;;) {
        struct cs_error why = {CS_OK, ""};
        enum cs_status status;

        *session = take_idle(model);
        if (*session != NULL)
            return CS_OK;
        status = csi_session_create(model, false, session, &why);
        if (status == CS_OK)
            return CS_OK;
        if (!settle_for_fewer(model)) {
            if (error != NULL)
                *error = why;
            return status;
        }
    }
}

void csi_session_return(cs_session *session)
{
    cs_model *model;

    if (session == NULL)
        return;
    model = session->model;
    pthread_mutex_lock(&model->sessions_lock);
    session->next = model->idle;
    model->idle = session;
    pthread_cond_signal(&model->session_back);
    pthread_mutex_unlock(&model->sessions_lock);
}

enum cs_status csi_model_preprocess(const cs_model *model, const cs_image *image, float *output,
                                    struct csi_content *content, struct cs_error *error)
{
    cs_image *cropped = NULL;
    uint32_t features = model->compute->cpu_features;
    enum cs_status status = csi_image_crop_for_network(image, model->preprocess.resize,
                                                       model->preprocess.crop, features, &cropped, error);

    if (status == CS_OK)
        status = csi_image_to_tensor(cropped, model->preprocess.mean, model->preprocess.std_dev, features,
                                     output, error);
    if (status == CS_OK && content != NULL && (model->gate != NULL || model->coach != NULL))
        csi_content_measure(cropped, content);
    csi_image_destroy(cropped);
    return status;
}

enum cs_status csi_session_forward(cs_session *session, const float *input, size_t batch, bool serial,
                                   struct cs_error *error)
{
    struct csi_turns *turns = &session->model->compute->turns;
    enum cs_status status;
    uint64_t start;

    session->batch = 0;
    if (batch == 0 || batch > session->model->max_batch)
        return csi_fail(error, CS_BAD_REQUEST, "a batch of %zu is not within 1 and %u", batch,
                        session->model->max_batch);
    serial = csi_turns_enter(turns, serial ? CSI_TURN_ALONE : batch > 1 ? CSI_TURN_TOGETHER : CSI_TURN_ANY);
    start = csi_now_ns();
    status = csi_exec_run(session->exec, input, batch, serial, error);
    session->run_ms = csi_ms_since(start);
    csi_turns_leave(turns, serial);
    if (status == CS_OK)
        session->batch = batch;
    return status;
}

bool csi_model_has_linear_maps(const cs_model *model)
{
    return model->plan_info->linear_head && map_pixels(model) > 0;
}

void csi_session_all_maps(cs_session *session, size_t index)
{
    const cs_model *model = session->model;
    size_t pixels = map_pixels(model);

    csi_cam_linear_all(csi_exec_activations(session->exec, index), model->plan_info->head_weight,
                       model->plan_info->map_channels, pixels, model->class_count, session->maps);
    for (size_t i = 0; i < model->class_count; i++)
        csi_cam_normalise(session->maps + i * pixels, pixels);
}

enum cs_status csi_session_map(cs_session *session, size_t index, size_t class_index,
                               enum cs_cam_method method, float *map, struct cs_error *error)
{
    const cs_model *model = session->model;
    const struct csi_plan_info *plan = model->plan_info;
    const float *gradient = NULL;
    size_t pixels = map_pixels(model);
    enum cs_status status;

    if (pixels == 0)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "the network has no layer whose output is a map");
    if (index >= session->batch)
        return csi_fail(error, CS_BAD_REQUEST, "photo %zu is not among the %zu of the last forward pass",
                        index, session->batch);
    if (class_index >= model->class_count)
        return csi_fail(error, CS_BAD_REQUEST, "class %zu is not within 0 and %zu", class_index,
                        model->class_count - 1);
    if (method == CS_CAM_GRADCAM && csi_model_has_linear_maps(model)) {
        csi_cam_linear_all(csi_exec_activations(session->exec, index),
                           plan->head_weight + class_index * plan->map_channels, plan->map_channels, pixels,
                           1, map);
    } else {
        status = csi_exec_gradient(session->exec, index, class_index, &gradient, error);
        if (status == CS_OK)
            status = csi_cam_map(method, csi_exec_activations(session->exec, index), gradient,
                                 plan->map_channels, plan->map_height, plan->map_width, map, error);
        if (status != CS_OK)
            return status;
    }
    csi_cam_normalise(map, pixels);
    return CS_OK;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* `samples`: iterations rows of layer_count nanoseconds; `column`: room for one layer's. */
static void fill_profile(const cs_session *session, size_t batch, unsigned iterations,
                         const uint64_t *samples, uint64_t *column, struct cs_layer_profile *layers)
{
    size_t count = csi_plan_layer_count(session->model->plan), middle = iterations / 2;

    for (size_t i = 0; i < count; i++) {
        const struct csi_layer *layer = csi_plan_layer(session->model->plan, i);

        for (unsigned k = 0; k < iterations; k++)
            column[k] = samples[(size_t)k * count + i];
        qsort(column, iterations, sizeof *column, compare_u64);
        snprintf(layers[i].name, sizeof layers[i].name, "%s", layer->name);
        snprintf(layers[i].algorithm, sizeof layers[i].algorithm, "%s", layer->algorithm);
        snprintf(layers[i].shape, sizeof layers[i].shape, "%s", layer->shape);
        layers[i].ms = (double)column[middle] / 1e6;
        layers[i].gflop = layer->gflop * (double)batch;
    }
}

enum cs_status csi_session_profile(cs_session *session, size_t batch, unsigned iterations,
                                   struct cs_layer_profile **layers, size_t *count, struct cs_error *error)
{
    size_t layer_count = csi_plan_layer_count(session->model->plan), samples_size, input_size;
    uint64_t *samples = NULL, *column = NULL;
    float *input = NULL;
    enum cs_status status = CS_OK;

    *layers = NULL;
    *count = 0;
    if (batch == 0 || batch > session->model->max_batch || iterations == 0 || iterations > 100000)
        return csi_fail(error, CS_BAD_REQUEST,
                        "profiling needs a batch of 1 to %u and 1 to 100000 iterations",
                        session->model->max_batch);
    if (csi_mul_overflows(layer_count * sizeof *samples, iterations, &samples_size) ||
        csi_mul_overflows(input_elements(session->model) * sizeof *input, batch, &input_size))
        return csi_fail_memory(error, "profile");
    samples = malloc(samples_size);
    column = malloc(iterations * sizeof *column);
    input = csi_aligned_calloc(input_size);
    *layers = calloc(layer_count == 0 ? 1 : layer_count, sizeof **layers);
    if (samples == NULL || column == NULL || input == NULL || *layers == NULL)
        status = csi_fail_memory(error, "profile");
    for (size_t i = 0; status == CS_OK && i < input_size / sizeof *input; i++)
        input[i] = (float)((uint32_t)(i * 2654435761u) >> 16) / 32768.0f -
                   1.0f; /* like a photo: no runs of equal values */
    session->batch = 0;
    csi_turns_enter(&session->model->compute->turns, CSI_TURN_TOGETHER);
    for (unsigned k = 0; status == CS_OK && k < iterations; k++)
        status = csi_exec_profile(session->exec, input, batch, samples + (size_t)k * layer_count, error);
    csi_turns_leave(&session->model->compute->turns, false);
    if (status == CS_OK) {
        fill_profile(session, batch, iterations, samples, column, *layers);
        *count = layer_count;
    } else {
        free(*layers);
        *layers = NULL;
    }
    free(samples);
    free(column);
    csi_aligned_free(input);
    return status;
}
