/*
 * The disk tier's door: see disk.h. Looks values up and queues what is to be written; the file itself and the
 * thread that writes it are disk_writer.c's, its tables disk_schema.c's.
 *
 * Two connections: the reader's, used under `read_lock` by whoever asks, and the writer's, used by the
 * background thread alone. WAL lets the one read while the other writes.
 */
#include "store/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "store/disk_file.h"
#include "store/disk_internal.h"

#define QUEUE_BYTES                                                                                          \
    ((size_t)64 << 20) /* past it new values are not written: a slow disk must not fill the memory */
#define QUEUE_OPERATIONS 4096u

struct csi_disk_table *csi_disk_table_of(struct csi_disk *disk, const char *name)
{
    for (size_t i = 0; i < disk->table_count; i++)
        if (strcmp(disk->tables[i].name, name) == 0)
            return &disk->tables[i];
    if (disk->table_count == CSI_DISK_CACHES || strlen(name) >= sizeof disk->tables[0].name)
        return NULL;
    snprintf(disk->tables[disk->table_count].name, sizeof disk->tables[0].name, "%s", name);
    return &disk->tables[disk->table_count++];
}

void csi_disk_count_error(struct csi_disk *disk, const char *name)
{
    struct csi_disk_table *table;

    pthread_mutex_lock(&disk->table_lock);
    table = csi_disk_table_of(disk, name);
    if (table != NULL)
        table->errors++;
    pthread_mutex_unlock(&disk->table_lock);
}

static const char *intern(struct csi_disk *disk, const char *name)
{
    struct csi_disk_table *table;

    pthread_mutex_lock(&disk->table_lock);
    table = csi_disk_table_of(disk, name);
    pthread_mutex_unlock(&disk->table_lock);
    return table != NULL ? table->name : NULL;
}

static uint64_t clears_of(struct csi_disk *disk, const char *name)
{
    struct csi_disk_table *table;
    uint64_t clears;

    pthread_mutex_lock(&disk->table_lock);
    table = csi_disk_table_of(disk, name);
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
    struct csi_disk_table *table;
    bool alive;

    pthread_mutex_lock(&disk->table_lock);
    table = csi_disk_table_of(disk, name);
    alive = table == NULL || table->cleared == table->clears;
    pthread_mutex_unlock(&disk->table_lock);
    return alive && (!(disk->ttl_s > 0) || (double)age_of(stored_ms) <= disk->ttl_s * 1000);
}

void csi_disk_checksum(const char *table, const struct csi_hash *key, int64_t stored_ms, const void *bytes,
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
    csi_disk_open_both(made);
    if (made->writer != NULL && csi_disk_means_damage(csi_disk_recount(made)))
        atomic_store(&made->damaged, true);
    pthread_mutex_unlock(&made->read_lock);
    made->running = pthread_create(&made->thread, NULL, csi_disk_write_behind, made) == 0;
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
        csi_disk_cut_off_check(disk);
        pthread_mutex_unlock(&disk->queue_lock);
        pthread_join(disk->thread, NULL);
    }
    csi_disk_close_both(disk);
    pthread_cond_destroy(&disk->done);
    pthread_cond_destroy(&disk->work);
    pthread_mutex_destroy(&disk->table_lock);
    pthread_mutex_destroy(&disk->queue_lock);
    pthread_mutex_destroy(&disk->read_lock);
    free(disk->path);
    free(disk);
}

/* Queues one operation; takes `bytes` over. Values past the queue's bound are dropped, clears never. */
static void queue(struct csi_disk *disk, enum csi_disk_kind kind, const char *table,
                  const struct csi_hash *key, uint8_t *bytes, size_t size)
{
    struct csi_disk_operation *operation = calloc(1, sizeof *operation);
    bool full;

    if (operation == NULL) {
        free(bytes);
        csi_disk_count_error(disk, table);
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
    full = kind != CSI_DISK_NOTHING &&
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
        csi_disk_free_operations(operation);
        if (kind == CSI_DISK_PUT)
            csi_disk_count_error(disk, table);
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
    csi_disk_count_error(disk, table);
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

    csi_disk_checksum(table, key, stored_ms, value, value_size, &expected);
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
        csi_disk_count_error(disk, name);
    if (taken != 0)
        queue(disk, taken > 0 ? CSI_DISK_TOUCH : CSI_DISK_DROP, name, key, NULL, 0);
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
        csi_disk_count_error(disk, name);
        return;
    }
    if (size > 0)
        memcpy(copy, bytes, size);
    queue(disk, CSI_DISK_PUT, name, key, copy, size);
}

enum cs_status csi_disk_clear(struct csi_disk *disk, const char *table, struct cs_error *error)
{
    const char *name = intern(disk, table);
    uint64_t wanted;
    bool done;

    if (name == NULL)
        return CS_OK; /* nothing is kept under it */
    pthread_mutex_lock(&disk->table_lock);
    wanted = ++csi_disk_table_of(disk, name)->clears; /* interned: it has its place */
    pthread_mutex_unlock(&disk->table_lock);
    queue(disk, CSI_DISK_NOTHING, name, NULL, NULL, 0);
    csi_disk_flush(disk);
    pthread_mutex_lock(&disk->table_lock);
    done = csi_disk_table_of(disk, name)->cleared >= wanted;
    pthread_mutex_unlock(&disk->table_lock);
    return done ? CS_OK
                : csi_fail(
                      error, CS_INTERNAL,
                      "the cache file cannot be written: its '%s' values are no longer served and will be "
                      "deleted as soon as it can be written; a server restarted before that would serve "
                      "them again",
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
    struct csi_disk_table *found;

    *entries = *bytes = 0;
    pthread_mutex_lock(&disk->table_lock);
    found = csi_disk_table_of(disk, table);
    *errors = found != NULL ? found->errors : 0;
    for (size_t i = 0; i < disk->counts.count; i++)
        if (strcmp(disk->counts.of[i].name, table) == 0) {
            *entries = disk->counts.of[i].entries;
            *bytes = disk->counts.of[i].bytes;
        }
    pthread_mutex_unlock(&disk->table_lock);
}
