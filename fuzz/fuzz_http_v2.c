/*
 * Fuzz target: inference requests (JSON with binary tensor data). The first two bytes choose where the JSON
 * ends; the network's side is small, so that whole tensors fit into an input. Everything a request points to
 * must lie in the bytes it owns.
 */
#include <stdlib.h>

#include "server/v2_request.h"

#define SIDE 2u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct csi_v2_request request;
    struct cs_error error;
    size_t header = SIZE_MAX;
    volatile unsigned sum = 0;

    if (size < 2)
        return 0;
    if (bytes[0] != 0xff || bytes[1] != 0xff)
        header = (size_t)bytes[0] | (size_t)bytes[1] << 8;
    if (csi_v2_request_parse(bytes + 2, size - 2, header, SIDE, &request, &error) != CS_OK)
        return 0;
    if (request.batch < 1 || request.batch > CSI_V2_BATCH_MAX || request.wanted_count > CSI_V2_OUTPUTS)
        abort();
    for (size_t i = 0; i < request.batch; i++)
        if (request.images)
            for (size_t j = 0; j < request.photos[i].size; j++)
                sum += request.photos[i].bytes[j];
        else
            for (size_t j = 0; j < 3 * SIDE * SIDE; j++)
                sum += request.tensor[i * 3 * SIDE * SIDE + j] > 0;
    csi_v2_request_free(&request);
    return 0;
}
