"""Checks that leaves are taken away and laid before other grounds, and that photos are cut near the spots of their leaf."""
import numpy as np
import torch

from cropshield.augment import Scenes, without_leaf
from cropshield.classes import CLASSES

SIDE = 64
GREEN, RED, BLUE, GREY = (40, 160, 60), (200, 40, 40), (60, 60, 200), (150, 150, 150)


def photo(ground, spot):
    """RGBA: a green leaf in the middle, a red spot at (x, y) of it."""
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    rgba[..., :3] = ground
    rgba[8:56, 24:40] = (*GREEN, 255)
    x, y = spot
    rgba[y - 3:y + 3, x - 3:x + 3, :3] = RED
    return rgba


class Photos:
    """A cache of two classes: a red spot above, a red spot below."""

    def __init__(self):
        self.drawn = [photo(BLUE, (32, 14)), photo(GREY, (32, 50))]
        self.index = {"train": [{"name": str(i), "label": CLASSES.index(name), "mask": 1, "levels": [[i * SIDE * SIDE, SIDE, SIDE]]}
                                for i, name in enumerate(("Sugarcane__healthy", "Sugarcane__rust"))]}

    def pixels(self):
        return np.concatenate([image.reshape(-1, 4).view(np.int32).ravel() for image in self.drawn])


def near(image, colour):
    """Share of pixels of about that colour."""
    return ((image - torch.tensor(colour).view(3, 1, 1) / 255).abs().amax(-3) < 0.15).float().mean().item()


cache = Photos()
images = [torch.from_numpy(rgba).permute(2, 0, 1).float() / 255 for rgba in cache.drawn]
for rgba, ground in zip(images, (BLUE, GREY)):
    bare = without_leaf(rgba[None, :3], rgba[None, 3:])
    assert near(bare[0], ground) == 1, "nothing of the leaf is left"
    full = without_leaf(rgba[None, :3], torch.ones_like(rgba[None, 3:]))
    assert bool(torch.isfinite(full).all())

scenes = Scenes(cache, "cpu", 3)
label = torch.tensor([entry["label"] for entry in cache.index["train"]]).repeat(8)
leaf = torch.stack([rgba[3:] for rgba in images]).repeat(8, 1, 1, 1)
image = torch.stack([rgba[:3] for rgba in images]).repeat(8, 1, 1, 1)
moved = scenes._move(image, leaf, label, torch.ones(16, dtype=torch.bool), 1.0, 0.0)
assert torch.equal(moved * leaf, image * leaf), "the leaf stays as it was"
assert any(near(one, BLUE) > 0.4 for one in moved[1::2]), "and stands before the other one's ground"
kept = scenes._move(image, leaf, label, torch.zeros(16, dtype=torch.bool), 1.0, 0.0)
assert torch.equal(kept, image), "where the leaf's place is not known, nothing moves"

for which, (x, y) in enumerate(((32, 14), (32, 50))):
    off = (scenes.spots[which] * SIDE - torch.tensor([float(x), float(y)])).abs().max()
    assert off <= 4, f"spots of photo {which} lie off by {off} pixels"
anywhere, spotted = (scenes._whole(torch.zeros(64, dtype=torch.long), 32, 0.0, 16.0, spots=share)[0] for share in (0.0, 1.0))
seen = [sum(near(one, RED) > 0 for one in drawn) for drawn in (anywhere, spotted)]
assert seen[1] > seen[0], f"{seen[1]} of 64 cuts round the spot show it, {seen[0]} of any"
print(f"leaves move to other grounds, cuts round spots show them ({seen[1]} of 64, anywhere {seen[0]})")
