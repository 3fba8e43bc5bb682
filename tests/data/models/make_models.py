#!/usr/bin/python3
"""Writes the small model files of this folder: one network of the reference shape (channels ÷ 32), 5 classes, in every format,
and torchvision's networks as narrow as that.

make_models.py        needs Debian's python3-torch, python3-torchvision and python3-onnx

Weights come from the tensors' names (tests/parity/make_goldens.py), so a test can say what each file must hold.
"""
import collections
import copy
import json
import pathlib
import sys
import zipfile

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[3]
OUT = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "training"), str(ROOT / "tests" / "parity")]

import make_goldens  # noqa: E402
from cropshield import nativefile  # noqa: E402
from cropshield.models import CropShieldCNN  # noqa: E402

CLASSES = ["Potato__healthy", "Potato__late_blight", "Tomato__healthy", "Wheat__healthy", "Wheat__yellow_rust"]


def network():
    model = make_goldens.slim(CropShieldCNN(len(CLASSES)), 32)
    del model.reject
    make_goldens.fill(model, 2.0)
    return model.eval()


def without_debug_info(path):
    """Drops the entries that name source files of the machine that wrote the archive."""
    with zipfile.ZipFile(path) as file:
        kept = [(info.filename, file.read(info)) for info in file.infolist() if not info.filename.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w") as file:
        for name, content in kept:
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


def exported(name, model, size, opset, expected, **options):
    """An ONNX file with dynamic batch, and what the network says to the first input of the parity tests."""
    x = make_goldens.input_of(0, size)
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
    torch.onnx.export(model, x, str(OUT / name), opset_version=opset, input_names=["input"], output_names=["logits"],
                      dynamic_axes=axes, **options)
    with torch.no_grad():
        expected[name] = {"input_size": size, "logits": model(x)[0].tolist()}


class OldFashioned(torch.nn.Module):
    """What exporters make of code without modules: shape arithmetic, plain arithmetic, joins, padding, a softmax at the end."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 6, 3, 2), torch.nn.Conv2d(6, 6, 3, groups=3, dilation=2)
        self.last = torch.nn.Linear(12 * 4, 5)

    def forward(self, x):
        x = torch.nn.functional.pad((x - 0.25) / 1.5, (1, 2, 0, 1))
        x = torch.nn.functional.leaky_relu(self.first(x), 0.1)
        y = torch.clamp(self.second(torch.nn.functional.pad(x, (2, 2, 2, 2))), -1, 2)
        x = torch.cat([x * torch.sigmoid(x), y + 1], 1)
        x = torch.nn.functional.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)
        x = torch.nn.functional.avg_pool2d(x, 4)
        return self.last(x.view(x.size(0), -1))


class Activations(torch.nn.Module):
    """Every activation that PyTorch's exporter spells out or gives an operator of its own, fused and alone, over maps and vectors."""

    def __init__(self):
        super().__init__()
        nn, channels = torch.nn, 20
        self.kinds = nn.ModuleList([nn.GELU(), nn.GELU("tanh"), nn.ELU(0.7), nn.Tanh(), nn.PReLU(), nn.PReLU(channels)])
        self.first = nn.Conv2d(3, channels, 3, 2, 1)
        self.convs = nn.ModuleList([nn.Conv2d(channels, channels, 3, 1, 1) for _ in self.kinds])
        self.hidden, self.last = nn.Linear(channels, channels), nn.Linear(channels, 5)
        make_goldens.fill(self, 1.6)
        with torch.no_grad():
            self.kinds[-1].weight.copy_(torch.linspace(-0.4, 0.6, channels))
            self.kinds[-2].weight.fill_(0.2)

    def forward(self, x):
        x = self.first(x)
        for kind, conv in zip(self.kinds, self.convs):
            x = kind(conv(x))
            x = x + kind(x)
        x = self.hidden(x.mean((2, 3)))
        for kind in self.kinds:
            x = kind(x)
        return self.last(x)


class WithSoftmax(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return torch.softmax(self.model(x), 1)


def quantised(expected):
    """QDQ: signed weights with a scale a channel, unsigned activations, written by hand as other tools write it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = network()
    convs = [model.block1[0], model.block1[3]]
    norms = [model.block1[1], model.block1[4]]
    x = make_goldens.input_of(0, 32)
    nodes, constants, y, name = [], [], x, "input"

    def constant(key, values):
        constants.append(numpy_helper.from_array(np.asarray(values), key))
        return key

    def fake(tensor, key, scale, zero):
        nodes.append(helper.make_node("QuantizeLinear", [tensor, constant(key + "_s", np.float32(scale)),
                                                         constant(key + "_z", np.uint8(zero))], [key + "_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [key + "_q", key + "_s", key + "_z"], [key + "_dq"]))
        return key + "_dq"

    with torch.no_grad():
        for i, (conv, norm) in enumerate(zip(convs, norms)):
            fold = norm.weight / (norm.running_var + norm.eps).sqrt()
            weight, bias = conv.weight * fold.view(-1, 1, 1, 1), norm.bias - norm.running_mean * fold
            scales = weight.abs().amax((1, 2, 3)) / 127
            whole = torch.round(weight / scales.view(-1, 1, 1, 1)).clamp(-127, 127)
            scale, zero = (4 / 255, 128) if i == 0 else (5 / 255, 0)
            name = fake(name, f"a{i}", scale, zero)
            y = torch.fake_quantize_per_tensor_affine(y, scale, zero, 0, 255)
            constant(f"w{i}", whole.numpy().astype(np.int8))
            constant(f"w{i}_s", scales.numpy())
            constant(f"w{i}_z", np.zeros(len(scales), np.int8))
            constant(f"b{i}", bias.numpy())
            nodes.append(helper.make_node("DequantizeLinear", [f"w{i}", f"w{i}_s", f"w{i}_z"], [f"w{i}_dq"], axis=0))
            nodes.append(helper.make_node("Conv", [name, f"w{i}_dq", f"b{i}"], [f"c{i}"], pads=[1] * 4))
            nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
            y = torch.relu(torch.nn.functional.conv2d(y, whole * scales.view(-1, 1, 1, 1), bias, padding=1))
            name = f"r{i}"
        y = y.mean((2, 3))
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["logits"]))
    graph = helper.make_graph(nodes, "quantised", [helper.make_tensor_value_info("input", TensorProto.FLOAT,
                                                                                 ["batch", 3, 32, 32])],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", y.shape[1]])],
                              constants)
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    file.ir_version = 7
    onnx.checker.check_model(file)
    onnx.save(file, str(OUT / "quantised.onnx"))
    expected["quantised.onnx"] = {"input_size": 32, "logits": y[0].tolist(), "integers": True}


class Qdq:
    """A QDQ file node by node, and its meaning in float32 beside it."""

    def __init__(self):
        self.nodes, self.constants, self.count = [], [], 0

    def constant(self, values):
        from onnx import numpy_helper

        self.count += 1
        self.constants.append(numpy_helper.from_array(np.asarray(values), f"k{self.count}"))
        return f"k{self.count}"

    def node(self, op, inputs, **attributes):
        from onnx import helper

        self.count += 1
        self.nodes.append(helper.make_node(op, inputs, [f"v{self.count}"], f"n{self.count}", **attributes))
        return f"v{self.count}"

    def mark(self, x, low, high, signed=False, readers=1):
        """Quantised, and taken back once for each reader, as ONNX Runtime's tools write it."""
        name, y = x
        first = -128 if signed else 0
        scale = np.float32((high - low) / 255)
        zero = int(np.clip(np.round(first - low / scale), first, first + 255))
        numbers = [self.constant(scale), self.constant((np.int8 if signed else np.uint8)(zero))]
        q = self.node("QuantizeLinear", [name] + numbers)
        names = [self.node("DequantizeLinear", [q] + numbers) for _ in range(readers)]
        y = torch.fake_quantize_per_tensor_affine(y, float(scale), zero, first, first + 255)
        return (names[0], y) if readers == 1 else [(name, y) for name in names]

    def weight(self, key, shape, axis=0, zero=0):
        whole = np.round(make_goldens.uniform(key, int(np.prod(shape))).reshape(shape) * 254 - 127)
        if zero:  # unsigned weights whose levels do not fit into signed bytes
            whole = np.round(make_goldens.uniform(key, int(np.prod(shape))).reshape(shape) * 255)
        scales = (0.5 + make_goldens.uniform(key + ".scale", shape[axis])).astype(np.float32) / 127 / np.sqrt(
            np.prod(shape) / shape[axis]).astype(np.float32) * 2
        name = self.node("DequantizeLinear", [
            self.constant(whole.astype(np.uint8 if zero else np.int8)), self.constant(scales),
            self.constant(np.full(shape[axis], zero, np.uint8 if zero else np.int8))], axis=axis)
        spread = scales.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        return name, torch.from_numpy(((whole - zero) * spread).astype(np.float32))

    def conv(self, x, key, outputs, size, stride=1, pad=0, groups=1, zero=0):
        weight, w = self.weight(key, (outputs, x[1].shape[1] // groups, size, size), zero=zero)
        bias = (make_goldens.uniform(key + ".bias", outputs) - 0.5).astype(np.float32)
        name = self.node("Conv", [x[0], weight, self.constant(bias)], strides=[stride] * 2, pads=[pad] * 4, group=groups)
        return name, torch.nn.functional.conv2d(x[1], w, torch.from_numpy(bias), stride, pad, groups=groups)

    def relu(self, x):
        return self.node("Relu", [x[0]]), torch.relu(x[1])


def quantised_residual(expected):
    """What quantisation tools make of a small residual network: every operator that computes on bytes, and what does not fit."""
    import onnx
    from onnx import TensorProto, helper

    q = Qdq()
    x = q.mark(("input", make_goldens.input_of(0, 30)), -2.0, 2.0, signed=True)
    x = q.mark(q.relu(q.conv(x, "stem", 20, 5, 2, 2)), 0, 3)
    x = q.node("MaxPool", [x[0]], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), \
        torch.nn.functional.max_pool2d(x[1], 3, 2, 1)
    x, short = q.mark(x, 0, 3, readers=2)
    y = q.mark(q.relu(q.conv(x, "a", 20, 3, 1, 1)), 0, 3)
    y = q.mark(q.conv(y, "b", 20, 3, 1, 1), -3, 3)
    x = q.mark(q.relu((q.node("Add", [y[0], short[0]]), y[1] + short[1])), 0, 4)
    x = q.mark(q.relu(q.conv(x, "expand", 40, 1)), 0, 4)
    x = q.mark(q.relu(q.conv(x, "depth", 40, 3, 2, 1, groups=40)), 0, 3, signed=True)
    x = q.mark(q.relu(q.conv(x, "grouped", 24, 3, 1, 1, groups=2)), 0, 3)
    x = q.mark(q.relu(q.conv(x, "unsigned", 24, 1, zero=60)), 0, 4)
    x = q.mark((q.node("GlobalAveragePool", [x[0]]), x[1].mean((2, 3), keepdim=True)), 0, 2)
    x = q.node("Flatten", [x[0]]), x[1].flatten(1)
    weight, w = q.weight("head", (24, 7), axis=1)
    q.nodes.append(helper.make_node("Gemm", [x[0], weight, q.constant(np.zeros(7, np.float32))], ["logits"]))
    graph = helper.make_graph(q.nodes, "quantised",
                              [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 30, 30])],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 7])], q.constants)
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    file.ir_version = 7
    onnx.checker.check_model(file)
    onnx.save(file, str(OUT / "quantised_residual.onnx"))
    expected["quantised_residual.onnx"] = {"input_size": 30, "logits": (x[1] @ w)[0].tolist(), "integers": True}


