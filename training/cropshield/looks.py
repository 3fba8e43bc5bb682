"""Owns how validation photos are looked at when something has to be chosen: as they are, and as they were not taken.

Training and validation share their sources, so plain validation photos cannot tell which of two networks leans less on
the camera or the ground. Nothing of test or field is here.
"""

import numpy as np
import torch
import torch.nn.functional as F

from . import photos, segment, train
from .augment import Scenes, diffuse, soften, without_leaf
from .classes import CLASSES, CROP_OF
from .prepare import OTHER_LEAF, mask_of


def _bytes(image):
    return (image.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _floats(crops):
    return torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 255


def _before_foliage(crops, cache, random):
    """Leaves that can be cut out before blurred leaves of crops that are not supported; the other photos as they are."""
    negatives, kinds, names = cache.crops("ood")
    fit = np.array([photos.in_fit_half(name) for name in names])
    grounds = _floats(negatives[fit & (kinds == OTHER_LEAF)])
    masks = [segment.leaf_mask(crop) for crop in crops]
    leaf = torch.stack([torch.zeros(crop.shape[:2]) if mask is None else torch.from_numpy(mask > 127).float()
                        for crop, mask in zip(crops, masks)]).unsqueeze(1)
    cut = torch.tensor([mask is not None for mask in masks]).view(-1, 1, 1, 1)
    leaf = F.avg_pool2d(leaf, 3, 1, 1)
    ground = grounds[torch.randint(len(grounds), (len(crops),), generator=random)]
    ground = soften(ground, torch.rand(len(crops), 1, 1, 1, generator=random) + 1)
    image = _floats(crops)
    return torch.where(cut, ground + leaf * (image - ground), image)


def _before_other_ground(crops, labels, seed):
    """Leaves that can be cut out before the ground of a photo of another class of their crop; the other photos as they are.

    Photos of one class share their surroundings, which must not tell it.
    """
    masks = [mask_of(crop, CLASSES[label]) for crop, label in zip(crops, labels)]
    random, pairs = np.random.default_rng(seed), []
    for i, label in enumerate(labels):
        others = [j for j, other in enumerate(labels) if masks[i] is not None and masks[j] is not None
                  and other != label and CROP_OF[other] == CROP_OF[label]]
        if others:
            pairs.append((i, others[random.integers(len(others))]))
    image, leaves = _floats(crops), {i: torch.from_numpy(mask).float()[None, None] / 255
                                     for i, mask in enumerate(masks) if mask is not None}
    changed = image.clone()
    for i, j in pairs:
        ground = without_leaf(image[j:j + 1], leaves[j])[0]
        changed[i] = ground + leaves[i][0] * (image[i] - ground)
    return changed


def _turned_and_near(crops, seed):
    """Photos turned by quarters, and seen from one and a half times as near."""
    side = crops.shape[1]
    cut = side // 6
    near = F.interpolate(_floats(crops[:, cut:side - cut, cut:side - cut]), size=(side, side), mode="bicubic",
                         align_corners=False)
    turns = np.random.default_rng(seed).integers(1, 4, len(crops)).tolist()
    return torch.stack([torch.rot90(image, turn, (1, 2)) for image, turn in zip(near, turns)])


def of(cache, seed):
    """[(what, crops (N,H,W,3) uint8, labels)] of the validation photos.

    Plain; in another crop's light, and that with more: turned and near; before foliage (that needs negatives), and there
    in soft light, which takes their texture; before the ground of another class.
    """
    crops, labels, _ = cache.crops("val")
    scenes = Scenes(cache, "cpu", seed)
    classes = torch.from_numpy(labels)
    found = [("val", crops, labels), ("in other light", _bytes(scenes.restyle(_floats(crops), classes, 1.0)), labels)]
    found.append(("turned and near", _bytes(scenes.restyle(_turned_and_near(crops, seed), classes, 1.0)), labels))
    if "ood" in cache.splits() and scenes.has_negatives:
        image = _before_foliage(crops, cache, torch.Generator().manual_seed(seed))
        found.append(("and before foliage", _bytes(scenes.restyle(image, classes, 1.0)), labels))
        soft = diffuse(image, torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.14))
        found.append(("and in soft light", _bytes(scenes.restyle(soft, classes, 1.0)), labels))
    image = _before_other_ground(crops, labels, seed)
    found.append(("and before another's ground", _bytes(scenes.restyle(image, classes, 1.0)), labels))
    return found


def seen(network, looks, device, batch=64):
    """[(what, pooled features, labels)] of a network."""
    return [(what, train.outputs(network, crops, device, batch, features=True)[2], labels) for what, crops, labels in looks]
