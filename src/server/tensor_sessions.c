/* Inference sessions for tensor requests: see tensor_sessions.h. */
#include "server/tensor_sessions.h"

#include <pthread.h>
#include <stdlib.h>

#define KEPT_MAX 2u /* each holds the activations of a whole batch */

struct csi_tensor_sessions {
    pthread_mutex_t lock;
    struct csi_tensor_session *first;
    unsigned count;
};

static void free_session(struct csi_tensor_session *session)
{
    cs_session_destroy(session->session);
    cs_model_destroy(session->model);
    free(session);
}

enum cs_status csi_tensor_sessions_create(struct csi_tensor_sessions **result, struct cs_error *error)
{
    struct csi_tensor_sessions *pool = calloc(1, sizeof *pool);

    *result = pool;
    if (pool == NULL)
        return csi_fail_memory(error, "tensor sessions");
    pthread_mutex_init(&pool->lock, NULL);
    return CS_OK;
}

void csi_tensor_sessions_purge(struct csi_tensor_sessions *pool)
{
    struct csi_tensor_session *session;

    pthread_mutex_lock(&pool->lock);
    session = pool->first;
    pool->first = NULL;
    pool->count = 0;
    pthread_mutex_unlock(&pool->lock);
    while (session != NULL) {
        struct csi_tensor_session *next = session->next;

        free_session(session);
        session = next;
    }
}

void csi_tensor_sessions_destroy(struct csi_tensor_sessions *pool)
{
    if (pool == NULL)
        return;
    csi_tensor_sessions_purge(pool);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

enum cs_status csi_tensor_sessions_take(struct csi_tensor_sessions *pool, cs_diagnoser *diagnoser,
                                        struct csi_tensor_session **result, struct cs_error *error)
{
    cs_model *model = cs_diagnoser_model(diagnoser);
    struct csi_tensor_session *session;
    enum cs_status status;

    *result = NULL;
    pthread_mutex_lock(&pool->lock);
    session = pool->first;
    if (session != NULL) {
        pool->first = session->next;
        pool->count--;
    }
    pthread_mutex_unlock(&pool->lock);
    if (session != NULL && session->model == model) {
        cs_model_destroy(model); /* the session holds it already */
        *result = session;
        return CS_OK;
    }
    if (session != NULL)
        free_session(session); /* of a model that was replaced */
    session = calloc(1, sizeof *session);
    if (session == NULL) {
        cs_model_destroy(model);
        return csi_fail_memory(error, "tensor session");
    }
    session->model = model;
    status = cs_session_create(model, &session->session, error);
    if (status != CS_OK) {
        free_session(session);
        return status;
    }
    *result = session;
    return CS_OK;
}

void csi_tensor_sessions_give(struct csi_tensor_sessions *pool, cs_diagnoser *diagnoser,
                              struct csi_tensor_session *session)
{
    cs_model *current;

    /* Looked up under the lock: a purge after a replacement either finds the session here, or has run and
     * the model is another one by now. Without this an old model would stay in memory until the next request.
     */
    pthread_mutex_lock(&pool->lock);
    current = cs_diagnoser_model(diagnoser);
    if (session->model == current && pool->count < KEPT_MAX) {
        session->next = pool->first;
        pool->first = session;
        pool->count++;
        session = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
    cs_model_destroy(current);
    if (session != NULL)
        free_session(session);
}
