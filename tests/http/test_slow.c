/* Slow clients: absolute deadlines for head and body, which trickling does not extend; the others are served
 * meanwhile. */
#include "http/support.h"

#define HEAD_S  0.8
#define BODY_S  1.2
#define REPLY_S 0.8

#define PATIENT_S 31.5 /* longer than libmicrohttpd's own patience would be */

/* A second server that waits longer for bodies, and an upload to it that pauses from the start of this
 * program on: the other tests fill the time. */
static struct csi_server *patient;
static int pausing;
static uint64_t pausing_since;

static void start_patient(void)
{
    struct csi_server_options options = test_options();

    options.body_timeout_s = PATIENT_S;
    start_with(&options);
    pausing = dial();
    put_text(pausing, "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nx");
    pausing_since = csi_now_ns();
    patient = server;
}

static int start(void **state)
{
    struct csi_server_options options;

    if (start_diagnoser(state) != 0)
        return -1;
    start_patient();
    options = test_options();
    options.header_timeout_s = HEAD_S;
    options.body_timeout_s = BODY_S;
    options.reply_timeout_s = REPLY_S;
    start_with(&options);
    return 0;
}

/* Sends a byte every 100 ms until the server answers or closes; returns the answer and the seconds it took.
 */
static struct answer trickle(int fd, const char *bytes, double *seconds)
{
    uint64_t start_ns = csi_now_ns();
    struct answer answer;

    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};

        if (poll(&wait, 1, 100) > 0 || !put(fd, bytes, 1) || csi_ms_since(start_ns) > 10000)
            break;
        if (bytes[1] != '\0')
            bytes++;
    }
    *seconds = csi_ms_since(start_ns) / 1000;
    answer = take(fd, 5);
    return answer;
}

static void head_that_trickles(void **state)
{
    int fd = dial();
    double seconds;
    struct answer answer =
        trickle(fd, "GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX: aaaaaaaaaaaaa", &seconds);

    (void)state;
    close(fd);
    assert_error(&answer, 408, "timeout");
    assert_true(seconds > HEAD_S - 0.2 && seconds < HEAD_S + 1.5);
    answer_free(&answer);
}

static void body_that_trickles(void **state)
{
    int fd = dial();
    double seconds;
    struct answer answer;

    (void)state;
    put_text(fd, "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n");
    answer = trickle(fd, "x", &seconds);
    close(fd);
    assert_error(&answer, 408, "timeout");
    assert_true(seconds > BODY_S - 0.2 && seconds < BODY_S + 1.5);
    answer_free(&answer);
    /* In chunks there is no announced end to wait for either. */
    fd = dial();
    put_text(
        fd, "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n");
    answer = trickle(fd, "x", &seconds);
    close(fd);
    assert_error(&answer, 408, "timeout");
    answer_free(&answer);
    /* Under /v2 in the form of /v2. */
    fd = dial();
    put_text(fd, "POST /v2/models/cropshield_cnn/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: "
                 "1000\r\n\r\n");
    answer = trickle(fd, "x", &seconds);
    close(fd);
    assert_v2_error(&answer, 408);
    answer_free(&answer);
    fd = dial();
    put_text(fd, "GET /v2/health/live HTTP/1.1\r\n");
    answer = trickle(fd, "Host: 127.0.0.1\r\nX: aaaaaaaaaaaaa", &seconds);
    close(fd);
    assert_v2_error(&answer, 408);
    answer_free(&answer);
}

static void silent_connection_is_closed(void **state)
{
    int fd = dial();
    uint64_t start_ns = csi_now_ns();
    struct answer answer = take(fd, 10);

    (void)state;
    close(fd);
    assert_true(answer.closed);
    assert_int_equal(answer.all.size, 0); /* browsers open connections ahead: nothing to complain about */
    assert_true(csi_ms_since(start_ns) < (HEAD_S + 1.5) * 1000);
    answer_free(&answer);
}

/* Asks for a heat map of `id`, most of which waits on the server's side: segments and the client's buffer are
 * small. Returns the socket. */
static int ask_through_a_straw(const char *id)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), segment = 536, buffer = 8192;
    char text[256];

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer), 0);
    address.sin_port = htons(csi_server_port(server));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    snprintf(text, sizeof text, "GET /api/v1/images/%s/gradcam HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id);
    put_text(fd, text);
    return fd;
}

/* A client that does not take its answer is cut off at the deadline: what it reads then breaks off. One that
 * takes it gets it whole by the same way. */
