"""Checks that a teacher's class outputs get the largest share that costs no photo its right class."""

import math

import numpy as np
import torch

from cropshield import refit, reuse
from cropshield.classes import CLASSES

random = torch.Generator().manual_seed(5)
tested = torch.tensor([c for c in range(len(CLASSES)) if CLASSES[c] != "Sugarcane__red_stripe"])
labels = tested[torch.randint(len(tested), (400,), generator=random)]
features = torch.nn.functional.one_hot(labels, len(CLASSES)) + 0.1 * torch.rand(400, len(CLASSES), generator=random)
own = (torch.eye(len(CLASSES)), torch.zeros(len(CLASSES)))
known, seen = labels.numpy(), features.numpy()

weight, bias = reuse.mixture(own, (3 * own[0], own[1] + 1), 0.25)
assert torch.allclose(weight, 1.5 * own[0]) and torch.allclose(bias, torch.full_like(bias, 0.25))
assert refit.right(own, seen, known) == 400
untested = own[1].clone()
untested[CLASSES.index("Sugarcane__red_stripe")] = 99
assert refit.right((own[0], untested), seen, known) == 400, "a class without photos is never the answer"
assert reuse.choose(own, own, seen, known) == 1.0, "one that says the same may say all"
assert reuse.choose(own, (-own[0], own[1]), seen, known) == 0.4, "one that says the opposite is outvoted below a half"
sure, even = 9.0 * np.eye(len(CLASSES))[known], np.zeros((400, len(CLASSES)))
assert reuse.divergence(sure, sure) == 0 and abs(reuse.divergence(even, even + 3)) < 1e-9
entropy = -sum(p * math.log(p) for p in [math.exp(9) / (math.exp(9) + 20)] + 20 * [1 / (math.exp(9) + 20)])
assert abs(reuse.divergence(sure, even) - (math.log(21) - entropy)) < 1e-6, "of 22 classes 21 have photos"
print("reuse: the largest share that costs nothing")
