/*
 * Inference requests of the Open Inference Protocol v2: JSON, with the binary tensor data and classification
 * extensions. A pure parser over bytes; what is computed with them is route_v2_infer.c's business. Source:
 * https://github.com/kserve/open-inference-protocol, and Triton's extension_binary_data.md,
 * extension_classification.md.
 */
#ifndef CSI_SERVER_V2_REQUEST_H
#define CSI_SERVER_V2_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define CSI_V2_BATCH_MAX 64u

enum csi_v2_output { CSI_V2_PROBABILITIES, CSI_V2_LOGITS, CSI_V2_EMBEDDING, CSI_V2_CAM, CSI_V2_OUTPUTS };
const char *csi_v2_output_name(enum csi_v2_output output);

struct csi_v2_wanted {
    enum csi_v2_output output;
    bool binary;
    size_t classification; /* the k best as "value:index:label"; 0: numbers */
    size_t class_index;    /* of a cam: parameter "class"; SIZE_MAX: each photo's best */
};

struct csi_v2_request {
    char id[128];
    size_t batch; /* photos, 1…CSI_V2_BATCH_MAX */
    /* Input IMAGE: encoded photos, pointing into the body or into `decoded`. */
    bool images;
    struct {
        const uint8_t *bytes;
        size_t size;
    } photos[CSI_V2_BATCH_MAX];
    uint8_t *decoded;
    /* Input "input": batch×3×side×side finite numbers. */
    float *tensor;
    struct csi_v2_wanted wanted[CSI_V2_OUTPUTS];
    size_t wanted_count;
    bool wanted_all; /* none was asked for: all that the model has */
};

/* `header_size`: Inference-Header-Content-Length, SIZE_MAX when there is none (all is JSON), 0: no JSON, the
 * body is one photo ("raw binary request"). `side`: of the network's input. CS_BAD_REQUEST says what is
 * wrong. On success csi_v2_request_free, and `body` must live as long. Thread-safe; JSON that takes much
 * memory while it is read waits until no other does. */
enum cs_status csi_v2_request_parse(const uint8_t *body, size_t size, size_t header_size, size_t side,
                                    struct csi_v2_request *request, struct cs_error *error);
void csi_v2_request_free(struct csi_v2_request *request);

#endif
