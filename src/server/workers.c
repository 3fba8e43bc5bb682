/* Worker threads: see workers.h. */
#include "server/workers.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct csi_workers {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct csi_job *first, **last;
    void (*run)(struct csi_job *job);
    bool stopping;
    unsigned threads;
    pthread_t ids[];
};

static void *work(void *argument)
{
    struct csi_workers *workers = argument;

    pthread_mutex_lock(&workers->lock);
    for (;;) {
        struct csi_job *job;

        while (workers->first == NULL && !workers->stopping)
            pthread_cond_wait(&workers->ready, &workers->lock);
        job = workers->first;
        if (job == NULL)
            break;
        workers->first = job->next;
        if (workers->first == NULL)
            workers->last = &workers->first;
        pthread_mutex_unlock(&workers->lock);
        workers->run(job);
        pthread_mutex_lock(&workers->lock);
    }
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

enum cs_status csi_workers_create(unsigned threads, void (*run)(struct csi_job *job),
                                  struct csi_workers **result, struct cs_error *error)
{
    struct csi_workers *workers = calloc(1, sizeof *workers + threads * sizeof workers->ids[0]);

    *result = NULL;
    if (workers == NULL)
        return csi_fail_memory(error, "workers");
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->ready, NULL);
    workers->last = &workers->first;
    workers->run = run;
    while (workers->threads < threads) {
        int failure = pthread_create(&workers->ids[workers->threads], NULL, work, workers);

        if (failure != 0) {
            csi_workers_destroy(workers);
            return csi_fail(error, CS_INTERNAL, "cannot start a worker thread: %s", strerror(failure));
        }
        workers->threads++;
    }
    *result = workers;
    return CS_OK;
}

void csi_workers_push(struct csi_workers *workers, struct csi_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&workers->lock);
    *workers->last = job;
    workers->last = &job->next;
    pthread_cond_signal(&workers->ready);
    pthread_mutex_unlock(&workers->lock);
}

void csi_workers_destroy(struct csi_workers *workers)
{
    if (workers == NULL)
        return;
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->ready);
    pthread_mutex_unlock(&workers->lock);
    for (unsigned i = 0; i < workers->threads; i++)
        pthread_join(workers->ids[i], NULL);
    pthread_cond_destroy(&workers->ready);
    pthread_mutex_destroy(&workers->lock);
    free(workers);
}