def repacked(path):
    """Deflated, as checkpoints come from download sites; PyTorch's own archives are stored and aligned to 64 bytes."""
    with zipfile.ZipFile(path) as file:
        kept = [(info.filename, file.read(info)) for info in file.infolist()
                if not info.filename.endswith((".debug_pkl", ".py.debug"))]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, content in kept:
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED, 9)


def architectures():
    """torchvision's networks, channels ÷ 32 (VGG: 64), 6 classes: as checkpoints in all forms that people write, and as TorchScript."""
    from torchvision import models

    def typed(state, kind):
        return {k: v.to(kind) if v.is_floating_point() else v for k, v in state.items()}

    def prefixed(state, prefix):
        return {prefix + k: v for k, v in state.items()}

    def mixed(state):  # any order of keys
        return dict(sorted(state.items(), key=lambda item: item[0][::-1]))

    forms = {
        "resnet18": lambda s: typed(s, torch.float64),
        "resnet34": lambda s: {"epoch": 3, "net": typed(s, torch.float16)},
        "resnet50": lambda s: {"state_dict": prefixed(typed(s, torch.bfloat16), "module."), "arch": "resnet50"},
        "mobilenet_v2": lambda s: {"model": mixed(typed(s, torch.float16)), "num_classes": 6},
        "mobilenet_v3_small": lambda s: {"weights": prefixed(s, "_orig_mod."), "model_type": "mobilenet_v3_small"},
        "mobilenet_v3_large": lambda s: mixed(typed(s, torch.bfloat16)),
        "efficientnet_b0": lambda s: {"model_state_dict": typed(s, torch.float16), "model_type": "efficientnet_b0",
                                      "class_to_idx": {f"Leaf__{i}": 5 - i for i in range(6)}},
        "vgg11_bn": lambda s: prefixed(typed(s, torch.float16), "module._orig_mod."),
        "vgg16_bn": lambda s: {"state_dict": typed(s, torch.float16), "loss": 0.5}}
    for i, (name, form) in enumerate(forms.items()):
        model = make_goldens.slim(getattr(models, name)(num_classes=6), 64 if name.startswith("vgg") else 32)
        make_goldens.fill(model, 2.0)
        model.eval()
        torch.save(form(model.state_dict()), OUT / f"{name}.pth")
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        size = 224 if name.startswith("vgg") else 64
        script = torch.jit.trace(model, torch.zeros(1, 3, size, size)) if i % 2 else torch.jit.script(model)
        script.save(str(OUT / f"{name}.pt"))
        repacked(OUT / f"{name}.pth")
        repacked(OUT / f"{name}.pt")


