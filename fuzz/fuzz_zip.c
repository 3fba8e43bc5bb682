/* Fuzz target: the ZIP guard and reader: every entry of whatever opens is read. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "formats/zip_archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct csi_zip *zip;
    struct cs_error error;

    if (csi_zip_open(bytes, size, &zip, &error) != CS_OK)
        return 0;
    for (size_t i = 0; i < csi_zip_count(zip); i++) {
        const uint8_t *content;

        if (csi_zip_read(zip, i, &content, &error) == CS_OK && csi_zip_find(zip, csi_zip_name(zip, i)) != i)
            abort(); /* names are unique */
    }
    csi_zip_close(zip);
    return 0;
}
