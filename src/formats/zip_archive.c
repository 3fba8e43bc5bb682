/*
 * ZIP archives through libzip: see zip_archive.h.
 */
#include "formats/zip_archive.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "base/checked.h"
#include "graph/names.h"

/* A model's weights hardly deflate: an archive that unpacks to more than this many times its own size is no
 * model. */
#define MAX_EXPANSION 16u
#define MAX_SLACK     ((size_t)1 << 20) /* small archives of mostly zeros */

struct entry {
    const char *name; /* libzip's */
    size_t size;
    uint8_t *content; /* once read */
};

struct csi_zip {
    zip_t *archive;
    struct entry *entries;
    size_t count, total;
    struct csi_names names; /* of the entries, to their indices */
};

bool csi_is_zip(const uint8_t *bytes, size_t size)
{
    return size >= 4 && memcmp(bytes, "PK\003\004", 4) == 0;
}

void csi_zip_close(struct csi_zip *zip)
{
    if (zip == NULL)
        return;
    for (size_t i = 0; i < zip->count; i++)
        free(zip->entries[i].content);
    free(zip->entries);
    csi_names_free(&zip->names);
    if (zip->archive != NULL)
        zip_discard(zip->archive);
    free(zip);
}

/* A relative path without "..", drive letters, backslashes or control characters. */
static bool is_clean_name(const char *name)
{
    if (name[0] == '\0' || name[0] == '/' || strlen(name) > 512)
        return false;
    for (const char *part = name; part != NULL; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
            return false;
    }
    for (const char *c = name; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f || *c == '\\' || *c == ':')
            return false;
    return true;
}

static enum cs_status check_entry(struct csi_zip *zip, size_t index, const struct csi_zip_place *place,
                                  struct cs_error *error)
{
    struct entry *entry = &zip->entries[index];
    zip_stat_t stat;
    size_t first;

    if (zip_stat_index(zip->archive, index, ZIP_FL_UNCHANGED | ZIP_FL_ENC_RAW, &stat) != 0 ||
        (stat.valid & (ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD)) !=
            (ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD))
        return csi_fail(error, CS_MODEL_INVALID, "ZIP entry %zu has no name or size", index);
    if (!is_clean_name(stat.name))
        return csi_fail(error, CS_MODEL_INVALID,
                        "ZIP entry %zu has the name '%.100s', which leaves the archive", index, stat.name);
    if ((stat.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 && stat.encryption_method != ZIP_EM_NONE)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "ZIP entry '%.100s' is encrypted", stat.name);
    if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "ZIP entry '%.100s' is packed by method %u", stat.name,
                        stat.comp_method);
    /* libzip and the guard read the same directory, or one of them is being fooled. */
    if (stat.comp_size != place->stored || (stat.comp_method == ZIP_CM_STORE && stat.size != stat.comp_size))
        return csi_fail(error, CS_MODEL_INVALID, "the sizes of ZIP entry '%.100s' contradict each other",
                        stat.name);
    if (csi_names_find(&zip->names, stat.name, &first))
        return csi_fail(error, CS_MODEL_INVALID, "there are two ZIP entries named '%.100s'", stat.name);
    if (!csi_names_put(&zip->names, stat.name, index))
        return csi_fail_memory(error, "ZIP directory");
    entry->name = stat.name;
    entry->size = (size_t)stat.size;
    if (csi_add_overflows(zip->total, entry->size, &zip->total))
        return csi_fail(error, CS_MODEL_INVALID, "the sizes of the ZIP entries overflow");
    return CS_OK;
}

static enum cs_status open_archive(const uint8_t *bytes, size_t size, struct csi_zip *zip,
                                   struct cs_error *error)
{
    zip_error_t reason;
    zip_source_t *source;
    enum cs_status status = CS_OK;

    zip_error_init(&reason);
    source = zip_source_buffer_create(bytes, size, 0, &reason);
    if (source != NULL)
        zip->archive = zip_open_from_source(source, ZIP_RDONLY, &reason);
    if (zip->archive == NULL) {
        status =
            csi_fail(error, CS_MODEL_INVALID, "the ZIP archive is damaged: %s", zip_error_strerror(&reason));
        zip_source_free(source);
    }
    zip_error_fini(&reason);
    return status;
}

