/*
 * Files: reading whole, mapping, writing atomically, watching for change.
 */
#ifndef CSI_BASE_FILE_H
#define CSI_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Reads a regular file of at most `limit` bytes (0: no limit) into memory freed with free(); one more NUL
 * byte stands behind the content. CS_NOT_FOUND: no such file or not readable (errno's words in the message);
 * CS_IMAGE_TOO_LARGE: over the limit; CS_BAD_REQUEST: a directory or special file. */
enum cs_status csi_file_read(const char *path, size_t limit, uint8_t **bytes, size_t *size,
                             struct cs_error *error);

/* A read-only private mapping of a regular file. An empty file maps to size 0. */
struct csi_mapping {
    const uint8_t *bytes;
    size_t size;
};
enum cs_status csi_file_map(const char *path, struct csi_mapping *mapping, struct cs_error *error);
void csi_file_unmap(struct csi_mapping *mapping);

/* Writes beside `path` and renames, so that a reader meets the old file or the whole new one. A file that is
 * replaced keeps its permissions, a new one gets those that the umask leaves. A link stays, and the
 * file that it names is replaced. What is there and no regular file (a device, a pipe) is written to as it
 * is. */
enum cs_status csi_file_write_atomic(const char *path, const void *bytes, size_t size,
                                     struct cs_error *error);

/* What tells one version of a file from the next. Equal stamps: unchanged. */
struct csi_file_stamp {
    int64_t mtime_ns, size;
    uint64_t inode;
};
/* 0 when there is no such file. */
int csi_file_stamp(const char *path, struct csi_file_stamp *stamp);
int csi_file_stamp_equal(const struct csi_file_stamp *a, const struct csi_file_stamp *b);

#endif