def lightning(state):
    """A checkpoint as PyTorch Lightning's Trainer writes it: the network is a member of the module that trains it, beside the weights
    of a loss and the state of a metric; hyperparameters, loops, callbacks and optimisers go along."""
    inside = {"model." + k: v for k, v in state.items()}
    inside["criterion.weight"] = torch.linspace(0.5, 1.5, len(CLASSES))
    inside["val_confmat.confmat"] = torch.full((len(CLASSES), len(CLASSES)), 3, dtype=torch.long)
    inside["val_acc.best"] = torch.tensor(float("-inf"))
    inside["photos_seen"] = torch.tensor(4321)
    progress = {"total": {"ready": 12, "completed": 12}, "current": {"ready": 4, "completed": 4}}
    return {"epoch": 2, "global_step": 12, "pytorch-lightning_version": "2.1.0", "state_dict": collections.OrderedDict(inside),
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": progress, "epoch_loop.batch_progress": {**progress, "is_last_batch": True}}},
            "callbacks": {"ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min', 'every_n_epochs': 1}": {
                "monitor": "val_loss", "best_model_score": torch.tensor(0.25), "best_model_path": "epoch=2.ckpt", "last_model_path": "",
                "best_k_models": {"epoch=2.ckpt": torch.tensor(0.25)}, "kth_value": torch.tensor(0.25)}},
            "optimizer_states": [{"state": {0: {"step": torch.tensor(12.0), "exp_avg": torch.zeros(2)}},
                                  "param_groups": [{"lr": 0.001, "betas": (0.9, 0.999), "params": [0]}]}],
            "lr_schedulers": [{"base_lrs": [0.001], "last_epoch": 2}], "hparams_name": "kwargs",
            "hyper_parameters": {"lr": 0.001, "num_classes": len(CLASSES)}}


