"""Owns the measured part of the model card: writes the tables between two marks of models/README.md.

Everything comes from the JSON that `evaluate` leaves; nothing is typed by hand.
"""

import json

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def _percent(value, digits=1):
    return "–" if value is None else f"{100 * value:.{digits}f}"


def _interval(pair):
    return "–" if pair[0] != pair[0] else f"{100 * pair[0]:.0f}–{100 * pair[1]:.0f}"


def _overview(results):
    lines = ["| model | split | photos | top-1 % (95 %) | top-3 % | macro-F1 % | right crop % | top-1 where the crop is told % (95 %) | ECE % |",
             "|---|---|---|---|---|---|---|---|---|"]
    for found in results:
        for split in ("val", "test", "field"):
            s = found["splits"][split]
            lines.append(f"| {found['model']} | {split} | {s['photos']} | {_percent(s['top1'], 2)} ({_interval(s['top1_95'])}) "
                         f"| {_percent(s['top3'])} | {_percent(s['macro_f1'])} | {_percent(s['right_crop'])} "
                         f"| {_percent(s['top1_in_crop'], 2)} ({_interval(s['top1_in_crop_95'])}) | {_percent(s['ece'], 2)} |")
    return lines


def _rejection(results):
    lines = ["| model | test | field | objects | leaves of other crops |", "|---|---|---|---|---|"]
    for found in results:
        r = found["rejection"]["rejected"]
        lines.append(f"| {found['model']} | {_percent(r['test'], 2)} | {_percent(r['field'], 1)} | {_percent(r['objects'], 1)} "
                     f"| {_percent(r['other_leaves'], 1)} |")
    lines += ["", "| model | AUROC | gate | reject output | energy | max-logit | Mahalanobis |", "|---|---|---|---|---|---|---|"]
    for found in results:
        for pair, entry in found["rejection"]["auroc"].items():
            lines.append(f"| {found['model']} | {pair.replace('_', ' ')} | " + " | ".join(
                f"{entry[key]:.4f}" for key in ("gate", "reject", "energy", "max_logit", "mahalanobis")) + " |")
    return lines


def _classes(found):
    rows = {}
    for split in ("test", "field"):
        for row in found["splits"][split]["per_class"]:
            rows.setdefault(row["class"], {})[split] = row
    lines = ["| class | test photos | precision % (95 %) | recall % (95 %) | field photos | field precision % | field recall % (95 %) |",
             "|---|---|---|---|---|---|---|"]
    for name, both in sorted(rows.items()):
        cells = [name]
        for split in ("test", "field"):
            row = both.get(split)
            if row is None:
                cells += ["0", "–", "–"]
                continue
            precision = _percent(row["precision"], 0) + (f" ({_interval(row['precision_95'])})" if split == "test" else "")
            cells += [str(row["photos"]), precision, f"{_percent(row['recall'], 0)} ({_interval(row['recall_95'])})"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _sources(found):
    parts = []
    for split in ("test", "field"):
        of = found["splits"][split]["sources"]
        parts.append(f"{split}: " + ", ".join(f"{name} {v['right']}/{v['photos']}" for name, v in of.items()))
    return ["Right by source (" + found["model"] + "). " + "; ".join(parts) + "."]


def _mistakes(found, count=8):
    lines = ["| photo | said | probability |", "|---|---|---|"]
    for split in ("test", "field"):
        mine = [m for m in found["mistakes"] if m["split"] == split][:count]
        lines += [f"| {m['photo']} | {m['said']} | {m['probability']:.2f} |" for m in mine]
    return lines


def run(card, paths):
    """Rewrites the measured part of the file `card` from the results files `paths`, the first of which has the details."""
    results = []
    for path in paths:
        with open(path) as file:
            results.append(json.load(file))
    first = results[0]
    parts = ["### Accuracy and calibration", ""] + _overview(results)
    parts += ["", "### 'Not a leaf' at the operating point: share rejected, %", ""] + _rejection(results)
    parts += ["", "Negatives of the half that nothing was fitted on: "
              + ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in first["rejection"]["photos"].items()) + "."]
    parts += ["", f"### Per class ({first['model']})", ""] + _classes(first) + [""]
    for found in results:
        parts += _sources(found)
    parts += ["", f"### The most confident mistakes ({first['model']})", ""] + _mistakes(first)
    with open(card) as file:
        text = file.read()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    with open(card, "w") as file:
        file.write(head + BEGIN + "\n" + "\n".join(parts) + "\n" + END + tail)
