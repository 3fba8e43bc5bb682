/* cropshield serve: starts the server and waits for a signal. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "server/server.h"

static void log_warning(void *context, const char *message)
{
    (void)context;
    csi_log(CSI_LOG_WARNING, "%s", message);
}

/* Waits for signals on a thread of its own, so that no handler runs on any and that they are heeded while the
 * model and the cache file are opened, which may take as long as a slow disk or another process's lock does.
 */
struct watch {
    pthread_t thread;
    sigset_t signals; /* SIGINT, SIGTERM, SIGHUP: blocked on every thread */
    pthread_mutex_t lock;
    cs_diagnoser *serving; /* NULL: the server is not up yet */
    bool reload;           /* SIGHUP came before */
};

static void reload(cs_diagnoser *diagnoser)
{
    struct cs_error error;

    if (cs_diagnoser_reload(diagnoser, &error) != CS_OK) /* success is logged by the server */
        csi_log(CSI_LOG_WARNING, "the old model stays: %s: %s", cs_status_name(error.status), error.message);
}

/* SIGINT and SIGTERM end it, or the whole program where nothing is served yet; SIGHUP loads the model again.
 */
static void *watch_signals(void *context)
{
    struct watch *watch = context;
    cs_diagnoser *serving;
    int number = 0;

    while (sigwait(&watch->signals, &number) == 0) {
        pthread_mutex_lock(&watch->lock);
        serving = watch->serving;
        watch->reload = serving == NULL && (watch->reload || number == SIGHUP);
        pthread_mutex_unlock(&watch->lock);
        if (number != SIGHUP) {
            csi_log(CSI_LOG_INFO, "stopping");
            if (serving == NULL)
                _exit(CSI_EXIT_OK); /* nothing is in flight, and the cache file stands a kill at any moment */
            break;
        }
        if (serving != NULL)
            reload(serving);
    }
    return NULL;
}

/* Before any thread starts, so that every thread inherits the mask. */
static bool watch_start(struct watch *watch)
{
    watch->serving = NULL;
    watch->reload = false;
    sigemptyset(&watch->signals);
    sigaddset(&watch->signals, SIGINT);
    sigaddset(&watch->signals, SIGTERM);
    sigaddset(&watch->signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &watch->signals, NULL);
    pthread_mutex_init(&watch->lock, NULL);
    return pthread_create(&watch->thread, NULL, watch_signals, watch) == 0;
}

/* The server is up: returns when it has to end. */
static void wait_for_end(struct watch *watch, cs_diagnoser *diagnoser)
{
    bool late;

    pthread_mutex_lock(&watch->lock);
    watch->serving = diagnoser;
    late = watch->reload;
    pthread_mutex_unlock(&watch->lock);
    if (late)
        reload(diagnoser);
    pthread_join(watch->thread, NULL);
}

/* The line that scripts wait for: bare in a log of text, a log line where every line is JSON. */
static void announce(const char *host, unsigned port, bool log_json)
{
    bool bracketed = strchr(host, ':') != NULL;
    char text[512];

    snprintf(text, sizeof text, "listening on http://%s%s%s:%u", bracketed ? "[" : "", host,
             bracketed ? "]" : "", port);
    if (log_json)
        csi_log(CSI_LOG_INFO, "%s", text);
    else
        fprintf(stderr, "%s\n", text);
}

/* Whoever serves a network without a token should have meant it. */
static void warn_if_open(const struct csi_server *server, const struct csi_server_options *options)
{
    if (options->token == NULL && !csi_server_is_local(server))
        csi_log(CSI_LOG_WARNING, "--host %s without --token: whoever reaches this address may use the API",
                options->host);
}

static int run(const struct cs_diagnoser_options *options, struct csi_server_options *server_options,
               bool log_json)
{
    struct csi_server *server = NULL;
    cs_diagnoser *diagnoser = NULL;
    static struct watch watch; /* its thread outlives this function where the server does not come up */
    struct cs_error error;

    if (!watch_start(&watch)) {
        fprintf(stderr, "cropshield: cannot start the thread that waits for signals\n");
        return CSI_EXIT_FAILED;
    }
    if (cs_diagnoser_create(options, &diagnoser, &error) != CS_OK) {
        csi_report(options->model.path, &error);
        return CSI_EXIT_FAILED;
    }
    csi_memory_give_back(); /* what loading took: now it only waits */
    server_options->diagnoser = diagnoser;
    if (csi_server_start(server_options, &server, &error) != CS_OK) {
        csi_report(NULL, &error);
        cs_diagnoser_destroy(diagnoser);
        return CSI_EXIT_FAILED;
    }
    warn_if_open(server, server_options);
    announce(server_options->host, csi_server_port(server), log_json);
    wait_for_end(&watch, diagnoser);
    csi_server_stop(server, 10);
    cs_diagnoser_destroy(diagnoser);
    return CSI_EXIT_OK;
}

