"""Owns the mean of weights: networks that learnt on from one start with different recipes lie in one valley of the loss.

The mean errs less away from the training photos than either (Wortsman et al., 'Model soups'; Rame et al., 'Diverse weight
averaging for out-of-distribution generalization').
"""

import numpy as np
import torch

from . import train
from .augment import Scenes
from .prepare import Cache


def mean(states):
    return {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}


def validation(cache_folder, seed):
    """[(what, crops, labels)]: validation photos as they are, and in another crop's light."""
    cache = Cache(cache_folder)
    crops, labels, _ = cache.crops("val")
    scenes = Scenes(cache, "cpu", seed)
    image = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    styled = scenes.restyle(image, torch.from_numpy(labels), 1.0)
    styled = (styled * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return [("val", crops, labels), ("val in other light", styled, labels)]


def run(out, paths, cache_folder=None):
    stored = [torch.load(path, map_location="cpu") for path in paths]
    joined = mean([one["state"] for one in stored])
    found = dict(stored[0], state={name: value.half() if value.ndim > 1 else value for name, value in joined.items()},
                 averaged=[one["record"]["config"]["name"] for one in stored])
    torch.save(found, out)
    if cache_folder is None:
        return
    looks = validation(cache_folder, stored[0]["record"]["config"]["seed"])
    for title, one in list(zip(paths, stored)) + [(out, found)]:
        network = train.load_weights(train.build(one["entry"], "cpu"), one["state"]).eval()
        said = []
        for what, crops, labels in looks:
            logits = train.outputs(network, crops, "cpu", 16)[0]
            loss = -np.log(np.exp(logits - logits.max(1, keepdims=True))[np.arange(len(labels)), labels]
                           / np.exp(logits - logits.max(1, keepdims=True)).sum(1) + 1e-9).mean()
            said.append(f"{what} {100 * train.accuracy(logits, labels):.2f} % (loss {loss:.3f})")
        print(f"{title}: " + ", ".join(said), flush=True)
