/* The parts of the diagnosis floor one by one: verdicts, content, records, recent uploads, names, labels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "diagnosis/content.h"
#include "diagnosis/diagnosis.h"
#include "diagnosis/recent.h"
#include "diagnosis/record.h"

static void assert_near(double a, double b, double by)
{
    if (!(fabs(a - b) <= by))
        fail_msg("%.17g is not within %g of %.17g", a, by, b);
}

static void verdicts_follow_the_thresholds(void **state)
{
    (void)state;
    assert_int_equal(csi_verdict(0.9, NAN), CS_VERDICT_CONFIDENT);
    assert_int_equal(csi_verdict(0.8, NAN), CS_VERDICT_LIKELY); /* above, not at */
    assert_int_equal(csi_verdict(0.5, NAN), CS_VERDICT_UNCERTAIN);
    assert_int_equal(csi_verdict(0.51, 3), CS_VERDICT_LIKELY);
    assert_int_equal(csi_verdict(0.1, 0.001), CS_VERDICT_UNCERTAIN);
    assert_int_equal(csi_verdict(0.99, 0), CS_VERDICT_NOT_A_LEAF);
    assert_int_equal(csi_verdict(0.99, -2), CS_VERDICT_NOT_A_LEAF);
}

/* Figures of training's Python (training/cropshield/content.py) for the same picture. */
static void content_equals_the_training_side(void **state)
{
    static const double expected[CSI_FEATURE_COUNT] = {
        0.2833178005591799,  0.1863932898415657,  -0.023185863348135154, 0.5848655958189427,
        0.2801921593784078,  9.02726613356738,    0.42857142857142855,   0.09226467847157502,
        0.24324324324324326, 0.33457595526561046, 0.005291005291005291,  0.8361869648996714,
        0.21994408201304752, 0.06616961789375582};
    enum { WIDTH = 37, HEIGHT = 29 };
    static uint8_t pixels[HEIGHT * 120]; /* rows are padded: the stride counts, not the width */
    cs_image image = {pixels, WIDTH, HEIGHT, 120};
    struct csi_content content;
    uint32_t random = 12345;

    (void)state;
    memset(pixels, 77, sizeof pixels);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < 3; c++) {
                int base = c == 0 ? x < 20 ? 90 : 200 : c == 1 ? y < 15 ? 150 : 60 : 40 + x * 5 % 90, value;

                random = random * 1664525u + 1013904223u;
                value = (int)(random >> 24);
                if ((x / 6 + y / 6) % 3 != 0)
                    value = base + value % 40;
                else
                    value = y > 20 ? value % 12 : 240 + value % 16;
                pixels[y * 120 + 3 * x + c] = (uint8_t)value;
            }
    csi_content_measure(&image, &content);
    for (int i = 0; i < CSI_FEATURE_COUNT; i++) {
        assert_true(strlen(csi_feature_name((enum csi_feature)i)) > 0);
        assert_near(content.values[i], expected[i], 1e-12);
    }
}

static void content_of_tiny_and_plain_pictures(void **state)
{
    uint8_t pixels[12] = {0};
    struct csi_content content;

    (void)state;
    for (uint32_t width = 1; width <= 2; width++) {
        cs_image image = {pixels, width, 2, 6};

        csi_content_measure(&image, &content);
        for (int i = 0; i < CSI_FEATURE_COUNT; i++)
            assert_true(isfinite(content.values[i]));
        assert_near(content.values[CSI_FEATURE_DARK], 1, 0);
        assert_near(content.values[CSI_FEATURE_HUE_ENTROPY], 0, 0);
    }
}

