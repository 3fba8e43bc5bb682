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
from .photos import MEAN, STD
from .prepare import Cache

MARGIN = 9  # pixels: a cell of the map is 16 wide, so its border cells reach over the leaf's edge


@torch.no_grad()
def run(model, cache_folder, split="test", limit=None, device="auto"):
    device = train.pick_device(device)
    network, metadata, _ = evaluate.load_model(model)
    network = network.to(device)
    crops, labels, _ = Cache(cache_folder).crops(split)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    shares, areas, hits = [], [], []
    for crop in crops[:limit]:
        mask = segment.leaf_mask(crop)
        if mask is None:
            continue
        image = Image.fromarray(mask).filter(ImageFilter.MaxFilter(MARGIN))
        leaf = torch.from_numpy(np.asarray(image) > 127)
        x = ((torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255 - mean) / std).to(device)
        active = network.activations(x)
        chosen = network.classifier(active.mean((2, 3))).argmax(1)
        weight = network.classifier[1].weight[chosen]
        cam = F.relu((active * weight.view(1, -1, 1, 1)).sum(1, keepdim=True))
        cam = F.interpolate(cam, size=leaf.shape, mode="bilinear", align_corners=False)[0, 0].cpu()
        if float(cam.sum()) <= 0:
            continue
        shares.append(float(cam[leaf].sum() / cam.sum()))
        areas.append(float(leaf.float().mean()))
        hits.append(bool(leaf.flatten()[cam.argmax()]))
    if not shares:
        raise SystemExit(f"no photo of {split} has a leaf that can be cut out")
    found = {"split": split, "photos": len(shares), "energy_share": float(np.mean(shares)), "energy_share_median":
             float(np.median(shares)), "pointing_game": float(np.mean(hits)), "leaf_area": float(np.mean(areas))}
    print(f"{metadata['name']}, {len(shares)} {split} photos with a leaf that can be cut out: {100 * found['energy_share']:.1f} % "
          f"of the map's mass on the leaf (median {100 * found['energy_share_median']:.1f} %), pointing game "
          f"{100 * found['pointing_game']:.1f} %; leaves cover {100 * found['leaf_area']:.1f} % of the crop")
    return found
