/* The fusion passes over the IR, in the order that csi_ir_fuse runs them. Used by ir.c alone. */
#ifndef CSI_ENGINE_FUSE_H
#define CSI_ENGINE_FUSE_H

#include "engine/ir.h"

/* Padding and batch norms into convolutions, activations into what stands before them, residual adds and 2×2
 * max-pools into the convolution before them; then drops nodes that nobody reads. */
enum cs_status csi_ir_fuse(struct csi_ir *ir, struct cs_error *error);

/* Multiplies a convolution's weights by the factors that fusing a batch norm left, if there are any: into a
 * copy of its own, they are the graph's. CS_MODEL_INVALID: they leave float32's range. */
enum cs_status csi_ir_apply_factors(const struct csi_ir *ir, struct csi_ir_node *conv,
                                    struct cs_error *error);

#endif
