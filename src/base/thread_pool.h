/*
 * The compute pool: one worker a physical core, for data-parallel loops inside a forward pass and for streams
 * of photos.
 */
#ifndef CSI_BASE_THREAD_POOL_H
#define CSI_BASE_THREAD_POOL_H

#include <stddef.h>

#include "base/error.h"

struct csi_pool;

/* `threads` ≥ 1 counts the calling thread: 1 starts none. Workers are pinned to nothing: the affinity mask is
 * inherited. */
enum cs_status csi_pool_create(unsigned threads, struct csi_pool **pool, struct cs_error *error);
void csi_pool_destroy(struct csi_pool *pool);
unsigned csi_pool_threads(const struct csi_pool *pool);

/* Runs task(context, index, worker) for index 0…count-1, each once, on the pool's threads and the caller;
 * returns when all are done. `worker` < threads names the thread, for scratch memory. Indices are handed out
 * in ascending order. Allocates nothing. Calls from several threads take turns; a call from inside a task
 * runs serially, and so does one with pool NULL (worker 0). */
void csi_pool_run(struct csi_pool *pool, size_t count,
                  void (*task)(void *context, size_t index, unsigned worker), void *context);

#endif
