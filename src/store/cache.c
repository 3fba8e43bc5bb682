/*
 * The memory tier and the single flight: see cache.h. Owns the table, the order of use and the counters; the
 * disk tier is disk.c's.
 *
 * One lock guards everything. It is never held over a computation or the disk, and over the copy of a value
 * only where that is queued for the disk: a clear must not come between.
 */
#include "store/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "store/disk.h"

#define FIRST_BUCKETS 256u

struct value {
    atomic_uint references;
    uint8_t *bytes;
    size_t size;
};

struct entry {
    struct csi_hash key;
    struct value *value;
    int64_t stored_ns;           /* by the monotonic clock; below 0: before the machine was started */
    struct entry *chain;         /* next in the bucket */
    struct entry *newer, *older; /* order of use */
};

/* A computation under way. Lives until the one who computes and all who wait have let go. */
struct flight {
    struct csi_hash key;
    struct flight *next;
    unsigned references; /* guarded by the cache's lock */
    bool done;
    enum cs_status status;
    struct cs_error error;
    struct value *value;
};

struct csi_cache {
    char *name;
    size_t max_bytes;
    int64_t ttl_ns;
    struct csi_disk *disk;

    pthread_mutex_t lock;
    pthread_cond_t landed; /* some flight is done */
    struct entry **buckets;
    size_t bucket_count, entry_count, bytes;
    struct entry *newest, *oldest;
    struct flight *flights;
    uint64_t generation; /* counts clears: what was begun before one is not kept */
    uint64_t hits, misses, coalesced, evictions, expired, disk_hits;
};

static int64_t now_ns(void)
{
    return (int64_t)csi_now_ns();
}

/* At most 126 years, so that differences stay within 64 bits. */
static int64_t whole_ns(double seconds)
{
    return seconds < 4e9 ? (int64_t)(seconds * 1e9) : INT64_C(4000000000000000000);
}

enum cs_status csi_cache_create(const struct csi_cache_options *options, struct csi_cache **cache,
                                struct cs_error *error)
{
    struct csi_cache *made = calloc(1, sizeof *made);

    *cache = NULL;
    if (made == NULL)
        return csi_fail_memory(error, "cache");
    made->name = csi_strdup(options->name);
    made->buckets = calloc(FIRST_BUCKETS, sizeof *made->buckets);
    if (made->name == NULL || made->buckets == NULL) {
        free(made->name);
        free(made->buckets);
        free(made);
        return csi_fail_memory(error, "cache");
    }
    made->bucket_count = FIRST_BUCKETS;
    made->max_bytes = options->max_bytes;
    made->ttl_ns = options->ttl_s > 0 ? whole_ns(options->ttl_s) : 0;
    made->disk = options->disk;
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->landed, NULL);
    *cache = made;
    return CS_OK;
}

static void value_release(struct value *value)
{
    if (value != NULL && atomic_fetch_sub(&value->references, 1) == 1) {
        free(value->bytes);
        free(value);
    }
}

/* Takes `bytes` over, also on failure. One reference, the caller's. */
static struct value *value_create(uint8_t *bytes, size_t size)
{
    struct value *value = malloc(sizeof *value);

    if (value == NULL) {
        free(bytes);
        return NULL;
    }
    atomic_init(&value->references, 1);
    value->bytes = bytes;
    value->size = size;
    return value;
}

static void lend(struct value *value, struct csi_cached *out)
{
    atomic_fetch_add(&value->references, 1);
    out->bytes = value->bytes;
    out->size = value->size;
    out->owner = value;
}

void csi_cached_release(struct csi_cached *value)
{
    value_release(value->owner);
    memset(value, 0, sizeof *value);
}

static size_t bucket_of(const struct csi_cache *cache, const struct csi_hash *key)
{
    uint64_t first;

    memcpy(&first, key->bytes, sizeof first); /* BLAKE2b: any bits are as good as any others */
    return (size_t)first & (cache->bucket_count - 1);
}

static size_t cost(const struct value *value)
{
    return value->size + sizeof(struct value) + sizeof(struct entry) + 4 * sizeof(void *);
}

static struct entry *find(const struct csi_cache *cache, const struct csi_hash *key)
{
    struct entry *entry = cache->buckets[bucket_of(cache, key)];

    while (entry != NULL && memcmp(entry->key.bytes, key->bytes, CSI_HASH_SIZE) != 0)
        entry = entry->chain;
    return entry;
}

static void unlink_use(struct csi_cache *cache, struct entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &cache->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &cache->oldest) = entry->newer;
}

