/*
 * The shipped models against the vectors that training wrote beside them: content, logits, leaf gate and
 * photo coach on five pictures that both sides draw from integers (training/README.md has the formulas).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cropshield/cropshield.h>

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "diagnosis/model.h"
#include "image/image.h"

#define SIDE   224
#define MODELS CS_TEST_DATA "/../../models/"

static bool in_leaf(int x, int y)
{
    return (x - 112) * (x - 112) + (y - 112) * (y - 112) < 6400;
}

static void draw(const char *name, uint8_t *pixels)
{
    static const uint8_t paper[3] = {200, 200, 205};
    uint32_t state = 1;

    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++, pixels += 3) {
            const uint8_t green[3] = {(uint8_t)(60 + (3 * x + 5 * y) % 23),
                                      (uint8_t)(120 + (7 * x + 2 * y) % 41),
                                      (uint8_t)(40 + (x + 3 * y) % 17)};

            if (strcmp(name, "stripes") == 0) {
                pixels[0] = (uint8_t)(4 * x);
                pixels[1] = (uint8_t)(4 * y);
                pixels[2] = (uint8_t)(2 * (x + y));
            } else if (strcmp(name, "noise") == 0) {
                for (int i = 0; i < 3; i++) {
                    state = 1664525u * state + 1013904223u;
                    pixels[i] = (uint8_t)(state >> 24);
                }
            } else {
                bool leaf = strcmp(name, "green") == 0 || (strcmp(name, "leaf") == 0 && in_leaf(x, y));

                memcpy(pixels, leaf ? green : paper, 3);
            }
        }
}

static uint32_t hints_of(const json_t *list)
{
    uint32_t hints = 0;
    const json_t *hint;
    size_t i;

    json_array_foreach(list, i, hint)
    {
        unsigned bit = 0;

        while (bit < CSI_HINT_COUNT &&
               strcmp(csi_hint_name((enum csi_hint)bit), json_string_value(hint)) != 0)
            bit++;
        assert_in_range(bit, 0, CSI_HINT_COUNT - 1);
        hints |= 1u << bit;
    }
    return hints;
}

static void near(const char *picture, const char *what, double got, double expected, double tolerance)
{
    if (!(fabs(got - expected) <= tolerance))
        fail_msg("%s: %s is %.9g, not %.9g", picture, what, got, expected);
}

/* One picture. Returns score + leaf_score: the gate's threshold, the same for every picture. */
static double check(cs_session *session, const json_t *vector)
{
    const cs_model *model = session->model;
    const char *name = json_string_value(json_object_get(vector, "image"));
    const json_t *logits = json_object_get(vector, "logits");
    static uint8_t pixels[SIDE * SIDE * 3];
    struct csi_content content;
    cs_image *image;
    double leaf;

    draw(name, pixels);
    assert_int_equal(csi_image_from_pixels(pixels, SIDE, SIDE, (size_t)SIDE * 3, &image, NULL), CS_OK);
    csi_content_measure(image, &content);
    for (unsigned i = 0; i < CSI_FEATURE_COUNT; i++) {
        const char *feature = csi_feature_name((enum csi_feature)i);

        near(name, feature, content.values[i],
             json_real_value(json_object_get(json_object_get(vector, "content"), feature)), 1e-12);
    }
    assert_int_equal(csi_image_to_tensor(image, model->preprocess.mean, model->preprocess.std_dev,
                                         model->compute->cpu_features, session->input, NULL),
                     CS_OK);
    assert_int_equal(csi_session_forward(session, session->input, 1, false, NULL), CS_OK);
    assert_int_equal(json_array_size(logits), model->class_count);
    for (size_t i = 0; i < model->class_count; i++) /* the kernels sum in another order */
        near(name, "a logit", (double)csi_exec_logits(session->exec)[i],
             json_real_value(json_array_get(logits, i)), 2e-3);
    leaf = csi_gate_score(model->gate, csi_exec_logits(session->exec), model->class_count,
                          csi_exec_embedding(session->exec), &content);
    assert_int_equal(!(leaf > 0), json_is_true(json_object_get(vector, "not_a_leaf")));
    assert_int_equal(csi_coach_hints(model->coach, &content), hints_of(json_object_get(vector, "hints")));
    cs_image_destroy(image);
    return leaf + json_real_value(json_object_get(vector, "score"));
}

static void replay(const char *model_path, const char *vectors_path)
{
    struct cs_model_options options = cs_model_options_defaults();
    json_t *vectors = json_load_file(vectors_path, JSON_DECODE_INT_AS_REAL, NULL);
    cs_session *session;
    cs_model *model;
    double first;

    if (vectors == NULL)
        skip();
    options.path = model_path;
    options.precision = CS_PRECISION_FP32;
    assert_int_equal(cs_model_load(&options, &model, NULL), CS_OK);
    assert_non_null(model->gate);
    assert_non_null(model->coach);
    assert_int_equal(cs_session_create(model, &session, NULL), CS_OK);
    assert_true(json_array_size(vectors) >= 5);
    first = check(session, json_array_get(vectors, 0));
    for (size_t i = 1; i < json_array_size(vectors); i++)
        near("threshold", "score + leaf score", check(session, json_array_get(vectors, i)), first, 2e-3);
    cs_session_destroy(session);
    cs_model_destroy(model);
    json_decref(vectors);
}

static void the_reference_model(void **state)
{
    (void)state;
    replay(MODELS "cropshield_cnn.safetensors", MODELS "cropshield_cnn.vectors.json");
}

static void the_small_model(void **state)
{
    (void)state;
    replay(MODELS "cropshield_lite.safetensors", MODELS "cropshield_lite.vectors.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_model),
        cmocka_unit_test(the_small_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
