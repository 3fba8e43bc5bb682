/* The gate: see gate.h. One thread over epoll; `lock` guards the list of connections and their phases. */
#include "server/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/guard.h"
#include "server/refusal.h"

#define LINGER_NS    2000000000ull
#define TICK_NS      1000000000ull
#define PAUSE_NS     50000000ull /* without free descriptors */
#define SCRATCH_SIZE 65536u      /* more than a head: the rest drains lingering connections */

struct csi_conn {
    struct csi_conn *previous, *next;
    int fd;      /* the accepted socket; once lent, a duplicate of it */
    int lent_fd; /* the number by which libmicrohttpd knows it; -1 when it has it no more */
    enum csi_conn_phase phase;
    uint64_t deadline_ns; /* 0: none */
    bool watched;         /* `fd` is in the epoll set */
    bool claimed;         /* libmicrohttpd has begun with it, and will say when it ends */
    bool v2;              /* the request is one of /v2, as far as is known */
    struct sockaddr_storage address;
    socklen_t address_size;
};

struct csi_http_gate {
    struct csi_http_gate_options options;
    int epoll, wake;
    bool accepting, stopping; /* under lock */
    pthread_t thread;
    pthread_mutex_t lock;
    struct csi_conn *first;   /* under lock; freed by the gate's thread alone */
    struct csi_conn *dropped; /* the gate's thread */
    unsigned count;           /* under lock */
    uint64_t next_tick_ns;
    uint64_t accept_again_ns;      /* the gate's thread: nothing is accepted until then; 0: accepting */
    uint8_t scratch[SCRATCH_SIZE]; /* the gate's thread */
};

static uint64_t seconds_ns(double seconds)
{
    return seconds <= 0 ? 0 : (uint64_t)(seconds * 1e9);
}

static void wake_up(struct csi_http_gate *gate)
{
    uint64_t one = 1;

    if (write(gate->wake, &one, sizeof one) < 0) {
        /* The counter is full: the thread is being woken anyway. */
    }
}

static void unlink_conn(struct csi_http_gate *gate, struct csi_conn *conn)
{
    if (conn->previous != NULL)
        conn->previous->next = conn->next;
    else
        gate->first = conn->next;
    if (conn->next != NULL)
        conn->next->previous = conn->previous;
    gate->count--;
}

