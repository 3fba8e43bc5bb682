/* Server-sent events: what arrives, for whom, how many, and what becomes of streams that nobody reads. */
#include "http/support.h"

#include "server/events.h"

static int listen_to(const char *cookie)
{
    int fd = dial();
    char text[512];

    snprintf(text, sizeof text, "GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", cookie);
    put_text(fd, text);
    return fd;
}

/* Reads until `wanted` has come or 10 s are over; returns everything, NUL-terminated. */
static struct csi_buffer read_until(int fd, const char *wanted)
{
    uint64_t start = csi_now_ns();
    struct csi_buffer text;

    csi_buffer_init(&text);
    csi_buffer_append(&text, "", 0);
    while (strstr((const char *)text.bytes, wanted) == NULL && csi_ms_since(start) < 10000) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        char bytes[4096];
        ssize_t got;

        if (poll(&wait, 1, 100) <= 0)
            continue;
        got = recv(fd, bytes, sizeof bytes, 0);
        if (got <= 0)
            break;
        csi_buffer_append(&text, bytes, (size_t)got);
    }
    return text;
}

static void wait_for_streams(double count)
{
    for (int i = 0; i < 100 && metric("cropshield_event_streams") != count; i++)
        pause_ms(50);
    assert_float_equal(metric("cropshield_event_streams"), count, 0);
}

static void session_cookie(char *cookie, size_t size)
{
    struct answer page = get("/");

    snprintf(cookie, size, "%s", cookie_line(&page));
    answer_free(&page);
}

static void stages_and_performance_arrive(void **state)
{
    static const char *const stages[] = {"decode", "preprocess", "inference", "done"};
    struct csi_buffer photo = draw_jpeg(70, 300, 300), text;
    char cookie[256], headers[512];
    struct answer answer;
    int mine, other;

    (void)state;
    session_cookie(cookie, sizeof cookie);
    mine = listen_to(cookie);
    other = listen_to("");
    text = read_until(mine, "event: performance");
    assert_non_null(strstr((const char *)text.bytes, "HTTP/1.1 200"));
    assert_non_null(strstr((const char *)text.bytes, "Content-Type: text/event-stream"));
    assert_non_null(strstr((const char *)text.bytes, "retry: 2000"));
    csi_buffer_free(&text);
    text = read_until(other, "event: performance");
    csi_buffer_free(&text);
    snprintf(headers, sizeof headers, "%sX-Request-Id: upload-7\r\n", cookie);
    answer = request("POST", "/api/v1/predict?name=leaf.jpg&gradcam=1", headers, photo.bytes, photo.size);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    text = read_until(mine, "\"count\":1");
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        char wanted[160];

        snprintf(wanted, sizeof wanted,
                 "{\"request\":\"upload-7\",\"name\":\"leaf.jpg\",\"stage\":\"%s\",\"ms\":", stages[i]);
        if (strstr((const char *)text.bytes, wanted) == NULL)
            fail_msg("no %s in %s", wanted, (const char *)text.bytes);
    }
    assert_non_null(
        strstr((const char *)text.bytes, "event: performance\ndata: {\"target_ms\":200,\"count\":1,"));
    csi_buffer_free(&text);
    /* A history that is forgotten takes the photo's name along. */
    answer = request("DELETE", "/api/v1/history", cookie, NULL, 0);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    text = read_until(mine, "\"mean_ms\":");
    assert_non_null(strstr((const char *)text.bytes, "\"requests\":[{\"id\":\"\",\"name\":\"\","));
    csi_buffer_free(&text);
    /* Nobody else hears of it. */
    {
        struct pollfd wait = {.fd = other, .events = POLLIN};

        assert_int_equal(poll(&wait, 1, 300), 0);
    }
    close(mine);
    close(other);
    csi_buffer_free(&photo);
    wait_for_streams(0);
}

static void assert_silence(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&wait, 1, 300), 0);
}

/* What is true on connecting is for the stream that connects; and clearing a cache measures nothing. */
static void others_are_not_disturbed(void **state)
{
    char cookie[256];
    int first, second;
    struct csi_buffer text;
    struct answer answer;

    (void)state;
    session_cookie(cookie, sizeof cookie);
    first = listen_to(cookie);
    text = read_until(first, "event: performance");
    csi_buffer_free(&text);
    text = read_until(first, "\n\n"); /* what was left of it, if anything */
    csi_buffer_free(&text);
    second = listen_to(cookie);
    text = read_until(second, "event: performance");
    csi_buffer_free(&text);
    assert_silence(first);
    answer = request("DELETE", "/api/v1/caches/prediction", cookie, NULL, 0);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    assert_silence(first);
    close(first);
    close(second);
    wait_for_streams(0);
}

