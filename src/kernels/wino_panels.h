/*
 * Inside the Winograd family: tiles are multiplied panel by panel; how panels lie in V and M (wino_ops.h).
 * `tiles` is what a band or a staged group has.
 */
#ifndef CSI_KERNELS_WINO_PANELS_H
#define CSI_KERNELS_WINO_PANELS_H

#include "kernels/wino_plan.h"

/* The i-th of `parts` nearly equal ranges of `total` begins here. */
static inline size_t csi_wino_part(size_t total, size_t parts, size_t i)
{
    return total * i / parts;
}

static inline size_t csi_wino_panels(const struct csi_wino_shape *shape, size_t tiles)
{
    return (tiles + shape->rows - 1) / shape->rows;
}

/* Tiles of each panel but the last, which may have fewer. */
static inline size_t csi_wino_panel_rows(const struct csi_wino_shape *shape, size_t tiles)
{
    const size_t panels = csi_wino_panels(shape, tiles);
    return (tiles + panels - 1) / panels;
}

/* A panel's tiles: the first one's number and how many. */
struct csi_wino_panel {
    size_t start, rows;
};

static inline struct csi_wino_panel csi_wino_panel_at(const struct csi_wino_shape *shape, size_t tiles,
                                                      size_t index)
{
    const size_t rows = csi_wino_panel_rows(shape, tiles), start = index * rows;
    return (struct csi_wino_panel){start, csi_min_size(rows, tiles - start)};
}

/* As many as V and M have room for: products on tile registers take the last panel for as many tiles as the
 * others. */
static inline size_t csi_wino_padded_tiles(const struct csi_wino_shape *shape, size_t tiles)
{
    return shape->padded ? csi_wino_panels(shape, tiles) * csi_wino_panel_rows(shape, tiles) : tiles;
}

/* Position strides: one more cache line than the data, so that powers of two do not fall into one cache set.
 */
static inline size_t csi_wino_v_stride(const struct csi_wino_shape *shape, size_t tiles)
{
    const size_t heads = shape->fixed ? csi_wino_panels(shape, tiles) * CSI_WINO_FIXED_HEAD : 0;
    return csi_round_up(csi_wino_padded_tiles(shape, tiles) * csi_wino_tile_floats(shape), 16) + heads + 16;
}

static inline size_t csi_wino_m_stride(const struct csi_wino_shape *shape, size_t tiles)
{
    return csi_round_up(csi_wino_padded_tiles(shape, tiles) * shape->ops->lanes, 16) + 16;
}

/* Where in V (of one position) a panel that starts with tile `start` stands. */
static inline size_t csi_wino_panel_offset(const struct csi_wino_shape *shape, size_t panel, size_t start)
{
    return start * csi_wino_tile_floats(shape) + (shape->fixed ? panel * CSI_WINO_FIXED_HEAD : 0);
}

/* M of one position and output block for all tiles; `next`: what the next call multiplies, to be fetched
 * meanwhile. M may be incomplete until shape->end is called. */
void csi_wino_multiply(const struct csi_wino_shape *shape, struct csi_wino_factors factors,
                       struct csi_wino_factors next, float *m, size_t tiles);

#endif
