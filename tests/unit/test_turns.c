/*
 * Turns at the cores: who goes together, who alone, in which order. Passes are stood in for by threads that
 * enter, say what they got, and leave when they are told to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cropshield/cropshield.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "diagnosis/turns.h"
#include "unit/tiny_model.h"

enum { THREADS = 3, STRESS = 400 };

struct pass {
    struct csi_turns *turns;
    enum csi_turn_wish wish;
    atomic_int got; /* -1: waits; 0: together; 1: alone */
    atomic_bool go;
    pthread_t thread;
};

static void rest(long ns)
{
    nanosleep(&(struct timespec){0, ns}, NULL);
}

static void *run_pass(void *context)
{
    struct pass *pass = context;
    bool alone = csi_turns_enter(pass->turns, pass->wish);

    atomic_store(&pass->got, alone);
    while (!atomic_load(&pass->go))
        rest(100000);
    csi_turns_leave(pass->turns, alone);
    return NULL;
}

static uint64_t tickets(struct csi_turns *turns)
{
    uint64_t count;

    pthread_mutex_lock(&turns->lock);
    count = turns->tickets;
    pthread_mutex_unlock(&turns->lock);
    return count;
}

/* Begins a pass; returns when it has its turn or stands in the queue. */
static void begin(struct pass *pass, struct csi_turns *turns, enum csi_turn_wish wish)
{
    uint64_t before = tickets(turns);

    pass->turns = turns;
    pass->wish = wish;
    atomic_store(&pass->got, -1);
    atomic_store(&pass->go, false);
    assert_int_equal(pthread_create(&pass->thread, NULL, run_pass, pass), 0);
    while (tickets(turns) == before)
        rest(100000);
}

/* What a pass got, once it has it. */
static int await(struct pass *pass)
{
    while (atomic_load(&pass->got) < 0)
        rest(100000);
    return atomic_load(&pass->got);
}

/* Still waiting a while later. */
static bool waits(struct pass *pass)
{
    rest(5000000);
    return atomic_load(&pass->got) < 0;
}

static void end(struct pass *pass)
{
    atomic_store(&pass->go, true);
    pthread_join(pass->thread, NULL);
}

static void few_take_turns_over_all_cores(void **state)
{
    struct csi_turns turns;
    struct pass passes[THREADS];

    (void)state;
    csi_turns_init(&turns, THREADS);
    for (int i = 0; i < THREADS; i++)
        begin(&passes[i], &turns, CSI_TURN_ANY); /* one runs, fewer than there are cores wait */
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(await(&passes[i]), 0);
        if (i + 1 < THREADS)
            assert_true(waits(&passes[i + 1]));
        end(&passes[i]);
    }
    csi_turns_destroy(&turns);
}

static void many_go_a_core_each(void **state)
{
    struct csi_turns turns;
    struct pass passes[THREADS + 3];

    (void)state;
    csi_turns_init(&turns, THREADS);
    for (int i = 0; i <= THREADS; i++)
        begin(&passes[i], &turns, CSI_TURN_ANY);
    assert_int_equal(await(&passes[0]), 0);
    assert_true(waits(&passes[1]));
    end(&passes[0]);
    for (int i = 1; i <= THREADS; i++) /* all at the same time: none has ended */
        assert_int_equal(await(&passes[i]), 1);
    begin(&passes[0], &turns, CSI_TURN_ANY);
    assert_true(waits(&passes[0])); /* the cores are taken */
    end(&passes[1]);
    assert_int_equal(await(&passes[0]), 1); /* a core is free, others still compute alone */
    end(&passes[2]);
    begin(&passes[THREADS + 1], &turns, CSI_TURN_ANY);
    assert_int_equal(await(&passes[THREADS + 1]), 1);
    end(&passes[0]);
    end(&passes[THREADS + 1]);
    for (int i = 3; i <= THREADS; i++)
        end(&passes[i]);
    begin(&passes[0], &turns, CSI_TURN_ANY);
    assert_int_equal(await(&passes[0]), 0); /* quiet again */
    end(&passes[0]);
    csi_turns_destroy(&turns);
}

static void wishes_are_kept_in_order_of_coming(void **state)
{
    struct csi_turns turns;
    struct pass stream[2], batch, request;

    (void)state;
    csi_turns_init(&turns, THREADS);
    begin(&stream[0], &turns, CSI_TURN_ALONE);
    begin(&stream[1], &turns, CSI_TURN_ALONE);
    assert_int_equal(await(&stream[0]), 1);
    assert_int_equal(await(&stream[1]), 1);
    begin(&batch, &turns, CSI_TURN_TOGETHER);
    begin(&request, &turns, CSI_TURN_ANY); /* a core is free, but the batch came first */
    assert_true(waits(&batch) && waits(&request));
    end(&stream[0]);
    assert_true(waits(&batch) && waits(&request));
    end(&stream[1]);
    assert_int_equal(await(&batch), 0);
    assert_true(waits(&request));
    end(&batch);
    assert_int_equal(await(&request), 0);
    end(&request);
    csi_turns_destroy(&turns);
}

