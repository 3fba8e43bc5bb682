/*
 * Named tensors and element types: see tensors.h.
 */
#include "formats/tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "model files are little-endian and so must the machine be");

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [CSI_F32] = {"F32", 4}, [CSI_F16] = {"F16", 2},   [CSI_BF16] = {"BF16", 2}, [CSI_F64] = {"F64", 8},
    [CSI_I8] = {"I8", 1},   [CSI_U8] = {"U8", 1},     [CSI_I16] = {"I16", 2},   [CSI_I32] = {"I32", 4},
    [CSI_I64] = {"I64", 8}, [CSI_BOOL] = {"BOOL", 1},
};

size_t csi_dtype_size(enum csi_dtype dtype)
{
    return dtypes[dtype].size;
}

const char *csi_dtype_name(enum csi_dtype dtype)
{
    return dtypes[dtype].name;
}

bool csi_dtype_parse(const char *name, enum csi_dtype *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *dtype = (enum csi_dtype)i;
            return true;
        }
    return false;
}

static float bits_to_float(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t float_to_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Without branches, so that compilers vectorise it: the exponent is moved by a multiplication, which also
 * normalises subnormal numbers. Infinity and NaN land at 65536 and above and get the exponent of such. */
static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = (uint32_t)(half & 0x7fffu) << 13;
    uint32_t bits = float_to_bits(bits_to_float(rest) * 0x1p112f);
    uint32_t special = (uint32_t)(rest >= 0x0f800000u) * 0x7f800000u;

    return bits_to_float(bits | special | sign);
}

uint16_t csi_float_to_half(float value)
{
    uint32_t bits = float_to_bits(value), sign = (bits >> 16) & 0x8000u, rest = bits & 0x7fffffffu;
    uint32_t odd;

    if (rest > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u); /* NaN */
    if (rest >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00u); /* rounds past the largest half */
    if (rest < 0x38800000u) {              /* subnormal half: let the adder round */
        float shifted = bits_to_float(rest) + 0.5f;
        return (uint16_t)(sign | (float_to_bits(shifted) - 0x3f000000u));
    }
    odd = (rest >> 13) & 1u;
    return (uint16_t)(sign | ((rest + 0xc8000fffu + odd) >> 13));
}

/* The inner loops have a fixed length, so that compilers vectorise them. */
enum { BLOCK = 16 };

static void halves_to_floats(const uint8_t *bytes, size_t count, float *out)
{
    uint16_t halves[BLOCK];
    size_t done = 0;

    for (; done + BLOCK <= count; done += BLOCK) {
        memcpy(halves, bytes + done * sizeof halves[0], sizeof halves);
        for (size_t i = 0; i < BLOCK; i++)
            out[done + i] = half_to_float(halves[i]);
    }
    for (; done < count; done++) {
        memcpy(halves, bytes + done * sizeof halves[0], sizeof halves[0]);
        out[done] = half_to_float(halves[0]);
    }
}

#define CONVERT(type, expression)                                                                            \
    for (size_t i = 0; i < count; i++) {                                                                     \
        type element;                                                                                        \
        memcpy(&element, bytes + i * sizeof element, sizeof element);                                        \
        out[i] = (expression);                                                                               \
    }                                                                                                        \
    break

void csi_dtype_to_float(enum csi_dtype dtype, const uint8_t *bytes, size_t count, float *out)
{
    switch (dtype) {
    case CSI_F32: memcpy(out, bytes, count * sizeof *out); break;
    case CSI_F16: halves_to_floats(bytes, count, out); break;
    case CSI_BF16: CONVERT(uint16_t, bits_to_float((uint32_t)element << 16));
    case CSI_F64: CONVERT(double, (float)element);
    case CSI_I8: CONVERT(int8_t, (float)element);
    case CSI_U8: CONVERT(uint8_t, (float)element);
    case CSI_I16: CONVERT(int16_t, (float)element);
    case CSI_I32: CONVERT(int32_t, (float)element);
    case CSI_I64: CONVERT(int64_t, (float)element);
    case CSI_BOOL: CONVERT(uint8_t, element != 0 ? 1.0f : 0.0f);
    }
}

enum cs_status csi_tensor_set_init(struct csi_tensor_set *set, const char *format, struct cs_error *error)
{
    memset(set, 0, sizeof *set);
    set->format = format;
    set->metadata = json_object();
    return set->metadata == NULL ? csi_fail_memory(error, "model metadata") : CS_OK;
}

bool csi_is_batch_counter(const char *name)
{
    static const char counter[] = "num_batches_tracked";
    size_t length = strlen(name);

    return length >= sizeof counter - 1 && strcmp(name + length - (sizeof counter - 1), counter) == 0;
}

void csi_tensor_set_free(struct csi_tensor_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        csi_aligned_free((void *)(uintptr_t)set->tensors[i].data);
    free(set->tensors);
    free(set->dtypes);
    csi_names_free(&set->names);
    json_decref(set->metadata);
    memset(set, 0, sizeof *set);
}

static enum cs_status reserve(struct csi_tensor_set *set, struct cs_error *error)
{
    size_t wanted = set->capacity == 0 ? 64 : set->capacity * 2;
    struct csi_tensor *tensors;
    enum csi_dtype *types;

    if (set->count >= CSI_MAX_TENSORS)
        return csi_fail(error, CS_MODEL_INVALID, "the file holds more than %u tensors", CSI_MAX_TENSORS);
    if (set->count < set->capacity)
        return CS_OK;
    tensors = realloc(set->tensors, wanted * sizeof *tensors);
    if (tensors != NULL)
        set->tensors = tensors;
    types = realloc(set->dtypes, wanted * sizeof *types);
    if (types != NULL)
        set->dtypes = types;
    if (tensors == NULL || types == NULL)
        return csi_fail_memory(error, "tensor table");
    set->capacity = wanted;
    return CS_OK;
}

