/*
 * What the file of the disk tier is, before anything is written to it: ours, another program's, no database
 * at all. A file of somebody else is never touched.
 */
#ifndef CSI_STORE_DISK_FILE_H
#define CSI_STORE_DISK_FILE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define CSI_DISK_APPLICATION_ID 0x43534331 /* "CSC1" */

/* Why the file at `path` cannot be a cache whatever its content is worth: it is a directory or device, or
 * begins as no SQLite database does. NULL: it can (there is none, it is empty, or it has SQLite's header). */
const char *csi_disk_file_refused(const char *path);

/* Reads who wrote `database`: `*version` of the schema and `*objects` in it, which are what that version made
 * or none at all; `reason` says why a sound file cannot be ours ("" otherwise). SQLite's code;
 * SQLITE_MISMATCH with a reason. */
int csi_disk_file_identify(sqlite3 *database, int *version, int *objects, char *reason, size_t reason_size);

/* SQLite's own check of the whole file: SQLITE_CORRUPT, or why it cannot be made. */
int csi_disk_file_check_pages(sqlite3 *database);

/* Whether SQLite's `code` says that the file is damaged. */
bool csi_disk_means_damage(int code);

/* What csi_disk_open would make of the file, which is only read. CS_OK: it would be used, or begun anew where
 * `*damaged` says so. CS_NOT_FOUND: its folder is not there; CS_BAD_REQUEST: it is no cache; CS_INTERNAL: it
 * cannot be read or written. */
enum cs_status csi_disk_check(const char *path, bool *damaged, struct cs_error *error);

#endif
