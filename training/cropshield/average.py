"""Owns the mean of weights: networks that learnt on from one start with different recipes lie in one valley of the loss.

The mean errs less away from the training photos than either (Wortsman et al., 'Model soups'; Rame et al., 'Diverse weight
averaging for out-of-distribution generalization').
"""

import torch

from . import evaluate, looks, refit, train
from .prepare import Cache


def mean(states):
    return {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}


def _read(path, entry):
    """What a weights file holds; a native file's weights stand as those of a network like `entry`."""
    if not path.endswith(".safetensors"):
        return torch.load(path, map_location="cpu")
    network, metadata, _ = evaluate.load_model(path)
    return {"state": network.state_dict(), "entry": entry, "record": {"config": {"name": f"{metadata['name']} {metadata['digest'][:12]}"}}}


def run(out, paths, cache_folder=None):
    """Writes the mean of weights and native files as the weights file `out`; the first must be a weights file."""
    first = torch.load(paths[0], map_location="cpu")
    stored = [first] + [_read(path, first["entry"]) for path in paths[1:]]
    names = [name for name in first["state"] if all(name in one["state"] for one in stored)]
    if len(names) < len(first["state"]):
        raise SystemExit(f"{', '.join(paths)} are not weights of one network")
    joined = mean([{name: one["state"][name] for name in names} for one in stored])
    found = dict(first, state={name: value.half() if value.ndim > 1 else value for name, value in joined.items()},
                 averaged=[one["record"]["config"]["name"] for one in stored])
    torch.save(found, out)
    if cache_folder is None:
        return
    device = train.pick_device()
    views = looks.of(Cache(cache_folder), stored[0]["record"]["config"]["seed"])
    for title, one in list(zip(paths, stored)) + [(out, found)]:
        network = train.load_weights(train.build(one["entry"], device), one["state"]).eval()
        linear = network.classifier[1]
        judged = refit.judge(linear.weight.detach(), linear.bias.detach(), looks.seen(network, views, device))
        print(f"{title}: " + ", ".join(f"{what} {100 * accuracy:.2f} % (loss {loss:.3f})"
                                       for (what, _, _), (accuracy, loss) in zip(views, judged)), flush=True)
