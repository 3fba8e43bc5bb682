/* Sessions: see session.h. One lock for all of them: every operation under it is short. */
#include "server/session.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

/* JSON of one history entry larger than this is not kept: 100 of them bound a session. */
#define ENTRY_MAX 16384u

struct performance {
    char id[CS_ID_SIZE];
    char name[128];
    int64_t at_ms;
    enum cs_cache_result cache;
    struct cs_timings timings;
};

struct csi_session {
    struct csi_session *newer, *older; /* by last use */
    char token[CSI_SESSION_TOKEN_SIZE];
    unsigned references; /* the table's own included */
    uint64_t used_ns;
    bool listed;   /* in the table */
    bool returned; /* the client came back with the cookie */
    bool authorized;
    char *history[CSI_SESSION_HISTORY]; /* ring; entry `history_count - 1` modulo the size is the newest */
    uint64_t history_count;
    struct performance performance[CSI_SESSION_PERFORMANCE]; /* ring, like history */
    uint64_t count, cold, warm;
    double sum_ms, min_ms, max_ms;
};

struct csi_sessions {
    pthread_mutex_t lock;
    struct csi_session *newest, *oldest;
    size_t count, limit;
    uint64_t idle_ns;
};

void csi_time_text(int64_t unix_ms, char *text, size_t size)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm utc;
    char stamp[32];

    gmtime_r(&seconds, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, size, "%s.%03dZ", stamp, (int)(unix_ms % 1000));
}

enum cs_status csi_sessions_create(size_t limit, double idle_s, struct csi_sessions **result,
                                   struct cs_error *error)
{
    struct csi_sessions *sessions = calloc(1, sizeof *sessions);

    *result = NULL;
    if (sessions == NULL)
        return csi_fail_memory(error, "sessions");
    if (sodium_init() < 0) {
        free(sessions);
        return csi_fail(error, CS_INTERNAL, "no source of random numbers");
    }
    pthread_mutex_init(&sessions->lock, NULL);
    sessions->limit = limit;
    sessions->idle_ns = (uint64_t)(idle_s * 1e9);
    *result = sessions;
    return CS_OK;
}

/* Locked. */
static void unlist(struct csi_sessions *sessions, struct csi_session *session)
{
    if (session->newer != NULL)
        session->newer->older = session->older;
    else
        sessions->newest = session->older;
    if (session->older != NULL)
        session->older->newer = session->newer;
    else
        sessions->oldest = session->newer;
    session->newer = session->older = NULL;
    session->listed = false;
    sessions->count--;
}

/* Locked. */
static void list(struct csi_sessions *sessions, struct csi_session *session)
{
    session->older = sessions->newest;
    if (sessions->newest != NULL)
        sessions->newest->newer = session;
    else
        sessions->oldest = session;
    sessions->newest = session;
    session->listed = true;
    sessions->count++;
}

/* Locked. */
static void release(struct csi_session *session)
{
    if (--session->references > 0)
        return;
    for (size_t i = 0; i < CSI_SESSION_HISTORY; i++)
        free(session->history[i]);
    free(session);
}

static void evict(struct csi_sessions *sessions, struct csi_session *session)
{
    unlist(sessions, session);
    release(session);
}

void csi_sessions_destroy(struct csi_sessions *sessions)
{
    if (sessions == NULL)
        return;
    while (sessions->oldest != NULL)
        evict(sessions, sessions->oldest);
    pthread_mutex_destroy(&sessions->lock);
    free(sessions);
}

size_t csi_sessions_count(struct csi_sessions *sessions)
{
    size_t count;

    pthread_mutex_lock(&sessions->lock);
    count = sessions->count;
    pthread_mutex_unlock(&sessions->lock);
    return count;
}

/* How hard it is to have a session like this one: anybody can come back with a cookie, and only who knows the
 * token is authorized. */
static unsigned standing(const struct csi_session *session)
{
    return (session->authorized ? 2u : 0u) + (session->returned ? 1u : 0u);
}

/* Locked. Idle ones go first; then the oldest of the least standing, so that neither a script without cookies
 * nor one without the token can push out people. */
static void make_room(struct csi_sessions *sessions, uint64_t now)
{
    struct csi_session *victim;

    while (sessions->oldest != NULL && now - sessions->oldest->used_ns > sessions->idle_ns)
        evict(sessions, sessions->oldest);
    if (sessions->count < sessions->limit)
        return;
    victim = sessions->oldest;
    for (struct csi_session *each = victim; each != NULL; each = each->newer)
        if (standing(each) < standing(victim))
            victim = each;
    if (victim != NULL)
        evict(sessions, victim);
}

