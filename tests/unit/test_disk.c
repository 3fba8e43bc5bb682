/* The disk tier: restart, damage of every kind, foreign and future files, read-only folder, full disk,
 * bounds, age. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/cache.h"
#include "store/disk.h"
#include "store/disk_file.h"

static char folder[64], path[96];
static pthread_mutex_t warnings_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned warnings;
static char last_warning[512];

static void on_warning(void *context, const char *message)
{
    (void)context;
    pthread_mutex_lock(&warnings_lock);
    warnings++;
    snprintf(last_warning, sizeof last_warning, "%s", message);
    pthread_mutex_unlock(&warnings_lock);
}

static void remove_folder(void)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    char file[512];

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        snprintf(file, sizeof file, "%s/%s", folder, entry->d_name);
        unlink(file);
    }
    if (directory != NULL)
        closedir(directory);
    rmdir(folder);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/cropshield-disk-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/cache.db", folder);
    warnings = 0;
    last_warning[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    chmod(folder, 0700);
    remove_folder();
    return 0;
}

static struct csi_disk *open_disk(size_t max_bytes, double ttl_s)
{
    struct csi_disk_options options = {
        .path = path, .max_bytes = max_bytes, .ttl_s = ttl_s, .on_warning = on_warning};
    struct csi_disk *disk;

    assert_int_equal(csi_disk_open(&options, &disk, NULL), CS_OK);
    return disk;
}

static struct csi_hash key_of(uint32_t number)
{
    struct csi_hash key;

    csi_hash_bytes(&number, sizeof number, &key);
    return key;
}

/* A value that tells which key it belongs to. */
static void put(struct csi_disk *disk, const char *table, uint32_t number, size_t size)
{
    struct csi_hash key = key_of(number);
    uint8_t *bytes = malloc(size);

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(number + i);
    csi_disk_put(disk, table, &key, bytes, size);
    free(bytes);
}

static bool has(struct csi_disk *disk, const char *table, uint32_t number, size_t size)
{
    struct csi_hash key = key_of(number);
    uint8_t *bytes;
    size_t got;
    double age_s;

    if (!csi_disk_get(disk, table, &key, &bytes, &got, &age_s))
        return false;
    assert_int_equal(got, size);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(bytes[i], (uint8_t)(number + i));
    assert_true(age_s >= 0 && age_s < 60);
    free(bytes);
    return true;
}

static void fill_and_close(unsigned count, size_t size)
{
    struct csi_disk *disk = open_disk(1 << 24, 0);

    for (uint32_t i = 0; i < count; i++)
        put(disk, "prediction", i, size);
    csi_disk_close(disk);
}

static unsigned files_set_aside(void)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    unsigned count = 0;

    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL)
        count += strstr(entry->d_name, "cache.db.damaged-") != NULL &&
                 strstr(entry->d_name, "-wal") == NULL && strstr(entry->d_name, "-shm") == NULL;
    closedir(directory);
    return count;
}

