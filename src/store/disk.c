/*
 * The disk tier: see disk.h. Owns the SQLite file and its writer thread; its tables are disk_schema.c's.
 *
 * Two connections: the reader's, used under `read_lock` by whoever asks, and the writer's, used by the
 * background thread alone. WAL lets the one read while the other writes. The background thread also checks
 * the file when it is opened and sets it aside when it is damaged.
 */
#include "store/disk.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "store/disk_file.h"
#include "store/disk_schema.h"

#define QUEUE_BYTES                                                                                          \
    ((size_t)64 << 20) /* past it new values are not written: a slow disk must not fill the memory */
#define QUEUE_OPERATIONS 4096u
#define CUT_OFF_NS       10000000 /* between interrupts of the check */

enum kind { PUT, TOUCH, DROP, NOTHING /* wakes the thread for a clear, or is a value that one came after */ };

struct operation {
    struct operation *next;
    enum kind kind;
    const char *table; /* interned in `tables` */
    struct csi_hash key;
    uint8_t *bytes;
    size_t size;
    int64_t when_ms;
    uint64_t clears; /* of the table when this was queued */
};

struct table {
    char name[CSI_DISK_NAME_SIZE];
    uint64_t errors;
    /* Clears that were asked for, and those that the file has seen. While they differ (a full disk, another
     * process's lock) nothing of the table is served or written: what the file has is of before. */
    uint64_t clears, cleared;
};

struct csi_disk {
    char *path;
    size_t max_bytes;
    double ttl_s;
    void (*on_warning)(void *context, const char *message);
    void *context;

    pthread_mutex_t read_lock;
    sqlite3 *reader; /* NULL: the tier is off */
    sqlite3_stmt *find, *exists;

    sqlite3 *writer; /* the background thread's once that runs */

    pthread_mutex_t queue_lock;
    pthread_cond_t work, done;
    struct operation *first, *last;
    size_t queued_bytes, queued_count;
    uint64_t queued_total, finished_total; /* operations ever: flush waits for the one to reach the other */
    bool stop, running;
    bool checking; /* the whole file, which takes long on a large one: closing cuts that off */
    atomic_bool damaged;
    pthread_t thread;

    pthread_mutex_t table_lock; /* guards the three below; never held over the disk */
    struct table tables[CSI_DISK_CACHES];
    size_t table_count;
    struct csi_disk_counts counts;
    bool write_warned;
};

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

/* The table's entry; NULL past the last free place. `table_lock` held. */
static struct table *table_of(struct csi_disk *disk, const char *name)
{
    for (size_t i = 0; i < disk->table_count; i++)
        if (strcmp(disk->tables[i].name, name) == 0)
            return &disk->tables[i];
    if (disk->table_count == CSI_DISK_CACHES || strlen(name) >= sizeof disk->tables[0].name)
        return NULL;
    snprintf(disk->tables[disk->table_count].name, sizeof disk->tables[0].name, "%s", name);
    return &disk->tables[disk->table_count++];
}

static void count_error(struct csi_disk *disk, const char *name)
{
    struct table *table;

    pthread_mutex_lock(&disk->table_lock);
    table = table_of(disk, name);
    if (table != NULL)
        table->errors++;
    pthread_mutex_unlock(&disk->table_lock);
}

static const char *intern(struct csi_disk *disk, const char *name)
{
    struct table *table;

    pthread_mutex_lock(&disk->table_lock);
    table = table_of(disk, name);
    pthread_mutex_unlock(&disk->table_lock);
    return table != NULL ? table->name : NULL;
}

static uint64_t clears_of(struct csi_disk *disk, const char *name)
{
    struct table *table;
    uint64_t clears;

    pthread_mutex_lock(&disk->table_lock);
    table = table_of(disk, name);
    clears = table != NULL ? table->clears : 0;
    pthread_mutex_unlock(&disk->table_lock);
    return clears;
}

/* Whoever writes a cache file may have dated a row before 1970: then it is as old as that. */
static int64_t age_of(int64_t stored_ms)
{
    int64_t age_ms = csi_unix_ms() - (stored_ms > 0 ? stored_ms : 0);

    return age_ms > 0 ? age_ms : 0;
}

