/*
 * Streams: order, failures, repeated photos, one photo. Batches: a stream decodes the next photos while a
 * batch computes, photos of a batch are computed by one forward pass, and models that users bring (ONNX with
 * a dynamic batch) give the same in a batch as alone.
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
#include "unit/feed.h"
#include "unit/tiny_diagnoser.h"

#define PHOTOS 12u
#define BATCH  2u

/* The feed's first photos through a diagnoser of their own, in batches of `batch`. */
struct run {
    cs_diagnoser *diagnoser;
    size_t batch;
    struct feed feed;
};

static void run_begin(struct run *run, size_t batch)
{
    memset(run, 0, sizeof *run);
    run->batch = batch;
    run->feed.missing = run->feed.cut = run->feed.named = FEED_NOTHING;
    run->diagnoser = create_tiny();
    for (uint32_t i = 0; i < PHOTOS; i++)
        run->feed.photos[i] = draw_photo(i + 1, 160, 120, CS_FORMAT_JPEG);
}

static void run_end(struct run *run)
{
    for (size_t i = 0; i < PHOTOS; i++)
        cs_blob_destroy(&run->feed.photos[i]);
    cs_diagnoser_destroy(run->diagnoser);
}

static void *run_stream(void *context)
{
    struct run *run = context;
    struct cs_stream stream = feed_stream(&run->feed, PHOTOS, run->batch);

    stream.request = cs_request_defaults();
    stream.request.no_cache = true;
    return cs_diagnose_stream(run->diagnoser, &stream, NULL) == CS_OK ? run : NULL;
}

/* The first batch cannot compute while the test holds the turn; photos far behind it are decoded meanwhile.
 */
static void decoding_goes_on_while_a_batch_computes(void **state)
{
    static const struct timespec pause = {0, 2000000};
    static struct run run;
    cs_model *model;
    pthread_t thread;
    void *result;

    (void)state;
    run_begin(&run, BATCH);
    model = cs_diagnoser_model(run.diagnoser);
    (void)csi_turns_enter(&model->compute->turns, CSI_TURN_TOGETHER);
    assert_int_equal(pthread_create(&thread, NULL, run_stream, &run), 0);
    for (unsigned i = 0; i < 10000 && atomic_load(&run.feed.given_back) < 3 * BATCH; i++)
        nanosleep(&pause, NULL);
    assert_true(atomic_load(&run.feed.given_back) >= 3 * BATCH);
    assert_int_equal(atomic_load(&run.feed.delivered), 0);
    csi_turns_leave(&model->compute->turns, false);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_non_null(result);
    assert_int_equal(atomic_load(&run.feed.delivered), PHOTOS);
    cs_model_destroy(model);
    run_end(&run);
}

/* Each photo of a batch is told the same share of the same pass, to the last bit. */
static void a_batch_is_one_forward_pass(void **state)
{
    static struct run alone, together;
    unsigned shared = 0;

    (void)state;
    run_begin(&alone, 1);
    assert_non_null(run_stream(&alone));
    run_begin(&together, 4);
    assert_non_null(run_stream(&together));
    for (size_t i = 0; i < PHOTOS; i++) {
        for (size_t c = 0; c < TINY_CLASSES; c++)
            assert_true(fabsf(alone.feed.logits[i][c] - together.feed.logits[i][c]) < 1e-4f);
        shared += i > 0 && together.feed.inference_ms[i] == together.feed.inference_ms[i - 1];
    }
    assert_int_equal(shared, PHOTOS - PHOTOS / 4); /* three of each four go along with the one before */
    run_end(&alone);
    run_end(&together);
}

static void streams_keep_order_and_go_on(void **state)
{
    static struct feed feed = {.missing = 7, .cut = 11, .named = 3};
    float first[FEED_PHOTOS][TINY_CLASSES];

    (void)state;
    for (uint32_t i = 0; i < FEED_PHOTOS; i++)
        feed.photos[i] = draw_photo(100 + i, 120 + i, 90, i % 2 == 0 ? CS_FORMAT_JPEG : CS_FORMAT_PNG);
    for (size_t batch = 0; batch <= 8; batch += 4) {
        for (int cached = 0; cached < 2; cached++) {
            cs_diagnoser *diagnoser = create_tiny();
            struct cs_stream stream = feed_stream(&feed, FEED_PHOTOS, batch);

            stream.request.no_cache = cached == 0;
            feed_start(&feed, 0);
            assert_int_equal(cs_diagnose_stream(diagnoser, &stream, NULL), CS_OK);
            assert_int_equal(atomic_load(&feed.delivered), FEED_PHOTOS);
            assert_int_equal(feed.good, FEED_PHOTOS - 2);
            assert_int_equal(feed.bad, 2);
            assert_all_given_back(&feed);
            if (batch == 0 && cached == 0)
                memcpy(first, feed.logits, sizeof first);
            for (unsigned i = 0; i < FEED_PHOTOS; i++)
                for (size_t c = 0; c < TINY_CLASSES; c++)
                    assert_near((double)first[i][c], (double)feed.logits[i][c], 1e-4);
            if (cached == 1) { /* once more: all from the cache */
                struct cs_cache_stats before, after;

                cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &before);
                assert_int_equal(before.misses, FEED_PHOTOS - 1); /* the cut photo's too */
                feed_start(&feed, 0);
                assert_int_equal(cs_diagnose_stream(diagnoser, &stream, NULL), CS_OK);
                cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &after);
                assert_int_equal(after.hits - before.hits, FEED_PHOTOS - 2);
            }
            feed_start(&feed, 5);
            assert_int_equal(cs_diagnose_stream(diagnoser, &stream, NULL), CS_OK);
            assert_int_equal(atomic_load(&feed.delivered), 5);
            assert_all_given_back(&feed);
            stream.count = 0;
            assert_int_equal(cs_diagnose_stream(diagnoser, &stream, NULL), CS_OK);
            stream.done = NULL;
            assert_int_equal(cs_diagnose_stream(diagnoser, &stream, NULL), CS_BAD_REQUEST);
            cs_diagnoser_destroy(diagnoser);
        }
    }
    for (unsigned i = 0; i < FEED_PHOTOS; i++)
        cs_blob_destroy(&feed.photos[i]);
}