static void run_sql(const char *sql)
{
    sqlite3 *database;

    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void values_survive_a_restart(void **state)
{
    struct csi_disk *disk;
    uint64_t entries, bytes, errors;

    (void)state;
    fill_and_close(20, 3000);
    disk = open_disk(1 << 24, 0);
    for (uint32_t i = 0; i < 20; i++)
        assert_true(has(disk, "prediction", i, 3000));
    assert_false(has(disk, "gradcam", 3, 3000)); /* tables are apart */
    assert_false(has(disk, "prediction", 20, 3000));
    csi_disk_flush(disk);
    csi_disk_stats(disk, "prediction", &entries, &bytes, &errors);
    assert_int_equal(entries, 20);
    assert_int_equal(bytes, 60000);
    assert_int_equal(errors, 0);
    csi_disk_close(disk);
    assert_int_equal(warnings, 0);
}

/* What a check of the whole file takes, and closing it while that runs, in milliseconds: the shortest of some
 * tries, because other programs run, too. */
static void time_check_and_close(double *check_ms, double *close_ms)
{
    *check_ms = *close_ms = 1e9;
    for (int i = 0; i < 5; i++) {
        struct csi_disk *disk;
        sqlite3 *database;
        uint64_t start;

        assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
        start = csi_now_ns();
        assert_int_equal(csi_disk_file_check_pages(database), SQLITE_OK);
        *check_ms = fmin(*check_ms, csi_ms_since(start));
        sqlite3_close(database);
        disk = open_disk(1 << 28, 0);
        usleep((useconds_t)(*check_ms * 250)); /* a quarter of it: the thread has begun */
        start = csi_now_ns();
        csi_disk_close(disk);
        *close_ms = fmin(*close_ms, csi_ms_since(start));
    }
}

/* The file is not taken for a damaged one then, and what was put meanwhile is in it. */
static void closing_cuts_the_check_off(void **state)
{
    struct csi_disk *disk;
    double check_ms, close_ms;

    (void)state;
    fill_and_close(1, 10);
    run_sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
            "INSERT INTO entry (cache, key, size, stored_ms, used_ms, checksum, value) "
            "SELECT 'prediction', CAST(printf('%032d', i) AS BLOB), 100, i, i, zeroblob(32), zeroblob(100) "
            "FROM n");
    time_check_and_close(&check_ms, &close_ms);
    if (close_ms > check_ms / 2)
        fail_msg("the check takes %.0f ms, closing meanwhile %.0f", check_ms, close_ms);
    disk = open_disk(1 << 28, 0);
    put(disk, "gradcam", 1, 100);
    csi_disk_close(disk);
    disk = open_disk(1 << 28, 0);
    assert_true(has(disk, "gradcam", 1, 100));
    csi_disk_close(disk);
    assert_int_equal(warnings, 0);
    assert_int_equal(files_set_aside(), 0);
}

static void clearing_a_table_leaves_the_other(void **state)
{
    struct csi_disk *disk = open_disk(1 << 24, 0);

    (void)state;
    put(disk, "prediction", 1, 100);
    put(disk, "gradcam", 1, 100);
    assert_int_equal(csi_disk_clear(disk, "prediction", NULL),
                     CS_OK); /* the value may still be queued: it must not appear afterwards */
    assert_false(has(disk, "prediction", 1, 100));
    assert_true(has(disk, "gradcam", 1, 100));
    csi_disk_close(disk);
}

static unsigned mode_of(const char *suffix)
{
    char name[128];
    struct stat info;

    snprintf(name, sizeof name, "%s%s", path, suffix);
    assert_int_equal(stat(name, &info), 0);
    return info.st_mode & 0777;
}

/* It holds people's photos. Whoever gave a file another mode meant it. */
static void a_new_file_is_its_owners_alone(void **state)
{
    mode_t before = umask(022);
    struct csi_disk *disk = open_disk(1 << 20, 0);

    (void)state;
    put(disk, "prediction", 1, 100);
    csi_disk_flush(disk);
    assert_int_equal(mode_of(""), 0600);
    assert_int_equal(mode_of("-wal"), 0600);
    csi_disk_close(disk);
    assert_int_equal(chmod(path, 0640), 0);
    csi_disk_close(open_disk(1 << 20, 0));
    assert_int_equal(mode_of(""), 0640);
    umask(before);
}

/* While another process holds the lock: told, hidden all the same, and done with the next write or at the
 * end. */
