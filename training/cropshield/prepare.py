"""Owns the decoded cache: from photos to the arrays that training and evaluation read.

`OUT/train.bin` holds the training photos (and the negatives of the fit half) as packed RGBA pixels, one after the other,
each at three scales (short side 224, 112, 56) so that leaves can be drawn small without aliasing; alpha is the leaf mask.
`OUT/crops_<split>.npy` holds the exact network crops of the splits that are only looked at. `OUT/cache.json` is the
index: names, labels, offsets, and the digest of every split. The cache is private to one machine and can be deleted.
"""

import hashlib
import json
import multiprocessing
import os

import numpy as np
from PIL import Image

from . import photos, segment
from .classes import CLASSES, UNTESTED
from .progress import Progress

SHORT_SIDE, LEVELS = 224, 3
NOT_LEAF, OTHER_LEAF = -1, -2  # labels of the negatives
LONG_LEAVES = {"Sugarcane": 0.75, "Wheat": 1.1}  # crops whose leaves cross the photo as a band, and how well it must stand out


def label_of(photo):
    if photo.split == "ood":
        return NOT_LEAF if photo.folder.startswith("not_leaf") else OTHER_LEAF
    return CLASSES.index(photo.folder)


def mask_of(rgb, folder):
    """H x W uint8 mask of the leaf on a photo of this class or kind of negative, or None."""
    mask, crop = segment.leaf_mask(rgb), folder.split("__")[0]
    return segment.long_leaf_mask(rgb, LONG_LEAVES[crop]) if mask is None and crop in LONG_LEAVES else mask


def _training_pixels(photo):
    image = photos.decode(photo.read())
    scale = SHORT_SIDE / min(image.size)
    width, height = (max(SHORT_SIDE, round(side * scale)) for side in image.size)
    width, height = min(width, 4 * SHORT_SIDE), min(height, 4 * SHORT_SIDE)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.BICUBIC)
    mask = mask_of(np.asarray(image), photo.folder)
    rgba = image.copy()
    rgba.putalpha(Image.fromarray(mask) if mask is not None else Image.new("L", image.size, 0))
    levels = []
    for level in range(LEVELS):
        size = (max(1, width >> level), max(1, height >> level))
        # Colour and mask are reduced apart: Pillow would weight colour by alpha.
        colour = image if level == 0 else image.resize(size, Image.BOX)
        alpha = rgba.getchannel("A") if level == 0 else rgba.getchannel("A").resize(size, Image.BOX)
        colour = colour.copy()
        colour.putalpha(alpha)
        levels.append(np.asarray(colour))
    return mask is not None, levels


def _job(task):
    kind, photo = task
    data = photo.read()
    digest = hashlib.blake2b(data, digest_size=16).digest()
    if kind == "train":
        return digest, _training_pixels(photo)
    return digest, photos.network_crop(photos.decode(data))


def _split_digest(entries):
    total = hashlib.blake2b(digest_size=32)
    for name, digest in entries:
        total.update(name.encode() + b"\0" + digest)
    return total.hexdigest()


def run(data, out, splits=("train", "val", "test", "field", "ood"), workers=None):
    """Reads the data folder and writes the cache folder `out`."""
    os.makedirs(out, exist_ok=True)
    found = [photo for photo in photos.find(data) if photo.split in splits]
    if not found:
        raise SystemExit(f"no photos of the splits {', '.join(splits)} under {data}")
    tasks = [("train", p) for p in found if p.split == "train" or (p.split == "ood" and photos.in_fit_half(p.name))]
    tasks += [("crop", p) for p in found if p.split != "train"]
    index = {"short_side": SHORT_SIDE, "levels": LEVELS, "train": [], "crops": {}, "digests": {}}
    crops, digests, offset = {}, {}, 0
    progress = Progress("prepare", len(tasks))
    path = os.path.join(out, "cache.json")
    if os.path.exists(path):
        os.remove(path)  # what an interruption leaves behind must not look like a cache
    with multiprocessing.Pool(workers) as pool, open(os.path.join(out, "train.bin"), "wb") as pixels:
        for (kind, photo), (digest, result) in zip(tasks, pool.imap(_job, tasks, chunksize=16)):
            if kind == "train":
                has_mask, levels = result
                entry = {"name": photo.name, "label": label_of(photo), "mask": int(has_mask), "levels": []}
                for level in levels:
                    entry["levels"].append([offset, level.shape[0], level.shape[1]])
                    offset += level.shape[0] * level.shape[1]
                    pixels.write(level.tobytes())
                index["train"].append(entry)
            else:
                crops.setdefault(photo.split, []).append(result)
                index["crops"].setdefault(photo.split, []).append({"name": photo.name, "label": label_of(photo)})
            if kind == "crop" or photo.split == "train":
                digests.setdefault(photo.split, []).append((photo.name, digest))
            progress.step()
    progress.close()
    for split, arrays in crops.items():
        np.save(os.path.join(out, f"crops_{split}.npy"), np.stack(arrays))
    index["digests"] = {split: _split_digest(entries) for split, entries in sorted(digests.items())}
    with open(path + ".new", "w") as file:
        json.dump(index, file)
    os.replace(path + ".new", path)
    counts = {split: len(entries) for split, entries in sorted(digests.items())}
    masked = sum(entry["mask"] for entry in index["train"])
    seen = {entry["label"] for entry in index["train"]}
    for label, name in enumerate(CLASSES):
        if label not in seen and name not in UNTESTED:
            print(f"warning: no training photo of {name}: nothing will be learnt about it")
    print(f"prepared {counts}, {masked} of {len(index['train'])} training photos with a leaf mask, in {out}")


class Cache:
    """What `run` wrote. `pixels()` is the packed training data; `crops(split)` gives (crops, labels, names)."""

    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "cache.json")) as file:
            self.index = json.load(file)

    def pixels(self):
        pixels = np.memmap(os.path.join(self.folder, "train.bin"), dtype="<i4", mode="c")
        offset, height, width = self.index["train"][-1]["levels"][-1]
        if len(pixels) != offset + height * width:
            raise SystemExit(f"{self.folder}: train.bin is not the one that cache.json tells of: prepare it again")
        return pixels

    def splits(self):
        return sorted(self.index["crops"])

    def crops(self, split):
        entries = self.index["crops"][split]
        crops = np.load(os.path.join(self.folder, f"crops_{split}.npy"))
        return crops, np.array([entry["label"] for entry in entries]), [entry["name"] for entry in entries]
