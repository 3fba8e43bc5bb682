"""Owns the last correction of a trained network: its linear class outputs are fitted anew on restyled scenes.

The features of a network know more than its outputs use; outputs that were fitted where the camera tells the crop lean on
the camera (Kirichenko et al., 'Last layer re-training is sufficient for robustness to spurious correlations'). Training
photos only; how far the outputs move is chosen on validation photos.
"""

import numpy as np
import torch
import torch.nn.functional as F

from . import calibrate, metrics, train
from .augment import Scenes
from .prepare import Cache

RECIPE = dict(scenes=0.5, outliers=0.125, mix=0.0, strength=0.8, smoothing=0.0, restyle=0.7)


@torch.no_grad()
def collect(networks, scenes, count, size, batch=32):
    """Features of every network on `count` drawn images: ({name: (N, d)}, targets, outlier flags)."""
    found, targets, outliers = {name: [] for name in networks}, [], []
    for _ in range(max(1, count // batch)):
        drawn = scenes.batch(batch, size, **RECIPE)
        image = drawn.image.contiguous(memory_format=torch.channels_last)
        for name, network in networks.items():
            found[name].append(network.features(image))
        targets.append(drawn.target)
        outliers.append(drawn.outlier)
    return {name: torch.cat(parts) for name, parts in found.items()}, torch.cat(targets), torch.cat(outliers)


def solve(linear, features, target, outlier, pull, steps=300):
    """The linear layer that fits best while staying near the old one; returns (weight, bias)."""
    tested = calibrate.TESTED
    weight = linear.weight.detach().clone().requires_grad_(True)
    bias = linear.bias.detach().clone().requires_grad_(True)
    old_weight, old_bias = linear.weight.detach().clone(), linear.bias.detach().clone()
    scale = features.std(0).clamp(min=1e-3)
    share = torch.where(outlier > 0, 0.5, 1.0)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        logits = (features @ weight.t() + bias)[:, tested]
        entropy = -(target[:, tested] * F.log_softmax(logits, 1)).sum(1)
        value = (share * entropy).mean() + pull * ((((weight - old_weight) * scale) ** 2).sum()
                                                   + ((bias - old_bias) ** 2).sum())
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()


def run(weights, cache_folder, out, count=4096, pulls=(1.0, 0.1, 0.01, 0.001)):
    """Writes the weights file `out` with refitted class outputs, or the old ones if validation photos say so."""
    stored = torch.load(weights, map_location="cpu")
    network = train.load_weights(train.build(stored["entry"], "cpu"), stored["state"]).eval()
    cache = Cache(cache_folder)
    crops, labels, _ = cache.crops("val")
    scenes = Scenes(cache, "cpu", stored["record"]["config"]["seed"] + 1)
    size = crops.shape[1]
    features, target, outlier = collect({"network": network}, scenes, count, size)
    plain = train.outputs(network, crops, "cpu", 16, features=True)[2]
    image = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    styled = (scenes.restyle(image, torch.from_numpy(labels), 1.0) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    styled = train.outputs(network, styled, "cpu", 16, features=True)[2]
    weight, bias = choose(network.classifier[1], features["network"], target, outlier, plain, styled, labels, labels, pulls)
    stored["state"]["classifier.1.weight"], stored["state"]["classifier.1.bias"] = weight.half(), bias
    torch.save(stored, out)


def choose(linear, features, target, outlier, plain, styled, labels, styled_labels, pulls):
    """Tries each pull; the sum of accuracies on plain and on restyled validation photos decides, old outputs included."""
    def look(weight, bias):
        def right(values, truth):
            logits = values @ weight.numpy().T + bias.numpy()
            logits[:, [i for i in range(logits.shape[1]) if i not in calibrate.TESTED]] = -30
            loss = -np.log(metrics.softmax(logits)[np.arange(len(truth)), truth] + 1e-9).mean()
            return train.accuracy(logits, truth), float(loss)
        return right(plain, labels), right(styled, styled_labels)

    best = (linear.weight.detach(), linear.bias.detach())
    score = look(*best)
    print(f"old outputs: val {score[0][0]:.4f} (loss {score[0][1]:.3f}), restyled {score[1][0]:.4f} (loss {score[1][1]:.3f})")
    for pull in pulls:
        candidate = solve(linear, features, target, outlier, pull)
        found = look(*candidate)
        print(f"pull {pull}: val {found[0][0]:.4f} (loss {found[0][1]:.3f}), restyled {found[1][0]:.4f} (loss {found[1][1]:.3f})")
        if found[0][0] + found[1][0] > score[0][0] + score[1][0]:
            best, score = candidate, found
    return best
