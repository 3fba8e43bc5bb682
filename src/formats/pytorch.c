/*
 * Checkpoints and TorchScript archives: see pytorch.h. The archive is zip_archive's, the pickle pickle's;
 * this file knows what PyTorch and its users put into them.
 */
#include "formats/pytorch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "formats/metadata.h"
#include "formats/pickle.h"
#include "formats/zip_archive.h"

#define MAX_NESTING 32       /* of TorchScript modules */
#define MAX_PARTS   1000000u /* members of them, each counted as often as it is come by */

struct reader {
    struct csi_zip *zip;
    struct csi_pickle *pickle;
    char prefix[CSI_NAME_SIZE]; /* the archive's one folder, with the slash: "archive/" */
    struct csi_tensor_set *set;
    size_t elements, max_elements; /* of all tensors */
    size_t parts;
    size_t json_left; /* values of metadata that may still be looked at */
    struct cs_error *error;
};

bool csi_is_pytorch(const uint8_t *bytes, size_t size)
{
    return csi_is_zip(bytes, size) || (size > 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5) ||
           (size > 262 && memcmp(bytes + 257, "ustar", 5) == 0);
}

static size_t entry_index(const struct reader *reader, const char *folder, const char *name, size_t name_size)
{
    char path[2 * CSI_NAME_SIZE + 16];
    int length = snprintf(path, sizeof path, "%s%s%.*s", reader->prefix, folder,
                          (int)csi_min_size(name_size, 200), name);

    return length < 0 || (size_t)length >= sizeof path || memchr(name, 0, name_size) != NULL
               ? csi_zip_count(reader->zip)
               : csi_zip_find(reader->zip, path);
}

/* PyTorch puts everything into one folder whose name is the file's. */
static enum cs_status find_prefix(struct reader *reader)
{
    static const char wanted[] = "/data.pkl";
    size_t length = sizeof wanted - 1;

    for (size_t i = 0; i < csi_zip_count(reader->zip); i++) {
        const char *name = csi_zip_name(reader->zip, i);
        const char *slash = strchr(name, '/');

        if (slash != NULL && strcmp(slash, wanted) == 0 &&
            strlen(name) - length + 2 <= sizeof reader->prefix) {
            snprintf(reader->prefix, sizeof reader->prefix, "%.*s/", (int)(slash - name), name);
            return CS_OK;
        }
    }
    return csi_fail(reader->error, CS_MODEL_INVALID,
                    "the ZIP archive is no PyTorch file: it has no data.pkl");
}

/* The bytes of a storage, as long as its pickle says. */
static enum cs_status storage_bytes(struct reader *reader, const struct csi_pickle_object *storage,
                                    const uint8_t **bytes)
{
    size_t index = entry_index(reader, "data/", storage->text, storage->text_size), needed;
    int shown = (int)csi_min_size(storage->text_size, 40);

    *bytes = NULL;
    if (index == csi_zip_count(reader->zip))
        return csi_fail(reader->error, CS_MODEL_INVALID, "the archive has no entry for storage '%.*s'", shown,
                        storage->text);
    if (csi_mul_overflows((size_t)storage->integer, csi_dtype_size(storage->dtype), &needed) ||
        needed > csi_zip_size(reader->zip, index))
        return csi_fail(reader->error, CS_MODEL_INVALID,
                        "storage '%.*s' has %zu bytes, fewer than its %lld elements need", shown,
                        storage->text, csi_zip_size(reader->zip, index), (long long)storage->integer);
    return csi_zip_read(reader->zip, index, bytes, reader->error);
}

