"""Owns the last correction of a trained network: its linear class outputs are fitted anew on restyled scenes.

The features of a network know more than its outputs use; outputs that were fitted where the camera tells the crop lean on
the camera (Kirichenko et al., 'Last layer re-training is sufficient for robustness to spurious correlations'). Training
photos only; how far the outputs move is chosen on validation photos.
"""

import numpy as np
import torch
import torch.nn.functional as F

from . import calibrate, looks, metrics, photos, train
from .augment import Scenes
from .prepare import Cache

RECIPE = dict(scenes=0.5, outliers=0.125, mix=0.0, strength=0.8, smoothing=0.0, restyle=0.7, sun=0.3, spectrum=0.3,
              surface=0.4)


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


def run(weights, cache_folder, out, count=4096, pulls=(1.0, 0.1, 0.01, 0.001), device="auto"):
    """Writes the weights file `out` with refitted class outputs, or the old ones if validation photos say so."""
    device = train.pick_device(device)
    stored = torch.load(weights, map_location="cpu")
    network = train.load_weights(train.build(stored["entry"], device), stored["state"]).eval()
    cache, seed = Cache(cache_folder), stored["record"]["config"]["seed"] + 1
    scenes = Scenes(cache, device, seed)
    features, target, outlier = collect({"network": network}, scenes, count, photos.CROP)
    seen = looks.seen(network, looks.of(cache, seed), device)
    weight, bias = choose(network.classifier[1], features["network"], target, outlier, seen, pulls)
    stored["state"]["classifier.1.weight"], stored["state"]["classifier.1.bias"] = weight.half().cpu(), bias.cpu()
    torch.save(stored, out)


def judge(weight, bias, seen):
    """[(accuracy, log loss)] of linear class outputs for what `looks.seen` found; the temperature is that of plain photos."""
    found, temperature = [], None
    for _, values, labels in seen:
        logits = values @ weight.cpu().numpy().T + bias.cpu().numpy()
        logits[:, [i for i in range(logits.shape[1]) if i not in calibrate.TESTED]] = -30
        temperature = temperature or metrics.fit_temperature(logits, labels)
        loss = -np.log(metrics.softmax(logits, temperature)[np.arange(len(labels)), labels] + 1e-9).mean()
        found.append((train.accuracy(logits, labels), float(loss)))
    return found


def right(outputs, features, labels):
    """How many photos with `features` (N,d) the class outputs (weight, bias) name rightly; classes without photos do not compete."""
    logits = features @ outputs[0].cpu().numpy().T + outputs[1].cpu().numpy()
    logits[:, [c for c in range(logits.shape[1]) if c not in calibrate.TESTED]] = -np.inf
    return int((logits.argmax(1) == labels).sum())


def score(judged):
    """What decides between candidates, the less the better: log loss on plain photos plus its mean over the changed ones.

    A thousand photos cannot tell candidates apart by accuracy; the loss weighs every photo.
    """
    return judged[0][1] + float(np.mean([loss for _, loss in judged[1:]]))


def choose(linear, features, target, outlier, seen, pulls):
    """Tries each pull and the old outputs: (weight, bias) of the best by `score`."""
    candidates = [("old outputs", (linear.weight.detach(), linear.bias.detach()))]
    candidates += [(f"pull {pull}", solve(linear, features, target, outlier, pull)) for pull in pulls]
    judged = [judge(*outputs, seen) for _, outputs in candidates]
    for (title, _), one in zip(candidates, judged):
        print(f"{title}: " + ", ".join(f"{what} {accuracy:.4f} (loss {loss:.3f})"
                                       for (what, _, _), (accuracy, loss) in zip(seen, one)), flush=True)
    return candidates[int(np.argmin([score(one) for one in judged]))][1]
