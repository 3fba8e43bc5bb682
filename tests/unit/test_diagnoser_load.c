/* A diagnoser under load: many callers at once, and a model that is replaced meanwhile or on demand. */
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

struct crowd {
    cs_diagnoser *diagnoser;
    const struct cs_blob *photos;
    size_t photo_count;
    unsigned rounds;
    pthread_barrier_t *start;
    atomic_bool *stop;
    atomic_uint *failed, *answered;
};

static void *crowd_member(void *context)
{
    struct crowd *crowd = context;
    struct cs_request request = cs_request_defaults();

    if (crowd->start != NULL)
        pthread_barrier_wait(crowd->start);
    for (unsigned i = 0; i < crowd->rounds && (crowd->stop == NULL || !atomic_load(crowd->stop)); i++) {
        const struct cs_blob *photo = &crowd->photos[i % crowd->photo_count];
        cs_diagnosis *diagnosis;

        request.gradcam = i % 3 == 0;
        if (cs_diagnose(crowd->diagnoser, photo->bytes, photo->size, &request, &diagnosis, NULL) != CS_OK)
            atomic_fetch_add(crowd->failed, 1);
        else
            atomic_fetch_add(crowd->answered, 1);
        cs_diagnosis_destroy(diagnosis);
    }
    return NULL;
}

#define CROWD 8

static void identical_photos_at_once_are_computed_once(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(5, 2000, 1500, CS_FORMAT_JPEG);
    pthread_barrier_t start;
    pthread_t threads[CROWD];
    atomic_uint failed = 0, answered = 0;
    struct crowd crowd = {diagnoser, &photo, 1, 1, &start, NULL, &failed, &answered};
    struct cs_cache_stats stats;

    (void)state;
    pthread_barrier_init(&start, NULL, CROWD);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_member, &crowd), 0);
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
    assert_int_equal(answered, CROWD);
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &stats);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.hits + stats.coalesced, CROWD - 1);
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_GRADCAM, &stats);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.hits + stats.coalesced, CROWD - 1);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

/* Waits until the diagnoser tells `loads` loads, at most ten seconds. */
static bool wait_for_loads(cs_diagnoser *diagnoser, uint64_t loads)
{
    struct cs_diagnoser_status status;

    for (int i = 0; i < 1000; i++) {
        cs_diagnoser_status(diagnoser, &status);
        if (status.model_loads >= loads)
            return true;
        usleep(10000);
    }
    return false;
}

static void a_changed_file_replaces_the_model(void **state)
{
    struct cs_diagnoser_options options = tiny_options();
    struct cs_blob photo = draw_photo(12, 300, 300, CS_FORMAT_JPEG);
    struct cs_diagnoser_status status;
    cs_diagnoser *diagnoser;
    cs_diagnosis *before, *after;

    (void)state;
    options.watch = true;
    diagnoser = create(&options);
    before = diagnose(diagnoser, &photo, NULL);
    assert_true(tiny_model_write(model_path, 2));
    assert_true(wait_for_loads(diagnoser, 2));
    after = diagnose(diagnoser, &photo, NULL);
    assert_string_not_equal(before->model_digest, after->model_digest);
    assert_int_equal(after->prediction_cache, CS_CACHE_MISS);
    cs_diagnosis_destroy(after);
    /* A bad file: the old model stays, the error is told once. */
    assert_true(tiny_write(model_path, (const uint8_t *)"nonsense", 8));
    for (int i = 0; i < 1000; i++) {
        cs_diagnoser_status(diagnoser, &status);
        if (status.model_load_failures > 0)
            break;
        usleep(10000);
    }
    usleep(600000);
    cs_diagnoser_status(diagnoser, &status);
    assert_int_equal(status.model_load_failures, 1);
    assert_non_null(strstr(status.last_error, model_path));
    assert_int_equal(atomic_load(&warnings), 1);
    after = diagnose(diagnoser, &photo, NULL);
    assert_int_equal(after->prediction_cache, CS_CACHE_HIT);
    /* A good one again. */
    assert_true(tiny_model_write(model_path, 1));
    assert_true(wait_for_loads(diagnoser, 3));
    cs_diagnoser_status(diagnoser, &status);
    assert_string_equal(status.last_error, "");
    assert_true(status.model_load_ms > 0);
    cs_diagnosis_destroy(after);
    after = diagnose(diagnoser, &photo, NULL);
    assert_string_equal(before->model_digest, after->model_digest);
    cs_diagnosis_destroy(before);
    cs_diagnosis_destroy(after);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

/* Loading the same file again loses nothing that the caches know; by another one's answers nobody is served.
 */
static void a_file_that_did_not_change_keeps_the_caches(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(14, 300, 300, CS_FORMAT_JPEG);
    struct cs_cache_stats stats;
    cs_diagnosis *diagnosis;

    (void)state;
    cs_diagnosis_destroy(diagnose(diagnoser, &photo, NULL));
    assert_int_equal(cs_diagnoser_reload(diagnoser, NULL), CS_OK);
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_GRADCAM, &stats);
    assert_int_equal(stats.entries, 1); /* the display image */
    diagnosis = diagnose(diagnoser, &photo, NULL);
    assert_int_equal(diagnosis->prediction_cache, CS_CACHE_HIT);
    cs_diagnosis_destroy(diagnosis);
    assert_true(tiny_model_write(model_path, 2));
    assert_int_equal(cs_diagnoser_reload(diagnoser, NULL), CS_OK);
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &stats);
    assert_int_equal(stats.entries, 0);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

