/*
 * What the HTTP tests share: the real server in this process with the embedded model, raw sockets (never a
 * client library: the tests decide about every byte), small photos drawn here. Included by one test program
 * each.
 */
#ifndef TESTS_HTTP_SUPPORT_H
#define TESTS_HTTP_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <jpeglib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "server/server.h"

static cs_diagnoser *diagnoser;
static struct csi_server *server;

/* One diagnoser a program: loading and packing the model is the slow part. */
static inline int start_diagnoser(void **state)
{
    struct cs_diagnoser_options options = cs_diagnoser_options_defaults();
    struct cs_error error = {CS_OK, ""};

    (void)state;
    if (cs_diagnoser_create(&options, &diagnoser, &error) != CS_OK) {
        fprintf(stderr, "no diagnoser: %s\n", error.message);
        return -1;
    }
    return 0;
}

static inline int stop_diagnoser(void **state)
{
    (void)state;
    cs_diagnoser_destroy(diagnoser);
    diagnoser = NULL;
    return 0;
}

static inline struct csi_server_options test_options(void)
{
    struct csi_server_options options = csi_server_options_defaults();

    options.diagnoser = diagnoser;
    options.port = 0;
    return options;
}

static inline void start_with(const struct csi_server_options *options)
{
    struct cs_error error = {CS_OK, ""};

    if (csi_server_start(options, &server, &error) != CS_OK)
        fail_msg("no server: %s", error.message);
    assert_int_not_equal(csi_server_port(server), 0);
}

static inline int start_server(void **state)
{
    struct csi_server_options options;

    if (diagnoser == NULL && start_diagnoser(state) != 0)
        return -1;
    options = test_options();
    start_with(&options);
    return 0;
}

static inline int stop_server(void **state)
{
    (void)state;
    csi_server_stop(server, 2);
    server = NULL;
    return 0;
}

static inline int stop_all(void **state)
{
    stop_server(state);
    return stop_diagnoser(state);
}

/* ---- sockets ---- */

static inline int dial_port(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail_msg("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static inline int dial(void)
{
    return dial_port(csi_server_port(server));
}

/* Sends what the peer takes; false when it has closed. */
static inline bool put(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;

    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

static inline bool put_text(int fd, const char *text)
{
    return put(fd, text, strlen(text));
}

struct answer {
    struct csi_buffer all;
    int status;       /* 0: no answer at all */
    const char *head; /* NUL-terminated */
    const char *body; /* NUL-terminated behind its bytes */
    size_t body_size;
    bool closed; /* the server closed (or reset) the connection within the time */
};

static inline void answer_free(struct answer *answer)
{
    csi_buffer_free(&answer->all);
    memset(answer, 0, sizeof *answer);
}

/* Reads until the server closes or `seconds` are over. */
static inline struct answer take(int fd, double seconds)
{
    struct answer answer = {0};
    uint64_t start = csi_now_ns();
    char *end;

    csi_buffer_init(&answer.all);
    csi_buffer_append(&answer.all, "", 0);
    while (csi_ms_since(start) < seconds * 1000) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        char bytes[65536];
        ssize_t got;

        if (poll(&wait, 1, 50) <= 0)
            continue;
        got = recv(fd, bytes, sizeof bytes, 0);
        if (got <= 0) {
            answer.closed = true;
            break;
        }
        csi_buffer_append(&answer.all, bytes, (size_t)got);
    }
    answer.head = (const char *)answer.all.bytes;
    answer.body = "";
    end = strstr((char *)answer.all.bytes, "\r\n\r\n");
    if (end != NULL) {
        *end = '\0';
        answer.body = end + 4;
        answer.body_size = answer.all.size - (size_t)(answer.body - answer.head);
    }
    if (answer.all.size > 12 && strncmp(answer.head, "HTTP/1.1 ", 9) == 0)
        answer.status = atoi(answer.head + 9);
    return answer;
}

/* The value of a header of the answer, "" when it has none; in memory of the thread. */
static inline const char *answer_header(const struct answer *answer, const char *name)
{
    static _Thread_local char value[1024];
    size_t length = strlen(name);

    value[0] = '\0';
    for (const char *line = strstr(answer->head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':') {
            const char *start = line + 3 + length + strspn(line + 3 + length, " ");

            snprintf(value, sizeof value, "%.*s", (int)strcspn(start, "\r"), start);
            break;
        }
    return value;
}

/* One request, byte for byte, and its answer. */
static inline struct answer exchange(const void *bytes, size_t size)
{
    int fd = dial();
    struct answer answer;

    put(fd, bytes, size); /* a server that refuses early may close before all is sent */
    answer = take(fd, 60);
    close(fd);
    return answer;
}

static inline struct answer exchange_text(const char *text)
{
    return exchange(text, strlen(text));
}

/* METHOD path with extra header lines (each ending in CRLF) and a body; Host and Content-Length are added. */
static inline struct answer request(const char *method, const char *path, const char *headers,
                                    const void *body, size_t size)
{
    struct csi_buffer text;
    struct answer answer;

    csi_buffer_init(&text);
    csi_buffer_printf(&text, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s", method, path, headers);
    if (body != NULL)
        csi_buffer_printf(&text, "Content-Length: %zu\r\n", size);
    csi_buffer_printf(&text, "\r\n");
    csi_buffer_append(&text, body == NULL ? "" : body, size);
    answer = exchange(text.bytes, text.size);
    csi_buffer_free(&text);
    return answer;
}

static inline struct answer get(const char *path)
{
    return request("GET", path, "", NULL, 0);
}

/* The sample "name{labels}" of the metrics, -1: there is none. */
static inline double metric(const char *name)
{
    struct answer answer = get("/metrics");
    char line[128];
    const char *at;
    double value = -1;

    snprintf(line, sizeof line, "\n%s ", name);
    at = strstr(answer.body, line);
    if (at != NULL)
        value = strtod(at + strlen(line), NULL);
    answer_free(&answer);
    return value;
}

static inline json_t *parse(const struct answer *answer)
{
    json_error_t failure;
    json_t *json = json_loadb(answer->body, answer->body_size, 0, &failure);

    if (json == NULL)
        fail_msg("no JSON (%s): %s\n%s", failure.text, answer->head, answer->body);
    return json;
}

/* The error code in an answer of /api. */
static inline void assert_error(const struct answer *answer, int status, const char *code)
{
    json_t *json;

    if (answer->status != status)
        fail_msg("status %d instead of %d: %s\n%s", answer->status, status, answer->head, answer->body);
    json = parse(answer);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "error"), "code")), code);
    assert_true(json_string_length(json_object_get(json_object_get(json, "error"), "message")) > 0);
    json_decref(json);
}

