/* Who may ask: host names, origins, the access token. */
#include "http/support.h"

#include <dlfcn.h>
#include <microhttpd.h>
#include <stdatomic.h>

#include "server/origin.h"

static _Atomic int answers_to_fail;

/* The library's own, in whose place this one stands, unless there is no memory for this answer. */
struct MHD_Response *MHD_create_response_from_buffer(size_t size, void *buffer,
                                                     enum MHD_ResponseMemoryMode mode)
{
    static struct MHD_Response *(*real)(size_t, void *, enum MHD_ResponseMemoryMode);

    if (atomic_load(&answers_to_fail) > 0) {
        atomic_fetch_sub(&answers_to_fail, 1);
        return NULL;
    }
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "MHD_create_response_from_buffer");
    return real == NULL ? NULL : real(size, buffer, mode);
}

static void hosts(void **state)
{
    static const struct {
        const char *host;
        bool loopback;
        const char *allowed;
        bool expected;
    } rows[] = {
        {"127.0.0.1", true, NULL, true},
        {"127.0.0.1:8501", true, NULL, true},
        {"localhost:8501", true, NULL, true},
        {"LOCALHOST", true, NULL, true},
        {"localhost.", true, NULL, true},
        {"app.localhost", true, NULL, true},
        {"[::1]:8501", true, NULL, true},
        {"192.168.1.7", true, NULL, true},
        {"evil.example", true, NULL, false},
        {"localhost.evil.example", true, NULL, false},
        {"127.0.0.1.evil.example", true, NULL, false},
        {"notlocalhost", true, NULL, false},
        {".localhost", true, NULL, false},
        {"localhost:80:80", true, NULL, false},
        {"localhost:8x", true, NULL, false},
        {"[::1", true, NULL, false},
        {"", true, NULL, false},
        {":80", true, NULL, false},
        {"crop.example", true, "a.b, crop.example", true},
        {"crop.example.org", true, "crop.example", false},
        {"farm", true, NULL, true}, /* what it was bound to */
        {"any.example", false, NULL, true},
        {"any.example", false, "crop.example", false},
        {"crop.example:443", false, "crop.example", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (csi_host_allowed(rows[i].host, "farm", rows[i].loopback, rows[i].allowed) != rows[i].expected)
            fail_msg("row %zu: %s", i, rows[i].host);
    assert_true(csi_host_allowed(NULL, "127.0.0.1", true, NULL));
}

static void origins(void **state)
{
    (void)state;
    assert_true(csi_origin_allowed(NULL, "localhost:8501", NULL));
    assert_true(csi_origin_allowed("http://localhost:8501", "localhost:8501", "same-origin"));
    assert_true(csi_origin_allowed("https://crop.example", "crop.example", NULL));
    assert_true(csi_origin_allowed(NULL, "localhost:8501", "none"));
    /* Behind a proxy that names this server by its address. */
    assert_true(csi_origin_allowed("https://crop.example", "127.0.0.1:8501", "same-origin"));
    assert_false(csi_origin_allowed("https://crop.example", "127.0.0.1:8501", NULL));
    assert_false(csi_origin_allowed("https://crop.example", "127.0.0.1:8501", "none"));
    assert_false(csi_origin_allowed("https://crop.example", "crop.example", "cross-site"));
    assert_false(csi_origin_allowed("null", "localhost:8501", NULL));
    assert_false(csi_origin_allowed("http://localhost:9000", "localhost:8501", NULL));
    assert_false(csi_origin_allowed("http://evil.example", "localhost:8501", NULL));
    assert_false(csi_origin_allowed("file://localhost:8501", "localhost:8501", NULL));
    assert_false(csi_origin_allowed(NULL, "localhost:8501", "cross-site"));
    assert_false(csi_origin_allowed(NULL, "localhost:8501", "same-site"));
}

/* "GET http://host/path": the host in it counts in the place of Host. */
static void absolute_targets(void **state)
{
    static const struct {
        const char *target, *host;
        int status;
    } rows[] = {
        {"http://127.0.0.1/api/v1/status", "127.0.0.1", 200},
        {"http://localhost:8501/api/v1/status?x=1", "evil.example", 200},
        {"HTTP://[::1]", "127.0.0.1", 200}, /* the page */
        {"http://evil.example/api/v1/status", "127.0.0.1", 400},
        {"http://127.0.0.1/nothing", "127.0.0.1", 404},
        {"http://127.0.0.1//api/v1/status", "127.0.0.1", 404},
    };
    struct answer answer;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];

        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", rows[i].target, rows[i].host);
        answer = exchange_text(text);
        if (answer.status != rows[i].status)
            fail_msg("row %zu: status %d", i, answer.status);
        answer_free(&answer);
    }
    answer = exchange_text("DELETE http://localhost/api/v1/history HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                           "Origin: http://127.0.0.1\r\n\r\n");
    assert_error(&answer, 400, "bad_request");
    answer_free(&answer);
    answer = exchange_text("GET http://localhost/v2/nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert_v2_error(&answer, 404);
    answer_free(&answer);
    answer = exchange_text(
        "GET http://localhost/api/v1/images/xyz/display?format=png HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_error(&answer, 400, "bad_request");
    answer_free(&answer);
}

static void foreign_pages_change_nothing(void **state)
{
    static const char *const foreign[] = {"Origin: http://evil.example\r\n", "Origin: null\r\n",
                                          "Sec-Fetch-Site: cross-site\r\n"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct answer answer = request("DELETE", "/api/v1/caches", foreign[i], NULL, 0);

        assert_error(&answer, 400, "bad_request");
        answer_free(&answer);
        answer = request("POST", "/api/v1/predict", foreign[i], "abc", 3);
        assert_error(&answer, 400, "bad_request");
        answer_free(&answer);
    }
    for (size_t i = 0; i < 2; i++) {
        static const char *const own[] = {"Origin: http://127.0.0.1\r\n",
                                          "Origin: https://crop.example\r\nSec-Fetch-Site: same-origin\r\n"};
        struct answer answer = request("DELETE", "/api/v1/history", own[i], NULL, 0);

        assert_int_equal(answer.status, 200);
        answer_free(&answer);
    }
}

static void token(void **state)
{
    static const char *const guarded[] = {"/api/v1/status", "/api/v1/history", "/metrics", "/v2",
                                          "/api/v1/events"};
    static const char *const open[] = {"/", "/v2/health/live", "/v2/health/ready", "/openapi.json"};
    struct csi_server_options options = test_options();
    struct csi_buffer photo = draw_jpeg(1, 64, 64);
    struct answer answer;
    char cookie[256];

    stop_server(state);
    options.token = "secret-token";
    start_with(&options);
    for (size_t i = 0; i < 5; i++) {
        answer = get(guarded[i]);
        assert_int_equal(answer.status, 401);
        assert_string_equal(answer_header(&answer, "WWW-Authenticate"), "Bearer");
        answer_free(&answer);
        answer = request("GET", guarded[i], "Authorization: Bearer secret-tokem\r\n", NULL, 0);
        assert_int_equal(answer.status, 401);
        answer_free(&answer);
        answer = request("GET", guarded[i], "Authorization: Basic secret-token\r\n", NULL, 0);
        assert_int_equal(answer.status, 401);
        answer_free(&answer);
    }
    for (size_t i = 0; i < 4; i++) {
        answer = get(open[i]);
        assert_int_equal(answer.status, 200);
        answer_free(&answer);
    }
    answer = request("POST", "/api/v1/predict", "", photo.bytes, photo.size);
    assert_error(&answer, 401, "unauthorized");
    assert_string_equal(answer_header(&answer, "WWW-Authenticate"), "Bearer");
    answer_free(&answer);
    answer = request("GET", "/api/v1/status", "Authorization: Bearer secret-token\r\n", NULL, 0);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    /* A session that has shown the token goes on by its cookie: pictures and event streams cannot send
     * headers. */
    answer =
        request("POST", "/api/v1/predict", "Authorization: Bearer secret-token\r\n", photo.bytes, photo.size);
    assert_int_equal(answer.status, 200);
    snprintf(cookie, sizeof cookie, "%s", cookie_line(&answer));
    answer_free(&answer);
    answer = request("GET", "/api/v1/history", cookie, NULL, 0);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    /* A page's own session, which has shown nothing, does not. */
    answer = get("/");
    snprintf(cookie, sizeof cookie, "%s", cookie_line(&answer));
    answer_free(&answer);
    answer = request("GET", "/api/v1/history", cookie, NULL, 0);
    assert_int_equal(answer.status, 401);
    answer_free(&answer);
    csi_buffer_free(&photo);
}

/* The status of GET /api/v1/history with these headers. */
static int history_in(const char *headers)
{
    struct answer answer = request("GET", "/api/v1/history", headers, NULL, 0);
    int status = answer.status;

    answer_free(&answer);
    return status;
}

/* The status of GET /api/v1/history in the session that `GET path` with these headers made. */
static int history_after(const char *path, const char *headers)
{
    struct answer answer = request("GET", path, headers, NULL, 0);
    char cookie[256];

    snprintf(cookie, sizeof cookie, "%s", cookie_line(&answer));
    if (cookie[0] == '\0')
        fail_msg("GET %s with '%s' set no cookie: %d", path, headers, answer.status);
    answer_free(&answer);
    return history_in(cookie);
}

#define UNKNOWN_COOKIE "Cookie: cs_session=0123456789abcdef0123456789abcdef\r\n"

/* The page is open to all: a session that it makes is authorized by the right token alone, not by whatever
 * stands in its place. */
static void token_at_the_page(void **state)
{
    static const char *const wrong[] = {"Authorization: x\r\n", "Authorization: Bearer secret-tokem\r\n",
                                        "Authorization: Basic secret-token\r\n", "Authorization:\r\n"};
    struct csi_server_options options = test_options();
    struct answer answer;
    char cookie[256], both[512];

    stop_server(state);
    options.token = "secret-token";
    start_with(&options);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(history_after("/", wrong[i]), 401);
    assert_int_equal(history_after("/", "Authorization: Bearer secret-token\r\n"), 200);
    /* So does one that the status makes in the place of an unknown one: only who has the token gets there. */
    answer = request("GET", "/api/v1/status", UNKNOWN_COOKIE, NULL, 0);
    assert_int_equal(answer.status, 401);
    assert_string_equal(cookie_line(&answer), "");
    answer_free(&answer);
    assert_int_equal(history_after("/api/v1/status", UNKNOWN_COOKIE "Authorization: Bearer secret-token\r\n"),
                     200);
    /* A session that was there before stays as it is. */
    answer = get("/");
    snprintf(cookie, sizeof cookie, "%s", cookie_line(&answer));
    answer_free(&answer);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(both, sizeof both, "%s%s", cookie, wrong[i]);
        answer = request("GET", "/", both, NULL, 0);
        assert_int_equal(answer.status, 200);
        assert_string_equal(cookie_line(&answer), "");
        answer_free(&answer);
        assert_int_equal(history_in(cookie), 401);
    }
}

/* Somebody else may have planted the cookie that a browser brings with the token: the token opens a new
 * session, and the planted one stays closed. */
static void tokens_authorize_no_planted_session(void **state)
{
    static const char *const paths[] = {"/", "/api/v1/status", "/api/v1/history"};
    struct csi_server_options options = test_options();
    char planted[256], both[512], own[256];
    struct answer answer;

    stop_server(state);
    options.token = "secret-token";
    start_with(&options);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        answer = get("/");
        snprintf(planted, sizeof planted, "%s", cookie_line(&answer));
        answer_free(&answer);
        snprintf(both, sizeof both, "%sAuthorization: Bearer secret-token\r\n", planted);
        answer = request("GET", paths[i], both, NULL, 0);
        assert_int_equal(answer.status, 200);
        snprintf(own, sizeof own, "%s", cookie_line(&answer));
        answer_free(&answer);
        assert_int_equal(history_in(planted), 401);
        if (i == 2) { /* makes no session */
            assert_string_equal(own, "");
            continue;
        }
        assert_string_not_equal(own, planted);
        assert_int_equal(history_in(own), 200);
        /* And shown again in it, the token changes nothing. */
        snprintf(both, sizeof both, "%sAuthorization: Bearer secret-token\r\n", own);
        answer = request("GET", paths[i], both, NULL, 0);
        assert_string_equal(cookie_line(&answer), "");
        answer_free(&answer);
    }
}

/* Who is refused is not let in because there is no memory to say so: the connection is closed. */
static void refusals_without_memory(void **state)
{
    static const char *const texts[] = {
        "GET /api/v1/history HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "DELETE /api/v1/history HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /no/such/route HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    };
    struct csi_server_options options = test_options();

    stop_server(state);
    options.token = "secret-token";
    start_with(&options);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct answer answer;

        atomic_store(&answers_to_fail, 1);
        answer = exchange_text(texts[i]);
        assert_int_equal(atomic_load(&answers_to_fail), 0);
        if (answer.status != 0 || !answer.closed)
            fail_msg("row %zu: status %d: %s", i, answer.status, answer.body);
        answer_free(&answer);
    }
    assert_alive();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts),
        cmocka_unit_test(origins),
        cmocka_unit_test(absolute_targets),
        cmocka_unit_test(foreign_pages_change_nothing),
        cmocka_unit_test(token),
        cmocka_unit_test(token_at_the_page),
        cmocka_unit_test(tokens_authorize_no_planted_session),
        cmocka_unit_test(refusals_without_memory),
    };

    return cmocka_run_group_tests_name("access", tests, start_server, stop_all);
}
