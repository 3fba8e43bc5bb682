/* Sessions without a server: what is said of the recorded times, and who has to go when the table is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "server/session.h"

static struct csi_sessions *sessions_of(size_t limit, double idle_s)
{
    struct csi_sessions *sessions;

    assert_int_equal(csi_sessions_create(limit, idle_s, &sessions, NULL), CS_OK);
    return sessions;
}

static json_t *performance_of(struct csi_sessions *sessions, struct csi_session *session)
{
    struct csi_buffer text;
    json_t *json;

    csi_buffer_init(&text);
    csi_session_performance_json(sessions, session, 200, &text);
    json = json_loadb((const char *)text.bytes, text.size, 0, NULL);
    assert_non_null(json);
    csi_buffer_free(&text);
    return json;
}

static double figure(const json_t *json, const char *key)
{
    assert_true(json_is_number(json_object_get(json, key)));
    return json_number_value(json_object_get(json, key));
}

/* Least, largest and mean are those of all requests, also of those that the list has forgotten. */
static void figures_are_of_all_requests(void **state)
{
    static const double totals[25] = {40, 10, 90.5, 20}; /* then 30 each */
    struct csi_sessions *sessions = sessions_of(10, 60);
    struct csi_session *session;
    json_t *json;
    bool created;

    (void)state;
    session = csi_session_get(sessions, NULL, &created);
    json = performance_of(sessions, session);
    assert_true(json_is_null(json_object_get(json, "min_ms")) &&
                json_is_null(json_object_get(json, "mean_ms")));
    json_decref(json);
    for (size_t i = 0; i < 25; i++) {
        cs_diagnosis diagnosis = {.name = "leaf.jpg",
                                  .prediction_cache = i < 5 ? CS_CACHE_MISS : CS_CACHE_HIT};

        diagnosis.timings.total = i < 4 ? totals[i] : 30;
        csi_session_record(sessions, session, &diagnosis, "{}", 2);
        if (i != 3)
            continue;
        json = performance_of(sessions, session);
        assert_float_equal(figure(json, "mean_last_10_ms"), 160.5 / 4, 0.001);
        json_decref(json);
    }
    json = performance_of(sessions, session);
    assert_float_equal(figure(json, "min_ms"), 10, 1e-9);
    assert_float_equal(figure(json, "max_ms"), 90.5, 1e-9);
    assert_float_equal(figure(json, "mean_ms"), (160.5 + 21 * 30) / 25, 0.001);
    assert_float_equal(figure(json, "mean_last_10_ms"), 30, 1e-9);
    assert_float_equal(figure(json, "count"), 25, 0);
    assert_float_equal(figure(json, "cold"), 5, 0);
    assert_float_equal(figure(json, "warm"), 20, 0);
    assert_int_equal(json_array_size(json_object_get(json, "requests")), 20);
    json_decref(json);
    csi_session_release(sessions, session);
    csi_sessions_destroy(sessions);
}

/* A new session, which is not kept hold of; `token` gets its cookie. */
static void visit(struct csi_sessions *sessions, char token[CSI_SESSION_TOKEN_SIZE])
{
    bool created;
    struct csi_session *session = csi_session_get(sessions, NULL, &created);

    assert_non_null(session);
    assert_true(created);
    snprintf(token, CSI_SESSION_TOKEN_SIZE, "%s", csi_session_token(session));
    csi_session_release(sessions, session);
}

static bool known(struct csi_sessions *sessions, const char *token)
{
    struct csi_session *session = csi_session_find(sessions, token);

    csi_session_release(sessions, session);
    return session != NULL;
}

/* A script that keeps no cookie opens a session with each request: people, who come back with theirs, stay.
 */