/* Locked. `conn` is not lent. */
static void drop(struct csi_http_gate *gate, struct csi_conn *conn)
{
    unlink_conn(gate, conn);
    if (conn->watched)
        epoll_ctl(gate->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
    close(conn->fd);
    /* An event of the batch at hand may still point here: freed when the batch is done. */
    conn->fd = -1;
    conn->next = gate->dropped;
    gate->dropped = conn;
}

static void bury(struct csi_http_gate *gate)
{
    while (gate->dropped != NULL) {
        struct csi_conn *conn = gate->dropped;

        gate->dropped = conn->next;
        free(conn);
    }
}

static void watch(struct csi_http_gate *gate, struct csi_conn *conn, uint32_t events)
{
    struct epoll_event event = {.events = events | EPOLLET, .data = {.ptr = conn}};

    if (epoll_ctl(gate->epoll, conn->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, conn->fd, &event) == 0)
        conn->watched = true;
}

const char *csi_refusal_reason_name(enum csi_refusal_reason reason)
{
    static const char *const names[CSI_REFUSED_COUNT] = {"head", "head_timeout", "body_timeout",
                                                         "connections", "early"};

    return (unsigned)reason < CSI_REFUSED_COUNT ? names[reason] : "";
}

/* Writes the whole answer of a refusal. The send buffer is empty at this point, so that it fits. */
static void send_refusal(struct csi_http_gate *gate, struct csi_conn *conn, enum csi_refusal_reason reason,
                         unsigned status, const char *code, const char *message, const char *headers, bool v2,
                         unsigned retry_after_s)
{
    char text[CSI_REFUSAL_SIZE];
    size_t size = csi_refusal_format(text, sizeof text, status, code, message, headers, v2, retry_after_s);

    if (send(conn->fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        /* The peer has gone: nobody to tell. */
    }
    if (gate->options.refused != NULL)
        gate->options.refused(gate->options.context, status, reason);
}

/* Locked; the gate's thread. Reads and forgets what the peer still sends. */
static void drain(struct csi_http_gate *gate, struct csi_conn *conn)
{
    for (;;) {
        ssize_t got = recv(conn->fd, gate->scratch, sizeof gate->scratch, MSG_DONTWAIT);

        if (got > 0)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        drop(gate, conn);
        return;
    }
}

/* Locked; the gate's thread. */
static void begin_linger(struct csi_http_gate *gate, struct csi_conn *conn)
{
    conn->phase = CSI_CONN_LINGER;
    conn->deadline_ns = csi_now_ns() + LINGER_NS;
    shutdown(conn->fd, SHUT_WR);
    watch(gate, conn, EPOLLIN | EPOLLRDHUP);
    if (conn->watched)
        drain(gate, conn);
    else
        drop(gate, conn); /* nobody would tell of its end */
}

/* Locked; the gate's thread. libmicrohttpd did not take the connection and has closed its descriptor, or was
 * not given one. */
static void refuse_crowd(struct csi_http_gate *gate, struct csi_conn *conn)
{
    conn->lent_fd = -1;
    send_refusal(gate, conn, CSI_REFUSED_CONNECTIONS, 503, "overloaded", "too many open connections", "",
                 conn->v2, 1);
    begin_linger(gate, conn);
}

/* Locked; the gate's thread. The head is sound: libmicrohttpd takes over. */
static void lend(struct csi_http_gate *gate, struct csi_conn *conn)
{
    int duplicate = fcntl(conn->fd, F_DUPFD_CLOEXEC, 3), lent = conn->fd;
    struct sockaddr_storage address = conn->address;
    socklen_t address_size = conn->address_size;

    if (duplicate < 0) {
        refuse_crowd(gate, conn);
        return;
    }
    epoll_ctl(gate->epoll, EPOLL_CTL_DEL, lent, NULL);
    conn->watched = false;
    conn->lent_fd = lent;
    conn->fd = duplicate;
    conn->phase = CSI_CONN_BODY;
    conn->deadline_ns = csi_now_ns() + seconds_ns(gate->options.body_timeout_s);
    /* libmicrohttpd may call back (csi_http_gate_claim), so the lock is open; only this thread frees
     * connections.
     */
    pthread_mutex_unlock(&gate->lock);
    if (MHD_add_connection(gate->options.daemon, lent, (struct sockaddr *)&address, address_size) !=
        MHD_YES) {
        pthread_mutex_lock(&gate->lock);
        refuse_crowd(gate, conn);
        return;
    }
    pthread_mutex_lock(&gate->lock);
}

/* Locked; the gate's thread. Bytes of a head have come. */
static void look(struct csi_http_gate *gate, struct csi_conn *conn, uint32_t events)
{
    struct csi_http_head head;
    enum csi_guard_verdict verdict;
    ssize_t got = recv(conn->fd, gate->scratch, CSI_HTTP_HEAD_MAX, MSG_PEEK | MSG_DONTWAIT);

    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR) || (events & (EPOLLERR | EPOLLHUP)) != 0)
            drop(gate, conn);
        return;
    }
    verdict = csi_http_guard_check(gate->scratch, (size_t)got, &head);
    conn->v2 = head.v2;
    switch (verdict) {
    case CSI_GUARD_COMPLETE:
        if (gate->accepting)
            lend(gate, conn);
        else
            drop(gate, conn); /* the server is stopping, and libmicrohttpd may be gone at any moment */
        return;
    case CSI_GUARD_INCOMPLETE:
        if ((events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0)
            drop(gate, conn); /* nothing more will come */
        return;
    case CSI_GUARD_REFUSED:
        send_refusal(gate, conn, CSI_REFUSED_HEAD, head.status,
                     head.status == 413 ? "image_too_large" : "bad_request", head.reason, "", head.v2, 0);
        begin_linger(gate, conn);
        return;
    }
}

/* Locked. Makes room by ending the connection that lingers longest. */
static bool make_room(struct csi_http_gate *gate)
{
    struct csi_conn *oldest = NULL;

    if (gate->count < gate->options.max_connections)
        return true;
    for (struct csi_conn *conn = gate->first; conn != NULL; conn = conn->next)
        if (conn->phase == CSI_CONN_LINGER && conn->lent_fd < 0 && conn->watched &&
            (oldest == NULL || conn->deadline_ns < oldest->deadline_ns))
            oldest = conn;
    if (oldest == NULL)
        return false;
    drop(gate, oldest);
    return true;
}

