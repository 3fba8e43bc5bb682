/*
 * Server-sent events: see events.h. Order of locks: the hub's, then libmicrohttpd's (suspend and resume are
 * called under ours, so that a wake-up never falls between "queue is empty" and "suspended").
 */
#include "server/events.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "server/session.h"

struct stream {
    struct stream *previous, *next;
    struct csi_hub *hub;
    char token[CSI_SESSION_TOKEN_SIZE];
    struct MHD_Connection *connection;
    const struct csi_conn *conn;
    char *queue[CSI_STREAM_QUEUE];
    unsigned first, count;
    size_t offset; /* bytes of the front message that were sent */
    bool suspended, ended;
};

struct csi_hub {
    pthread_mutex_t lock;
    struct stream *streams;
    size_t count;
    bool closed;
};

enum cs_status csi_hub_create(struct csi_hub **result, struct cs_error *error)
{
    struct csi_hub *hub = calloc(1, sizeof *hub);

    *result = NULL;
    if (hub == NULL)
        return csi_fail_memory(error, "events");
    pthread_mutex_init(&hub->lock, NULL);
    *result = hub;
    return CS_OK;
}

void csi_hub_destroy(struct csi_hub *hub)
{
    if (hub == NULL)
        return;
    pthread_mutex_destroy(&hub->lock);
    free(hub);
}

/* Locked. */
static void wake(struct stream *stream)
{
    if (stream->suspended) {
        stream->suspended = false;
        MHD_resume_connection(stream->connection);
    }
}

/* Locked. A full queue ends the stream: the client will connect again and start afresh. */
static void push(struct stream *stream, const char *text)
{
    if (stream->ended)
        return;
    if (stream->count == CSI_STREAM_QUEUE) {
        stream->ended = true;
    } else {
        char *copy = strdup(text);

        if (copy == NULL)
            stream->ended = true;
        else
            stream->queue[(stream->first + stream->count++) % CSI_STREAM_QUEUE] = copy;
    }
    wake(stream);
}

/* libmicrohttpd's I/O thread asks for more bytes. */
static ssize_t read_stream(void *context, uint64_t position, char *buffer, size_t size)
{
    struct stream *stream = context;
    struct csi_hub *hub = stream->hub;
    ssize_t given = 0;

    (void)position;
    pthread_mutex_lock(&hub->lock);
    if (stream->count > 0) {
        const char *front = stream->queue[stream->first];
        size_t left = strlen(front) - stream->offset;

        if (left > size)
            left = size;
        /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes of a stream, not a string */
        memcpy(buffer, front + stream->offset, left);
        stream->offset += left;
        given = (ssize_t)left;
        if (front[stream->offset] == '\0') {
            free(stream->queue[stream->first]);
            stream->first = (stream->first + 1) % CSI_STREAM_QUEUE;
            stream->count--;
            stream->offset = 0;
        }
    } else if (stream->ended) {
        given = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        stream->suspended = true;
        MHD_suspend_connection(stream->connection);
    }
    pthread_mutex_unlock(&hub->lock);
    return given;
}

static void free_stream(void *context)
{
    struct stream *stream = context;
    struct csi_hub *hub = stream->hub;

    pthread_mutex_lock(&hub->lock);
    if (stream->previous != NULL)
        stream->previous->next = stream->next;
    else
        hub->streams = stream->next;
    if (stream->next != NULL)
        stream->next->previous = stream->previous;
    hub->count--;
    pthread_mutex_unlock(&hub->lock);
    while (stream->count > 0) {
        free(stream->queue[stream->first]);
        stream->first = (stream->first + 1) % CSI_STREAM_QUEUE;
        stream->count--;
    }
    free(stream);
}

enum cs_status csi_hub_open(struct csi_hub *hub, const char *token, struct MHD_Connection *connection,
                            const struct csi_conn *conn, struct MHD_Response **response,
                            struct cs_error *error)
{
    struct stream *stream = calloc(1, sizeof *stream);
    size_t mine = 0;

    *response = NULL;
    if (stream == NULL)
        return csi_fail_memory(error, "event stream");
    stream->hub = hub;
    stream->connection = connection;
    stream->conn = conn;
    snprintf(stream->token, sizeof stream->token, "%s", token);
    pthread_mutex_lock(&hub->lock);
    for (struct stream *other = hub->streams; other != NULL; other = other->next)
        mine += strcmp(other->token, token) == 0;
    if (hub->closed || hub->count >= CSI_STREAMS_MAX || mine >= CSI_STREAMS_PER_SESSION) {
        pthread_mutex_unlock(&hub->lock);
        free(stream);
        return csi_fail(error, CS_OVERLOADED, "too many event streams are open");
    }
    stream->next = hub->streams;
    if (hub->streams != NULL)
        hub->streams->previous = stream;
    hub->streams = stream;
    hub->count++;
    push(stream, "retry: 2000\n\n");
    pthread_mutex_unlock(&hub->lock);
    *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, stream, free_stream);
    if (*response == NULL) {
        free_stream(stream);
        return csi_fail_memory(error, "event stream");
    }
    return CS_OK;
}

/* To the streams of session `token` (NULL: of all), and there to that of `conn` alone (NULL: to all). */
static void send_event(struct csi_hub *hub, const char *token, const struct csi_conn *conn, const char *event,
                       const char *data)
{
    struct csi_buffer text;

    csi_buffer_init(&text);
    csi_buffer_printf(&text, "event: %s\ndata: %s\n\n", event, data);
    if (text.failed) {
        csi_buffer_free(&text);
        return;
    }
    pthread_mutex_lock(&hub->lock);
    for (struct stream *stream = hub->streams; stream != NULL; stream = stream->next)
        if ((token == NULL || strcmp(stream->token, token) == 0) && (conn == NULL || stream->conn == conn))
            push(stream, (const char *)text.bytes);
    pthread_mutex_unlock(&hub->lock);
    csi_buffer_free(&text);
}

void csi_hub_publish(struct csi_hub *hub, const char *token, const char *event, const char *data)
{
    send_event(hub, token, NULL, event, data);
}

void csi_hub_greet(struct csi_hub *hub, const struct csi_conn *conn, const char *event, const char *data)
{
    send_event(hub, NULL, conn, event, data);
}

void csi_hub_heartbeat(struct csi_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    for (struct stream *stream = hub->streams; stream != NULL; stream = stream->next)
        push(stream, ": still here\n\n");
    pthread_mutex_unlock(&hub->lock);
}

void csi_hub_hangup(struct csi_hub *hub, const struct csi_conn *conn)
{
    pthread_mutex_lock(&hub->lock);
    for (struct stream *stream = hub->streams; stream != NULL; stream = stream->next)
        if (stream->conn == conn) {
            stream->ended = true;
            wake(stream);
        }
    pthread_mutex_unlock(&hub->lock);
}

void csi_hub_close(struct csi_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    hub->closed = true;
    for (struct stream *stream = hub->streams; stream != NULL; stream = stream->next) {
        stream->ended = true;
        wake(stream);
    }
    pthread_mutex_unlock(&hub->lock);
}

size_t csi_hub_count(struct csi_hub *hub)
{
    size_t count;

    pthread_mutex_lock(&hub->lock);
    count = hub->count;
    pthread_mutex_unlock(&hub->lock);
    return count;
}
