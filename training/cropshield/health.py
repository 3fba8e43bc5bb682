"""Owns the one question that all crops share: is the leaf healthy or sick?

Class outputs that were learnt from one source a class tell healthy leaves by what else that source shows; on photos of other
sources they hardly rank healthy before sick. One direction in the features that has to tell healthy from sick leaves of every
crop at once, those of unsupported crops outdoors among them, does. So P(class) is taken apart into P(crop), P(healthy) by
that direction, and P(disease | crop, sick); linear class outputs are then fitted to the mean of this and what they said. The
crop and the disease stay as they were. Leaves of unsupported crops are those of the fit half whose names tell their health.
"""

import numpy as np
import torch
import torch.nn.functional as F

from . import calibrate, metrics, photos, train
from .classes import CROP_OF, HEALTHY
from .prepare import OTHER_LEAF

LENGTH = 4.0  # features are scaled to this Euclidean length, so that strong and weak photos count alike
EACH, OTHERS = 40.0, 20.0  # weight of the healthy, and of the sick, leaves of each supported crop; of all other crops
RIDGE = 1.0
PULL = 1e-3
SHARES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8)


def _minimise(parameters, loss, steps):
    optimizer = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


class Direction:
    """Log-odds that a leaf is healthy, linear in its features brought to one length."""

    def __init__(self, features, healthy, weight):
        x, y = self._unit(features), torch.as_tensor(healthy, dtype=torch.float64)
        weight = torch.as_tensor(weight, dtype=torch.float64)
        self.weight = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
        self.bias = torch.zeros((), dtype=torch.float64, requires_grad=True)

        def loss():
            entropy = F.binary_cross_entropy_with_logits(x @ self.weight + self.bias, y, reduction="none")
            return (weight * entropy).sum() + 0.5 * RIDGE * self.weight.square().sum()

        _minimise([self.weight, self.bias], loss, 300)
        self.weight, self.bias = self.weight.detach(), self.bias.detach()

    @staticmethod
    def _unit(features):
        return LENGTH * F.normalize(torch.as_tensor(features, dtype=torch.float64), dim=1)

    def __call__(self, features):
        return self._unit(features) @ self.weight + self.bias


def factored(logits, health):
    """Log-probabilities whose crop and disease are those of (N,classes) logits, and whose health has (N,) log-odds."""
    found = torch.full_like(logits, -40.0)
    for crop in sorted(set(CROP_OF)):
        own = [c for c in calibrate.TESTED if CROP_OF[c] == crop]
        well, sick = [c for c in own if HEALTHY[c]], [c for c in own if not HEALTHY[c]]
        total = logits[:, own].logsumexp(1, keepdim=True)
        for members, odds in ((well, health), (sick, -health)):
            inside = logits[:, members].log_softmax(1) + total
            found[:, members] = inside + F.logsigmoid(odds).unsqueeze(1) if well and sick else inside
    return found.log_softmax(1)


def _balanced(groups, each):
    """Weights with which every group weighs `each` together."""
    _, which, count = np.unique(groups, return_inverse=True, return_counts=True)
    return each / count[which]


class Leaves:
    """Leaves of crops that are not supported: (N,d) features of those of the fit half, and which are healthy (None: unknown)."""

    def __init__(self, network, cache, device, batch=64):
        crops, kinds, names = cache.crops("ood")
        mine = [i for i, name in enumerate(names) if kinds[i] == OTHER_LEAF and photos.in_fit_half(name)]
        self.features = torch.from_numpy(train.outputs(network, crops[mine], device, batch, features=True)[2]).double()
        healthy = [photos.health_of(names[i]) for i in mine]
        self.known = np.array([one is not None for one in healthy])
        self.healthy = np.array([bool(one) for one in healthy])
        self.crop = np.array([names[i].split("/")[2] for i in mine])

    def tell(self, among=None):
        """Whether there are healthy and sick ones, `among` some."""
        return len(set(self.healthy[self.known if among is None else self.known & among])) == 2


class Corrector:
    """Makes linear class outputs whose health comes from one direction, in different shares."""

    def __init__(self, weight, bias, features, target, outlier, leaves, among=None):
        """features, target, outlier: of drawn images (`refit.collect`); among: which of `leaves` to learn from."""
        among = np.ones(len(leaves.known), bool) if among is None else among
        self.weight, self.bias = weight.double().cpu(), bias.double().cpu()
        features, inside, label = features.double().cpu(), (outlier == 0).cpu(), target.argmax(1).cpu().numpy()
        own = np.array([2 * CROP_OF[c] + HEALTHY[c] for c in label[inside.numpy()]])
        told = leaves.known & among
        self.direction = Direction(
            torch.cat([features[inside], leaves.features[told]]),
            np.concatenate([own % 2, leaves.healthy[told]]),
            np.concatenate([_balanced(own, EACH), _balanced(leaves.healthy[told], OTHERS)]))
        self.features = torch.cat([features, leaves.features[among]])
        logits = self.features @ self.weight.t() + self.bias
        self.said, self.wanted = logits.log_softmax(1), factored(logits, self.direction(self.features))

    def outputs(self, share):
        """(weight, bias) in float32: outputs that come nearest to the mean, by `share`, of what was said and what is wanted."""
        wanted = ((1 - share) * self.said + share * self.wanted).log_softmax(1)
        weight, bias = self.weight.clone().requires_grad_(True), self.bias.clone().requires_grad_(True)
        scale = self.features.std(0).clamp(min=1e-3)

        def loss():
            given = (self.features @ weight.t() + bias).log_softmax(1)
            away = ((weight - self.weight) * scale).square().sum() + (bias - self.bias).square().sum()
            return F.kl_div(given, wanted, reduction="batchmean", log_target=True) + PULL * away

        if share > 0:
            _minimise([weight, bias], loss, 150)
        return weight.detach().float(), bias.detach().float()


def told(weight, bias, features, temperature=1.0):
    """Log-odds of 'healthy' in class outputs, whatever the crop."""
    logits = ((features @ weight.double().t() + bias.double()) / temperature)[:, calibrate.TESTED]
    healthy = torch.tensor([HEALTHY[c] for c in calibrate.TESTED])
    return logits[:, healthy].logsumexp(1) - logits[:, ~healthy].logsumexp(1)


def loss_of(odds, healthy):
    """(accuracy, log loss) of log-odds, healthy and sick leaves counting alike."""
    wrong = np.logaddexp(0, np.where(healthy, -odds, odds))
    right = (odds > 0) == healthy
    sides = [healthy == side for side in (False, True)]
    return float(np.mean([right[s].mean() for s in sides])), float(np.mean([wrong[s].mean() for s in sides]))