static void a_clear_that_fails_is_made_up_for(void **state)
{
    (void)state;
    for (int by_a_write = 0; by_a_write < 2; by_a_write++) {
        struct csi_disk *disk = open_disk(1 << 20, 0);
        struct cs_error error;
        sqlite3 *holder;

        put(disk, "prediction", 1, 100);
        put(disk, "gradcam", 1, 100);
        csi_disk_flush(disk);
        assert_int_equal(sqlite3_open(path, &holder), SQLITE_OK);
        assert_int_equal(sqlite3_exec(holder, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(csi_disk_clear(disk, "prediction", &error), CS_INTERNAL);
        assert_non_null(strstr(error.message, "'prediction'"));
        assert_non_null(strstr(last_warning, "cannot be written"));
        assert_false(has(disk, "prediction", 1, 100));
        sqlite3_exec(holder, "ROLLBACK", NULL, NULL, NULL);
        sqlite3_close(holder);
        assert_true(has(disk, "gradcam", 1, 100));
        if (by_a_write) {
            put(disk, "prediction", 2, 100);
            csi_disk_flush(disk);
            assert_true(has(disk, "prediction", 2, 100));
            assert_false(has(disk, "prediction", 1, 100));
        }
        csi_disk_close(disk);
        disk = open_disk(1 << 20, 0);
        assert_false(has(disk, "prediction", 1, 100));
        assert_true(has(disk, "prediction", 2, 100) == (by_a_write == 1));
        assert_true(has(disk, "gradcam", 1, 100));
        csi_disk_close(disk);
    }
}

static void the_content_is_bounded(void **state)
{
    struct csi_disk *disk = open_disk(100000, 0);
    uint64_t entries, bytes, errors;

    (void)state;
    for (uint32_t i = 0; i < 9; i++) {
        put(disk, "gradcam", i, 10000);
        csi_disk_flush(disk);
        usleep(2000); /* the order of use has milliseconds */
    }
    assert_true(has(disk, "gradcam", 0, 10000)); /* used: 1 is the oldest now */
    csi_disk_flush(disk);
    for (uint32_t i = 100; i < 103; i++)
        put(disk, "gradcam", i, 10000);
    put(disk, "gradcam", 200, 100001); /* larger than everything: refused */
    csi_disk_flush(disk);
    csi_disk_stats(disk, "gradcam", &entries, &bytes, &errors);
    assert_int_equal(entries, 10);
    assert_true(bytes <= 100000);
    assert_true(has(disk, "gradcam", 0, 10000));
    assert_false(has(disk, "gradcam", 1, 10000));
    assert_true(has(disk, "gradcam", 102, 10000));
    assert_false(has(disk, "gradcam", 200, 100001));
    csi_disk_close(disk);
}

static void values_age(void **state)
{
    struct csi_disk *disk = open_disk(1 << 20, 0.2);

    (void)state;
    put(disk, "prediction", 1, 10);
    csi_disk_flush(disk);
    assert_true(has(disk, "prediction", 1, 10));
    usleep(300000);
    assert_false(has(disk, "prediction", 1, 10));
    csi_disk_close(disk);
}

/* A cache over the disk keeps the age: what is half as old as allowed when it is read is not young again. */
static enum cs_status compute_ten(void *context, uint8_t **bytes, size_t *size, struct cs_error *error)
{
    (void)context;
    (void)error;
    *bytes = calloc(1, 10);
    *size = 10;
    return CS_OK;
}

static enum cs_cache_result ask(struct csi_cache *cache, uint32_t number)
{
    struct csi_hash key = key_of(number);
    struct csi_cached value;
    enum cs_cache_result result;

    assert_int_equal(csi_cache_get_or_compute(cache, &key, compute_ten, NULL, &value, &result, NULL), CS_OK);
    csi_cached_release(&value);
    return result;
}

static void a_cache_over_the_disk_survives_and_ages(void **state)
{
    struct csi_cache_options options = {.name = "prediction", .max_bytes = 1 << 20, .ttl_s = 0.6};
    struct csi_cache *cache;
    struct cs_cache_stats stats;

    (void)state;
    for (int round = 0; round < 2; round++) {
        options.disk = open_disk(1 << 20, 0.6);
        assert_int_equal(csi_cache_create(&options, &cache, NULL), CS_OK);
        assert_int_equal(ask(cache, 1), round == 0 ? CS_CACHE_MISS : CS_CACHE_HIT);
        if (round == 1) {
            csi_cache_stats(cache, &stats);
            assert_int_equal(stats.disk_hits, 1);
            assert_int_equal(stats.hits, 1);
            assert_int_equal(stats.misses, 0);
            usleep(350000);
            assert_int_equal(ask(cache, 1), CS_CACHE_MISS);
        }
        csi_cache_destroy(cache);
        csi_disk_close(options.disk);
        usleep(300000);
    }
}

/* Dates the file's one row, with the checksum that a program of then would have given it. */
static void date_row(int64_t stored_ms)
{
    sqlite3 *database;
    sqlite3_stmt *row, *change;
    struct csi_hasher hasher;
    struct csi_hash sum;

    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(database, "SELECT cache, key, value FROM entry", -1, &row, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    csi_hasher_init(&hasher);
    csi_hasher_update(&hasher, sqlite3_column_text(row, 0), (size_t)sqlite3_column_bytes(row, 0) + 1);
    csi_hasher_update(&hasher, sqlite3_column_blob(row, 1), CSI_HASH_SIZE);
    csi_hasher_update(&hasher, &stored_ms, sizeof stored_ms);
    csi_hasher_update(&hasher, sqlite3_column_blob(row, 2), (size_t)sqlite3_column_bytes(row, 2));
    csi_hasher_final(&hasher, &sum);
    sqlite3_finalize(row);
    assert_int_equal(sqlite3_prepare_v2(database,
                                        "UPDATE entry SET stored_ms = ?1, used_ms = ?1, checksum = ?2", -1,
                                        &change, NULL),
                     SQLITE_OK);
    sqlite3_bind_int64(change, 1, stored_ms);
    sqlite3_bind_blob(change, 2, sum.bytes, CSI_HASH_SIZE, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(change), SQLITE_DONE);
    sqlite3_finalize(change);
    sqlite3_close(database);
}

/* A row of before the machine was started ages on in the memory tier like any other. */
static void what_is_older_than_the_machines_start_ages(void **state)
{
    const double up_s = (double)csi_now_ns() / 1e9;
    struct csi_cache_options options = {.name = "prediction", .max_bytes = 1 << 20, .ttl_s = up_s + 102};
    struct csi_cache *cache;

    (void)state;
    fill_and_close(2, 10);
    run_sql("DELETE FROM entry WHERE id = 1");
    date_row(csi_unix_ms() - (int64_t)((up_s + 100) * 1000));
    options.disk = open_disk(1 << 20, options.ttl_s);
    assert_int_equal(csi_cache_create(&options, &cache, NULL), CS_OK);
    assert_int_equal(ask(cache, 1), CS_CACHE_HIT);
    usleep(2200000);
    assert_int_equal(ask(cache, 1), CS_CACHE_MISS);
    csi_cache_destroy(cache);
    csi_disk_close(options.disk);
}

/* Differences of times that nobody measured leave 64 bits. */
static void a_row_of_the_beginning_of_time_is_old(void **state)
{
    struct csi_disk *disk;

    (void)state;
    fill_and_close(1, 10);
    date_row(INT64_MIN);
    disk = open_disk(1 << 20, 3600);
    assert_false(has(disk, "prediction", 0, 10));
    csi_disk_close(disk);
}

/* What was computed before a clear reaches neither tier, put as it may be. */
static void a_value_of_before_a_clear_is_in_no_tier(void **state)
{
    struct csi_cache_options options = {.name = "prediction", .max_bytes = 1 << 20};
    struct csi_hash key = key_of(1);
    struct csi_cache *cache;
    uint64_t generation;

    (void)state;
    options.disk = open_disk(1 << 20, 0);
    assert_int_equal(csi_cache_create(&options, &cache, NULL), CS_OK);
    generation = csi_cache_generation(cache);
    assert_int_equal(csi_cache_clear(cache, NULL), CS_OK);
    csi_cache_put(cache, &key, "old", 4, generation);
    csi_disk_flush(options.disk);
    assert_false(csi_cache_contains(cache, &key));
    assert_false(csi_disk_contains(options.disk, "prediction", &key));
    csi_cache_destroy(cache);
    csi_disk_close(options.disk);
}

static void overwrite(const char *file, long offset, const void *bytes, size_t size)
{
    FILE *stream = fopen(file, "r+b");

    assert_non_null(stream);
    assert_int_equal(fseek(stream, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, size, stream), size);
    fclose(stream);
}

static void write_file(const char *content, size_t size)
{
    FILE *stream = fopen(path, "wb");

    assert_non_null(stream);
    assert_int_equal(fwrite(content, 1, size, stream), size);
    fclose(stream);
}

/* Every page behind the header is nonsense. */
static void a_file_with_the_header_alone_is_set_aside(void **state)
{
    char content[3000] = "SQLite format 3";
    struct csi_disk *disk;
    bool damaged;

    (void)state;
    memset(content + 16, 'x', sizeof content - 16);
    write_file(content, sizeof content);
    assert_int_equal(csi_disk_check(path, &damaged, NULL), CS_OK);
    assert_true(damaged);
    disk = open_disk(1 << 20, 0);
    put(disk, "prediction", 1, 10);
    csi_disk_flush(disk);
    assert_true(has(disk, "prediction", 1, 10));
    csi_disk_close(disk);
    assert_int_equal(files_set_aside(), 1);
    assert_int_equal(warnings, 1);
    assert_non_null(strstr(last_warning, "set aside"));
    assert_int_equal(csi_disk_check(path, &damaged, NULL), CS_OK);
    assert_false(damaged);
}

/* Random bytes over the middle pages: nothing wrong is served, the file is set aside or the row is dropped.
 */
static void a_damaged_page_is_never_served(void **state)
{
    uint8_t noise[4096];
    struct csi_disk *disk;
    struct stat info;

    (void)state;
    fill_and_close(200, 3000);
    assert_int_equal(stat(path, &info), 0);
    srand(1);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)rand();
    for (long at = 4096 * 2; at + 4096 < info.st_size; at += 4096 * 7)
        overwrite(path, at, noise, sizeof noise);
    disk = open_disk(1 << 24, 0);
    for (uint32_t i = 0; i < 200; i++)
        has(disk, "prediction", i, 3000); /* asserts that what is served is right */
    put(disk, "prediction", 1000, 50);
    csi_disk_flush(disk);
    put(disk, "prediction", 1001, 50);
    csi_disk_flush(disk);
    assert_true(has(disk, "prediction", 1001, 50));
    csi_disk_close(disk);
    assert_int_equal(files_set_aside(), 1);
    assert_true(warnings >= 1);
}

static void a_truncated_file_is_set_aside(void **state)
{
    struct csi_disk *disk;
    struct stat info;

    (void)state;
    fill_and_close(200, 3000);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size / 2 + 100), 0);
    disk = open_disk(1 << 24, 0);
    for (uint32_t i = 0; i < 200; i++)
        has(disk, "prediction", i, 3000);
    put(disk, "prediction", 1000, 50);
    csi_disk_flush(disk);
    put(disk, "prediction", 1001, 50);
    csi_disk_flush(disk);
    assert_true(has(disk, "prediction", 1001, 50));
    csi_disk_close(disk);
    assert_int_equal(files_set_aside(), 1);
    assert_true(warnings >= 1);
}