int csi_command_serve(int argc, char **argv)
{
    struct csi_shared shared = csi_shared_defaults();
    struct csi_server_options server = csi_server_options_defaults();
    struct cs_diagnoser_options options, defaults = cs_diagnoser_options_defaults();
    size_t port = 8501, in_flight = server.max_in_flight, prediction_bytes = defaults.prediction_cache_bytes,
           gradcam_bytes = defaults.gradcam_cache_bytes, disk_bytes = defaults.cache_path_bytes, count;
    double ttl = 0;
    const char *cache_path = NULL, *log_format = "text";
    bool no_watch = false, quiet = false, log_json;
    struct csi_option table[CSI_SHARED_OPTIONS];
    const struct csi_option own[] = {
        {"host", 0, CSI_OPT_STRING, "ADDRESS", "address to listen on (127.0.0.1)", &server.host, 0, 0},
        {"port", 'p', CSI_OPT_SIZE, "PORT", "port (8501); 0: a free one", &port, 0, 65535},
        {"allowed-hosts", 0, CSI_OPT_STRING, "NAMES",
         "comma-separated host names that requests may come by, besides addresses and localhost",
         &server.allowed_hosts, 0, 0},
        {"token", 0, CSI_OPT_STRING, "SECRET",
         "API requests need 'Authorization: Bearer SECRET' (better by environment)", &server.token, 0, 0},
        {"target-ms", 0, CSI_OPT_NUMBER, "MS", "what latencies are compared with (200)", &server.target_ms, 1,
         1e6},
        {"in-flight", 0, CSI_OPT_SIZE, "N", "requests worked on at a time (64)", &in_flight, 1, 4096},
        {"header-timeout", 0, CSI_OPT_NUMBER, "S", "seconds to send the request head (10)",
         &server.header_timeout_s, 0.1, 3600},
        {"body-timeout", 0, CSI_OPT_NUMBER, "S", "seconds to send the body (30)", &server.body_timeout_s, 0.1,
         3600},
        {"prediction-cache", 0, CSI_OPT_BYTES, "BYTES", "memory for predictions (32M); 0: off",
         &prediction_bytes, 0, 1e12},
        {"gradcam-cache", 0, CSI_OPT_BYTES, "BYTES",
         "memory for display images and heat maps (64M, or as much as one of --max-size needs); 0: off",
         &gradcam_bytes, 0, 1e12},
        {"cache-ttl", 0, CSI_OPT_NUMBER, "S", "seconds after which a cached result is computed again (never)",
         &ttl, 0, 1e9},
        {"cache-file", 0, CSI_OPT_STRING, "FILE", "SQLite file that keeps the caches over a restart",
         &cache_path, 0, 0},
        {"cache-file-bytes", 0, CSI_OPT_BYTES, "BYTES", "bound of that file's content (256M)", &disk_bytes,
         1 << 20, 1e12},
        {"no-watch", 0, CSI_OPT_FLAG, NULL, "do not load a changed model file by itself", &no_watch, 0, 0},
        {"quiet", 'q', CSI_OPT_FLAG, NULL, "no line for each request", &quiet, 0, 0},
        {"log-format", 0, CSI_OPT_STRING, "FORMAT", "text or json", &log_format, 0, 0},
        {NULL, 0, CSI_OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const struct csi_command_line line = {"serve",
                                          "[options]",
                                          "Serves the web app, the REST API and metrics.",
                                          own,
                                          csi_shared_table(&shared, table),
                                          0,
                                          0};

    int ended = csi_command_begin(&line, &shared, argc, argv, &count, &options);

    if (ended != CSI_GOES_ON)
        return ended;
    if (strcmp(log_format, "text") != 0 && strcmp(log_format, "json") != 0) {
        csi_option_refuse(&line, &log_format, "'%s' is none of text, json", log_format);
        return CSI_EXIT_USAGE;
    }
    if (server.token != NULL && *server.token == '\0') { /* the environment's empty one counts as none */
        csi_option_refuse(&line, &server.token, "an empty token protects nothing");
        return CSI_EXIT_USAGE;
    }
    log_json = strcmp(log_format, "json") == 0;
    csi_log_configure(CSI_LOG_INFO, log_json);
    options.prediction_cache_bytes = prediction_bytes;
    options.gradcam_cache_bytes = gradcam_bytes;
    if (gradcam_bytes == defaults.gradcam_cache_bytes)
        csi_make_room_for_heatmap(&options); /* a bound that was asked for is kept */
    options.cache_ttl_s = ttl;
    options.cache_path = cache_path;
    options.cache_path_bytes = disk_bytes;
    options.watch = !no_watch;
    options.on_warning = log_warning;
    server.port = (uint16_t)port;
    server.max_in_flight = (unsigned)in_flight;
    server.limits = options.limits;
    server.max_body_bytes = 0; /* follows from the limit of a photo */
    server.max_size = options.max_size;
    server.decode = options.decode;
    server.access_log = !quiet;
    return run(&options, &server, log_json);
}
