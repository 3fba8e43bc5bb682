"""Owns the class outputs of a network whose features learnt to be another one's (`imitate`).

The teacher's linear class outputs can then stand behind the pupil's features (Chen et al., 'Knowledge distillation with the
reused teacher classifier'), and what they know of strange photos comes with them (`health.py`). The pupil's own fit its own
features better. Both are linear, and so is their mixture: the teacher's get the largest share that costs no validation
photo its right class on balance. Of several pupils, that one can be taken which differs least from its teacher
on validation photos, looked at in several ways (`diverge`).
"""

import numpy as np
import torch

from . import calibrate, looks, metrics, refit, train
from .prepare import Cache

SHARES = tuple(tenth / 10 for tenth in range(11))


def mixture(own, teachers, share):
    """(weight, bias) of class outputs of which `share` are the teacher's."""
    return tuple((1 - share) * mine + share * theirs for mine, theirs in zip(own, teachers))


def choose(own, teachers, features, labels):
    """The largest share of SHARES with which as many are right as with none."""
    counts = [refit.right(mixture(own, teachers, share), features, labels) for share in SHARES]
    for share, count in zip(SHARES, counts):
        print(f"reuse: with {share:.1f} of the teacher's outputs {count} of {len(labels)} validation photos right", flush=True)
    return max(share for share, count in zip(SHARES, counts) if count >= counts[0])


def run(weights, teacher, cache_folder, out, device="auto"):
    """Writes the weights file `out` with class outputs that are partly those of `teacher` (weights file or native file)."""
    device = train.pick_device(device)
    stored = torch.load(weights, map_location="cpu")
    network = train.load_weights(train.build(stored["entry"], device), stored["state"]).eval()
    own, teachers = ((linear.weight.detach().cpu(), linear.bias.detach().cpu())
                     for linear in (network.classifier[1], train.network_of(teacher).classifier[1]))
    if own[0].shape != teachers[0].shape:
        raise SystemExit(f"{teacher}: class outputs of shape {tuple(teachers[0].shape)}, not {tuple(own[0].shape)}")
    crops, labels, _ = Cache(cache_folder).crops("val")
    features = train.outputs(network, crops, device, 64, features=True)[2]
    weight, bias = mixture(own, teachers, choose(own, teachers, features, labels))
    stored["state"]["classifier.1.weight"], stored["state"]["classifier.1.bias"] = weight.half(), bias
    torch.save(stored, out)


def divergence(teacher, pupil):
    """Mean Kullback-Leibler divergence (nats) of a pupil's probabilities from its teacher's; logits (N,classes), tested classes only."""
    known, said = (np.log(metrics.softmax(logits[:, calibrate.TESTED]) + 1e-9) for logits in (teacher, pupil))
    return float((np.exp(known) * (known - said)).sum(1).mean())


def diverge(weights, teacher, cache_folder, device="auto", seed=7):
    """Prints how far networks (weights files or native files) are from their teacher on each look, and the mean of the looks."""
    device = train.pick_device(device)
    seen = looks.of(Cache(cache_folder), seed)
    guide = train.network_of(teacher).to(device)
    known = [train.outputs(guide, crops, device, 64)[0] for _, crops, _ in seen]
    for path in weights:
        pupil = train.network_of(path).to(device)
        found = [divergence(logits, train.outputs(pupil, crops, device, 64)[0]) for logits, (_, crops, _) in zip(known, seen)]
        print(f"{path}: divergence {np.mean(found):.4f} (" +
              ", ".join(f"{what} {value:.4f}" for value, (what, _, _) in zip(found, seen)) + ")", flush=True)
