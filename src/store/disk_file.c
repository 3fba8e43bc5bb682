/* What the disk tier's file is: see disk_file.h. */
#include "store/disk_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "store/disk_schema.h"

static const char sqlite_header[16] = "SQLite format 3"; /* sqlite.org/fileformat.html, with its NUL */

const char *csi_disk_file_refused(const char *path)
{
    char start[sizeof sqlite_header];
    struct stat info;
    ssize_t got;
    int fd;

    if (stat(path, &info) != 0)
        return NULL;
    if (!S_ISREG(info.st_mode))
        return "it is no file";
    if (info.st_size == 0)
        return NULL;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL; /* SQLite says what is wrong */
    got = read(fd, start, sizeof start);
    close(fd);
    if (got == (ssize_t)sizeof start && memcmp(start, sqlite_header, sizeof start) == 0)
        return NULL;
    return "it is no database, and left as it is";
}

bool csi_disk_means_damage(int code)
{
    return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

static int number_of(sqlite3 *database, const char *sql, int *value)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(database, sql, -1, &statement, NULL);

    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) {
            *value = sqlite3_column_int(statement, 0);
            code = SQLITE_OK;
        }
    }
    sqlite3_finalize(statement);
    return code;
}

int csi_disk_file_identify(sqlite3 *database, int *version, int *objects, char *reason, size_t reason_size)
{
    int application = 0, code;

    reason[0] = '\0';
    *version = *objects = 0;
    if ((code = number_of(database, "PRAGMA user_version", version)) != SQLITE_OK ||
        (code = number_of(database, "PRAGMA application_id", &application)) != SQLITE_OK ||
        (code = number_of(database, "SELECT count(*) FROM sqlite_schema", objects)) != SQLITE_OK)
        return code;
    if (*version == 0 && *objects == 0)
        return SQLITE_OK; /* new: whoever made it has put nothing in */
    if (application != CSI_DISK_APPLICATION_ID || *version < 0)
        snprintf(reason, reason_size, "it is the database of another program");
    else if (*version > CSI_DISK_SCHEMA_VERSION)
        snprintf(reason, reason_size, "a newer CropShield wrote it (version %d, this one knows %d)", *version,
                 CSI_DISK_SCHEMA_VERSION);
    else if ((code = csi_disk_schema_compare(database, *version)) == SQLITE_MISMATCH)
        snprintf(reason, reason_size, "it has other tables than a cache of CropShield (version %d)",
                 *version);
    else
        return code;
    return SQLITE_MISMATCH;
}

/* Whether SQLite keeps a log beside the file: somebody has it open, or did when the power failed. */
static bool has_log(const char *path)
{
    struct csi_buffer name;
    bool there;

    csi_buffer_init(&name);
    csi_buffer_printf(&name, "%s-wal", path);
    there = !name.failed && access((const char *)name.bytes, F_OK) == 0;
    csi_buffer_free(&name);
    return there;
}

/* Opens for reading. Without a log the file is everything: as an immutable one it is read without making the
 * two files that SQLite has beside an open database. */
static int open_to_read(const char *path, sqlite3 **database)
{
    struct csi_buffer uri;
    int code;

    if (has_log(path))
        return sqlite3_open_v2(path, database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    csi_buffer_init(&uri);
    csi_buffer_printf(&uri, "file:");
    for (; *path != '\0'; path++)
        csi_buffer_printf(&uri, isalnum((unsigned char)*path) || *path == '/' ? "%c" : "%%%02x",
                          (unsigned char)*path);
    csi_buffer_printf(&uri, "?immutable=1");
    code = uri.failed ? SQLITE_NOMEM
                      : sqlite3_open_v2((const char *)uri.bytes, database,
                                        SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
    csi_buffer_free(&uri);
    return code;
}

int csi_disk_file_check_pages(sqlite3 *database)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(database, "PRAGMA quick_check(1)", -1, &statement, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        const char *words = (const char *)sqlite3_column_text(statement, 0);

        code = words != NULL && strcmp(words, "ok") == 0 ? SQLITE_OK : SQLITE_CORRUPT;
    }
    sqlite3_finalize(statement);
    return code;
}

static enum cs_status check_content(const char *path, bool *damaged, struct cs_error *error)
{
    sqlite3 *database = NULL;
    struct csi_disk_counts counts;
    char reason[128];
    int version, objects = 0, code = open_to_read(path, &database);
    enum cs_status status = CS_OK;

    reason[0] = '\0';
    if (code == SQLITE_OK) {
        csi_disk_schema_harden(database);
        code = csi_disk_file_identify(database, &version, &objects, reason, sizeof reason);
    }
    if (code == SQLITE_OK)
        code = csi_disk_file_check_pages(database);
    if (code == SQLITE_OK && objects != 0)
        code = csi_disk_schema_count(database, &counts);
    if (code == SQLITE_MISMATCH)
        status = csi_fail(error, CS_BAD_REQUEST, "%s", reason);
    else if (csi_disk_means_damage(code))
        *damaged = true;
    else if (code != SQLITE_OK)
        status = csi_fail(error, CS_INTERNAL, "%s", sqlite3_errmsg(database));
    sqlite3_close(database);
    return status;
}

/* A file that would be made: its folder is there and can be written. */
static enum cs_status check_folder(const char *path, struct cs_error *error)
{
    const char *slash = strrchr(path, '/');
    char *folder = csi_strdup(path);
    enum cs_status status = CS_OK;

    if (folder == NULL)
        return csi_fail_memory(error, "path");
    folder[slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path)] = '\0';
    if (access(slash == NULL ? "." : folder, W_OK | X_OK) != 0)
        status = csi_fail(error, errno == ENOENT || errno == ENOTDIR ? CS_NOT_FOUND : CS_INTERNAL,
                          "its folder cannot be written: %s", strerror(errno));
    free(folder);
    return status;
}

enum cs_status csi_disk_check(const char *path, bool *damaged, struct cs_error *error)
{
    const char *reason = csi_disk_file_refused(path);

    *damaged = false;
    if (reason != NULL)
        return csi_fail(error, CS_BAD_REQUEST, "%s", reason);
    if (access(path, F_OK) != 0)
        return check_folder(path, error);
    if (access(path, R_OK | W_OK) != 0)
        return csi_fail(error, CS_INTERNAL, "it cannot be written: %s", strerror(errno));
    return check_content(path, damaged, error);
}
