#!/usr/bin/python3
"""Exports torchvision networks with seeded random weights: OUT/<name>/{model.onnx,input.bin,logits.bin} for each.

    export_networks.py OUT NAME…

Needs Debian's python3-torch, python3-torchvision and python3-onnx. input.bin: 8×3×224×224 float32; logits.bin: 8×1000 float32.
"""
import os
import sys

import torch
import torchvision


def main():
    out, names = sys.argv[1], sys.argv[2:]
    x = torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    for name in names:
        torch.manual_seed(1)
        model = getattr(torchvision.models, name)(num_classes=1000).eval()
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        with torch.no_grad():
            logits = model(x)
        x.numpy().astype("<f4").tofile(os.path.join(folder, "input.bin"))
        logits.numpy().astype("<f4").tofile(os.path.join(folder, "logits.bin"))
        torch.onnx.export(model, x[:1], os.path.join(folder, "model.onnx"), opset_version=13, input_names=["input"],
                          output_names=["logits"], dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}})


main()
