/*
 * The pipeline as users meet it, over the public header: diagnosis, caches, heat maps, restart, cases. Many
 * callers at once and replaced models: test_diagnoser_load.c; streams: test_streams.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cropshield/cropshield.h>

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit/tiny_diagnoser.h"

/* The whole call gives what the public steps give one by one. */
static void the_call_equals_the_steps(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(1, 1000, 700, CS_FORMAT_JPEG);
    struct cs_request request = cs_request_defaults();
    cs_model *model = cs_diagnoser_model(diagnoser);
    struct cs_model_info info = cs_model_info(model);
    cs_session *session;
    cs_diagnosis *diagnosis;
    cs_image *display;
    float *input = malloc(3 * sizeof(float) * info.input_size * info.input_size), probabilities[TINY_CLASSES];
    unsigned char id[32];
    char hex[65];
    double sum = 0;

    (void)state;
    request.top_k = 100;
    request.name = "leaf \"1\".jpg";
    diagnosis = diagnose(diagnoser, &photo, &request);
    assert_int_equal(
        cs_image_decode_display(photo.bytes, photo.size, NULL, CS_DECODE_FAST, 800, &display, NULL, NULL),
        CS_OK);
    assert_int_equal(cs_preprocess(model, display, input, NULL), CS_OK);
    assert_int_equal(cs_session_create(model, &session, NULL), CS_OK);
    assert_null(cs_session_logits(session));
    assert_int_equal(cs_session_forward(session, input, 1, NULL), CS_OK);
    cs_probabilities(model, cs_session_logits(session), probabilities);
    assert_int_equal(diagnosis->class_count, TINY_CLASSES);
    assert_int_equal(diagnosis->prediction_count, TINY_CLASSES);
    for (size_t i = 0; i < TINY_CLASSES; i++) {
        const struct cs_prediction *prediction = &diagnosis->predictions[i];

        assert_near((double)diagnosis->logits[i], (double)cs_session_logits(session)[i], 1e-4);
        assert_near(prediction->probability, (double)probabilities[prediction->index], 1e-5);
        assert_true(i == 0 || prediction->probability <= diagnosis->predictions[i - 1].probability);
        assert_string_equal(prediction->class_name, info.classes[prediction->index]);
        assert_string_equal(prediction->label, info.labels[prediction->index]);
        assert_int_equal(prediction->tested, prediction->index != 2);
        sum += prediction->probability;
    }
    assert_near(sum, 1, 1e-6);
    crypto_generichash(id, sizeof id, photo.bytes, photo.size, NULL, 0);
    sodium_bin2hex(hex, sizeof hex, id, sizeof id);
    assert_string_equal(diagnosis->id, hex);
    assert_string_equal(diagnosis->name, "leaf \"1\".jpg");
    assert_int_equal(diagnosis->format, CS_FORMAT_JPEG);
    assert_int_equal(diagnosis->width, 1000);
    assert_int_equal(diagnosis->display_width, cs_image_width(display));
    assert_int_equal(diagnosis->display_height, 560);
    assert_true(isnan(diagnosis->leaf_score));
    assert_true(diagnosis->verdict != CS_VERDICT_NOT_A_LEAF);
    assert_true(diagnosis->timings.decode > 0 && diagnosis->timings.inference > 0);
    assert_true(diagnosis->timings.total >= diagnosis->timings.inference);
    cs_diagnoser_destroy(diagnoser); /* the diagnosis keeps what it points to */
    assert_string_equal(diagnosis->predictions[0].class_name, info.classes[diagnosis->predictions[0].index]);
    cs_diagnosis_destroy(diagnosis);
    cs_session_destroy(session);
    cs_model_destroy(model);
    cs_image_destroy(display);
    cs_blob_destroy(&photo);
    free(input);
}

