/*
 * The disk tier's file and the background thread that writes it: see disk_internal.h. The thread also checks
 * the file when it is opened and sets it aside when it is damaged.
 */
#include "store/disk_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/disk_file.h"

#define CUT_OFF_NS 10000000 /* between interrupts of the check */

static void warn(const struct csi_disk *disk, const char *format, ...) CSI_PRINTF(2, 3);
static void warn(const struct csi_disk *disk, const char *format, ...)
{
    char message[CS_ERROR_MESSAGE_SIZE];
    va_list arguments;

    if (disk->on_warning == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    disk->on_warning(disk->context, message);
}

/* ---- opening ---- */

/* A new file is its owner's alone: it holds people's photos. SQLite gives its -wal and -shm the same mode; a
 * file that exists keeps the one that it was given. What fails here fails when it is opened. */
static void create_private(const char *path)
{
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
}

/* Opens the writing connection. `*reason` says why a sound file cannot be ours ("" otherwise). */
static int open_writer(struct csi_disk *disk, char *reason, size_t reason_size)
{
    const char *refused = csi_disk_file_refused(disk->path);
    int version, objects, code;

    snprintf(reason, reason_size, "%s", refused != NULL ? refused : "");
    if (refused != NULL)
        return SQLITE_MISMATCH;
    create_private(disk->path);
    code = sqlite3_open_v2(disk->path, &disk->writer,
                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK)
        return code;
    csi_disk_schema_harden(disk->writer);
    code = csi_disk_file_identify(disk->writer, &version, &objects, reason, reason_size);
    if (code != SQLITE_OK)
        return code;
    if (objects == 0) {
        char sql[96];

        snprintf(sql, sizeof sql, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA application_id = %d",
                 CSI_DISK_APPLICATION_ID);
        if ((code = sqlite3_exec(disk->writer, sql, NULL, NULL, NULL)) != SQLITE_OK)
            return code;
    }
    /* A cache may lose the last seconds of a power failure: NORMAL is as sound as FULL, only less durable. */
    code = sqlite3_exec(
        disk->writer,
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 8388608", NULL,
        NULL, NULL);
    return code == SQLITE_OK ? csi_disk_schema_migrate(disk->writer, version) : code;
}

static int open_reader(struct csi_disk *disk)
{
    int code = sqlite3_open_v2(disk->path, &disk->reader, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    if (code == SQLITE_OK) {
        csi_disk_schema_harden(disk->reader);
        code = sqlite3_prepare_v2(
            disk->reader, "SELECT value, checksum, stored_ms FROM entry WHERE cache = ?1 AND key = ?2", -1,
            &disk->find, NULL);
    }
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(disk->reader, "SELECT stored_ms FROM entry WHERE cache = ?1 AND key = ?2",
                                  -1, &disk->exists, NULL);
    return code;
}

void csi_disk_close_both(struct csi_disk *disk)
{
    sqlite3_finalize(disk->find);
    sqlite3_finalize(disk->exists);
    sqlite3_close(disk->reader);
    sqlite3_close(disk->writer);
    disk->find = disk->exists = NULL;
    disk->reader = disk->writer = NULL;
}

/* Renames the damaged file and what SQLite keeps beside it. */
static bool set_aside(struct csi_disk *disk)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char from[4096], to[4096], stamp[32], aside[3072];
    time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &utc);
    snprintf(aside, sizeof aside, "%s.damaged-%s", disk->path, stamp);
    for (unsigned i = 1; access(aside, F_OK) == 0 && i < 1000; i++)
        snprintf(aside, sizeof aside, "%s.damaged-%s-%u", disk->path, stamp, i);
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        snprintf(from, sizeof from, "%s%s", disk->path, suffixes[i]);
        snprintf(to, sizeof to, "%s%s", aside, suffixes[i]);
        if (rename(from, to) != 0 && i == 0) {
            warn(disk, "the cache file '%s' is damaged and cannot be set aside (%s): nothing is kept on disk",
                 disk->path, strerror(errno));
            return false;
        }
    }
    warn(disk, "the cache file '%s' was damaged: set aside as '%s', a new one begun", disk->path, aside);
    return true;
}

