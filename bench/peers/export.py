#!/usr/bin/python3
"""Exports the shipped reference network for the peers: OUT/model.{pth,pt,onnx}, and a seeded input with PyTorch's logits.

    export.py MODEL.safetensors OUT

Needs Debian's python3-torch (and what torch.onnx.export needs). input.bin: 8×3×224×224 float32; logits.bin: 8×classes float32.
"""
import json
import os
import struct
import sys

import numpy as np
import torch
import torch.nn as nn


def read_safetensors(path):
    """Returns ({name: tensor float32}, metadata)."""
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    kinds = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        array = np.frombuffer(data[8 + size + start:8 + size + end], kinds[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.astype(np.float32))
    return tensors, metadata


class CropShieldCNN(nn.Module):
    """(N,3,224,224) -> (N,classes) logits; the names of the state_dict are those of the file."""

    def __init__(self, classes, widths=(64, 128, 256, 512)):
        super().__init__()
        before = 3
        for i, width in enumerate(widths, 1):
            setattr(self, f"block{i}", nn.Sequential(
                nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.MaxPool2d(2), nn.Dropout2d(0.5)))
            before = width
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(before, classes))

    def features(self, x):
        return self.block4(self.block3(self.block2(self.block1(x))))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def load(path):
    tensors, metadata = read_safetensors(path)
    model = CropShieldCNN(tensors["classifier.1.weight"].shape[0])
    wanted = model.state_dict()
    state = {k: tensors.get(k, v) for k, v in wanted.items()}
    missing = [k for k in wanted if k not in tensors and not k.endswith("num_batches_tracked")]
    if missing:
        raise SystemExit(f"{path}: missing {missing}")
    model.load_state_dict(state)
    return model.eval(), metadata


def main():
    path, out = sys.argv[1], sys.argv[2]
    os.makedirs(out, exist_ok=True)
    model, _ = load(path)
    x = torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = model(x)
    x.numpy().astype("<f4").tofile(os.path.join(out, "input.bin"))
    y.numpy().astype("<f4").tofile(os.path.join(out, "logits.bin"))
    torch.save({"model_state_dict": model.state_dict(), "model_type": "custom", "num_classes": y.shape[1]},
               os.path.join(out, "model.pth"))
    torch.jit.trace(model, x[:1]).save(os.path.join(out, "model.pt"))
    torch.onnx.export(model, x[:1], os.path.join(out, "model.onnx"), opset_version=13, input_names=["input"],
                      output_names=["logits"], dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}})


if __name__ == "__main__":
    main()
