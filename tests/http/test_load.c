/*
 * 1,000 mixed requests from 16 clients at once: good, repeated, broken, foreign, aborted. Every good one is
 * answered right, memory stays flat, no descriptor is left. And what happens past the limit of requests in
 * flight. CROPSHIELD_TESTS=short, set for sanitizers, takes the small network: what races would race with it,
 * too.
 */
#include "http/support.h"

#include <pthread.h>
#include <stdatomic.h>

#define CLIENTS  16
#define REQUESTS 1000
#define PHOTOS   12

static struct csi_buffer photos[PHOTOS];
static char expected_id[PHOTOS][CS_ID_SIZE];
static size_t expected_class[PHOTOS];
static double expected_probability[PHOTOS];
static _Atomic int next_request, good, refused, aborted, wrong;

/* cmocka's assertions work on the main thread only: clients count, the test asserts. */
static void expect(bool condition, const char *what, const struct answer *answer)
{
    if (!condition && atomic_fetch_add(&wrong, 1) < 5)
        fprintf(stderr, "wrong: %s: %d %s\n", what, answer == NULL ? 0 : answer->status,
                answer == NULL || answer->body == NULL ? "" : answer->body);
}

static void check_diagnosis(const struct answer *answer, int photo)
{
    json_t *json = json_loadb(answer->body, answer->body_size, 0, NULL), *first;

    first = json_array_get(json_object_get(json, "predictions"), 0);
    expect(answer->status == 200 && json != NULL, "a good photo", answer);
    if (answer->status == 200 && json != NULL) {
        const char *id = json_string_value(json_object_get(json, "id"));
        double probability = json_number_value(json_object_get(first, "probability"));

        expect(id != NULL && strcmp(id, expected_id[photo]) == 0, "id", answer);
        expect(json_integer_value(json_object_get(first, "index")) == (json_int_t)expected_class[photo],
               "class", answer);
        expect(probability > expected_probability[photo] - 1e-4 &&
                   probability < expected_probability[photo] + 1e-4,
               "probability", answer);
        atomic_fetch_add(&good, 1);
    }
    json_decref(json);
}

static void good_request(int number)
{
    int photo = number / 10 % PHOTOS; /* repeated: hits, and equal ones at the same time */
    struct answer answer = request("POST", number % 20 == 0 ? "/api/v1/predict?gradcam=1" : "/api/v1/predict",
                                   "", photos[photo].bytes, photos[photo].size);

    check_diagnosis(&answer, photo);
    answer_free(&answer);
}

static void form_request(int number)
{
    int photo = number % PHOTOS;
    struct csi_buffer form;
    struct answer answer;

    csi_buffer_init(&form);
    add_part(&form, "image", "leaf.jpg", photos[photo].bytes, photos[photo].size);
    csi_buffer_printf(&form, FORM_END);
    answer = request("POST", "/api/v1/predict", FORM_TYPE, form.bytes, form.size);
    check_diagnosis(&answer, photo);
    answer_free(&answer);
    csi_buffer_free(&form);
}

static void broken_request(int number)
{
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nhello", 415},
        {"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: "
         "5\r\n\r\nhello",
         400},
        {"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000000\r\n\r\nhello", 413},
        {"GET /api/v1/nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404},
        {"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400},
        {"garbage\r\n\r\n", 400},
    };
    size_t row = (size_t)number % (sizeof rows / sizeof rows[0]);
    struct answer answer = exchange_text(rows[row].text);

    expect(answer.status == rows[row].status, rows[row].text, &answer);
    atomic_fetch_add(&refused, 1);
    answer_free(&answer);
}

static void truncated_photo(int number)
{
    struct answer answer = request("POST", "/api/v1/predict", "", photos[number % PHOTOS].bytes, 300);

    expect(answer.status == 422, "a truncated photo", &answer);
    atomic_fetch_add(&refused, 1);
    answer_free(&answer);
}

static void aborted_upload(int number)
{
    struct linger hard = {1, 0};
    char text[160];
    int fd = dial();

    snprintf(text, sizeof text,
             "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %zu\r\n\r\n",
             photos[0].size);
    put_text(fd, text);
    put(fd, photos[0].bytes, number % 3 == 0 ? photos[0].size : photos[0].size / 2);
    if (number % 2 == 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    atomic_fetch_add(&aborted, 1);
}

static void *client(void *argument)
{
    int number;

    (void)argument;
    while ((number = atomic_fetch_add(&next_request, 1)) < REQUESTS)
        switch (number % 10) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4: good_request(number); break;
        case 5: form_request(number); break;
        case 6: broken_request(number / 10); break;
        case 7: truncated_photo(number); break;
        default: aborted_upload(number); break;
        }
    return NULL;
}

static void run_clients(void)
{
    pthread_t threads[CLIENTS];

    atomic_store(&next_request, 0);
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, client, NULL), 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
}