/* Locked. Linear: the table is small, and comparing in constant time leaves nothing to measure. */
static struct csi_session *find(struct csi_sessions *sessions, const char *token, uint64_t now)
{
    if (token == NULL || strlen(token) != CSI_SESSION_TOKEN_SIZE - 1)
        return NULL;
    for (struct csi_session *session = sessions->newest; session != NULL; session = session->older) {
        if (sodium_memcmp(session->token, token, CSI_SESSION_TOKEN_SIZE - 1) != 0)
            continue;
        if (now - session->used_ns > sessions->idle_ns) {
            evict(sessions, session);
            return NULL;
        }
        session->used_ns = now;
        session->returned = true;
        session->references++;
        unlist(sessions, session);
        list(sessions, session);
        return session;
    }
    return NULL;
}

struct csi_session *csi_session_find(struct csi_sessions *sessions, const char *token)
{
    struct csi_session *session;

    pthread_mutex_lock(&sessions->lock);
    session = find(sessions, token, csi_now_ns());
    pthread_mutex_unlock(&sessions->lock);
    return session;
}

struct csi_session *csi_session_get(struct csi_sessions *sessions, const char *token, bool *created)
{
    struct csi_session *session;
    unsigned char random[16];
    uint64_t now;

    *created = false;
    pthread_mutex_lock(&sessions->lock);
    now = csi_now_ns(); /* under the lock: no session may have been used later than now */
    session = find(sessions, token, now);
    if (session == NULL) {
        make_room(sessions, now);
        session = calloc(1, sizeof *session);
        if (session != NULL) {
            randombytes_buf(random, sizeof random);
            sodium_bin2hex(session->token, sizeof session->token, random, sizeof random);
            session->references = 2;
            session->used_ns = now;
            list(sessions, session);
            *created = true;
        }
    }
    pthread_mutex_unlock(&sessions->lock);
    return session;
}

struct csi_session *csi_session_retain(struct csi_sessions *sessions, struct csi_session *session)
{
    pthread_mutex_lock(&sessions->lock);
    session->references++;
    pthread_mutex_unlock(&sessions->lock);
    return session;
}

void csi_session_release(struct csi_sessions *sessions, struct csi_session *session)
{
    if (session == NULL)
        return;
    pthread_mutex_lock(&sessions->lock);
    release(session);
    pthread_mutex_unlock(&sessions->lock);
}

const char *csi_session_token(const struct csi_session *session)
{
    return session->token;
}

void csi_session_authorize(struct csi_sessions *sessions, struct csi_session *session)
{
    pthread_mutex_lock(&sessions->lock);
    session->authorized = true;
    pthread_mutex_unlock(&sessions->lock);
}

bool csi_session_authorized(struct csi_sessions *sessions, struct csi_session *session)
{
    bool authorized;

    pthread_mutex_lock(&sessions->lock);
    authorized = session->authorized;
    pthread_mutex_unlock(&sessions->lock);
    return authorized;
}

static void record_performance(struct csi_session *session, const cs_diagnosis *diagnosis, int64_t now_ms)
{
    struct performance *entry = &session->performance[session->count % CSI_SESSION_PERFORMANCE];
    double total = diagnosis->timings.total;

    memset(entry, 0, sizeof *entry);
    snprintf(entry->id, sizeof entry->id, "%s", diagnosis->id);
    snprintf(entry->name, sizeof entry->name, "%s", diagnosis->name == NULL ? "" : diagnosis->name);
    entry->at_ms = now_ms;
    entry->cache = diagnosis->prediction_cache;
    entry->timings = diagnosis->timings;
    if (session->count == 0 || total < session->min_ms)
        session->min_ms = total;
    if (session->count == 0 || total > session->max_ms)
        session->max_ms = total;
    session->sum_ms += total;
    session->count++;
    if (entry->cache == CS_CACHE_HIT || entry->cache == CS_CACHE_COALESCED)
        session->warm++;
    else
        session->cold++;
}

