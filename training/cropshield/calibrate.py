"""Owns the step from trained weights to trusted answers: temperature, the 'not a leaf' gate, the photo coach.

Reads a weights file of `train` (or `refit`) and the cache; writes `<name>.calibration.json` and `<name>.space.npz`
beside each other. Sees validation photos, training photos and the negatives of the fit half; never test or field.
"""

import json
import os

import numpy as np
import torch
from PIL import Image

from . import content, gate, metrics, models, photos, train
from .augment import Scenes
from .classes import CLASSES, UNTESTED
from .photos import MEAN, STD
from .prepare import Cache

TESTED = [i for i, name in enumerate(CLASSES) if name not in UNTESTED]


def load_network(path, device="cpu"):
    """(network as it is exported, stored file) of a weights file."""
    stored = torch.load(path, map_location="cpu")
    network = train.load_weights(train.build(stored["entry"], device), stored["state"]).eval()
    if isinstance(network, models.CropShieldLite):
        network = round_weights(models.PlainLite.of(network)).to(device)
    return network, stored


def round_weights(network):
    """The network with its matrices rounded to float16, as they are stored."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())
    return network


def training_sample(cache, each):
    """Network crops and labels of up to `each` training photos a class, evenly spread over the class."""
    by_label, pixels = {}, cache.pixels()
    for entry in cache.index["train"]:
        if entry["label"] >= 0:
            by_label.setdefault(entry["label"], []).append(entry)
    crops, labels = [], []
    for label, entries in sorted(by_label.items()):
        for k in np.unique(np.linspace(0, len(entries) - 1, min(each, len(entries))).astype(int)):
            offset, height, width = entries[k]["levels"][0]
            rgba = pixels[offset:offset + height * width].view(np.uint8).reshape(height, width, 4)
            crops.append(photos.network_crop(Image.fromarray(np.ascontiguousarray(rgba[..., :3]))))
            labels.append(label)
    return np.stack(crops), np.array(labels)


def scene_sample(cache, count, size, seed):
    """Drawn scenes without negatives as uint8 crops: leaves of known crops where the network has not seen them."""
    scenes = Scenes(cache, "cpu", seed)
    crops = []
    for start in range(0, count, 32):
        image = scenes.batch(min(32, count - start), size, scenes=1.0, outliers=0.0, mix=0.0, strength=0.7,
                             restyle=0.5, sun=0.3).image
        image = image * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1)
        crops.append((image.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(crops)


def gate_inputs(network, space, crops, temperature, device="cpu", batch=16):
    logits, reject, features = train.outputs(network, crops, device, batch, features=True)
    contents = np.stack([content.features(crop) for crop in crops])
    return gate.inputs(space, logits, reject, features, contents, temperature, TESTED), logits, contents


def run(weights, cache_folder, out, each=60, scenes=384, batch=16, device="auto"):
    cache, device = Cache(cache_folder), train.pick_device(device)
    network, stored = load_network(weights, device)
    name = stored["entry"]["name"]
    crops, labels, _ = cache.crops("val")
    logits, _ = train.outputs(network, crops, device, batch)
    logits[:, [i for i in range(len(CLASSES)) if i not in TESTED]] = -30.0
    temperature = round(metrics.fit_temperature(logits, labels), 4)
    probability = metrics.softmax(logits, temperature)
    print(f"{name}: val top-1 {100 * metrics.top(probability, labels, 1):.2f} %, temperature {temperature}, "
          f"ECE {100 * metrics.ece(metrics.softmax(logits), labels):.2f} -> {100 * metrics.ece(probability, labels):.2f} %")
    sample, sample_labels = training_sample(cache, each)
    space = gate.fit_distance(train.outputs(network, sample, device, batch, features=True)[2], sample_labels)
    inside, _, contents = gate_inputs(network, space, crops, temperature, device, batch)
    drawn = gate_inputs(network, space, scene_sample(cache, scenes, crops.shape[1], stored["record"]["config"]["seed"]),
                        temperature, device, batch)[0]
    negatives, kinds, names = cache.crops("ood")
    fit = np.array([photos.in_fit_half(n) for n in names])
    outside = gate_inputs(network, space, negatives[fit], temperature, device, batch)[0]
    fitted = gate.fit([(inside, 1.0), (drawn, 1.0)], outside, kinds[fit])
    coach = gate.fit_coach(contents)
    for kind in np.unique(kinds):
        print(f"  negatives of kind {kind}, fit half: AUROC "
              f"{metrics.auroc(gate.score(fitted, inside), gate.score(fitted, outside[kinds[fit] == kind])):.4f}")
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, f"{name}.calibration.json"), "w") as file:
        json.dump({"temperature": temperature, "ood": fitted, "coach": coach}, file, indent=1)
    np.savez(os.path.join(out, f"{name}.space.npz"), **space)