/* Elements of a strided view, in row-major order. */
static void gather(const struct csi_pickle_shape *shape, enum csi_dtype dtype, const uint8_t *bytes,
                   float *out)
{
    size_t width = csi_dtype_size(dtype), dims[CSI_MAX_RANK], strides[CSI_MAX_RANK];

    for (unsigned i = 0; i < CSI_MAX_RANK; i++) { /* missing axes stand in front, with one element */
        unsigned missing = CSI_MAX_RANK - shape->rank;

        dims[i] = i < missing ? 1 : shape->dims[i - missing];
        strides[i] = i < missing ? 0 : shape->strides[i - missing];
    }
    for (size_t a = 0; a < dims[0]; a++)
        for (size_t b = 0; b < dims[1]; b++)
            for (size_t c = 0; c < dims[2]; c++) {
                const uint8_t *row =
                    bytes + (shape->offset + a * strides[0] + b * strides[1] + c * strides[2]) * width;

                for (size_t d = 0; d < dims[3]; d++)
                    csi_dtype_to_float(dtype, row + d * strides[3] * width, 1, out++);
            }
}

static bool is_contiguous(const struct csi_pickle_shape *shape)
{
    size_t expected = 1;

    for (unsigned i = shape->rank; i-- > 0;) {
        if (shape->dims[i] != 1 && shape->strides[i] != expected)
            return false;
        expected *= shape->dims[i]; /* checked when the pickle was read */
    }
    return true;
}

static enum cs_status add_tensor(struct reader *reader, const char *name,
                                 const struct csi_pickle_object *tensor)
{
    const struct csi_pickle_shape *shape = tensor->shape;
    size_t count = 1;
    const uint8_t *bytes;
    float *data;
    enum cs_status status;

    if (csi_is_batch_counter(name))
        return CS_OK;
    for (unsigned i = 0; i < shape->rank; i++)
        count *= shape->dims[i]; /* checked when the pickle was read */
    /* Tensors may share storages; a file in which they do so a hundred times over is made to fill the memory.
     */
    if (csi_add_overflows(reader->elements, count, &reader->elements) ||
        reader->elements > reader->max_elements)
        return csi_fail(reader->error, CS_MODEL_INVALID,
                        "the tensors have more elements than the file has bytes: '%s'", name);
    status = storage_bytes(reader, tensor->items[0], &bytes);
    if (status == CS_OK)
        status = csi_tensor_set_add(reader->set, name, tensor->dtype, shape->rank, shape->dims, &data,
                                    reader->error);
    if (status != CS_OK)
        return status;
    if (is_contiguous(shape))
        csi_dtype_to_float(tensor->dtype, bytes + shape->offset * csi_dtype_size(tensor->dtype), count, data);
    else
        gather(shape, tensor->dtype, bytes, data);
    return CS_OK;
}

/* The name without the wrappers' prefixes: DataParallel's and torch.compile's. What others put before a whole
 * network's names goes later, with all of them at hand (wrappers.h). */
static enum cs_status clean_name(struct reader *reader, const struct csi_pickle_object *key, char *name)
{
    static const char *const prefixes[] = {"module.", "_orig_mod."};
    const char *text = key->text;
    size_t size = key->text_size;

    for (size_t i = 0; i < 2;) {
        size_t length = strlen(prefixes[i]);

        if (size > length && memcmp(text, prefixes[i], length) == 0) {
            text += length;
            size -= length;
            i = 0;
        } else {
            i++;
        }
    }
    if (size >= CSI_NAME_SIZE || memchr(text, 0, size) != NULL)
        return csi_fail(reader->error, CS_MODEL_INVALID, "a tensor's name is longer than %d bytes: '%.40s'",
                        CSI_NAME_SIZE - 1, text);
    snprintf(name, CSI_NAME_SIZE, "%.*s", (int)size, text);
    if (!csi_is_utf8(name))
        return csi_fail(reader->error, CS_MODEL_INVALID, "the tensor's name '%s' is not UTF-8", name);
    return CS_OK;
}

static bool has_tensors(const struct csi_pickle_object *dict)
{
    if (dict == NULL || dict->kind != CSI_PICKLE_DICT)
        return false;
    for (size_t i = 0; i + 1 < dict->count; i += 2)
        if (dict->items[i]->kind == CSI_PICKLE_STRING && dict->items[i + 1]->kind == CSI_PICKLE_TENSOR)
            return true;
    return false;
}

