/*
 * safetensors: 8 bytes of little-endian header length, a JSON object {name: {dtype, shape, data_offsets}},
 * then the tensors' bytes without gap or overlap. See safetensors.h.
 */
#include "formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/hash.h"

/* The format allows 100 MB. 20,000 tensors need 3 MB, and a parsed header takes some fifty times its size. */
#define MAX_HEADER ((size_t)16 << 20)
#define PREFIX     8u
#define DATA_ALIGN                                                                                           \
    64u /* where the data section starts in files of ours: mapped, it begins on a cache line                 \
         */

/* One entry of the header, checked against the size of the data section. */
struct entry {
    const char *name;
    enum csi_dtype dtype;
    unsigned rank;
    size_t dims[CSI_MAX_RANK];
    size_t begin, end;
};

static size_t read_length(const uint8_t *bytes)
{
    uint64_t length = 0;

    for (unsigned i = 0; i < PREFIX; i++)
        length |= (uint64_t)bytes[i] << (8 * i);
    return (size_t)length;
}

bool csi_is_safetensors(const uint8_t *bytes, size_t size)
{
    return size > PREFIX && bytes[PREFIX] == '{' && bytes[7] == 0;
}

static enum cs_status parse_size(const json_t *number, size_t *size)
{
    if (!json_is_integer(number) || json_integer_value(number) < 0)
        return CS_MODEL_INVALID;
    *size = (size_t)json_integer_value(number);
    return CS_OK;
}

static enum cs_status parse_shape(const json_t *shape, struct entry *entry, size_t *count,
                                  struct cs_error *error)
{
    if (!json_is_array(shape))
        return csi_fail(error, CS_MODEL_INVALID, "tensor '%.100s' has no shape", entry->name);
    if (json_array_size(shape) > CSI_MAX_RANK)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "tensor '%.100s' has %zu dimensions, more than %d",
                        entry->name, json_array_size(shape), CSI_MAX_RANK);
    entry->rank = (unsigned)json_array_size(shape);
    *count = 1;
    for (unsigned i = 0; i < entry->rank; i++)
        if (parse_size(json_array_get(shape, i), &entry->dims[i]) != CS_OK ||
            csi_mul_overflows(*count, entry->dims[i], count))
            return csi_fail(error, CS_MODEL_INVALID, "the shape of tensor '%.100s' is out of range",
                            entry->name);
    return CS_OK;
}

static enum cs_status parse_entry(const char *name, const json_t *object, size_t data_size,
                                  struct entry *entry, struct cs_error *error)
{
    const char *dtype = json_string_value(json_object_get(object, "dtype"));
    const json_t *offsets = json_object_get(object, "data_offsets");
    size_t count = 0, bytes;

    memset(entry, 0, sizeof *entry);
    entry->name = name;
    if (!json_is_object(object) || json_object_size(object) != 3 || dtype == NULL)
        return csi_fail(error, CS_MODEL_INVALID, "header entry '%.100s' is not {dtype, shape, data_offsets}",
                        name);
    if (!csi_dtype_parse(dtype, &entry->dtype))
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "tensor '%.100s' has element type '%.20s'", name, dtype);
    if (parse_shape(json_object_get(object, "shape"), entry, &count, error) != CS_OK)
        return error == NULL ? CS_MODEL_INVALID : error->status;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        parse_size(json_array_get(offsets, 0), &entry->begin) != CS_OK ||
        parse_size(json_array_get(offsets, 1), &entry->end) != CS_OK || entry->begin > entry->end ||
        entry->end > data_size)
        return csi_fail(error, CS_MODEL_INVALID, "data_offsets of tensor '%.100s' lie outside the file",
                        name);
    if (csi_mul_overflows(count, csi_dtype_size(entry->dtype), &bytes) || bytes != entry->end - entry->begin)
        return csi_fail(error, CS_MODEL_INVALID,
                        "tensor '%.100s' takes %zu bytes but its shape and type need another size", name,
                        entry->end - entry->begin);
    return CS_OK;
}

static int by_offset(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;

    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    return a->end < b->end ? -1 : a->end > b->end;
}

/* The entries cover the data section once, without gap: nothing can hide in the file or be counted twice. */
static enum cs_status check_cover(const struct entry *entries, size_t count, size_t data_size,
                                  struct cs_error *error)
{
    size_t end = 0;