static void answer_that_nobody_reads(void **state)
{
    struct csi_buffer photo = draw_jpeg(3, 800, 700);
    struct answer answer = request("POST", "/api/v1/predict", "", photo.bytes, photo.size);
    json_t *json = parse(&answer);
    char id[CS_ID_SIZE];
    size_t whole;
    int fd;

    (void)state;
    snprintf(id, sizeof id, "%s", json_string_value(json_object_get(json, "id")));
    json_decref(json);
    answer_free(&answer);
    csi_buffer_free(&photo);
    fd = ask_through_a_straw(id);
    answer = take(fd, 10);
    close(fd);
    assert_int_equal(answer.status, 200);
    whole = strtoul(answer_header(&answer, "Content-Length"), NULL, 10);
    assert_true(whole > 300000); /* no send buffer of ours takes that for such a client */
    assert_int_equal(answer.body_size, whole);
    answer_free(&answer);
    fd = ask_through_a_straw(id);
    pause_ms((long)(REPLY_S * 1000) + 700);
    answer = take(fd, 10);
    close(fd);
    assert_int_equal(answer.status, 200);
    assert_true(answer.closed);
    assert_true(answer.body_size < whole);
    answer_free(&answer);
    assert_alive();
}

/* What the gate answered itself, in this program and now. */
static void refusals_are_counted(void **state)
{
    static const char *const lines[] = {"cropshield_http_refused_total{reason=\"head\"} 1\n",
                                        "cropshield_http_refused_total{reason=\"head_timeout\"} 2\n",
                                        "cropshield_http_refused_total{reason=\"body_timeout\"} 3\n",
                                        "cropshield_http_refused_total{reason=\"connections\"} 0\n"};
    int fd = dial();
    struct answer answer;

    (void)state;
    put_text(fd, "GET / HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n");
    answer = take(fd, 5);
    close(fd);
    assert_error(&answer, 400, "bad_request");
    answer_free(&answer);
    answer = get("/metrics");
    assert_int_equal(answer.status, 200);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (strstr(answer.body, lines[i]) == NULL)
            fail_msg("not in the metrics: %s%s", lines[i],
                     strstr(answer.body, "cropshield_http_refused_total{"));
    answer_free(&answer);
}

/* 200 clients that never finish their heads and 50 that never finish their bodies hold nobody up. */
static void crowd_of_slow_clients(void **state)
{
    int slow[250];
    uint64_t start_ns;
    struct csi_buffer photo = draw_jpeg(1, 320, 240);
    struct answer answer;

    (void)state;
    for (int i = 0; i < 250; i++) {
        slow[i] = dial();
        put_text(slow[i],
                 i < 200
                     ? "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-"
                     : "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\nx");
    }
    start_ns = csi_now_ns();
    answer = get("/v2/health/live");
    assert_int_equal(answer.status, 200);
    assert_true(csi_ms_since(start_ns) < 500);
    answer_free(&answer);
    answer = request("POST", "/api/v1/predict", "", photo.bytes, photo.size);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    for (int i = 0; i < 250; i++)
        close(slow[i]);
    csi_buffer_free(&photo);
    assert_alive();
}

/* Stopping waits for an upload as long as it was told, then cuts it off. */
static void stopping_cuts_slow_uploads(void **state)
{
    struct csi_server_options options = test_options();
    uint64_t start_ns;
    struct answer answer;
    int fd = dial();

    (void)state;
    put_text(fd, "POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\nx");
    assert_alive(); /* its head has been read by now */
    start_ns = csi_now_ns();
    csi_server_stop(server, 0.3);
    assert_in_range(csi_ms_since(start_ns), 290, 3000);
    answer = take(fd, 2);
    assert_true(answer.closed);
    assert_int_equal(answer.status, 0);
    answer_free(&answer);
    close(fd);
    start_with(&options); /* for the tear-down */
}

/* A deadline of more than half a minute holds for a client that sends nothing meanwhile, and its answer says
 * why. */
static void body_that_pauses(void **state)
{
    struct csi_server *other = server;
    struct answer answer = take(pausing, PATIENT_S + 5);

    (void)state;
    close(pausing);
    assert_true(csi_ms_since(pausing_since) > (PATIENT_S - 0.2) * 1000);
    assert_error(&answer, 408, "timeout");
    answer_free(&answer);
    server = patient;
    answer = get("/metrics");
    assert_non_null(strstr(answer.body, "cropshield_http_refused_total{reason=\"body_timeout\"} 1\n"));
    answer_free(&answer);
    csi_server_stop(patient, 2);
    server = other;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_that_trickles),
        cmocka_unit_test(body_that_trickles),
        cmocka_unit_test(silent_connection_is_closed),
        cmocka_unit_test(answer_that_nobody_reads),
        cmocka_unit_test(refusals_are_counted),
        cmocka_unit_test(crowd_of_slow_clients),
        cmocka_unit_test(body_that_pauses),
        cmocka_unit_test(stopping_cuts_slow_uploads),
    };

    return cmocka_run_group_tests_name("slow clients", tests, start, stop_all);
}
