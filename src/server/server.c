/*
 * The server: starting and stopping. Builds the parts in the order in which they need each other and takes
 * them down in reverse:
 *
 *   gate (accepts, guards, deadlines) -> libmicrohttpd (one I/O thread) -> workers (diagnoses) -> diagnoser
 */
#include "server/server.h"

#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/describe.h"
#include "server/events.h"
#include "server/gate.h"
#include "server/http.h"
#include "server/session.h"
#include "server/tensor_sessions.h"

#define CONNECTIONS_MAX   1024u
#define SESSIONS_MAX      512u
#define SESSION_IDLE_S    43200.0
#define IDLE_TIMEOUT_S    30.0
#define IDLE_MARGIN_S     5.0 /* behind the gate's own deadlines */
#define HEARTBEAT_TICKS   15u
#define CONNECTION_MEMORY (64u << 10) /* a head of 16 KiB, parsed, and a read buffer */

struct csi_server_options csi_server_options_defaults(void)
{
    struct csi_server_options options = {
        .host = "127.0.0.1",
        .port = 8501,
        .limits = cs_limits_defaults(),
        .max_in_flight = 64,
        .header_timeout_s = 10,
        .body_timeout_s = 30,
        .reply_timeout_s = 60,
        .target_ms = 200,
        .default_top_k = 3,
    };

    options.max_body_bytes = 6 * options.limits.max_bytes + 65536;
    return options;
}

/* Two descriptors a connection while it is lent. Returns how many connections the process may hold. */
static unsigned connection_limit(void)
{
    struct rlimit limit;
    rlim_t wanted = 2 * CONNECTIONS_MAX + 256, room;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return CONNECTIONS_MAX / 4;
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < wanted) {
        struct rlimit raised = limit;

        raised.rlim_cur =
            limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted ? wanted : limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= wanted)
        return CONNECTIONS_MAX;
    room = limit.rlim_cur / 2;
    return room > 96 ? (unsigned)room - 64 : 32;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;

        return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;

        return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    }
    return false;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        return 0;
    /* NOLINTBEGIN(clang-analyzer-core.CallAndMessage): getsockname has filled it */
    if (address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)&address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)&address)->sin_port);
    /* NOLINTEND(clang-analyzer-core.CallAndMessage) */
}

/* A listening socket on the first address of `host` that works. */
static enum cs_status open_listener(struct csi_server *server, int *result, struct cs_error *error)
{
    const struct csi_server_options *options = &server->options;
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM},
                    *list = NULL;
    char service[8];
    int failure, saved = 0, on = 1;

    *result = -1;
    snprintf(service, sizeof service, "%u", (unsigned)options->port);
    failure = getaddrinfo(options->host, service, &hints, &list);
    if (failure != 0)
        return csi_fail(error, CS_INTERNAL, "cannot listen on %s: %s", options->host, gai_strerror(failure));
    for (struct addrinfo *entry = list; entry != NULL && *result < 0; entry = entry->ai_next) {
        int fd =
            socket(entry->ai_family, entry->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, entry->ai_protocol);

        if (fd < 0) {
            saved = errno;
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, entry->ai_addr, entry->ai_addrlen) == 0 && listen(fd, 512) == 0) {
            server->loopback = is_loopback(entry->ai_addr);
            *result = fd;
        } else {
            saved = errno;
            close(fd);
        }
    }
    freeaddrinfo(list);
    if (*result < 0)
        return csi_fail(error, CS_INTERNAL, "cannot listen on %s port %u: %s", options->host,
                        (unsigned)options->port, strerror(saved));
    server->port = bound_port(*result);
    return CS_OK;
}

static void on_refused(void *context, unsigned status, enum csi_refusal_reason reason)
{
    struct csi_server *server = context;

    atomic_fetch_add(&server->metrics.refused[reason], 1);
    if (server->options.access_log && reason != CSI_REFUSED_EARLY) /* that one has a route's line */
        csi_log(CSI_LOG_INFO, "refused at the gate: %u %s", status, csi_refusal_reason_name(reason));
}

static void on_hangup(void *context, struct csi_conn *conn)
{
    struct csi_server *server = context;

    csi_hub_hangup(server->hub, conn);
}

