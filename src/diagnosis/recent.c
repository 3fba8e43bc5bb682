/* Recent uploads: see recent.h. A short list searched from front to back; the least recently used goes first.
 */
#include "diagnosis/recent.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 64u
#define SAMPLE                                                                                               \
    64u /* bytes compared before the whole: tells photos of equal length apart without touching megabytes */

#define FINGERPRINTS 4096u
#define SAMPLES      64u /* eight bytes each, evenly spread */

/* Kept bytes; compared outside the lock, hence counted. */
struct upload {
    atomic_uint references;
    struct csi_hash id;
    size_t size;
    uint8_t bytes[];
};

struct csi_recent {
    pthread_mutex_t lock;
    struct upload *slots[SLOTS]; /* most recently used first */
    size_t count, bytes, max_bytes;
    _Atomic uint64_t seen[FINGERPRINTS]; /* by their low bits; a newer one replaces an older one */
};

enum cs_status csi_recent_create(size_t max_bytes, struct csi_recent **recent, struct cs_error *error)
{
    struct csi_recent *made = calloc(1, sizeof *made);

    *recent = NULL;
    if (made == NULL)
        return csi_fail_memory(error, "recent uploads");
    pthread_mutex_init(&made->lock, NULL);
    made->max_bytes = max_bytes;
    *recent = made;
    return CS_OK;
}

static void upload_release(struct upload *upload)
{
    if (upload != NULL && atomic_fetch_sub(&upload->references, 1) == 1)
        free(upload);
}

static bool may_be_equal(const struct upload *upload, const uint8_t *bytes, size_t size)
{
    size_t sample = size < SAMPLE ? size : SAMPLE;

    /* The middle and the end: cameras write the same first bytes into every photo. */
    return upload->size == size &&
           memcmp(upload->bytes + size / 2 - sample / 2, bytes + size / 2 - sample / 2, sample) == 0 &&
           memcmp(upload->bytes + size - sample, bytes + size - sample, sample) == 0;
}

static void drop_last(struct csi_recent *recent)
{
    struct upload *last = recent->slots[--recent->count];

    recent->bytes -= last->size;
    upload_release(last);
}

static void move_to_front(struct csi_recent *recent, size_t index)
{
    struct upload *upload = recent->slots[index];

    memmove(recent->slots + 1, recent->slots, index * sizeof recent->slots[0]);
    recent->slots[0] = upload;
}

/* The kept upload that looks the same, referenced; its bytes are still to be compared. */
static struct upload *candidate(struct csi_recent *recent, const uint8_t *bytes, size_t size)
{
    struct upload *found = NULL;

    pthread_mutex_lock(&recent->lock);
    for (size_t i = 0; i < recent->count && found == NULL; i++)
        if (may_be_equal(recent->slots[i], bytes, size)) {
            found = recent->slots[i];
            atomic_fetch_add(&found->references, 1);
            move_to_front(recent, i);
        }
    pthread_mutex_unlock(&recent->lock);
    return found;
}

static void remember(struct csi_recent *recent, const uint8_t *bytes, size_t size, const struct csi_hash *id)
{
    struct upload *upload;

    if (size > recent->max_bytes)
        return;
    upload = malloc(sizeof *upload + size);
    if (upload == NULL)
        return;
    atomic_init(&upload->references, 1);
    upload->id = *id;
    upload->size = size;
    memcpy(upload->bytes, bytes, size);
    pthread_mutex_lock(&recent->lock);
    while (recent->count > 0 && (recent->count == SLOTS || recent->bytes + size > recent->max_bytes))
        drop_last(recent);
    recent->slots[recent->count++] = upload;
    recent->bytes += size;
    move_to_front(recent, recent->count - 1);
    pthread_mutex_unlock(&recent->lock);
}

void csi_recent_identify(struct csi_recent *recent, const void *bytes, size_t size, struct csi_hash *id)
{
    struct upload *upload = recent->max_bytes != 0 ? candidate(recent, bytes, size) : NULL;
    bool same = upload != NULL && memcmp(upload->bytes, bytes, size) == 0;

    if (same)
        *id = upload->id;
    else
        csi_hash_bytes(bytes, size, id);
    upload_release(upload);
    if (!same && recent->max_bytes != 0)
        remember(recent, bytes, size, id);
}

bool csi_recent_may_know(struct csi_recent *recent, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    uint64_t mark = size, word;

    if (recent->max_bytes == 0)
        return false; /* the prediction cache is off */
    if (size < sizeof word)
        return true; /* not worth a choice */
    for (size_t i = 0; i < SAMPLES; i++) {
        memcpy(&word, from + (size - sizeof word) / (SAMPLES - 1) * i, sizeof word);
        mark = (mark ^ word) * 0x9e3779b97f4a7c15u;
        mark ^= mark >> 29;
    }
    return atomic_exchange(&recent->seen[mark % FINGERPRINTS], mark) == mark;
}

void csi_recent_clear(struct csi_recent *recent)
{
    pthread_mutex_lock(&recent->lock);
    while (recent->count > 0)
        drop_last(recent);
    pthread_mutex_unlock(&recent->lock);
    for (size_t i = 0; i < FINGERPRINTS; i++)
        atomic_store(&recent->seen[i], 0);
}

void csi_recent_destroy(struct csi_recent *recent)
{
    if (recent == NULL)
        return;
    csi_recent_clear(recent);
    pthread_mutex_destroy(&recent->lock);
    free(recent);
}
