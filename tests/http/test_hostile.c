/* Hostile requests against the running server, byte by byte. Each must be refused in good order, and the
 * server goes on. */
#include "http/support.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "server/guard.h"

static void heads_are_refused_and_closed(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *code;
    } rows[] = {
        {"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nContent-Length: "
         "5\r\n\r\nabcd",
         400, "bad_request"},
        {"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nTransfer-Encoding: "
         "chunked\r\n\r\n0\r\n\r\n",
         400, "bad_request"},
        {"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: gzip\r\n\r\nabcd", 400,
         "bad_request"},
        {"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n folded: x\r\n\r\n", 400, "bad_request"},
        {"GET / HTTP/1.1\nHost: 127.0.0.1\n\n", 400, "bad_request"},
        {"GET / HTTP/3.7\r\nHost: 127.0.0.1\r\n\r\n", 400, "bad_request"},
        {"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000000000000000\r\n\r\n",
         413, "image_too_large"},
        {"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000000\r\n\r\n", 413,
         "image_too_large"},
        {"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400, "bad_request"},
        {"GET /nothing/here HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404, "not_found"},
        {"GET /..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404, "not_found"},
        {"BREW /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 405, "bad_request"},
        {"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\nabc", 400,
         "bad_request"},
        {"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: "
         "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
         400, "bad_request"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct answer answer = exchange_text(rows[i].text);

        if (answer.status != rows[i].status)
            fail_msg("row %zu: status %d: %s", i, answer.status, rows[i].text);
        assert_error(&answer, rows[i].status, rows[i].code);
        assert_true(answer.closed);
        answer_free(&answer);
    }
    assert_alive();
}

enum padded { PAD_NOTHING, PAD_QUERY, PAD_COOKIE, PAD_FIELD };

/* A head of so many arguments, cookies and lines, one of which is filled up to the largest size of a head. */
static struct answer ask_with_head(const char *path, unsigned arguments, unsigned cookies, unsigned fields,
                                   enum padded padded)
{
    struct csi_buffer text, pad;
    struct answer answer;

    csi_buffer_init(&text);
    csi_buffer_init(&pad);
    for (int pass = 0; pass < 2; pass++) { /* the first one finds how much there is to fill up */
        size_t room = pass == 0 || padded == PAD_NOTHING ? 0 : CSI_HTTP_HEAD_MAX - text.size;

        csi_buffer_free(&text);
        while (pad.size < room)
            csi_buffer_append(&pad, "p", 1);
        csi_buffer_append(&pad, "", 1);
        csi_buffer_printf(&text, "GET %s?%s", path, padded == PAD_QUERY ? (const char *)pad.bytes : "");
        for (unsigned i = 0; i < arguments; i++)
            csi_buffer_printf(&text, "%sa", i > 0 ? "&" : "");
        csi_buffer_printf(&text, " HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: %s",
                          padded == PAD_COOKIE ? (const char *)pad.bytes : "");
        for (unsigned i = 0; i < cookies; i++)
            csi_buffer_printf(&text, "%sc=1", i > 0 ? "; " : "");
        for (unsigned i = 2; i < fields; i++)
            csi_buffer_printf(&text, "\r\nX: %s",
                              padded == PAD_FIELD && i == 2 ? (const char *)pad.bytes : "");
        csi_buffer_printf(&text, "\r\n\r\n");
        csi_buffer_free(&pad);
    }
    assert_true(padded == PAD_NOTHING || text.size == CSI_HTTP_HEAD_MAX);
    answer = exchange(text.bytes, text.size);
    csi_buffer_free(&text);
    return answer;
}

/* Whatever the guard lets through finds room in libmicrohttpd, which would answer with a page of its own; the
 * rest is refused in our words. */
static void heads_of_many_parts(void **state)
{
    struct answer answer;

    (void)state;
    for (enum padded padded = PAD_NOTHING; padded <= PAD_FIELD; padded++) {
        answer = ask_with_head("/v2/health/live", CSI_HTTP_ARGUMENTS_MAX, CSI_HTTP_COOKIES_MAX,
                               CSI_HTTP_FIELDS_MAX, padded);
        if (answer.status != 200)
            fail_msg("filled up at %d: status %d: %s", (int)padded, answer.status, answer.body);
        answer_free(&answer);
    }
    answer = ask_with_head("/api/v1/status", CSI_HTTP_ARGUMENTS_MAX + 1, 1, 3, PAD_NOTHING);
    assert_error(&answer, 400, "bad_request");
    assert_non_null(strstr(answer.body, "arguments"));
    answer_free(&answer);
    answer = ask_with_head("/v2/health/live", 8000, 1, 3, PAD_NOTHING);
    assert_v2_error(&answer, 400);
    answer_free(&answer);
    answer = ask_with_head("/api/v1/status", 1, CSI_HTTP_COOKIES_MAX + 1, 3, PAD_NOTHING);
    assert_error(&answer, 400, "bad_request");
    assert_non_null(strstr(answer.body, "cookies"));
    answer_free(&answer);
}

static void one_byte_at_a_time(void **state)
{
    static const char text[] = "GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    struct answer answer;
    int fd = dial();

    (void)state;
    for (const char *c = text; *c != '\0'; c++) {
        assert_true(put(fd, c, 1));
        pause_ms(1);
    }
    answer = take(fd, 5);
    close(fd);
    assert_int_equal(answer.status, 200);
    assert_true(answer.closed);
    answer_free(&answer);
}

/* One request a connection: what follows the first is never taken for a second. */
static void pipelined_requests_are_not_answered(void **state)
{
    struct answer answer = exchange_text("GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
                                         "GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");

    (void)state;
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_header(&answer, "Connection"), "close");
    assert_null(strstr(answer.body, "HTTP/1.1"));
    assert_true(answer.closed);
    answer_free(&answer);
    answer = exchange_text("GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n\x01\x02\x03garbage");
    assert_int_equal(answer.status, 200);
    assert_true(answer.closed);
    answer_free(&answer);
}

static void chunked_bodies(void **state)
{
    static const struct {
        const char *body;
        int status; /* what a sound or unsound framing leads to: the content is no photo, so a sound one gives
                       415 */
    } rows[] = {
        {"4\r\nabcd\r\n0\r\n\r\n", 415},
        {"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", 415},
        {"4;name=value\r\nabcd\r\n0\r\n\r\n", 415},
        {"4\r\nabcd\r\n0\r\nTrailer: x\r\n\r\n", 415},
        {"0\r\n\r\n", 400}, /* empty_input */
        {"zz\r\nabcd\r\n0\r\n\r\n", 400},
        {"-4\r\nabcd\r\n0\r\n\r\n", 400},
        {"4\r\nabcdefgh\r\n0\r\n\r\n", 400},
        {"fffffffffffffffff\r\nabcd\r\n0\r\n\r\n", 413},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        struct answer answer;

        snprintf(text, sizeof text,
                 "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n%s",
                 rows[i].body);
        answer = exchange_text(text);
        if (answer.status != rows[i].status)
            fail_msg("row %zu (%s): status %d\n%s", i, rows[i].body, answer.status, answer.body);
        assert_true(answer.closed);
        answer_free(&answer);
    }
    assert_alive();
}

/* A body that grows past the limit without having announced it is cut off in the middle. */
static void endless_chunks(void **state)
{
    static char chunk[1 << 20];
    int fd = dial();
    struct answer answer;
    size_t sent = 0;

    (void)state;
    put_text(fd, "POST /v2/models/x/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    memset(chunk, 'x', sizeof chunk);
    while (sent < (size_t)400 << 20 && put_text(fd, "100000\r\n") && put(fd, chunk, sizeof chunk) &&
           put_text(fd, "\r\n")) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};

        sent += sizeof chunk;
        if (poll(&wait, 1, 0) > 0)
            break; /* it has answered */
    }
    answer = take(fd, 10);
    close(fd);
    assert_int_equal(answer.status, 413);
    assert_non_null(strstr(answer.body, "{\"error\":\"")); /* the form of /v2 */
    assert_true(sent < (size_t)200 << 20);                 /* limit: 6 × 25 MiB */
    answer_free(&answer);
    assert_alive();
}

/* The answer to a body that is too large comes at once and survives that the client goes on sending. */
static void too_large_is_said_early(void **state)
{
    static char block[1 << 16];
    struct answer answer;
    size_t sent = 0;
    int fd = dial();

    (void)state;
    put_text(fd, "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500000000\r\n\r\n");
    while (sent < 4u << 20 && put(fd, block, sizeof block))
        sent += sizeof block;
    answer = take(fd, 10);
    close(fd);
    assert_error(&answer, 413, "image_too_large");
    answer_free(&answer);
    assert_alive();
}

static void half_closed_client_gets_its_answer(void **state)
{
    static const char *const texts[] = {
        "GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "POST /v2/repository/index HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}",
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        int fd = dial();
        struct answer answer;

        put_text(fd, texts[i]);
        shutdown(fd, SHUT_WR);
        answer = take(fd, 5);
        close(fd);
        assert_int_equal(answer.status, 200);
        answer_free(&answer);
    }
}

static void aborted_uploads(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct linger hard = {1, 0};
        int fd = dial();

        put_text(fd, "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nabc");
        if (i % 2 == 0)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard); /* a reset instead of an orderly end */
        if (i % 3 == 0)
            pause_ms(2);
        close(fd);
    }
    for (int i = 0; i < 50; i++) {
        int fd = dial();

        put(fd, "GET / HT", (size_t)(i % 9));
        close(fd);
    }
    assert_alive();
}

