/*
 * Inference sessions for requests that bring or ask for tensors (Open Inference Protocol): few, reused, each
 * for one worker at a time. Diagnoses do not come here: the diagnoser has its own.
 */
#ifndef CSI_SERVER_TENSOR_SESSIONS_H
#define CSI_SERVER_TENSOR_SESSIONS_H

#include "base/error.h"

struct csi_tensor_sessions;
struct csi_tensor_session {
    struct csi_tensor_session *next;
    cs_model *model;
    cs_session *session;
};

enum cs_status csi_tensor_sessions_create(struct csi_tensor_sessions **pool, struct cs_error *error);
void csi_tensor_sessions_destroy(struct csi_tensor_sessions *pool);
/* A session of the model that the diagnoser uses now; given back with csi_tensor_sessions_give. */
enum cs_status csi_tensor_sessions_take(struct csi_tensor_sessions *pool, cs_diagnoser *diagnoser,
                                        struct csi_tensor_session **session, struct cs_error *error);
/* Kept for the next request, or freed where its model was replaced meanwhile. */
void csi_tensor_sessions_give(struct csi_tensor_sessions *pool, cs_diagnoser *diagnoser,
                              struct csi_tensor_session *session);
/* Frees those that wait (and with them, maybe, an old model). */
void csi_tensor_sessions_purge(struct csi_tensor_sessions *pool);

#endif
