/* Files: see file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens a regular file and tells its size. */
static enum cs_status open_regular(const char *path, int *descriptor, size_t *size, struct cs_error *error)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: a FIFO must not hang us */

    *descriptor = -1;
    if (fd < 0)
        return csi_fail(error, CS_NOT_FOUND, "cannot open '%s': %s", path, strerror(errno));
    if (fstat(fd, &info) != 0) {
        close(fd);
        return csi_fail(error, CS_INTERNAL, "cannot examine '%s': %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return csi_fail(error, CS_BAD_REQUEST, "'%s' is %s, not a file", path,
                        S_ISDIR(info.st_mode) ? "a directory" : "a special file");
    }
    *descriptor = fd;
    *size = (size_t)info.st_size;
    return CS_OK;
}

enum cs_status csi_file_read(const char *path, size_t limit, uint8_t **bytes, size_t *size,
                             struct cs_error *error)
{
    int fd;
    size_t want, have = 0;
    uint8_t *memory;
    enum cs_status status = open_regular(path, &fd, &want, error);

    *bytes = NULL;
    *size = 0;
    if (status != CS_OK)
        return status;
    if (limit != 0 && want > limit) {
        close(fd);
        return csi_fail(error, CS_IMAGE_TOO_LARGE, "'%s' has %zu bytes, the limit is %zu", path, want, limit);
    }
    memory = malloc(want + 1);
    if (memory == NULL) {
        close(fd);
        return csi_fail_memory(error, path);
    }
    while (have < want) {
        ssize_t got = read(fd, memory + have, want - have);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = csi_fail(error, CS_INTERNAL, "cannot read '%s': %s", path, strerror(errno));
            break;
        }
        if (got == 0)
            break; /* it shrank while we read: what is there counts */
        have += (size_t)got;
    }
    close(fd);
    if (status != CS_OK) {
        free(memory);
        return status;
    }
    memory[have] = 0;
    *bytes = memory;
    *size = have;
    return CS_OK;
}

enum cs_status csi_file_map(const char *path, struct csi_mapping *mapping, struct cs_error *error)
{
    int fd;
    size_t size;
    void *memory;
    enum cs_status status = open_regular(path, &fd, &size, error);

    mapping->bytes = NULL;
    mapping->size = 0;
    if (status != CS_OK)
        return status;
    if (size == 0) {
        close(fd);
        return CS_OK;
    }
    memory = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (memory == MAP_FAILED)
        return csi_fail(error, CS_INTERNAL, "cannot map '%s': %s", path, strerror(errno));
    mapping->bytes = memory;
    mapping->size = size;
    return CS_OK;
}

void csi_file_unmap(struct csi_mapping *mapping)
{
    union {
        const uint8_t *in;
        void *out;
    } address = {mapping->bytes}; /* munmap wants the pointer without const */

    if (mapping->bytes != NULL)
        munmap(address.out, mapping->size);
    mapping->bytes = NULL;
    mapping->size = 0;
}

static enum cs_status write_all(int fd, const char *path, const void *bytes, size_t size,
                                struct cs_error *error)
{
    const uint8_t *from = bytes;

    while (size > 0) {
        ssize_t put = write(fd, from, size);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return csi_fail(error, CS_INTERNAL, "cannot write '%s': %s", path, strerror(errno));
        from += put;
        size -= (size_t)put;
    }
    return CS_OK;
}

/* A device or pipe is written to: a new file in its place would be the end of it. */
static enum cs_status write_device(const char *path, const void *bytes, size_t size, struct cs_error *error)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    enum cs_status status;

    if (fd < 0)
        return csi_fail(error, CS_INTERNAL, "cannot write '%s': %s", path, strerror(errno));
    status = write_all(fd, path, bytes, size, error);
    close(fd);
    return status;
}

/* A new file in the folder of `path`, for it alone, with the rights that any new file gets (umask). Its name
 * does not grow from that of `path`, which may be as long as names can be. -1: errno says why. */
static int open_beside(const char *path, char *temporary, size_t size)
{
    static atomic_uint count;
    const char *slash = strrchr(path, '/');
    int folder = slash == NULL ? 0 : (int)(slash + 1 - path), fd = -1;

    for (unsigned tries = 0; fd < 0 && tries < 100; tries++) {
        snprintf(temporary, size, "%.*s.cropshield-%ld-%u", folder, path, (long)getpid(),
                 atomic_fetch_add(&count, 1));
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    return fd;
}

/* `path` is no link. */
static enum cs_status replace(const char *path, const void *bytes, size_t size, struct cs_error *error)
{
    size_t length = strlen(path) + 48;
    char *temporary;
    enum cs_status status;
    struct stat info;
    bool there = stat(path, &info) == 0;
    int fd;

    temporary = malloc(length);
    if (temporary == NULL)
        return csi_fail_memory(error, path);
    fd = open_beside(path, temporary, length);
    if (fd < 0) {
        status = csi_fail(error, CS_INTERNAL, "cannot write '%s': %s", path, strerror(errno));
        free(temporary);
        return status;
    }
    status = write_all(fd, path, bytes, size, error);
    if (status == CS_OK && ((there && fchmod(fd, info.st_mode & 0777) != 0) || fsync(fd) != 0))
        status = csi_fail(error, CS_INTERNAL, "cannot write '%s': %s", path, strerror(errno));
    close(fd);
    if (status == CS_OK && rename(temporary, path) != 0)
        status = csi_fail(error, CS_INTERNAL, "cannot write '%s': %s", path, strerror(errno));
    if (status != CS_OK)
        unlink(temporary);
    free(temporary);
    return status;
}

/* The descriptor of standard output or error when that is this regular file (/dev/stdout, redirected): put in
 * its place, the file would be gone for all that is still to be printed. -1: it is neither. */
static int standard_stream(const struct stat *info)
{
    struct stat own;

    for (int fd = STDOUT_FILENO; S_ISREG(info->st_mode) && fd <= STDERR_FILENO; fd++)
        if (fstat(fd, &own) == 0 && own.st_dev == info->st_dev && own.st_ino == info->st_ino) {
            fflush(fd == STDOUT_FILENO ? stdout : stderr);
            return fd;
        }
    return -1;
}

enum cs_status csi_file_write_atomic(const char *path, const void *bytes, size_t size, struct cs_error *error)
{
    struct stat info;
    char *target;
    enum cs_status status;

    if (stat(path, &info) == 0) {
        int fd = standard_stream(&info);

        if (fd >= 0)
            return write_all(fd, path, bytes, size, error);
        if (!S_ISREG(info.st_mode))
            return write_device(path, bytes, size, error);
    }
    if (lstat(path, &info) != 0 || !S_ISLNK(info.st_mode))
        return replace(path, bytes, size, error);
    target = realpath(path, NULL); /* the file that the link names is meant, not the link */
    if (target == NULL)
        return csi_fail(error, CS_INTERNAL, "cannot write '%s', a link to nothing: %s", path,
                        strerror(errno));
    status = replace(target, bytes, size, error);
    free(target);
    return status;
}

int csi_file_stamp(const char *path, struct csi_file_stamp *stamp)
{
    struct stat info;

    memset(stamp, 0, sizeof *stamp);
    if (stat(path, &info) != 0)
        return 0;
    stamp->mtime_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    stamp->size = (int64_t)info.st_size;
    stamp->inode = (uint64_t)info.st_ino;
    return 1;
}

int csi_file_stamp_equal(const struct csi_file_stamp *a, const struct csi_file_stamp *b)
{
    return a->mtime_ns == b->mtime_ns && a->size == b->size && a->inode == b->inode;
}
