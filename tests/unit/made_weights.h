/*
 * What the readers' tests share: model files of tests/data/models, the check that every constant of a network
 * read from one is what its name makes it (tests/parity/make_goldens.py), and their tensors in files of other
 * names, shapes and metadata.
 */
#ifndef TESTS_UNIT_MADE_WEIGHTS_H
#define TESTS_UNIT_MADE_WEIGHTS_H

#include "base/buffer.h"
#include "formats/safetensors.h"
#include "formats/tensors.h"
#include "parity/golden.h"

static inline void made_read_bytes(const char *name, uint8_t **bytes, size_t *size)
{
    char path[1024];
    struct cs_error error = {0};

    snprintf(path, sizeof path, "%s/models/%s", CS_TEST_DATA, name);
    if (csi_file_read(path, 0, bytes, size, &error) != CS_OK)
        fail_msg("%s", error.message);
}

/* The number as a file of that element type keeps it. */
static inline float made_rounded(float value, enum csi_dtype dtype)
{
    uint16_t half;
    uint32_t bits;

    if (dtype == CSI_F16) {
        half = csi_float_to_half(value);
        csi_dtype_to_float(CSI_F16, (const uint8_t *)&half, 1, &value);
    } else if (dtype == CSI_BF16) {
        memcpy(&bits, &value, sizeof bits);
        bits = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u; /* to nearest even */
        memcpy(&value, &bits, sizeof bits);
    }
    return value;
}

/* Every constant of the network is what its name makes it; how many there are. */
static inline size_t made_weights_check(const struct csi_graph *graph, enum csi_dtype dtype)
{
    size_t constants = 0;

    for (size_t i = 0; i < graph->value_count; i++) {
        const struct csi_value *value = &graph->values[i];
        size_t count = csi_value_elements(value);
        float *wanted;

        if (!csi_value_is_constant(value))
            continue;
        wanted = malloc(count * sizeof *wanted);
        assert_non_null(wanted);
        golden_tensor(value->name, value->rank, value->dims, 2.0, wanted);
        for (size_t k = 0; k < count; k++)
            if (value->data[k] != made_rounded(wanted[k], dtype))
                fail_msg("%s[%zu] is %.9g, not %.9g", value->name, k, (double)value->data[k],
                         (double)made_rounded(wanted[k], dtype));
        free(wanted);
        constants++;
    }
    return constants;
}

/* `data` NULL: numbers of any kind. */
static inline void made_add(struct csi_tensor_set *set, const char *name, unsigned rank, const size_t *dims,
                            const float *data)
{
    size_t count = 1;
    float *to;
    struct cs_error error = {0};

    for (unsigned i = 0; i < rank; i++)
        count *= dims[i];
    if (csi_tensor_set_add(set, name, CSI_F32, rank, dims, &to, &error) != CS_OK)
        fail_msg("%s", error.message);
    for (size_t i = 0; i < count; i++)
        to[i] = data == NULL ? 0.5f : data[i];
}

/* The tensors of `file` under `prefix`. `other` (NULL: none) is the shape that one of them gets instead. */
static inline void made_add_network(struct csi_tensor_set *set, const char *file, const char *prefix,
                                    const struct csi_tensor *other)
{
    struct csi_graph *graph;
    struct cs_error error = {0};
    uint8_t *bytes;
    size_t size;
    char name[2 * CSI_NAME_SIZE];

    made_read_bytes(file, &bytes, &size);
    if (csi_model_file_read(bytes, size, NULL, &graph, NULL, &error) != CS_OK)
        fail_msg("%s: %s", file, error.message);
    for (size_t i = 0; i < graph->value_count; i++) {
        const struct csi_value *value = &graph->values[i];

        if (!csi_value_is_constant(value))
            continue;
        snprintf(name, sizeof name, "%s%s", prefix, value->name);
        if (other != NULL && strcmp(other->name, value->name) == 0)
            made_add(set, name, other->rank, other->dims, NULL);
        else
            made_add(set, name, value->rank, value->dims, value->data);
    }
    csi_graph_destroy(graph);
    free(bytes);
}

/* What is read from a safetensors file of the set, which is freed. */
static inline enum cs_status made_read_set(struct csi_tensor_set *set, struct csi_graph **graph,
                                           struct cs_error *error)
{
    struct csi_buffer buffer;
    enum cs_status status;

    csi_buffer_init(&buffer);
    assert_int_equal(csi_safetensors_write(set, &buffer, error), CS_OK);
    csi_tensor_set_free(set);
    status = csi_model_file_read(buffer.bytes, buffer.size, NULL, graph, NULL, error);
    csi_buffer_free(&buffer);
    return status;
}

#endif