struct stress {
    struct csi_turns turns;
    enum csi_turn_wish wish;
    atomic_int together, alone, wrong, passes;
};

static void *stress(void *context)
{
    struct stress *all = context;
    unsigned random = (unsigned)(uintptr_t)&random >> 8 | 1;

    for (int i = 0; i < STRESS; i++) {
        enum csi_turn_wish wish = (enum csi_turn_wish)((random = random * 1664525u + 1013904223u) >> 16) % 3;
        bool alone = csi_turns_enter(&all->turns, wish);
        int together_now = alone ? atomic_load(&all->together) : atomic_fetch_add(&all->together, 1);
        int alone_now = alone ? atomic_fetch_add(&all->alone, 1) : atomic_load(&all->alone);

        if (together_now != 0 || alone_now >= (alone ? THREADS : 1) || (wish == CSI_TURN_ALONE && !alone) ||
            (wish == CSI_TURN_TOGETHER && alone))
            atomic_fetch_add(&all->wrong, 1);
        atomic_fetch_add(&all->passes, 1);
        atomic_fetch_sub(alone ? &all->alone : &all->together, 1);
        csi_turns_leave(&all->turns, alone);
    }
    return NULL;
}

static void no_core_is_given_twice(void **state)
{
    static struct stress all;
    pthread_t threads[2 * THREADS];

    (void)state;
    csi_turns_init(&all.turns, THREADS);
    for (int i = 0; i < 2 * THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, stress, &all), 0);
    for (int i = 0; i < 2 * THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&all.wrong), 0);
    assert_int_equal(atomic_load(&all.passes), 2 * THREADS * STRESS);
    csi_turns_destroy(&all.turns);
}

struct crowd {
    cs_model *model;
    const float *input, *want;
    atomic_int wrong;
};

static void *crowd_member(void *context)
{
    struct crowd *crowd = context;
    cs_session *session = NULL;
    bool right = cs_session_create(crowd->model, &session, NULL) == CS_OK;

    for (int i = 0; right && i < 30; i++)
        right = cs_session_forward(session, crowd->input, 1, NULL) == CS_OK &&
                memcmp(cs_session_logits(session), crowd->want, TINY_CLASSES * sizeof(float)) == 0;
    if (!right)
        atomic_fetch_add(&crowd->wrong, 1);
    cs_session_destroy(session);
    return NULL;
}

/* However many there are at a time, and whichever way they go: the same numbers. */
static void a_crowd_gets_what_one_gets(void **state)
{
    char path[] = "/tmp/cropshield-turns-XXXXXX";
    struct cs_model_options options = cs_model_options_defaults();
    struct crowd crowd = {0};
    cs_session *session = NULL;
    pthread_t threads[2 * THREADS];
    float *input, want[TINY_CLASSES];
    size_t elements;
    int file = mkstemp(path);

    (void)state;
    assert_true(file >= 0 && tiny_model_write(path, 1));
    options.path = path;
    options.threads = THREADS;
    assert_int_equal(cs_model_load(&options, &crowd.model, NULL), CS_OK);
    elements = (size_t)3 * cs_model_info(crowd.model).input_size * cs_model_info(crowd.model).input_size;
    crowd.input = input = malloc(elements * sizeof *input);
    assert_non_null(input);
    for (size_t i = 0; i < elements; i++)
        input[i] = (float)(i * 2654435761u % 1000) / 500.0f - 1;
    assert_int_equal(cs_session_create(crowd.model, &session, NULL), CS_OK);
    assert_int_equal(cs_session_forward(session, input, 1, NULL), CS_OK);
    memcpy(want, cs_session_logits(session), sizeof want);
    crowd.want = want;
    for (int i = 0; i < 2 * THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_member, &crowd), 0);
    for (int i = 0; i < 2 * THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.wrong), 0);
    cs_session_destroy(session);
    cs_model_destroy(crowd.model);
    free(input);
    close(file);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_take_turns_over_all_cores),      cmocka_unit_test(many_go_a_core_each),
        cmocka_unit_test(wishes_are_kept_in_order_of_coming), cmocka_unit_test(no_core_is_given_twice),
        cmocka_unit_test(a_crowd_gets_what_one_gets),
    };

    return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}
