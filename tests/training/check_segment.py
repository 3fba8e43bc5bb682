"""Checks that a long leaf before a restless ground is cut out where it lies, and that a ground alone is not."""
import numpy as np

from cropshield import segment

random = np.random.default_rng(3)
ground = random.integers(30, 220, (40, 30, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
y, x = np.mgrid[0:320, 0:240]
for angle in (0.1, 1.0, 2.4):
    place = (x - 120) * np.cos(angle) + (y - 160) * np.sin(angle)
    leaf = abs(place + 12) < 45
    green = np.array([70, 140, 60]) + random.integers(-12, 13, (320, 240, 1))
    photo = np.where(leaf[..., None], green, ground).astype(np.uint8)
    mask = segment.long_leaf_mask(photo)
    assert mask is not None and mask.shape == leaf.shape and mask.dtype == np.uint8, angle
    overlap = (leaf & (mask > 127)).sum() / (leaf | (mask > 127)).sum()
    assert overlap > 0.85, (angle, overlap)
assert segment.long_leaf_mask(ground) is None
assert segment.long_leaf_mask(np.full((64, 64, 3), 90, np.uint8)) is None
print("long leaves are cut out")