void csi_disk_open_both(struct csi_disk *disk)
{
    char reason[128];
    int code;

    for (int attempt = 0; attempt < 2; attempt++) {
        code = open_writer(disk, reason, sizeof reason);
        if (code == SQLITE_OK)
            code = open_reader(disk);
        if (code == SQLITE_OK)
            return;
        if (reason[0] == '\0')
            snprintf(reason, sizeof reason, "%s",
                     sqlite3_errmsg(disk->reader != NULL ? disk->reader : disk->writer));
        csi_disk_close_both(disk);
        if (!csi_disk_means_damage(code)) {
            warn(disk, "the cache file '%s' is not used: %s", disk->path, reason);
            return;
        }
        if (attempt == 1 || !set_aside(disk))
            return;
    }
}

/* ---- the background thread ---- */

/* Prepares, binds cache and key (each when the statement has it), runs. */
static int run_on_key(struct csi_disk *disk, const char *sql, const struct csi_disk_operation *operation)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(disk->writer, sql, -1, &statement, NULL);

    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_text(statement, 1, operation->table, -1, SQLITE_STATIC);
    if (operation->kind != CSI_DISK_NOTHING)
        sqlite3_bind_blob(statement, 2, operation->key.bytes, CSI_HASH_SIZE, SQLITE_STATIC);
    if (operation->kind == CSI_DISK_TOUCH || operation->kind == CSI_DISK_PUT)
        sqlite3_bind_int64(statement, 3, operation->when_ms);
    if (operation->kind == CSI_DISK_PUT) {
        struct csi_hash sum;

        csi_disk_checksum(operation->table, &operation->key, operation->when_ms, operation->bytes,
                          operation->size, &sum);
        sqlite3_bind_int64(statement, 4, (sqlite3_int64)operation->size);
        sqlite3_bind_blob(statement, 5, sum.bytes, CSI_HASH_SIZE, SQLITE_TRANSIENT);
        sqlite3_bind_blob64(statement, 6, operation->bytes, operation->size, SQLITE_STATIC);
    }
    code = sqlite3_step(statement);
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int apply(struct csi_disk *disk, const struct csi_disk_operation *operation)
{
    switch (operation->kind) {
    case CSI_DISK_PUT:
        return run_on_key(
            disk,
            "INSERT OR REPLACE INTO entry (cache, key, stored_ms, used_ms, size, checksum, value) "
            "VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)",
            operation);
    case CSI_DISK_TOUCH:
        return run_on_key(disk, "UPDATE entry SET used_ms = ?3 WHERE cache = ?1 AND key = ?2", operation);
    case CSI_DISK_DROP: return run_on_key(disk, "DELETE FROM entry WHERE cache = ?1 AND key = ?2", operation);
    case CSI_DISK_NOTHING: break;
    }
    return SQLITE_OK;
}

/* What stats tell. */
static void publish(struct csi_disk *disk, const struct csi_disk_counts *counts)
{
    pthread_mutex_lock(&disk->table_lock);
    disk->counts = *counts;
    pthread_mutex_unlock(&disk->table_lock);
}

int csi_disk_recount(struct csi_disk *disk)
{
    struct csi_disk_counts counts;
    int code = csi_disk_schema_count(disk->writer, &counts);

    if (code == SQLITE_OK)
        publish(disk, &counts);
    return code;
}

/* Drops aged entries, then the least recently used ones until the rest fits: `counts` of what stays. */
static int make_fit(struct csi_disk *disk, struct csi_disk_counts *counts)
{
    sqlite3_stmt *oldest = NULL;
    uint64_t total;
    int code = SQLITE_OK;

    if (disk->ttl_s > 0) {
        char sql[96];

        snprintf(sql, sizeof sql, "DELETE FROM entry WHERE stored_ms < %lld",
                 (long long)(csi_unix_ms() - (int64_t)(disk->ttl_s * 1000)));
        code = sqlite3_exec(disk->writer, sql, NULL, NULL, NULL);
    }
    if (code == SQLITE_OK)
        code = csi_disk_schema_count(disk->writer, counts);
    if (code != SQLITE_OK || counts->bytes <= disk->max_bytes)
        return code;
    total = counts->bytes;
    code = sqlite3_prepare_v2(
        disk->writer,
        "DELETE FROM entry WHERE id = (SELECT id FROM entry ORDER BY used_ms, id LIMIT 1) RETURNING size", -1,
        &oldest, NULL);
    while (code == SQLITE_OK && total > disk->max_bytes) {
        code = sqlite3_step(oldest);
        if (code == SQLITE_ROW) {
            total -= (uint64_t)sqlite3_column_int64(oldest, 0);
            code = sqlite3_reset(oldest);
        }
    }
    sqlite3_finalize(oldest);
    return code == SQLITE_OK || code == SQLITE_DONE ? csi_disk_schema_count(disk->writer, counts) : code;
}

