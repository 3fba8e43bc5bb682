"""Owns cutting a single leaf out of a photo with a plain background.

The background's colour is read off the photo's border; what differs from it in chromaticity (not in brightness, so that
shadows stay background) is leaf. Photos whose border is not one plain colour have no mask. Needs numpy and Pillow only.
"""

import numpy as np
from PIL import Image, ImageFilter

_COARSE = 4  # connected regions are found on a grid this much coarser


def _otsu(values):
    histogram, edges = np.histogram(values, bins=64)
    weight = np.cumsum(histogram)
    total = np.cumsum(histogram * (edges[:-1] + edges[1:]) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (total[-1] * weight / weight[-1] - total) ** 2 / (weight * (weight[-1] - weight))
    return edges[1 + int(np.nanargmax(np.where(np.isfinite(between), between, -1)))]


def _mean3(values):
    """3 x 3 box mean with repeated edges."""
    values = np.pad(values, 1, mode="edge")
    rows = values[:-2] + values[1:-1] + values[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9


def _regions(mask):
    """Labels the 4-connected regions of a small boolean array; returns (labels from 1, sizes with 0 for background)."""
    height, width = mask.shape
    labels, sizes = np.zeros(mask.shape, np.int32), [0]
    for start in zip(*np.nonzero(mask)):
        if labels[start]:
            continue
        label, stack = len(sizes), [start]
        labels[start] = label
        size = 0
        while stack:
            y, x = stack.pop()
            size += 1
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < height and 0 <= u < width and mask[v, u] and not labels[v, u]:
                    labels[v, u] = label
                    stack.append((v, u))
        sizes.append(size)
    return labels, np.array(sizes)


def leaf_mask(rgb):
    """H x W x 3 uint8 -> H x W uint8 mask (255 = leaf, soft edge), or None where no leaf stands out clearly."""
    height, width = rgb.shape[:2]
    colour = rgb.astype(np.float32) + 8.0
    total = colour.sum(2)
    red, blue = colour[..., 0] / total, colour[..., 2] / total
    edge = max(3, min(height, width) // 24)
    border = np.zeros((height, width), bool)
    border[:edge], border[-edge:], border[:, :edge], border[:, -edge:] = True, True, True, True
    bright = total > 0.5 * np.median(total[border])
    plain = border & bright
    if plain.sum() < 0.4 * border.sum():
        return None
    centre = np.median(red[plain]), np.median(blue[plain])
    distance = np.hypot(red - centre[0], blue - centre[1])
    if np.median(distance[plain]) > 0.012:
        return None
    distance = _mean3(distance)
    threshold = max(0.022, 0.75 * _otsu(np.minimum(distance, 0.25)))
    mask = distance > threshold
    mask &= total > 60  # the colour of near-black pixels is noise
    small = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MedianFilter(5))
    small = small.filter(ImageFilter.MaxFilter(9)).filter(ImageFilter.MinFilter(9))  # grey spots belong to the leaf
    mask = np.asarray(small) > 127
    grid = (max(1, width // _COARSE), max(1, height // _COARSE))
    coarse = np.asarray(small.resize(grid, Image.BOX)) > 96
    labels, sizes = _regions(coarse)
    if len(sizes) < 2:
        return None
    leaf = labels == int(np.argmax(sizes))
    outside, outside_sizes = _regions(~leaf)
    rim = np.unique(np.concatenate([outside[0], outside[-1], outside[:, 0], outside[:, -1]]))
    holes = ~leaf & ~np.isin(outside, rim[rim > 0])
    near = Image.fromarray(leaf.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(3))
    near = np.asarray(near.resize((width, height), Image.NEAREST)) > 0
    holes = Image.fromarray(holes.astype(np.uint8) * 255)
    holes = np.asarray(holes.resize((width, height), Image.NEAREST)) > 0
    mask = (mask & near) | holes
    area = mask.mean()
    if not 0.06 <= area <= 0.92 or mask[border].mean() > 0.40:
        return None
    if np.median(distance[mask]) < 2.2 * max(np.median(distance[~mask]), 0.008):
        return None
    soft = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MinFilter(3))
    return np.asarray(soft.filter(ImageFilter.BoxBlur(1)))
