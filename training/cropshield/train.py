"""Owns the training loop: one or several networks learn from the same batches, with or without a teacher.

A configuration (TOML) names the networks, the schedule and the batch recipe. The schedule runs on the share done:
steps done or seconds spent, whichever limit is nearer, so that a run fits a machine that is lent for a fixed time.
Weights that count are the moving average. Everything needed to go on after an interruption is in `OUT/<run>.resume.pt`.
"""

import copy
import json
import math
import os
import platform
import time
import tomllib

import numpy as np
import torch
import torch.nn.functional as F

from . import models
from .augment import Scenes
from .classes import CLASSES
from .photos import MEAN, STD
from .prepare import Cache
from .progress import Progress


DRAWN = ("size", "scenes", "outliers", "mix", "strength", "colour", "sun", "restyle", "spectrum", "turned", "nearest",
         "bare", "moved", "spots", "relief", "surface", "smoothing")  # settings of Scenes.batch


def load_config(path):
    with open(path, "rb") as file:
        return tomllib.load(file)


def pick_device(name="auto"):
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def layout(device):
    """Channels last on GPUs; on CPUs not, where convolutions of 16 channels learning so write past their memory (torch 1.13)."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def build(entry, device):
    device = torch.device(device)
    network = models.ARCHITECTURES[entry["architecture"]](len(CLASSES), **entry.get("options", {}))
    return network.to(device).to(memory_format=layout(device))


def small_state(network):
    """The weights as they are published: matrices in float16, vectors in float32, no counters."""
    return {name: (value.half() if value.ndim > 1 else value.float()).cpu()
            for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}


def _go_on(network, paths, name):
    """Gives `network` the weights of the file among `paths` (weights file or native file) that is named after it."""
    path = next((p for p in paths if os.path.basename(p).split(".")[0] == name), None)
    if path is None:
        raise SystemExit(f"no file to start {name} from among {', '.join(paths)}")
    stored = None if path.endswith(".safetensors") else torch.load(path, map_location="cpu")
    if stored is not None and stored["entry"]["architecture"] == type(network).__name__:
        load_weights(network, stored["state"])  # with its branches, if it has any
    else:
        load_weights(network, network_of(path).state_dict())


def network_of(path):
    """The network of a weights file or a native file."""
    from . import calibrate, evaluate  # which need this module
    return evaluate.load_model(path)[0] if path.endswith(".safetensors") else calibrate.load_network(path)[0]


def load_weights(network, state):
    state = {name: value.float() for name, value in state.items()}
    missing = network.load_state_dict(state, strict=False)
    unknown = [name for name in missing.missing_keys if not name.endswith("num_batches_tracked")]
    if unknown or missing.unexpected_keys:
        raise ValueError(f"weights do not fit: missing {unknown}, unexpected {missing.unexpected_keys}")
    return network


class Learner:
    """One network, its optimiser and its moving average."""

    def __init__(self, entry, device, compiled, start=()):
        self.entry, self.name = entry, entry["name"]
        self.network = build(entry, device)
        if start:
            _go_on(self.network, start, self.name)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        decay, plain = [], []
        for parameter in self.network.parameters():
            (decay if parameter.ndim > 1 else plain).append(parameter)
        self.optimizer = torch.optim.SGD([{"params": decay, "weight_decay": entry["weight_decay"]},
                                          {"params": plain, "weight_decay": 0.0}],
                                         lr=entry["rate"], momentum=0.9, nesterov=True)
        self.explain = torch.compile(self.network.explain, dynamic=False) if compiled else self.network.explain
        self.loss_sum, self.astray_sum, self.loss_count = torch.zeros((), device=device), torch.zeros((), device=device), 0
        source, target = self.network.state_dict(), self.average.state_dict()
        floats = [name for name, value in source.items() if value.is_floating_point()]
        self._now, self._mean = [source[name] for name in floats], [target[name] for name in floats]

    @torch.no_grad()
    def follow(self, keep):
        torch._foreach_mul_(self._mean, keep)
        torch._foreach_add_(self._mean, self._now, alpha=1 - keep)

    def state(self):
        return {"network": self.network.state_dict(), "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict()}

    def restore(self, state):
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


def _loss(recipe, tested, logits, reject, drawn, taught):
    """Soft cross-entropy, the reject output's binary cross-entropy, and distillation where there are teachers."""
    logits, target = logits.float()[:, tested], drawn.target[:, tested]
    weight = torch.where(drawn.outlier > 0, recipe["outlier_weight"], 1.0)
    entropy = -(target * F.log_softmax(logits, 1)).sum(1)
    loss = entropy
    if taught is not None:
        heat, share = recipe["distill_temperature"], recipe["distill_share"]
        far = -(taught * F.log_softmax(logits / heat, 1)).sum(1) * heat * heat
        if recipe.get("distill_right"):  # a teacher that errs on a drawn scene errs outdoors for the same reason
            share = share * ((taught.argmax(1) == target.argmax(1)) | (drawn.outlier > 0)).float()
        loss = (1 - share) * entropy + share * far
    rejection = F.binary_cross_entropy_with_logits(reject.float(), drawn.outlier)
    return (weight * loss).mean() + recipe["reject_weight"] * rejection