/* The dictionary of weights: the file itself or a member of the usual names. */
static const struct csi_pickle_object *find_state(const struct csi_pickle_object *root)
{
    static const char *const names[] = {"model_state_dict", "state_dict", "model", "net", "weights"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (has_tensors(csi_pickle_get(root, names[i])))
            return csi_pickle_get(root, names[i]);
    return has_tensors(root) ? root : NULL;
}

static enum cs_status put_metadata(struct reader *reader, const char *key, json_t *value)
{
    char *text = json_is_string(value)
                     ? NULL
                     : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
    int failed = json_object_set_new(reader->set->metadata, key,
                                     json_string(json_is_string(value) ? json_string_value(value) : text));

    free(text);
    return failed ? csi_fail_memory(reader->error, "model metadata") : CS_OK;
}

/* What people call things, and what they are called here. */
static const char *metadata_key(const char *name)
{
    static const char *const pairs[][2] = {{"model_type", "architecture"},
                                           {"arch", "architecture"},
                                           {"model_name", "architecture"},
                                           {"class_names", "classes"},
                                           {"class_to_idx", "classes"}};

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (strcmp(pairs[i][0], name) == 0)
            return pairs[i][1];
    return name;
}

/* None, a count, an empty list: what trainers that know no names put where others put them. */
static bool lists_nothing(const json_t *value)
{
    return !json_is_string(value) && json_object_size(value) == 0 && json_array_size(value) == 0;
}

/* Plain members beside the weights: model_type, num_classes, classes, temperature, and whatever else is
 * short. */
static enum cs_status read_metadata(struct reader *reader, const struct csi_pickle_object *root)
{
    enum cs_status status = CS_OK;

    for (size_t i = 0; i + 1 < root->count && status == CS_OK; i += 2) {
        const struct csi_pickle_object *key = root->items[i];
        char name[CSI_NAME_SIZE];
        json_t *value;

        if (key->kind != CSI_PICKLE_STRING || key->text_size >= sizeof name ||
            memchr(key->text, 0, key->text_size) != NULL)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)key->text_size, key->text);
        if (!csi_is_utf8(name))
            continue; /* as values that JSON cannot hold */
        if (strstr(name, "optim") != NULL || strstr(name, "sched") != NULL || strcmp(name, "loops") == 0 ||
            strcmp(name, "callbacks") == 0)
            continue; /* of use to go on training only */
        value = csi_pickle_to_json(root->items[i + 1], &reader->json_left);
        if (strcmp(metadata_key(name), "classes") == 0 && value != NULL) {
            json_t *classes = NULL;

            if (!lists_nothing(value))
                status = csi_classes_from_json(value, &classes, reader->error);
            json_decref(value);
            value = classes;
        }
        if (status == CS_OK && value != NULL && !json_is_null(value))
            status = put_metadata(reader, metadata_key(name), value);
        json_decref(value);
    }
    return status;
}

static enum cs_status read_state(struct reader *reader, const struct csi_pickle_object *state)
{
    enum cs_status status = CS_OK;

    for (size_t i = 0; i + 1 < state->count && status == CS_OK; i += 2) {
        char name[CSI_NAME_SIZE];

        if (state->items[i]->kind != CSI_PICKLE_STRING || state->items[i + 1]->kind != CSI_PICKLE_TENSOR)
            continue;
        status = clean_name(reader, state->items[i], name);
        if (status == CS_OK)
            status = add_tensor(reader, name, state->items[i + 1]);
    }
    return status;
}

