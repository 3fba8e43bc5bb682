"""Owns the content check: cheap features of the 224 x 224 RGB crop that do not depend on any network.

All of them are counts and sums of integers, so that the C code gets the same numbers to the last bit of a double. The
exact definition of each stands in training/README.md; this file is its reference implementation.
"""

import math

import numpy as np

FEATURES = ("leaf", "green", "excess_green", "luma_mean", "luma_std", "sharpness", "edges", "dark", "bright", "vivid",
            "flat", "hue_entropy", "red", "blue")


def features(crop):
    """H x W x 3 uint8 -> float64 array in the order of FEATURES."""
    pixel = crop.astype(np.int64)
    red, green, blue = pixel[..., 0], pixel[..., 1], pixel[..., 2]
    count = red.size
    luma = (77 * red + 150 * green + 29 * blue) >> 8
    high, low = pixel.max(2), pixel.min(2)
    chroma = high - low
    coloured = (8 * chroma >= high) & (high >= 40)

    leaf = coloured & (blue == low) & (10 * green >= 7 * red)
    is_green = coloured & (green == high) & (green > red)
    is_blue = coloured & (blue == high) & (blue > green)
    is_red = coloured & (red == high) & (10 * green < 7 * red)
    vivid = (2 * chroma > high) & (high >= 40)

    mean = luma.sum() / count
    deviation = math.sqrt(max(0.0, (luma * luma).sum() / count - mean * mean))

    middle = luma[1:-1, 1:-1]
    across, down = luma[1:-1, 2:] - luma[1:-1, :-2], luma[2:, 1:-1] - luma[:-2, 1:-1]
    laplacian = 4 * middle - luma[1:-1, 2:] - luma[1:-1, :-2] - luma[2:, 1:-1] - luma[:-2, 1:-1]
    inner = middle.size
    laplacian_mean = laplacian.sum() / inner
    variance = max(0.0, (laplacian * laplacian).sum() / inner - laplacian_mean * laplacian_mean)
    slope = np.abs(across) + np.abs(down)

    mid = red + green + blue - high - low
    sector = np.where(high == red, np.where(blue == low, 0, 5),
                      np.where(high == green, np.where(blue == low, 1, 2), np.where(red == low, 3, 4)))
    hues = np.bincount((2 * sector + (2 * (mid - low) >= chroma))[chroma >= 24], minlength=12)
    total = int(hues.sum())
    entropy = -sum(n / total * math.log(n / total) for n in hues.tolist() if n) / math.log(12) if total else 0.0

    return np.array([
        leaf.sum() / count, is_green.sum() / count, (2 * green - red - blue).sum() / count / 255, mean / 255,
        deviation / 255, math.log1p(variance), (slope > 40).sum() / inner, (luma < 30).sum() / count,
        (luma > 235).sum() / count, vivid.sum() / count, (slope == 0).sum() / inner, entropy, is_red.sum() / count,
        is_blue.sum() / count])
