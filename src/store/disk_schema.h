/*
 * The tables of the disk tier's file: making them, telling them from others, counting what is in them. A file
 * that somebody else has written can claim to be ours and hold anything; what is read of it here is compared
 * with what we would have written, and takes no longer than a file of its size may.
 */
#ifndef CSI_STORE_DISK_SCHEMA_H
#define CSI_STORE_DISK_SCHEMA_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

#define CSI_DISK_SCHEMA_VERSION 1
#define CSI_DISK_CACHES         8u /* at most in one file */
#define CSI_DISK_NAME_SIZE      32u

struct csi_disk_count {
    char name[CSI_DISK_NAME_SIZE];
    uint64_t entries, bytes;
};

/* What every cache of the file holds. */
struct csi_disk_counts {
    struct csi_disk_count of[CSI_DISK_CACHES];
    size_t count;
    uint64_t bytes; /* of all of them */
};

/* Waits for others' locks, and runs nothing that the file brings along: views, triggers, functions in its
 * schema. For every connection, before anything is read by it. */
void csi_disk_schema_harden(sqlite3 *database);
/* Brings a database of version `from` (0: an empty one) up to ours. SQLite's code. */
int csi_disk_schema_migrate(sqlite3 *database, int from);
/* SQLITE_OK when the database holds the tables and indexes of `version` and nothing else, SQLITE_MISMATCH
 * when it does not, or why it cannot be read. `version` within 0 and ours. */
int csi_disk_schema_compare(sqlite3 *database, int version);
/* Entries and bytes of every cache, exactly, from the index. SQLITE_CORRUPT: no run of ours wrote these rows.
 */
int csi_disk_schema_count(sqlite3 *database, struct csi_disk_counts *counts);

#endif
