/*
 * Fuzz target: finding and reading the EXIF orientation. The first byte picks the container; the rest is its
 * content.
 */
#include <stdlib.h>

#include "image/exif.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    int orientation = 0;

    if (size == 0)
        return 0;
    if (csi_exif_orientation((enum cs_image_format)(1 + bytes[0] % 3), bytes + 1, size - 1, &orientation,
                             NULL) == CS_OK &&
        (orientation < 1 || orientation > 8))
        abort();
    return 0;
}
