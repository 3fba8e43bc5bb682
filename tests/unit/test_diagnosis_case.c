/* Several photos of one plant: what the joint answer takes over from the single ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "unit/tiny_diagnoser.h"

#define PHOTOS 4u

struct photos {
    cs_diagnoser *diagnoser;
    cs_diagnosis *list[PHOTOS];
};

static struct photos take_photos(void)
{
    struct photos photos = {.diagnoser = create_tiny()};
    struct cs_request request = cs_request_defaults();

    for (uint32_t i = 0; i < PHOTOS; i++) {
        struct cs_blob photo = draw_photo(300 + i, 60, 60, CS_FORMAT_PNG);

        photos.list[i] = diagnose(photos.diagnoser, &photo, &request);
        photos.list[i]->hint_count = 0; /* each test says what it is about */
        photos.list[i]->leaf_score = 1;
        cs_blob_destroy(&photo);
    }
    return photos;
}

static void drop_photos(struct photos *photos)
{
    for (uint32_t i = 0; i < PHOTOS; i++)
        cs_diagnosis_destroy(photos->list[i]);
    cs_diagnoser_destroy(photos->diagnoser);
}

static cs_diagnosis *combine(const struct photos *photos, size_t count)
{
    cs_diagnosis *combined;

    assert_int_equal(cs_diagnose_case(photos->diagnoser, (const cs_diagnosis *const *)photos->list, count, 3,
                                      &combined, NULL, NULL),
                     CS_OK);
    return combined;
}

/* What one photo carries the case carries, once and in the order of the hints. */
static void hints_of_any_photo(void **state)
{
    static const char *const dark[] = {"too_dark"}, *const two[] = {"leaf_too_small", "blurred"};
    static const char *const blurred[] = {"blurred"};
    struct photos photos = take_photos();
    cs_diagnosis *combined = combine(&photos, PHOTOS);

    (void)state;
    assert_int_equal(combined->hint_count, 0);
    cs_diagnosis_destroy(combined);
    photos.list[1]->hints = dark;
    photos.list[1]->hint_count = 1;
    combined = combine(&photos, PHOTOS);
    assert_int_equal(combined->hint_count, 1);
    assert_string_equal(combined->hints[0], "too_dark");
    cs_diagnosis_destroy(combined);
    photos.list[0]->hints = blurred;
    photos.list[0]->hint_count = 1;
    photos.list[3]->hints = two;
    photos.list[3]->hint_count = 2;
    combined = combine(&photos, PHOTOS);
    assert_int_equal(combined->hint_count, 3);
    assert_string_equal(combined->hints[0], "blurred");
    assert_string_equal(combined->hints[1], "too_dark");
    assert_string_equal(combined->hints[2], "leaf_too_small");
    cs_diagnosis_destroy(combined);
    drop_photos(&photos);
}

/* The median: in the middle of an odd count, between the two middle ones of an even one; a model without a
 * gate has no score. One odd photo decides neither way. */
static void the_middle_score_decides(void **state)
{
    static const struct {
        double scores[PHOTOS];
        size_t count;
        double expected;
    } cases[] = {
        {{-7}, 1, -7},
        {{5, 1}, 2, 3},
        {{9, -1, 2}, 3, 2},
        {{3, 2, 1}, 3, 2},
        {{1, 2, 3}, 3, 2},
        {{-3, -100, -1}, 3, -3},
        {{8, -50, 2, 3}, 4, 2.5},
        {{4, 3, 2, 1}, 4, 2.5},
        {{-2, 1, 1}, 3, 1},
        {{1, NAN, 2}, 3, NAN},
        {{NAN, 1, 2}, 3, NAN},
        {{2, 1, NAN}, 3, NAN},
        {{-90, 1, 1, 1}, 4, 1},
        {{-1, 90, -1, -1}, 4, -1},
    };
    struct photos photos = take_photos();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cs_diagnosis *combined;

        for (size_t k = 0; k < cases[i].count; k++)
            photos.list[k]->leaf_score = cases[i].scores[k];
        combined = combine(&photos, cases[i].count);
        if (isnan(cases[i].expected))
            assert_true(isnan(combined->leaf_score));
        else
            assert_near(combined->leaf_score, cases[i].expected, 1e-12);
        assert_int_equal(combined->verdict == CS_VERDICT_NOT_A_LEAF, cases[i].expected <= 0);
        cs_diagnosis_destroy(combined);
    }
    drop_photos(&photos);
}