static void records_come_back(void **state)
{
    struct csi_record_head head = {
        .magic = CSI_RECORD_MAGIC,
        .class_count = 2,
        .map_classes = 2,
        .map_width = 3,
        .map_height = 2,
        .hints = 5,
        .leaf_score = -1.5,
        .photo = {
            .bytes = 123, .format = 1, .width = 40, .height = 30, .display_width = 20, .display_height = 15}};
    const struct csi_record_shape shape = {2, 2, 3, 2}, others[] = {{3, 2, 3, 2}, {2, 0, 0, 0}, {2, 2, 2, 3}};
    const float logits[2] = {1.5f, -2.25f},
                maps[12] = {0, 0.25f, 1, 0.1f, 0.9f, 0.5f, 1, 0, 0.123f, 0.777f, 0.00001f, 0.99999f};
    struct csi_record record;
    uint8_t *bytes, *damaged;
    float map[6];
    size_t size;

    (void)state;
    assert_int_equal(csi_record_write(&head, logits, maps, &bytes, &size, NULL), CS_OK);
    assert_int_equal(csi_record_read(bytes, size, &shape, &record, NULL), CS_OK);
    assert_memory_equal(record.logits, logits, sizeof logits);
    assert_int_equal(record.head.photo.width, 40);
    assert_int_equal(record.head.hints, 5);
    for (size_t c = 0; c < 2; c++) {
        csi_record_map(&record, c, map);
        for (size_t i = 0; i < 6; i++)
            assert_near((double)map[i], (double)maps[c * 6 + i], 1e-5);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) /* sound, but another model's */
        assert_int_equal(csi_record_read(bytes, size, &others[i], &record, NULL), CS_INTERNAL);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(csi_record_read(bytes, cut, &shape, &record, NULL), CS_INTERNAL);
    damaged = malloc(size);
    for (size_t i = 0; i < 20; i++) { /* numbers that lie about sizes */
        memcpy(damaged, bytes, size);
        damaged[i] ^= 0xff;
        assert_int_equal(csi_record_read(damaged, size, &shape, &record, NULL), CS_INTERNAL);
    }
    free(damaged);
    free(bytes);
}

/* Numbers that no decoder and no coach can have said: the sizes fit all the same. */
static void records_of_impossible_photos_are_refused(void **state)
{
    const struct csi_photo_facts sound = {
        .bytes = 1, .format = 3, .width = 2, .height = 2, .display_width = 2, .display_height = 2};
    struct csi_photo_facts photos[6];
    const struct csi_record_shape shape = {.class_count = 1};
    const float logit = 0;

    (void)state;
    for (size_t i = 0; i < 6; i++)
        photos[i] = sound;
    photos[1].format = 4;
    photos[2].format = 0;
    photos[3].bytes = 0;
    photos[4].display_width = 3; /* nothing is enlarged */
    photos[5].display_height = 0;
    for (uint32_t i = 0; i < 7; i++) {
        struct csi_record_head head = {
            .magic = CSI_RECORD_MAGIC, .class_count = 1, .hints = i == 6 ? 16 : 15, .photo = photos[i % 6]};
        struct csi_record record;
        uint8_t *bytes;
        size_t size;

        assert_int_equal(csi_record_write(&head, &logit, NULL, &bytes, &size, NULL), CS_OK);
        assert_int_equal(csi_record_read(bytes, size, &shape, &record, NULL), i == 0 ? CS_OK : CS_INTERNAL);
        free(bytes);
    }
}

static void display_images_come_back(void **state)
{
    uint8_t pixels[2 * 16];
    cs_image image = {pixels, 5, 2, 16}, *back;
    struct csi_photo_facts facts = {.bytes = 9,
                                    .format = 2,
                                    .width = 50,
                                    .height = 20,
                                    .display_width = 5,
                                    .display_height = 2},
                           read;
    uint8_t *bytes;
    size_t size;

    (void)state;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 7);
    assert_int_equal(csi_display_write(&facts, &image, &bytes, &size, NULL), CS_OK);
    assert_int_equal(csi_display_read(bytes, size, 5, &read, &back, NULL), CS_OK);
    for (size_t y = 0; y < 2; y++)
        assert_memory_equal(back->pixels + y * back->stride, pixels + y * 16, 15);
    assert_int_equal(read.width, 50);
    cs_image_destroy(back);
    for (uint32_t side = 4; side <= 6; side += 2) { /* of another --max-size */
        assert_int_equal(csi_display_read(bytes, size, side, &read, &back, NULL), CS_INTERNAL);
        assert_null(back);
    }
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(csi_display_read(bytes, cut, 5, &read, &back, NULL), CS_INTERNAL);
        assert_null(back);
    }
    free(bytes);
}

