#!/usr/bin/python3
"""Writes the small model files of this folder: one network of the reference shape (channels ÷ 32), 5 classes, in every format.

make_models.py        needs Debian's python3-torch, python3-torchvision and python3-onnx

Weights come from the tensors' names (tests/parity/make_goldens.py), so a test can say what each file must hold.
"""
import copy
import json
import pathlib
import sys
import zipfile

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[3]
OUT = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "training"), str(ROOT / "tests" / "parity")]

import make_goldens  # noqa: E402
from cropshield import nativefile  # noqa: E402
from cropshield.models import CropShieldCNN  # noqa: E402

CLASSES = ["Potato__healthy", "Potato__late_blight", "Tomato__healthy", "Wheat__healthy", "Wheat__yellow_rust"]


def network():
    model = make_goldens.slim(CropShieldCNN(len(CLASSES)), 32)
    del model.reject
    make_goldens.fill(model, 2.0)
    return model.eval()


def without_debug_info(path):
    """Drops the entries that name source files of the machine that wrote the archive."""
    with zipfile.ZipFile(path) as file:
        kept = [(info.filename, file.read(info)) for info in file.infolist() if not info.filename.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w") as file:
        for name, content in kept:
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


def main():
    model = network()
    state = model.state_dict()
    save = lambda value, name, **options: torch.save(value, OUT / name, **options)  # noqa: E731
    save(state, "plain.pth")
    save(state, "protocol4.pth", pickle_protocol=4)
    save({"module._orig_mod." + k: v for k, v in reversed(state.items())}, "prefixed.pth")
    save({"epoch": 7, "model_state_dict": {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
          "optimizer_state_dict": {"state": {0: {"step": 1}}, "param_groups": [{"lr": 0.1}]}, "model_type": "custom",
          "num_classes": len(CLASSES), "classes": CLASSES, "temperature": 0.75}, "dict_half.pth")
    save({"state_dict": {k: torch.nn.Parameter(v.bfloat16(), False) if v.is_floating_point() else v
                         for k, v in state.items()},
          "class_to_idx": {name: i for i, name in enumerate(CLASSES)}}, "dict_bfloat16.pth")
    save({"model": {k: v.double() if v.is_floating_point() else v for k, v in state.items()}}, "dict_double.pth")
    # One storage for all: views at an offset, one of them transposed.
    whole = torch.cat([v.t().reshape(-1) if k == "classifier.1.weight" else v.reshape(-1).float()
                       for k, v in state.items()])
    views, at = {}, 0
    for name, value in state.items():
        piece = whole[at:at + value.numel()]
        views[name] = piece.reshape(value.shape[::-1]).t() if name == "classifier.1.weight" else piece.reshape(value.shape)
        at += value.numel()
    save(views, "shared_storage.pth")
    save(state, "legacy.pth", _use_new_zipfile_serialization=False)
    save(model, "whole_model.pth")  # a pickled module: names a class, which no reader of weights runs
    wrong = copy.copy(state)
    wrong["block9.0.weight"] = torch.zeros(1, 1, 1, 1)
    save(wrong, "unknown_tensor.pth")
    save({"state_dict": state, "num_classes": 9}, "wrong_count.pth")
    save({"state_dict": state, "model_type": "resnet18"}, "wrong_type.pth")
    torch.jit.script(model).save(str(OUT / "scripted.pt"))
    torch.jit.trace(model, torch.zeros(1, 3, 32, 32)).save(str(OUT / "traced.pt"))
    torch.jit.freeze(torch.jit.script(model)).save(str(OUT / "frozen.pt"))
    for name in ("scripted.pt", "traced.pt", "frozen.pt"):
        without_debug_info(OUT / name)
    arrays = {k: v.numpy().astype("<f2" if v.dim() > 1 else "<f4") for k, v in state.items()
              if not k.endswith("num_batches_tracked")}
    arrays["ood.mean"] = np.arange(16, dtype="<f4")
    nativefile.write(OUT / "native.safetensors", arrays, {
        "architecture": "CropShieldCNN", "name": "tiny", "classes": json.dumps(CLASSES), "temperature": "0.75",
        "untested_classes": json.dumps(CLASSES[3:4]), "gradcam_layer": "block4",
        "preprocess": json.dumps({"max_size": 640, "resize": 40, "crop": 32, "mean": [0.5, 0.4, 0.3],
                                  "std": [0.2, 0.25, 0.3]})})
    (OUT / "class_to_idx_example.json").write_text(json.dumps({name: i for i, name in enumerate(CLASSES)}) + "\n")


main()