/* A bit flipped in a value: SQLite does not notice, the checksum does; the row goes, the file stays. */
static void a_flipped_bit_is_never_served(void **state)
{
    struct csi_disk *disk;
    uint64_t entries, bytes, errors;

    (void)state;
    fill_and_close(3, 100);
    run_sql("UPDATE entry SET value = zeroblob(100) WHERE id = 2");
    disk = open_disk(1 << 20, 0);
    assert_true(has(disk, "prediction", 0, 100));
    assert_false(has(disk, "prediction", 1, 100));
    assert_true(has(disk, "prediction", 2, 100));
    csi_disk_flush(disk);
    csi_disk_stats(disk, "prediction", &entries, &bytes, &errors);
    assert_int_equal(entries, 2);
    assert_int_equal(errors, 1);
    csi_disk_close(disk);
    assert_int_equal(files_set_aside(), 0);
}

/* Rows exchanged: each is sound in itself, but not under that key. */
static void a_value_under_another_key_is_never_served(void **state)
{
    struct csi_disk *disk;

    (void)state;
    fill_and_close(2, 100);
    run_sql("UPDATE entry SET value = (SELECT value FROM entry WHERE id = 1), checksum = (SELECT checksum "
            "FROM entry "
            "WHERE id = 1) WHERE id = 2");
    disk = open_disk(1 << 20, 0);
    assert_true(has(disk, "prediction", 0, 100));
    assert_false(has(disk, "prediction", 1, 100));
    csi_disk_close(disk);
}

