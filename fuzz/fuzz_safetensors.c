/* Fuzz target: the safetensors reader. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct csi_tensor_set set;
    struct cs_error error;

    if (csi_tensor_set_init(&set, "safetensors", &error) != CS_OK)
        return 0;
    if (csi_safetensors_read(bytes, size, &set, &error) == CS_OK) {
        struct csi_buffer out;

        csi_buffer_init(&out); /* what was read can be written */
        if (csi_safetensors_write(&set, &out, &error) != CS_OK)
            abort();
        csi_buffer_free(&out);
    }
    csi_tensor_set_free(&set);
    return 0;
}
