/*
 * One cache: keys are BLAKE2b-256, values are bytes. A memory tier (least recently used goes first, bounded
 * in bytes, optional age limit) over an optional disk tier (SQLite). Knows nothing of what it keeps.
 *
 * Thread-safe. Identical concurrent computations are done once (csi_cache_get_or_compute).
 */
#ifndef CSI_STORE_CACHE_H
#define CSI_STORE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

struct csi_cache;
struct csi_disk; /* store/disk.h: one SQLite file shared by several caches */

struct csi_cache_options {
    const char *name; /* table in the disk tier, e.g. "prediction" */
    size_t max_bytes; /* memory tier, values + overhead; 0: the cache is off (everything is CS_CACHE_OFF) */
    double ttl_s;     /* 0: no age limit */
    struct csi_disk *disk; /* NULL: memory only */
};

enum cs_status csi_cache_create(const struct csi_cache_options *options, struct csi_cache **cache,
                                struct cs_error *error);
void csi_cache_destroy(struct csi_cache *cache);

/* A counted reference to a value: bytes never change and live until the last reference is given back. */
struct csi_cached {
    const uint8_t *bytes;
    size_t size;
    void *owner;
};
void csi_cached_release(struct csi_cached *value);

/* Computes a value: fills *bytes (malloc'ed, ownership passes) and *size. */
typedef enum cs_status csi_compute_fn(void *context, uint8_t **bytes, size_t *size, struct cs_error *error);

/* Looks `key` up; on a miss runs `compute` (outside all locks) unless another thread is already at it, which
 * is waited for. A failure is handed to the one who computed and to all who waited, and is not kept.
 * `*result` says which way it went and is counted: hits + misses + coalesced = calls. When the cache is off
 * it computes and says CS_CACHE_OFF. */
enum cs_status csi_cache_get_or_compute(struct csi_cache *cache, const struct csi_hash *key,
                                        csi_compute_fn *compute, void *context, struct csi_cached *value,
                                        enum cs_cache_result *result, struct cs_error *error);

/* Makes a value that no cache keeps out of malloc'ed bytes, which it takes over (also on failure). */
enum cs_status csi_cached_own(uint8_t *bytes, size_t size, struct csi_cached *value, struct cs_error *error);
/* Computes without any cache: the way of requests that want none. */
enum cs_status csi_compute_uncached(csi_compute_fn *compute, void *context, struct csi_cached *value,
                                    struct cs_error *error);

/* Looks up without computing, without counting. False: not there. */
bool csi_cache_peek(struct csi_cache *cache, const struct csi_hash *key, struct csi_cached *value);
/* Whether the value is in a tier, without fetching it; counts as a use in the memory tier's order. */
bool csi_cache_contains(struct csi_cache *cache, const struct csi_hash *key);
/* Counts clears. Ask before computing what is put afterwards: see csi_cache_put. */
uint64_t csi_cache_generation(struct csi_cache *cache);
/* Keeps a copy of the bytes in both tiers, replacing what was there; in none when the cache was cleared since
 * `generation`, because they are of before. */
void csi_cache_put(struct csi_cache *cache, const struct csi_hash *key, const void *bytes, size_t size,
                   uint64_t generation);
/* The same with malloc'ed bytes that it takes over. */
void csi_cache_put_taking(struct csi_cache *cache, const struct csi_hash *key, uint8_t *bytes, size_t size,
                          uint64_t generation);

/* Counts a miss: for who has looked with csi_cache_contains and will compute and csi_cache_put by himself. */
void csi_cache_count_miss(struct csi_cache *cache);

/* Drops every entry of both tiers; counters stay. A computation under way is not kept when it ends. Fails as
 * csi_disk_clear does: nothing is served any more, but the disk tier may serve it after a restart. */
enum cs_status csi_cache_clear(struct csi_cache *cache, struct cs_error *error);
void csi_cache_stats(struct csi_cache *cache, struct cs_cache_stats *stats);

#endif