/* However it came to be loaded: by its file's change, by a signal, by a cleared cache. Asked for once a
 * second: of several loads within one the last. */
static void log_model(const struct csi_server *server)
{
    cs_model *model = cs_diagnoser_model(server->options.diagnoser);
    struct cs_model_info info = cs_model_info(model);

    csi_log(CSI_LOG_INFO, "model loaded: %s, digest %s", info.name, info.digest);
    cs_model_destroy(model);
}

/* Once a second: has the model changed; are the streams' clients still there. */
static void on_tick(void *context)
{
    struct csi_server *server = context;
    struct cs_diagnoser_status status;

    cs_diagnoser_status(server->options.diagnoser, &status);
    if (status.model_loads != server->tensor_sessions_loads) {
        server->tensor_sessions_loads = status.model_loads;
        log_model(server);
        csi_tensor_sessions_purge(server->tensor_sessions); /* they would keep the old model in memory */
    }
    if (status.model_loads + status.model_load_failures != server->known_model_loads) {
        json_t *model = csi_describe_model(server);
        char *text = json_dumps(model, JSON_COMPACT | JSON_REAL_PRECISION(6));

        server->known_model_loads = status.model_loads + status.model_load_failures;
        if (text != NULL)
            csi_hub_publish(server->hub, NULL, "model", text);
        free(text);
        json_decref(model);
    }
    if (++server->ticks % HEARTBEAT_TICKS == 0)
        csi_hub_heartbeat(server->hub);
}

static void on_mhd_log(void *context, const char *format, va_list arguments)
{
    char line[512];

    (void)context;
    vsnprintf(line, sizeof line, format, arguments);
    line[strcspn(line, "\r\n")] = '\0';
    csi_log(CSI_LOG_DEBUG, "http: %s", line);
}

static enum cs_status copy_options(struct csi_server *server, const struct csi_server_options *options,
                                   struct cs_error *error)
{
    struct csi_server_options defaults = csi_server_options_defaults(), *own = &server->options;

    *own = *options;
    own->host = csi_strdup(options->host == NULL || options->host[0] == '\0' ? defaults.host : options->host);
    own->token = csi_strdup(options->token == NULL || options->token[0] == '\0' ? NULL : options->token);
    own->allowed_hosts = csi_strdup(options->allowed_hosts);
    if (own->host == NULL || (options->token != NULL && options->token[0] != '\0' && own->token == NULL) ||
        (options->allowed_hosts != NULL && own->allowed_hosts == NULL))
        return csi_fail_memory(error, "server options");
    if (own->limits.max_bytes == 0)
        own->limits = defaults.limits;
    if (own->max_body_bytes == 0)
        own->max_body_bytes = 6 * own->limits.max_bytes + 65536;
    if (own->max_in_flight == 0)
        own->max_in_flight = defaults.max_in_flight;
    if (own->header_timeout_s <= 0)
        own->header_timeout_s = defaults.header_timeout_s;
    if (own->body_timeout_s <= 0)
        own->body_timeout_s = defaults.body_timeout_s;
    if (own->reply_timeout_s <= 0)
        own->reply_timeout_s = defaults.reply_timeout_s;
    if (own->max_size == 0)
        own->max_size = cs_diagnoser_options_defaults().max_size;
    if (own->target_ms <= 0)
        own->target_ms = defaults.target_ms;
    if (own->default_top_k == 0)
        own->default_top_k = defaults.default_top_k;
    return CS_OK;
}

static void destroy(struct csi_server *server)
{
    csi_hub_destroy(server->hub);
    csi_tensor_sessions_destroy(server->tensor_sessions);
    csi_sessions_destroy(server->sessions);
    free((void *)(uintptr_t)server->options.host);
    free((void *)(uintptr_t)server->options.token);
    free((void *)(uintptr_t)server->options.allowed_hosts);
    free(server);
}

/* After how many seconds without a byte libmicrohttpd closes a connection by itself: silently and uncounted,
 * so that the gate's deadlines must all be earlier. Never 0: it is what ends event streams that nobody reads.
 */
static unsigned idle_timeout(const struct csi_server_options *options)
{
    double longest = fmax(IDLE_TIMEOUT_S, fmax(options->body_timeout_s, options->reply_timeout_s));

    return (unsigned)ceil(longest + IDLE_MARGIN_S);
}