static void push_newest(struct csi_cache *cache, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = cache->newest;
    *(cache->newest != NULL ? &cache->newest->newer : &cache->oldest) = entry;
    cache->newest = entry;
}

static void drop(struct csi_cache *cache, struct entry *entry)
{
    struct entry **link = &cache->buckets[bucket_of(cache, &entry->key)];

    while (*link != entry)
        link = &(*link)->chain;
    *link = entry->chain;
    unlink_use(cache, entry);
    cache->bytes -= cost(entry->value);
    cache->entry_count--;
    value_release(entry->value);
    free(entry);
}

static void drop_all(struct csi_cache *cache)
{
    struct entry *entry = cache->newest;

    while (entry != NULL) {
        struct entry *older = entry->older;

        drop(cache, entry);
        entry = older;
    }
}

/* Doubles the buckets. Without memory the chains grow instead. */
static void grow(struct csi_cache *cache)
{
    size_t count = cache->bucket_count * 2, old_count = cache->bucket_count;
    struct entry **old = cache->buckets, **buckets = calloc(count, sizeof *buckets);

    if (buckets == NULL)
        return;
    cache->buckets = buckets;
    cache->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        struct entry *entry = old[i];

        while (entry != NULL) {
            struct entry *next = entry->chain, **bucket = &buckets[bucket_of(cache, &entry->key)];

            entry->chain = *bucket;
            *bucket = entry;
            entry = next;
        }
    }
    free(old);
}

/* Keeps `value` (one more reference) when it fits at all. Lock held. */
static void keep(struct csi_cache *cache, const struct csi_hash *key, struct value *value, int64_t stored_ns)
{
    struct entry *entry = find(cache, key), **bucket;

    if (entry != NULL)
        drop(cache, entry);
    if (cost(value) > cache->max_bytes)
        return;
    while (cache->oldest != NULL && cache->bytes + cost(value) > cache->max_bytes) {
        drop(cache, cache->oldest);
        cache->evictions++;
    }
    entry = malloc(sizeof *entry);
    if (entry == NULL)
        return; /* a cache that cannot keep is slower, not wrong */
    if (cache->entry_count >= cache->bucket_count)
        grow(cache);
    entry->key = *key;
    entry->value = value;
    entry->stored_ns = stored_ns;
    atomic_fetch_add(&value->references, 1);
    bucket = &cache->buckets[bucket_of(cache, key)];
    entry->chain = *bucket;
    *bucket = entry;
    push_newest(cache, entry);
    cache->bytes += cost(value);
    cache->entry_count++;
}

/* The living entry of `key`, made the newest; an aged one is dropped. Lock held. */
static struct entry *look_up(struct csi_cache *cache, const struct csi_hash *key)
{
    struct entry *entry = find(cache, key);

    if (entry == NULL)
        return NULL;
    if (cache->ttl_ns != 0 && now_ns() - entry->stored_ns > cache->ttl_ns) {
        drop(cache, entry);
        cache->expired++;
        return NULL;
    }
    unlink_use(cache, entry);
    push_newest(cache, entry);
    return entry;
}

static struct flight *find_flight(struct csi_cache *cache, const struct csi_hash *key)
{
    struct flight *flight = cache->flights;

    while (flight != NULL && memcmp(flight->key.bytes, key->bytes, CSI_HASH_SIZE) != 0)
        flight = flight->next;
    return flight;
}

/* Lock held. */
static void flight_release(struct flight *flight)
{
    if (--flight->references == 0) {
        value_release(flight->value);
        free(flight);
    }
}

/* Waits for another thread's computation. Lock held, and released in between. */
static enum cs_status join_flight(struct csi_cache *cache, struct flight *flight, struct csi_cached *out,
                                  struct cs_error *error)
{
    enum cs_status status;

    flight->references++;
    while (!flight->done)
        pthread_cond_wait(&cache->landed, &cache->lock);
    status = flight->status;
    if (status == CS_OK)
        lend(flight->value, out);
    else if (error != NULL)
        *error = flight->error;
    flight_release(flight);
    return status;
}

/* From the disk tier; *stored_ns tells how old it is in the monotonic clock's terms. */
static struct value *from_disk(struct csi_cache *cache, const struct csi_hash *key, int64_t *stored_ns)
{
    uint8_t *bytes;
    size_t size;
    double age_s;

    if (cache->disk == NULL || !csi_disk_get(cache->disk, cache->name, key, &bytes, &size, &age_s))
        return NULL;
    *stored_ns = now_ns() - whole_ns(age_s);
    return value_create(bytes, size);
}

