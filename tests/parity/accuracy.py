#!/usr/bin/python3
"""Accuracy of the reference network as PyTorch and Pillow give it: accuracy.py MODEL.safetensors DIR [--every N]

Prints a JSON object: the SHA-256 of the weights, top1, images, and the predicted class of each photo (<class>/<file>). --every N
takes each Nth photo of a class. What it prints for the published weights and the whole test split is kept:

    tests/parity/accuracy.py models/cropshield_cnn.safetensors "$CROPSHIELD_DATA/test" >tests/data/parity/test_split.json

DIR/<class>/photo. Preprocessing as the model states it: EXIF orientation, RGB, long side to 800 (Lanczos, never enlarged), short
side to 256 (bilinear), centre crop 224, mean and deviation.
"""
import argparse
import hashlib
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
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model")
    arguments.add_argument("folder")
    arguments.add_argument("--every", type=int, default=1)
    options = arguments.parse_args()
    model, metadata = load(options.model)
    classes, p = json.loads(metadata["classes"]), json.loads(metadata["preprocess"])
    photos = [f"{name}/{file}" for name in sorted(os.listdir(options.folder)) if name in classes
              for file in sorted(os.listdir(os.path.join(options.folder, name)))[::options.every]]
    predicted = {}
    with torch.no_grad():
        for i in range(0, len(photos), 16):
            part = photos[i:i + 16]
            batch = torch.from_numpy(np.stack([preprocess(os.path.join(options.folder, photo), p) for photo in part]))
            predicted.update(zip(part, (classes[top] for top in model(batch).argmax(1).tolist())))
    right = sum(photo.startswith(name + "/") for photo, name in predicted.items())
    with open(options.model, "rb") as file:
        weights = hashlib.sha256(file.read()).hexdigest()
    print(json.dumps({"weights": weights, "top1": right / len(photos), "images": len(photos), "predicted": predicted}, indent=0))


main()