/* The same length and many of the same bytes, but never another photo's id. */
static void recent_uploads_never_mix(void **state)
{
    struct csi_recent *recent;
    struct csi_hash id, direct;
    uint8_t photo[5000];

    (void)state;
    assert_int_equal(csi_recent_create(20000, &recent, NULL), CS_OK);
    memset(photo, 1, sizeof photo);
    for (int round = 0; round < 3; round++)
        for (size_t at = 0; at < sizeof photo; at += 97) {
            photo[at] ^= 0x55;
            csi_hash_bytes(photo, sizeof photo, &direct);
            csi_recent_identify(recent, photo, sizeof photo, &id);
            assert_memory_equal(id.bytes, direct.bytes, CSI_HASH_SIZE);
            csi_recent_identify(recent, photo, sizeof photo, &id);
            assert_memory_equal(id.bytes, direct.bytes, CSI_HASH_SIZE);
        }
    for (size_t size = 0; size < 300; size++) {
        csi_hash_bytes(photo, size, &direct);
        csi_recent_identify(recent, photo, size, &id);
        csi_recent_identify(recent, photo, size, &id);
        assert_memory_equal(id.bytes, direct.bytes, CSI_HASH_SIZE);
    }
    csi_recent_clear(recent);
    csi_recent_destroy(recent);
    csi_recent_destroy(NULL);
}

static void names_go_both_ways(void **state)
{
    enum cs_cam_method method;
    enum cs_colormap colormap;
    struct cs_error error;

    (void)state;
    for (int i = CS_CAM_GRADCAM; i <= CS_CAM_ABLATIONCAM; i++) {
        assert_int_equal(cs_cam_method_parse(cs_cam_method_name((enum cs_cam_method)i), &method, NULL),
                         CS_OK);
        assert_int_equal(method, i);
    }
    for (int i = CS_COLORMAP_JET; i <= CS_COLORMAP_GREY; i++) {
        assert_int_equal(cs_colormap_parse(cs_colormap_name((enum cs_colormap)i), &colormap, NULL), CS_OK);
        assert_int_equal(colormap, i);
    }
    assert_int_equal(cs_colormap_parse("plaid", &colormap, &error), CS_BAD_REQUEST);
    assert_non_null(strstr(error.message, "jet, viridis, inferno, turbo, grey"));
    assert_int_equal(cs_cam_method_parse(NULL, &method, &error), CS_BAD_REQUEST);
    assert_string_equal(cs_verdict_name(CS_VERDICT_NOT_A_LEAF), "not_a_leaf");
    assert_string_equal(cs_verdict_name((enum cs_verdict)99), "unknown");
    assert_string_equal(cs_cache_result_name(CS_CACHE_COALESCED), "coalesced");
    assert_string_equal(cs_cache_name(CS_CACHE_GRADCAM), "gradcam");
    assert_string_equal(cs_stage_name(CS_STAGE_DONE), "done");
    assert_string_equal(cs_device_name(CS_DEVICE_CPU), "cpu");
}

static void labels_are_for_people(void **state)
{
    static const char *const pairs[][2] = {
        {"Tomato__early_blight", "Tomato: early blight"},
        {"Tomato__spider_mites_(two_spotted_spider_mite)", "Tomato: spider mites (two spotted spider mite)"},
        {"class_0", "class 0"},
        {"__odd", "  odd"},
        {"a__b__c", "a: b  c"},
        {"trailing_", "trailing "},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char *label = csi_class_label(pairs[i][0]);

        assert_string_equal(label, pairs[i][1]);
        free(label);
    }
}

/* As many plants as a model may have classes. */
static void many_plants_are_found_in_time(void **state)
{
    enum { COUNT = 100000 };
    char **names = calloc(COUNT, sizeof *names);
    struct cs_model model = {.class_count = COUNT, .classes = names, .labels = names};
    clock_t begin;

    (void)state;
    assert_non_null(names);
    for (size_t i = 0; i < COUNT; i++) {
        names[i] = malloc(16);
        assert_non_null(names[i]);
        snprintf(names[i], 16, "p%06zu__x", i);
    }
    begin = clock();
    assert_true(csi_model_find_plants(&model));
    assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 5.0);
    assert_int_equal(model.plant_count, COUNT);
    assert_int_equal(model.plant_of[COUNT - 1], COUNT - 1);
    for (size_t i = 0; i < COUNT; i++) {
        free(names[i]);
        free(model.plants[i]);
    }
    free(model.plants);
    free(model.plant_of);
    free(names);
}

