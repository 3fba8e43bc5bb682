/*
 * What the readers' tests share: model files of tests/data/models, and the check that every constant of a
 * network read from one is what its name makes it (tests/parity/make_goldens.py).
 */
#ifndef TESTS_UNIT_MADE_WEIGHTS_H
#define TESTS_UNIT_MADE_WEIGHTS_H

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

#endif
