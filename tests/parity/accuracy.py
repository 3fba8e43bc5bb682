#!/usr/bin/python3
"""Accuracy of the reference network as PyTorch and Pillow give it: accuracy.py MODEL.safetensors DIR  ->  {"top1": …, "images": …,
"predicted": {photo: class}}

DIR/<class>/photo. Preprocessing as the model states it: EXIF orientation, RGB, long side to 800 (Lanczos, never enlarged), short
side to 256 (bilinear), centre crop 224, mean and deviation.
"""
import json
import os
import sys

import numpy as np
import torch
from PIL import Image, ImageOps

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench", "peers"))
from export import load  # noqa: E402


def preprocess(path, p):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    longest = max(image.size)
    if longest > p["max_size"]:
        scale = p["max_size"] / longest
        image = image.resize([max(1, int(side * scale + 0.5)) for side in image.size], Image.LANCZOS)
    width, height = image.size
    short = min(width, height)
    size = (p["resize"], int(p["resize"] * height / width)) if width == short else (int(p["resize"] * width / height), p["resize"])
    image = image.resize(size, Image.BILINEAR)
    crop = p["crop"]
    left, top = int(round((size[0] - crop) / 2.0)), int(round((size[1] - crop) / 2.0))
    array = np.asarray(image.crop((left, top, left + crop, top + crop)), dtype=np.float32) / 255
    return ((array - np.float32(p["mean"])) / np.float32(p["std"])).transpose(2, 0, 1)


def main():
    model, metadata = load(sys.argv[1])
    classes, p = json.loads(metadata["classes"]), json.loads(metadata["preprocess"])
    right = images = 0
    predicted = {}
    with torch.no_grad():
        for name in sorted(os.listdir(sys.argv[2])):
            folder = os.path.join(sys.argv[2], name)
            if name not in classes:
                continue
            files = [os.path.join(folder, f) for f in sorted(os.listdir(folder))]
            for i in range(0, len(files), 16):
                batch = torch.from_numpy(np.stack([preprocess(f, p) for f in files[i:i + 16]]))
                top = model(batch).argmax(1).tolist()
                right += top.count(classes.index(name))
                predicted.update(zip(files[i:i + 16], (classes[t] for t in top)))
            images += len(files)
    print(json.dumps({"top1": right / images, "images": images, "predicted": predicted}))


main()