/* Whoever follows a photo's stages learns that it failed, however it was sent. */
static void failures_arrive(void **state)
{
    struct csi_buffer photo = draw_jpeg(72, 100, 100), form, text;
    char cookie[256], headers[512];
    struct answer answer;
    int fd;

    (void)state;
    session_cookie(cookie, sizeof cookie);
    fd = listen_to(cookie);
    snprintf(headers, sizeof headers, "%sX-Request-Id: upload-8\r\n", cookie);
    answer = request("POST", "/api/v1/predict?name=notes.jpg", headers, "just words", 10);
    assert_error(&answer, 415, "unsupported_format");
    answer_free(&answer);
    text = read_until(
        fd, "event: failed\ndata: {\"request\":\"upload-8\",\"name\":\"notes.jpg\",\"error\":{\"code\":"
            "\"unsupported_format\",\"message\":\"");
    assert_non_null(strstr((const char *)text.bytes, "event: failed\n"));
    assert_null(strstr((const char *)text.bytes, "\"stage\":\"done\""));
    csi_buffer_free(&text);
    csi_buffer_init(&form);
    for (unsigned as_case = 0; as_case < 2; as_case++) {
        add_part(&form, "image", "good.jpg", photo.bytes, photo.size);
        add_part(&form, "image", "bad.jpg", photo.bytes, photo.size / 2);
        csi_buffer_printf(&form, FORM_END);
        snprintf(headers, sizeof headers, "%s" FORM_TYPE "X-Request-Id: form-%u\r\n", cookie, as_case);
        answer = request("POST", as_case ? "/api/v1/predict?case=1" : "/api/v1/predict", headers, form.bytes,
                         form.size);
        assert_int_equal(answer.status, 200);
        answer_free(&answer);
        csi_buffer_free(&form);
        snprintf(headers, sizeof headers,
                 "event: failed\ndata: {\"request\":\"form-%u\",\"name\":\"bad.jpg\",\"error\":{\"code\":"
                 "\"corrupt_image\"",
                 as_case);
        text = read_until(fd, headers);
        assert_non_null(strstr((const char *)text.bytes, headers));
        csi_buffer_free(&text);
    }
    close(fd);
    csi_buffer_free(&photo);
    wait_for_streams(0);
}

static void model_reload_is_told_to_all(void **state)
{
    int fd = listen_to("");
    struct csi_buffer text = read_until(fd, "event: performance");
    struct answer answer;

    (void)state;
    csi_buffer_free(&text);
    answer = request("DELETE", "/api/v1/caches/model", "", NULL, 0);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    text = read_until(fd, "event: model\ndata: {");
    assert_non_null(strstr((const char *)text.bytes, "event: model\ndata: {"));
    csi_buffer_free(&text);
    close(fd);
    wait_for_streams(0);
}

static void streams_are_bounded(void **state)
{
    int fds[CSI_STREAMS_MAX + 8];
    char cookie[256];
    unsigned refused = 0;

    (void)state;
    session_cookie(cookie, sizeof cookie);
    for (unsigned i = 0; i < CSI_STREAMS_PER_SESSION + 1; i++) {
        struct csi_buffer text;

        fds[i] = listen_to(cookie);
        text = read_until(fds[i], "\r\n\r\n");
        if (strstr((const char *)text.bytes, "HTTP/1.1 503") != NULL) {
            assert_int_equal(i, CSI_STREAMS_PER_SESSION);
            assert_non_null(strstr((const char *)text.bytes, "Retry-After: 1"));
            refused++;
        }
        csi_buffer_free(&text);
    }
    assert_int_equal(refused, 1);
    for (unsigned i = 0; i < CSI_STREAMS_PER_SESSION + 1; i++)
        close(fds[i]);
    wait_for_streams(0);
    refused = 0;
    for (unsigned i = 0; i < CSI_STREAMS_MAX + 8; i++) {
        struct csi_buffer text;

        fds[i] = listen_to("");
        text = read_until(fds[i], "\r\n\r\n");
        refused += strstr((const char *)text.bytes, "HTTP/1.1 503") != NULL;
        csi_buffer_free(&text);
    }
    assert_int_equal(refused, 8);
    assert_alive(); /* open streams hold no thread */
    for (unsigned i = 0; i < CSI_STREAMS_MAX + 8; i++)
        close(fds[i]);
    wait_for_streams(0);
}

/* A client that never reads is dropped when its queue is full; its session's requests do not wait for it. */
static void a_deaf_client_is_dropped(void **state)
{
    struct csi_buffer photo = draw_jpeg(71, 64, 64);
    char cookie[256], headers[512];
    int fd = dial(), small = 2048;

    (void)state;
    session_cookie(cookie, sizeof cookie);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    snprintf(headers, sizeof headers, "GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", cookie);
    put_text(fd, headers);
    wait_for_streams(1);
    for (int i = 0; i < 3000; i++) {
        struct answer answer = request("POST", "/api/v1/predict", cookie, photo.bytes, photo.size);

        assert_int_equal(answer.status, 200);
        answer_free(&answer);
        if (i % 100 == 99 && metric("cropshield_event_streams") == 0)
            break;
    }
    close(fd);
    wait_for_streams(0);
    csi_buffer_free(&photo);
}

/* Stopping ends open streams in good order. */
static void stop_ends_streams(void **state)
{
    int fd = listen_to("");
    struct csi_buffer text = read_until(fd, "event: performance");
    uint64_t start = csi_now_ns();
    struct answer answer;

    csi_buffer_free(&text);
    stop_server(state);
    assert_true(csi_ms_since(start) < 3000);
    answer = take(fd, 2);
    assert_true(answer.closed);
    answer_free(&answer);
    close(fd);
    start_server(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_and_performance_arrive),
        cmocka_unit_test(others_are_not_disturbed),
        cmocka_unit_test(failures_arrive),
        cmocka_unit_test(model_reload_is_told_to_all),
        cmocka_unit_test(streams_are_bounded),
        cmocka_unit_test(a_deaf_client_is_dropped),
        cmocka_unit_test(stop_ends_streams),
    };

    return cmocka_run_group_tests_name("events", tests, start_server, stop_all);
}
