/*
 * The cache file as an attacker writes it: records with right checksums that no run of the program made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cropshield/cropshield.h>

#include <sodium.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "unit/tiny_diagnoser.h"

/* The value of a kept prediction with maps of four times the pixels, malloc'ed. */
static uint8_t *grown_record(const uint8_t *value, size_t size, size_t *grown_size)
{
    const size_t sides = 3 * sizeof(uint32_t), maps = sizeof(uint16_t) * TINY_CLASSES;
    uint32_t width, height;
    uint8_t *grown;

    memcpy(&width, value + sides, sizeof width);
    memcpy(&height, value + sides + sizeof width, sizeof height);
    assert_true(width > 0 && height > 0 && size > maps * width * height);
    *grown_size = size + 3 * maps * width * height;
    grown = calloc(1, *grown_size);
    memcpy(grown, value, size);
    width *= 2;
    height *= 2;
    memcpy(grown + sides, &width, sizeof width);
    memcpy(grown + sides + sizeof width, &height, sizeof height);
    return grown;
}

/* Whoever can write the cache file can write its checksums: the one prediction in it becomes a grown one, and
 * the heat maps made of the old one go. */
static void forge_cache_file(void)
{
    sqlite3 *database;
    sqlite3_stmt *row, *change;
    crypto_generichash_state hash;
    unsigned char sum[32];
    sqlite3_int64 stored_ms;
    uint8_t *grown;
    size_t size;

    assert_int_equal(sqlite3_open(cache_path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(database,
                                        "SELECT value, key, stored_ms FROM entry WHERE cache = 'prediction'",
                                        -1, &row, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    grown = grown_record(sqlite3_column_blob(row, 0), (size_t)sqlite3_column_bytes(row, 0), &size);
    stored_ms = sqlite3_column_int64(row, 2);
    crypto_generichash_init(&hash, NULL, 0, sizeof sum);
    crypto_generichash_update(&hash, (const unsigned char *)"prediction", sizeof "prediction");
    crypto_generichash_update(&hash, sqlite3_column_blob(row, 1), 32);
    crypto_generichash_update(&hash, (const unsigned char *)&stored_ms, sizeof stored_ms);
    crypto_generichash_update(&hash, grown, size);
    crypto_generichash_final(&hash, sum, sizeof sum);
    sqlite3_finalize(row);
    assert_int_equal(sqlite3_prepare_v2(database,
                                        "UPDATE entry SET value = ?1, size = ?2, checksum = ?3 "
                                        "WHERE cache = 'prediction'",
                                        -1, &change, NULL),
                     SQLITE_OK);
    sqlite3_bind_blob(change, 1, grown, (int)size, SQLITE_STATIC);
    sqlite3_bind_int64(change, 2, (sqlite3_int64)size);
    sqlite3_bind_blob(change, 3, sum, sizeof sum, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(change), SQLITE_DONE);
    sqlite3_finalize(change);
    assert_int_equal(sqlite3_exec(database,
                                  "DELETE FROM entry WHERE cache = 'gradcam' AND id <> (SELECT min(id) FROM "
                                  "entry WHERE cache = 'gradcam')",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(database);
    free(grown);
}

/* The overlay of the photo's top class; checks that it is `expected` unless that is empty. */
static void ask_for_heatmap(cs_diagnoser *diagnoser, const char *id, struct cs_blob *expected)
{
    struct cs_blob image;

    assert_int_equal(cs_diagnoser_heatmap(diagnoser, id, NULL, &image, NULL, NULL, NULL), CS_OK);
    if (expected->bytes == NULL) {
        *expected = image;
        return;
    }
    assert_int_equal(image.size, expected->size);
    assert_memory_equal(image.bytes, expected->bytes, image.size);
    cs_blob_destroy(&image);
}

/* Its heat map would be written past the model's: computed again instead, and the forged record replaced. */
static void a_forged_record_is_computed_again(void **state)
{
    struct cs_diagnoser_options options = tiny_options();
    struct cs_blob photo = draw_photo(12, 300, 200, CS_FORMAT_JPEG), image = {0};
    cs_diagnosis *first, *second;
    cs_diagnoser *diagnoser;

    (void)state;
    options.cache_path = cache_path;
    diagnoser = create(&options);
    first = diagnose(diagnoser, &photo, NULL);
    ask_for_heatmap(diagnoser, first->id, &image);
    cs_diagnoser_destroy(diagnoser);
    forge_cache_file();
    diagnoser = create(&options);
    for (int round = 0; round < 2; round++) {
        second = diagnose(diagnoser, &photo, NULL);
        assert_int_equal(second->prediction_cache, round == 0 ? CS_CACHE_MISS : CS_CACHE_HIT);
        assert_memory_equal(second->logits, first->logits, TINY_CLASSES * sizeof *first->logits);
        cs_diagnosis_destroy(second);
        ask_for_heatmap(diagnoser, first->id, &image);
    }
    cs_diagnoser_destroy(diagnoser);
    forge_cache_file();
    diagnoser = create(&options);
    ask_for_heatmap(diagnoser, first->id, &image); /* before the photo is sent again */
    cs_diagnosis_destroy(first);
    cs_blob_destroy(&image);
    cs_blob_destroy(&photo);
    cs_diagnoser_destroy(diagnoser);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_forged_record_is_computed_again, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