@torch.no_grad()
def _taught(seen, tested, heat):
    """What is learnt from the outputs of a batch's teachers: the mean of their softened probabilities."""
    return sum(F.softmax(logits[:, tested].float() / heat, 1) for logits, _, _ in seen) / len(seen)


def _astray(cam, leaf, placed):
    """How much of the heat map of an image's class lies off its leaf, 0..1, over the images whose leaf's place is known.

    Evidence off the leaf is the background's (Ross et al., 'Right for the right reasons'; the map is Grad-CAM itself).
    """
    leaf = F.adaptive_avg_pool2d(leaf, cam.shape[-2:]).squeeze(1)
    share = 1 - (cam * leaf).sum((1, 2)) / (cam.sum((1, 2)) + 1)  # an empty map is no way out
    return (share * placed).sum() / placed.sum().clamp(min=1)


def _apart(active, shown, leaf, placed):
    """How far the last activations are from another network's of the same shape: squares, relative to that one's.

    A network that sees the same evidence at the same place errs alike on strange photos, which logits alone do not teach
    (Romero et al., 'FitNets'). Where the leaf's place is known, what the other one sees off it is not learnt.
    """
    leaf = F.adaptive_avg_pool2d(leaf, active.shape[-2:])
    counts = torch.where(placed.view(-1, 1, 1, 1) > 0, leaf, torch.ones_like(leaf))
    return (counts * (active - shown).square()).mean() / ((counts * shown.square()).mean() + 1e-6)


