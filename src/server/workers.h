/*
 * Worker threads for everything that computes or may wait (diagnosis, heat maps, clearing caches). Requests
 * arrive here only when their whole body is there, so a slow client never holds a worker, and the I/O thread
 * never computes.
 */
#ifndef CSI_SERVER_WORKERS_H
#define CSI_SERVER_WORKERS_H

#include "base/error.h"

struct csi_workers;
struct csi_job {
    struct csi_job *next;
};

enum cs_status csi_workers_create(unsigned threads, void (*run)(struct csi_job *job),
                                  struct csi_workers **workers, struct cs_error *error);
/* First come, first served. `job` is the caller's memory until run() has returned. */
void csi_workers_push(struct csi_workers *workers, struct csi_job *job);
/* Runs what is queued to its end, then frees. */
void csi_workers_destroy(struct csi_workers *workers);

#endif
