#!/usr/bin/env python3
"""Draws the photos that documents and command-line tests speak of: samples.py DIR

leaf.jpg (3000×4000, EXIF orientation 6, like a phone's), field.jpg, leaf.png, leaf.webp, shoe.jpg, photos/ and labelled/. Own
drawings, seeded: always the same. With CROPSHIELD_BUILD set, they are drawn once and kept there, by the hash of this file; DIR gets
copies.
"""
import hashlib
import math
import os
import random
import shutil
import sys
import tempfile

from PIL import Image, ImageDraw, ImageFilter


def leaf(width, height, seed, spots=12, background=(150, 146, 140)):
    """A green leaf with veins and brown spots on a plain ground."""
    rng = random.Random(seed)
    image = Image.new("RGB", (width, height), background)
    draw = ImageDraw.Draw(image)
    cx, cy, a, b = width / 2, height / 2, width * 0.40, height * 0.30
    outline = []
    for i in range(361):
        t = math.radians(i)
        wobble = 1 + 0.03 * math.sin(17 * t)
        outline.append((cx + a * wobble * math.cos(t), cy + b * wobble * math.sin(t) * (1 - 0.35 * math.cos(t))))
    draw.polygon(outline, fill=(62, 122, 44))
    line = max(1, width // 160)
    draw.line([(cx - a, cy), (cx + a, cy)], fill=(120, 160, 90), width=line * 2)
    for i in range(-6, 7):
        x = cx + i * a / 8
        for side in (-1, 1):
            draw.line([(x, cy), (x + a / 8, cy + side * b * 0.7)], fill=(104, 150, 78), width=line)
    for _ in range(spots):
        x, y = cx + rng.uniform(-0.6, 0.6) * a, cy + rng.uniform(-0.5, 0.5) * b
        r = rng.uniform(0.015, 0.05) * width
        draw.ellipse([x - r, y - r, x + r, y + r], fill=(150, 130, 60))
        draw.ellipse([x - r * 0.6, y - r * 0.6, x + r * 0.6, y + r * 0.6], fill=(92, 60, 34))
    noise = Image.effect_noise((width, height), 22).convert("RGB")
    return Image.blend(image.filter(ImageFilter.GaussianBlur(width / 800)), noise, 0.08)


def shoe(width, height):
    image = Image.new("RGB", (width, height), (225, 222, 230))
    draw = ImageDraw.Draw(image)
    draw.polygon([(width * .1, height * .7), (width * .15, height * .45), (width * .45, height * .5), (width * .85, height * .65),
                  (width * .9, height * .75), (width * .1, height * .75)], fill=(40, 60, 140))
    draw.rectangle([width * .1, height * .75, width * .9, height * .8], fill=(245, 245, 245))
    for i in range(4):
        draw.line([(width * (.35 + .07 * i), height * .5), (width * (.42 + .07 * i), height * .58)], fill=(255, 255, 255), width=6)
    return image


def draw(out):
    for folder in ("photos", "labelled/Tomato__early_blight", "labelled/Potato__healthy"):
        os.makedirs(os.path.join(out, folder), exist_ok=True)
    photo = leaf(4000, 3000, 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(os.path.join(out, "leaf.jpg"), quality=90, exif=exif)
    leaf(1600, 1200, 2, background=(110, 96, 70)).save(os.path.join(out, "field.jpg"), quality=85)
    leaf(640, 480, 3).save(os.path.join(out, "leaf.png"))
    leaf(640, 480, 4).save(os.path.join(out, "leaf.webp"), quality=80)
    shoe(900, 700).save(os.path.join(out, "shoe.jpg"), quality=85)
    for i in range(4):
        leaf(500, 400, 10 + i).save(os.path.join(out, "photos", f"plant{i + 1}.jpg"), quality=85)
        folder = "Tomato__early_blight" if i % 2 else "Potato__healthy"
        leaf(400, 400, 20 + i, spots=20 * (i % 2)).save(os.path.join(out, "labelled", folder, f"{i}.jpg"), quality=85)
    with open(os.path.join(out, "notes.jpg"), "w", encoding="utf-8") as file:
        file.write("this is text, not a photo\n")


def kept(build):
    """The folder below `build` that holds the photos, drawn now where nobody has; tests that run at the same time draw apart."""
    with open(__file__, "rb") as file:
        store = os.path.join(build, "samples-" + hashlib.sha256(file.read()).hexdigest()[:16])
    if not os.path.isdir(store):
        aside = tempfile.mkdtemp(prefix="samples-", suffix=".drawn", dir=build)
        draw(aside)
        try:
            os.rename(aside, store)
        except OSError:  # another one was faster
            shutil.rmtree(aside)
    return store


def main():
    out, build = sys.argv[1], os.environ.get("CROPSHIELD_BUILD", "")
    if os.path.isdir(build):
        shutil.copytree(kept(build), out, copy_function=shutil.copyfile, dirs_exist_ok=True)
    else:
        draw(out)


if __name__ == "__main__":
    main()
