/* The memory tier: single flight, counters, order of use, bounds, age, clearing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/cache.h"

static struct csi_hash key_of(uint32_t number)
{
    struct csi_hash key;

    csi_hash_bytes(&number, sizeof number, &key);
    return key;
}

static struct csi_cache *make(size_t max_bytes, double ttl_s)
{
    struct csi_cache_options options = {.name = "test", .max_bytes = max_bytes, .ttl_s = ttl_s};
    struct csi_cache *cache;

    assert_int_equal(csi_cache_create(&options, &cache, NULL), CS_OK);
    return cache;
}

/* A computation that counts its runs, takes a while, and gives `size` bytes of `fill`; or fails. */
struct computation {
    atomic_uint runs;
    unsigned sleep_us;
    size_t size;
    uint8_t fill;
    bool fail;
};

static enum cs_status compute(void *context, uint8_t **bytes, size_t *size, struct cs_error *error)
{
    struct computation *computation = context;

    atomic_fetch_add(&computation->runs, 1);
    usleep(computation->sleep_us);
    if (computation->fail)
        return csi_fail(error, CS_CORRUPT_IMAGE, "this one is broken");
    *bytes = malloc(computation->size);
    *size = computation->size;
    memset(*bytes, computation->fill, computation->size);
    return CS_OK;
}

static enum cs_cache_result ask(struct csi_cache *cache, uint32_t number, struct computation *computation)
{
    struct csi_hash key = key_of(number);
    struct csi_cached value;
    enum cs_cache_result result;

    assert_int_equal(csi_cache_get_or_compute(cache, &key, compute, computation, &value, &result, NULL),
                     CS_OK);
    assert_int_equal(value.size, computation->size);
    for (size_t i = 0; i < value.size; i++)
        assert_int_equal(value.bytes[i], computation->fill);
    csi_cached_release(&value);
    return result;
}

static void hits_and_misses_add_up(void **state)
{
    struct csi_cache *cache = make(1 << 20, 0);
    struct computation computation = {.size = 100, .fill = 7};
    struct cs_cache_stats stats;

    (void)state;
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(ask(cache, i, &computation), CS_CACHE_MISS);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(ask(cache, i, &computation), CS_CACHE_HIT);
    csi_cache_stats(cache, &stats);
    assert_true(stats.enabled);
    assert_int_equal(stats.hits, 10);
    assert_int_equal(stats.misses, 10);
    assert_int_equal(stats.coalesced, 0);
    assert_int_equal(stats.entries, 10);
    assert_true(stats.bytes >= 1000 && stats.bytes < 10000);
    assert_int_equal(atomic_load(&computation.runs), 10);
    csi_cache_destroy(cache);
}

static void an_off_cache_computes_every_time(void **state)
{
    struct csi_cache *cache = make(0, 0);
    struct computation computation = {.size = 100, .fill = 7};
    struct cs_cache_stats stats;

    (void)state;
    assert_int_equal(ask(cache, 1, &computation), CS_CACHE_OFF);
    assert_int_equal(ask(cache, 1, &computation), CS_CACHE_OFF);
    csi_cache_stats(cache, &stats);
    assert_false(stats.enabled);
    assert_int_equal(stats.hits + stats.misses + stats.coalesced + stats.entries, 0);
    csi_cache_destroy(cache);
}

static void the_least_recently_used_goes_first(void **state)
{
    struct csi_cache *cache = make(11000, 0); /* ten of 1000 bytes with their overhead do not fit, nine do */
    struct computation computation = {.size = 1000, .fill = 1};
    struct cs_cache_stats stats;
    struct csi_hash key;

    (void)state;
    for (uint32_t i = 0; i < 9; i++)
        ask(cache, i, &computation);
    assert_int_equal(ask(cache, 0, &computation), CS_CACHE_HIT); /* now 1 is the oldest */
    for (uint32_t i = 100; i < 103; i++)
        ask(cache, i, &computation);
    csi_cache_stats(cache, &stats);
    assert_true(stats.bytes <= stats.max_bytes);
    assert_true(stats.evictions > 0);
    key = key_of(0);
    assert_true(csi_cache_contains(cache, &key));
    key = key_of(1);
    assert_false(csi_cache_contains(cache, &key));
    key = key_of(102);
    assert_true(csi_cache_contains(cache, &key));
    csi_cache_destroy(cache);
}