void csi_disk_free_operations(struct csi_disk_operation *operation)
{
    while (operation != NULL) {
        struct csi_disk_operation *next = operation->next;

        free(operation->bytes);
        free(operation);
        operation = next;
    }
}

/* A file that is damaged gives way to a new one; anything else is warned of once until a write succeeds. */
static void write_failed(struct csi_disk *disk, int code, const char *reason)
{
    if (csi_disk_means_damage(code))
        atomic_store(&disk->damaged, true);
    else if (!disk->write_warned)
        warn(disk, "the cache file '%s' cannot be written: %s", disk->path, reason);
    disk->write_warned = true;
}

/* Deletes the rows of a table that is to be cleared, in a transaction of its own: no value that cannot be
 * written takes that back. `*swept` is set when rows may have gone. What fails stays to be done. */
static int sweep_table(struct csi_disk *disk, struct csi_disk_table *table, bool *swept)
{
    const struct csi_disk_operation every_row = {.kind = CSI_DISK_NOTHING, .table = table->name};
    uint64_t wanted;
    bool pending;
    int code = SQLITE_OK;

    pthread_mutex_lock(&disk->table_lock);
    wanted = table->clears;
    pending = table->cleared != wanted;
    pthread_mutex_unlock(&disk->table_lock);
    if (!pending)
        return SQLITE_OK;
    if (disk->writer != NULL) /* without one nothing of the file is served either */
        code = run_on_key(disk, "DELETE FROM entry WHERE cache = ?1", &every_row);
    if (code != SQLITE_OK)
        write_failed(disk, code, sqlite3_errmsg(disk->writer));
    pthread_mutex_lock(&disk->table_lock);
    if (code == SQLITE_OK)
        table->cleared = wanted;
    else
        table->errors++;
    pthread_mutex_unlock(&disk->table_lock);
    *swept = *swept || code == SQLITE_OK;
    return code;
}

/* Does the clears that are still to be done: before anything newer is written. A file that is locked or full
 * for one table is so for the next, and each would wait for it. */
static void sweep(struct csi_disk *disk)
{
    bool swept = false;

    for (size_t i = 0; i < CSI_DISK_CACHES; i++)
        if (sweep_table(disk, &disk->tables[i], &swept) != SQLITE_OK)
            break;
    if (swept && disk->writer != NULL) {
        sqlite3_exec(disk->writer, "PRAGMA incremental_vacuum", NULL, NULL, NULL);
        csi_disk_recount(disk);
    }
}

/* Takes values out of a batch: those that a clear came after, and those behind one that could not be done,
 * which are errors. False: nothing is left to write. */
static bool leave_out_cleared(struct csi_disk *disk, struct csi_disk_operation *first)
{
    bool left = false;

    pthread_mutex_lock(&disk->table_lock);
    for (struct csi_disk_operation *operation = first; operation != NULL; operation = operation->next) {
        struct csi_disk_table *table = csi_disk_table_of(disk, operation->table);

        if (operation->kind == CSI_DISK_PUT &&
            (operation->clears != table->clears || table->cleared != table->clears)) {
            table->errors += operation->clears == table->clears;
            operation->kind = CSI_DISK_NOTHING;
        }
        left = left || operation->kind != CSI_DISK_NOTHING;
    }
    pthread_mutex_unlock(&disk->table_lock);
    return left;
}