/* Whether the listener is looked at. */
static void listen_for_more(struct csi_http_gate *gate, bool on)
{
    struct epoll_event event = {.events = on ? EPOLLIN : 0, .data = {.ptr = &gate->options.listener}};

    gate->accept_again_ns = on ? 0 : csi_now_ns() + PAUSE_NS;
    epoll_ctl(gate->epoll, EPOLL_CTL_MOD, gate->options.listener, &event);
}

/* Locked; the gate's thread. Returns whether there may be more. */
static bool accept_one(struct csi_http_gate *gate)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    struct csi_conn *conn;
    int fd =
        accept4(gate->options.listener, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        bool again = errno == EINTR || errno == ECONNABORTED;

        /* The connection stays in the queue, and epoll would tell of it again at once, and again. */
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            listen_for_more(gate, false);
        return again;
    }
    conn = make_room(gate) ? calloc(1, sizeof *conn) : NULL;
    if (conn == NULL) {
        struct csi_conn none = {.fd = fd};

        send_refusal(gate, &none, CSI_REFUSED_CONNECTIONS, 503, "overloaded", "too many open connections", "",
                     false, 1);
        close(fd);
        return true;
    }
    conn->fd = fd;
    conn->lent_fd = -1;
    conn->phase = CSI_CONN_HEAD;
    conn->deadline_ns = csi_now_ns() + seconds_ns(gate->options.header_timeout_s);
    conn->address = address;
    conn->address_size = size;
    conn->next = gate->first;
    if (gate->first != NULL)
        gate->first->previous = conn;
    gate->first = conn;
    gate->count++;
    /* Edge-triggered: unread (peeked) bytes do not wake us again, new ones do. */
    watch(gate, conn, EPOLLIN | EPOLLRDHUP);
    if (!conn->watched)
        drop(gate, conn);
    return true;
}

