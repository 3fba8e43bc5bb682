/*
 * Fuzz target: the PNG reader behind its limits, scaled, resampled and whole. A failure has to carry a status
 * and leave no image.
 */
#include "fuzz_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    return csi_fuzz_image(CS_FORMAT_PNG, bytes, size);
}