/* Together they took what each took. */
static void times_and_bytes_add_up(void **state)
{
    struct photos photos = take_photos();
    cs_diagnosis *combined;

    (void)state;
    for (size_t i = 0; i < PHOTOS; i++) {
        photos.list[i]->timings.total = 10 * (double)(i + 1);
        photos.list[i]->bytes = (size_t)1 << i;
    }
    combined = combine(&photos, PHOTOS);
    assert_near(combined->timings.total, 100, 1e-9);
    assert_int_equal(combined->bytes, 15);
    cs_diagnosis_destroy(combined);
    combined = combine(&photos, 3);
    assert_near(combined->timings.total, 60, 1e-9);
    assert_int_equal(combined->bytes, 7);
    cs_diagnosis_destroy(combined);
    drop_photos(&photos);
}

/* The same photo again and again. */
static enum cs_status load_again(void *context, size_t index, const void **bytes, size_t *size,
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

static char told_digest[80];

static bool take_digest(void *context, size_t index, const cs_diagnosis *diagnosis,
                        const struct cs_error *failure)
{
    (void)context;
    assert_null(failure);
    if (index == 0)
        snprintf(told_digest, sizeof told_digest, "%s", diagnosis->model_digest);
    assert_string_equal(diagnosis->model_digest, told_digest);
    return true;
}

/* Photos that bring the model of the first of them make a case although it was replaced meanwhile, one by one
 * and as a stream; without it they are of different models. */
static void a_model_replaced_between_photos(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(320, 60, 60, CS_FORMAT_PNG);
    struct cs_request request = cs_request_defaults();
    cs_diagnosis *list[2], *combined;
    cs_model *model = cs_diagnoser_model(diagnoser);

    (void)state;
    request.model = model;
    list[0] = diagnose(diagnoser, &photo, &request);
    assert_true(tiny_model_write(model_path, 2));
    assert_int_equal(cs_diagnoser_reload(diagnoser, NULL), CS_OK);
    list[1] = diagnose(diagnoser, &photo, &request);
    assert_string_equal(list[1]->model_digest, list[0]->model_digest);
    assert_int_equal(
        cs_diagnose_case(diagnoser, (const cs_diagnosis *const *)list, 2, 3, &combined, NULL, NULL), CS_OK);
    cs_diagnosis_destroy(combined);
    cs_diagnosis_destroy(list[1]);
    request.model = NULL;
    list[1] = diagnose(diagnoser, &photo, &request);
    assert_string_not_equal(list[1]->model_digest, list[0]->model_digest);
    assert_int_equal(
        cs_diagnose_case(diagnoser, (const cs_diagnosis *const *)list, 2, 3, &combined, NULL, NULL),
        CS_BAD_REQUEST);
    for (size_t batch = 0; batch <= 2; batch++) {
        struct cs_stream stream = {.count = 3,
                                   .batch = batch,
                                   .request = {.model = model, .no_cache = true},
                                   .load = load_again,
                                   .done = take_digest,
                                   .context = &photo};

        told_digest[0] = '\0';
        assert_int_equal(cs_diagnose_stream(diagnoser, &stream, NULL), CS_OK);
        assert_string_equal(told_digest, list[0]->model_digest);
    }
    cs_diagnosis_destroy(list[0]);
    cs_diagnosis_destroy(list[1]);
    cs_model_destroy(model);
    cs_diagnoser_destroy(diagnoser);
    cs_blob_destroy(&photo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hints_of_any_photo, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_middle_score_decides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times_and_bytes_add_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_model_replaced_between_photos, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