static void expectation_is_answered(void **state)
{
    int fd = dial();
    struct answer answer;
    char early[64] = "";

    (void)state;
    put_text(fd, "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nExpect: "
                 "100-continue\r\n\r\n");
    assert_true(recv(fd, early, sizeof early - 1, 0) > 0);
    assert_int_equal(strncmp(early, "HTTP/1.1 100", 12), 0);
    put_text(fd, "abcd");
    answer = take(fd, 10);
    close(fd);
    assert_error(&answer, 415, "unsupported_format");
    answer_free(&answer);
    /* Refused without having asked for the body. */
    fd = dial();
    put_text(fd, "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999999999\r\nExpect: "
                 "100-continue\r\n\r\n");
    answer = take(fd, 10);
    close(fd);
    assert_error(&answer, 413, "image_too_large");
    answer_free(&answer);
}

/* Out of descriptors: what waits in the listener's queue is neither answered nor spun on, and is served once
 * there are some again. */
static void descriptors_run_out(void **state)
{
    struct rlimit before, tight;
    struct timespec cpu_start, cpu_end;
    struct answer answer;
    double spent_ms;
    int fd = dial(), highest = dial();

    (void)state;
    pause_ms(100); /* both are accepted: with them the process has as many as it may */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    for (int i = 0; i < 4096; i++)
        if (fcntl(i, F_GETFD) != -1)
            highest = i;
    tight.rlim_cur = (rlim_t)highest + 1;
    /* Fill what is free below it, and leave one for our own next connection. */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int filled[4096], count = 0, copy;

    while ((copy = dup(fd)) >= 0)
        filled[count++] = copy;
    if (count == 0) {
        tight.rlim_cur++;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    } else {
        close(filled[--count]);
    }
    copy = dial();
    put_text(copy, "GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_start);
    pause_ms(600);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_end);
    spent_ms = (double)(cpu_end.tv_sec - cpu_start.tv_sec) * 1e3 +
               (double)(cpu_end.tv_nsec - cpu_start.tv_nsec) / 1e6;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    print_message("%.1f ms of CPU in 600 ms without descriptors\n", spent_ms);
    assert_true(spent_ms < 200);
    answer = take(copy, 5);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    close(copy);
    while (count > 0)
        close(filled[--count]);
    close(fd);
    assert_alive();
}

static void no_descriptor_is_left(void **state)
{
    unsigned before, after = 0;

    (void)state;
    pause_ms(2500); /* what lingers from other tests ends */
    before = open_fds();
    heads_are_refused_and_closed(state);
    aborted_uploads(state);
    for (int i = 0; i < 50 && (after = open_fds()) > before; i++)
        pause_ms(100);
    assert_int_equal(after, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_refused_and_closed),
        cmocka_unit_test(heads_of_many_parts),
        cmocka_unit_test(one_byte_at_a_time),
        cmocka_unit_test(pipelined_requests_are_not_answered),
        cmocka_unit_test(chunked_bodies),
        cmocka_unit_test(endless_chunks),
        cmocka_unit_test(too_large_is_said_early),
        cmocka_unit_test(half_closed_client_gets_its_answer),
        cmocka_unit_test(aborted_uploads),
        cmocka_unit_test(expectation_is_answered),
        cmocka_unit_test(descriptors_run_out),
        cmocka_unit_test(no_descriptor_is_left),
    };

    return cmocka_run_group_tests_name("hostile requests", tests, start_server, stop_all);
}
