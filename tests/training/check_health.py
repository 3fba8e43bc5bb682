"""Checks what is known of a leaf's health from its name, and that outputs corrected by what all crops share keep crop and disease."""

import numpy as np
import torch

from cropshield import health, photos
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

# Features: one of each class, one of health, one that only goes with health where the outputs were learnt.
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
leaves.known, leaves.crop = np.arange(80) != 5, np.array(["bean", "maize", "rice", "pea"] * 20)
strange = torch.rand(80, generator=random) < 0.5
leaves.features = seen(torch.randint(len(CLASSES), (80,), generator=random), torch.from_numpy(leaves.healthy), strange).numpy()
assert len(leaves.folds()) == 4 and not any(fold[5] for fold in leaves.folds()), "every crop is left out once, the unknown never"
learnt = seen(label, well, well)
direction = health.find_direction(learnt.numpy(), label.numpy(), leaves)
leaves.healthy[:] = True
assert health.find_direction(learnt.numpy(), label.numpy(), leaves) is None, "healthy leaves alone tell nothing"

weight, bias = torch.zeros(len(CLASSES), width), torch.zeros(len(CLASSES))
weight[:, :-2] = 8 * torch.eye(len(CLASSES))
weight[:, -1] = 12 * torch.tensor(HEALTHY)  # what goes with health in one place only
bias[CLASSES.index("Sugarcane__red_stripe")] = -30
elsewhere = seen(label, well, torch.rand(count, generator=random) < 0.5)
images = torch.cat([learnt, elsewhere])
distance = np.concatenate([np.zeros(count), np.full(count, 9.0)])
outputs = [(weight, bias), health.fitted(weight, bias, images, distance, direction(images), 1.0, 3.0),
           health.fitted(weight, bias, images, distance * 0, direction(images), 1.0, 3.0)]
assert torch.allclose(outputs[2][0], weight, atol=1e-3), "what is like the training photos keeps what was said"
fresh = seen(label, well, torch.rand(count, generator=random) < 0.5)
right = [float(((fresh @ w.t() + b).argmax(1) == label).float().mean()) for w, b in outputs[:2]]
assert right[1] > right[0] + 0.1, right
kept = [float(((learnt @ w.t() + b).argmax(1) == label).float().mean()) for w, b in outputs[:2]]
assert kept[1] > kept[0] - 0.02, kept
accuracy, loss = health.loss_of(np.array([9.0, -9.0, 9.0]), np.array([True, False, False]))
assert accuracy == 0.75 and abs(loss - 2.25) < 0.01, "healthy and sick leaves count alike"
print(f"health is what all crops share: {100 * right[0]:.0f} % right become {100 * right[1]:.0f} %")
