/* Fuzz target: checkpoints and TorchScript archives. */
#include <stddef.h>
#include <stdint.h>

#include "formats/pytorch.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct csi_tensor_set set;
    struct cs_error error;

    if (csi_tensor_set_init(&set, "pytorch", &error) != CS_OK)
        return 0;
    (void)csi_pytorch_read(bytes, size, &set, &error);
    csi_tensor_set_free(&set);
    return 0;
}
