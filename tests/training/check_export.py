"""Reloads what the smoke test exported and compares it with the weights it came from: check_export.py WORK."""

import json
import os
import sys

import numpy as np
import torch

from cropshield import calibrate, evaluate, export, nativefile, train
from cropshield.classes import CLASSES, UNTESTED

work = sys.argv[1]
for name, trained in (("cropshield_cnn", "more/cropshield_cnn.reuse.pt"), ("cropshield_lite", "more/cropshield_lite.health.pt")):
    path = os.path.join(work, "models", name + ".safetensors")
    network, metadata, space = evaluate.load_model(path)
    assert json.loads(metadata["classes"]) == CLASSES and metadata["name"] == name, metadata
    assert "val_top1" in json.loads(metadata["metrics"]), metadata["metrics"]
    images = np.stack(list(export.test_images().values()))
    mine, _ = train.outputs(network, images, "cpu")
    source, _ = export.published(os.path.join(work, trained))
    theirs, _ = train.outputs(source, images, "cpu")
    assert np.abs(mine - theirs).max() < 1e-4, np.abs(mine - theirs).max()
    if name == "cropshield_lite":  # the folded network computes what the trained branches compute
        stored = torch.load(os.path.join(work, trained), map_location="cpu")
        branches = train.load_weights(train.build(stored["entry"], "cpu"), stored["state"]).eval()
        known = calibrate.TESTED
        wide, _ = train.outputs(branches, images, "cpu")
        assert np.abs(wide[:, known] - mine[:, known]).max() < 0.02 * np.abs(wide).max() + 0.02
    assert (mine.argmax(1) != CLASSES.index(UNTESTED[0])).all()
    with open(os.path.join(work, "models", name + ".vectors.json")) as file:
        vectors = json.load(file)
    assert len(vectors) == len(images) and np.allclose(vectors[0]["logits"], mine[0], atol=1e-4)
    assert space["ood.basis"].shape[1] == 512
    with open(path, "r+b") as file:  # a flipped bit in the data must be noticed
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    try:
        nativefile.read(path)
    except ValueError:
        pass
    else:
        raise AssertionError("a damaged file was read")
for picture in ("results/cropshield_cnn.reliability.png", "results/cropshield_cnn.confusion_test.png",
                "results/smoke.curves.png"):
    assert os.path.getsize(os.path.join(work, picture)) > 500, picture