/* Whether an entry stored at `stored_ms` may still be served. */
static bool lives(struct csi_disk *disk, const char *name, int64_t stored_ms)
{
    struct table *table;
    bool alive;

    pthread_mutex_lock(&disk->table_lock);
    table = table_of(disk, name);
    alive = table == NULL || table->cleared == table->clears;
    pthread_mutex_unlock(&disk->table_lock);
    return alive && (!(disk->ttl_s > 0) || (double)age_of(stored_ms) <= disk->ttl_s * 1000);
}

static void checksum(const char *table, const struct csi_hash *key, int64_t stored_ms, const void *bytes,
                     size_t size, struct csi_hash *sum)
{
    struct csi_hasher hasher;

    csi_hasher_init(&hasher);
    csi_hasher_update(&hasher, table, strlen(table) + 1);
    csi_hasher_update(&hasher, key->bytes, CSI_HASH_SIZE);
    csi_hasher_update(&hasher, &stored_ms, sizeof stored_ms);
    csi_hasher_update(&hasher, bytes, size);
    csi_hasher_final(&hasher, sum);
}

/* ---- opening ---- */

/* Opens the writing connection. `*reason` says why a sound file cannot be ours ("" otherwise). */
static int open_writer(struct csi_disk *disk, char *reason, size_t reason_size)
{
    const char *refused = csi_disk_file_refused(disk->path);
    int version, objects, code;

    snprintf(reason, reason_size, "%s", refused != NULL ? refused : "");
    if (refused != NULL)
        return SQLITE_MISMATCH;
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

static void close_both(struct csi_disk *disk)
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

/* Opens both connections; a damaged file is set aside once. Failing leaves the tier off. `read_lock` held. */
static void open_both(struct csi_disk *disk)
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
        close_both(disk);
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
static int run_on_key(struct csi_disk *disk, const char *sql, const struct operation *operation)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(disk->writer, sql, -1, &statement, NULL);

    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_text(statement, 1, operation->table, -1, SQLITE_STATIC);
    if (operation->kind != NOTHING)
        sqlite3_bind_blob(statement, 2, operation->key.bytes, CSI_HASH_SIZE, SQLITE_STATIC);
    if (operation->kind == TOUCH || operation->kind == PUT)
        sqlite3_bind_int64(statement, 3, operation->when_ms);
    if (operation->kind == PUT) {
        struct csi_hash sum;

        checksum(operation->table, &operation->key, operation->when_ms, operation->bytes, operation->size,
                 &sum);
        sqlite3_bind_int64(statement, 4, (sqlite3_int64)operation->size);
        sqlite3_bind_blob(statement, 5, sum.bytes, CSI_HASH_SIZE, SQLITE_TRANSIENT);
        sqlite3_bind_blob64(statement, 6, operation->bytes, operation->size, SQLITE_STATIC);
    }
    code = sqlite3_step(statement);
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int apply(struct csi_disk *disk, const struct operation *operation)
{
    switch (operation->kind) {
    case PUT:
        return run_on_key(
            disk,
            "INSERT OR REPLACE INTO entry (cache, key, stored_ms, used_ms, size, checksum, value) "
            "VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)",
            operation);
    case TOUCH:
        return run_on_key(disk, "UPDATE entry SET used_ms = ?3 WHERE cache = ?1 AND key = ?2", operation);
    case DROP: return run_on_key(disk, "DELETE FROM entry WHERE cache = ?1 AND key = ?2", operation);
    case NOTHING: break;
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

/* Counts and publishes what a file just opened holds. */
static int recount(struct csi_disk *disk)
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

static void free_operations(struct operation *operation)
{
    while (operation != NULL) {
        struct operation *next = operation->next;

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
 * written takes that back. False: there was nothing to clear, or it failed and stays to be done. */
static bool sweep_table(struct csi_disk *disk, struct table *table)
{
    const struct operation every_row = {.kind = NOTHING, .table = table->name};
    uint64_t wanted;
    bool pending;
    int code = SQLITE_OK;

    pthread_mutex_lock(&disk->table_lock);
    wanted = table->clears;
    pending = table->cleared != wanted;
    pthread_mutex_unlock(&disk->table_lock);
    if (!pending)
        return false;
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
    return code == SQLITE_OK;
}

/* Does the clears that are still to be done: before anything newer is written. */
static void sweep(struct csi_disk *disk)
{
    bool swept = false;

    for (size_t i = 0; i < CSI_DISK_CACHES; i++)
        swept = sweep_table(disk, &disk->tables[i]) || swept;
    if (swept && disk->writer != NULL) {
        sqlite3_exec(disk->writer, "PRAGMA incremental_vacuum", NULL, NULL, NULL);
        recount(disk);
    }
}

/* Takes values out of a batch: those that a clear came after, and those behind one that could not be done,
 * which are errors. False: nothing is left to write. */
static bool leave_out_cleared(struct csi_disk *disk, struct operation *first)
{
    bool left = false;

    pthread_mutex_lock(&disk->table_lock);
    for (struct operation *operation = first; operation != NULL; operation = operation->next) {
        struct table *table = table_of(disk, operation->table);

        if (operation->kind == PUT &&
            (operation->clears != table->clears || table->cleared != table->clears)) {
            table->errors += operation->clears == table->clears;
            operation->kind = NOTHING;
        }
        left = left || operation->kind != NOTHING;
    }
    pthread_mutex_unlock(&disk->table_lock);
    return left;
}

static void count_values(struct csi_disk *disk, const struct operation *first)
{
    for (const struct operation *operation = first; operation != NULL; operation = operation->next)
        if (operation->kind == PUT)
            count_error(disk, operation->table);
}

/* Writes a batch in one transaction. What fails is lost for the disk tier, counted, and warned of once. */
static void write_batch(struct csi_disk *disk, struct operation *first)
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
    for (const struct operation *operation = first; code == SQLITE_OK && operation != NULL;
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

/* The next start makes the check again. Again and again, because an interrupt before the check's first step
 * is none. `queue_lock` held, and released in between. */
static void cut_off_check(struct csi_disk *disk)
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
    close_both(disk);
    if (set_aside(disk))
        open_both(disk);
    atomic_store(&disk->damaged, false);
    pthread_mutex_unlock(&disk->read_lock);
    if (disk->writer != NULL)
        recount(disk);
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

static void *write_behind(void *context)
{
    struct csi_disk *disk = context;

    check_whole_file(disk);
    pthread_mutex_lock(&disk->queue_lock);
    for (;;) {
        struct operation *batch;
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
        free_operations(batch);
        pthread_mutex_lock(&disk->queue_lock);
        disk->finished_total += count;
        pthread_cond_broadcast(&disk->done);
    }
    pthread_mutex_unlock(&disk->queue_lock);
    sweep(disk); /* the last chance of a clear that failed */
    return NULL;
}

/* ---- the door ---- */

enum cs_status csi_disk_open(const struct csi_disk_options *options, struct csi_disk **disk,
                             struct cs_error *error)
{
    struct csi_disk *made = calloc(1, sizeof *made);

    *disk = NULL;
    if (made == NULL)
        return csi_fail_memory(error, "disk cache");
    made->path = csi_strdup(options->path);
    if (made->path == NULL) {
        free(made);
        return csi_fail_memory(error, "disk cache");
    }
    made->max_bytes = options->max_bytes;
    made->ttl_s = options->ttl_s;
    made->on_warning = options->on_warning;
    made->context = options->context;
    pthread_mutex_init(&made->read_lock, NULL);
    pthread_mutex_init(&made->queue_lock, NULL);
    pthread_mutex_init(&made->table_lock, NULL);
    pthread_cond_init(&made->work, NULL);
    pthread_cond_init(&made->done, NULL);
    atomic_init(&made->damaged, false);
    pthread_mutex_lock(&made->read_lock);
    open_both(made);
    if (made->writer != NULL && csi_disk_means_damage(recount(made)))
        atomic_store(&made->damaged, true);
    pthread_mutex_unlock(&made->read_lock);
    made->running = pthread_create(&made->thread, NULL, write_behind, made) == 0;
    if (!made->running) {
        csi_disk_close(made);
        return csi_fail(error, CS_INTERNAL, "cannot start the thread that writes the cache file");
    }
    *disk = made;
    return CS_OK;
}

void csi_disk_close(struct csi_disk *disk)
{
    if (disk == NULL)
        return;
    if (disk->running) {
        pthread_mutex_lock(&disk->queue_lock);
        disk->stop = true;
        pthread_cond_signal(&disk->work);
        cut_off_check(disk);
        pthread_mutex_unlock(&disk->queue_lock);
        pthread_join(disk->thread, NULL);
    }
    close_both(disk);
    pthread_cond_destroy(&disk->done);
    pthread_cond_destroy(&disk->work);
    pthread_mutex_destroy(&disk->table_lock);
    pthread_mutex_destroy(&disk->queue_lock);
    pthread_mutex_destroy(&disk->read_lock);
    free(disk->path);
    free(disk);
}

/* Queues one operation; takes `bytes` over. Values past the queue's bound are dropped, clears never. */
static void queue(struct csi_disk *disk, enum kind kind, const char *table, const struct csi_hash *key,
                  uint8_t *bytes, size_t size)
{
    struct operation *operation = calloc(1, sizeof *operation);
    bool full;

    if (operation == NULL) {
        free(bytes);
        count_error(disk, table);
        return;
    }
    operation->kind = kind;
    operation->table = table;
    if (key != NULL)
        operation->key = *key;
    operation->clears = clears_of(disk, table);
    operation->bytes = bytes;
    operation->size = size;
    operation->when_ms = csi_unix_ms();
    pthread_mutex_lock(&disk->queue_lock);
    full = kind != NOTHING &&
           (disk->queued_bytes + size > QUEUE_BYTES || disk->queued_count >= QUEUE_OPERATIONS);
    if (!full) {
        *(disk->last != NULL ? &disk->last->next : &disk->first) = operation;
        disk->last = operation;
        disk->queued_bytes += size;
        disk->queued_count++;
        disk->queued_total++;
        pthread_cond_signal(&disk->work);
    }
    pthread_mutex_unlock(&disk->queue_lock);
    if (full) {
        free_operations(operation);
        if (kind == PUT)
            count_error(disk, table);
    }
}

/* Binds and steps; the row's columns are valid until the reset. `read_lock` held. */
static int look_up(sqlite3_stmt *statement, const char *table, const struct csi_hash *key)
{
    sqlite3_bind_text(statement, 1, table, -1, SQLITE_STATIC);
    sqlite3_bind_blob(statement, 2, key->bytes, CSI_HASH_SIZE, SQLITE_STATIC);
    return sqlite3_step(statement);
}

static void read_failed(struct csi_disk *disk, const char *table, int code)
{
    count_error(disk, table);
    if (!csi_disk_means_damage(code))
        return;
    pthread_mutex_lock(&disk->queue_lock);
    atomic_store(&disk->damaged, true);
    pthread_cond_signal(&disk->work);
    pthread_mutex_unlock(&disk->queue_lock);
}

/* What find's row holds, checked. 0: nothing to serve; -1: it is damaged and has to go. */
static int take_row(struct csi_disk *disk, const char *table, const struct csi_hash *key, uint8_t **bytes,
                    size_t *size, double *age_s)
{
    const void *value = sqlite3_column_blob(disk->find, 0), *sum = sqlite3_column_blob(disk->find, 1);
    size_t value_size = (size_t)sqlite3_column_bytes(disk->find, 0);
    int64_t stored_ms = sqlite3_column_int64(disk->find, 2);
    struct csi_hash expected;

    checksum(table, key, stored_ms, value, value_size, &expected);
    if (sum == NULL || sqlite3_column_bytes(disk->find, 1) != (int)CSI_HASH_SIZE ||
        memcmp(sum, expected.bytes, CSI_HASH_SIZE) != 0)
        return -1;
    if (!lives(disk, table, stored_ms))
        return 0;
    *bytes = malloc(value_size == 0 ? 1 : value_size);
    if (*bytes == NULL)
        return 0;
    if (value_size > 0)
        memcpy(*bytes, value, value_size);
    *size = value_size;
    *age_s = (double)age_of(stored_ms) / 1000;
    return 1;
}

bool csi_disk_get(struct csi_disk *disk, const char *table, const struct csi_hash *key, uint8_t **bytes,
                  size_t *size, double *age_s)
{
    const char *name = intern(disk, table);
    int code = SQLITE_DONE, taken = 0;

    *bytes = NULL;
    *size = 0;
    *age_s = 0;
    if (name == NULL)
        return false;
    pthread_mutex_lock(&disk->read_lock);
    if (disk->reader != NULL) {
        code = look_up(disk->find, name, key);
        if (code == SQLITE_ROW)
            taken = take_row(disk, name, key, bytes, size, age_s);
        sqlite3_reset(disk->find);
    }
    pthread_mutex_unlock(&disk->read_lock);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        read_failed(disk, name, code);
    if (taken < 0)
        count_error(disk, name);
    if (taken != 0)
        queue(disk, taken > 0 ? TOUCH : DROP, name, key, NULL, 0);
    return taken > 0;
}

bool csi_disk_contains(struct csi_disk *disk, const char *table, const struct csi_hash *key)
{
    int code = SQLITE_DONE;
    bool there = false;

    pthread_mutex_lock(&disk->read_lock);
    if (disk->reader != NULL) {
        code = look_up(disk->exists, table, key);
        there = code == SQLITE_ROW && lives(disk, table, sqlite3_column_int64(disk->exists, 0));
        sqlite3_reset(disk->exists);
    }
    pthread_mutex_unlock(&disk->read_lock);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        read_failed(disk, table, code);
    return there;
}

void csi_disk_put(struct csi_disk *disk, const char *table, const struct csi_hash *key, const void *bytes,
                  size_t size)
{
    const char *name = intern(disk, table);
    uint8_t *copy;

    if (name == NULL || size > disk->max_bytes)
        return;
    copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL) {
        count_error(disk, name);
        return;
    }
    if (size > 0)
        memcpy(copy, bytes, size);
    queue(disk, PUT, name, key, copy, size);
}

enum cs_status csi_disk_clear(struct csi_disk *disk, const char *table, struct cs_error *error)
{
    const char *name = intern(disk, table);
    uint64_t wanted;
    bool done;

    if (name == NULL)
        return CS_OK; /* nothing is kept under it */
    pthread_mutex_lock(&disk->table_lock);
    wanted = ++table_of(disk, name)->clears; /* interned: it has its place */
    pthread_mutex_unlock(&disk->table_lock);
    queue(disk, NOTHING, name, NULL, NULL, 0);
    csi_disk_flush(disk);
    pthread_mutex_lock(&disk->table_lock);
    done = table_of(disk, name)->cleared >= wanted;
    pthread_mutex_unlock(&disk->table_lock);
    return done ? CS_OK
                : csi_fail(
                      error, CS_INTERNAL,
                      "the cache file cannot be written: its values of '%s' are not served any more and go "
                      "as soon as it can, but after a restart before that they would be served",
                      table);
}

void csi_disk_flush(struct csi_disk *disk)
{
    uint64_t until;

    pthread_mutex_lock(&disk->queue_lock);
    until = disk->queued_total;
    while (disk->finished_total < until)
        pthread_cond_wait(&disk->done, &disk->queue_lock);
    pthread_mutex_unlock(&disk->queue_lock);
}

void csi_disk_stats(struct csi_disk *disk, const char *table, uint64_t *entries, uint64_t *bytes,
                    uint64_t *errors)
{
    struct table *found;

    *entries = *bytes = 0;
    pthread_mutex_lock(&disk->table_lock);
    found = table_of(disk, table);
    *errors = found != NULL ? found->errors : 0;
    for (size_t i = 0; i < disk->counts.count; i++)
        if (strcmp(disk->counts.of[i].name, table) == 0) {
            *entries = disk->counts.of[i].entries;
            *bytes = disk->counts.of[i].bytes;
        }
    pthread_mutex_unlock(&disk->table_lock);
}
