"""Owns the numbers: accuracy, F1, calibration error, intervals, areas under curves. numpy only, no files, no networks."""

import math

import numpy as np


def softmax(logits, temperature=1.0):
    z = logits.astype(np.float64) / temperature
    z = np.exp(z - z.max(1, keepdims=True))
    return z / z.sum(1, keepdims=True)


def top(probability, labels, k):
    order = np.argsort(-probability, 1, kind="stable")[:, :k]
    return float((order == labels[:, None]).any(1).mean())


def confusion(predicted, labels, classes):
    table = np.zeros((classes, classes), int)
    np.add.at(table, (labels, predicted), 1)
    return table


def per_class(table):
    """Per class: photos, precision, recall, F1 (NaN where nothing is counted)."""
    hits = table.diagonal().astype(float)
    support, called = table.sum(1), table.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = hits / called, hits / support
        f1 = 2 * hits / (support + called)
    return support, precision, recall, f1


def wilson(hits, total, z=1.96):
    """95 % interval of a share."""
    if total == 0:
        return float("nan"), float("nan")
    share = hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def reliability(probability, labels, bins=15):
    """[(mean confidence, accuracy, share of photos)] of the non-empty bins of equal width."""
    confidence, right = probability.max(1), probability.argmax(1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    return [(float(confidence[which == b].mean()), float(right[which == b].mean()), float((which == b).mean()))
            for b in range(bins) if (which == b).any()]


def ece(probability, labels, bins=15):
    return sum(share * abs(confidence - right) for confidence, right, share in reliability(probability, labels, bins))


def auroc(inside, outside):
    """Chance that a random `outside` score is above a random `inside` score."""
    scores = np.concatenate([inside, outside])
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    for value in np.unique(scores):  # ties share their mean rank
        same = scores == value
        if same.sum() > 1:
            ranks[same] = ranks[same].mean()
    n = len(outside)
    return float((ranks[len(inside):].sum() - n * (n + 1) / 2) / (n * len(inside)))


def fit_temperature(logits, labels):
    """The temperature with the least negative log-likelihood."""
    grid = np.exp(np.linspace(math.log(0.2), math.log(5.0), 400))
    rows = np.arange(len(labels))
    loss = [-np.log(softmax(logits, t)[rows, labels] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmin(loss))])
