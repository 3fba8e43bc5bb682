/* The quantiser as users of the library meet it: what the report's array promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cropshield/cropshield.h>

#include <stdlib.h>
#include <string.h>

#include "unit/tiny_diagnoser.h"

/* Asked twice, both answers stay valid, until the next comparison. */
static void the_report_stays_until_the_next_comparison(void **state)
{
    struct cs_model_options options = cs_model_options_defaults();
    const struct cs_layer_noise *first, *second;
    size_t count, again, elements;
    struct cs_blob photo = draw_photo(1, 200, 150, CS_FORMAT_JPEG);
    cs_image *image;
    cs_quantizer *quantizer;
    double *noise;
    float *input;

    (void)state;
    options.path = model_path;
    options.threads = 2;
    assert_int_equal(cs_quantizer_create(&options, NULL, &quantizer, NULL), CS_OK);
    assert_int_equal(cs_quantizer_layers(quantizer, &first, &count, NULL), CS_OK);
    assert_int_equal(count, 0);
    elements = (size_t)3 * cs_model_info(cs_quantizer_model(quantizer)).input_size *
               cs_model_info(cs_quantizer_model(quantizer)).input_size;
    input = malloc(elements * sizeof *input);
    assert_int_equal(
        cs_image_decode_display(photo.bytes, photo.size, NULL, CS_DECODE_FAST, 800, &image, NULL, NULL),
        CS_OK);
    assert_int_equal(cs_preprocess(cs_quantizer_model(quantizer), image, input, NULL), CS_OK);
    assert_int_equal(cs_quantizer_add(quantizer, input, NULL), CS_OK);
    assert_int_equal(cs_quantizer_finish(quantizer, NULL), CS_OK);
    assert_int_equal(cs_quantizer_compare(quantizer, input, NULL), CS_OK);
    assert_int_equal(cs_quantizer_layers(quantizer, &first, &count, NULL), CS_OK);
    assert_true(count > 0);
    noise = malloc(count * sizeof *noise);
    for (size_t i = 0; i < count; i++)
        noise[i] = first[i].snr_db;
    assert_int_equal(cs_quantizer_layers(quantizer, &second, &again, NULL), CS_OK);
    assert_int_equal(again, count);
    assert_ptr_equal(second, first);
    for (size_t i = 0; i < count; i++) {
        assert_near(first[i].snr_db, noise[i], 0);
        assert_true(strlen(first[i].name) > 0);
    }
    input[0] = 1; /* another photo: the report is of both */
    assert_int_equal(cs_quantizer_compare(quantizer, input, NULL), CS_OK);
    assert_int_equal(cs_quantizer_layers(quantizer, &first, &again, NULL), CS_OK);
    assert_int_equal(again, count);
    cs_quantizer_destroy(quantizer);
    cs_image_destroy(image);
    cs_blob_destroy(&photo);
    free(noise);
    free(input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_report_stays_until_the_next_comparison, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