    for (size_t i = 0; i < count; i++) {
        if (entries[i].begin < end)
            return csi_fail(error, CS_MODEL_INVALID, "tensor '%.100s' overlaps the one before it",
                            entries[i].name);
        if (entries[i].begin > end)
            return csi_fail(error, CS_MODEL_INVALID, "%zu unused bytes lie before tensor '%.100s'",
                            entries[i].begin - end, entries[i].name);
        end = entries[i].end;
    }
    if (end != data_size)
        return csi_fail(error, CS_MODEL_INVALID, "%zu unused bytes lie behind the last tensor",
                        data_size - end);
    return CS_OK;
}

static enum cs_status read_metadata(const json_t *metadata, struct csi_tensor_set *set,
                                    struct cs_error *error)
{
    const char *key;
    json_t *value;

    if (metadata == NULL)
        return CS_OK;
    if (!json_is_object(metadata))
        return csi_fail(error, CS_MODEL_INVALID, "__metadata__ is not an object");
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (!json_is_string(value))
            return csi_fail(error, CS_MODEL_INVALID, "metadata '%.100s' is not a string", key);
        if (json_object_set(set->metadata, key, value) != 0)
            return csi_fail_memory(error, "model metadata");
    }
    return CS_OK;
}

static enum cs_status check_digest(const char *stated, const struct csi_hash *hash, struct cs_error *error)
{
    char hex[CSI_HASH_HEX_SIZE];

    csi_hash_to_hex(hash, hex);
    if (strcmp(stated, hex) != 0)
        return csi_fail(error, CS_MODEL_INVALID,
                        "the weights do not have the digest that the file states: it is damaged");
    return CS_OK;
}

/* The tensors, while the data are hashed beside when the metadata state their digest. Damage is told rather
 * than what it leads to. */
static enum cs_status read_tensors(const struct entry *entries, size_t count, const uint8_t *data,
                                   size_t data_size, struct csi_tensor_set *set, struct cs_error *error)
{
    const char *stated = set->sound ? NULL : json_string_value(json_object_get(set->metadata, "digest"));
    enum cs_status status = CS_OK, digest_status = CS_OK;
    struct csi_hash_job job = {0};
    struct csi_hash hash;

    set->keep_unknown = json_object_get(set->metadata, "format_version") != NULL ||
                        json_object_get(set->metadata, "architecture") != NULL;
    if (stated != NULL)
        csi_hash_begin(&job, data, data_size);
    for (size_t i = 0; i < count && status == CS_OK; i++) {
        const struct entry *entry = &entries[i];
        float *out;

        if (!set->keep_unknown && csi_is_batch_counter(entry->name))
            continue;
        status = csi_tensor_set_add(set, entry->name, entry->dtype, entry->rank, entry->dims, &out, error);
        if (status == CS_OK)
            csi_dtype_to_float(entry->dtype, data + entry->begin,
                               (entry->end - entry->begin) / csi_dtype_size(entry->dtype), out);
    }
    if (stated != NULL) {
        csi_hash_end(&job, &hash);
        digest_status = check_digest(stated, &hash, error);
    }
    return digest_status != CS_OK ? digest_status : status;
}

static enum cs_status read_entries(json_t *header, const uint8_t *data, size_t data_size,
                                   struct csi_tensor_set *set, struct cs_error *error)
{
    size_t count = 0;
    struct entry *entries = calloc(json_object_size(header) + 1, sizeof *entries);
    enum cs_status status = CS_OK;
    const char *name;
    json_t *value;

    if (entries == NULL)
        return csi_fail_memory(error, "tensor table");
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0)
            status = read_metadata(value, set, error);
        else
            status = parse_entry(name, value, data_size, &entries[count++], error);
        if (status != CS_OK)
            goto done;
    }
    qsort(entries, count, sizeof *entries, by_offset);
    status = check_cover(entries, count, data_size, error);
    if (status == CS_OK)
        status = read_tensors(entries, count, data, data_size, set, error);

done:
    free(entries);
    return status;
}

enum cs_status csi_safetensors_read(const uint8_t *bytes, size_t size, struct csi_tensor_set *set,
                                    struct cs_error *error)
{
    struct cs_error local;
    json_error_t where;
    json_t *header;
    size_t length;
    enum cs_status status;

