"""Owns measuring a model file: every figure of the model card is printed by `run` and kept in `<name>.results.json`.

Reads the exported `.safetensors` (so that what is measured is what is published) and the cache's splits. Chooses nothing.
"""

import json
import os

import numpy as np
import torch

from . import calibrate, content, gate, metrics, models, nativefile, photos, pictures, train
from .classes import CLASSES, CROP_OF
from .prepare import NOT_LEAF, OTHER_LEAF, Cache

MANY = 20  # macro-F1 counts classes with at least this many photos


def load_model(path):
    """(network, metadata, ood tensors) from a native file."""
    tensors, metadata = nativefile.read(path)
    space = {key: tensors.pop(key) for key in list(tensors) if key.startswith("ood.")}
    classes = json.loads(metadata["classes"])
    if metadata["architecture"] == "CropShieldLite":
        shapes = [(m["in"], m["out"], int(m["type"][4]), m["stride"])
                  for m in json.loads(metadata["architecture_config"])["layers"]]
        network = models.PlainLite(len(classes), shapes)
    else:
        network = models.ARCHITECTURES[metadata["architecture"]](len(classes))
    state = {key: torch.from_numpy(value.astype(np.float32)) for key, value in tensors.items()}
    return train.load_weights(network, state).eval(), metadata, space


def _split(name, probability, labels, names):
    table = metrics.confusion(probability.argmax(1), labels, len(CLASSES))
    support, precision, recall, f1 = metrics.per_class(table)
    many = support >= MANY
    crop = np.array(CROP_OF)
    in_crop = np.where(crop[None, :] == crop[labels][:, None], probability, -1.0)
    rows = []
    for i in np.nonzero(support)[0]:
        rows.append({"class": CLASSES[i], "photos": int(support[i]), "precision": float(np.nan_to_num(precision[i])),
                     "precision_95": metrics.wilson(table[i, i], int(table[:, i].sum())), "recall": float(recall[i]),
                     "recall_95": metrics.wilson(table[i, i], int(support[i])), "f1": float(f1[i])})
    sources = {}
    for source in sorted({n.split("/")[-1].split("__")[0] for n in names}):
        mine = np.array([n.split("/")[-1].split("__")[0] == source for n in names])
        sources[source] = {"photos": int(mine.sum()), "right": int((probability.argmax(1) == labels)[mine].sum())}
    return {"split": name, "photos": len(labels), "top1": metrics.top(probability, labels, 1),
            "top1_95": metrics.wilson(int(table.diagonal().sum()), len(labels)),
            "top3": metrics.top(probability, labels, 3), "macro_f1": float(np.nanmean(f1[many])) if many.any() else None,
            "right_crop": float((crop[probability.argmax(1)] == crop[labels]).mean()),
            "top1_in_crop": metrics.top(in_crop, labels, 1),
            "top1_in_crop_95": metrics.wilson(int((in_crop.argmax(1) == labels).sum()), len(labels)),
            "ece": metrics.ece(probability, labels), "per_class": rows, "sources": sources,
            "confusion": table.tolist(), "reliability": metrics.reliability(probability, labels)}


def _print_split(result):
    print(f"\n{result['split']}: {result['photos']} photos, top-1 {100 * result['top1']:.2f} % "
          f"({100 * result['top1_95'][0]:.1f}-{100 * result['top1_95'][1]:.1f}), top-3 {100 * result['top3']:.2f} %, "
          + (f"macro-F1 {100 * result['macro_f1']:.2f} % (classes with >= {MANY} photos), " if result["macro_f1"] else "")
          + f"right crop {100 * result['right_crop']:.1f} %, top-1 where the crop is told {100 * result['top1_in_crop']:.2f} %, ECE {100 * result['ece']:.2f} %")
    for row in result["per_class"]:
        print(f"  {row['class']:<48}{row['photos']:>4} photos  precision {100 * row['precision']:5.1f} % "
              f"({100 * row['precision_95'][0]:.0f}-{100 * row['precision_95'][1]:.0f})  recall {100 * row['recall']:5.1f} % "
              f"({100 * row['recall_95'][0]:.0f}-{100 * row['recall_95'][1]:.0f})")
    print("  by source: " + ", ".join(f"{s} {v['right']}/{v['photos']}" for s, v in result["sources"].items()))


