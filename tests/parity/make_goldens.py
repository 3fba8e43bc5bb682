#!/usr/bin/python3
"""Writes what PyTorch computes, for the parity tests: tests/data/parity/<case>.{json,bin}.

make_goldens.py [CASE…]        needs Debian's python3-torch and python3-torchvision

No weights are stored: both sides make them from the tensors' names with the generator below, so that full-size networks cost a
few kilobytes. A case's JSON lists architecture, input size and the tensors' names and shapes; its .bin holds float32 numbers:
logits of each input, then for the first input the maps (ReLU, min-max normalised) of Grad-CAM for every class and of
Grad-CAM++, HiResCAM, LayerCAM, EigenCAM and AblationCAM for class 1. The case `embedded` belongs to models/cropshield_cnn.safetensors and names its
digest: run this again when that file changes.
"""
import hashlib
import json
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn as nn

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "data" / "parity"
sys.path.insert(0, str(ROOT / "training"))


def uniform(name, count):
    """`count` float32 numbers in [0, 1) that depend on `name` alone: splitmix64 seeded with FNV-1a."""
    seed = 0xcbf29ce484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    with np.errstate(over="ignore"):
        x = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9e3779b97f4a7c15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(40)).astype(np.float32) * np.float32(2.0 ** -24)


def made(name, shape, gain):
    """The numbers of tensor `name`: weights scaled by their fan-in, scales and variances around 1, the rest around 0."""
    u = uniform(name, int(np.prod(shape)))
    if len(shape) > 1:
        bound = np.float32(math.sqrt(3.0 * gain / (np.prod(shape) // shape[0])))
        values = (u * np.float32(2) - np.float32(1)) * bound
    elif name.endswith(("running_var", "weight")):
        values = u + np.float32(0.5)
    else:
        values = (u - np.float32(0.5)) * np.float32(0.2)
    return torch.from_numpy(values.reshape(shape))


def fill(model, gain):
    state = model.state_dict()
    tensors = [(k, list(v.shape)) for k, v in state.items() if not k.endswith("num_batches_tracked")]
    for name, shape in tensors:
        state[name].copy_(made(name, shape, gain))
    return tensors


def input_of(index, size):
    values = uniform(f"input{index}", 3 * size * size) * np.float32(4) - np.float32(2)
    return torch.from_numpy(values.reshape(1, 3, size, size))


def slim(model, factor):
    """Divides the channels of a network by `factor`, rounding up; 3 input channels and the classes stay."""
    def narrow(channels):
        return channels if channels == 3 else -(-channels // factor)

    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d):
                new = nn.Conv2d(narrow(child.in_channels), narrow(child.out_channels), child.kernel_size, child.stride,
                                child.padding, child.dilation,
                                1 if child.groups == 1 else narrow(child.groups), child.bias is not None)
            elif isinstance(child, nn.BatchNorm2d):
                new = nn.BatchNorm2d(narrow(child.num_features), child.eps)
            elif isinstance(child, nn.Linear):
                # behind VGG's 7x7 pooling the features are channels times 49
                inputs = 49 * narrow(child.in_features // 49) if child.in_features == 25088 else narrow(child.in_features)
                new = nn.Linear(inputs, narrow(child.out_features) if child.out_features > 500 else child.out_features,
                                child.bias is not None)
            else:
                continue
            setattr(module, name, new)
    return model.eval()


def normalised(maps):
    maps = maps.clamp(min=0).flatten(1)
    low, high = maps.min(1, keepdim=True).values, maps.max(1, keepdim=True).values
    return torch.where(high > low, (maps - low) / (high - low), torch.zeros_like(maps))


def eigen(a):
    """EigenCAM: the first principal component over the channels, by singular values, turned along the mean activation."""
    flat = a.double().flatten(1).t()
    _, _, directions = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    projection = (flat - flat.mean(0)) @ directions[0]
    along = (projection * (flat.sum(1) - flat.sum(1).mean())).sum()
    return (projection if along >= 0 else -projection).float().reshape(a.shape[1:])


def ablated(model, target, x, a, g):
    """AblationCAM of class 1: what the logit loses when a channel is zeroed, by zeroing each. Where more than a pool and a linear
    layer stand behind the target that is not linear in the channel, and its first-order part is the definition here."""
    def zeroed(module, inputs, output):
        every = output.detach().repeat(1 + len(a), 1, 1, 1)
        every[torch.arange(1, 1 + len(a)), torch.arange(len(a))] = 0
        return every

    handle = dict(model.named_modules())[target].register_forward_hook(zeroed)
    with torch.no_grad():
        logits = model(x)[:, 1].double()
    handle.remove()
    drop, first_order = logits[0] - logits[1:], (g * a).sum((1, 2)).double()
    linear = sum(isinstance(m, nn.Linear) for m in model.modules()) == 1
    assert not linear or (drop - first_order).abs().max() < 1e-3 * max(1, float(drop.abs().max())), target
    return ((drop if linear else first_order).float()[:, None, None] * a).sum(0)


def maps_of(model, target, x, classes):
    """Grad-CAM of every class by autograd, then the other methods for class 1; (classes + 5, height·width)."""
    kept = {}

    def keep(module, inputs, output):
        kept["activations"] = output
        output.retain_grad()

    handle = dict(model.named_modules())[target].register_forward_hook(keep)
    rows = []
    for c in list(range(classes)) + [1]:
        model.zero_grad()
        model(x)[0, c].backward()
        a, g = kept["activations"].detach()[0], kept["activations"].grad[0]
        rows.append((g.mean((1, 2), keepdim=True) * a).sum(0))
    g2, g3 = g ** 2, g ** 3
    alpha = g2 / (2 * g2 + a.sum((1, 2), keepdim=True) * g3 + 1e-6)
    alpha = torch.where(g != 0, alpha, torch.zeros_like(alpha))
    rows[-1] = ((g.clamp(min=0) * alpha).sum((1, 2), keepdim=True) * a).sum(0)
    rows += [(g * a).sum(0), (g.clamp(min=0) * a).sum(0), eigen(a)]
    handle.remove()
    rows.append(ablated(model, target, x, a, g))
    return normalised(torch.stack(rows)), list(a.shape)


def write(case, description, model, target, size, classes, inputs=2):
    # The activations at the target must be a tensor of their own, which an in-place ReLU behind it would overwrite.
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    with torch.no_grad():
        logits = torch.cat([model(input_of(i, size)) for i in range(inputs)])
    maps, shape = maps_of(model, target, input_of(0, size), classes)
    description.update(input_size=size, classes=classes, inputs=inputs, target=target, map=shape)
    (OUT / f"{case}.json").write_text(json.dumps(description, separators=(",", ":")) + "\n")
    with open(OUT / f"{case}.bin", "wb") as file:
        file.write(logits.numpy().astype("<f4").tobytes() + maps.numpy().astype("<f4").tobytes())
    print(f"{case}: largest logit {float(logits.abs().max()):.3f}, map {shape}, {float(maps.mean()):.3f}")


def small_vgg(models):
    plan = [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]
    return slim(models.vgg.VGG(models.vgg.make_layers(plan, batch_norm=True), num_classes=5), 16)


def cases():
    from cropshield.models import CropShieldCNN, PlainLite
    from torchvision import models

    lite = [(3, 8, 3, 2), (8, 8, 3, 1), (8, 16, 3, 2), (16, 24, 3, 2), (24, 40, 1, 1)]
    lite_config = {"architecture_config": json.dumps({"layers": [{"stride": layer[3]} for layer in lite]})}
    return {  # name: (architecture, module, gain, target, input size, classes, more)
        "cnn64": ("CropShieldCNN", lambda: slim(CropShieldCNN(), 8), 2.0, "block4", 64, 22, {}),
        "cnn224": ("CropShieldCNN", lambda: slim(CropShieldCNN(), 8), 2.0, "block4", 224, 22, {}),
        "cnn5": ("CropShieldCNN", lambda: slim(CropShieldCNN(5), 6), 2.0, "block4", 112, 5, {}),
        "lite": ("CropShieldLite", lambda: PlainLite(22, lite), 2.0, "", 96, 22, lite_config),
        "resnet18": ("resnet18", lambda: models.resnet18(num_classes=6), 1.0, "layer4", 96, 6, {}),
        "resnet34": ("resnet34", lambda: slim(models.resnet34(num_classes=6), 4), 0.7, "layer4", 128, 6, {}),
        "resnet50": ("resnet50", lambda: models.resnet50(num_classes=6), 0.7, "layer4", 96, 6, {}),
        "mobilenet_v2": ("mobilenet_v2", lambda: models.mobilenet_v2(num_classes=6), 1.5, "features.18", 128, 6, {}),
        "mobilenet_v3_small": ("mobilenet_v3_small", lambda: models.mobilenet_v3_small(num_classes=6), 1.3,
                               "features.12", 128, 6, {}),
        "mobilenet_v3_large": ("mobilenet_v3_large", lambda: models.mobilenet_v3_large(num_classes=6), 1.2,
                               "features.16", 128, 6, {}),
        "efficientnet_b0": ("efficientnet_b0", lambda: models.efficientnet_b0(num_classes=6), 1.4, "features.8", 128, 6,
                            {}),
        "vgg11_bn": ("vgg11_bn", lambda: small_vgg(models), 2.0, "features.27", 224, 5, {}),
        "vgg16_bn": ("vgg16_bn", lambda: slim(models.vgg16_bn(num_classes=5), 8), 2.0, "features.42", 224, 5, {}),
    }


class LiteWithNames(nn.Module):
    """PlainLite with its last ReLU as a module, so that a hook can sit behind it."""

    def __init__(self, plain):
        super().__init__()
        self.layers, self.classifier, self.relu = plain.layers, plain.classifier, nn.ReLU()

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.classifier(self.relu(self.layers[-1](x)).mean((2, 3)))


def embedded():
    from cropshield import nativefile
    from cropshield.models import CropShieldCNN

    path = ROOT / "models" / "cropshield_cnn.safetensors"
    tensors, metadata = nativefile.read(path)
    classes = len(json.loads(metadata["classes"]))
    model = CropShieldCNN(classes)
    model.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in tensors.items()}, strict=False)
    digest = hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()
    write("embedded", {"architecture": metadata["architecture"], "digest": digest}, model.eval(), "block4", 224, classes)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:]
    torch.set_num_threads(2)
    for name, (architecture, make, gain, target, size, classes, more) in cases().items():
        if wanted and name not in wanted:
            continue
        model = make().eval()
        tensors = [t for t in fill(model, gain) if not t[0].startswith("reject.")]
        if architecture == "CropShieldLite":
            model, target = LiteWithNames(model).eval(), "relu"
        write(name, {"architecture": architecture, "gain": gain, "tensors": tensors, **more}, model, target, size, classes)
    if not wanted or "embedded" in wanted:
        embedded()


if __name__ == "__main__":
    main()
