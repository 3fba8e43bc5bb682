"""Owns finding photos and turning them into pixels: data folders, tar files, and the exact preprocessing.

A data folder holds ImageFolder trees `<split>/<class>/<source>__<n>.<ext>` or tar files of such paths, or both. What a
user's photo goes through before the network (`network_crop`) is defined here and nowhere else on the training side.
Does not augment and does not cache.
"""

import hashlib
import io
import os
import tarfile

import numpy as np
from PIL import Image, ImageOps

MAX_SIZE, RESIZE, CROP = 800, 256, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")

PREPROCESS = {"max_size": MAX_SIZE, "resize": RESIZE, "crop": CROP, "display_filter": "lanczos",
              "resize_filter": "bilinear", "mean": list(MEAN), "std": list(STD)}


class Photo:
    """Where one photo lies: `name` is `<split>/<class>/<file>`; `read()` gives its bytes."""

    def __init__(self, name, path, offset=None, size=None):
        self.name, self.path, self.offset, self.size = name, path, offset, size
        parts = name.split("/")
        self.split, self.folder = parts[0], "/".join(parts[1:-1])
        self.source = parts[-1].split("__")[0]

    def read(self):
        with open(self.path, "rb") as file:
            if self.offset is None:
                return file.read()
            file.seek(self.offset)
            return file.read(self.size)


def find(data):
    """All photos under the folder `data` (trees and tar files), sorted by name, each name once."""
    found = {}
    for root, _, files in os.walk(data):
        for file in files:
            path = os.path.join(root, file)
            if file.endswith(".tar"):
                with tarfile.open(path) as archive:
                    for member in archive:
                        if member.isfile() and member.name.lower().endswith(EXTENSIONS):
                            found.setdefault(member.name, Photo(member.name, path, member.offset_data, member.size))
            elif file.lower().endswith(EXTENSIONS):
                name = os.path.relpath(path, data).replace(os.sep, "/")
                if name.count("/") >= 2:
                    found.setdefault(name, Photo(name, path))
    return [found[name] for name in sorted(found)]


def health_of(name):
    """True where the name of a photo says that its leaf is healthy, False where it names a disease, None where neither.

    `<split>/<class>/…` of the supported crops; of leaves of other crops `ood/other_leaf/<crop>/<source>_<condition>__<n>`,
    where a condition that starts with `hea` is a healthy leaf's and any other a disease's.
    """
    parts = name.split("/")
    if parts[0] != "ood":
        return parts[-2].endswith("__healthy") if len(parts) > 1 else None
    source, _, condition = parts[-1].split("__")[0].partition("_")
    return condition.startswith("hea") if parts[1] == "other_leaf" and source and condition else None


def in_fit_half(name):
    """Whether a negative belongs to the half that may be fitted on; the other half is only for reporting."""
    return hashlib.blake2b(os.path.basename(name).encode(), digest_size=1).digest()[0] % 2 == 0


def decode(data):
    """Encoded bytes -> upright RGB image; transparent pixels on white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def display_size(image):
    """Long side at most MAX_SIZE, Lanczos, never enlarged; sides are rounded to the nearest pixel, at least 1."""
    width, height = image.size
    scale = MAX_SIZE / max(width, height)
    if scale >= 1:
        return image
    return image.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.LANCZOS)


def network_crop(image):
    """Upright RGB image -> CROP x CROP x 3 uint8, as CropShield's C code makes it."""
    image = display_size(image)
    width, height = image.size
    short = min(width, height)
    width, height = max(RESIZE, int(RESIZE * width / short)), max(RESIZE, int(RESIZE * height / short))
    image = image.resize((width, height), Image.BILINEAR)
    left, top = int(round((width - CROP) / 2.0)), int(round((height - CROP) / 2.0))
    return np.asarray(image.crop((left, top, left + CROP, top + CROP)))
