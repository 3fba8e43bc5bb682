/* Fuzz target: the front door: any model file, up to a checked network. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "formats/model_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct csi_graph *graph;
    struct csi_hash digest;
    struct cs_error error;

    if (csi_model_file_read(bytes, size, NULL, &graph, &digest, &error) != CS_OK)
        return 0;
    if (csi_graph_validate(graph, &error) != CS_OK || csi_graph_macs(graph) < 0.0)
        abort(); /* what is read is sound */
    csi_graph_destroy(graph);
    return 0;
}