static void left_untouched(const char *words)
{
    struct csi_disk *disk;
    uint64_t entries, bytes, errors;
    struct stat before, after;
    struct cs_error error;
    bool damaged;

    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(csi_disk_check(path, &damaged, &error), CS_BAD_REQUEST);
    assert_non_null(strstr(error.message, words));
    disk = open_disk(1 << 20, 0);
    put(disk, "prediction", 1, 10);
    csi_disk_flush(disk);
    assert_false(has(disk, "prediction", 1, 10));
    csi_disk_stats(disk, "prediction", &entries, &bytes, &errors);
    assert_int_equal(errors, 1);
    csi_disk_close(disk);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(before.st_mtime, after.st_mtime);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(warnings, 1);
    assert_non_null(strstr(last_warning, words));
    assert_int_equal(files_set_aside(), 0);
}

static void what_is_no_database_is_left_alone(void **state)
{
    (void)state;
    write_file("a photo or a text, say\n", 23);
    left_untouched("no database");
    warnings = 0;
    write_file("SQLite", 6); /* not even the whole header */
    left_untouched("no database");
}

static unsigned files_in_folder(void)
{
    DIR *directory = opendir(folder);
    unsigned count = 0;

    assert_non_null(directory);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count - 2; /* the folder and the one above */
}