/* Keeps a value just computed in both tiers, unless it was begun before a clear. Lock held. */
static void keep_in_both(struct csi_cache *cache, const struct csi_hash *key, struct value *value,
                         int64_t stored_ns, uint64_t generation)
{
    if (generation != cache->generation)
        return;
    keep(cache, key, value, stored_ns);
    if (cache->disk != NULL)
        csi_disk_put(cache->disk, cache->name, key, value->bytes, value->size);
}

/* Runs the computation of `flight` (from the disk tier when it is there) and lands it. No lock held. */
static enum cs_status fly(struct csi_cache *cache, struct flight *flight, uint64_t generation,
                          csi_compute_fn *compute, void *context, struct csi_cached *out,
                          enum cs_cache_result *result, struct cs_error *error)
{
    int64_t stored_ns = 0;
    struct value *value = from_disk(cache, &flight->key, &stored_ns);
    bool was_on_disk = value != NULL;
    struct flight **link;
    struct cs_error local;
    enum cs_status status = CS_OK;

    csi_error_clear(&local);
    if (!was_on_disk) {
        uint8_t *bytes = NULL;
        size_t size = 0;

        status = compute(context, &bytes, &size, &local);
        if (status == CS_OK && (value = value_create(bytes, size)) == NULL)
            status = csi_fail_memory(&local, "cache entry");
        stored_ns = now_ns();
    }
    pthread_mutex_lock(&cache->lock);
    *result = was_on_disk ? CS_CACHE_HIT : CS_CACHE_MISS;
    cache->hits += was_on_disk;
    cache->disk_hits += was_on_disk;
    cache->misses += !was_on_disk;
    if (status == CS_OK) {
        if (!was_on_disk)
            keep_in_both(cache, &flight->key, value, stored_ns, generation);
        else if (generation == cache->generation)
            keep(cache, &flight->key, value, stored_ns);
        lend(value, out);
    } else if (error != NULL) {
        *error = local;
    }
    flight->value = value;
    flight->status = status;
    flight->error = local;
    flight->done = true;
    for (link = &cache->flights; *link != flight; link = &(*link)->next)
        ;
    *link = flight->next;
    pthread_cond_broadcast(&cache->landed);
    flight_release(flight);
    pthread_mutex_unlock(&cache->lock);
    return status;
}

enum cs_status csi_cache_get_or_compute(struct csi_cache *cache, const struct csi_hash *key,
                                        csi_compute_fn *compute, void *context, struct csi_cached *value,
                                        enum cs_cache_result *result, struct cs_error *error)
{
    struct entry *entry;
    struct flight *flight;
    uint64_t generation;
    enum cs_status status;

    memset(value, 0, sizeof *value);
    *result = CS_CACHE_OFF;
    if (cache->max_bytes == 0)
        return csi_compute_uncached(compute, context, value, error);
    pthread_mutex_lock(&cache->lock);
    entry = look_up(cache, key);
    if (entry != NULL) {
        cache->hits++;
        *result = CS_CACHE_HIT;
        lend(entry->value, value);
        pthread_mutex_unlock(&cache->lock);
        return CS_OK;
    }
    flight = find_flight(cache, key);
    if (flight != NULL) {
        cache->coalesced++;
        *result = CS_CACHE_COALESCED;
        status = join_flight(cache, flight, value, error);
        pthread_mutex_unlock(&cache->lock);
        return status;
    }
    flight = calloc(1, sizeof *flight);
    if (flight == NULL) {
        cache->misses++;
        *result = CS_CACHE_MISS;
        pthread_mutex_unlock(&cache->lock);
        return csi_fail_memory(error, "cache request");
    }
    flight->key = *key;
    flight->references = 1;
    flight->next = cache->flights;
    cache->flights = flight;
    generation = cache->generation;
    pthread_mutex_unlock(&cache->lock);
    return fly(cache, flight, generation, compute, context, value, result, error);
}

enum cs_status csi_cached_own(uint8_t *bytes, size_t size, struct csi_cached *value, struct cs_error *error)
{
    struct value *made = value_create(bytes, size);

    memset(value, 0, sizeof *value);
    if (made == NULL)
        return csi_fail_memory(error, "result");
    value->bytes = made->bytes; /* the only reference passes to the caller */
    value->size = made->size;
    value->owner = made;
    return CS_OK;
}

enum cs_status csi_compute_uncached(csi_compute_fn *compute, void *context, struct csi_cached *value,
                                    struct cs_error *error)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    enum cs_status status = compute(context, &bytes, &size, error);

    memset(value, 0, sizeof *value);
    return status == CS_OK ? csi_cached_own(bytes, size, value, error) : status;
}