def _rejection(settings, values, threshold, kinds, fit):
    """AUROC of the gate and of each of its network inputs against test and field, and what is rejected."""
    found = {"rejected": {}, "auroc": {}}
    scores = {split: gate.score(settings, value) for split, value in values.items()}
    report = {"objects": (kinds == NOT_LEAF) & ~fit, "other_leaves": (kinds == OTHER_LEAF) & ~fit}
    for split in ("val", "test", "field"):
        if split in scores:
            found["rejected"][split] = float((scores[split] > threshold).mean())
    for name, chosen in report.items():
        found["rejected"][name] = float((scores["ood"][chosen] > threshold).mean())
        for split in ("test", "field"):
            if split not in scores:
                continue
            entry = {"gate": metrics.auroc(scores[split], scores["ood"][chosen])}
            for i, signal in enumerate(gate.NETWORK_INPUTS):
                sign = -1 if signal in ("energy", "max_logit") else 1
                entry[signal] = metrics.auroc(sign * values[split][:, i], sign * values["ood"][chosen, i])
            found["auroc"][f"{name} against {split}"] = entry
    found["photos"] = {name: int(chosen.sum()) for name, chosen in report.items()}
    return found


def run(model, cache_folder, out, batch=16, device="auto"):
    cache, device = Cache(cache_folder), train.pick_device(device)
    network, metadata, space = load_model(model)
    network = network.to(device)
    name, temperature = metadata["name"], float(metadata["temperature"])
    settings = json.loads(metadata["ood"])
    results, values, mistakes = {"model": name, "digest": metadata["digest"], "splits": {}}, {}, []
    for split in cache.splits():
        crops, labels, names = cache.crops(split)
        values[split], logits, contents = calibrate.gate_inputs(network, space, crops, temperature, device, batch)
        if split == "ood":
            kinds, fit = labels, np.array([photos.in_fit_half(n) for n in names])
            continue
        probability = metrics.softmax(logits, temperature)
        results["splits"][split] = _split(split, probability, labels, names)
        _print_split(results["splits"][split])
        coach = json.loads(metadata["coach"])
        hinted = [gate.hints(coach, row) for row in contents]
        shares = {hint: sum(hint in found for found in hinted) / len(hinted) for hint in coach}
        results["splits"][split]["hints"] = shares
        print("  hints: " + ", ".join(f"{hint} {100 * share:.1f} %" for hint, share in shares.items()))
        wrong = np.nonzero(probability.argmax(1) != labels)[0]
        for i in wrong[np.argsort(-probability[wrong].max(1))][:12]:
            mistakes.append({"split": split, "photo": names[i], "said": CLASSES[int(probability[i].argmax())],
                             "probability": round(float(probability[i].max()), 3)})
    if "ood" in values:
        results["rejection"] = _rejection(settings, values, settings["threshold"], kinds, fit)
        print("\n'not a leaf' at the operating point, share rejected: "
              + ", ".join(f"{k} {100 * v:.2f} %" for k, v in results["rejection"]["rejected"].items()))
        for pair, entry in results["rejection"]["auroc"].items():
            print(f"  AUROC {pair}: " + ", ".join(f"{k} {v:.4f}" for k, v in entry.items()))
    results["mistakes"] = mistakes
    results["summary"] = {}
    for split, found in results["splits"].items():
        for key in ("top1", "top3", "macro_f1", "ece"):
            if found[key] is not None:
                results["summary"][f"{split}_{key}"] = round(found[key], 4)
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, f"{name}.results.json"), "w") as file:
        json.dump(results, file)
    for split in ("test", "field"):
        if split in results["splits"]:
            pictures.confusion(results["splits"][split]["confusion"], CLASSES,
                               os.path.join(out, f"{name}.confusion_{split}.png"))
    if "test" in results["splits"]:
        pictures.reliability({s: results["splits"][s]["reliability"] for s in ("test", "field") if s in results["splits"]},
                             os.path.join(out, f"{name}.reliability.png"))
    return results
