"""Owns the one question that all crops share: is the leaf healthy or sick?

Class outputs that were learnt from one source a class tell healthy leaves by what else that source shows; on photos of other
sources they hardly rank healthy before sick. One direction in the features that has to tell healthy from sick leaves of many
crops at once, those of unsupported crops outdoors among them, does. So P(class) is taken apart into P(crop), P(healthy) by
that direction, and P(disease | crop, sick), the more the stranger an image is, that is the farther it lies from all classes
(`gate.distance`); linear class outputs are then fitted to what comes out. Crop and disease stay what the outputs said, and
what is like the training photos keeps all of it.

Sees training and validation photos, drawn images, and of the negatives the leaves of the fit half.
"""

import numpy as np
import torch
import torch.nn.functional as F

from . import calibrate, gate, photos, refit, train
from .augment import Scenes
from .classes import CROP_OF, HEALTHY
from .prepare import OTHER_LEAF, Cache

LENGTH = 4.0  # features are scaled to this Euclidean length, so that strong and weak photos count alike
EACH = 40.0  # weight of the healthy, and of the sick, training leaves of a crop; half of it those of all other crops
RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)
FOLDS = 5  # groups of unsupported crops that are left out in turn
# Where the direction begins to count and where it alone does: quantiles of the distance of validation photos.
REACHES = ((0.5, 0.95), (0.75, 0.99), (0.9, 0.99), (0.95, 0.99))
PULL = 1e-3


def _minimise(parameters, loss, steps):
    optimizer = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


class Direction:
    """Log-odds that a leaf is healthy, linear in its features brought to one length: logistic regression with a ridge."""

    def __init__(self, features, healthy, weight, ridge):
        x, y, weight = self._unit(features), torch.from_numpy(healthy.astype(np.float64)), torch.from_numpy(weight)
        slope = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
        bias = torch.zeros((), dtype=torch.float64, requires_grad=True)

        def loss():
            entropy = F.binary_cross_entropy_with_logits(x @ slope + bias, y, reduction="none")
            return (weight * entropy).sum() + 0.5 * ridge * slope.square().sum()

        _minimise([slope, bias], loss, 300)
        self.slope, self.bias = slope.detach(), bias.detach()

    @staticmethod
    def _unit(features):
        return LENGTH * F.normalize(torch.as_tensor(features, dtype=torch.float64), dim=1)

    def __call__(self, features):
        return self._unit(features) @ self.slope + self.bias


class Leaves:
    """Leaves of unsupported crops, of the fit half: features (N,d), healthy (N,) where `known`, crop (N,)."""

    def __init__(self, network, cache, device, batch=64):
        crops, kinds, names = cache.crops("ood")
        mine = [i for i, name in enumerate(names) if kinds[i] == OTHER_LEAF and photos.in_fit_half(name)]
        self.features = train.outputs(network, crops[mine], device, batch, features=True)[2] if mine else None
        healthy = [photos.health_of(names[i]) for i in mine]
        self.known = np.array([one is not None for one in healthy], bool)
        self.healthy = np.array([bool(one) for one in healthy], bool)
        self.crop = np.array([names[i].split("/")[2] for i in mine])

    def folds(self):
        """Masks of crops to leave out, so that healthy and sick leaves of others are left."""
        crops, counts = np.unique(self.crop[self.known], return_counts=True)
        crops = crops[np.argsort(-counts, kind="stable")]
        masks = [self.known & np.isin(self.crop, crops[i::FOLDS]) for i in range(FOLDS)]
        return [mask for mask in masks if mask.any() and len(set(self.healthy[self.known & ~mask])) == 2]


def factored(logits, odds):
    """Log-probabilities whose crop and disease are those of (N,classes) logits, and whose health has the (N,) log-odds."""
    said = logits.log_softmax(1)
    found = said.clone()
    for crop in sorted(set(CROP_OF)):
        own = [c for c in calibrate.TESTED if CROP_OF[c] == crop]
        well, sick = [c for c in own if HEALTHY[c]], [c for c in own if not HEALTHY[c]]
        if well and sick:
            total = said[:, own].logsumexp(1, keepdim=True)
            for members, side in ((well, odds), (sick, -odds)):
                found[:, members] = total + said[:, members].log_softmax(1) + F.logsigmoid(side).unsqueeze(1)
    return found


def balanced(groups, each):
    """Weights with which every group weighs `each` together."""
    _, which, count = np.unique(groups, return_inverse=True, return_counts=True)
    return each / count[which]


def loss_of(odds, healthy):
    """(accuracy, log loss) of log-odds, healthy and sick leaves counting alike."""
    wrong, right = np.logaddexp(0, np.where(healthy, -odds, odds)), (odds > 0) == healthy
    sides = [healthy == side for side in (False, True) if (healthy == side).any()]
    return float(np.mean([right[s].mean() for s in sides])), float(np.mean([wrong[s].mean() for s in sides]))


