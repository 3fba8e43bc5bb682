"""Checks that bending a leaf leaves a flat one as it is, lights only what is said to be leaf, and moves the mask with the image;
and that soft light takes texture but no edges."""
import torch

from cropshield.augment import diffuse, relief

torch.manual_seed(7)
SIDE = 48


def column(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


image, leaf = torch.rand(1, 3, SIDE, SIDE), torch.zeros(1, 1, SIDE, SIDE)
leaf[..., 12:36, 12:36] = 1
all_of_it, flat = torch.ones_like(leaf), torch.zeros(1, 1, 6, 6)
bumps, none, crease = torch.randn(1, 1, 6, 6) * 0.05, column(0, 0), column(0.5, 0, 0)

same, mask = relief(image, leaf, all_of_it, bumps, crease, column(0.7, 0.2), column(0.8, 0), column(0))
assert torch.allclose(same, image, atol=1e-5) and torch.allclose(mask, leaf, atol=1e-5), "an amount of 0 changes nothing"
same, _ = relief(image, leaf, all_of_it, flat, column(0, 0, 0), column(0.7, 0.2), column(0.8, 0), column(1))
assert torch.allclose(same, image, atol=1e-5), "nor does a flat leaf"

lit, _ = relief(image * 0 + 0.5, leaf, leaf, flat, crease, none, column(0.8, 0), column(1))
left, right = lit[..., 14:34, 14:22].mean(), lit[..., 14:34, 26:34].mean()
assert left > 0.55 and right < 0.4, f"a crease divides light from shade: {left} and {right}"
assert torch.allclose(lit[leaf.expand_as(lit) == 0], torch.tensor(0.5), atol=1e-5), "what is not leaf is lit as before"

seen, mask = relief(leaf.expand(1, 3, SIDE, SIDE), leaf, leaf * 0, bumps, crease, column(0.9, -0.6), none, column(1))
assert torch.allclose(seen[:, :1], mask, atol=1e-5) and not torch.allclose(mask, leaf, atol=0.1), "the mask goes with the image"
for value in relief(image, leaf, leaf, bumps * 40, crease * 9, column(3, 3), column(5, 5), column(1)):
    assert bool(torch.isfinite(value).all()) and value.min() >= 0 and value.max() <= 1

step = torch.zeros(1, 3, SIDE, SIDE)
step[..., SIDE // 2:] = 0.8
textured = step * 0.9 + 0.05 * torch.rand(1, 1, SIDE, SIDE)
assert torch.equal(diffuse(textured, column(0), column(0.1)), textured), "an amount of 0 changes nothing"
soft = diffuse(textured, column(1), column(0.1))
assert soft[..., 4:-4, :16].std() < 0.3 * textured[..., 4:-4, :16].std(), "texture goes"
across = (soft[..., SIDE // 2] - soft[..., SIDE // 2 - 1]).mean()
assert across > 0.6, f"an edge stays: {across}"
print("leaves are bent and softly lit")
