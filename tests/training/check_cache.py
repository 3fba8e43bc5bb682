"""Checks that a cache is whole or refused, and that an interrupted `prepare` leaves none that looks whole."""

import json
import os
import tempfile

import numpy as np

from cropshield import prepare
from cropshield.prepare import Cache

with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "cache.json"), "w") as file:
        json.dump({"train": [{"levels": [[0, 2, 3], [6, 1, 1]]}]}, file)
    for pixels, whole in ((7, True), (6, False), (8, False)):
        np.zeros(pixels, "<i4").tofile(os.path.join(folder, "train.bin"))
        try:
            assert len(Cache(folder).pixels()) == 7 and whole
        except SystemExit as error:
            assert not whole and "prepare it again" in str(error)

with tempfile.TemporaryDirectory() as folder:
    photo = os.path.join(folder, "data", "train", "Tomato__healthy", "source__1.jpg")
    os.makedirs(os.path.dirname(photo))
    with open(photo, "wb") as file:
        file.write(b"no photo")
    cache = os.path.join(folder, "cache", "cache.json")
    os.mkdir(os.path.dirname(cache))
    with open(cache, "w") as file:
        file.write("{}")  # an earlier one, whose pixels are about to be overwritten
    try:
        prepare.run(os.path.join(folder, "data"), os.path.dirname(cache), workers=1)
        raise AssertionError("a broken photo was prepared")
    except OSError:
        assert not os.path.exists(cache), "the old index stands beside new pixels"
print("caches: whole or refused")