enum cs_status csi_zip_open(const uint8_t *bytes, size_t size, struct csi_zip **out, struct cs_error *error)
{
    struct csi_zip_place *places = NULL;
    struct csi_zip *zip = NULL;
    size_t count, limit;
    enum cs_status status = csi_zip_places(bytes, size, &places, &count, error);

    *out = NULL;
    if (status != CS_OK)
        return status;
    zip = calloc(1, sizeof *zip);
    if (zip != NULL)
        zip->entries = calloc(count + 1, sizeof *zip->entries);
    if (zip == NULL || zip->entries == NULL) {
        status = csi_fail_memory(error, "ZIP directory");
        goto fail;
    }
    status = open_archive(bytes, size, zip, error);
    if (status != CS_OK)
        goto fail;
    if (zip_get_num_entries(zip->archive, ZIP_FL_UNCHANGED) != (zip_int64_t)count) {
        status = csi_fail(error, CS_MODEL_INVALID, "the ZIP archive has two directories");
        goto fail;
    }
    zip->count = count;
    for (size_t i = 0; i < count && status == CS_OK; i++)
        status = check_entry(zip, i, &places[i], error);
    if (status == CS_OK && !csi_mul_overflows(size, MAX_EXPANSION, &limit) && zip->total > limit + MAX_SLACK)
        status = csi_fail(error, CS_MODEL_INVALID, "the ZIP archive of %zu bytes unpacks to %zu bytes", size,
                          zip->total);
    if (status != CS_OK)
        goto fail;
    free(places);
    *out = zip;
    return CS_OK;

fail:
    csi_zip_close(zip);
    free(places);
    return status;
}

size_t csi_zip_count(const struct csi_zip *zip)
{
    return zip->count;
}

const char *csi_zip_name(const struct csi_zip *zip, size_t index)
{
    return zip->entries[index].name;
}

size_t csi_zip_find(const struct csi_zip *zip, const char *name)
{
    size_t index;

    return csi_names_find(&zip->names, name, &index) ? index : zip->count;
}

size_t csi_zip_size(const struct csi_zip *zip, size_t index)
{
    return zip->entries[index].size;
}

size_t csi_zip_total(const struct csi_zip *zip)
{
    return zip->total;
}

enum cs_status csi_zip_read(struct csi_zip *zip, size_t index, const uint8_t **bytes, struct cs_error *error)
{
    struct entry *entry = &zip->entries[index];
    zip_file_t *file;
    uint8_t extra;
    size_t done = 0;

    *bytes = entry->content;
    if (entry->content != NULL)
        return CS_OK;
    file = zip_fopen_index(zip->archive, index, ZIP_FL_UNCHANGED);
    if (file == NULL)
        return csi_fail(error, CS_MODEL_INVALID, "ZIP entry '%.100s' is damaged: %s", entry->name,
                        zip_strerror(zip->archive));
    entry->content = malloc(entry->size + 1);
    if (entry->content == NULL) {
        zip_fclose(file);
        return csi_fail(error, CS_INTERNAL, "out of memory (%zu bytes of '%.100s')", entry->size,
                        entry->name);
    }
    while (done < entry->size) {
        zip_int64_t got = zip_fread(file, entry->content + done, entry->size - done);

        if (got <= 0)
            break;
        done += (size_t)got;
    }
    /* One byte more must not come; asking for it also makes libzip compare the checksum. */
    if (done != entry->size || zip_fread(file, &extra, 1) != 0) {
        enum cs_status status =
            csi_fail(error, CS_MODEL_INVALID, "ZIP entry '%.100s' is damaged: %s", entry->name,
                     done != entry->size ? "it is shorter than its directory says" : zip_file_strerror(file));

        zip_fclose(file);
        free(entry->content);
        entry->content = NULL;
        return status;
    }
    zip_fclose(file);
    entry->content[entry->size] = 0;
    *bytes = entry->content;
    return CS_OK;
}
