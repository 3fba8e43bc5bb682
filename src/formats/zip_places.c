/*
 * The guard before libzip: walks a ZIP's central directory (PKWARE's APPNOTE 6.3.3, 4.3 and 4.5.3) to learn
 * where each entry lies, because libzip does not tell, and refuses archives whose entries share bytes. Reads
 * no content.
 */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "formats/zip_archive.h"

#define MAX_ENTRIES     40000u
#define NAME_SLOTS      65536u
#define MAX_IN_SLOT     256u /* chance alone puts some ten there */
#define END_SIZE        22u  /* end of central directory, without comment */
#define END64_SIZE      56u
#define LOCATOR_SIZE    20u
#define DIRECTORY_SIZE  46u /* a central directory entry, without name, extra field and comment */
#define LOCAL_SIZE      30u /* a local header, without name and extra field */
#define END_MAGIC       0x06054b50u
#define END64_MAGIC     0x06064b50u
#define LOCATOR_MAGIC   0x07064b50u
#define DIRECTORY_MAGIC 0x02014b50u
#define LOCAL_MAGIC     0x04034b50u
#define IN_EXTRA        0xffffffffu /* the number stands in the ZIP64 extra field */

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get32(const uint8_t *at)
{
    return get16(at) | get16(at + 2) << 16;
}

