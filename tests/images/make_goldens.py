#!/usr/bin/python3
"""Writes tests/data/images/{resample,decode}.bin: what Pillow makes of small images. Debian's python3-pil is all it needs.

    make_goldens.py                 write both files
    make_goldens.py --live LIB.so   compare the library with Pillow on fresh random images (exit status 1: different; 77: skipped)

resample.bin: "CSR1", u32 count, then a case: u16 in_width, in_height, out_width, out_height, u8 filter (0 bilinear, 1 Lanczos),
u8 pattern, then out_width*out_height RGB bytes. The input is not stored: pattern() below and in test_resample.c make the same bytes.
decode.bin: "CSD1", u32 count, then a case: 16 bytes name, u32 bytes, u16 width, u16 height, the encoded file, RGB bytes.
All little-endian.
"""
import ctypes
import io
import pathlib
import random
import struct
import sys

try:
    from PIL import Image, ImageOps, PngImagePlugin
except ImportError:
    print("skipped: no python3-pil")
    sys.exit(77)

DATA = pathlib.Path(__file__).resolve().parent.parent / "data/images"
FILTERS = [Image.BILINEAR, Image.LANCZOS]


def pattern(width, height, kind):
    """0: noise; 1: gradients; 2: black and white noise (the hardest overshoot); 3: a fine chequerboard."""
    out = bytearray()
    state = 12345 + 7919 * width + 104729 * height
    for y in range(height):
        for x in range(width):
            for c in range(3):
                state = (state * 1103515245 + 12345) & 0xffffffff
                noise = state >> 24
                if kind == 0:
                    out.append(noise)
                elif kind == 1:
                    out.append((x * (3 + c) + y * (5 - c)) & 255)
                elif kind == 2:
                    out.append(255 if noise > 127 else 0)
                else:
                    out.append(255 if (x + y + c) % 2 else 0)
    return Image.frombytes("RGB", (width, height), bytes(out))


SIZES = [
    (1, 1, 1, 1), (1, 1, 7, 5), (7, 5, 1, 1), (2, 1, 5, 3), (1, 64, 3, 9), (64, 1, 9, 3), (3, 3, 100, 2), (16, 16, 16, 16),
    (33, 17, 33, 5), (33, 17, 9, 17), (100, 75, 40, 30), (101, 67, 37, 29), (257, 129, 80, 40), (500, 3, 21, 3),
    (3, 500, 3, 21), (640, 480, 80, 60), (61, 59, 97, 103), (40, 30, 100, 75), (1000, 2, 1, 2), (90, 120, 60, 80),
    (17, 300, 64, 11), (341, 256, 85, 64), (130, 98, 129, 97), (48, 48, 47, 49),
]


def resample_cases():
    for number, (w, h, ow, oh) in enumerate(SIZES):
        for which, kernel in enumerate(FILTERS):
            kind = (number + which) % 4
            out = pattern(w, h, kind).resize((ow, oh), kernel)
            yield struct.pack("<HHHHBB", w, h, ow, oh, which, kind) + out.tobytes()