static void count_values(struct csi_disk *disk, const struct csi_disk_operation *first)
{
    for (const struct csi_disk_operation *operation = first; operation != NULL; operation = operation->next)
        if (operation->kind == CSI_DISK_PUT)
            csi_disk_count_error(disk, operation->table);
}

/* Writes a batch in one transaction. What fails is lost for the disk tier, counted, and warned of once. */
static void write_batch(struct csi_disk *disk, struct csi_disk_operation *first)
{
    struct csi_disk_counts counts;
    char reason[160];
    int code;

    if (!leave_out_cleared(disk, first))
        return;
    if (disk->writer == NULL) {
        count_values(disk, first);
        return;
    }
    code = sqlite3_exec(disk->writer, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (const struct csi_disk_operation *operation = first; code == SQLITE_OK && operation != NULL;
         operation = operation->next)
        code = apply(disk, operation);
    if (code == SQLITE_OK)
        code = make_fit(disk, &counts);
    if (code == SQLITE_OK)
        code = sqlite3_exec(disk->writer, "COMMIT", NULL, NULL, NULL);
    if (code == SQLITE_OK) {
        publish(disk, &counts);
        disk->write_warned = false;
        return;
    }
    snprintf(reason, sizeof reason, "%s", sqlite3_errmsg(disk->writer));
    sqlite3_exec(disk->writer, "ROLLBACK", NULL, NULL, NULL);
    count_values(disk, first);
    write_failed(disk, code, reason);
}

static void check_whole_file(struct csi_disk *disk)
{
    bool damaged;

    pthread_mutex_lock(&disk->queue_lock);
    disk->checking = disk->writer != NULL && !disk->stop;
    pthread_mutex_unlock(&disk->queue_lock);
    if (!disk->checking) /* this thread alone changes it */
        return;
    damaged = csi_disk_means_damage(csi_disk_file_check_pages(disk->writer));
    pthread_mutex_lock(&disk->queue_lock);
    disk->checking = false;
    if (damaged && !disk->stop) /* a check that was cut off says nothing */
        atomic_store(&disk->damaged, true);
    pthread_cond_broadcast(&disk->done);
    pthread_mutex_unlock(&disk->queue_lock);
}

/* Again and again, because an interrupt before the check's first step is none. */
void csi_disk_cut_off_check(struct csi_disk *disk)
{
    while (disk->checking) {
        struct timespec until;

        sqlite3_interrupt(disk->writer);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += CUT_OFF_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&disk->done, &disk->queue_lock, &until);
    }
}

static void replace_damaged(struct csi_disk *disk)
{
    pthread_mutex_lock(&disk->read_lock);
    csi_disk_close_both(disk);
    if (set_aside(disk))
        csi_disk_open_both(disk);
    atomic_store(&disk->damaged, false);
    pthread_mutex_unlock(&disk->read_lock);
    if (disk->writer != NULL)
        csi_disk_recount(disk);
}

/* Before a batch: a sound file, and nothing in it that was cleared. */
static void tidy(struct csi_disk *disk)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        if (atomic_load(&disk->damaged))
            replace_damaged(disk);
        sweep(disk);
        if (!atomic_load(&disk->damaged))
            return;
    }
}

void *csi_disk_write_behind(void *context)
{
    struct csi_disk *disk = context;

    check_whole_file(disk);
    pthread_mutex_lock(&disk->queue_lock);
    for (;;) {
        struct csi_disk_operation *batch;
        size_t count;

        while (disk->first == NULL && !disk->stop && !atomic_load(&disk->damaged))
            pthread_cond_wait(&disk->work, &disk->queue_lock);
        batch = disk->first;
        count = disk->queued_count;
        disk->first = disk->last = NULL;
        disk->queued_bytes = disk->queued_count = 0;
        if (batch == NULL && disk->stop)
            break;
        pthread_mutex_unlock(&disk->queue_lock);
        tidy(disk);
        if (batch != NULL)
            write_batch(disk, batch);
        csi_disk_free_operations(batch);
        pthread_mutex_lock(&disk->queue_lock);
        disk->finished_total += count;
        pthread_cond_broadcast(&disk->done);
    }
    pthread_mutex_unlock(&disk->queue_lock);
    sweep(disk); /* the last chance of a clear that failed */
    return NULL;
}