static const char *text_of(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void json_says_the_same(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(2, 300, 200, CS_FORMAT_PNG), json;
    struct cs_request request = cs_request_defaults();
    cs_diagnosis *diagnosis;
    json_t *root, *image, *first, *timings;

    (void)state;
    request.name = "bl\xc3\xa4tt\t\"x\" \xff\xc3.png"; /* the last two bytes are no UTF-8 */
    request.top_k = 2;
    diagnosis = diagnose(diagnoser, &photo, &request);
    assert_int_equal(cs_diagnosis_json(diagnosis, &json, NULL), CS_OK);
    assert_int_equal(json.bytes[json.size], 0);
    assert_null(strchr((char *)json.bytes, '\n'));
    root = json_loadb((char *)json.bytes, json.size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_string_equal(text_of(root, "id"), diagnosis->id);
    image = json_object_get(root, "image");
    assert_string_equal(text_of(image, "name"), "bl\xc3\xa4tt\t\"x\" \xef\xbf\xbd\xef\xbf\xbd.png");
    assert_string_equal(text_of(image, "format"), "png");
    assert_int_equal(json_integer_value(json_object_get(image, "bytes")), photo.size);
    assert_int_equal(json_integer_value(json_object_get(image, "width")), 300);
    assert_int_equal(json_integer_value(json_object_get(image, "display_height")), 200);
    assert_string_equal(text_of(root, "verdict"), cs_verdict_name(diagnosis->verdict));
    assert_int_equal(json_array_size(json_object_get(root, "predictions")), 2);
    first = json_array_get(json_object_get(root, "predictions"), 0);
    assert_int_equal(json_integer_value(json_object_get(first, "index")), diagnosis->predictions[0].index);
    assert_string_equal(text_of(first, "class"), diagnosis->predictions[0].class_name);
    assert_near(json_number_value(json_object_get(first, "probability")),
                diagnosis->predictions[0].probability, 1e-6);
    assert_string_equal(text_of(json_object_get(root, "model"), "digest"), diagnosis->model_digest);
    assert_string_equal(text_of(json_object_get(root, "model"), "precision"), "fp32");
    assert_string_equal(text_of(json_object_get(root, "cache"), "prediction"), "miss");
    assert_string_equal(text_of(json_object_get(root, "cache"), "gradcam"), "off");
    timings = json_object_get(root, "timings_ms");
    assert_int_equal(json_object_size(timings), 6);
    assert_near(json_number_value(json_object_get(timings, "total")), diagnosis->timings.total, 0.001);
    assert_null(json_object_get(root, "hints"));
    assert_null(json_object_get(root, "leaf_score"));
    json_decref(root);
    cs_blob_destroy(&json);
    cs_diagnosis_destroy(diagnosis);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

static void the_second_time_is_a_hit(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(3, 640, 480, CS_FORMAT_JPEG);
    struct cs_request request = cs_request_defaults();
    struct cs_cache_stats stats;
    cs_diagnosis *first = diagnose(diagnoser, &photo, NULL), *second = diagnose(diagnoser, &photo, NULL),
                 *third;

    (void)state;
    assert_int_equal(first->prediction_cache, CS_CACHE_MISS);
    assert_int_equal(second->prediction_cache, CS_CACHE_HIT);
    assert_memory_equal(first->logits, second->logits, TINY_CLASSES * sizeof(float));
    assert_int_equal(second->width, 640);
    assert_true(second->timings.decode == 0 && second->timings.inference == 0 && second->timings.total > 0);
    request.no_cache = true;
    third = diagnose(diagnoser, &photo, &request);
    assert_int_equal(third->prediction_cache, CS_CACHE_OFF);
    assert_true(third->timings.inference > 0);
    assert_adds_up(diagnoser, CS_CACHE_PREDICTION, 2);
    assert_int_equal(cs_diagnoser_cache_clear(diagnoser, CS_CACHE_PREDICTION, NULL), CS_OK);
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &stats);
    assert_int_equal(stats.entries, 0);
    cs_diagnosis_destroy(third);
    third = diagnose(diagnoser, &photo, NULL);
    assert_int_equal(third->prediction_cache, CS_CACHE_MISS);
    cs_diagnosis_destroy(first);
    cs_diagnosis_destroy(second);
    cs_diagnosis_destroy(third);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

static void bad_photos_are_told_apart(void **state)
{
    struct cs_diagnoser_options options = tiny_options();
    struct cs_blob photo = draw_photo(4, 320, 240, CS_FORMAT_JPEG);
    struct cs_request request = cs_request_defaults();
    cs_diagnoser *diagnoser;
    cs_diagnosis *diagnosis = (cs_diagnosis *)(void *)&photo;
    struct cs_error error;

    (void)state;
    options.limits.max_bytes = 1 << 20;
    options.limits.max_side = 300;
    diagnoser = create(&options);
    assert_int_equal(cs_diagnose(diagnoser, "", 0, NULL, &diagnosis, &error), CS_EMPTY_INPUT);
    assert_null(diagnosis);
    assert_int_equal(cs_diagnose(diagnoser, "no photo at all", 15, NULL, &diagnosis, &error),
                     CS_UNSUPPORTED_FORMAT);
    assert_int_equal(cs_diagnose(diagnoser, photo.bytes, (1 << 20) + 1, NULL, &diagnosis, &error),
                     CS_IMAGE_TOO_LARGE);
    assert_int_equal(cs_diagnose(diagnoser, photo.bytes, photo.size, NULL, &diagnosis, &error),
                     CS_IMAGE_TOO_LARGE);
    assert_true(strlen(error.message) > 0);
    request.alpha = 2;
    assert_int_equal(cs_diagnose(diagnoser, photo.bytes, photo.size, &request, &diagnosis, &error),
                     CS_BAD_REQUEST);
    request.alpha = (float)NAN;
    assert_int_equal(cs_diagnose(diagnoser, photo.bytes, photo.size, &request, &diagnosis, NULL),
                     CS_BAD_REQUEST);
    cs_diagnoser_destroy(diagnoser);
    options.limits = cs_limits_defaults();
    diagnoser = create(&options);
    assert_int_equal(cs_diagnose(diagnoser, photo.bytes, 200, NULL, &diagnosis, &error), CS_CORRUPT_IMAGE);
    assert_adds_up(diagnoser, CS_CACHE_PREDICTION, 1);
    cs_diagnoser_destroy(diagnoser);
    cs_blob_destroy(&photo);
}

/* Replaces the tiny model by one whose first two convolutions overflow float32: all of it finite numbers. */
static void write_overflowing_model(void)
{
    size_t size, first = (size_t)8 * 3 * 9, second = (size_t)8 * 8 * 9, norm = 4 * 8;
    uint8_t *bytes = tiny_model_bytes(1, "", &size), *data = bytes + 8;

    for (size_t i = 0; i < 8; i++)
        data += (size_t)bytes[i] << (8 * i);
    for (size_t i = 0; i < first + norm + second; i++) {
        float weight;

        memcpy(&weight, data + i * sizeof weight, sizeof weight);
        weight = weight < 0 ? -1e30f : 1e30f;
        if (i < first || i >= first + norm)
            memcpy(data + i * sizeof weight, &weight, sizeof weight);
    }
    assert_true(tiny_write(model_path, bytes, size));
    free(bytes);
}

static enum cs_status photo_again(void *context, size_t index, const void **bytes, size_t *size,
                                  const char **name, struct cs_error *error)
{
    const struct cs_blob *photo = context;

    (void)index;
    (void)error;
    *bytes = photo->bytes;
    *size = photo->size;
    *name = NULL;
    return CS_OK;
}

static bool fails_as_overflowing(void *context, size_t index, const cs_diagnosis *diagnosis,
                                 const struct cs_error *failure)
{
    (void)context;
    (void)index;
    assert_null(diagnosis);
    assert_int_equal(failure->status, CS_MODEL_INVALID);
    return true;
}

/* No diagnosis comes of a network whose outputs are no numbers, by no way and on no instruction set, and
 * nothing of it is kept. */
static void outputs_that_are_no_numbers_are_refused(void **state)
{
    static const char *const masks[] = {"generic", "avx2", "neon", "all"};
    struct cs_blob photo = draw_photo(4, 320, 240, CS_FORMAT_JPEG), map;
    const struct cs_heatmap_request layer = {.class_index = 1, .method = CS_CAM_LAYERCAM};

    (void)state;
    write_overflowing_model();
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        struct cs_diagnoser_options options = tiny_options();
        struct cs_stream stream = {
            .count = 3, .load = photo_again, .done = fails_as_overflowing, .context = &photo};
        cs_diagnoser *diagnoser;
        cs_diagnosis *diagnosis;
        cs_model *model;
        cs_session *session;
        struct cs_cache_stats stats;
        struct cs_error error = {0};
        unsigned char hash[32];
        char id[65];
        float *input;

        options.model.cpu_mask = masks[i];
        options.model.max_batch = 2;
        options.cache_path = cache_path;
        diagnoser = create(&options);
        assert_int_equal(cs_diagnose(diagnoser, photo.bytes, photo.size, NULL, &diagnosis, &error),
                         CS_MODEL_INVALID);
        assert_null(diagnosis);
        assert_non_null(strstr(error.message, "outputs are no finite numbers"));
        for (stream.batch = 1; stream.batch <= 2; stream.batch++)
            assert_int_equal(cs_diagnose_stream(diagnoser, &stream, NULL), CS_OK);
        cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &stats);
        assert_int_equal(stats.entries, 0);
        assert_int_equal(stats.disk_entries, 0);
        crypto_generichash(hash, sizeof hash, photo.bytes, photo.size, NULL, 0);
        sodium_bin2hex(id, sizeof id, hash, sizeof hash);
        assert_int_equal(cs_diagnoser_heatmap(diagnoser, id, &layer, &map, NULL, NULL, &error),
                         CS_MODEL_INVALID);
        model = cs_diagnoser_model(diagnoser);
        input = calloc(3 * 64 * 64, sizeof *input);
        input[64 * 32 + 32] = 1;
        assert_int_equal(cs_session_create(model, &session, NULL), CS_OK);
        assert_int_equal(cs_session_forward(session, input, 1, &error), CS_MODEL_INVALID);
        assert_null(cs_session_logits(session));
        cs_session_destroy(session);
        cs_model_destroy(model);
        cs_diagnoser_destroy(diagnoser);
        free(input);
    }
    cs_blob_destroy(&photo);
}

static void bad_options_are_refused(void **state)
{
    struct cs_diagnoser_options options;
    struct cs_gpu_info gpu;
    cs_diagnoser *diagnoser;
    struct cs_error error;

    (void)state;
    options = tiny_options();
    options.model.path = "/nowhere/model.safetensors";
    assert_int_equal(cs_diagnoser_create(&options, &diagnoser, &error), CS_NOT_FOUND);
    assert_null(diagnoser);
    assert_non_null(strstr(error.message, "/nowhere/model.safetensors"));
    options = tiny_options();
    options.model.cpu_mask = "quantum";
    assert_int_equal(cs_diagnoser_create(&options, &diagnoser, &error), CS_BAD_REQUEST);
    options = tiny_options();
    options.model.device = CS_DEVICE_CUDA;
    options.model.device_index = 63; /* on no machine of ours */
    assert_int_equal(cs_diagnoser_create(&options, &diagnoser, &error), CS_MODEL_UNSUPPORTED);
    assert_non_null(strstr(error.message, "cuda"));
    options.model.device_index = -1;
    assert_int_equal(cs_diagnoser_create(&options, &diagnoser, &error), CS_BAD_REQUEST);
    options.model.device = CS_DEVICE_CPU;
    options.model.device_index = 0;
    options.model.precision = CS_PRECISION_BF16;
    assert_int_equal(cs_diagnoser_create(&options, &diagnoser, &error), CS_MODEL_UNSUPPORTED);
    assert_non_null(strstr(error.message, "need device cuda"));
    assert_int_equal(cs_gpu_info(-1, &gpu, &error), CS_BAD_REQUEST);
    assert_int_not_equal(cs_gpu_info(63, &gpu, &error), CS_OK);
    assert_string_equal(gpu.name, "");
    options = tiny_options();
    options.max_size = 100000;
    assert_int_equal(cs_diagnoser_create(&options, &diagnoser, &error), CS_BAD_REQUEST);
    options = tiny_options();
    options.cache_ttl_s = -1;
    assert_int_equal(cs_diagnoser_create(&options, &diagnoser, &error), CS_BAD_REQUEST);
    options = tiny_options();
    options.model.preprocess.std_dev[1] = 1;
    options.model.preprocess.has_std = true; /* 0 for the others */
    assert_int_equal(cs_diagnoser_create(&options, &diagnoser, &error), CS_BAD_REQUEST);
    cs_diagnoser_destroy(NULL);
    cs_diagnosis_destroy(NULL);
    cs_model_destroy(NULL);
    cs_session_destroy(NULL);
}

/* Size of an encoded image; fails the test when it cannot be decoded. */
static void assert_image(const struct cs_blob *blob, enum cs_image_format format, uint32_t width,
                         uint32_t height)
{
    struct cs_image_info info;

    assert_int_equal(cs_image_probe(blob->bytes, blob->size, NULL, &info, NULL), CS_OK);
    assert_int_equal(info.format, format);
    assert_int_equal(info.width, width);
    assert_int_equal(info.height, height);
}

static void heat_maps_by_id(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(6, 1200, 900, CS_FORMAT_JPEG), image;
    struct cs_heatmap_request request = cs_heatmap_request_defaults();
    cs_diagnosis *diagnosis = diagnose(diagnoser, &photo, NULL);
    enum cs_cache_result result;
    struct cs_cache_stats stats;
    char unknown[CS_ID_SIZE];
    double ms;

    (void)state;
    for (int format = CS_FORMAT_UNKNOWN; format <= CS_FORMAT_WEBP; format++) {
        request.format = (enum cs_image_format)format;
        assert_int_equal(cs_diagnoser_heatmap(diagnoser, diagnosis->id, &request, &image, &result, &ms, NULL),
                         CS_OK);
        assert_int_equal(result,
                         format == CS_FORMAT_PNG ? CS_CACHE_HIT : CS_CACHE_MISS); /* unknown means PNG */
        assert_image(&image, format == CS_FORMAT_UNKNOWN ? CS_FORMAT_PNG : (enum cs_image_format)format, 800,
                     600);
        cs_blob_destroy(&image);
    }
    request = cs_heatmap_request_defaults();
    for (size_t class_index = 0; class_index < TINY_CLASSES; class_index++) {
        request.class_index = class_index;
        assert_int_equal(
            cs_diagnoser_heatmap(diagnoser, diagnosis->id, &request, &image, &result, NULL, NULL), CS_OK);
        assert_int_equal(result,
                         class_index == diagnosis->predictions[0].index ? CS_CACHE_HIT : CS_CACHE_MISS);
        cs_blob_destroy(&image);
    }
    assert_int_equal(cs_diagnoser_display(diagnoser, diagnosis->id, CS_FORMAT_WEBP, &image, NULL), CS_OK);
    assert_image(&image, CS_FORMAT_WEBP, 800, 600);
    cs_blob_destroy(&image);
    request.class_index = TINY_CLASSES;
    assert_int_equal(cs_diagnoser_heatmap(diagnoser, diagnosis->id, &request, &image, NULL, NULL, NULL),
                     CS_BAD_REQUEST);
    assert_null(image.bytes);
    request = cs_heatmap_request_defaults();
    memset(unknown, 'a', 64);
    unknown[64] = '\0';
    assert_int_equal(cs_diagnoser_heatmap(diagnoser, unknown, &request, &image, NULL, NULL, NULL),
                     CS_NOT_FOUND);
    assert_int_equal(cs_diagnoser_display(diagnoser, unknown, CS_FORMAT_PNG, &image, NULL), CS_NOT_FOUND);
    assert_int_equal(cs_diagnoser_heatmap(diagnoser, "../etc", &request, &image, NULL, NULL, NULL),
                     CS_BAD_REQUEST);
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_GRADCAM, &stats);
    assert_true(stats.hits >= 2 && stats.misses >= 5);
    cs_diagnosis_destroy(diagnosis);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

/* The kept maps, the closed form and autograd's way of the engine agree. */
static void maps_as_numbers_agree(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(7, 500, 400, CS_FORMAT_PNG), kept, fresh;
    cs_diagnosis *diagnosis = diagnose(diagnoser, &photo, NULL);
    cs_model *model = cs_diagnoser_model(diagnoser);
    cs_session *session;
    cs_image *display;
    uint32_t width, height;
    float *input, map[64];

    (void)state;
    assert_int_equal(cs_image_decode(photo.bytes, photo.size, NULL, &display, NULL, NULL), CS_OK);
    input = malloc(3 * sizeof(float) * 64 * 64);
    assert_int_equal(cs_preprocess(model, display, input, NULL), CS_OK);
    assert_int_equal(cs_session_create(model, &session, NULL), CS_OK);
    assert_int_equal(cs_session_forward(session, input, 1, NULL), CS_OK);
    for (size_t c = 0; c < TINY_CLASSES; c++) {
        float highest = 0;

        assert_int_equal(
            cs_diagnoser_map(diagnoser, diagnosis->id, c, CS_CAM_GRADCAM, &kept, &width, &height, NULL),
            CS_OK);
        assert_int_equal(kept.size, (size_t)width * height * sizeof(float));
        assert_true((size_t)width * height <= 64);
        assert_int_equal(cs_session_map(session, 0, c, CS_CAM_GRADCAM, map, NULL), CS_OK);
        for (size_t i = 0; i < (size_t)width * height; i++) {
            float value;

            memcpy(&value, kept.bytes + i * sizeof value, sizeof value);
            assert_near((double)value, (double)map[i], 1e-4);
            highest = value > highest ? value : highest;
        }
        assert_true(highest == 0 || highest > 0.999f);
        cs_blob_destroy(&kept);
    }
    for (int method = CS_CAM_GRADCAM_PLUS_PLUS; method <= CS_CAM_EIGENCAM; method++) {
        assert_int_equal(cs_diagnoser_map(diagnoser, diagnosis->id, SIZE_MAX, (enum cs_cam_method)method,
                                          &fresh, &width, &height, NULL),
                         CS_OK);
        cs_blob_destroy(&fresh);
    }
    assert_int_equal(cs_session_map(session, 1, 0, CS_CAM_GRADCAM, map, NULL), CS_BAD_REQUEST);
    assert_int_equal(cs_session_map(session, 0, TINY_CLASSES, CS_CAM_GRADCAM, map, NULL), CS_BAD_REQUEST);
    assert_int_equal(cs_session_forward(session, input, 0, NULL), CS_BAD_REQUEST);
    assert_int_equal(cs_session_forward(session, input, 9, NULL), CS_BAD_REQUEST);
    free(input);
    cs_session_destroy(session);
    cs_image_destroy(display);
    cs_model_destroy(model);
    cs_diagnosis_destroy(diagnosis);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

/* Sending a photo is always enough for asking for its heat map, also when the display image was pushed out.
 */
static void a_photo_sent_again_has_its_heat_map_again(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(8, 400, 300, CS_FORMAT_JPEG), image;
    cs_diagnosis *diagnosis = diagnose(diagnoser, &photo, NULL);
    char id[CS_ID_SIZE];

    (void)state;
    memcpy(id, diagnosis->id, sizeof id);
    assert_int_equal(cs_diagnoser_cache_clear(diagnoser, CS_CACHE_GRADCAM, NULL), CS_OK);
    assert_int_equal(cs_diagnoser_heatmap(diagnoser, id, NULL, &image, NULL, NULL, NULL), CS_NOT_FOUND);
    cs_diagnosis_destroy(diagnosis);
    diagnosis = diagnose(diagnoser, &photo, NULL);
    assert_int_equal(diagnosis->prediction_cache, CS_CACHE_HIT);
    assert_int_equal(cs_diagnoser_heatmap(diagnoser, id, NULL, &image, NULL, NULL, NULL), CS_OK);
    cs_blob_destroy(&image);
    /* The other way round: the prediction has gone, the photo is kept. */
    assert_int_equal(cs_diagnoser_cache_clear(diagnoser, CS_CACHE_PREDICTION, NULL), CS_OK);
    assert_int_equal(cs_diagnoser_heatmap(diagnoser, id, NULL, &image, NULL, NULL, NULL), CS_OK);
    cs_blob_destroy(&image);
    cs_diagnosis_destroy(diagnosis);
    diagnosis = diagnose(diagnoser, &photo, NULL);
    assert_int_equal(diagnosis->prediction_cache, CS_CACHE_HIT); /* kept again on the way */
    assert_int_equal(diagnosis->width, 400);
    cs_diagnosis_destroy(diagnosis);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

static void a_prepared_heat_map_is_a_hit_later(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(9, 400, 300, CS_FORMAT_JPEG), image;
    struct cs_request request = cs_request_defaults();
    enum cs_cache_result result;
    cs_diagnosis *diagnosis;

    (void)state;
    request.gradcam = true;
    diagnosis = diagnose(diagnoser, &photo, &request);
    assert_int_equal(diagnosis->gradcam_cache, CS_CACHE_MISS);
    assert_true(diagnosis->timings.gradcam > 0);
    assert_int_equal(cs_diagnoser_heatmap(diagnoser, diagnosis->id, NULL, &image, &result, NULL, NULL),
                     CS_OK);
    assert_int_equal(result, CS_CACHE_HIT);
    cs_blob_destroy(&image);
    cs_diagnosis_destroy(diagnosis);
    diagnosis = diagnose(diagnoser, &photo, &request);
    assert_int_equal(diagnosis->gradcam_cache, CS_CACHE_HIT);
    cs_diagnosis_destroy(diagnosis);
    request.no_cache = true;
    diagnosis = diagnose(diagnoser, &photo, &request);
    assert_int_equal(diagnosis->gradcam_cache, CS_CACHE_OFF);
    cs_diagnosis_destroy(diagnosis);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

static void both_caches_off(void **state)
{
    struct cs_diagnoser_options options = tiny_options();
    struct cs_blob photo = draw_photo(10, 400, 300, CS_FORMAT_JPEG), image;
    struct cs_request request = cs_request_defaults();
    struct cs_error error = {CS_OK, ""};
    struct cs_cache_stats stats;
    cs_diagnoser *diagnoser;
    cs_diagnosis *diagnosis;

    (void)state;
    options.prediction_cache_bytes = options.gradcam_cache_bytes = 0;
    diagnoser = create(&options);
    request.gradcam = true;
    for (int i = 0; i < 2; i++) {
        diagnosis = diagnose(diagnoser, &photo, &request);
        assert_int_equal(diagnosis->prediction_cache, CS_CACHE_OFF);
        assert_int_equal(diagnosis->gradcam_cache, CS_CACHE_OFF);
        assert_int_equal(cs_diagnoser_heatmap(diagnoser, diagnosis->id, NULL, &image, NULL, NULL, &error),
                         CS_NOT_FOUND);
        assert_non_null(strstr(error.message, "is off")); /* sending it again would not help */
        cs_diagnosis_destroy(diagnosis);
    }
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &stats);
    assert_false(stats.enabled);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

static void caches_survive_a_restart(void **state)
{
    struct cs_diagnoser_options options = tiny_options();
    struct cs_blob photo = draw_photo(11, 900, 600, CS_FORMAT_JPEG), image;
    char path[sizeof cache_path];
    enum cs_cache_result result;
    struct cs_cache_stats stats;
    cs_diagnoser *diagnoser;
    cs_diagnosis *diagnosis;

    (void)state;
    memcpy(path, cache_path, sizeof path);
    for (int round = 0; round < 2; round++) {
        options.cache_path = path;
        diagnoser = create(&options);
        memset(path, 'x', 4); /* the diagnoser owns its strings */
        memcpy(path, cache_path, sizeof path);
        if (round == 1) { /* by id alone, before the photo is sent again */
            assert_int_equal(
                cs_diagnoser_heatmap(diagnoser, diagnosis->id, NULL, &image, &result, NULL, NULL), CS_OK);
            assert_int_equal(result, CS_CACHE_HIT);
            cs_blob_destroy(&image);
            cs_diagnosis_destroy(diagnosis);
        }
        diagnosis = diagnose(diagnoser, &photo, NULL);
        assert_int_equal(diagnosis->prediction_cache, round == 0 ? CS_CACHE_MISS : CS_CACHE_HIT);
        assert_int_equal(cs_diagnoser_heatmap(diagnoser, diagnosis->id, NULL, &image, &result, NULL, NULL),
                         CS_OK);
        assert_int_equal(result, round == 0 ? CS_CACHE_MISS : CS_CACHE_HIT);
        cs_blob_destroy(&image);
        if (round == 1) {
            cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &stats);
            assert_int_equal(stats.misses, 0);
            assert_true(stats.disk_entries == 1 && stats.disk_bytes > 0 && stats.disk_errors == 0);
            tiny_model_write(model_path, 2); /* another model: nothing of the old one may be served */
            assert_int_equal(cs_diagnoser_reload(diagnoser, NULL), CS_OK);
            cs_diagnosis_destroy(diagnosis);
            diagnosis = diagnose(diagnoser, &photo, NULL);
            assert_int_equal(diagnosis->prediction_cache, CS_CACHE_MISS);
            cs_diagnosis_destroy(diagnosis);
        }
        cs_diagnoser_destroy(diagnoser);
    }
    assert_int_equal(atomic_load(&warnings), 0);
    cs_blob_destroy(&photo);
}

/* Photos large enough to be hashed beside their decoding give what a second, hashed first, gives. */
static void large_photos_keep_their_ids(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(77, 1500, 1100, CS_FORMAT_PNG);
    unsigned char hash[32];
    char hex[CS_ID_SIZE];
    struct cs_error error;
    cs_diagnosis *first, *second;

    (void)state;
    assert_true(photo.size > 600000);
    first = diagnose(diagnoser, &photo, NULL);
    second = diagnose(diagnoser, &photo, NULL);
    assert_int_equal(first->prediction_cache, CS_CACHE_MISS);
    assert_int_equal(second->prediction_cache, CS_CACHE_HIT);
    crypto_generichash(hash, sizeof hash, photo.bytes, photo.size, NULL, 0);
    sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    assert_string_equal(first->id, hex);
    assert_string_equal(second->id, hex);
    cs_diagnosis_destroy(first);
    cs_diagnosis_destroy(second);
    photo.size -= 1000; /* damaged, new and large: the error comes from the early decoding */
    assert_int_equal(cs_diagnose(diagnoser, photo.bytes, photo.size, NULL, &first, &error), CS_CORRUPT_IMAGE);
    assert_int_equal(error.status, CS_CORRUPT_IMAGE);
    assert_true(error.message[0] != '\0');
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

static void a_case_is_the_mean_log_probability(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    cs_diagnosis *photos[CS_CASE_MAX + 1], *combined;
    double expected[TINY_CLASSES] = {0}, sum = 0, agreement;
    size_t agreeing = 0;
    struct cs_request request = cs_request_defaults();

    (void)state;
    request.top_k = TINY_CLASSES;
    for (uint32_t i = 0; i <= CS_CASE_MAX; i++) {
        struct cs_blob photo = draw_photo(200 + i * 3, 100, 100, CS_FORMAT_PNG);

        photos[i] = diagnose(diagnoser, &photo, &request);
        cs_blob_destroy(&photo);
    }
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < TINY_CLASSES; k++)
            expected[photos[i]->predictions[k].index] += log(photos[i]->predictions[k].probability) / 4;
    for (size_t c = 0; c < TINY_CLASSES; c++)
        sum += exp(expected[c]);
    assert_int_equal(cs_diagnose_case(diagnoser, (const cs_diagnosis *const *)photos, 4, TINY_CLASSES,
                                      &combined, &agreement, NULL),
                     CS_OK);
    for (size_t k = 0; k < TINY_CLASSES; k++)
        assert_near(combined->predictions[k].probability, exp(expected[combined->predictions[k].index]) / sum,
                    1e-4);
    for (size_t i = 0; i < 4; i++)
        agreeing += photos[i]->predictions[0].index == combined->predictions[0].index;
    assert_near(agreement, (double)agreeing / 4, 1e-9);
    assert_int_equal(strlen(combined->id), 64);
    assert_string_not_equal(combined->id, photos[0]->id);
    cs_diagnosis_destroy(combined);
    assert_int_equal(cs_diagnose_case(diagnoser, (const cs_diagnosis *const *)photos, CS_CASE_MAX + 1, 3,
                                      &combined, NULL, NULL),
                     CS_BAD_REQUEST);
    assert_null(combined);
    assert_int_equal(
        cs_diagnose_case(diagnoser, (const cs_diagnosis *const *)photos, 0, 3, &combined, NULL, NULL),
        CS_EMPTY_INPUT);
    for (uint32_t i = 0; i <= CS_CASE_MAX; i++)
        cs_diagnosis_destroy(photos[i]);
    cs_diagnoser_destroy(diagnoser);
}

/* With the plant told, its classes share what the others had; nothing is computed anew. */
static void a_known_plant_narrows_the_answer(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_request request = cs_request_defaults(), wheat = request;
    struct cs_blob photo = draw_photo(33, 100, 100, CS_FORMAT_PNG), json;
    cs_diagnosis *any, *photos[2], *combined;
    struct cs_error error;
    double tomato = 0;

    (void)state;
    request.top_k = TINY_CLASSES;
    any = diagnose(diagnoser, &photo, &request);
    assert_null(any->plant);
    request.plant = "tomato";
    request.gradcam = true;
    photos[0] = diagnose(diagnoser, &photo, &request);
    assert_string_equal(photos[0]->plant, "Tomato");
    assert_int_equal(photos[0]->prediction_cache, CS_CACHE_HIT);
    assert_int_equal(photos[0]->prediction_count, 2);
    for (size_t i = 0; i < any->prediction_count; i++)
        tomato +=
            strncmp(any->predictions[i].class_name, "Tomato__", 8) == 0 ? any->predictions[i].probability : 0;
    for (size_t i = 0; i < any->prediction_count; i++)
        for (size_t k = 0; k < 2; k++)
            if (photos[0]->predictions[k].index == any->predictions[i].index)
                assert_near(photos[0]->predictions[k].probability, any->predictions[i].probability / tomato,
                            1e-5);
    assert_int_equal(cs_diagnosis_json(photos[0], &json, NULL), CS_OK);
    assert_non_null(strstr((const char *)json.bytes, "\"plant\":\"Tomato\""));
    cs_blob_destroy(&json);

    wheat.plant = "WHEAT"; /* one class, and the heat map is of that one */
    wheat.gradcam = true;
    photos[1] = diagnose(diagnoser, &photo, &wheat);
    assert_int_equal(photos[1]->prediction_count, 1);
    assert_near(photos[1]->predictions[0].probability, 1, 0);
    for (size_t i = 0; i < 2; i++) {
        struct cs_heatmap_request heatmap = cs_heatmap_request_defaults();
        enum cs_cache_result result;
        struct cs_blob image;

        heatmap.class_index = photos[i]->predictions[0].index;
        assert_int_equal(cs_diagnoser_heatmap(diagnoser, any->id, &heatmap, &image, &result, NULL, NULL),
                         CS_OK);
        assert_int_equal(result, CS_CACHE_HIT);
        cs_blob_destroy(&image);
    }
    assert_int_equal(
        cs_diagnose_case(diagnoser, (const cs_diagnosis *const *)photos, 2, 3, &combined, NULL, &error),
        CS_BAD_REQUEST);
    assert_non_null(strstr(error.message, "different plants"));
    cs_diagnosis_destroy(photos[1]);
    photos[1] = photos[0];
    assert_int_equal(
        cs_diagnose_case(diagnoser, (const cs_diagnosis *const *)photos, 2, 3, &combined, NULL, &error),
        CS_OK);
    assert_int_equal(combined->prediction_count, 2);
    assert_string_equal(combined->plant, "Tomato");
    assert_near(combined->predictions[0].probability, photos[0]->predictions[0].probability, 1e-6);
    cs_diagnosis_destroy(combined);

    request.plant = "oak";
    assert_int_equal(cs_diagnose(diagnoser, photo.bytes, photo.size, &request, &combined, &error),
                     CS_BAD_REQUEST);
    assert_null(combined);
    assert_non_null(strstr(error.message, "no plant 'oak': choose one of Tomato, Wheat"));
    cs_diagnosis_destroy(photos[0]);
    cs_diagnosis_destroy(any);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

static void stages_are_told_as_they_end(void *context, enum cs_stage stage, double ms)
{
    unsigned *seen = context;

    assert_true(ms >= 0);
    *seen |= 1u << stage;
}

static void stages_are_told(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(14, 900, 600, CS_FORMAT_JPEG);
    struct cs_request request = cs_request_defaults();
    unsigned seen = 0;

    (void)state;
    request.on_stage = stages_are_told_as_they_end;
    request.context = &seen;
    request.gradcam = true;
    cs_diagnosis_destroy(diagnose(diagnoser, &photo, &request));
    assert_int_equal(seen, 0x3f);
    seen = 0;
    cs_diagnosis_destroy(diagnose(diagnoser, &photo, &request));
    assert_int_equal(seen, 1u << CS_STAGE_DONE);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

/* The model on its way while the first photo is decoded: the same diagnosis, compact weights or not. */
static void a_model_loaded_beside_is_waited_for(void **state)
{
    struct cs_diagnoser_options options = tiny_options();
    struct cs_blob photo = draw_photo(15, 900, 600, CS_FORMAT_JPEG);
    cs_diagnoser *plain = create_tiny();
    cs_diagnosis *expected = diagnose(plain, &photo, NULL);

    (void)state;
    options.load_beside = true;
    for (int compact = 0; compact < 2; compact++) {
        struct cs_diagnoser_status status;
        cs_diagnosis *diagnosis;
        cs_diagnoser *diagnoser;

        options.model.compact = compact == 1;
        diagnoser = create(&options);
        diagnosis = diagnose(diagnoser, &photo, NULL);
        assert_string_equal(diagnosis->id, expected->id);
        for (size_t i = 0; i < TINY_CLASSES; i++)
            assert_near((double)diagnosis->logits[i], (double)expected->logits[i], 1e-4);
        cs_diagnosis_destroy(diagnosis);
        cs_diagnoser_status(diagnoser, &status);
        assert_int_equal(status.model_loads, 1);
        cs_diagnoser_destroy(diagnoser);
        cs_diagnoser_destroy(create(&options)); /* while it is loaded */
        diagnoser = create(&options);
        cs_diagnoser_status(diagnoser, &status); /* waits */
        assert_int_equal(status.model_loads, 1);
        cs_diagnoser_destroy(diagnoser);
    }
    cs_diagnosis_destroy(expected);
    cs_diagnoser_destroy(plain);
    cs_blob_destroy(&photo);
}

/* What is wrong with it is said by every call that needs it; once the file is there, a reload helps. */
static void a_model_missing_beside_fails_the_calls(void **state)
{
    struct cs_diagnoser_options options = tiny_options();
    struct cs_heatmap_request heatmap = cs_heatmap_request_defaults();
    struct cs_blob photo = draw_photo(16, 300, 200, CS_FORMAT_JPEG), blob;
    char elsewhere[128], id[65];
    struct cs_diagnoser_status status;
    struct cs_cache_stats stats;
    struct cs_error error = {0};
    cs_diagnosis *diagnosis;
    cs_diagnoser *diagnoser;
    uint32_t width, height;

    (void)state;
    memset(id, 'a', 64);
    id[64] = '\0';
    snprintf(elsewhere, sizeof elsewhere, "%s/later.safetensors", folder);
    options.model.path = elsewhere;
    options.load_beside = true;
    diagnoser = create(&options);
    assert_int_equal(cs_diagnose(diagnoser, photo.bytes, photo.size, NULL, &diagnosis, &error), CS_NOT_FOUND);
    assert_non_null(strstr(error.message, elsewhere));
    assert_null(diagnosis);
    assert_null(cs_diagnoser_model(diagnoser));
    assert_int_equal(cs_diagnoser_heatmap(diagnoser, id, &heatmap, &blob, NULL, NULL, &error), CS_NOT_FOUND);
    assert_int_equal(cs_diagnoser_map(diagnoser, id, 0, CS_CAM_GRADCAM, &blob, &width, &height, &error),
                     CS_NOT_FOUND);
    cs_diagnoser_status(diagnoser, &status);
    assert_int_equal(status.model_loads, 0);
    assert_int_equal(status.model_load_failures, 1);
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_MODEL, &stats);
    assert_int_equal(stats.entries, 0);
    assert_true(tiny_model_write(elsewhere, 1));
    assert_int_equal(cs_diagnoser_reload(diagnoser, &error), CS_OK);
    cs_diagnosis_destroy(diagnose(diagnoser, &photo, NULL));
    cs_diagnoser_destroy(diagnoser);
    cs_blob_destroy(&photo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_call_equals_the_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_says_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_second_time_is_a_hit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_photos_are_told_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(outputs_that_are_no_numbers_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_options_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(heat_maps_by_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(maps_as_numbers_agree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_photo_sent_again_has_its_heat_map_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_prepared_heat_map_is_a_hit_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(both_caches_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(caches_survive_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_photos_keep_their_ids, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_case_is_the_mean_log_probability, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_known_plant_narrows_the_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stages_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_model_loaded_beside_is_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_model_missing_beside_fails_the_calls, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