static void what_is_larger_than_the_bound_is_answered_not_kept(void **state)
{
    struct csi_cache *cache = make(1000, 0);
    struct computation computation = {.size = 5000, .fill = 9};
    struct cs_cache_stats stats;

    (void)state;
    assert_int_equal(ask(cache, 1, &computation), CS_CACHE_MISS);
    csi_cache_stats(cache, &stats);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.bytes, 0);
    csi_cache_destroy(cache);
}

static void entries_age(void **state)
{
    struct csi_cache *cache = make(1 << 20, 0.05);
    struct computation computation = {.size = 10, .fill = 3};
    struct cs_cache_stats stats;

    (void)state;
    assert_int_equal(ask(cache, 1, &computation), CS_CACHE_MISS);
    assert_int_equal(ask(cache, 1, &computation), CS_CACHE_HIT);
    usleep(80000);
    assert_int_equal(ask(cache, 1, &computation), CS_CACHE_MISS);
    csi_cache_stats(cache, &stats);
    assert_int_equal(stats.expired, 1);
    assert_int_equal(stats.entries, 1);
    csi_cache_destroy(cache);
}

static void a_failure_is_told_and_not_kept(void **state)
{
    struct csi_cache *cache = make(1 << 20, 0);
    struct computation computation = {.size = 10, .fill = 3, .fail = true};
    struct csi_hash key = key_of(5);
    struct csi_cached value;
    enum cs_cache_result result;
    struct cs_error error;

    (void)state;
    assert_int_equal(csi_cache_get_or_compute(cache, &key, compute, &computation, &value, &result, &error),
                     CS_CORRUPT_IMAGE);
    assert_string_equal(error.message, "this one is broken");
    assert_null(value.bytes);
    computation.fail = false;
    assert_int_equal(ask(cache, 5, &computation), CS_CACHE_MISS);
    csi_cache_destroy(cache);
}

#define THREADS 16

struct crowd {
    struct csi_cache *cache;
    struct computation *computation;
    pthread_barrier_t *start;
    uint32_t number, rounds;
    unsigned failures;
};

static void *crowd_member(void *context)
{
    struct crowd *crowd = context;

    pthread_barrier_wait(crowd->start);
    for (uint32_t i = 0; i < crowd->rounds; i++) {
        struct csi_hash key = key_of(crowd->rounds == 1 ? crowd->number : i % 40);
        struct csi_cached value;
        enum cs_cache_result result;
        struct cs_error error = {0};
        enum cs_status status = csi_cache_get_or_compute(crowd->cache, &key, compute, crowd->computation,
                                                         &value, &result, &error);

        if (status != CS_OK) {
            assert_string_equal(error.message, "this one is broken");
            crowd->failures++;
        }
        csi_cached_release(&value);
        if (i % 64 == 63)
            csi_cache_clear(crowd->cache, NULL);
    }
    return NULL;
}

static unsigned run_crowd(struct csi_cache *cache, struct computation *computation, uint32_t rounds)
{
    pthread_t threads[THREADS];
    pthread_barrier_t start;
    struct crowd crowds[THREADS];
    unsigned failures = 0;

    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        crowds[i] = (struct crowd){cache, computation, &start, 77, rounds, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_member, &crowds[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        failures += crowds[i].failures;
    }
    pthread_barrier_destroy(&start);
    return failures;
}

static void identical_requests_at_once_are_computed_once(void **state)
{
    struct csi_cache *cache = make(1 << 20, 0);
    struct computation computation = {.size = 100, .fill = 7, .sleep_us = 100000};
    struct cs_cache_stats stats;

    (void)state;
    assert_int_equal(run_crowd(cache, &computation, 1), 0);
    csi_cache_stats(cache, &stats);
    assert_int_equal(atomic_load(&computation.runs), 1);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.hits + stats.coalesced, THREADS - 1);
    assert_true(stats.coalesced > 0);
    csi_cache_destroy(cache);
}

static void all_who_waited_hear_of_a_failure(void **state)
{
    struct csi_cache *cache = make(1 << 20, 0);
    struct computation computation = {.sleep_us = 100000, .fail = true};
    struct cs_cache_stats stats;

    (void)state;
    assert_int_equal(run_crowd(cache, &computation, 1), THREADS);
    csi_cache_stats(cache, &stats);
    assert_int_equal(stats.hits, 0);
    assert_int_equal(stats.misses + stats.coalesced, THREADS);
    assert_true(atomic_load(&computation.runs) < THREADS);
    assert_int_equal(stats.entries, 0);
    csi_cache_destroy(cache);
}

