/* Slow clients: absolute deadlines for head and body, which trickling does not extend; the others are served
 * meanwhile. */
#include "http/support.h"

#include <microhttpd.h>
#include <stdatomic.h>

#include "server/gate.h"

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
    const char *tests = getenv("CROPSHIELD_TESTS");
    struct csi_server_options options = test_options();

    if (tests != NULL && strcmp(tests, "short") == 0)
        return;
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
    struct answer answer;

    (void)state;
    if (patient == NULL) {
        printf("left out: CROPSHIELD_TESTS=short\n");
        skip();
    }
    answer = take(pausing, PATIENT_S + 5);
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

/* A gate by itself before a library of its own. */
struct alone {
    struct MHD_Daemon *daemon;
    struct csi_http_gate *gate;
    uint16_t port;
    atomic_bool hold_tick, in_tick; /* of the gate's thread */
    atomic_uint begun;              /* requests that reached the handler */
};

static void hold_tick(void *context)
{
    struct alone *alone = context;

    while (atomic_load(&alone->hold_tick)) {
        atomic_store(&alone->in_tick, true);
        pause_ms(2);
    }
    atomic_store(&alone->in_tick, false);
}

static void connection_changed(void *context, struct MHD_Connection *connection, void **socket_context,
                               enum MHD_ConnectionNotificationCode code)
{
    struct alone *alone = context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        *socket_context = csi_http_gate_claim(
            alone->gate, MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
    else if (*socket_context != NULL)
        csi_http_gate_release(alone->gate, *socket_context);
}

static enum MHD_Result answer_all(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_size, void **state)
{
    struct alone *alone = context;
    struct MHD_Response *response;
    enum MHD_Result result;

    (void)url;
    (void)method;
    (void)version;
    (void)data;
    (void)data_size;
    if (*state == NULL) {
        *state = alone;
        atomic_fetch_add(&alone->begun, 1);
        return MHD_YES;
    }
    response = MHD_create_response_from_buffer(2, (void *)(uintptr_t) "ok", MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, "Connection", "close");
    result = MHD_queue_response(connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

static void start_alone(struct alone *alone, size_t connection_memory)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    struct csi_http_gate_options options = {.max_connections = 100,
                                            .header_timeout_s = 10,
                                            .body_timeout_s = BODY_S,
                                            .reply_timeout_s = 10,
                                            .tick = hold_tick,
                                            .context = alone};

    memset(alone, 0, sizeof *alone);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    options.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(options.listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(options.listener, 16), 0);
    assert_int_equal(getsockname(options.listener, (struct sockaddr *)&address, &size), 0);
    alone->port = ntohs(address.sin_port);
    alone->daemon =
        MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET, 0,
                         NULL, NULL, answer_all, alone, MHD_OPTION_NOTIFY_CONNECTION, connection_changed,
                         alone, MHD_OPTION_CONNECTION_MEMORY_LIMIT, connection_memory, MHD_OPTION_END);
    assert_non_null(alone->daemon);
    options.daemon = alone->daemon;
    assert_int_equal(csi_http_gate_start(&options, &alone->gate, NULL), CS_OK);
}

static void stop_alone(struct alone *alone)
{
    csi_http_gate_close(alone->gate);
    MHD_stop_daemon(alone->daemon);
    csi_http_gate_destroy(alone->gate);
}

static void wait_for(unsigned (*count)(struct csi_http_gate *gate), struct csi_http_gate *gate,
                     unsigned wanted)
{
    for (unsigned i = 0; i < 1000 && count(gate) != wanted; i++)
        pause_ms(5);
    assert_int_equal(count(gate), wanted);
}

/* A connection that the library takes and then closes without a word, having no memory when its turn comes,
 * is answered at its deadline and leaves nothing behind. */
static void connection_that_is_dropped_silently(void **state)
{
    static struct alone alone;
    struct answer answer;
    int fd;

    (void)state;
    start_alone(&alone, (size_t)1 << 60); /* for each connection */
    fd = dial_port(alone.port);
    put_text(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for(csi_http_gate_busy, alone.gate, 1);
    answer = take(fd, 10);
    close(fd);
    assert_error(&answer, 503, "overloaded");
    answer_free(&answer);
    assert_int_equal(atomic_load(&alone.begun), 0);
    wait_for(csi_http_gate_busy, alone.gate, 0);
    wait_for(csi_http_gate_connections, alone.gate, 0);
    stop_alone(&alone);
}

/* A head that comes together with the end of the server is not passed on any more: the library may be gone.
 */
static void head_that_comes_too_late(void **state)
{
    static struct alone alone;
    struct answer answer;
    int fd;

    (void)state;
    start_alone(&alone, 65536);
    fd = dial_port(alone.port);
    wait_for(csi_http_gate_connections, alone.gate, 1);
    atomic_store(&alone.hold_tick, true);
    for (unsigned i = 0; i < 1000 && !atomic_load(&alone.in_tick); i++)
        pause_ms(5);
    put_text(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    csi_http_gate_close(alone.gate);
    assert_int_equal(csi_http_gate_busy(alone.gate), 0);
    atomic_store(&alone.hold_tick, false);
    answer = take(fd, 5);
    close(fd);
    assert_true(answer.closed);
    assert_int_equal(answer.status, 0);
    answer_free(&answer);
    assert_int_equal(atomic_load(&alone.begun), 0);
    stop_alone(&alone);
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
        cmocka_unit_test(connection_that_is_dropped_silently),
        cmocka_unit_test(head_that_comes_too_late),
        cmocka_unit_test(body_that_pauses),
        cmocka_unit_test(stopping_cuts_slow_uploads),
    };

    return cmocka_run_group_tests_name("slow clients", tests, start, stop_all);
}