    if (error == NULL)
        error = &local;
    if (size < PREFIX)
        return csi_fail(error, CS_MODEL_INVALID, "the file is cut: it has %zu bytes", size);
    length = read_length(bytes);
    if (length > size - PREFIX)
        return csi_fail(error, CS_MODEL_INVALID, "the header states %zu bytes, the file has %zu", length,
                        size - PREFIX);
    if (length > MAX_HEADER)
        return csi_fail(error, CS_MODEL_INVALID, "a header of %zu bytes is larger than %zu", length,
                        MAX_HEADER);
    header = json_loadb((const char *)bytes + PREFIX, length, JSON_REJECT_DUPLICATES, &where);
    if (header == NULL)
        return csi_fail(error, CS_MODEL_INVALID, "the header is no JSON: %.200s at byte %d", where.text,
                        where.position + (int)PREFIX);
    if (json_is_object(header))
        status = read_entries(header, bytes + PREFIX + length, size - PREFIX - length, set, error);
    else
        status = csi_fail(error, CS_MODEL_INVALID, "the header is not a JSON object");
    json_decref(header);
    return status;
}

static size_t stored_size(const struct csi_tensor_set *set, size_t index)
{
    size_t count = set->dtypes[index] == CSI_F16 ? 2 : 4;

    for (unsigned i = 0; i < set->tensors[index].rank; i++)
        count *= set->tensors[index].dims[i]; /* fits: the tensor is in memory */
    return count;
}

static void append_data(const struct csi_tensor_set *set, size_t index, struct csi_buffer *out)
{
    const struct csi_tensor *tensor = &set->tensors[index];
    size_t bytes = stored_size(set, index);
    uint16_t halves[512];

    if (set->dtypes[index] != CSI_F16) {
        csi_buffer_append(out, tensor->data, bytes);
        return;
    }
    for (size_t done = 0; done < bytes / 2;) {
        size_t step = csi_min_size(bytes / 2 - done, sizeof halves / sizeof halves[0]);

        for (size_t i = 0; i < step; i++)
            halves[i] = csi_float_to_half(tensor->data[done + i]);
        csi_buffer_append(out, halves, step * sizeof halves[0]);
        done += step;
    }
}

/* The header as JSON text; NULL: no memory. */
static char *header_text(const struct csi_tensor_set *set, const struct csi_buffer *data)
{
    struct csi_hash hash;
    char hex[CSI_HASH_HEX_SIZE], *text = NULL;
    json_t *header = json_object(), *metadata = json_deep_copy(set->metadata);
    size_t offset = 0;

    csi_hash_bytes(data->bytes, data->size, &hash);
    csi_hash_to_hex(&hash, hex);
    if (json_object_set_new(metadata, "digest", json_string(hex)) != 0 ||
        json_object_set(header, "__metadata__", metadata) != 0)
        goto done;
    for (size_t i = 0; i < set->count; i++) {
        const struct csi_tensor *tensor = &set->tensors[i];
        size_t end = offset + stored_size(set, i);
        json_t *shape = json_array();

        for (unsigned k = 0; k < tensor->rank; k++)
            json_array_append_new(shape, json_integer((json_int_t)tensor->dims[k]));
        if (json_object_set_new(header, tensor->name,
                                json_pack("{s:s, s:o, s:[I, I]}", "dtype",
                                          set->dtypes[i] == CSI_F16 ? "F16" : "F32", "shape", shape,
                                          "data_offsets", (json_int_t)offset, (json_int_t)end)) != 0)
            goto done;
        offset = end;
    }
    text = json_dumps(header, JSON_COMPACT);

done:
    json_decref(header);
    json_decref(metadata);
    return text;
}

enum cs_status csi_safetensors_write(const struct csi_tensor_set *set, struct csi_buffer *out,
                                     struct cs_error *error)
{
    struct csi_buffer data;
    char *text;
    size_t length, padded;
    uint8_t prefix[PREFIX];

    csi_buffer_init(&data);
    for (size_t i = 0; i < set->count; i++)
        append_data(set, i, &data);
    text = header_text(set, &data);
    if (data.failed || text == NULL)
        goto fail;
    length = strlen(text);
    padded = csi_round_up(length + PREFIX, DATA_ALIGN) - PREFIX;
    for (unsigned i = 0; i < PREFIX; i++)
        prefix[i] = (uint8_t)((uint64_t)padded >> (8 * i));
    csi_buffer_append(out, prefix, sizeof prefix);
    csi_buffer_append(out, text, length);
    for (size_t i = length; i < padded; i++)
        csi_buffer_append(out, " ", 1);
    csi_buffer_append(out, data.bytes, data.size);
    free(text);
    csi_buffer_free(&data);
    return out->failed ? csi_fail_memory(error, "model file") : CS_OK;

fail:
    csi_buffer_free(&data);
    if (text == NULL)
        return csi_fail(error, CS_INTERNAL,
                        "the header cannot be written as JSON: a name is not UTF-8, or memory is out");
    free(text);
    return csi_fail_memory(error, "model file");
}
