/* Rows handed to another thread, in slots of many rows: see beside.h. */
#include "image/beside.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"

#define SLOTS 3u
/* Waking a thread costs about what decoding two rows costs, and slots should stay in the second-level cache.
 */
#define MOST_ROWS  128u
#define SLOT_BYTES ((size_t)1024 << 10)

struct slot {
    uint8_t *block, *pixels; /* the second is in the first */
    uint32_t rows;
};

struct csi_beside {
    const struct csi_row_sink *inner;
    size_t row, pitch; /* bytes of a row, and from one to the next */
    uint32_t capacity; /* rows a slot, a multiple of CSI_ROW_BATCH */
    uint32_t open;     /* rows in the slot that is being filled; the decoder's side alone looks here */
    struct slot slots[SLOTS];
    pthread_t thread;
    bool started; /* else no thread was to be had, and rows pass straight through */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock */
    uint64_t filled, done; /* slots, ever */
    bool ended;
    enum cs_status status;
    struct cs_error error;
};

static void *work(void *context)
{
    struct csi_beside *b = context;

    pthread_mutex_lock(&b->lock);
    while (b->filled != b->done || !b->ended) {
        const struct slot *slot = &b->slots[b->done % SLOTS];
        enum cs_status status = b->status;
        struct cs_error error = {CS_OK, ""};

        if (b->filled == b->done) {
            pthread_cond_wait(&b->changed, &b->lock);
            continue;
        }
        pthread_mutex_unlock(&b->lock);
        if (status == CS_OK) /* after a failure the rest is only taken away */
            status = b->inner->rows(b->inner->context, slot->pixels, b->pitch, slot->rows, &error);
        pthread_mutex_lock(&b->lock);
        if (b->status == CS_OK && status != CS_OK) {
            b->status = status;
            b->error = error;
        }
        b->done++;
        pthread_cond_signal(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

static enum cs_status begin(void *context, uint32_t width, uint32_t height, struct cs_error *error)
{
    struct csi_beside *b = context;
    enum cs_status status = b->inner->begin(b->inner->context, width, height, error);
    size_t rows;

    if (status != CS_OK)
        return status;
    b->row = (size_t)width * 3;
    b->pitch = csi_row_pitch(width);
    rows = csi_min_size(SLOT_BYTES / b->pitch, MOST_ROWS) / CSI_ROW_BATCH * CSI_ROW_BATCH;
    b->capacity = (uint32_t)csi_max_size(rows, CSI_ROW_BATCH);
    for (unsigned i = 0; i < SLOTS; i++) {
        size_t size = b->pitch * b->capacity; /* fits: a row has at most 3·65535 bytes */

        b->slots[i].block = csi_aligned_alloc(CSI_ROW_SHIFT + size + CSI_IMAGE_PADDING);
        if (b->slots[i].block == NULL)
            return csi_fail_memory(error, "rows");
        b->slots[i].pixels = b->slots[i].block + CSI_ROW_SHIFT;
        memset(b->slots[i].pixels + size, 0, CSI_IMAGE_PADDING);
    }
    b->started = pthread_create(&b->thread, NULL, work, b) == 0;
    return CS_OK;
}

/* Where the open slot goes on; waits until that slot is free. */
static uint8_t *room(void *context)
{
    struct csi_beside *b = context;

    if (b->open == 0) {
        pthread_mutex_lock(&b->lock);
        while (b->filled - b->done == SLOTS)
            pthread_cond_wait(&b->changed, &b->lock);
        pthread_mutex_unlock(&b->lock);
    }
    return b->slots[b->filled % SLOTS].pixels + b->open * b->pitch; /* this side alone counts `filled` up */
}

static enum cs_status close_slot(struct csi_beside *b, struct cs_error *error)
{
    enum cs_status status;

    pthread_mutex_lock(&b->lock);
    b->slots[b->filled % SLOTS].rows = b->open;
    b->open = 0;
    b->filled++;
    status = b->status;
    if (status != CS_OK && error != NULL)
        *error = b->error;
    pthread_cond_signal(&b->changed);
    pthread_mutex_unlock(&b->lock);
    return status;
}

static enum cs_status rows(void *context, const uint8_t *pixels, size_t stride, uint32_t count,
                           struct cs_error *error)
{
    struct csi_beside *b = context;
    uint8_t *to;

    if (!b->started)
        return b->inner->rows(b->inner->context, pixels, stride, count, error);
    to = room(b);
    for (uint32_t i = 0; i < count && pixels != to; i++)
        memcpy(to + i * b->pitch, pixels + i * stride, b->row);
    b->open += count;
    return b->open + CSI_ROW_BATCH > b->capacity ? close_slot(b, error) : CS_OK;
}

enum cs_status csi_beside_create(const struct csi_row_sink *inner, struct csi_beside **beside,
                                 struct csi_row_sink *outer, struct cs_error *error)
{
    struct csi_beside *b = calloc(1, sizeof *b);

    *beside = b;
    if (b == NULL)
        return csi_fail_memory(error, "rows");
    b->inner = inner;
    b->status = CS_OK;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    *outer = (struct csi_row_sink){.begin = begin, .rows = rows, .context = b, .room = room};
    return CS_OK;
}

enum cs_status csi_beside_finish(struct csi_beside *beside, struct cs_error *error)
{
    struct csi_beside *b = beside;
    enum cs_status status = CS_OK;

    if (b->started) {
        if (b->open > 0)
            close_slot(b, NULL);
        pthread_mutex_lock(&b->lock);
        b->ended = true;
        pthread_cond_signal(&b->changed);
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->thread, NULL);
        status = b->status;
        if (status != CS_OK && error != NULL)
            *error = b->error;
    }
    for (unsigned i = 0; i < SLOTS; i++)
        csi_aligned_free(b->slots[i].block);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b);
    return status;
}
