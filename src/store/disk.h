/*
 * The disk tier: one SQLite file (WAL, STRICT tables, user_version) that keeps cached values over a restart.
 * Values carry a checksum; what does not match is dropped, never served. A damaged file is set aside (renamed
 * with a time stamp) with a warning; one that never was ours is left as it is and not used. Every failure
 * (full disk, read-only folder) makes it a miss and is counted; nothing above notices more than that.
 */
#ifndef CSI_STORE_DISK_H
#define CSI_STORE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

struct csi_disk;

struct csi_disk_options {
    const char *path;
    size_t max_bytes; /* of values; the oldest used go first */
    double ttl_s;
    void (*on_warning)(void *context, const char *message);
    void *context;
};
enum cs_status csi_disk_open(const struct csi_disk_options *options, struct csi_disk **disk,
                             struct cs_error *error);
/* Writes what is queued; the check of the whole file that opening began is cut off where it still runs. */
void csi_disk_close(struct csi_disk *disk);

/* `*bytes` malloc'ed, `*age_s` since it was put. False: not there (or damaged, or unreadable). */
bool csi_disk_get(struct csi_disk *disk, const char *table, const struct csi_hash *key, uint8_t **bytes,
                  size_t *size, double *age_s);
/* Whether there is such a row; its value is not looked at. */
bool csi_disk_contains(struct csi_disk *disk, const char *table, const struct csi_hash *key);
/* Queued and written by a background thread, so that a request never waits for the disk. */
void csi_disk_put(struct csi_disk *disk, const char *table, const struct csi_hash *key, const void *bytes,
                  size_t size);
/* Waits for its turn in the queue: afterwards nothing older is found, nor written late. CS_INTERNAL: the file
 * could not be written (a full disk, another process's lock). This process serves nothing older all the same;
 * what is in the file is deleted before the next write that succeeds, when it is closed at the latest, or
 * else found by the next process. Where the file is not used at all, which was warned of, there is nothing to
 * clear: CS_OK, and it stays as it is. */
enum cs_status csi_disk_clear(struct csi_disk *disk, const char *table, struct cs_error *error);
/* Waits until everything queued is on disk. */
void csi_disk_flush(struct csi_disk *disk);
void csi_disk_stats(struct csi_disk *disk, const char *table, uint64_t *entries, uint64_t *bytes,
                    uint64_t *errors);

#endif