bool csi_cache_peek(struct csi_cache *cache, const struct csi_hash *key, struct csi_cached *value)
{
    struct entry *entry;
    struct value *read;
    uint64_t generation;
    int64_t stored_ns;

    memset(value, 0, sizeof *value);
    if (cache->max_bytes == 0)
        return false;
    pthread_mutex_lock(&cache->lock);
    entry = look_up(cache, key);
    if (entry != NULL)
        lend(entry->value, value);
    generation = cache->generation;
    pthread_mutex_unlock(&cache->lock);
    if (entry != NULL)
        return true;
    read = from_disk(cache, key, &stored_ns);
    if (read == NULL)
        return false;
    pthread_mutex_lock(&cache->lock);
    if (generation == cache->generation)
        keep(cache, key, read, stored_ns);
    pthread_mutex_unlock(&cache->lock);
    value->bytes = read->bytes;
    value->size = read->size;
    value->owner = read;
    return true;
}

bool csi_cache_contains(struct csi_cache *cache, const struct csi_hash *key)
{
    bool there;

    if (cache->max_bytes == 0)
        return false;
    pthread_mutex_lock(&cache->lock);
    there = look_up(cache, key) != NULL;
    pthread_mutex_unlock(&cache->lock);
    return there || (cache->disk != NULL && csi_disk_contains(cache->disk, cache->name, key));
}

uint64_t csi_cache_generation(struct csi_cache *cache)
{
    uint64_t generation;

    pthread_mutex_lock(&cache->lock);
    generation = cache->generation;
    pthread_mutex_unlock(&cache->lock);
    return generation;
}

void csi_cache_put_taking(struct csi_cache *cache, const struct csi_hash *key, uint8_t *bytes, size_t size,
                          uint64_t generation)
{
    struct value *value = cache->max_bytes != 0 ? value_create(bytes, size) : NULL;

    if (value == NULL) {
        if (cache->max_bytes == 0)
            free(bytes);
        return;
    }
    pthread_mutex_lock(&cache->lock);
    keep_in_both(cache, key, value, now_ns(), generation);
    pthread_mutex_unlock(&cache->lock);
    value_release(value);
}

void csi_cache_put(struct csi_cache *cache, const struct csi_hash *key, const void *bytes, size_t size,
                   uint64_t generation)
{
    uint8_t *copy = cache->max_bytes != 0 ? malloc(size == 0 ? 1 : size) : NULL;

    if (copy == NULL)
        return;
    if (size > 0)
        memcpy(copy, bytes, size);
    csi_cache_put_taking(cache, key, copy, size, generation);
}

void csi_cache_count_miss(struct csi_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    cache->misses += cache->max_bytes != 0;
    pthread_mutex_unlock(&cache->lock);
}

static void clear_memory(struct csi_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    cache->generation++;
    drop_all(cache);
    pthread_mutex_unlock(&cache->lock);
}

enum cs_status csi_cache_clear(struct csi_cache *cache, struct cs_error *error)
{
    enum cs_status status;

    clear_memory(cache); /* what is under way now is not written to disk any more */
    if (cache->disk == NULL)
        return CS_OK;
    status = csi_disk_clear(cache->disk, cache->name, error);
    clear_memory(cache); /* what was read from disk before it was cleared */
    return status;
}

void csi_cache_stats(struct csi_cache *cache, struct cs_cache_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    pthread_mutex_lock(&cache->lock);
    stats->enabled = cache->max_bytes != 0;
    stats->entries = cache->entry_count;
    stats->bytes = cache->bytes;
    stats->max_bytes = cache->max_bytes;
    stats->hits = cache->hits;
    stats->misses = cache->misses;
    stats->coalesced = cache->coalesced;
    stats->evictions = cache->evictions;
    stats->expired = cache->expired;
    stats->disk_hits = cache->disk_hits;
    pthread_mutex_unlock(&cache->lock);
    if (cache->disk != NULL && stats->enabled)
        csi_disk_stats(cache->disk, cache->name, &stats->disk_entries, &stats->disk_bytes,
                       &stats->disk_errors);
}

void csi_cache_destroy(struct csi_cache *cache)
{
    if (cache == NULL)
        return;
    drop_all(cache);
    pthread_cond_destroy(&cache->landed);
    pthread_mutex_destroy(&cache->lock);
    free(cache->buckets);
    free(cache->name);
    free(cache);
}
