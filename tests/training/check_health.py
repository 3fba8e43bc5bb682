"""Checks what is known of a leaf's health from its name, and that outputs corrected by what all crops share keep crop and disease."""
import math

import numpy as np
import torch

from cropshield import health, photos, train
from cropshield.classes import CLASSES, CROP_OF, HEALTHY

for name, known in (("train/Tomato__healthy/a__1.jpg", True), ("val/Potato__late_blight/healthy__1.jpg", False),
                    ("ood/other_leaf/bean/farm_hea__1.jpg", True), ("ood/other_leaf/bean/farm_healthy__1.jpg", True),
                    ("ood/other_leaf/bean/farm_rust__1.jpg", False), ("ood/other_leaf/bean/farm__1.jpg", None),
                    ("ood/not_leaf/healthy_food__1.jpg", None)):
    assert photos.health_of(name) is known, name

random = torch.Generator().manual_seed(3)
logits = torch.randn(50, len(CLASSES), generator=random).double() * 4
logits[:, CLASSES.index("Sugarcane__red_stripe")] = -30
odds = torch.randn(50, generator=random).double() * 3
before, after = logits.softmax(1), health.factored(logits, odds).exp()
assert torch.allclose(after.sum(1), torch.ones(50).double())
for crop in set(CROP_OF):
    own = [c for c in range(len(CLASSES)) if CROP_OF[c] == crop and CLASSES[c] != "Sugarcane__red_stripe"]
    well, sick = [c for c in own if HEALTHY[c]], [c for c in own if not HEALTHY[c]]
    assert torch.allclose(after[:, own].sum(1), before[:, own].sum(1), atol=1e-9), "the crop stays"
    assert torch.allclose(after[:, well].sum(1), before[:, own].sum(1) * odds.sigmoid(), atol=1e-9), "its health is told"
    assert torch.allclose(after[:, sick] / after[:, sick].sum(1, keepdim=True),
                          before[:, sick] / before[:, sick].sum(1, keepdim=True), atol=1e-9), "the disease stays"

# Features: one of each class, one of health, and one that only goes with health where the outputs were learnt.
count, width = 600, len(CLASSES) + 2
tested = [c for c in range(len(CLASSES)) if CLASSES[c] != "Sugarcane__red_stripe"]
label = torch.tensor(tested)[torch.randint(len(tested), (count,), generator=random)]
well = torch.tensor(HEALTHY)[label]


def seen(label, well, spurious):
    features = torch.rand(len(label), width, generator=random) * 0.3
    features[:, :-2] += torch.nn.functional.one_hot(label, len(CLASSES)) * 0.5
    features[:, -2] += 0.6 * well
    features[:, -1] += 0.8 * spurious
    return features


leaves = health.Leaves.__new__(health.Leaves)
leaves.healthy = (torch.rand(80, generator=random) < 0.4).numpy()
leaves.known, leaves.crop = np.ones(80, bool), np.array(["bean", "maize"] * 40)
strange = torch.rand(80, generator=random) < 0.5
leaves.features = seen(torch.randint(len(CLASSES), (80,), generator=random), torch.from_numpy(leaves.healthy), strange).double()
weight, bias = torch.zeros(len(CLASSES), width), torch.zeros(len(CLASSES))
weight[:, :-2] = 8 * torch.eye(len(CLASSES))
weight[:, -1] = 12 * torch.tensor(HEALTHY)  # what goes with health in one place only
bias[CLASSES.index("Sugarcane__red_stripe")] = -30
corrector = health.Corrector(weight, bias, seen(label, well, well), torch.nn.functional.one_hot(label, len(CLASSES)).float(),
                             torch.zeros(count), leaves)
assert torch.equal(corrector.outputs(0)[0], weight) and torch.equal(corrector.outputs(0)[1], bias), "a share of 0 changes nothing"
elsewhere = seen(label, well, torch.rand(count, generator=random) < 0.5)
right = [float(((elsewhere @ w.t() + b).argmax(1) == label).float().mean()) for w, b in (corrector.outputs(s) for s in (0, 0.8))]
assert right[1] > right[0] + 0.1, right
told = [health.loss_of(health.told(*corrector.outputs(share), leaves.features).numpy(), leaves.healthy)[0] for share in (0, 0.8)]
assert told[1] > told[0] + 0.2, told

logit = torch.tensor([5.0, -5.0, 0.0, 9.0])
sure = train._sickness(logit, torch.tensor([1.0, 0.0, math.nan, 1.0]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
wrong = train._sickness(-logit, torch.tensor([1.0, 0.0, math.nan, 1.0]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
assert 0 <= float(sure) < 0.01 < 3 < float(wrong), "unknown health counts for nothing"
print(f"health is what all crops share: {100 * right[0]:.0f} % right become {100 * right[1]:.0f} %")
