#!/usr/bin/python3
"""The path of the Python app that CropShield replaces, stage by stage, on one photo; one JSON line with median ms.

    replaced_path.py MODEL.safetensors PHOTO THREADS ITERATIONS

Decode with Pillow, Lanczos to 800 px, preprocess, PyTorch forward, Grad-CAM by a second forward and a backward pass with hooks on
block4, overlay with a colour table: what that app did for each photo that it had not seen.
"""
import json
import sys
import time

import numpy as np
import torch
from PIL import Image

from export import load

path, photo, threads, iterations = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
model, metadata = load(path)
p = json.loads(metadata["preprocess"])
mean, deviation = np.float32(p["mean"]), np.float32(p["std"])
stages = {}


def timed(name, function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    stages.setdefault(name, []).append((time.perf_counter() - start) * 1e3)
    return result


def decode():
    return Image.open(photo).convert("RGB")


def resize(image):
    scale = 800 / max(image.size)
    return image if scale >= 1 else image.resize([round(side * scale) for side in image.size], Image.LANCZOS)


def preprocess(image):
    width, height = image.size
    scale = 256 / min(width, height)
    image = image.resize((round(width * scale), round(height * scale)), Image.BILINEAR)
    left, top = (image.size[0] - 224) // 2, (image.size[1] - 224) // 2
    array = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float32) / 255
    return torch.from_numpy(((array - mean) / deviation).transpose(2, 0, 1)[None].copy())


def forward(x):
    with torch.no_grad():
        return model(x)


def gradcam(x, index):
    kept = {}
    hooks = [model.block4.register_forward_hook(lambda m, i, o: kept.__setitem__("a", o)),
             model.block4.register_full_backward_hook(lambda m, gi, go: kept.__setitem__("g", go[0]))]
    model.zero_grad()
    model(x.requires_grad_(True))[0, index].backward()
    for hook in hooks:
        hook.remove()
    weights = kept["g"].mean((2, 3), keepdim=True)
    cam = torch.relu((weights * kept["a"]).sum(1))[0].detach().numpy()
    return (cam - cam.min()) / (cam.max() - cam.min() + 1e-8)


def overlay(image, cam):
    heat = np.asarray(Image.fromarray(np.uint8(255 * cam)).resize(image.size, Image.BILINEAR), dtype=np.float32) / 255
    jet = np.clip(np.stack([1.5 - np.abs(4 * heat - c) for c in (3, 2, 1)], -1), 0, 1)
    return Image.fromarray(np.uint8(0.5 * np.asarray(image) + 127.5 * jet))


for i in range(2 + iterations):
    if i == 2:
        stages.clear()
    start = time.perf_counter()
    small = timed("resize", resize, timed("decode", decode))
    x = timed("preprocess", preprocess, small)
    y = timed("inference", forward, x)
    timed("overlay", overlay, small, timed("gradcam", gradcam, x.clone(), int(y.argmax())))
    stages.setdefault("total", []).append((time.perf_counter() - start) * 1e3)
print(json.dumps({name: round(float(np.median(values)), 1) for name, values in stages.items()}))
