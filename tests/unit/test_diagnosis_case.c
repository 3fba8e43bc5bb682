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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hints_of_any_photo, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_middle_score_decides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times_and_bytes_add_up, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