/* Three photos again and again: each is computed once, and the counters add up. */
static void repeated_photos_of_a_stream_are_computed_once(void **state)
{
    static struct feed feed = {.missing = 7, .cut = 11, .named = 3};
    struct cs_blob photos[3];

    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        photos[i] = draw_photo(300 + i, 130, 90, CS_FORMAT_JPEG);
    for (unsigned i = 0; i < FEED_PHOTOS; i++)
        feed.photos[i] = photos[i % 3];
    feed.photos[11] = photos[0]; /* its beginning is what the feed hands out: a fourth, damaged one */
    for (size_t batch = 0; batch <= 6; batch += 2) {
        cs_diagnoser *diagnoser = create_tiny();
        struct cs_cache_stats stats;
        struct cs_stream stream = feed_stream(&feed, FEED_PHOTOS, batch);

        feed_start(&feed, 0);
        assert_int_equal(cs_diagnose_stream(diagnoser, &stream, NULL), CS_OK);
        assert_int_equal(feed.good, FEED_PHOTOS - 2);
        assert_all_given_back(&feed);
        for (unsigned i = 3; i < FEED_PHOTOS; i++)
            if (i != feed.missing && i != feed.cut)
                assert_memory_equal(feed.logits[i], feed.logits[i % 3], sizeof feed.logits[i]);
        cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &stats);
        assert_int_equal(stats.misses, 4);
        assert_int_equal(stats.hits + stats.coalesced, FEED_PHOTOS - 1 - 4);
        cs_diagnoser_cache_clear(diagnoser, CS_CACHE_PREDICTION, NULL);
        feed_start(&feed, 2);
        assert_int_equal(cs_diagnose_stream(diagnoser, &stream, NULL), CS_OK);
        assert_all_given_back(&feed);
        cs_diagnoser_destroy(diagnoser);
    }
    for (int i = 0; i < 3; i++)
        cs_blob_destroy(&photos[i]);
}

/* One photo has all cores, whatever the batch, and gets what a request is told. */
static void one_photo_is_a_request(void **state)
{
    static struct feed feed = {.missing = FEED_NOTHING, .cut = FEED_NOTHING, .named = FEED_NOTHING};
    cs_diagnoser *diagnoser = create_tiny();
    cs_diagnosis *diagnosis;
    struct cs_request request = cs_request_defaults();

    (void)state;
    feed.photos[0] = draw_photo(77, 1500, 1100, CS_FORMAT_PNG); /* hashed and resampled beside its decoding */
    request.no_cache = true;
    diagnosis = diagnose(diagnoser, &feed.photos[0], &request);
    for (size_t batch = 0; batch <= 2; batch++) {
        struct cs_stream stream = feed_stream(&feed, 1, batch);

        stream.request.no_cache = true;
        feed_start(&feed, 0);
        memset(feed.logits[0], 0, sizeof feed.logits[0]);
        assert_int_equal(cs_diagnose_stream(diagnoser, &stream, NULL), CS_OK);
        assert_int_equal(feed.good, 1);
        assert_all_given_back(&feed);
        for (size_t c = 0; c < TINY_CLASSES; c++)
            assert_near((double)feed.logits[0][c], (double)diagnosis->logits[c], 1e-4);
    }
    cs_diagnosis_destroy(diagnosis);
    cs_blob_destroy(&feed.photos[0]);
    cs_diagnoser_destroy(diagnoser);
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
        "opset9.onnx",          "opset13.onnx",        "old_fashioned.onnx",
        "resnet18.onnx",        "mobilenet_v2.onnx",   "mobilenet_v3_small.onnx",
        "efficientnet_b0.onnx", "quantised.onnx",      "plain.pth",
        "resnet50.pth",         "efficientnet_b0.pth", "traced.pt",
        "mobilenet_v3_large.pt"};

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
        cmocka_unit_test_setup_teardown(streams_keep_order_and_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repeated_photos_of_a_stream_are_computed_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_photo_is_a_request, set_up, tear_down),
        cmocka_unit_test(models_of_users_run_in_batches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