/* An error in the form of /v2. */
static inline void assert_v2_error(const struct answer *answer, int status)
{
    json_t *json;

    if (answer->status != status)
        fail_msg("status %d instead of %d: %s", answer->status, status, answer->body);
    json = parse(answer);
    assert_true(json_string_length(json_object_get(json, "error")) > 0);
    json_decref(json);
}

/* The cookie that an answer sets, as a header line; "" when none. In memory of the thread. */
static inline const char *cookie_line(const struct answer *answer)
{
    static _Thread_local char line[256];
    char value[256];

    snprintf(value, sizeof value, "%s", answer_header(answer, "Set-Cookie"));
    value[strcspn(value, ";")] = '\0';
    line[0] = '\0';
    if (value[0] != '\0')
        snprintf(line, sizeof line, "Cookie: %.200s\r\n", value);
    return line;
}

/* The server still answers. */
static inline void assert_alive(void)
{
    struct answer answer = get("/v2/health/live");

    assert_int_equal(answer.status, 200);
    answer_free(&answer);
}

static inline void pause_ms(long ms)
{
    const struct timespec time = {ms / 1000, (ms % 1000) * 1000000};

    nanosleep(&time, NULL);
}

static inline unsigned open_fds(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 4096; fd++) {
        socklen_t size = sizeof(int);
        int value;

        /* Sockets and files alike: getsockopt fails with EBADF only for closed ones. */
        count += getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size) == 0 || errno != EBADF;
    }
    return count;
}

/* ---- photos ---- */

/* A JPEG of some coloured blobs that depends on `seed`; freed with csi_buffer_free. */
static inline struct csi_buffer draw_jpeg(unsigned seed, unsigned width, unsigned height)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL, *row = malloc((size_t)width * 3);
    unsigned long size = 0;
    struct csi_buffer photo;

    assert_non_null(row);
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &size);
    jpeg.image_width = width;
    jpeg.image_height = height;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 85, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    for (unsigned y = 0; y < height; y++) {
        for (unsigned x = 0; x < width; x++) {
            unsigned blob = ((x / 17 + seed) * 31u + (y / 13) * 17u + seed * 7u) % 97u;

            row[3 * x] = (unsigned char)(40 + blob);
            row[3 * x + 1] = (unsigned char)(90 + (blob * 3 + seed) % 120u);
            row[3 * x + 2] = (unsigned char)(30 + (x + y + seed) % 64u);
        }
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    free(row);
    csi_buffer_init(&photo);
    csi_buffer_append(&photo, bytes, size);
    free(bytes);
    assert_false(photo.failed);
    return photo;
}

/* Adds a part to a multipart body with the boundary "leaf". */
static inline void add_part(struct csi_buffer *form, const char *name, const char *file, const void *bytes,
                            size_t size)
{
    csi_buffer_printf(form, "--leaf\r\nContent-Disposition: form-data; name=\"%s\"", name);
    if (file != NULL)
        csi_buffer_printf(form, "; filename=\"%s\"\r\nContent-Type: image/jpeg", file);
    csi_buffer_printf(form, "\r\n\r\n");
    csi_buffer_append(form, bytes, size);
    csi_buffer_printf(form, "\r\n");
}
#define FORM_TYPE "Content-Type: multipart/form-data; boundary=leaf\r\n"
#define FORM_END  "--leaf--\r\n"

#endif
