/* Forward and backward of single operators on NCHW tensors of one photo, in plain C. Used by backward.c
 * alone. */
#ifndef CSI_ENGINE_TAIL_OPS_H
#define CSI_ENGINE_TAIL_OPS_H

#include "graph/graph.h"

/* One operand: numbers and, when it takes part in differentiation, the gradient to add to. */
struct csi_tail_operand {
    unsigned rank;
    const size_t *dims;
    size_t count;
    const float *data;
    float *gradient; /* NULL: constant or independent of the target */
};

/* False: no backward pass for this operator. */
bool csi_tail_supports(const struct csi_node *node);

/* out->data is written through `result`. */
void csi_tail_forward(const struct csi_node *node, const struct csi_tail_operand *in,
                      const struct csi_tail_operand *out, float *result);
/* Adds d loss / d in to in[…].gradient, given out->gradient. */
void csi_tail_backward(const struct csi_node *node, const struct csi_tail_operand *in,
                       const struct csi_tail_operand *out);

#endif
