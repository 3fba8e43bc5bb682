#!/usr/bin/python3
"""What Pillow takes for the stages that bench_image measures: pillow.py PHOTO [ROUNDS]  ->  one line a stage: name, median ms."""
import io
import statistics
import sys
import time

import numpy as np
from PIL import Image

data = open(sys.argv[1], "rb").read()
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15


def measure(name, run):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = run()
        times.append((time.perf_counter() - start) * 1e3)
    print(f"{name}\t{statistics.median(times):.3f}")
    return result


def preprocess():
    width, height = display.size
    short = min(width, height)
    size = (256 * width // short, 256 * height // short)
    left, top = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
    crop = display.resize(size, Image.BILINEAR).crop((left, top, left + 224, top + 224))
    array = np.asarray(crop, dtype=np.float32) / 255
    return ((array - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])).transpose(2, 0, 1).copy()


full = measure("decode", lambda: Image.open(io.BytesIO(data)).convert("RGB"))
scale = min(1, 800 / max(full.size))
target = [max(1, int(side * scale + 0.5)) for side in full.size]
display = measure("resize", lambda: full.resize(target, Image.LANCZOS))
measure("decode+resize exact", lambda: Image.open(io.BytesIO(data)).convert("RGB").resize(target, Image.LANCZOS))


def draft():
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (2 * target[0], 2 * target[1]))
    return image.convert("RGB").resize(target, Image.LANCZOS)


measure("decode+resize fast", draft)
measure("preprocess", preprocess)
measure("png", lambda: display.save(io.BytesIO(), "PNG", compress_level=1))
