/*
 * Inside the Winograd family: the variants and the sizes that follow from a variant and a layer.
 */
#ifndef CSI_KERNELS_WINO_PLAN_H
#define CSI_KERNELS_WINO_PLAN_H

#include "kernels/wino_ops.h"

struct csi_wino {
    const char *name;
    const struct csi_wino_ops *ops;
    enum csi_wino_size size;
    bool staged;
};

struct csi_wino_shape {
    const struct csi_wino_ops *ops;
    enum csi_wino_size size;
    size_t side, positions;  /* output pixels a tile side; (side + 2)² */
    size_t kpitch, npitch;   /* padded input and output channels */
    size_t outputs;          /* blocks of ops->lanes output channels */
    size_t tiles_y, tiles_x; /* of one image */
};

/* False when a size is zero or out of range. */
bool csi_wino_shape_make(const struct csi_wino *kernel, const struct csi_wino_desc *desc,
                         struct csi_wino_shape *shape);

#endif
