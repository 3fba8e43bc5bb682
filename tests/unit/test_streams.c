/*
 * Batches: a stream decodes the next photos while a batch computes, photos of a batch are computed by one
 * forward pass, and models that users bring (ONNX with a dynamic batch) give the same in a batch as alone.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <cropshield/cropshield.h>

#include "diagnosis/diagnoser.h"
#include "unit/photos.h"
#include "unit/tiny_model.h"

#define PHOTOS 12u
#define BATCH  2u

static char folder[64], model_path[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/cropshield-streams-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(model_path, sizeof model_path, "%s/tiny.safetensors", folder);
    return tiny_model_write(model_path, 1) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    remove(model_path);
    return remove(folder);
}

struct feed {
    cs_diagnoser *diagnoser;
    size_t batch;
    struct cs_blob photos[PHOTOS];
    atomic_uint decoded, delivered; /* photos given back by the workers; handed out */
    float logits[PHOTOS][TINY_CLASSES];
    double inference_ms[PHOTOS];
};

static enum cs_status feed_load(void *context, size_t index, const void **bytes, size_t *size,
                                const char **name, struct cs_error *error)
{
    struct feed *feed = context;

    (void)error;
    *bytes = feed->photos[index].bytes;
    *size = feed->photos[index].size;
    *name = NULL;
    return CS_OK;
}

static void feed_unload(void *context, size_t index, const void *bytes, size_t size)
{
    struct feed *feed = context;

    (void)index;
    (void)bytes;
    (void)size;
    atomic_fetch_add(&feed->decoded, 1);
}

static bool feed_done(void *context, size_t index, const cs_diagnosis *diagnosis,
                      const struct cs_error *failure)
{
    struct feed *feed = context;

    (void)failure;
    if (diagnosis == NULL)
        return false;
    memcpy(feed->logits[index], diagnosis->logits, sizeof feed->logits[index]);
    feed->inference_ms[index] = diagnosis->timings.inference;
    atomic_fetch_add(&feed->delivered, 1);
    return true;
}

static void feed_begin(struct feed *feed, size_t batch)
{
    struct cs_diagnoser_options options = cs_diagnoser_options_defaults();
    struct cs_error error = {0};

    memset(feed, 0, sizeof *feed);
    feed->batch = batch;
    options.model.path = model_path;
    options.model.threads = 2;
    if (cs_diagnoser_create(&options, &feed->diagnoser, &error) != CS_OK)
        fail_msg("%s", error.message);
    for (uint32_t i = 0; i < PHOTOS; i++)
        feed->photos[i] = draw_photo(i + 1, 160, 120, CS_FORMAT_JPEG);
}

static void feed_end(struct feed *feed)
{
    for (size_t i = 0; i < PHOTOS; i++)
        cs_blob_destroy(&feed->photos[i]);
    cs_diagnoser_destroy(feed->diagnoser);
}

static void *run_stream(void *context)
{
    struct feed *feed = context;
    struct cs_stream stream = {.count = PHOTOS,
                               .batch = feed->batch,
                               .request = cs_request_defaults(),
                               .load = feed_load,
                               .unload = feed_unload,
                               .done = feed_done,
                               .context = feed};

    stream.request.no_cache = true;
    return cs_diagnose_stream(feed->diagnoser, &stream, NULL) == CS_OK ? feed : NULL;
}

/* The first batch cannot compute while the test holds the turn; photos far behind it are decoded meanwhile. */
static void decoding_goes_on_while_a_batch_computes(void **state)
{
    static const struct timespec pause = {0, 2000000};
    struct feed feed;
    cs_model *model;
    pthread_t thread;
    void *result;

    (void)state;
    feed_begin(&feed, BATCH);
    model = cs_diagnoser_model(feed.diagnoser);
    pthread_mutex_lock(&model->compute->turn);
    assert_int_equal(pthread_create(&thread, NULL, run_stream, &feed), 0);
    for (unsigned i = 0; i < 10000 && atomic_load(&feed.decoded) < 3 * BATCH; i++)
        nanosleep(&pause, NULL);
    assert_true(atomic_load(&feed.decoded) >= 3 * BATCH);
    assert_int_equal(atomic_load(&feed.delivered), 0);
    pthread_mutex_unlock(&model->compute->turn);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_non_null(result);
    assert_int_equal(atomic_load(&feed.delivered), PHOTOS);
    cs_model_destroy(model);
    feed_end(&feed);
}