/* A TorchScript module: its tensors are attributes, its submodules too, by the names of the Python module. */
static enum cs_status read_module(struct reader *reader, const struct csi_pickle_object *module,
                                  const char *path, unsigned depth)
{
    enum cs_status status = CS_OK;

    if (depth > MAX_NESTING)
        return csi_fail(reader->error, CS_MODEL_INVALID, "modules are nested deeper than %d: '%.60s'",
                        MAX_NESTING, path);
    reader->parts += 1 + module->count / 2;
    if (reader->parts > MAX_PARTS)
        return csi_fail(
            reader->error, CS_MODEL_INVALID,
            "the modules have more than %u parts (a shared one counts each time it is used): '%.60s'",
            MAX_PARTS, path);
    for (size_t i = 0; i + 1 < module->count && status == CS_OK; i += 2) {
        const struct csi_pickle_object *key = module->items[i], *value = module->items[i + 1];
        char part[CSI_NAME_SIZE], name[2 * CSI_NAME_SIZE];

        if (key->kind != CSI_PICKLE_STRING ||
            (value->kind != CSI_PICKLE_TENSOR && value->kind != CSI_PICKLE_OBJECT))
            continue;
        status = clean_name(reader, key, part);
        if (status != CS_OK)
            break;
        snprintf(name, sizeof name, "%s%s%s", path, path[0] == '\0' ? "" : ".", part);
        if (strlen(name) >= CSI_NAME_SIZE)
            return csi_fail(reader->error, CS_MODEL_INVALID,
                            "a tensor's name is longer than %d bytes: '%.40s'", CSI_NAME_SIZE - 1, name);
        /* A wrapper's only child goes without its name. */
        if (value->kind == CSI_PICKLE_OBJECT && path[0] == '\0' &&
            (strcmp(part, "module") == 0 || strcmp(part, "_orig_mod") == 0))
            name[0] = '\0';
        status = value->kind == CSI_PICKLE_TENSOR ? add_tensor(reader, name, value)
                                                  : read_module(reader, value, name, depth + 1);
    }
    return status;
}

static enum cs_status read_pickle(struct reader *reader)
{
    size_t index = entry_index(reader, "", "data.pkl", 8), order = entry_index(reader, "", "byteorder", 9);
    bool script = entry_index(reader, "", "constants.pkl", 13) != csi_zip_count(reader->zip);
    const struct csi_pickle_object *root, *state;
    const uint8_t *bytes;
    enum cs_status status;

    if (order != csi_zip_count(reader->zip)) {
        status = csi_zip_read(reader->zip, order, &bytes, reader->error);
        if (status != CS_OK)
            return status;
        if (csi_zip_size(reader->zip, order) != 6 || memcmp(bytes, "little", 6) != 0)
            return csi_fail(reader->error, CS_MODEL_UNSUPPORTED,
                            "the file was written on a big-endian machine");
    }
    status = csi_zip_read(reader->zip, index, &bytes, reader->error);
    if (status == CS_OK)
        status =
            csi_pickle_read(bytes, csi_zip_size(reader->zip, index), script, &reader->pickle, reader->error);
    if (status != CS_OK)
        return status;
    root = csi_pickle_root(reader->pickle);
    if (root->kind == CSI_PICKLE_OBJECT) {
        reader->set->format = "torchscript";
        status = read_module(reader, root, "", 0);
        if (status == CS_OK && reader->set->count == 0)
            status = csi_fail(
                reader->error, CS_MODEL_UNSUPPORTED,
                "the TorchScript module has no parameters: a frozen module is not read, save it unfrozen");
        return status;
    }
    state = find_state(root);
    if (state == NULL)
        return csi_fail(reader->error, CS_MODEL_INVALID,
                        "the checkpoint holds no dictionary of named tensors");
    status = read_state(reader, state);
    if (status == CS_OK && state != root)
        status = read_metadata(reader, root);
    return status;
}

enum cs_status csi_pytorch_read(const uint8_t *bytes, size_t size, struct csi_tensor_set *set,
                                struct cs_error *error)
{
    struct reader reader = {.set = set, .error = error, .json_left = CSI_PICKLE_JSON_BUDGET};
    enum cs_status status;

    if (!csi_is_zip(bytes, size))
        return csi_fail(
            error, CS_MODEL_UNSUPPORTED,
            "the checkpoint has PyTorch's format from before 1.6: load it once with torch.load and write it "
            "again with torch.save(state_dict, path)");
    status = csi_zip_open(bytes, size, &reader.zip, error);
    if (status == CS_OK) {
        if (csi_mul_overflows(csi_zip_total(reader.zip), 2, &reader.max_elements))
            reader.max_elements = csi_zip_total(reader.zip);
        status = find_prefix(&reader);
    }
    if (status == CS_OK)
        status = read_pickle(&reader);
    csi_pickle_free(reader.pickle);
    csi_zip_close(reader.zip);
    return status;
}