static double resident_mb(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

/* What the library says about each photo, without any server between. */
static void draw_and_expect(void)
{
    for (unsigned i = 0; i < PHOTOS; i++) {
        cs_diagnosis *diagnosis = NULL;
        struct cs_request ask = cs_request_defaults();
        struct cs_error error;

        photos[i] = draw_jpeg(100 + i, 500 + 40 * i, 400);
        ask.no_cache = true;
        if (cs_diagnose(diagnoser, photos[i].bytes, photos[i].size, &ask, &diagnosis, &error) != CS_OK)
            fail_msg("%s", error.message);
        memcpy(expected_id[i], diagnosis->id, sizeof expected_id[i]);
        expected_class[i] = diagnosis->predictions[0].index;
        expected_probability[i] = diagnosis->predictions[0].probability;
        cs_diagnosis_destroy(diagnosis);
    }
}

static void thousand_mixed_requests(void **state)
{
    double warm, after;
    unsigned fds, fds_after = 0;

    (void)state;
    draw_and_expect();
    run_clients(); /* the first thousand fills caches, pools and the allocator's arenas */
    pause_ms(2500);
    warm = resident_mb();
    fds = open_fds();
    atomic_store(&good, 0);
    atomic_store(&refused, 0);
    atomic_store(&aborted, 0);
    run_clients();
    for (int i = 0; i < 60 && (fds_after = open_fds()) > fds; i++)
        pause_ms(100);
    after = resident_mb();
    print_message("%d good, %d refused, %d aborted; resident %.1f -> %.1f MB; descriptors %u -> %u\n",
                  atomic_load(&good), atomic_load(&refused), atomic_load(&aborted), warm, after, fds,
                  fds_after);
    assert_int_equal(atomic_load(&wrong), 0);
    assert_int_equal(atomic_load(&good), 600);
    assert_int_equal(atomic_load(&refused), 200);
    assert_int_equal(atomic_load(&aborted), 200);
    assert_int_equal(fds_after, fds);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(after < warm * 1.05 + 4); /* sanitizers keep freed memory back */
#endif
    assert_alive();
}

/* Counters add up: each request that asked the prediction cache was a hit, a miss or coalesced. */
static void counters_add_up(void **state)
{
    struct cs_cache_stats before, after;

    (void)state;
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &before);
    run_clients();
    pause_ms(500); /* aborted uploads that were whole are diagnosed all the same */
    cs_diagnoser_cache_stats(diagnoser, CS_CACHE_PREDICTION, &after);
    assert_true(
        after.hits + after.misses + after.coalesced - before.hits - before.misses - before.coalesced >= 600);
    assert_true(after.hits > before.hits);
}

static _Atomic int served, overloaded;
static void *burst(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    struct csi_buffer photo = draw_jpeg(1000 + seed, 1600, 1200);
    struct answer answer = request("POST", "/api/v1/predict", "", photo.bytes, photo.size);

    if (answer.status == 200)
        atomic_fetch_add(&served, 1);
    else if (answer.status == 503 && atoi(answer_header(&answer, "Retry-After")) > 0)
        atomic_fetch_add(&overloaded, 1);
    answer_free(&answer);
    csi_buffer_free(&photo);
    return NULL;
}

static void past_the_limit_in_flight(void **state)
{
    struct csi_server_options options = test_options();
    pthread_t threads[CLIENTS];

    stop_server(state);
    options.max_in_flight = 2;
    start_with(&options);
    for (uintptr_t i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, burst, (void *)i), 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    print_message("%d served, %d told to come again\n", atomic_load(&served), atomic_load(&overloaded));
    assert_int_equal(atomic_load(&served) + atomic_load(&overloaded), CLIENTS);
    assert_true(atomic_load(&served) >= 2);
    assert_true(atomic_load(&overloaded) >= 1);
    assert_alive();
}

/* Stopping with requests in flight: each gets its answer, the server ends. */
static pthread_barrier_t all_sent;
static void *send_then_wait(void *argument)
{
    struct csi_buffer photo = draw_jpeg(2000 + (unsigned)(uintptr_t)argument, 1600, 1200);
    char head[128];
    struct answer answer;
    int fd = dial();

    snprintf(head, sizeof head,
             "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %zu\r\n\r\n", photo.size);
    put_text(fd, head);
    put(fd, photo.bytes, photo.size);
    pthread_barrier_wait(&all_sent);
    answer = take(fd, 60);
    close(fd);
    if (answer.status == 200)
        atomic_fetch_add(&served, 1);
    answer_free(&answer);
    csi_buffer_free(&photo);
    return NULL;
}

static void stop_under_load(void **state)
{
    pthread_t threads[8];

    stop_server(state);
    start_server(state);
    atomic_store(&served, 0);
    assert_int_equal(pthread_barrier_init(&all_sent, NULL, 9), 0);
    for (uintptr_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_then_wait, (void *)i), 0);
    pthread_barrier_wait(&all_sent);
    pause_ms(200); /* all heads are read by now, not all photos diagnosed */
    csi_server_stop(server, 30);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&all_sent);
    assert_int_equal(atomic_load(&served), 8);
    start_server(state);
}

static int start_small(void **state)
{
    const char *tests = getenv("CROPSHIELD_TESTS");
    struct cs_diagnoser_options options = cs_diagnoser_options_defaults();
    struct cs_error error = {CS_OK, ""};

    if (tests != NULL && strcmp(tests, "short") == 0) {
        options.model.path = "lite";
        if (cs_diagnoser_create(&options, &diagnoser, &error) != CS_OK) {
            fprintf(stderr, "no diagnoser: %s\n", error.message);
            return -1;
        }
    }
    return start_server(state);
}

static int free_photos(void **state)
{
    for (int i = 0; i < PHOTOS; i++)
        csi_buffer_free(&photos[i]);
    return stop_all(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousand_mixed_requests),
        cmocka_unit_test(counters_add_up),
        cmocka_unit_test(past_the_limit_in_flight),
        cmocka_unit_test(stop_under_load),
    };

    return cmocka_run_group_tests_name("load", tests, start_small, free_photos);
}
