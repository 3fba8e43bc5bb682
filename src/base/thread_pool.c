/*
 * The compute pool: see thread_pool.h. Owns its threads, the hand-out of indices and the waiting.
 *
 * A forward pass has dozens of parallel regions of some hundred microseconds, so waking a sleeping thread (50
 * µs) for each would cost as much as it brings. Workers therefore spin for a bounded time before they sleep.
 * A worker that oversleeps a region does not hold it up: it finds the gate closed and goes on waiting.
 *
 * Each worker begins with its own share of the indices, the same part of the work every time, because the
 * part of a map that it wrote in the last region is still in its cache and costs many times more from another
 * core's. Who is done helps the others.
 */
#include "base/thread_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/memory.h"

#define SPIN_NS     80000u
#define GATE_OPEN   0x80000000u
#define GATE_INSIDE 0x7fffffffu

/* The next index of one worker's share; a cache line each. */
struct share {
    _Alignas(CSI_ALIGNMENT) atomic_size_t next;
};

struct csi_pool {
    unsigned threads;
    pthread_t *workers;    /* threads - 1 */
    pthread_mutex_t turn;  /* held by the caller whose job runs */
    pthread_mutex_t mutex; /* guards sleeping, both ways */
    pthread_cond_t wake, done;
    /* The job: written by the caller while the gate is closed and nobody is inside. */
    void (*task)(void *context, size_t index, unsigned worker);
    void *context;
    size_t count;
    /* High half: number of the job. Low half: open bit and how many workers are inside. */
    _Alignas(CSI_ALIGNMENT) _Atomic uint64_t gate;
    struct share *shares; /* threads */
    _Alignas(CSI_ALIGNMENT) atomic_uint sleepers;
    atomic_bool caller_sleeps, stop;
};

struct worker_start {
    struct csi_pool *pool;
    unsigned number;
};

/* What this thread is doing: a nested call must not wait for the turn that its own caller holds. */
static _Thread_local const struct csi_pool *current_pool;
static _Thread_local unsigned current_worker;

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Where the share of `worker` begins; that of the next one is where it ends. */
static size_t share_begin(const struct csi_pool *pool, unsigned worker)
{
    return pool->count / pool->threads * worker + csi_min_size(pool->count % pool->threads, worker);
}

static void work(struct csi_pool *pool, unsigned worker)
{
    void (*task)(void *, size_t, unsigned) = pool->task;
    void *context = pool->context;
    size_t index;
    const struct csi_pool *outer_pool = current_pool;
    unsigned outer_worker = current_worker;

    current_pool = pool;
    current_worker = worker;
    for (unsigned k = 0; k < pool->threads; k++) {
        unsigned owner = (worker + k) % pool->threads;
        size_t end = share_begin(pool, owner + 1);

        while ((index = atomic_fetch_add_explicit(&pool->shares[owner].next, 1, memory_order_relaxed)) < end)
            task(context, index, worker);
    }
    current_pool = outer_pool;
    current_worker = outer_worker;
}

static bool has_news(struct csi_pool *pool, uint32_t seen)
{
    uint64_t gate = atomic_load(&pool->gate);

    return atomic_load(&pool->stop) || ((gate & GATE_OPEN) != 0 && (uint32_t)(gate >> 32) != seen);
}