void csi_session_record(struct csi_sessions *sessions, struct csi_session *session,
                        const cs_diagnosis *diagnosis, const char *json, size_t json_size)
{
    int64_t now_ms = csi_unix_ms();
    struct csi_buffer entry;
    char at[40];

    csi_time_text(now_ms, at, sizeof at);
    csi_buffer_init(&entry);
    if (json_size <= ENTRY_MAX) {
        csi_buffer_printf(&entry, "{\"at\":\"%s\",\"diagnosis\":", at);
        csi_buffer_append(&entry, json, json_size);
        csi_buffer_append(&entry, "}", 1);
    }
    pthread_mutex_lock(&sessions->lock);
    record_performance(session, diagnosis, now_ms);
    if (entry.size > 0 && !entry.failed) {
        char **slot = &session->history[session->history_count % CSI_SESSION_HISTORY];

        free(*slot);
        *slot = (char *)entry.bytes;
        session->history_count++;
        csi_buffer_init(&entry); /* the bytes are the session's now */
    }
    pthread_mutex_unlock(&sessions->lock);
    csi_buffer_free(&entry);
}

void csi_session_history_json(struct csi_sessions *sessions, struct csi_session *session,
                              struct csi_buffer *out)
{
    uint64_t kept;

    csi_buffer_printf(out, "{\"history\":[");
    if (session != NULL) {
        pthread_mutex_lock(&sessions->lock);
        kept = session->history_count < CSI_SESSION_HISTORY ? session->history_count : CSI_SESSION_HISTORY;
        for (uint64_t i = 0; i < kept; i++) {
            const char *entry = session->history[(session->history_count - 1 - i) % CSI_SESSION_HISTORY];

            if (i > 0)
                csi_buffer_append(out, ",", 1);
            csi_buffer_append(out, entry, strlen(entry));
        }
        pthread_mutex_unlock(&sessions->lock);
    }
    csi_buffer_printf(out, "]}");
}

void csi_session_history_clear(struct csi_sessions *sessions, struct csi_session *session)
{
    pthread_mutex_lock(&sessions->lock);
    for (size_t i = 0; i < CSI_SESSION_HISTORY; i++) {
        free(session->history[i]);
        session->history[i] = NULL;
    }
    session->history_count = 0;
    for (size_t i = 0; i < CSI_SESSION_PERFORMANCE; i++)
        session->performance[i].id[0] = session->performance[i].name[0] = '\0';
    pthread_mutex_unlock(&sessions->lock);
}

static void request_json(const struct performance *entry, struct csi_buffer *out)
{
    const struct cs_timings *t = &entry->timings;
    char at[40];

    csi_time_text(entry->at_ms, at, sizeof at);
    csi_buffer_printf(out, "{\"id\":\"%s\",\"name\":", entry->id);
    csi_buffer_json(out, entry->name);
    csi_buffer_printf(out,
                      ",\"at\":\"%s\",\"cache\":\"%s\",\"timings_ms\":{\"decode\":%.3f,\"resize\":%.3f,"
                      "\"preprocess\":%.3f,\"inference\":%.3f,\"gradcam\":%.3f,\"total\":%.3f}}",
                      at, cs_cache_result_name(entry->cache), t->decode, t->resize, t->preprocess,
                      t->inference, t->gradcam, t->total);
}

void csi_session_performance_json(struct csi_sessions *sessions, struct csi_session *session,
                                  double target_ms, struct csi_buffer *out)
{
    struct csi_session none = {0};
    uint64_t kept, first;
    double recent = 0;
    unsigned recent_count = 0;

    pthread_mutex_lock(&sessions->lock);
    if (session == NULL)
        session = &none;
    kept = session->count < CSI_SESSION_PERFORMANCE ? session->count : CSI_SESSION_PERFORMANCE;
    first = session->count - kept;
    csi_buffer_printf(out, "{\"target_ms\":%g,\"count\":%llu,\"cold\":%llu,\"warm\":%llu,\"requests\":[",
                      target_ms, (unsigned long long)session->count, (unsigned long long)session->cold,
                      (unsigned long long)session->warm);
    for (uint64_t i = first; i < session->count; i++) {
        const struct performance *entry = &session->performance[i % CSI_SESSION_PERFORMANCE];

        if (i > first)
            csi_buffer_append(out, ",", 1);
        request_json(entry, out);
        if (session->count - i <= CSI_SESSION_MEAN) {
            recent += entry->timings.total;
            recent_count++;
        }
    }
    if (session->count == 0)
        csi_buffer_printf(out,
                          "],\"mean_last_10_ms\":null,\"min_ms\":null,\"max_ms\":null,\"mean_ms\":null}");
    else
        csi_buffer_printf(out, "],\"mean_last_10_ms\":%.3f,\"min_ms\":%.3f,\"max_ms\":%.3f,\"mean_ms\":%.3f}",
                          recent / recent_count, session->min_ms, session->max_ms,
                          session->sum_ms / (double)session->count);
    pthread_mutex_unlock(&sessions->lock);
}
