/* The tables of the disk tier's file: see disk_schema.h. */
#include "store/disk_schema.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"

#define BUSY_MS 2000

/* From version i to i + 1. Never change one that was released: add the next. */
static const char *const migrations[] = {
    "CREATE TABLE entry ("
    "  id INTEGER PRIMARY KEY,"
    "  cache TEXT NOT NULL,"
    "  key BLOB NOT NULL,"
    "  size INTEGER NOT NULL,"
    "  stored_ms INTEGER NOT NULL," /* Unix time */
    "  used_ms INTEGER NOT NULL,"
    "  checksum BLOB NOT NULL," /* BLAKE2b-256 of cache, key, stored_ms and value */
    "  value BLOB NOT NULL"
    ") STRICT;"
    "CREATE UNIQUE INDEX entry_key ON entry (cache, key);"
    "CREATE INDEX entry_used ON entry (used_ms, id);"
    "CREATE INDEX entry_size ON entry (cache, size);",
};
_Static_assert(sizeof migrations / sizeof migrations[0] == CSI_DISK_SCHEMA_VERSION,
               "one migration a version");

void csi_disk_schema_harden(sqlite3 *database)
{
    /* sqlite.org/security.html, "untrusted SQLite database files" */
    sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(database, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_db_config(database, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_exec(database, "PRAGMA cell_size_check = ON", NULL, NULL, NULL);
    sqlite3_busy_timeout(database, BUSY_MS);
    sqlite3_extended_result_codes(database, 1);
}

static int migrate(sqlite3 *database, int from, int to)
{
    int code = SQLITE_OK;

    for (int version = from; code == SQLITE_OK && version < to && version < CSI_DISK_SCHEMA_VERSION;
         version++) {
        char sql[64];

        code = sqlite3_exec(database, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        if (code == SQLITE_OK)
            code = sqlite3_exec(database, migrations[version], NULL, NULL, NULL);
        snprintf(sql, sizeof sql, "PRAGMA user_version = %d", version + 1);
        if (code == SQLITE_OK)
            code = sqlite3_exec(database, sql, NULL, NULL, NULL);
        if (code == SQLITE_OK)
            code = sqlite3_exec(database, "COMMIT", NULL, NULL, NULL);
        if (code != SQLITE_OK)
            sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
    }
    return code;
}

int csi_disk_schema_migrate(sqlite3 *database, int from)
{
    return migrate(database, from, CSI_DISK_SCHEMA_VERSION);
}

/* Every object of the schema with the statement that made it, in one order. */
static int read_schema(sqlite3 *database, struct csi_buffer *text)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(database,
                                  "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name",
                                  -1, &statement, NULL);

    while (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        for (int column = 0; column < 4; column++) {
            const void *words = sqlite3_column_blob(statement, column);

            csi_buffer_append(text, words != NULL ? words : "",
                              (size_t)sqlite3_column_bytes(statement, column));
            csi_buffer_append(text, "", 1);
        }
        code = SQLITE_OK;
    }
    sqlite3_finalize(statement);
    return code != SQLITE_DONE ? code : text->failed ? SQLITE_NOMEM : SQLITE_OK;
}

int csi_disk_schema_compare(sqlite3 *database, int version)
{
    struct csi_buffer theirs, ours;
    sqlite3 *model = NULL;
    int code;

    csi_buffer_init(&theirs);
    csi_buffer_init(&ours);
    code = read_schema(database, &theirs);
    if (code == SQLITE_OK)
        code = sqlite3_open(":memory:", &model);
    if (code == SQLITE_OK)
        code = migrate(model, 0, version);
    if (code == SQLITE_OK)
        code = read_schema(model, &ours);
    if (code == SQLITE_OK &&
        (theirs.size != ours.size || (ours.size > 0 && memcmp(theirs.bytes, ours.bytes, ours.size) != 0)))
        code = SQLITE_MISMATCH;
    sqlite3_close(model);
    csi_buffer_free(&theirs);
    csi_buffer_free(&ours);
    return code;
}

/* SQLite asks every STEPS instructions of its machine. */
#define STEPS 1000

static int spend(void *context)
{
    int64_t *left = context;

    return --*left < 0;
}

/* Instructions that reading all rows of a sound file of this size cannot need: a row takes about ten, and
 * some hundred bytes. Pages that refer to each other in a circle make rows without end. */
static int64_t budget(sqlite3 *database)
{
    sqlite3_stmt *statement = NULL;
    int64_t size = 0;

    if (sqlite3_prepare_v2(database, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
                           -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        size = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return size / STEPS * 2 + 10;
}

/* Takes one row of the count; false when it is none that we can have written. */
static bool add_row(sqlite3_stmt *row, struct csi_disk_counts *counts)
{
    const char *name = (const char *)sqlite3_column_text(row, 0);
    const double bytes = sqlite3_column_double(row, 2);
    struct csi_disk_count *count = &counts->of[counts->count];

    if (counts->count == CSI_DISK_CACHES || name == NULL || strlen(name) >= CSI_DISK_NAME_SIZE ||
        strlen(name) != (size_t)sqlite3_column_bytes(row, 0) || sqlite3_column_int(row, 3) == 0 ||
        !(bytes < 1e15))
        return false;
    memcpy(count->name, name, strlen(name) + 1);
    count->entries = (uint64_t)sqlite3_column_int64(row, 1);
    count->bytes = (uint64_t)bytes;
    counts->bytes += count->bytes;
    counts->count++;
    return true;
}

int csi_disk_schema_count(sqlite3 *database, struct csi_disk_counts *counts)
{
    sqlite3_stmt *statement = NULL;
    int64_t left = budget(database);
    int code;

    memset(counts, 0, sizeof *counts);
    /* total(), because sum() fails where forged sizes overflow it */
    code = sqlite3_prepare_v2(database,
                              "SELECT cache, count(*), total(size), min(size) >= 0 FROM entry GROUP BY cache",
                              -1, &statement, NULL);
    sqlite3_progress_handler(database, STEPS, spend, &left);
    while (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW)
        code = add_row(statement, counts) ? SQLITE_OK : SQLITE_CORRUPT;
    sqlite3_finalize(statement);
    sqlite3_progress_handler(database, 0, NULL, NULL);
    return code == SQLITE_DONE ? SQLITE_OK : code == SQLITE_INTERRUPT ? SQLITE_CORRUPT : code;
}
