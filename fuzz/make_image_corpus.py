#!/usr/bin/env python3
"""Writes fuzz/corpus/{jpeg,png,webp,exif}: the files inside tests/data/images/decode.bin, and damaged ones. Needs nothing but Python."""
import pathlib
import struct

ROOT = pathlib.Path(__file__).resolve().parent
FORMATS = {"jpeg": 0, "png": 1, "webp": 2}


def cases():
    data = (ROOT.parent / "tests/data/images/decode.bin").read_bytes()
    at = 8
    for _ in range(struct.unpack_from("<I", data, 4)[0]):
        name, size, width, height = struct.unpack_from("<16sIHH", data, at)
        yield name.rstrip(b"\0").decode(), data[at + 24:at + 24 + size]
        at += 24 + size + width * height * 3


def put(folder, name, content):
    path = ROOT / "corpus" / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / name.replace(" ", "_")).write_bytes(content)


for name, content in cases():
    kind = name.split()[0]
    put(kind, name, content)
    if "turned" in name and name.split()[-1] in "268":
        put("exif", name, bytes([FORMATS[kind]]) + content[:400])
    if name in ("jpeg progressive", "png palette", "webp alpha"):
        put(kind, name + " flipped", bytes(b ^ (0x40 if i % 97 == 96 else 0) for i, b in enumerate(content)))
tiff = b"II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0"
put("exif", "loop", b"\0\xff\xd8\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + b"\xff\xda\0\2")
put("exif", "lying length", b"\0\xff\xd8\xff\xe1\xff\xffExif\0\0" + tiff)
put("exif", "png lying length", b"\1\x89PNG\r\n\x1a\n\xff\xff\xff\xf0eXIf" + tiff)
put("exif", "webp lying length", b"\2RIFF\xff\xff\xff\xffWEBPEXIF\xff\xff\xff\xff" + tiff)
put("jpeg", "huge", bytes.fromhex("ffd8ffc00011 08c350c350 03 012200 021101 031101 ffda000c03010002000300003f00".replace(" ", "")))
put("png", "huge", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xc3\x50\0\0\xc3\x50\x08\x02\0\0\0\0\0\0\0")