/* Neither a file that is not there nor what SQLite keeps beside an open one is made. */
static void checking_changes_nothing(void **state)
{
    struct csi_disk *disk;
    struct cs_error error;
    bool damaged = true;
    char below[PATH_MAX];
    uint8_t page[4096];

    (void)state;
    assert_int_equal(csi_disk_check(path, &damaged, &error), CS_OK);
    assert_false(damaged);
    assert_int_equal(files_in_folder(), 0);
    assert_int_equal(csi_disk_check(folder, &damaged, &error), CS_BAD_REQUEST);
    assert_non_null(strstr(error.message, "no file"));
    snprintf(below, sizeof below, "%s/nowhere/cache.db", folder);
    assert_int_equal(csi_disk_check(below, &damaged, &error), CS_NOT_FOUND);
    write_file("", 0);
    assert_int_equal(csi_disk_check(path, &damaged, &error), CS_OK);
    assert_int_equal(files_in_folder(), 1);
    fill_and_close(200, 3000);
    assert_int_equal(csi_disk_check(path, &damaged, &error), CS_OK);
    assert_false(damaged);
    assert_int_equal(files_in_folder(), 1);
    disk = open_disk(1 << 24, 0); /* while somebody works with it */
    put(disk, "prediction", 1000, 50);
    csi_disk_flush(disk);
    assert_int_equal(csi_disk_check(path, &damaged, &error), CS_OK);
    assert_false(damaged);
    assert_true(has(disk, "prediction", 1000, 50));
    csi_disk_close(disk);
    memset(page, 0x5a, sizeof page);
    for (long at = 4096 * 2; at < 4096 * 40; at += 4096)
        overwrite(path, at, page, sizeof page);
    assert_int_equal(csi_disk_check(path, &damaged, &error), CS_OK);
    assert_true(damaged);
    assert_int_equal(files_in_folder(), 1);
    assert_int_equal(warnings, 0);
}

static void a_version_from_the_future_is_left_alone(void **state)
{
    (void)state;
    fill_and_close(2, 100);
    run_sql("PRAGMA user_version = 99");
    left_untouched("newer CropShield");
}

static void another_programs_database_is_left_alone(void **state)
{
    (void)state;
    run_sql("CREATE TABLE accounts (name TEXT); INSERT INTO accounts VALUES ('important')");
    left_untouched("another program");
}

/* A file that says it is ours but has other tables: neither read nor written, and it holds nobody up. */
static void what_only_claims_to_be_a_cache_is_left_alone(void **state)
{
    static const char *const files[] = {
        "CREATE TABLE entry (id INTEGER PRIMARY KEY, cache, key, size, stored_ms, used_ms, checksum, value);"
        "INSERT INTO entry DEFAULT VALUES;",
        "CREATE VIEW entry AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS id,"
        "'prediction' AS cache, x'00' AS key, 1 AS size, 1 AS stored_ms, 1 AS used_ms, x'00' AS checksum,"
        "x'00' AS value FROM c;",
        "",
    };
    char sql[1024];

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(sql, sizeof sql, "PRAGMA application_id = 0x43534331; PRAGMA user_version = 1; %s",
                 files[i]);
        run_sql(sql);
        left_untouched("other tables");
        unlink(path);
        warnings = 0;
    }
    fill_and_close(2, 100);
    run_sql("CREATE TRIGGER more AFTER UPDATE ON entry BEGIN DELETE FROM entry; END");
    left_untouched("other tables");
    unlink(path);
    warnings = 0;
    run_sql("PRAGMA user_version = -1"); /* no migration has that number */
    left_untouched("another program");
}