static void no_request_is_lost_while_models_change(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photos[3];
    pthread_t threads[4];
    atomic_bool stop = false;
    atomic_uint failed = 0, answered = 0;
    struct crowd crowd = {diagnoser, photos, 3, UINT32_MAX, NULL, &stop, &failed, &answered};
    struct cs_diagnoser_status status;

    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        photos[i] = draw_photo(20 + i, 200, 150, CS_FORMAT_JPEG);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_member, &crowd), 0);
    for (uint32_t i = 0; i < 20; i++) {
        unsigned seen = atomic_load(&answered);

        if (i % 2 == 0) {
            assert_true(tiny_model_write(model_path, i + 2));
            assert_int_equal(cs_diagnoser_reload(diagnoser, NULL), CS_OK);
        } else {
            size_t size;
            uint8_t *bytes = tiny_model_bytes(i, "", &size);

            assert_true(tiny_write(model_path, bytes, size / 2)); /* half a file */
            assert_int_equal(cs_diagnoser_reload(diagnoser, NULL), CS_MODEL_INVALID);
            free(bytes);
        }
        while (atomic_load(&answered) < seen + 8 && atomic_load(&failed) == 0)
            usleep(500);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&failed), 0);
    cs_diagnoser_status(diagnoser, &status);
    assert_int_equal(status.model_loads, 11);
    assert_int_equal(status.model_load_failures, 10);
    assert_adds_up(diagnoser, CS_CACHE_PREDICTION, atomic_load(&answered));
    for (int i = 0; i < 3; i++)
        cs_blob_destroy(&photos[i]);
    cs_diagnoser_destroy(diagnoser);
}

static void clearing_the_model_cache_loads_again(void **state)
{
    cs_diagnoser *diagnoser = create_tiny();
    struct cs_blob photo = draw_photo(13, 300, 300, CS_FORMAT_JPEG);
    struct cs_cache_stats stats;

    (void)state;
    cs_diagnosis_destroy(diagnose(diagnoser, &photo, NULL));
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_MODEL, &stats);
    assert_true(stats.enabled && stats.entries == 1 && stats.bytes > 0);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.hits, 1);
    assert_int_equal(cs_diagnoser_cache_clear(diagnoser, CS_CACHE_MODEL, NULL), CS_OK);
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_MODEL, &stats);
    assert_int_equal(stats.misses, 2);
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &stats);
    assert_int_equal(stats.entries, 0);
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_GRADCAM, &stats);
    assert_int_equal(stats.entries, 0);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(identical_photos_at_once_are_computed_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_changed_file_replaces_the_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_did_not_change_keeps_the_caches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_request_is_lost_while_models_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clearing_the_model_cache_loads_again, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