/* Each photo of a batch is told the same share of the same pass, to the last bit. */
static void a_batch_is_one_forward_pass(void **state)
{
    struct feed alone, together;
    unsigned shared = 0;

    (void)state;
    feed_begin(&alone, 1);
    assert_non_null(run_stream(&alone));
    feed_begin(&together, 4);
    assert_non_null(run_stream(&together));
    for (size_t i = 0; i < PHOTOS; i++) {
        for (size_t c = 0; c < TINY_CLASSES; c++)
            assert_true(fabsf(alone.logits[i][c] - together.logits[i][c]) < 1e-4f);
        shared += i > 0 && together.inference_ms[i] == together.inference_ms[i - 1];
    }
    assert_int_equal(shared, PHOTOS - PHOTOS / 4); /* three of each four go along with the one before */
    feed_end(&alone);
    feed_end(&together);
}

/* Any user's model in batches over the public header: logits and maps of each photo are those of it alone. */
static void check_batches(const char *file, enum cs_precision precision)
{
    struct cs_model_options options = cs_model_options_defaults();
    struct cs_model_info info;
    struct cs_error error = {0};
    cs_model *model;
    cs_session *session;
    char path[1024];
    float *input, *logits, *map, *other;
    size_t pixels, map_pixels;

    snprintf(path, sizeof path, "%s/models/%s", CS_TEST_DATA, file);
    options.path = path;
    options.threads = 2;
    options.max_batch = 5;
    options.precision = precision;
    options.preprocess.crop = strstr(file, ".onnx") != NULL ? 0 : 64;
    if (cs_model_load(&options, &model, &error) != CS_OK ||
        cs_session_create(model, &session, &error) != CS_OK)
        fail_msg("%s: %s", file, error.message);
    info = cs_model_info(model);
    pixels = (size_t)3 * info.input_size * info.input_size;
    map_pixels = (size_t)info.map_width * info.map_height;
    input = malloc(5 * pixels * sizeof *input);
    logits = malloc(5 * info.class_count * sizeof *logits);
    map = malloc(2 * map_pixels * sizeof *map);
    assert_true(input != NULL && logits != NULL && map != NULL);
    other = map + map_pixels;
    for (size_t i = 0; i < 5 * pixels; i++)
        input[i] = (float)((i * 2654435761u) >> 8 & 0xffffu) / 16384.0f - 2.0f;
    assert_int_equal(cs_session_forward(session, input, 5, &error), CS_OK);
    memcpy(logits, cs_session_logits(session), 5 * info.class_count * sizeof *logits);
    assert_int_equal(cs_session_map(session, 3, 1, CS_CAM_GRADCAM, map, &error), CS_OK);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(cs_session_forward(session, input + i * pixels, 1, &error), CS_OK);
        for (size_t c = 0; c < info.class_count; c++) {
            float alone = cs_session_logits(session)[c], inside = logits[i * info.class_count + c];

            if (!(fabsf(alone - inside) <= 1e-3f * fmaxf(1.0f, fabsf(alone))))
                fail_msg("%s: photo %zu, class %zu: %g alone, %g in a batch", file, i, c, (double)alone,
                         (double)inside);
        }
        if (i != 3)
            continue;
        assert_int_equal(cs_session_map(session, 0, 1, CS_CAM_GRADCAM, other, &error), CS_OK);
        for (size_t p = 0; p < map_pixels; p++)
            assert_true(fabsf(map[p] - other[p]) <= 1e-3f);
    }
    assert_int_equal(cs_session_forward(session, input, 6, &error), CS_BAD_REQUEST);
    free(input);
    free(logits);
    free(map);
    cs_session_destroy(session);
    cs_model_destroy(model);
}

static void models_of_users_run_in_batches(void **state)
{
    static const char *const files[] = {
        "opset9.onnx",        "opset13.onnx",    "old_fashioned.onnx", "resnet18.onnx",      "mobilenet_v2.onnx",
        "mobilenet_v3_small.onnx", "efficientnet_b0.onnx", "quantised.onnx", "plain.pth", "resnet50.pth",
        "efficientnet_b0.pth", "traced.pt",      "mobilenet_v3_large.pt"};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        check_batches(files[i], CS_PRECISION_FP32);
    check_batches("quantised.onnx", CS_PRECISION_INT8);
    check_batches("quantised_residual.onnx", CS_PRECISION_INT8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(decoding_goes_on_while_a_batch_computes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_batch_is_one_forward_pass, set_up, tear_down),
        cmocka_unit_test(models_of_users_run_in_batches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
