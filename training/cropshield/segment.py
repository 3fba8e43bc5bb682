"""Owns cutting a single leaf out of a photo: any leaf before a plain background, a long straight one before any.

`leaf_mask`: the background's colour is read off the photo's border; what differs from it in chromaticity (not in brightness, so
that shadows stay background) is leaf. Photos whose border is not one plain colour have no mask.

`long_leaf_mask`: leaves of sugar cane and wheat cross the photo as a straight band. Of all bands through its middle the one is
taken whose colours and roughness are told best from the rest by two normal distributions, if they are told well.

Needs numpy and Pillow only.
"""

import numpy as np
from PIL import Image, ImageFilter

_COARSE = 4  # connected regions are found on a grid this much coarser
_BAND_SIDE, _BAND_ANGLES = 72, 24  # short side and directions that bands are looked for with


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


# Long leaves ----------------------------------------------------------------------------------------------------------


def _band_features(rgb):
    """(h, w, 4) brightness, two chromaticities and roughness of a small copy, scaled to weigh about alike."""
    height, width = rgb.shape[:2]
    scale = _BAND_SIDE / min(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    colour = np.asarray(Image.fromarray(rgb).resize(size, Image.BOX)).astype(np.float32) + 8
    total = colour.sum(2)
    grey = np.asarray(Image.fromarray(rgb).convert("L")).astype(np.float32)
    rough = np.abs(np.diff(grey, axis=0, prepend=grey[:1])) + np.abs(np.diff(grey, axis=1, prepend=grey[:, :1]))
    rough = np.asarray(Image.fromarray(np.minimum(rough, 255).astype(np.uint8)).resize(size, Image.BOX)).astype(np.float32)
    return np.stack([np.log(total / 3) / 2, 6 * colour[..., 0] / total, 6 * colour[..., 2] / total,
                     np.log(rough + 4) / 2.5], -1)


def _spread(count, sums, squares):
    """Sum over the features of the logarithm of their variance."""
    return np.log(np.maximum(squares / count[:, None] - (sums / count[:, None]) ** 2, 0) + 1e-3).sum(1)


def _best_band(features, angles):
    """(gain in nats a pixel, angle, from, to): where along its normal, from the middle, the best band lies; or None."""
    height, width, _ = features.shape
    flat = features.reshape(height * width, -1).astype(np.float64)
    count, sums, squares = np.array([float(len(flat))]), flat.sum(0, keepdims=True), (flat ** 2).sum(0, keepdims=True)
    together = count * _spread(count, sums, squares)
    y, x = np.mgrid[0:height, 0:width]
    reach = int(np.ceil(np.hypot(height, width) / 2))
    low, high = np.meshgrid(np.arange(2 * reach), np.arange(1, 2 * reach + 1), indexing="ij")
    asked = (high - low >= _BAND_SIDE // 8) & (high - low <= 0.85 * _BAND_SIDE) & (low < reach - 1) & (high > reach + 1)
    best = None
    for angle in angles:
        place = np.rint((x - (width - 1) / 2) * np.cos(angle) + (y - (height - 1) / 2) * np.sin(angle)).astype(int) + reach

        def along(weights):
            return np.cumsum(np.bincount(place.ravel(), weights, 2 * reach + 1))

        counts = along(None).astype(float)
        ways = np.stack([along(column) for column in flat.T], 1), np.stack([along(column ** 2) for column in flat.T], 1)
        from_, to = low[asked], high[asked]
        inside = counts[to] - counts[from_]
        kept = (inside > 0.08 * count) & (inside < 0.85 * count)
        if not kept.any():
            continue
        from_, to, inside = from_[kept], to[kept], inside[kept]
        in_sums, in_squares = (values[to] - values[from_] for values in ways)
        of_band = _spread(inside, in_sums, in_squares)
        of_rest = _spread(count - inside, sums - in_sums, squares - in_squares)
        gain = (together - inside * of_band - (count - inside) * of_rest) / count
        gain = np.where(of_rest - of_band > -0.3, gain, -1.0)  # a leaf is more even than what lies around it
        i = int(gain.argmax())
        if best is None or gain[i] > best[0]:
            best = float(gain[i]), float(angle), from_[i] - reach + 0.5, to[i] - reach + 0.5
    return best


def long_leaf_mask(rgb, gain=0.75):
    """H x W x 3 uint8 -> H x W uint8 mask (255 = leaf) of a straight band, or None where none stands out clearly.

    gain: nats a pixel that a band must explain; below it, among foliage, it is often no leaf.
    """
    height, width = rgb.shape[:2]
    features, step = _band_features(rgb), np.pi / _BAND_ANGLES
    found = _best_band(features, step * np.arange(_BAND_ANGLES))
    if found is None or found[0] < gain:
        return None
    _, angle, low, high = _best_band(features, found[1] + step * np.arange(-2, 3) / 4)
    scale = _BAND_SIDE / min(height, width)
    y, x = np.mgrid[0:height, 0:width]
    place = ((x - (width - 1) / 2) * np.cos(angle) + (y - (height - 1) / 2) * np.sin(angle)) * scale
    mask = Image.fromarray(((place > low) & (place < high)).astype(np.uint8) * 255)
    return np.asarray(mask.filter(ImageFilter.BoxBlur(1)))