def on_white(image):
    image = ImageOps.exif_transpose(image)
    if image.mode == "I":  # 16-bit grey: Pillow clips when it converts; the high byte is what is meant
        return image.point(lambda v: v / 256).convert("L").convert("RGB")
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def encoded(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def smooth(width, height):
    return pattern(8, 8, 0).resize((width, height), Image.BICUBIC)


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "maker"
    return block.tobytes()


def decode_files():
    photo = smooth(53, 37)
    alpha = photo.copy()
    alpha.putalpha(smooth(53, 37).convert("L"))
    for name, sub in (("jpeg 444", 0), ("jpeg 422", 1), ("jpeg 420", 2)):
        yield name, encoded(photo, "JPEG", quality=85, subsampling=sub)
    yield "jpeg progressive", encoded(photo, "JPEG", quality=85, progressive=True)
    yield "jpeg grey", encoded(photo.convert("L"), "JPEG", quality=85)
    yield "jpeg cmyk", encoded(photo.convert("CMYK"), "JPEG", quality=85)
    yield "jpeg 1x1", encoded(smooth(1, 1), "JPEG")
    for turn in range(1, 9):
        yield f"jpeg turned {turn}", encoded(photo, "JPEG", quality=85, exif=exif(turn))
    yield "png rgb", encoded(photo, "PNG")
    yield "png rgba", encoded(alpha, "PNG")
    yield "png grey", encoded(photo.convert("L"), "PNG")
    yield "png grey alpha", encoded(alpha.convert("LA"), "PNG")
    yield "png palette", encoded(photo.quantize(17), "PNG")
    yield "png palette tr", encoded(photo.quantize(17), "PNG", transparency=bytes(range(0, 255, 15)))
    yield "png bilevel", encoded(photo.convert("1"), "PNG")
    yield "png rgb tr", encoded(photo, "PNG", transparency=photo.getpixel((5, 5)))
    deep = Image.new("I", (19, 11))
    deep.putdata([(x * 977 + 13) % 65536 for x in range(19 * 11)])
    yield "png 16 bit", encoded(deep, "PNG")
    yield "png turned 6", encoded(photo, "PNG", exif=exif(6))
    yield "webp lossy", encoded(photo, "WEBP", quality=80)
    yield "webp lossless", encoded(photo, "WEBP", lossless=True)
    yield "webp alpha", encoded(alpha, "WEBP", lossless=True)
    yield "webp turned 8", encoded(photo, "WEBP", lossless=True, exif=exif(8))


def decode_cases():
    for name, file in decode_files():
        rgb = on_white(Image.open(io.BytesIO(file)))
        yield struct.pack("<16sIHH", name.encode(), len(file), *rgb.size) + file + rgb.tobytes()


def write():
    for name, magic, cases in (("resample", b"CSR1", resample_cases()), ("decode", b"CSD1", decode_cases())):
        cases = list(cases)
        content = magic + struct.pack("<I", len(cases)) + b"".join(cases)
        DATA.mkdir(parents=True, exist_ok=True)
        (DATA / f"{name}.bin").write_bytes(content)
        print(f"{name}.bin: {len(cases)} cases, {len(content)} bytes")


class Library:
    """The few functions of the public API that are compared."""

    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        self.c.cs_image_pixels.restype = ctypes.POINTER(ctypes.c_uint8)
        self.c.cs_image_pixels.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        for name in ("cs_image_width", "cs_image_height", "cs_image_destroy"):
            getattr(self.c, name).argtypes = [ctypes.c_void_p]
        self.c.cs_image_decode.argtypes = [ctypes.c_char_p, ctypes.c_size_t] + [ctypes.c_void_p] * 4
        self.c.cs_image_from_pixels.argtypes = [ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_size_t,
                                                ctypes.c_void_p, ctypes.c_void_p]
        self.c.cs_image_resize.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_int,
                                           ctypes.c_void_p, ctypes.c_void_p]

    def take(self, handle):
        size = self.c.cs_image_width(handle), self.c.cs_image_height(handle)
        data = ctypes.string_at(self.c.cs_image_pixels(handle, None), size[0] * size[1] * 3)
        self.c.cs_image_destroy(handle)
        return size, data

    def decode(self, file):
        out = ctypes.c_void_p()
        status = self.c.cs_image_decode(file, len(file), None, ctypes.byref(out), None, None)
        return self.take(out) if status == 0 else (status, b"")

    def resize(self, image, width, height, which):
        source, out = ctypes.c_void_p(), ctypes.c_void_p()
        pixels = image.tobytes()
        status = self.c.cs_image_from_pixels(pixels, image.width, image.height, image.width * 3, ctypes.byref(source), None)
        status = status or self.c.cs_image_resize(source, width, height, which, ctypes.byref(out), None)
        self.c.cs_image_destroy(source)
        return self.take(out) if status == 0 else (status, b"")


def live(path):
    try:
        library = Library(path)
    except OSError as problem:
        print("skipped:", problem)
        return 77
    seed = random.SystemRandom().randrange(1 << 32)
    dice = random.Random(seed)
    wrong = 0
    for _ in range(120):
        size = [dice.choice([dice.randint(1, 9), dice.randint(1, 120)]) for _ in range(4)]
        image, which = pattern(size[0], size[1], dice.randint(0, 3)), dice.randint(0, 1)
        expected = image.resize((size[2], size[3]), FILTERS[which])
        if library.resize(image, size[2], size[3], which) != (expected.size, expected.tobytes()):
            print("resize differs:", size, which)
            wrong += 1
    for _ in range(60):
        photo = smooth(dice.randint(1, 200), dice.randint(1, 200))
        file = dice.choice([
            lambda: encoded(photo, "JPEG", quality=dice.randint(10, 100), subsampling=dice.randint(0, 2),
                            progressive=dice.random() < 0.5, exif=exif(dice.randint(1, 8))),
            lambda: encoded(photo, "PNG"), lambda: encoded(photo, "WEBP", quality=dice.randint(1, 100))])()
        expected = on_white(Image.open(io.BytesIO(file)))
        if library.decode(file) != (expected.size, expected.tobytes()):
            print("decode differs:", photo.size, file[:16])
            wrong += 1
    print(f"180 random images, seed {seed}: {wrong} differ from Pillow {PngImagePlugin.Image.__version__}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--live"]:
        sys.exit(live(sys.argv[2]))
    write()
