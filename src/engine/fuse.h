/* The fusion passes over the IR, in the order that csi_ir_fuse runs them. Used by ir.c alone. */
#ifndef CSI_ENGINE_FUSE_H
#define CSI_ENGINE_FUSE_H

#include "engine/ir.h"

/* Padding and batch norms into convolutions, activations into what stands before them, residual adds and 2×2
 * max-pools into the convolution before them; then drops nodes that nobody reads. */
enum cs_status csi_ir_fuse(struct csi_ir *ir, struct cs_error *error);

#endif