static void await_news(struct csi_pool *pool, uint32_t seen)
{
    uint64_t start = csi_now_ns();

    do {
        for (unsigned i = 0; i < 32; i++) {
            if (has_news(pool, seen))
                return;
            relax();
        }
    } while (csi_now_ns() - start < SPIN_NS);
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!has_news(pool, seen))
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void leave(struct csi_pool *pool)
{
    uint64_t left = atomic_fetch_sub(&pool->gate, 1) - 1;

    if ((left & (GATE_OPEN | GATE_INSIDE)) == 0 && atomic_load(&pool->caller_sleeps)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_signal(&pool->done);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static void *worker_main(void *argument)
{
    struct worker_start start = *(struct worker_start *)argument;
    struct csi_pool *pool = start.pool;
    uint32_t seen = 0;

    free(argument);
    for (;;) {
        uint64_t gate;

        await_news(pool, seen);
        if (atomic_load(&pool->stop))
            return NULL;
        gate = atomic_load(&pool->gate);
        while ((gate & GATE_OPEN) != 0 && (uint32_t)(gate >> 32) != seen) {
            if (atomic_compare_exchange_weak(&pool->gate, &gate, gate + 1)) {
                seen = (uint32_t)(gate >> 32);
                work(pool, start.number);
                leave(pool);
                break;
            }
        }
    }
}

/* Closes the gate and waits until the last worker is out. */
static void finish(struct csi_pool *pool)
{
    uint64_t start;

    if ((atomic_fetch_and(&pool->gate, ~(uint64_t)GATE_OPEN) & GATE_INSIDE) == 0)
        return;
    start = csi_now_ns();
    do {
        for (unsigned i = 0; i < 32; i++) {
            if ((atomic_load(&pool->gate) & GATE_INSIDE) == 0)
                return;
            relax();
        }
    } while (csi_now_ns() - start < SPIN_NS);
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while ((atomic_load(&pool->gate) & GATE_INSIDE) != 0)
        pthread_cond_wait(&pool->done, &pool->mutex);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
}

void csi_pool_run(struct csi_pool *pool, size_t count,
                  void (*task)(void *context, size_t index, unsigned worker), void *context)
{
    if (pool == NULL || current_pool != NULL) {
        unsigned worker = pool != NULL && pool == current_pool ? current_worker : 0;

        for (size_t i = 0; i < count; i++)
            task(context, i, worker);
        return;
    }
    pthread_mutex_lock(&pool->turn);
    pool->task = task;
    pool->context = context;
    pool->count = count;
    for (unsigned worker = 0; worker < pool->threads; worker++)
        atomic_store_explicit(&pool->shares[worker].next, share_begin(pool, worker), memory_order_relaxed);
    if (pool->threads > 1 && count > 1) {
        uint64_t number = (uint32_t)(atomic_load(&pool->gate) >> 32) + 1u;

        if ((uint32_t)number == 0)
            number = 1;
        atomic_store(&pool->gate, number << 32 | GATE_OPEN);
        if (atomic_load(&pool->sleepers) > 0) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_broadcast(&pool->wake);
            pthread_mutex_unlock(&pool->mutex);
        }
        work(pool, 0);
        finish(pool);
    } else {
        work(pool, 0);
    }
    pthread_mutex_unlock(&pool->turn);
}

enum cs_status csi_pool_create(unsigned threads, struct csi_pool **pool_out, struct cs_error *error)
{
    struct csi_pool *pool;
    unsigned wanted = threads;

    *pool_out = NULL;
    if (threads == 0 || threads > 1024)
        return csi_fail(error, CS_BAD_REQUEST, "threads must be 1 to 1024, not %u", threads);
    pool = csi_aligned_calloc(sizeof *pool);
    if (pool == NULL)
        return csi_fail_memory(error, "thread pool");
    pthread_mutex_init(&pool->turn, NULL);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->threads = 1;
    pool->workers = calloc(threads, sizeof *pool->workers);
    pool->shares = csi_aligned_calloc(threads * sizeof *pool->shares);
    if (pool->workers == NULL || pool->shares == NULL)
        goto fail;
    while (pool->threads < wanted) {
        struct worker_start *start = malloc(sizeof *start);

        if (start == NULL)
            goto fail;
        start->pool = pool;
        start->number = pool->threads;
        if (pthread_create(&pool->workers[pool->threads - 1], NULL, worker_main, start) != 0) {
            free(start);
            goto fail;
        }
        pool->threads++;
    }
    *pool_out = pool;
    return CS_OK;
fail:
    csi_pool_destroy(pool);
    return csi_fail(error, CS_INTERNAL, "cannot start %u threads", wanted);
}

void csi_pool_destroy(struct csi_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i + 1 < pool->threads; i++)
        pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    pthread_mutex_destroy(&pool->turn);
    free(pool->workers);
    csi_aligned_free(pool->shares);
    csi_aligned_free(pool);
}

unsigned csi_pool_threads(const struct csi_pool *pool)
{
    return pool == NULL ? 1 : pool->threads;
}