@torch.no_grad()
def outputs(network, crops, device, batch=128, features=False):
    """Runs uint8 crops (N,224,224,3) in float32: numpy (logits, reject[, pooled features])."""
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
    network.eval()
    found = []
    for start in range(0, len(crops), batch):
        x = torch.from_numpy(np.ascontiguousarray(crops[start:start + batch])).to(device).permute(0, 3, 1, 2).float()
        x = ((x / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
        pooled = network.features(x)
        found.append([network.classifier(pooled).cpu(), network.reject(pooled).squeeze(1).cpu(), pooled.cpu()])
    joined = [torch.cat(part).numpy() for part in zip(*found)]
    return joined if features else joined[:2]


def accuracy(logits, labels):
    return float((logits.argmax(1) == labels).mean())


def _at(schedule, share):
    """[[from share, value], ...] -> the value that holds at `share`; a plain value always holds."""
    if not isinstance(schedule, list):
        return schedule
    value = schedule[0][1]
    for start, candidate in schedule:
        if share >= start:
            value = candidate
    return value


def _rate(share, warmup, step, warmup_steps):
    """Factor of the rate: rises over a share of the run and, since compiling takes a share too, over a number of steps."""
    rising = min(share / max(warmup, 1e-9), (step + 1) / max(1, warmup_steps))
    return min(rising, 0.5 * (1 + math.cos(math.pi * max(0.0, share - warmup) / (1 - warmup))))


def _record(config, cache, device):
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    return {"config": config, "data": cache.index["digests"], "device": name, "torch": str(torch.__version__),
            "numpy": np.__version__, "python": platform.python_version(),
            "photos": sum(entry["label"] >= 0 for entry in cache.index["train"]), "curve": []}


def _save(out, run, learners, record, progress_state, scenes, finished):
    """What a run goes on from. Its results are written by the last call alone: an unfinished network must not look like one."""
    for learner in learners if finished else ():
        path = os.path.join(out, f"{learner.name}.weights.pt")
        torch.save({"state": small_state(learner.average), "entry": learner.entry, "classes": CLASSES,
                    "record": record}, path + ".new")
        os.replace(path + ".new", path)
    path = os.path.join(out, f"{run}.resume.pt")
    torch.save({"learners": [learner.state() for learner in learners], "record": record, "done": progress_state,
                "random": scenes.random.get_state()}, path + ".new")
    os.replace(path + ".new", path)
    if finished:
        path = os.path.join(out, f"{run}.record.json")
        with open(path + ".new", "w") as file:
            json.dump(record, file)
        os.replace(path + ".new", path)


def _guide(path, device):
    """image -> (logits, reject, last activations) of the network in a weights file or native file."""
    return network_of(path).to(device).to(memory_format=layout(device)).eval().requires_grad_(False).observe


def run(config, cache_folder, out, device="auto", seconds=None, teachers=(), start=(), resume=False,
        scenes=None):
    """Trains the networks of `config` and leaves `<name>.weights.pt` and `<run>.record.json` in `out`.

    Returns (record, scenes); a second run in the same process may take over the scenes, photos and compiled code.
    """
    os.makedirs(out, exist_ok=True)
    device, recipe = pick_device(device), config["recipe"]
    seconds = seconds or recipe.get("seconds", float("inf"))
    torch.manual_seed(config["seed"])
    cuda = device.type == "cuda"
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    if cuda:
        torch._dynamo.config.cache_size_limit = 256
        torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is
    cache = Cache(cache_folder)
    scenes = scenes or Scenes(cache, device, config["seed"], compiled=cuda and recipe.get("compile_scenes", False))
    learners = [Learner(entry, device, cuda and entry.get("compile", False), start) for entry in config["network"]]
    guides = [_guide(path, device) for path in teachers]
    record, step, spent = _record(config, cache, device), 0, 0.0
    path = os.path.join(out, f"{config['name']}.resume.pt")
    if resume and os.path.exists(path):
        stored = torch.load(path, map_location="cpu")
        for learner, state in zip(learners, stored["learners"]):
            learner.restore(state)
        scenes.random.set_state(stored["random"])
        record, (step, spent) = stored["record"], stored["done"]
    val, tested = cache.crops("val") if "val" in cache.splits() else None, set(scenes.tested.tolist())
    begin, shown, saved = time.monotonic() - spent, 0.0, time.monotonic()
    progress, warm = Progress(config["name"], 1000), 0
    while True:
        spent = time.monotonic() - begin
        share = max(step / recipe["steps"], spent / seconds)
        finished = share >= 1
        if finished or spent - shown >= recipe.get("look_seconds", 30):
            shown = spent
            _look(learners, val, tested, device, record, step, spent, share)
        if finished or time.monotonic() - saved >= recipe.get("save_seconds", 60):
            saved = time.monotonic()
            _save(out, config["name"], learners, record, (step, spent), scenes, finished)
        if finished:
            break
        batch = {key: _at(recipe[key], share) for key in DRAWN if key in recipe}
        for drawn in scenes.batches(recipe.get("together", 1), recipe["batch"], **batch):
            drawn = drawn._replace(image=drawn.image.contiguous(memory_format=layout(device)))
            with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
                with torch.no_grad():
                    seen = {"": [guide(drawn.image) for guide in guides]}
                for learner in learners:
                    seen[learner.name] = [_step(learner, recipe, scenes.tested, drawn, seen[learner.entry.get("teacher", "")],
                                                share, step)]
            step += 1
        if cuda:
            torch.cuda.synchronize()  # keeps the clock that drives the schedule honest
        done = int(1000 * share)
        if done > warm:
            progress.step(done - warm, f"step {step}")
            warm = done
    progress.close()
    return record, scenes


def _step(learner, recipe, tested, drawn, seen, share, step):
    """Learns from one batch and what teachers saw in it: [(logits, reject, last activations), …]; returns what it saw itself."""
    learner.network.train()
    for group in learner.optimizer.param_groups:
        group["lr"] = learner.entry["rate"] * _rate(share, recipe["warmup"], step, recipe.get("warmup_steps", 0))
    taught = _taught(seen, tested, recipe["distill_temperature"]) if seen else None
    logits, reject, active, cam = learner.explain(drawn.image, drawn.label)
    with torch.autocast(drawn.image.device.type, enabled=False):
        astray = _astray(cam.float(), drawn.leaf, drawn.placed)
        loss = _loss(recipe, tested, logits, reject, drawn, taught) + recipe.get("cam_weight", 0.0) * astray
        if learner.entry.get("imitate") and seen:
            loss = loss + learner.entry["imitate"] * _apart(active.float(), seen[0][2].float(), drawn.leaf, drawn.placed)
    learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learner.network.parameters(), 5.0)
    learner.optimizer.step()
    learner.follow(min(learner.entry["average"], (step + 1) / (step + 10)))
    learner.loss_sum += loss.detach()
    learner.astray_sum += astray.detach()
    learner.loss_count += 1
    return logits.detach(), reject.detach(), active.detach()


def _look(learners, val, tested, device, record, step, spent, share):
    point = {"step": step, "seconds": round(spent, 1), "share": round(share, 4)}
    for learner in learners:
        point[f"{learner.name}.loss"] = round(float(learner.loss_sum) / max(1, learner.loss_count), 4)
        point[f"{learner.name}.astray"] = round(float(learner.astray_sum) / max(1, learner.loss_count), 4)
        learner.loss_sum.zero_()
        learner.astray_sum.zero_()
        learner.loss_count = 0
        if val is not None:
            logits, _ = outputs(learner.average, val[0], device)
            logits[:, [i for i in range(len(CLASSES)) if i not in tested]] = -np.inf  # nothing was learnt about them
            point[f"{learner.name}.val"] = round(accuracy(logits, val[1]), 4)
    record["curve"].append(point)
    print(json.dumps(point), flush=True)