static struct MHD_Daemon *start_daemon(struct csi_server *server, unsigned connections)
{
    /* poll, not epoll: with hundreds of connections it costs nothing, and the gate holds duplicates of the
     * descriptors, which epoll would keep watching. No listening socket: the gate hands connections in. */
    return MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG,
        0, NULL, NULL, csi_http_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, server,
        MHD_OPTION_NOTIFY_COMPLETED, csi_http_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        csi_http_connection, server, MHD_OPTION_CONNECTION_LIMIT, connections + 16,
        MHD_OPTION_CONNECTION_TIMEOUT, idle_timeout(&server->options), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
}

enum cs_status csi_server_start(const struct csi_server_options *options, struct csi_server **result,
                                struct cs_error *error)
{
    struct csi_server *server = calloc(1, sizeof *server);
    struct cs_diagnoser_status model;
    struct csi_http_gate_options gate = {.listener = -1};
    enum cs_status status;
    unsigned threads;

    *result = NULL;
    if (server == NULL)
        return csi_fail_memory(error, "server");
    server->started_ns = csi_now_ns();
    status = copy_options(server, options, error);
    if (status != CS_OK)
        goto fail;
    cs_diagnoser_status(server->options.diagnoser, &model);
    server->known_model_loads = model.model_loads + model.model_load_failures;
    server->tensor_sessions_loads = model.model_loads;
    if ((status = csi_sessions_create(SESSIONS_MAX, SESSION_IDLE_S, &server->sessions, error)) != CS_OK ||
        (status = csi_hub_create(&server->hub, error)) != CS_OK ||
        (status = csi_tensor_sessions_create(&server->tensor_sessions, error)) != CS_OK ||
        (status = open_listener(server, &gate.listener, error)) != CS_OK)
        goto fail;
    /* The forward pass uses all cores by itself; two more threads decode and encode beside it. */
    threads = csi_cpu()->physical_cores + 2;
    status = csi_workers_create(threads > 32 ? 32 : threads, csi_http_work, &server->workers, error);
    if (status != CS_OK)
        goto fail;
    gate.max_connections = connection_limit();
    server->daemon = start_daemon(server, gate.max_connections);
    if (server->daemon == NULL) {
        status = csi_fail(error, CS_INTERNAL, "cannot start the HTTP library");
        goto fail;
    }
    gate.daemon = server->daemon;
    gate.header_timeout_s = server->options.header_timeout_s;
    gate.body_timeout_s = server->options.body_timeout_s;
    gate.reply_timeout_s = server->options.reply_timeout_s;
    gate.refused = on_refused;
    gate.tick = on_tick;
    gate.hangup = on_hangup;
    gate.context = server;
    status = csi_http_gate_start(&gate, &server->gate, error);
    if (status != CS_OK)
        goto fail;
    *result = server;
    return CS_OK;
fail:
    if (server->daemon != NULL)
        MHD_stop_daemon(server->daemon);
    csi_workers_destroy(server->workers);
    if (gate.listener >= 0)
        close(gate.listener);
    destroy(server);
    return status;
}

const char *csi_server_library_version(void)
{
    return MHD_get_version();
}

uint16_t csi_server_port(const struct csi_server *server)
{
    return server->port;
}

bool csi_server_is_local(const struct csi_server *server)
{
    return server->loopback;
}

void csi_server_stop(struct csi_server *server, double grace_s)
{
    const struct timespec pause = {0, 10000000};
    uint64_t start = csi_now_ns();

    if (server == NULL)
        return;
    csi_http_gate_close(server->gate);
    csi_hub_close(server->hub);
    while (csi_http_gate_busy(server->gate) > 0 && csi_ms_since(start) < grace_s * 1000)
        nanosleep(&pause, NULL);
    /* From here on nothing new reaches a worker (a request counts itself in before it looks at `stopping`);
     * what they have ends, and every suspended connection is resumed. */
    atomic_store(&server->stopping, true);
    while (atomic_load(&server->in_flight) > 0)
        nanosleep(&pause, NULL);
    csi_workers_destroy(server->workers);
    csi_hub_close(server->hub);
    MHD_stop_daemon(server->daemon);
    csi_http_gate_destroy(server->gate);
    destroy(server);
}