/* Locked; the gate's thread. A deadline has passed. */
static void expire(struct csi_http_gate *gate, struct csi_conn *conn)
{
    switch (conn->phase) {
    case CSI_CONN_HEAD:
        if (recv(conn->fd, gate->scratch, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
            send_refusal(gate, conn, CSI_REFUSED_HEAD_TIMEOUT, 408, "timeout",
                         "the request head took too long", "", conn->v2, 0);
            begin_linger(gate, conn);
        } else {
            drop(gate, conn); /* never said a word: browsers open connections ahead */
        }
        return;
    case CSI_CONN_BODY:
        if (!conn->claimed) {
            /* It was only queued, and libmicrohttpd closes without a word what it then finds no room for.
             * Should it still come to begin with it, csi_http_gate_claim knows it no more. */
            refuse_crowd(gate, conn);
            return;
        }
        send_refusal(gate, conn, CSI_REFUSED_BODY_TIMEOUT, 408, "timeout", "the request body took too long",
                     "", conn->v2, 0);
        conn->phase = CSI_CONN_CUT;
        conn->deadline_ns = 0;
        shutdown(conn->fd, SHUT_RD); /* libmicrohttpd reads the end and closes */
        return;
    case CSI_CONN_REPLY:
        conn->phase = CSI_CONN_CUT;
        conn->deadline_ns = 0;
        shutdown(conn->fd, SHUT_RDWR);
        return;
    case CSI_CONN_LINGER: drop(gate, conn); return;
    case CSI_CONN_WORK:
    case CSI_CONN_STREAM:
    case CSI_CONN_CUT: conn->deadline_ns = 0; return;
    }
}

/* Locked; the gate's thread. Deadlines, connections that came back, streams that began. Returns the next
 * deadline. */
static uint64_t sweep(struct csi_http_gate *gate)
{
    uint64_t now = csi_now_ns(), next = now + TICK_NS;
    struct csi_conn *conn, *following;

    if (gate->accept_again_ns != 0 && gate->accepting) {
        if (gate->accept_again_ns <= now)
            listen_for_more(gate, true);
        else if (gate->accept_again_ns < next)
            next = gate->accept_again_ns;
    }
    for (conn = gate->first; conn != NULL; conn = following) {
        following = conn->next;
        if (conn->phase == CSI_CONN_LINGER && conn->lent_fd < 0 && !conn->watched) {
            begin_linger(gate, conn);
            continue;
        }
        if (conn->phase == CSI_CONN_STREAM && !conn->watched)
            watch(gate, conn, EPOLLRDHUP);
        if (conn->deadline_ns == 0)
            continue;
        if (conn->deadline_ns <= now)
            expire(gate, conn);
        else if (conn->deadline_ns < next)
            next = conn->deadline_ns;
    }
    return next;
}

/* Locked; the gate's thread. */
static void handle(struct csi_http_gate *gate, const struct epoll_event *event)
{
    struct csi_conn *conn = event->data.ptr;

    if (event->data.ptr == &gate->wake) {
        uint64_t count;

        if (read(gate->wake, &count, sizeof count) < 0) {
            /* Nothing to read: a wake-up was taken before. */
        }
    } else if (event->data.ptr == &gate->options.listener) {
        for (unsigned i = 0; i < 64 && gate->accepting && accept_one(gate); i++)
            ;
    } else if (conn->fd < 0) {
        return; /* dropped earlier in this batch */
    } else if (conn->phase == CSI_CONN_HEAD) {
        look(gate, conn, event->events);
    } else if (conn->phase == CSI_CONN_LINGER && conn->lent_fd < 0) {
        drain(gate, conn);
    } else if (conn->phase == CSI_CONN_STREAM && gate->options.hangup != NULL) {
        /* The hub takes its own lock and may call libmicrohttpd: not under ours. */
        pthread_mutex_unlock(&gate->lock);
        gate->options.hangup(gate->options.context, conn);
        pthread_mutex_lock(&gate->lock);
    }
}

static void *run(void *argument)
{
    struct csi_http_gate *gate = argument;
    struct epoll_event events[64];
    uint64_t next = 0;

    pthread_mutex_lock(&gate->lock);
    while (!gate->stopping) {
        uint64_t now = csi_now_ns();
        int wait = next > now ? (int)((next - now) / 1000000) + 1 : 0, count;

        pthread_mutex_unlock(&gate->lock);
        count = epoll_wait(gate->epoll, events, 64, wait);
        pthread_mutex_lock(&gate->lock);
        for (int i = 0; i < count; i++)
            handle(gate, &events[i]);
        next = sweep(gate);
        bury(gate);
        if (csi_now_ns() >= gate->next_tick_ns) {
            gate->next_tick_ns = csi_now_ns() + TICK_NS;
            pthread_mutex_unlock(&gate->lock);
            if (gate->options.tick != NULL)
                gate->options.tick(gate->options.context);
            pthread_mutex_lock(&gate->lock);
        }
    }
    pthread_mutex_unlock(&gate->lock);
    return NULL;
}

enum cs_status csi_http_gate_start(const struct csi_http_gate_options *options, struct csi_http_gate **result,
                                   struct cs_error *error)
{
    struct csi_http_gate *gate = calloc(1, sizeof *gate);
    struct epoll_event event = {.events = EPOLLIN};
    enum cs_status status;

    *result = NULL;
    if (gate == NULL)
        return csi_fail_memory(error, "gate");
    gate->options = *options;
    gate->accepting = true;
    gate->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    gate->epoll = epoll_create1(EPOLL_CLOEXEC);
    pthread_mutex_init(&gate->lock, NULL);
    if (gate->wake < 0 || gate->epoll < 0)
        goto fail;
    event.data.ptr = &gate->wake;
    if (epoll_ctl(gate->epoll, EPOLL_CTL_ADD, gate->wake, &event) != 0)
        goto fail;
    event.data.ptr = &gate->options.listener;
    if (epoll_ctl(gate->epoll, EPOLL_CTL_ADD, options->listener, &event) != 0)
        goto fail;
    *result = gate; /* before the thread: callbacks may look for it at once */
    if (pthread_create(&gate->thread, NULL, run, gate) != 0)
        goto fail;
    return CS_OK;
fail:
    *result = NULL;
    status = csi_fail(error, CS_INTERNAL, "cannot watch connections: %s", strerror(errno));
    if (gate->wake >= 0)
        close(gate->wake);
    if (gate->epoll >= 0)
        close(gate->epoll);
    pthread_mutex_destroy(&gate->lock);
    free(gate);
    return status;
}

void csi_http_gate_close(struct csi_http_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    if (gate->accepting) {
        gate->accepting = false;
        epoll_ctl(gate->epoll, EPOLL_CTL_DEL, gate->options.listener, NULL);
        close(gate->options.listener);
        /* Those that still wait for a head run out of time now; the gate's thread frees them. */
        for (struct csi_conn *conn = gate->first; conn != NULL; conn = conn->next)
            if (conn->phase == CSI_CONN_HEAD || conn->phase == CSI_CONN_LINGER)
                conn->deadline_ns = 1;
    }
    pthread_mutex_unlock(&gate->lock);
    wake_up(gate);
}

unsigned csi_http_gate_busy(struct csi_http_gate *gate)
{
    unsigned busy = 0;

    pthread_mutex_lock(&gate->lock);
    for (struct csi_conn *conn = gate->first; conn != NULL; conn = conn->next)
        busy += conn->lent_fd >= 0 && conn->phase != CSI_CONN_STREAM;
    pthread_mutex_unlock(&gate->lock);
    return busy;
}

unsigned csi_http_gate_connections(struct csi_http_gate *gate)
{
    unsigned count;

    pthread_mutex_lock(&gate->lock);
    count = gate->count;
    pthread_mutex_unlock(&gate->lock);
    return count;
}

void csi_http_gate_destroy(struct csi_http_gate *gate)
{
    if (gate == NULL)
        return;
    csi_http_gate_close(gate);
    pthread_mutex_lock(&gate->lock);
    gate->stopping = true;
    pthread_mutex_unlock(&gate->lock);
    wake_up(gate);
    pthread_join(gate->thread, NULL);
    while (gate->first != NULL)
        drop(gate, gate->first);
    bury(gate);
    close(gate->wake);
    close(gate->epoll);
    pthread_mutex_destroy(&gate->lock);
    free(gate);
}

struct csi_conn *csi_http_gate_claim(struct csi_http_gate *gate, int fd)
{
    struct csi_conn *conn;

    pthread_mutex_lock(&gate->lock);
    for (conn = gate->first; conn != NULL && conn->lent_fd != fd; conn = conn->next)
        ;
    if (conn != NULL)
        conn->claimed = true;
    pthread_mutex_unlock(&gate->lock);
    return conn;
}

void csi_http_gate_release(struct csi_http_gate *gate, struct csi_conn *conn)
{
    pthread_mutex_lock(&gate->lock);
    if (conn->watched) {
        epoll_ctl(gate->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
        conn->watched = false;
    }
    conn->lent_fd = -1; /* the number may be reused as soon as libmicrohttpd has closed it */
    conn->phase = CSI_CONN_LINGER;
    conn->deadline_ns = csi_now_ns() + LINGER_NS;
    pthread_mutex_unlock(&gate->lock);
    wake_up(gate);
}

bool csi_conn_enter(struct csi_http_gate *gate, struct csi_conn *conn, enum csi_conn_phase phase)
{
    bool open;

    pthread_mutex_lock(&gate->lock);
    open = conn->phase != CSI_CONN_CUT;
    if (open) {
        conn->phase = phase;
        conn->deadline_ns =
            phase == CSI_CONN_REPLY ? csi_now_ns() + seconds_ns(gate->options.reply_timeout_s) : 0;
    }
    pthread_mutex_unlock(&gate->lock);
    if (open && phase == CSI_CONN_STREAM)
        wake_up(gate); /* so that it is watched for its end */
    return open;
}

bool csi_conn_refuse(struct csi_http_gate *gate, struct csi_conn *conn, unsigned status, const char *code,
                     const char *message, const char *headers, bool v2, unsigned retry_after_s)
{
    bool open;

    pthread_mutex_lock(&gate->lock);
    open = conn->phase != CSI_CONN_CUT;
    if (open) {
        conn->phase = CSI_CONN_CUT;
        conn->deadline_ns = 0;
        send_refusal(gate, conn, CSI_REFUSED_EARLY, status, code, message, headers, v2, retry_after_s);
    }
    pthread_mutex_unlock(&gate->lock);
    return open;
}