/* Each plant once, in the order of the classes, as people read it; some classes have none. */
static void plants_are_found(void **state)
{
    static const char *const names[] = {"Corn_(maize)__rust",    "healthy", "Tea__blight",
                                        "Corn_(maize)__healthy", "__odd",   "Corn__x"};
    static const size_t expected[] = {0, CSI_ANY_PLANT, 1, 0, CSI_ANY_PLANT, 2};
    enum { COUNT = sizeof names / sizeof names[0] };
    char *classes[COUNT], *labels[COUNT];
    float logits[COUNT] = {1, 9, 2, 3, 9, -400}, probabilities[COUNT];
    struct cs_model model = {.class_count = COUNT, .classes = classes, .labels = labels, .temperature = 0.5};
    struct cs_error error;
    size_t plant;

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        classes[i] = strdup(names[i]);
        labels[i] = csi_class_label(names[i]);
    }
    assert_true(csi_model_find_plants(&model));
    assert_int_equal(model.plant_count, 3);
    assert_string_equal(model.plants[0], "Corn (maize)");
    assert_string_equal(model.plants[1], "Tea");
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(model.plant_of[i], expected[i]);
    assert_int_equal(csi_model_find_plant(&model, "corn_(MAIZE)", &plant, &error), CS_OK);
    assert_int_equal(plant, 0);
    assert_int_equal(csi_model_find_plant(&model, "", &plant, &error), CS_OK);
    assert_int_equal(plant, CSI_ANY_PLANT);
    assert_int_equal(csi_model_find_plant(&model, "Te", &plant, &error), CS_BAD_REQUEST);
    assert_non_null(strstr(error.message, "'Te': choose one of Corn (maize), Tea, Corn"));
    assert_int_equal(csi_model_top_class(&model, logits, CSI_ANY_PLANT), 1);
    assert_int_equal(csi_model_top_class(&model, logits, 0), 3);
    csi_model_probabilities(&model, logits, 0, probabilities);
    assert_near((double)probabilities[3], 1 / (1 + exp(-4)), 1e-6);
    assert_near((double)(probabilities[0] + probabilities[3]), 1, 1e-6);
    assert_true(probabilities[1] == 0 && probabilities[2] == 0);
    csi_model_probabilities(&model, logits, 2, probabilities); /* far below the others, alone */
    assert_true(probabilities[5] == 1);
    for (size_t i = 0; i < COUNT; i++) {
        free(classes[i]);
        free(labels[i]);
    }
    for (size_t i = 0; i < model.plant_count; i++)
        free(model.plants[i]);
    free(model.plants);
    free(model.plant_of);
}

/* The embedded model: what it says about itself, and finding its classes. */
static void classes_are_found(void **state)
{
    struct cs_model_options options = cs_model_options_defaults();
    cs_model *model;
    struct cs_model_info info;
    struct cs_error error;
    size_t index;

    (void)state;
    options.threads = 1;
    assert_int_equal(cs_model_load(&options, &model, &error), CS_OK);
    info = cs_model_info(model);
    assert_int_equal(info.class_count, 22);
    assert_string_equal(info.path, "embedded");
    assert_int_equal(info.input_size, 224);
    assert_int_equal(info.map_width, 14);
    assert_int_equal(info.embedding_size, 512);
    assert_near(info.gmac, 10.26, 0.02);
    assert_true(info.parameters > 4600000 && info.parameters < 4800000);
    assert_int_equal(cs_model_find_class(model, "Tomato__early_blight", &index, NULL), CS_OK);
    assert_int_equal(index, 9);
    assert_int_equal(cs_model_find_class(model, "Tomato: early blight", &index, NULL), CS_OK);
    assert_int_equal(index, 9);
    assert_int_equal(cs_model_find_class(model, "21", &index, NULL), CS_OK);
    assert_int_equal(index, 21);
    assert_int_equal(cs_model_find_class(model, "22", &index, &error), CS_NOT_FOUND);
    assert_int_equal(cs_model_find_class(model, "9x", &index, &error), CS_NOT_FOUND);
    assert_int_equal(cs_model_find_class(model, "-1", &index, &error), CS_NOT_FOUND);
    assert_int_equal(cs_model_find_class(model, "", &index, &error), CS_NOT_FOUND);
    assert_false(info.tested[6]); /* Sugarcane__red_stripe */
    assert_true(info.tested[9]);
    cs_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_follow_the_thresholds),
        cmocka_unit_test(content_equals_the_training_side),
        cmocka_unit_test(content_of_tiny_and_plain_pictures),
        cmocka_unit_test(records_come_back),
        cmocka_unit_test(records_of_impossible_photos_are_refused),
        cmocka_unit_test(display_images_come_back),
        cmocka_unit_test(recent_uploads_never_mix),
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(labels_are_for_people),
        cmocka_unit_test(plants_are_found),
        cmocka_unit_test(many_plants_are_found_in_time),
        cmocka_unit_test(classes_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
