/* The compute pool: every index once, order, nesting, callers taking turns, oversleeping workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/thread_pool.h"

#define MOST 5000u

struct tally {
    struct csi_pool *pool;
    atomic_uint hits[MOST];
    atomic_uint wrong_workers;
    atomic_uint inner;
};

static void count_hit(void *context, size_t index, unsigned worker)
{
    struct tally *tally = context;

    atomic_fetch_add(&tally->hits[index], 1);
    if (worker >= csi_pool_threads(tally->pool))
        atomic_fetch_add(&tally->wrong_workers, 1);
}

static void check_tally(struct tally *tally, size_t count, unsigned expected)
{
    for (size_t i = 0; i < MOST; i++)
        assert_int_equal(atomic_load(&tally->hits[i]), i < count ? expected : 0);
    assert_int_equal(atomic_load(&tally->wrong_workers), 0);
}

static void test_each_index_once(void **state)
{
    static const size_t counts[] = {0, 1, 2, 3, 7, 100, MOST};

    (void)state;
    for (unsigned threads = 1; threads <= 5; threads++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            static struct tally tally;

            tally = (struct tally){0};
            assert_int_equal(csi_pool_create(threads, &tally.pool, NULL), CS_OK);
            assert_int_equal(csi_pool_threads(tally.pool), threads);
            for (unsigned round = 1; round <= 20; round++)
                csi_pool_run(tally.pool, counts[c], count_hit, &tally);
            check_tally(&tally, counts[c], 20);
            csi_pool_destroy(tally.pool);
        }
    }
}

/* Thousands of short regions back to back: a worker may sleep through some, none may be lost. */
static void test_many_short_regions(void **state)
{
    static struct tally tally;

    (void)state;
    tally = (struct tally){0};
    assert_int_equal(csi_pool_create(3, &tally.pool, NULL), CS_OK);
    for (unsigned round = 0; round < 5000; round++)
        csi_pool_run(tally.pool, 4, count_hit, &tally);
    check_tally(&tally, 4, 5000);
    csi_pool_destroy(tally.pool);
}

static void test_after_sleep(void **state)
{
    static struct tally tally;
    const struct timespec pause = {0, 3000000};

    (void)state;
    tally = (struct tally){0};
    assert_int_equal(csi_pool_create(4, &tally.pool, NULL), CS_OK);
    for (unsigned round = 0; round < 20; round++) {
        nanosleep(&pause, NULL); /* longer than workers spin */
        csi_pool_run(tally.pool, 64, count_hit, &tally);
    }
    check_tally(&tally, 64, 20);
    csi_pool_destroy(tally.pool);
}

static void slow_task(void *context, size_t index, unsigned worker)
{
    const struct timespec pause = {0, 2000000};

    nanosleep(&pause, NULL); /* the caller finishes first and has to wait asleep */
    count_hit(context, index, worker);
}

static void test_waits_for_slow_workers(void **state)
{
    static struct tally tally;

    (void)state;
    tally = (struct tally){0};
    assert_int_equal(csi_pool_create(4, &tally.pool, NULL), CS_OK);
    for (unsigned round = 0; round < 10; round++)
        csi_pool_run(tally.pool, 5, slow_task, &tally);
    check_tally(&tally, 5, 10);
    csi_pool_destroy(tally.pool);
}

struct inner_job {
    struct tally *tally;
    unsigned outer_worker;
    size_t next;
};

static void inner_task(void *context, size_t index, unsigned worker)
{
    struct inner_job *job = context;

    /* Serial, in order, on the worker that called. */
    if (index != job->next++ || worker != job->outer_worker)
        atomic_fetch_add(&job->tally->wrong_workers, 1);
    atomic_fetch_add(&job->tally->inner, 1);
}

static void outer_task(void *context, size_t index, unsigned worker)
{
    struct tally *tally = context;
    struct inner_job job = {tally, worker, 0};

    csi_pool_run(tally->pool, 10, inner_task, &job);
    count_hit(context, index, worker);
}

static void test_nested_calls_run_serially(void **state)
{
    static struct tally tally;

    (void)state;
    tally = (struct tally){0};
    assert_int_equal(csi_pool_create(3, &tally.pool, NULL), CS_OK);
    csi_pool_run(tally.pool, 50, outer_task, &tally);
    check_tally(&tally, 50, 1);
    assert_int_equal(atomic_load(&tally.inner), 500);
    csi_pool_destroy(tally.pool);
}

static void *call_repeatedly(void *context)
{
    struct tally *tally = context;

    for (unsigned round = 0; round < 200; round++)
        csi_pool_run(tally->pool, 30, count_hit, tally);
    return NULL;
}

static void test_callers_take_turns(void **state)
{
    static struct tally tallies[4];
    pthread_t threads[4];
    struct csi_pool *pool;

    (void)state;
    assert_int_equal(csi_pool_create(3, &pool, NULL), CS_OK);
    for (size_t i = 0; i < 4; i++) {
        tallies[i] = (struct tally){.pool = pool};
        assert_int_equal(pthread_create(&threads[i], NULL, call_repeatedly, &tallies[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        check_tally(&tallies[i], 30, 200);
    }
    csi_pool_destroy(pool);
}

static void ascending(void *context, size_t index, unsigned worker)
{
    size_t *next = context;

    assert_int_equal(worker, 0);
    assert_int_equal(index, (*next)++);
}

static void test_without_a_pool(void **state)
{
    size_t next = 0;

    (void)state;
    csi_pool_run(NULL, 12, ascending, &next);
    assert_int_equal(next, 12);
    assert_int_equal(csi_pool_threads(NULL), 1);
    csi_pool_destroy(NULL);
}

static void test_wrong_sizes(void **state)
{
    struct csi_pool *pool = (struct csi_pool *)1;
    struct cs_error error;

    (void)state;
    assert_int_equal(csi_pool_create(0, &pool, &error), CS_BAD_REQUEST);
    assert_null(pool);
    assert_int_equal(csi_pool_create(100000, &pool, &error), CS_BAD_REQUEST);
    assert_null(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_index_once),
                                       cmocka_unit_test(test_many_short_regions),
                                       cmocka_unit_test(test_after_sleep),
                                       cmocka_unit_test(test_waits_for_slow_workers),
                                       cmocka_unit_test(test_nested_calls_run_serially),
                                       cmocka_unit_test(test_callers_take_turns),
                                       cmocka_unit_test(test_without_a_pool),
                                       cmocka_unit_test(test_wrong_sizes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
