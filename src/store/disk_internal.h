/*
 * The disk tier's inside: its two connections, the queue, the tables' state. Shared by disk.c (the door, on
 * whatever thread asks) and disk_writer.c (the file, and the background thread that writes it); nobody else
 * sees it.
 *
 * Locks: `read_lock` may be held while the disk works and `on_warning` runs, the other two for moments only.
 * `table_lock` may be taken under `read_lock`; nothing else is taken under another.
 */
#ifndef CSI_STORE_DISK_INTERNAL_H
#define CSI_STORE_DISK_INTERNAL_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "store/disk.h"
#include "store/disk_schema.h"

enum csi_disk_kind {
    CSI_DISK_PUT,
    CSI_DISK_TOUCH,
    CSI_DISK_DROP,
    CSI_DISK_NOTHING /* wakes the thread for a clear, or is a value that one came after */
};

/* Owned by the queue until the background thread takes the whole list, which then changes and frees it. */
struct csi_disk_operation {
    struct csi_disk_operation *next;
    enum csi_disk_kind kind;
    const char *table; /* interned in `tables` */
    struct csi_hash key;
    uint8_t *bytes; /* owned */
    size_t size;
    int64_t when_ms;
    uint64_t clears; /* of the table when this was queued */
};

struct csi_disk_table {
    char name[CSI_DISK_NAME_SIZE]; /* stays as it is once it is there, so it is read without the lock */
    uint64_t errors;
    /* Clears that were asked for, and those that the file has seen. While they differ (a full disk, another
     * process's lock) nothing of the table is served or written: what the file has is of before. */
    uint64_t clears, cleared;
};

struct csi_disk {
    char *path; /* owned; this and the four below never change */
    size_t max_bytes;
    double ttl_s;
    void (*on_warning)(void *context, const char *message);
    void *context;

    pthread_mutex_t read_lock; /* guards the three below */
    sqlite3 *reader;           /* NULL: the tier is off */
    sqlite3_stmt *find, *exists;

    sqlite3 *writer; /* the background thread's once that runs; closing may interrupt it while `checking` */

    pthread_mutex_t queue_lock; /* guards the rest up to `checking`, but `running` */
    pthread_cond_t work, done;
    struct csi_disk_operation *first, *last;
    size_t queued_bytes, queued_count;
    uint64_t queued_total, finished_total; /* operations ever: flush waits for the one to reach the other */
    bool stop, running;  /* `running`: whether there is a thread to join; opening and closing alone use it */
    bool checking;       /* the whole file, which takes long on a large one: closing cuts that off. The
                            background thread alone changes it */
    atomic_bool damaged; /* the background thread replaces the file. A reader sets this under `queue_lock`, so
                            that the thread cannot miss it on its way to sleep */
    pthread_t thread;

    pthread_mutex_t table_lock; /* guards the three below; never held over the disk */
    struct csi_disk_table tables[CSI_DISK_CACHES];
    size_t table_count;
    struct csi_disk_counts counts;
    bool write_warned; /* the background thread's */
};

/* disk.c, for any thread */

/* The table's entry; NULL past the last free place. `table_lock` held. */
struct csi_disk_table *csi_disk_table_of(struct csi_disk *disk, const char *name);
/* One more error of the table in stats. Takes `table_lock`. */
void csi_disk_count_error(struct csi_disk *disk, const char *name);
/* What the file keeps beside a value, over all that makes its row. */
void csi_disk_checksum(const char *table, const struct csi_hash *key, int64_t stored_ms, const void *bytes,
                       size_t size, struct csi_hash *sum);

/* disk_writer.c */

/* Opens both connections; a damaged file is set aside once. Failing leaves the tier off, with a warning.
 * `read_lock` held; before the background thread runs, or on it. */
void csi_disk_open_both(struct csi_disk *disk);
/* `read_lock` held, or nobody else left; on the same threads, or after the background thread's end. */
void csi_disk_close_both(struct csi_disk *disk);
/* Counts what the file holds and publishes it for stats. SQLite's code. Takes `table_lock`; needs a writer,
 * on the same threads as csi_disk_open_both. */
int csi_disk_recount(struct csi_disk *disk);
/* Frees the list and its values. NULL is none. */
void csi_disk_free_operations(struct csi_disk_operation *operation);
/* The background thread, `context` a csi_disk: checks the whole file, then writes what is queued until it is
 * told to stop and nothing is left. Returns NULL. */
void *csi_disk_write_behind(void *context);
/* Ends the check of the whole file; the next start makes it again. For whoever closes: `stop` set,
 * `queue_lock` held, and released in between. */
void csi_disk_cut_off_check(struct csi_disk *disk);

#endif