static uint64_t get64(const uint8_t *at)
{
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

struct directory {
    size_t offset, size, count;
};

/* The end record closes the file: its comment reaches exactly to the last byte. */
static enum cs_status find_directory(const uint8_t *bytes, size_t size, struct directory *directory,
                                     struct cs_error *error)
{
    uint64_t count, length, offset;
    size_t at;

    if (size < END_SIZE)
        return csi_fail(error, CS_MODEL_INVALID, "the ZIP archive is cut");
    for (at = size - END_SIZE;
         get32(bytes + at) != END_MAGIC || get16(bytes + at + 20) != size - at - END_SIZE; at--)
        if (at == 0 || size - at > END_SIZE + 65535u)
            return csi_fail(error, CS_MODEL_INVALID,
                            "the ZIP archive is cut: it has no directory at its end");
    count = get16(bytes + at + 10);
    length = get32(bytes + at + 12);
    offset = get32(bytes + at + 16);
    if (at >= LOCATOR_SIZE && get32(bytes + at - LOCATOR_SIZE) == LOCATOR_MAGIC) {
        uint64_t end64 = get64(bytes + at - LOCATOR_SIZE + 8);

        if (at < LOCATOR_SIZE + END64_SIZE || end64 > at - LOCATOR_SIZE - END64_SIZE ||
            get32(bytes + end64) != END64_MAGIC)
            return csi_fail(error, CS_MODEL_INVALID, "the ZIP64 end record lies outside the archive");
        count = get64(bytes + end64 + 32);
        length = get64(bytes + end64 + 40);
        offset = get64(bytes + end64 + 48);
    }
    if (offset > at || length > at - offset || count > length / DIRECTORY_SIZE)
        return csi_fail(error, CS_MODEL_INVALID, "the ZIP directory lies outside the archive");
    if (count > MAX_ENTRIES)
        return csi_fail(error, CS_MODEL_INVALID, "the ZIP archive has %llu entries, more than %u",
                        (unsigned long long)count, MAX_ENTRIES);
    *directory = (struct directory){(size_t)offset, (size_t)length, (size_t)count};
    return CS_OK;
}

/* Numbers that do not fit 32 bits stand in extra field 1: unpacked size, packed size, offset, each only when
 * it is needed. */
static bool read_zip64(const uint8_t *extra, size_t length, bool has_size, uint64_t *stored, uint64_t *offset)
{
    while (length >= 4) {
        size_t id = get16(extra), size = get16(extra + 2), at = 4 + (has_size ? 8u : 0u);

        if (size > length - 4)
            return false;
        if (id == 1) {
            if (*stored == IN_EXTRA) {
                if (at + 8 > size + 4)
                    return false;
                *stored = get64(extra + at);
                at += 8;
            }
            if (*offset == IN_EXTRA) {
                if (at + 8 > size + 4)
                    return false;
                *offset = get64(extra + at);
            }
            return true;
        }
        extra += 4 + size;
        length -= 4 + size;
    }
    return *stored != IN_EXTRA && *offset != IN_EXTRA;
}

static enum cs_status read_place(const uint8_t *bytes, size_t limit, const uint8_t *entry, size_t index,
                                 struct csi_zip_place *place, struct cs_error *error)
{
    size_t name = get16(entry + 28), extra = get16(entry + 30), start;
    uint64_t stored = get32(entry + 20), offset = get32(entry + 42);

    if (!read_zip64(entry + DIRECTORY_SIZE + name, extra, get32(entry + 24) == IN_EXTRA, &stored, &offset))
        return csi_fail(error, CS_MODEL_INVALID, "ZIP entry %zu has a damaged ZIP64 field", index);
    /* Everything ends before the directory (at `limit`). */
    if (offset > limit || limit - offset < LOCAL_SIZE || get32(bytes + offset) != LOCAL_MAGIC)
        return csi_fail(error, CS_MODEL_INVALID, "ZIP entry %zu has no local header", index);
    start = (size_t)offset + LOCAL_SIZE + get16(bytes + offset + 26) + get16(bytes + offset + 28);
    if (start > limit || stored > limit - start)
        return csi_fail(error, CS_MODEL_INVALID, "ZIP entry %zu reaches over the end of the archive", index);
    *place = (struct csi_zip_place){(size_t)offset, (size_t)stored, start + (size_t)stored};
    return CS_OK;
}

static int by_offset(const void *left, const void *right)
{
    const struct csi_zip_place *const *a = left, *const *b = right;

    return (*a)->offset < (*b)->offset ? -1 : (*a)->offset > (*b)->offset;
}

static enum cs_status check_overlap(const struct csi_zip_place *places, size_t count, struct cs_error *error)
{
    const struct csi_zip_place **sorted = calloc(count + 1, sizeof *sorted);
    enum cs_status status = CS_OK;

    if (sorted == NULL)
        return csi_fail_memory(error, "ZIP directory");
    for (size_t i = 0; i < count; i++)
        sorted[i] = &places[i];
    qsort((void *)sorted, count, sizeof *sorted, by_offset);
    for (size_t i = 1; i < count && status == CS_OK; i++)
        if (sorted[i]->offset < sorted[i - 1]->end)
            status = csi_fail(error, CS_MODEL_INVALID, "ZIP entries %zu and %zu overlap",
                              (size_t)(sorted[i - 1] - places), (size_t)(sorted[i] - places));
    free((void *)sorted);
    return status;
}

/* libzip keeps the names in a hash table without a seed, of up to NAME_SLOTS places for MAX_ENTRIES: as many
 * as a file puts into one of them are compared with each other. */
static bool is_crowded(uint16_t *slots, const uint8_t *name, size_t length)
{
    uint32_t hash = 5381;

    for (size_t i = 0; i < length && name[i] != 0; i++)
        hash = hash * 33 + name[i];
    return ++slots[hash % NAME_SLOTS] > MAX_IN_SLOT;
}

/* Reads directory entry `index` at `*at`, which is moved behind it. */
static enum cs_status read_entry(const uint8_t *bytes, const struct directory *directory, size_t index,
                                 size_t *at, uint16_t *slots, struct csi_zip_place *place,
                                 struct cs_error *error)
{
    const uint8_t *entry = bytes + *at;
    size_t left = directory->offset + directory->size - *at, length;

    if (left < DIRECTORY_SIZE || get32(entry) != DIRECTORY_MAGIC)
        return csi_fail(error, CS_MODEL_INVALID, "ZIP directory entry %zu is damaged", index);
    length = DIRECTORY_SIZE + get16(entry + 28) + get16(entry + 30) + get16(entry + 32);
    if (length > left)
        return csi_fail(error, CS_MODEL_INVALID, "ZIP directory entry %zu is cut", index);
    if (is_crowded(slots, entry + DIRECTORY_SIZE, get16(entry + 28)))
        return csi_fail(error, CS_MODEL_INVALID,
                        "the names of the ZIP entries, at entry %zu, are chosen to collide", index);
    *at += length;
    return read_place(bytes, directory->offset, entry, index, place, error);
}

enum cs_status csi_zip_places(const uint8_t *bytes, size_t size, struct csi_zip_place **out, size_t *count,
                              struct cs_error *error)
{
    struct directory directory = {0};
    struct csi_zip_place *places = NULL;
    uint16_t *slots = NULL;
    size_t at;
    enum cs_status status = find_directory(bytes, size, &directory, error);

    *out = NULL;
    *count = 0;
    if (status != CS_OK)
        return status;
    places = calloc(directory.count + 1, sizeof *places); /* bounded by the directory's bytes */
    slots = calloc(NAME_SLOTS, sizeof *slots);
    if (places == NULL || slots == NULL) {
        free(places);
        free(slots);
        return csi_fail_memory(error, "ZIP directory");
    }
    at = directory.offset;
    for (size_t i = 0; i < directory.count && status == CS_OK; i++)
        status = read_entry(bytes, &directory, i, &at, slots, &places[i], error);
    free(slots);
    if (status == CS_OK)
        status = check_overlap(places, directory.count, error);
    if (status != CS_OK) {
        free(places);
        return status;
    }
    *out = places;
    *count = directory.count;
    return CS_OK;
}
