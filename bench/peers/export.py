#!/usr/bin/python3
"""Exports the shipped reference network for the peers: OUT/model.{pth,pt,onnx}, model_int8.onnx, and a seeded input with PyTorch's
logits.

    export.py MODEL.safetensors OUT

Needs Debian's python3-torch (and what torch.onnx.export needs). input.bin: 8×3×224×224 float32; logits.bin: 8×classes float32. For
peers that take bare layers: weights.bin holds each convolution's weights [out][in][3][3] and bias with the batch norm folded in, then
the linear layer's; ranges.bin the largest absolute value of the input and of each convolution's output after its ReLU, over the eight
inputs: what every 8-bit peer is calibrated with.
"""
import json
import os
import struct
import sys

import numpy as np
import torch
import torch.nn as nn

from export_int8 import write_int8


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


def fold(model):
    """[(weight, bias)] of the eight convolutions with their batch norms, and of the linear layer, as numpy float32."""
    layers = []
    for i in range(1, 5):
        block = getattr(model, f"block{i}")
        for conv, norm in ((block[0], block[1]), (block[3], block[4])):
            scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
            layers.append((conv.weight.double() * scale[:, None, None, None],
                           norm.bias.double() - norm.running_mean.double() * scale))
    layers.append((model.classifier[1].weight, model.classifier[1].bias))
    return [tuple(t.detach().numpy().astype("<f4") for t in layer) for layer in layers]


def measure_ranges(model, x):
    ranges = [float(x.abs().max())]
    hooks = [module.register_forward_hook(lambda m, i, y: ranges.append(float(y.max())))
             for module in model.modules() if isinstance(module, nn.ReLU)]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return ranges


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
    layers, ranges = fold(model), measure_ranges(model, x)
    np.concatenate([t.ravel() for layer in layers for t in layer]).tofile(os.path.join(out, "weights.bin"))
    np.array(ranges, "<f4").tofile(os.path.join(out, "ranges.bin"))
    write_int8(layers, ranges, os.path.join(out, "model_int8.onnx"))


if __name__ == "__main__":
    main()
