/* Fuzz target: class lists (class_to_idx.json). */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "formats/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    json_t *classes;
    struct cs_error error;

    if (csi_classes_parse(bytes, size, &classes, &error) == CS_OK && json_array_size(classes) == 0)
        abort(); /* a list that is accepted has classes */
    json_decref(classes);
    return 0;
}