static void scripts_push_nobody_out(void **state)
{
    struct csi_sessions *sessions = sessions_of(4, 60);
    char people[2][CSI_SESSION_TOKEN_SIZE], script[CSI_SESSION_TOKEN_SIZE], last[CSI_SESSION_TOKEN_SIZE];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        visit(sessions, people[i]);
        assert_true(known(sessions, people[i]));
    }
    for (size_t i = 0; i < 20; i++) {
        snprintf(last, sizeof last, "%s", i == 0 ? "" : script);
        visit(sessions, script);
        assert_true(csi_sessions_count(sessions) <= 4);
    }
    for (size_t i = 0; i < 2; i++)
        assert_true(known(sessions, people[i]));
    assert_true(known(sessions, script)); /* the newest ones are there, and have come back now */
    assert_true(known(sessions, last));
    visit(sessions, script); /* all had come back: the one that was away longest goes */
    assert_false(known(sessions, people[0]));
    assert_true(known(sessions, people[1]));
    assert_int_equal(csi_sessions_count(sessions), 4);
    csi_sessions_destroy(sessions);
}

/* Without the token nobody gets a session of somebody who has shown it out of the table, come back or not. */
static void visitors_push_no_authorized_one_out(void **state)
{
    struct csi_sessions *sessions = sessions_of(4, 60);
    char owners[2][CSI_SESSION_TOKEN_SIZE], stranger[CSI_SESSION_TOKEN_SIZE];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        bool created;
        struct csi_session *session = csi_session_get(sessions, NULL, &created);

        snprintf(owners[i], sizeof owners[i], "%s", csi_session_token(session));
        csi_session_authorize(sessions, session);
        csi_session_release(sessions, session);
    }
    assert_true(known(sessions, owners[0])); /* the other one has not come back yet */
    for (size_t i = 0; i < 20; i++) {
        visit(sessions, stranger);
        assert_true(known(sessions, stranger));
    }
    assert_true(known(sessions, owners[0]));
    assert_true(known(sessions, owners[1]));
    assert_int_equal(csi_sessions_count(sessions), 4);
    csi_sessions_destroy(sessions);
}

/* Who was idle for too long goes first, and is known no more. */
static void idle_sessions_go(void **state)
{
    const struct timespec wait = {0, 30000000};
    struct csi_sessions *sessions = sessions_of(10, 0.02);
    char first[CSI_SESSION_TOKEN_SIZE], second[CSI_SESSION_TOKEN_SIZE];

    (void)state;
    visit(sessions, first);
    visit(sessions, second);
    nanosleep(&wait, NULL);
    assert_false(known(sessions, first));
    assert_int_equal(csi_sessions_count(sessions), 1);
    visit(sessions, first);
    assert_int_equal(csi_sessions_count(sessions), 1);
    csi_sessions_destroy(sessions);
}

struct crowd {
    struct csi_sessions *sessions;
    const char *token;
    uint64_t start_ns;
    _Atomic unsigned lost;
};

static void *come_back(void *context)
{
    struct crowd *crowd = context;

    while (csi_ms_since(crowd->start_ns) < 400) {
        bool created;
        struct csi_session *session = csi_session_get(crowd->sessions, crowd->token, &created);

        crowd->lost += created;
        csi_session_release(crowd->sessions, session);
    }
    return NULL;
}

/* Many requests of one session at the same time: none finds it gone, however they wait for each other. */
static void requests_at_once_keep_their_session(void **state)
{
    struct csi_sessions *sessions = sessions_of(10, 3600);
    char token[CSI_SESSION_TOKEN_SIZE];
    struct crowd crowd = {.sessions = sessions, .token = token};
    pthread_t threads[4];

    (void)state;
    visit(sessions, token);
    crowd.start_ns = csi_now_ns();
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_back, &crowd), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.lost, 0);
    assert_int_equal(csi_sessions_count(sessions), 1);
    assert_true(known(sessions, token));
    csi_sessions_destroy(sessions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_of_all_requests),         cmocka_unit_test(scripts_push_nobody_out),
        cmocka_unit_test(visitors_push_no_authorized_one_out), cmocka_unit_test(idle_sessions_go),
        cmocka_unit_test(requests_at_once_keep_their_session),
    };

    return cmocka_run_group_tests_name("sessions", tests, NULL, NULL);
}
