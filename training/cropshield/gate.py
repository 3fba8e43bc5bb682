"""Owns the 'not a leaf' gate and the photo coach: their inputs, how they are fitted, how they are evaluated.

What is evaluated here is what the C code evaluates; training/README.md has the formulas. Fitted on validation photos, on
drawn scenes and on the negatives of the fit half only.
"""

import math

import numpy as np

from . import content, metrics

NETWORK_INPUTS = ("reject", "energy", "max_logit", "mahalanobis")
INPUTS = NETWORK_INPUTS + content.FEATURES
CLIP = 4.0
LEAST_SPREAD = 4.0  # grey levels
DIMENSIONS = 32


def _unit(features):
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def fit_distance(features, labels, dimensions=DIMENSIONS):
    """Class means and shared covariance of L2-normalised features, in the directions that matter.

    Returns {'ood.center' (512,), 'ood.basis' (d, 512), 'ood.mean' (K, d)}: y = basis (f/|f| - center) has unit covariance
    within a class, so that the distance to a class is the Euclidean distance of y to its row of `ood.mean`.
    """
    unit = _unit(features.astype(np.float64))
    center = unit.mean(0)
    present = np.unique(labels)
    means = np.stack([unit[labels == c].mean(0) for c in present])
    within = unit - means[np.searchsorted(present, labels)]
    values, vectors = np.linalg.eigh(within.T @ within / len(unit))
    values, vectors = values[::-1][:dimensions], vectors[:, ::-1][:, :dimensions]
    floor = 0.05 * values.mean()
    basis = (vectors / np.sqrt(values + floor)).T
    return {"ood.center": center.astype("<f4"), "ood.basis": basis.astype("<f4"),
            "ood.mean": ((means - center) @ basis.T).astype("<f4")}


def distance(space, features):
    """Least distance of each row to a class mean."""
    y = (_unit(features.astype(np.float64)) - space["ood.center"]) @ space["ood.basis"].T.astype(np.float64)
    square = ((y[:, None, :] - space["ood.mean"][None].astype(np.float64)) ** 2).sum(2)
    return np.sqrt(square.min(1))


def inputs(space, logits, reject, features, contents, temperature, tested):
    """(N, len(INPUTS)) of the gate's inputs; logits of untested classes do not count."""
    scaled = logits[:, tested].astype(np.float64) / temperature
    most = scaled.max(1)
    energy = most + np.log(np.exp(scaled - most[:, None]).sum(1))
    return np.column_stack([reject.astype(np.float64), energy, most, distance(space, features), contents])


def score(gate, values):
    """The gate's score: above `threshold` a photo counts as no leaf of a supported crop.

    So does every photo without structure, whatever the network makes of it: where luma spreads over less than LEAST_SPREAD
    levels the score is at least as far above the threshold. A gate that is being fitted has no threshold yet.
    """
    z = np.clip((values - np.array(gate["mean"])) / np.array(gate["scale"]), -CLIP, CLIP)
    found = z @ np.array(gate["weight"]) + gate["bias"]
    if "threshold" not in gate:
        return found
    lack = LEAST_SPREAD - 255 * values[:, INPUTS.index("luma_std")]
    return np.where(lack > 0, np.maximum(found, gate["threshold"] + lack), found)


def fit(inside, outside, kind, penalty=0.02, rejected=0.005, rejected_scenes=0.01, steps=4000):
    """Logistic regression on z-scored inputs. inside, outside: (N, inputs); kind: (len(outside),) groups weighted alike.

    inside = [(values, weight of the group), ...]: validation photos, then drawn scenes. The threshold is the lowest that
    rejects at most `rejected` of the former (the promise is 2 %; a photo turned away wrongly is worse than an object let through) and
    `rejected_scenes` of the latter, so that leaves before foreign backgrounds get through as well.
    """
    values = np.concatenate([group for group, _ in inside] + [outside])
    target = np.concatenate([np.zeros(len(values) - len(outside)), np.ones(len(outside))])
    weight = np.concatenate([np.full(len(group), share / len(group)) for group, share in inside]
                            + [np.array([1.0 / (kind == k).sum() / len(set(kind.tolist())) for k in kind])])
    weight[:len(values) - len(outside)] /= sum(share for _, share in inside)
    mean = (values * weight[:, None]).sum(0) / weight.sum()
    scale = np.sqrt(((values - mean) ** 2 * weight[:, None]).sum(0) / weight.sum()) + 1e-6
    z = np.clip((values - mean) / scale, -CLIP, CLIP)
    coefficient, bias, rate = np.zeros(z.shape[1]), 0.0, 0.5
    for _ in range(steps):
        error = (1 / (1 + np.exp(-(z @ coefficient + bias))) - target) * weight / weight.sum()
        coefficient -= rate * (z.T @ error + penalty * coefficient)
        bias -= rate * error.sum()
    gate = {"inputs": list(INPUTS), "mean": mean.round(6).tolist(), "scale": scale.round(6).tolist(), "clip": CLIP,
            "weight": coefficient.round(6).tolist(), "bias": round(float(bias), 6)}
    gate["threshold"] = threshold(gate, [(inside[0][0], rejected)] + [(v, rejected_scenes) for v, _ in inside[1:]])
    return gate


def threshold(gate, groups):
    """The lowest threshold that rejects at most the given share of every group; groups: [(values, share), ...].

    It is a score that occurs, rounded up: between two of them, or rounded down, one photo more would lie above.
    """
    least = max(float(np.sort(score(gate, values))[len(values) - 1 - math.floor(share * len(values))])
                for values, share in groups if len(values))
    return math.ceil(least * 1e6) / 1e6


def fit_coach(contents):
    """Thresholds of the photo hints, from the content features of validation photos: outside the usual range, plus margin."""
    column = {name: contents[:, i] for i, name in enumerate(content.FEATURES)}
    return {
        "blurred": {"feature": "sharpness", "below": round(float(np.quantile(column["sharpness"], 0.005)) - 0.1, 4)},
        "too_dark": {"feature": "luma_mean", "below": round(float(np.quantile(column["luma_mean"], 0.002)) * 0.9, 4)},
        "too_bright": {"feature": "luma_mean", "above": round(float(np.quantile(column["luma_mean"], 0.998)) * 1.05, 4)},
        "leaf_too_small": {"feature": "leaf", "below": round(max(0.04, float(np.quantile(column["leaf"], 0.005)) * 0.9), 4)},
    }


def hints(coach, contents):
    """Names of the hints for one photo's content features."""
    value = dict(zip(content.FEATURES, contents))
    return [name for name, rule in coach.items()
            if value[rule["feature"]] < rule.get("below", -np.inf) or value[rule["feature"]] > rule.get("above", np.inf)]
