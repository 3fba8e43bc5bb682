"""Owns the sanity check of Grad-CAM: on photos whose leaf can be cut out, how much of the map lies on the leaf.

Pointing game: whether the map's maximum lies on the leaf. Energy share: the map's sum over the leaf, divided by its sum.
The map is the one that CropShield shows (ReLU of the class-weighted activations before the pooling), of the class that
was predicted, drawn bilinearly at the size of the crop.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from . import evaluate, segment, train
from .classes import CLASSES
from .photos import MEAN, STD
from .prepare import LONG_LEAVES, Cache

MARGIN = 9  # pixels: a cell of the map is 16 wide, so its border cells reach over the leaf's edge


@torch.no_grad()
def _measure(network, crops, masks, device):
    """(share of the map on the leaf, whether its maximum is there, share of the crop that is leaf) of each photo with a map."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    rows = []
    for crop, mask in zip(crops, masks):
        image = Image.fromarray(mask).filter(ImageFilter.MaxFilter(MARGIN))
        leaf = torch.from_numpy(np.asarray(image) > 127)
        x = ((torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255 - mean) / std).to(device)
        active = network.activations(x)
        chosen = network.classifier(active.mean((2, 3))).argmax(1)
        weight = network.classifier[1].weight[chosen]
        cam = F.relu((active * weight.view(1, -1, 1, 1)).sum(1, keepdim=True))
        cam = F.interpolate(cam, size=leaf.shape, mode="bilinear", align_corners=False)[0, 0].cpu()
        if float(cam.sum()) > 0:
            rows.append((float(cam[leaf].sum() / cam.sum()), bool(leaf.flatten()[cam.argmax()]), float(leaf.float().mean())))
    return rows


def run(model, cache_folder, split="test", limit=None, device="auto"):
    """Prints and returns both measures: over photos with a plain background, and over those of long leaves before any."""
    device = train.pick_device(device)
    network, metadata, _ = evaluate.load_model(model)
    network = network.to(device)
    crops, labels, _ = Cache(cache_folder).crops(split)
    crops, labels = crops[:limit], labels[:limit]
    plain = [segment.leaf_mask(crop) for crop in crops]
    gains = [LONG_LEAVES.get(CLASSES[label].split("__")[0]) for label in labels]
    long = [segment.long_leaf_mask(crop, gain) if mask is None and gain else None
            for crop, gain, mask in zip(crops, gains, plain)]
    found = {"split": split}
    for what, masks in (("a leaf that can be cut out", plain), ("a long leaf before other leaves", long)):
        chosen = [i for i, mask in enumerate(masks) if mask is not None]
        rows = _measure(network, crops[chosen], [masks[i] for i in chosen], device)
        if not rows:
            continue
        share, hit, area = np.array(rows, float).T
        found[what] = {"photos": len(rows), "energy_share": float(share.mean()), "energy_share_median": float(np.median(share)),
                       "pointing_game": float(hit.mean()), "leaf_area": float(area.mean())}
        print(f"{metadata['name']}, {len(rows)} {split} photos with {what}: {100 * share.mean():.1f} % of the map's mass on the "
              f"leaf (median {100 * np.median(share):.1f} %), pointing game {100 * hit.mean():.1f} %; leaves cover "
              f"{100 * area.mean():.1f} % of the crop")
    if len(found) == 1:
        raise SystemExit(f"no photo of {split} has a leaf that can be cut out")
    return found