/* Our tables with rows that no run of ours wrote: set aside like a damaged page. */
static void rows_that_nobody_wrote_are_damage(void **state)
{
    static const char *const changes[] = {
        "PRAGMA writable_schema = ON;" /* the constraint goes while the row is put, and comes back */
        "UPDATE sqlite_schema SET sql = replace(sql, 'cache TEXT NOT NULL', 'cache TEXT') WHERE name = "
        "'entry';"
        "PRAGMA writable_schema = RESET;"
        "UPDATE entry SET cache = NULL WHERE id = 1;"
        "PRAGMA writable_schema = ON;"
        "UPDATE sqlite_schema SET sql = replace(sql, 'cache TEXT', 'cache TEXT NOT NULL') WHERE name = "
        "'entry';",
        "UPDATE entry SET size = -9223372036854775807",
        "UPDATE entry SET size = 9223372036854775807",
        "UPDATE entry SET cache = 'a name longer than any cache of ours has'",
        "UPDATE entry SET cache = 'cache' || id",
    };

    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct csi_disk *disk;
        struct cs_error error;
        bool damaged = false;

        fill_and_close(20, 100);
        run_sql(changes[i]);
        assert_int_equal(csi_disk_check(path, &damaged, &error), CS_OK);
        assert_true(damaged);
        disk = open_disk(1 << 20, 0);
        put(disk, "prediction", 1000, 50);
        csi_disk_flush(disk);
        assert_true(has(disk, "prediction", 1000, 50));
        csi_disk_close(disk);
        assert_int_equal(files_set_aside(), i + 1);
        unlink(path);
    }
}

static void read_page(int number, uint8_t page[4096])
{
    FILE *stream = fopen(path, "rb");

    assert_non_null(stream);
    assert_int_equal(fseek(stream, (number - 1L) * 4096, SEEK_SET), 0);
    assert_int_equal(fread(page, 1, 4096, stream), 4096);
    fclose(stream);
}

static void put_number(uint8_t *at, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(number >> (24 - 8 * i));
}

#define LEVELS 9

/* An index in whose upper LEVELS levels every page leads to the next by all its ways: more rows than anybody
 * can count in a file of some hundred pages. */
