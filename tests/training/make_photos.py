"""Draws 36 small leaf pictures in the folder layout of the training data: make_photos.py OUT."""

import os
import sys

import numpy as np
from PIL import Image

CLASSES = ["Potato__healthy", "Tomato__healthy", "Tomato__early_blight", "Wheat__yellow_rust"]


def leaf(random, label, size=240):
    """A green ellipse on grey paper; the class sets tone and spots."""
    y, x = np.mgrid[0:size, 0:size]
    image = np.full((size, size, 3), 185.0) + random.normal(0, 3, (size, size, 3))
    angle, centre = random.uniform(0, 3), size / 2 + random.uniform(-10, 10, 2)
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    inside = (u / (0.40 * size)) ** 2 + (v / (0.27 * size)) ** 2 < 1
    image[inside] = np.array([60 + 25 * label, 130, 45]) + random.normal(0, 8, (inside.sum(), 3))
    for _ in range(6 * (label >= 2)):
        spot = (x - random.uniform(60, 180)) ** 2 + (y - random.uniform(60, 180)) ** 2 < 60
        image[inside & spot] = (120, 80, 40) if label == 2 else (210, 180, 40)
    return image


def main():
    out, random, count = sys.argv[1], np.random.default_rng(5), 0
    jobs = [(f"train/{name}", k, label) for label, name in enumerate(CLASSES) for k in range(4)]
    jobs += [(f"{split}/{name}", 0, label) for split in ("val", "test") for label, name in enumerate(CLASSES)]
    jobs += [("ood/not_leaf", k, None) for k in range(4)]
    jobs += [(f"ood/other_leaf/{crop}", k, 2 * (k % 2)) for crop in ("bean", "maize") for k in range(4)]
    for folder, k, label in jobs:
        os.makedirs(os.path.join(out, folder), exist_ok=True)
        image = leaf(random, label) if label is not None else random.uniform(0, 255, (240, 320, 3)).round(-1)
        # Names are chosen so that both halves of the negatives are there (the half is a hash of the name).
        # Those of leaves of other crops tell their health.
        source = "drawn" if "other_leaf" not in folder else "drawn_spots" if label else "drawn_healthy"
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(os.path.join(out, folder, f"{source}__{k}_{count}.png"))
        count += 1
    print(f"{count} pictures")


main()