/* Small bound, clears in between: evictions, flights and clears meet; the counters still add up. */
static void a_crowd_with_clears_adds_up(void **state)
{
    struct csi_cache *cache = make(20000, 0);
    struct computation computation = {.size = 900, .fill = 7};
    struct cs_cache_stats stats;

    (void)state;
    assert_int_equal(run_crowd(cache, &computation, 500), 0);
    csi_cache_stats(cache, &stats);
    assert_int_equal(stats.hits + stats.misses + stats.coalesced, THREADS * 500);
    assert_int_equal(stats.misses, atomic_load(&computation.runs));
    assert_true(stats.bytes <= stats.max_bytes);
    csi_cache_destroy(cache);
}

/* Clears its own cache while it runs, as a new model does while a photo is computed. */
struct clearing {
    struct csi_cache *cache;
};

static enum cs_status compute_and_clear(void *context, uint8_t **bytes, size_t *size, struct cs_error *error)
{
    struct clearing *clearing = context;

    (void)error;
    csi_cache_clear(clearing->cache, NULL);
    *bytes = calloc(1, 4);
    *size = 4;
    return CS_OK;
}

static void what_was_begun_before_a_clear_is_not_kept(void **state)
{
    struct csi_cache *cache = make(1 << 20, 0);
    struct clearing clearing = {cache};
    struct csi_hash key = key_of(1);
    struct csi_cached value;
    enum cs_cache_result result;

    (void)state;
    assert_int_equal(
        csi_cache_get_or_compute(cache, &key, compute_and_clear, &clearing, &value, &result, NULL), CS_OK);
    assert_int_equal(value.size, 4);
    csi_cached_release(&value);
    assert_false(csi_cache_contains(cache, &key));
    csi_cache_destroy(cache);
}

/* The same for who computes by himself: a clear between asking for the generation and putting. */
static void what_is_put_after_a_clear_is_not_kept(void **state)
{
    struct csi_cache *cache = make(1 << 20, 0);
    struct csi_hash key = key_of(1);
    uint64_t generation = csi_cache_generation(cache);

    (void)state;
    csi_cache_clear(cache, NULL);
    csi_cache_put(cache, &key, "leaf", 5, generation);
    assert_false(csi_cache_contains(cache, &key));
    csi_cache_put(cache, &key, "leaf", 5, csi_cache_generation(cache));
    assert_true(csi_cache_contains(cache, &key));
    csi_cache_destroy(cache);
}

/* A lent value outlives its entry. */
static void a_value_in_use_survives_the_clear(void **state)
{
    struct csi_cache *cache = make(1 << 20, 0);
    struct csi_hash key = key_of(1);
    struct csi_cached value;

    (void)state;
    csi_cache_put(cache, &key, "leaf", 5, csi_cache_generation(cache));
    assert_true(csi_cache_peek(cache, &key, &value));
    csi_cache_clear(cache, NULL);
    assert_string_equal((const char *)value.bytes, "leaf");
    csi_cached_release(&value);
    csi_cache_destroy(cache);
}

static void many_entries_grow_the_table(void **state)
{
    struct csi_cache *cache = make(64u << 20, 0);
    struct computation computation = {.size = 16, .fill = 2};

    (void)state;
    for (uint32_t i = 0; i < 20000; i++)
        assert_int_equal(ask(cache, i, &computation), CS_CACHE_MISS);
    for (uint32_t i = 0; i < 20000; i++)
        assert_int_equal(ask(cache, i, &computation), CS_CACHE_HIT);
    csi_cache_destroy(cache);
    csi_cache_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hits_and_misses_add_up),
        cmocka_unit_test(an_off_cache_computes_every_time),
        cmocka_unit_test(the_least_recently_used_goes_first),
        cmocka_unit_test(what_is_larger_than_the_bound_is_answered_not_kept),
        cmocka_unit_test(entries_age),
        cmocka_unit_test(a_failure_is_told_and_not_kept),
        cmocka_unit_test(identical_requests_at_once_are_computed_once),
        cmocka_unit_test(all_who_waited_hear_of_a_failure),
        cmocka_unit_test(a_crowd_with_clears_adds_up),
        cmocka_unit_test(what_was_begun_before_a_clear_is_not_kept),
        cmocka_unit_test(what_is_put_after_a_clear_is_not_kept),
        cmocka_unit_test(a_value_in_use_survives_the_clear),
        cmocka_unit_test(many_entries_grow_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
