/* Fuzz target: the ONNX reader, from protobuf to the finished network. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "formats/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct csi_graph *graph;
    struct cs_error error;
    json_t *metadata = json_object();

    if (csi_graph_create(&graph, &error) != CS_OK) {
        json_decref(metadata);
        return 0;
    }
    if (csi_onnx_read(bytes, size, 0, graph, metadata, &error) == CS_OK) {
        char *config = csi_graph_to_config(graph); /* what was read can be written */

        if (config == NULL || csi_graph_macs(graph) < 0.0)
            abort();
        free(config);
    }
    csi_graph_destroy(graph);
    json_decref(metadata);
    return 0;
}
