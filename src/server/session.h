/*
 * Sessions: what one browser (or script that keeps cookies) did. History and performance are per session;
 * caches and model are shared and live elsewhere. Bounded in number, age and content.
 */
#ifndef CSI_SERVER_SESSION_H
#define CSI_SERVER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define CSI_SESSION_TOKEN_SIZE  33u /* 32 hex digits and NUL: 128 random bits */
#define CSI_SESSION_HISTORY     100u
#define CSI_SESSION_PERFORMANCE 20u
#define CSI_SESSION_MEAN        10u

struct csi_sessions;
struct csi_session;

/* At most `limit` sessions; one that was not used for `idle_s` seconds may go. */
enum cs_status csi_sessions_create(size_t limit, double idle_s, struct csi_sessions **sessions,
                                   struct cs_error *error);
void csi_sessions_destroy(struct csi_sessions *sessions);
size_t csi_sessions_count(struct csi_sessions *sessions);

/* The session of `token` (NULL or unknown: a new one, *created true), retained. NULL: no memory. */
struct csi_session *csi_session_get(struct csi_sessions *sessions, const char *token, bool *created);
/* The session of `token` or NULL; never creates. Retained. */
struct csi_session *csi_session_find(struct csi_sessions *sessions, const char *token);
struct csi_session *csi_session_retain(struct csi_sessions *sessions, struct csi_session *session);
void csi_session_release(struct csi_sessions *sessions, struct csi_session *session);
const char *csi_session_token(const struct csi_session *session);

/* A client of this session has shown the access token: its cookie is enough from now on. */
void csi_session_authorize(struct csi_sessions *sessions, struct csi_session *session);
bool csi_session_authorized(struct csi_sessions *sessions, struct csi_session *session);

/* Notes a diagnosis: `json` is its object, copied. */
void csi_session_record(struct csi_sessions *sessions, struct csi_session *session,
                        const cs_diagnosis *diagnosis, const char *json, size_t json_size);
/* Append the JSON of docs/api.md. */
void csi_session_history_json(struct csi_sessions *sessions, struct csi_session *session,
                              struct csi_buffer *out);
void csi_session_performance_json(struct csi_sessions *sessions, struct csi_session *session,
                                  double target_ms, struct csi_buffer *out);
/* Also forgets which photos the recorded times are of; the times stay. */
void csi_session_history_clear(struct csi_sessions *sessions, struct csi_session *session);

/* "2026-01-31T12:00:00.123Z". */
void csi_time_text(int64_t unix_ms, char *text, size_t size);

#endif