def find_direction(sample, labels, leaves):
    """The direction of training photos (features, labels) and `leaves`; crops that are left out choose its ridge. Or None."""
    folds, own = leaves.folds(), np.array([2 * CROP_OF[c] + HEALTHY[c] for c in labels])
    if not folds:
        return None

    def direction(among, ridge):
        return Direction(np.concatenate([sample, leaves.features[among]]),
                         np.concatenate([own % 2 == 1, leaves.healthy[among]]),
                         np.concatenate([balanced(own, EACH), balanced(leaves.healthy[among], EACH / 2)]), ridge)

    seen, losses = np.logical_or.reduce(folds), []
    for ridge in RIDGES:
        odds = np.zeros(len(seen))
        for fold in folds:
            odds[fold] = direction(leaves.known & ~fold, ridge)(leaves.features[fold]).numpy()
        accuracy, loss = loss_of(odds[seen], leaves.healthy[seen])
        losses.append(loss)
        print(f"health, ridge {ridge}: {100 * accuracy:.1f} % of leaves of crops that were left out, loss {loss:.3f}", flush=True)
    return direction(leaves.known, RIDGES[int(np.argmin(losses))])


def fitted(weight, bias, features, distance, odds, begin, end):
    """(weight, bias) in float32: linear outputs nearest to those whose health has `odds`, from distance `begin` to `end` more and more."""
    old_weight, old_bias = weight.double().cpu(), bias.double().cpu()
    features, distance = torch.as_tensor(features, dtype=torch.float64), torch.as_tensor(distance)
    logits = features @ old_weight.t() + old_bias
    strange = ((distance - begin) / (end - begin)).clamp(0, 1).unsqueeze(1)
    wanted = ((1 - strange) * logits.softmax(1) + strange * factored(logits, odds).exp()).clamp(min=1e-30)
    weight, bias = old_weight.clone().requires_grad_(True), old_bias.clone().requires_grad_(True)
    scale = features.std(0).clamp(min=1e-3)

    def loss():
        given = (features @ weight.t() + bias).log_softmax(1)
        away = ((weight - old_weight) * scale).square().sum() + (bias - old_bias).square().sum()
        return (wanted * (wanted.log() - given)).sum(1).mean() + PULL * away

    _minimise([weight, bias], loss, 150)
    return weight.detach().float(), bias.detach().float()


def part(network, weight, bias, drawn, cache, device, batch=64):
    """Class outputs (weight, bias) whose health all crops share; the old ones where too little is known for that.

    drawn: features of drawn images. The reach is the lowest that costs no validation photo its right class on balance.
    """
    leaves = Leaves(network, cache, device, batch) if "ood" in cache.splits() else None
    crops, labels = calibrate.training_sample(cache, 60)
    sample = train.outputs(network, crops, device, batch, features=True)[2]
    direction = find_direction(sample, labels, leaves) if leaves is not None and len(leaves.known) else None
    if direction is None:
        print("health: too few leaves of other crops tell it")
        return weight, bias
    space = gate.fit_distance(sample, labels)
    features = np.concatenate([sample, drawn.cpu().numpy(), leaves.features])
    distance, odds = gate.distance(space, features), direction(features)
    val, truth, _ = cache.crops("val")
    val = train.outputs(network, val, device, batch, features=True)[2]
    before = refit.right((weight, bias), val, truth)
    for reach in REACHES:
        begin, end = (float(q) for q in np.quantile(gate.distance(space, val), reach))
        found = fitted(weight, bias, features, distance, odds, begin, max(end, begin + 1e-3))
        count = refit.right(found, val, truth)
        print(f"health from distance {begin:.2f} to {end:.2f}: {count} of {len(truth)} validation photos right, "
              f"{before} before", flush=True)
        if count >= before:
            return found
    print("health: costs right answers wherever it counts")
    return weight, bias


def run(weights, cache_folder, out, count=3072, device="auto"):
    """Writes the weights file `out` with class outputs whose health all crops share."""
    device = train.pick_device(device)
    stored = torch.load(weights, map_location="cpu")
    network = train.load_weights(train.build(stored["entry"], device), stored["state"]).eval()
    cache = Cache(cache_folder)
    drawn = refit.collect({"": network}, Scenes(cache, device, stored["record"]["config"]["seed"] + 2), count, photos.CROP)[0][""]
    linear = network.classifier[1]
    weight, bias = part(network, linear.weight.detach(), linear.bias.detach(), drawn, cache, device)
    stored["state"]["classifier.1.weight"], stored["state"]["classifier.1.bias"] = weight.half().cpu(), bias.cpu()
    torch.save(stored, out)