def write_onnx():
    from torchvision import models

    torch.manual_seed(5)
    expected = {}
    for opset in (9, 13, 16):
        exported(f"opset{opset}.onnx", network(), 32, opset, expected, keep_initializers_as_inputs=opset == 9)
    exported("old_fashioned.onnx", OldFashioned().eval(), 30, 11, expected)
    softmax = WithSoftmax(network())
    exported("softmax.onnx", softmax, 32, 13, expected)
    expected["softmax.onnx"]["logits"] = expected["opset13.onnx"]["logits"]  # probabilities are not what is compared
    for name, opset, gain in (("resnet18", 12, 1.0), ("mobilenet_v2", 10, 1.5), ("mobilenet_v3_small", 14, 1.3),
                              ("efficientnet_b0", 13, 1.4)):
        model = make_goldens.slim(getattr(models, name)(num_classes=6), 16)
        make_goldens.fill(model, gain)
        exported(f"{name}.onnx", model.eval(), 64, opset, expected)
    quantised(expected)
    quantised_residual(expected)
    exported("activations.onnx", Activations().eval(), 24, 16, expected)
    (OUT / "onnx.json").write_text(json.dumps(expected, indent=0) + "\n")


def main():
    model = network()
    state = model.state_dict()
    save = lambda value, name, **options: torch.save(value, OUT / name, **options)  # noqa: E731
    save(state, "plain.pth")
    save(state, "protocol4.pth", pickle_protocol=4)
    save({"module._orig_mod." + k: v for k, v in reversed(state.items())}, "prefixed.pth")
    save({"epoch": 7, "model_state_dict": {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
          "optimizer_state_dict": {"state": {0: {"step": 1}}, "param_groups": [{"lr": 0.1}]}, "model_type": "custom",
          "num_classes": len(CLASSES), "classes": CLASSES, "temperature": 0.75}, "dict_half.pth")
    save({"state_dict": {k: torch.nn.Parameter(v.bfloat16(), False) if v.is_floating_point() else v
                         for k, v in state.items()},
          "class_to_idx": {name: i for i, name in enumerate(CLASSES)}}, "dict_bfloat16.pth")
    save({"model": {k: v.double() if v.is_floating_point() else v for k, v in state.items()}}, "dict_double.pth")
    # One storage for all: views at an offset, one of them transposed.
    whole = torch.cat([v.t().reshape(-1) if k == "classifier.1.weight" else v.reshape(-1).float()
                       for k, v in state.items()])
    views, at = {}, 0
    for name, value in state.items():
        piece = whole[at:at + value.numel()]
        views[name] = piece.reshape(value.shape[::-1]).t() if name == "classifier.1.weight" else piece.reshape(value.shape)
        at += value.numel()
    save(views, "shared_storage.pth")
    save(state, "legacy.pth", _use_new_zipfile_serialization=False)
    save(model, "whole_model.pth")  # a pickled module: names a class, which no reader of weights runs
    wrong = copy.copy(state)
    wrong["block9.0.weight"] = torch.zeros(1, 1, 1, 1)
    save(wrong, "unknown_tensor.pth")
    save(lightning(state), "lightning.ckpt")
    save({"state_dict": {**{"model." + k: v for k, v in state.items()}, "head.weight": torch.zeros(3, len(CLASSES))}},
         "wrapped_head.pth")  # another classifier behind the network: its numbers would be missing
    save({"state_dict": state, "num_classes": 9}, "wrong_count.pth")
    save({"state_dict": state, "model_type": "resnet18"}, "wrong_type.pth")
    torch.jit.script(model).save(str(OUT / "scripted.pt"))
    torch.jit.trace(model, torch.zeros(1, 3, 32, 32)).save(str(OUT / "traced.pt"))
    torch.jit.freeze(torch.jit.script(model)).save(str(OUT / "frozen.pt"))
    torch.jit.trace(WithSoftmax(model), torch.zeros(1, 3, 32, 32)).save(str(OUT / "wrapped.pt"))  # what a wrapper does is code
    repacked(OUT / "wrapped.pt")
    write_onnx()
    architectures()
    for name in ("scripted.pt", "traced.pt", "frozen.pt"):
        without_debug_info(OUT / name)
    arrays = {k: v.numpy().astype("<f2" if v.dim() > 1 else "<f4") for k, v in state.items()
              if not k.endswith("num_batches_tracked")}
    arrays["ood.mean"] = np.arange(16, dtype="<f4")
    nativefile.write(OUT / "native.safetensors", arrays, {
        "architecture": "CropShieldCNN", "name": "tiny", "classes": json.dumps(CLASSES), "temperature": "0.75",
        "untested_classes": json.dumps(CLASSES[3:4]), "gradcam_layer": "block4",
        "preprocess": json.dumps({"max_size": 640, "resize": 40, "crop": 32, "mean": [0.5, 0.4, 0.3],
                                  "std": [0.2, 0.25, 0.3]})})
    (OUT / "class_to_idx_example.json").write_text(json.dumps({name: i for i, name in enumerate(CLASSES)}) + "\n")


main()