static void rows_without_end_are_damage(void **state)
{
    int pages[LEVELS + 1];
    uint8_t page[4096];
    struct csi_disk *disk;
    sqlite3 *database;
    sqlite3_stmt *statement;
    bool damaged = false;

    (void)state;
    fill_and_close(2000, 8);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(database,
                                        "SELECT rootpage FROM sqlite_schema WHERE name = 'entry_size'", -1,
                                        &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    pages[0] = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(database);
    read_page(pages[0], page); /* sqlite.org/fileformat.html, 1.6: an interior page of an index */
    assert_int_equal(page[0], 2);
    assert_true((page[3] << 8 | page[4]) >= LEVELS);
    for (int i = 0; i < LEVELS; i++) {
        const uint8_t *child = page + (page[12 + 2 * i] << 8 | page[13 + 2 * i]);

        pages[i + 1] = child[0] << 24 | child[1] << 16 | child[2] << 8 | child[3];
    }
    for (int level = 0; level < LEVELS; level++) {
        for (int i = 0; i < (page[3] << 8 | page[4]); i++)
            put_number(page + (page[12 + 2 * i] << 8 | page[13 + 2 * i]), (uint32_t)pages[level + 1]);
        put_number(page + 8, (uint32_t)pages[level + 1]);
        overwrite(path, (pages[level] - 1L) * 4096, page, sizeof page);
    }
    assert_int_equal(csi_disk_check(path, &damaged, NULL), CS_OK);
    assert_true(damaged);
    disk = open_disk(1 << 20, 0);
    put(disk, "prediction", 1000, 50);
    csi_disk_flush(disk);
    csi_disk_close(disk);
    assert_int_equal(files_set_aside(), 1);
}

static void a_folder_that_cannot_be_written_is_a_miss(void **state)
{
    struct csi_disk *disk;

    (void)state;
    if (geteuid() == 0) /* root may write anywhere: a path below a file cannot be opened by anyone */
        snprintf(path, sizeof path, "/dev/null/cache.db");
    else
        chmod(folder, 0500);
    disk = open_disk(1 << 20, 0);
    put(disk, "prediction", 1, 10);
    csi_disk_flush(disk);
    assert_false(has(disk, "prediction", 1, 10));
    csi_disk_close(disk);
    assert_int_equal(warnings, 1);
    assert_non_null(strstr(last_warning, "is not used"));
}

/* In a child, because the limit cannot be taken back: files may not grow past 300 kB, as on a full disk. */
static void a_full_disk_is_a_counted_miss(void **state)
{
    pid_t child = fork();
    int status = 0;

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit = {300000, 300000};
        struct csi_hash first = key_of(1);
        struct csi_disk *disk;
        uint64_t entries, bytes, errors = 0;
        int wrong = 0;

        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        disk = open_disk(1 << 26, 0);
        for (uint32_t i = 0; i < 60; i++) {
            put(disk, "gradcam", i, 20000);
            csi_disk_flush(disk);
        }
        csi_disk_stats(disk, "gradcam", &entries, &bytes, &errors);
        wrong |= errors == 0 || errors > 60 ? 1 : 0;
        wrong |= warnings == 0 ? 2 : 0;
        wrong |= entries >= 60 ? 4 : 0;
        wrong |= !has(disk, "gradcam", 1, 20000) ? 8 : 0; /* what is there is right, and reading goes on */
        csi_disk_clear(disk, "gradcam", NULL);            /* cleared is cleared, deleted or not */
        wrong |= has(disk, "gradcam", 1, 20000) ? 16 : 0;
        wrong |= csi_disk_contains(disk, "gradcam", &first) ? 32 : 0;
        csi_disk_close(disk);
        _exit(wrong);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

struct worker {
    struct csi_disk *disk;
    uint32_t seed;
};

static void *hammer(void *context)
{
    struct worker *worker = context;

    for (uint32_t i = 0; i < 300; i++) {
        uint32_t number = (i * 7 + worker->seed) % 50;

        if ((i + worker->seed) % 3 == 0)
            put(worker->disk, "gradcam", number, 500 + number);
        else
            has(worker->disk, "gradcam", number, 500 + number);
        if (i % 100 == 99)
            assert_int_equal(csi_disk_clear(worker->disk, "gradcam", NULL), CS_OK);
    }
    return NULL;
}

static void many_threads_share_it(void **state)
{
    struct csi_disk *disk = open_disk(20000, 0);
    struct worker workers[8];
    pthread_t threads[8];
    uint64_t entries, bytes, errors;

    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        workers[i] = (struct worker){disk, i * 13};
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &workers[i]), 0);
    }
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    csi_disk_flush(disk);
    csi_disk_stats(disk, "gradcam", &entries, &bytes, &errors);
    assert_true(bytes <= 20000);
    assert_int_equal(errors, 0);
    csi_disk_close(disk);
    csi_disk_close(NULL);
    assert_int_equal(warnings, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_survive_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closing_cuts_the_check_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clearing_a_table_leaves_the_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_clear_that_fails_is_made_up_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_file_is_its_owners_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_content_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(values_age, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cache_over_the_disk_survives_and_ages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_older_than_the_machines_start_ages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_row_of_the_beginning_of_time_is_old, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_value_of_before_a_clear_is_in_no_tier, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_with_the_header_alone_is_set_aside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_database_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checking_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_page_is_never_served, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_truncated_file_is_set_aside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flipped_bit_is_never_served, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_value_under_another_key_is_never_served, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_version_from_the_future_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_programs_database_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_only_claims_to_be_a_cache_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_that_nobody_wrote_are_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_without_end_are_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_written_is_a_miss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_is_a_counted_miss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_threads_share_it, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
