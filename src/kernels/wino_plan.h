/*
 * Inside the Winograd family: the variants and the sizes that follow from a variant and a layer.
 */
#ifndef CSI_KERNELS_WINO_PLAN_H
#define CSI_KERNELS_WINO_PLAN_H

#include "base/checked.h"
#include "kernels/wino_ops.h"

/* See generic/wino_driver.c. */
enum csi_wino_schedule { CSI_WINO_BANDED, CSI_WINO_STAGED, CSI_WINO_COMPACT };

struct csi_wino {
    const char *name;
    const struct csi_wino_ops *ops;
    enum csi_wino_size size;
    enum csi_wino_schedule schedule;
    const struct csi_wino_fixed_ops *fixed; /* NULL: float32 */
};

struct csi_wino_shape {
    const struct csi_wino_ops *ops;
    const struct csi_wino_fixed_ops *fixed;
    enum csi_wino_size size;
    size_t side, positions;  /* output pixels a tile side; (side + 2)² */
    size_t kpitch, npitch;   /* padded input and output channels */
    size_t outputs;          /* blocks of ops->lanes output channels */
    size_t rows;             /* most tiles of a panel */
    bool padded;             /* V and M have room for a last panel of as many tiles as the others */
    void (*end)(void);       /* after a thread's products; or NULL */
    size_t tiles_y, tiles_x; /* of one image */
    bool compact;            /* weights are packed as they are and transformed while the layer runs */
};

/* Floats of the compact weights of an output block. */
static inline size_t csi_wino_compact_floats(const struct csi_wino_shape *shape)
{
    return 9 * shape->kpitch * shape->ops->lanes;
}

/* Input channels padded to whole blocks of split numbers; a number takes as much memory as a float. */
static inline size_t csi_wino_split_pitch(const struct csi_wino_shape *shape)
{
    return (shape->kpitch + CSI_WINO_SPLIT_BLOCK - 1) / CSI_WINO_SPLIT_BLOCK * CSI_WINO_SPLIT_BLOCK;
}

/* Fixed point: input channels padded as weights are. */
static inline size_t csi_wino_fixed_pitch(const struct csi_wino_shape *shape)
{
    return csi_round_up(shape->kpitch, shape->fixed->weights_block);
}

/* Floats of memory that the weights of one position and output block take, and V of one tile (without the
 * panels' heads). */
static inline size_t csi_wino_weight_floats(const struct csi_wino_shape *shape)
{
    if (shape->ops->split)
        return shape->ops->lanes * csi_wino_split_pitch(shape);
    return shape->ops->lanes * (shape->fixed ? 1 + csi_wino_fixed_pitch(shape) / 2 : shape->kpitch);
}
static inline size_t csi_wino_tile_floats(const struct csi_wino_shape *shape)
{
    if (shape->ops->split)
        return csi_wino_split_pitch(shape);
    return shape->fixed ? csi_round_up(shape->kpitch, shape->fixed->block) / 2 : shape->kpitch;
}

/* False when a size is zero or out of range. */
bool csi_wino_shape_make(const struct csi_wino *kernel, const struct csi_wino_desc *desc,
                         struct csi_wino_shape *shape);

#endif
