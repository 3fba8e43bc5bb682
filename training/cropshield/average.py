"""Owns the mean of weights: networks that learnt on from one start with different recipes lie in one valley of the loss.

The mean errs less away from the training photos than either (Wortsman et al., 'Model soups'; Rame et al., 'Diverse weight
averaging for out-of-distribution generalization').
"""

import torch

from . import calibrate, evaluate, looks, refit, train
from .prepare import Cache


def mean(states):
    return {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}


def _read(path):
    """(state, name of its run) of a weights file or a native file, as the plain network that is exported."""
    if path.endswith(".safetensors"):
        network, metadata, _ = evaluate.load_model(path)
        return network.state_dict(), f"{metadata['name']} {metadata['digest'][:12]}"
    network, stored = calibrate.load_network(path)
    return network.state_dict(), " + ".join(stored.get("averaged", [stored["record"]["config"]["name"]]))


def run(out, paths, cache_folder=None):
    """Writes the mean of weights and native files as the weights file `out`; the first must be a weights file of a plain network."""
    first = torch.load(paths[0], map_location="cpu")
    read = [_read(path) for path in paths]
    names = [name for name in first["state"] if all(name in state for state, _ in read)]
    if len(names) < len(first["state"]):
        raise SystemExit(f"{', '.join(paths)} are not weights of one network")
    joined = mean([{name: state[name] for name in names} for state, _ in read])
    found = dict(first, state={name: value.half() if value.ndim > 1 else value for name, value in joined.items()},
                 averaged=[name for _, name in read])
    torch.save(found, out)
    if cache_folder is None:
        return
    device = train.pick_device()
    views = looks.of(Cache(cache_folder), first["record"]["config"]["seed"])
    for title, state in [(path, state) for path, (state, _) in zip(paths, read)] + [(out, found["state"])]:
        network = train.load_weights(train.build(first["entry"], device), state).eval()
        linear = network.classifier[1]
        judged = refit.judge(linear.weight.detach(), linear.bias.detach(), looks.seen(network, views, device))
        print(f"{title}: " + ", ".join(f"{what} {100 * accuracy:.2f} % (loss {loss:.3f})"
                                       for (what, _, _), (accuracy, loss) in zip(views, judged)), flush=True)