void csi_tensor_set_renamed(struct csi_tensor_set *set)
{
    csi_names_free(&set->names);
}

/* Fills the names when they are empty; false: no memory. */
static bool note_all(struct csi_tensor_set *set)
{
    bool noted = true;

    if (set->names.table == NULL)
        for (size_t i = 0; i < set->count && noted; i++)
            noted = csi_names_put(&set->names, set->tensors[i].name, i);
    return noted;
}

static enum cs_status note_name(struct csi_tensor_set *set, const char *name, struct cs_error *error)
{
    bool noted = note_all(set);
    size_t at;

    if (csi_names_find(&set->names, name, &at))
        return csi_fail(error, CS_MODEL_INVALID, "there are two tensors named '%s'", name);
    if (!noted || !csi_names_put(&set->names, name, set->count))
        return csi_fail_memory(error, "tensor names");
    return CS_OK;
}

enum cs_status csi_tensor_set_add(struct csi_tensor_set *set, const char *name, enum csi_dtype dtype,
                                  unsigned rank, const size_t *dims, float **data, struct cs_error *error)
{
    struct csi_tensor *tensor;
    enum cs_status status;
    size_t count = 1;

    *data = NULL;
    if (name[0] == '\0' || strlen(name) >= CSI_NAME_SIZE)
        return csi_fail(error, CS_MODEL_INVALID, "a tensor's name is empty or longer than %d bytes: '%.40s'",
                        CSI_NAME_SIZE - 1, name);
    status = note_name(set, name, error);
    if (status != CS_OK)
        return status;
    if (rank > CSI_MAX_RANK)
        return csi_fail(error, CS_MODEL_UNSUPPORTED, "tensor '%s' has %u dimensions, more than %d", name,
                        rank, CSI_MAX_RANK);
    for (unsigned i = 0; i < rank; i++)
        if (dims[i] == 0 || csi_mul_overflows(count, dims[i], &count) || count > CSI_GRAPH_MAX_ELEMENTS)
            return csi_fail(error, CS_MODEL_INVALID, "tensor '%s' is empty or larger than %zu elements", name,
                            CSI_GRAPH_MAX_ELEMENTS);
    status = reserve(set, error);
    if (status != CS_OK)
        return status;
    *data = csi_model_alloc(count * sizeof **data);
    if (*data == NULL)
        return csi_fail(error, CS_INTERNAL, "out of memory (%zu weights of '%s')", count, name);
    tensor = &set->tensors[set->count];
    memset(tensor, 0, sizeof *tensor);
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->rank = rank;
    for (unsigned i = 0; i < rank; i++)
        tensor->dims[i] = dims[i];
    tensor->data = *data;
    set->dtypes[set->count++] = dtype;
    return CS_OK;
}

void csi_tensor_set_drop(struct csi_tensor_set *set, const char *prefix)
{
    size_t kept = 0;

    for (size_t i = 0; i < set->count; i++) {
        if (strncmp(set->tensors[i].name, prefix, strlen(prefix)) == 0) {
            csi_aligned_free((void *)(uintptr_t)set->tensors[i].data);
            continue;
        }
        set->tensors[kept] = set->tensors[i];
        set->dtypes[kept++] = set->dtypes[i];
    }
    set->count = kept;
    csi_tensor_set_renamed(set);
}

static unsigned block_not_finite(const float *values)
{
    uint32_t bits[BLOCK], bad = 0;

    memcpy(bits, values, sizeof bits);
    for (size_t i = 0; i < BLOCK; i++)
        bad |= (bits[i] & 0x7f800000u) == 0x7f800000u;
    return bad;
}

enum cs_status csi_tensor_set_check(const struct csi_tensor_set *set, struct cs_error *error)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct csi_tensor *tensor = &set->tensors[i];
        size_t count = 1;
        unsigned bad = 0;

        for (unsigned k = 0; k < tensor->rank; k++)
            count *= tensor->dims[k];
        for (size_t k = 0; k + BLOCK <= count; k += BLOCK)
            bad |= block_not_finite(tensor->data + k);
        for (size_t k = count / BLOCK * BLOCK; k < count; k++)
            bad |= (float_to_bits(tensor->data[k]) & 0x7f800000u) == 0x7f800000u;
        if (bad)
            return csi_fail(error, CS_MODEL_INVALID, "tensor '%s' holds a number that is not finite",
                            tensor->name);
    }
    return CS_OK;
}

enum cs_status csi_tensor_set_hand_over(struct csi_tensor_set *set, struct csi_graph *graph,
                                        struct cs_error *error)
{
    float **blocks = calloc(set->count + 1, sizeof *blocks);
    enum cs_status status = CS_OK;

    if (blocks == NULL)
        return csi_fail_memory(error, "graph");
    for (size_t i = 0; i < set->count; i++)
        blocks[i] = (float *)(uintptr_t)set->tensors[i].data;
    status = csi_graph_take_blocks(graph, blocks, set->count, error);
    if (status == CS_OK) {
        set->count = 0;
        csi_tensor_set_renamed(set);
    }
    free(blocks);
    return status;
}

struct csi_weights csi_tensor_set_weights(struct csi_tensor_set *set)
{
    if (!note_all(set))
        csi_names_free(&set->names); /* without memory the tensors are looked through */
    return (struct csi_weights){.tensors = set->tensors, .count = set->count, .names = set->names};
}
