#!/usr/bin/python3
"""Writes the ONNX files of this folder: one small network an operator and form, and what it computes.

make_operators.py        needs Debian's python3-onnx, python3-numpy and python3-torch

operators.bin holds the files and float32 results one behind the other, operators.json where each lies. The reference is plain
NumPy in float64, written from ONNX's description of the operators; where PyTorch has the same operator, both must agree here.
Inputs are those of the parity tests (make_goldens.py), two photos at once. Cases with "error" must be refused in these words.
"""
import json
import math
import pathlib
import sys

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

OUT = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(OUT.parents[1] / "parity"))
import make_goldens  # noqa: E402

PHOTOS = 2
index, blob = {}, bytearray()


def numbers(key, shape, low=-1.0, high=1.0):
    u = make_goldens.uniform(key, int(np.prod(shape, dtype=int))).reshape(shape)
    return (low + u * (high - low)).astype(np.float32)


class Case:
    """A file node by node; a tensor is its name and its reference value for both photos."""

    def __init__(self, name, opset=13, size=6, batch="batch"):
        self.name, self.opset, self.size, self.batch, self.count = name, opset, size, batch, 0
        self.nodes, self.constants = [], []
        values = np.concatenate([make_goldens.input_of(i, size).numpy() for i in range(PHOTOS)])
        self.x = ("x", values.astype(np.float64))

    def constant(self, values, key=None):
        self.count += 1
        key = key or f"k{self.count}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), key))
        return key

    def op(self, op, inputs, result=None, outputs=1, **attributes):
        self.count += 1
        names = [i[0] if isinstance(i, tuple) else i for i in inputs]
        made = [f"v{self.count}"] + [f"v{self.count}_{i}" for i in range(1, outputs)]
        attributes = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(helper.make_node(op, names, made, f"n{self.count}_{op}", **attributes))
        return made[0], result

    def wide(self, channels, x=None):
        """A 1x1 convolution: that many channels."""
        x = x or self.x
        w = numbers(f"{self.name}.wide", (channels, x[1].shape[1], 1, 1))
        return self.op("Conv", [x, self.constant(w)], conv(x[1], w))

    def bytes(self, y):
        rank = 4 if y[1] is None else y[1].ndim
        self.nodes.append(helper.make_node("Identity" if rank == 2 else "Flatten", [y[0]], ["logits"], "last"))
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [self.batch, 3, self.size, self.size])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [self.batch, None])], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = 10 if self.opset > 19 else 9 if self.opset > 18 else 8 if self.opset > 14 else 7
        model.producer_name = ""
        if self.opset <= 17 and y[1] is not None:  # what Debian's onnx knows
            onnx.checker.check_model(model)
        return model.SerializeToString()

    def put(self, y, **entry):
        assert self.name not in index, self.name
        data = self.bytes(y)
        entry = {"size": self.size, "file": [len(blob), len(data)], **entry}
        blob.extend(data)
        if y[1] is not None:
            result = y[1].reshape(PHOTOS, -1).astype("<f4").tobytes()
            assert np.isfinite(y[1]).all()
            entry["logits"] = [len(blob), len(result)]
            blob.extend(result)
        index[self.name] = entry

    def done(self, y, **entry):
        self.put(y, **entry)

    def refused(self, words, y=None, status="model_unsupported"):
        y = y or self.x
        self.put((y[0], None), error=words, status=status)


# ---------------------------------------------------------------- what the operators mean

def out_length(length, kernel, stride, dilation, before, after, ceil=False):
    span = (kernel - 1) * dilation + 1
    free = length + before + after - span
    made = (-(-free // stride) if ceil else free // stride) + 1
    return made - 1 if ceil and (made - 1) * stride >= length + before else made


def padded(x, pads, value=0.0):
    return np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])), constant_values=value)


def conv(x, w, b=None, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1):
    w = w.astype(np.float64)
    height, width = (out_length(x.shape[2 + i], w.shape[2 + i], strides[i], dilations[i], pads[i], pads[i + 2]) for i in (0, 1))
    p, per, y = padded(x, pads), w.shape[0] // group, np.zeros((len(x), w.shape[0], height, width))
    for g in range(group):
        part = p[:, g * w.shape[1]:(g + 1) * w.shape[1]]
        for i in range(w.shape[2]):
            for j in range(w.shape[3]):
                a = part[:, :, i * dilations[0]:, j * dilations[1]:][:, :, ::strides[0], ::strides[1]][:, :, :height, :width]
                y[:, g * per:(g + 1) * per] += np.einsum("nchw,oc->nohw", a, w[g * per:(g + 1) * per, :, i, j])
    return y if b is None else y + b.astype(np.float64).reshape(1, -1, 1, 1)


def pool(x, kind, kernel, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), ceil=False, include=False):
    shape = [out_length(x.shape[2 + i], kernel[i], strides[i], dilations[i], pads[i], pads[i + 2], ceil) for i in (0, 1)]
    y = np.zeros((*x.shape[:2], *shape))
    for i in range(shape[0]):
        for j in range(shape[1]):
            rows = [i * strides[0] - pads[0] + k * dilations[0] for k in range(kernel[0])]
            columns = [j * strides[1] - pads[1] + k * dilations[1] for k in range(kernel[1])]
            inside = [x[:, :, r, c] for r in rows for c in columns if 0 <= r < x.shape[2] and 0 <= c < x.shape[3]]
            # padding counts, what lies beyond it (rounding up) does not
            counted = sum(r < x.shape[2] + pads[2] and c < x.shape[3] + pads[3] for r in rows for c in columns)
            y[:, :, i, j] = np.max(inside, 0) if kind == "max" else np.sum(inside, 0) / (counted if include else len(inside))
    return y


def same(length, kernel, stride, dilation, upper):
    total = max((-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)


def agrees(ours, theirs):
    difference = np.abs(ours - theirs.numpy()).max()
    assert ours.shape == tuple(theirs.shape) and difference < 1e-4, (ours.shape, theirs.shape, difference)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def quantised(x, scale, zero, low, high):
    level = np.clip(np.round(x.astype(np.float32) / np.float32(scale)) + zero, low, high)
    return ((level - zero) * np.float32(scale)).astype(np.float64)


# ---------------------------------------------------------------- cases

def convolutions():
    forms = {  # channels in and out, kernel, more
        "plain": (3, 5, (3, 3), {}), "one_by_one": (4, 7, (1, 1), {}), "stride": (3, 4, (3, 3), {"strides": (2, 2)}),
        "strides_differ": (3, 4, (3, 2), {"strides": (1, 2)}), "pads": (3, 4, (3, 3), {"pads": (1, 1, 1, 1)}),
        "pads_differ": (4, 4, (3, 3), {"pads": (0, 1, 2, 3)}), "dilation": (3, 4, (3, 3), {"dilations": (2, 2)}),
        "dilations_differ": (4, 3, (2, 3), {"dilations": (3, 1), "pads": (2, 0, 1, 1)}),
        "group": (6, 4, (3, 3), {"group": 2, "pads": (1, 1, 1, 1)}), "depthwise": (5, 5, (3, 3), {"group": 5}),
        "depthwise_wider": (4, 8, (3, 3), {"group": 4, "strides": (2, 2), "pads": (1, 1, 1, 1)}),
        "depthwise_5x5": (5, 5, (5, 5), {"group": 5, "pads": (2, 2, 2, 2)}), "flat_kernel": (3, 4, (1, 5), {}),
        "whole_map": (3, 8, (6, 6), {}), "everything": (6, 9, (3, 2), {"group": 3, "strides": (2, 1), "dilations": (1, 2),
                                                                        "pads": (2, 1, 0, 2)})}
    for name, (inputs, outputs, kernel, more) in forms.items():
        c = Case("conv_" + name, 9 if len(name) % 2 else 13)
        x = c.x if inputs == 3 else c.wide(inputs)
        w = numbers(name, (outputs, inputs // more.get("group", 1), *kernel))
        b = numbers(name + ".bias", outputs) if len(name) % 3 else None
        y = conv(x[1], w, b, **more)
        if more.get("pads", (0,) * 4)[:2] == more.get("pads", (0,) * 4)[2:]:
            agrees(y, torch.nn.functional.conv2d(torch.from_numpy(x[1]), torch.from_numpy(w).double(), None if b is None else
                                                 torch.from_numpy(b).double(), more.get("strides", 1), more.get(
                                                     "pads", (0, 0))[:2], more.get("dilations", 1), more.get("group", 1)))
        inputs = [x, c.constant(w)] + ([] if b is None else [c.constant(b)])
        c.done(c.op("Conv", inputs, y, kernel_shape=kernel if len(name) % 2 else None, **more))
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"):
        for stride, dilation in ((1, 1), (2, 1), (1, 2)):
            c, w = Case(f"conv_{mode.lower()}_{stride}{dilation}", 11, 7), numbers(mode, (3, 3, 4, 3))
            sides = [same(7, k, stride, dilation, mode == "SAME_UPPER") if mode[0] == "S" else (0, 0) for k in (4, 3)]
            pads = (sides[0][0], sides[1][0], sides[0][1], sides[1][1])
            c.done(c.op("Conv", [c.x, c.constant(w)], conv(c.x[1], w, None, (stride,) * 2, pads, (dilation,) * 2),
                        auto_pad=mode, strides=(stride,) * 2, dilations=(dilation,) * 2))
    c = Case("conv_auto_pad_unknown")
    c.refused("auto_pad", c.op("Conv", [c.x, c.constant(numbers("w", (3, 3, 3, 3)))], auto_pad="SAME"), "model_invalid")
    c = Case("conv_three_dimensions")
    c.refused("(Conv): 'k1' has 5 dimensions", c.op("Conv", [c.x, c.constant(numbers("w", (3, 3, 3, 3, 3)))]))
    c = Case("conv_weight_computed")
    c.refused("input 1 is not a constant", c.op("Conv", [c.x, c.x]))


def pools():
    forms = {
        "plain": ((2, 2), {"strides": (2, 2)}), "overlap": ((3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
        "ceil": ((2, 2), {"strides": (2, 2), "ceil": True}), "ceil_pads": ((3, 3), {"strides": (2, 2), "pads": (1,) * 4,
                                                                                   "ceil": True}),
        "ceil_over": ((2, 2), {"strides": (3, 3), "pads": (1, 1, 1, 1), "ceil": True}),
        "flat": ((1, 3), {"strides": (1, 2)}), "pads_differ": ((3, 2), {"pads": (0, 1, 2, 0)}), "stride_1": ((3, 3), {}),
        "strides_differ": ((3, 2), {"strides": (3, 1)}), "dilation": ((2, 3), {"dilations": (2, 2)}),
        "whole": ((7, 7), {})}
    for name, (kernel, more) in forms.items():
        for kind in ("max", "average", "include"):
            dilated = "dilations" in more
            c = Case(f"{kind}_pool_{name}", 19 if dilated else 10 if more.get("ceil") else 9, 7)
            x = c.wide(5) if len(name) % 2 else c.x
            ours = {**more, "include": kind == "include"}
            y = pool(x[1], kind, kernel, **ours)
            pads = more.get("pads", (0,) * 4)
            if pads[:2] == pads[2:] and (kind == "max" or not dilated):
                t, strides, ceil = torch.from_numpy(x[1]), more.get("strides", (1, 1)), more.get("ceil", False)
                agrees(y, torch.nn.functional.max_pool2d(t, kernel, strides, pads[:2], more.get("dilations", 1), ceil)
                       if kind == "max" else torch.nn.functional.avg_pool2d(t, kernel, strides, pads[:2], ceil,
                                                                            kind == "include"))
            attributes = {k: v for k, v in more.items() if k != "ceil"}
            if more.get("ceil"):
                attributes["ceil_mode"] = 1
            if kind != "max":
                attributes["count_include_pad"] = int(kind == "include")
            c.done(c.op("MaxPool" if kind == "max" else "AveragePool", [x], y, kernel_shape=kernel, **attributes))
    for op in ("MaxPool", "AveragePool"):
        for mode in ("SAME_UPPER", "SAME_LOWER"):
            c = Case(f"{op.lower()}_{mode.lower()}", 11, 7)
            sides = [same(7, k, s, 1, mode == "SAME_UPPER") for k, s in ((2, 1), (3, 2))]
            y = pool(c.x[1], "max" if op == "MaxPool" else "average", (2, 3), (1, 2),
                     (sides[0][0], sides[1][0], sides[0][1], sides[1][1]))
            c.done(c.op(op, [c.x], y, kernel_shape=(2, 3), strides=(1, 2), auto_pad=mode))
    c = Case("max_pool_indices")
    c.refused("(MaxPool): pooling with indices", c.op("MaxPool", [c.x], outputs=2, kernel_shape=(2, 2)))
    c = Case("global_average_pool")
    c.done(c.op("GlobalAveragePool", [c.x], c.x[1].mean((2, 3), keepdims=True)))
    for name, opset, axes, keep in (("attribute", 13, (2, 3), 1), ("negative", 11, (-1, -2), 0), ("turned", 9, (3, 2), 0),
                                    ("input", 18, (2, 3), 0), ("input_negative", 21, (-2, -1), 1)):
        c = Case("reduce_mean_" + name, opset)
        inputs = [c.x] + ([c.constant(np.array(axes, np.int64))] if opset >= 18 else [])
        c.done(c.op("ReduceMean", inputs, c.x[1].mean((2, 3), keepdims=bool(keep)), keepdims=keep,
                    axes=axes if opset < 18 else None))
    c = Case("reduce_mean_channels")
    c.refused("(ReduceMean): only the mean over height and width", c.op("ReduceMean", [c.x], axes=(1,)))
    c = Case("reduce_mean_of_everything", 18)
    c.refused("(ReduceMean): only the mean over height and width", c.op("ReduceMean", [c.x]))


def gelu(x, tanh=False):
    inner = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)) if tanh else np.vectorize(math.erf)(x / np.sqrt(2))
    return 0.5 * x * (1 + inner)


def smooth_activations():
    """Alone they must be as exact as float32 is."""
    def elu(alpha):
        return lambda x: np.where(x < 0, np.float64(np.float32(alpha)) * np.expm1(x), x)

    functional = torch.nn.functional
    forms = {
        "Tanh": ({}, np.tanh, torch.tanh), "Elu": ({}, elu(1), functional.elu),
        "Elu alpha": ({"alpha": 0.3}, elu(0.3), lambda x: functional.elu(x, 0.3)),
        "Gelu": ({}, gelu, functional.gelu), "Gelu none": ({"approximate": "none"}, gelu, functional.gelu),
        "Gelu tanh": ({"approximate": "tanh"}, lambda x: gelu(x, True), lambda x: functional.gelu(x, approximate="tanh"))}
    for name, (attributes, meaning, theirs) in forms.items():
        op = name.split()[0]
        c = Case(name.lower().replace(" ", "_"), 20 if op == "Gelu" else 9)
        agrees(meaning(c.x[1]), theirs(torch.from_numpy(c.x[1])))
        c.done(c.op(op, [c.x], meaning(c.x[1]), **attributes), tolerance=2e-6)
        c = Case(name.lower().replace(" ", "_") + "_after_conv", 20)
        x = c.wide(5)
        c.done(c.op(op, [x], meaning(x[1]), **attributes))
    c = Case("gelu_unknown", 20)
    c.refused("approximate is neither", c.op("Gelu", [c.x], approximate="erf"), "model_invalid")


def prelus():
    def prelu(x, slope):
        return np.where(x < 0, x * slope.astype(np.float64), x)

    shapes = {"scalar": (), "one": (1,), "ones": (1, 1, 1), "channels": (3, 1, 1), "channels_4": (1, 3, 1, 1)}
    for opset in (9, 16):
        for name, shape in shapes.items():
            c, slope = Case(f"prelu_{name}_{opset}", opset), numbers("prelu." + name, shape)
            y = prelu(c.x[1], slope)
            if name in ("one", "channels"):
                agrees(y, torch.nn.functional.prelu(torch.from_numpy(c.x[1]), torch.from_numpy(slope).double().flatten()))
            c.done(c.op("PRelu", [c.x, c.constant(slope)], y), tolerance=2e-6)
    c, slope = Case("prelu_after_conv"), numbers("prelu.wide", (5, 1, 1))
    x = c.wide(5)
    y = c.op("PRelu", [x, c.constant(slope)], prelu(x[1], slope))
    c.done(c.op("GlobalAveragePool", [y], y[1].mean((2, 3), keepdims=True)))
    c, slope = Case("prelu_of_equals"), np.full((3, 1, 1), 0.25, np.float32)
    c.done(c.op("PRelu", [c.x, c.constant(slope)], prelu(c.x[1], slope)))
    c, slope = Case("prelu_flat"), numbers("prelu.flat", (108,))
    x = c.op("Flatten", [c.x], c.x[1].reshape(PHOTOS, -1))
    c.done(c.op("PRelu", [x, c.constant(slope)], prelu(x[1], slope)), tolerance=2e-6)
    for name, shape in (("columns", (6,)), ("rows", (6, 1)), ("numbers", (3, 6, 6)), ("rank", (1, 1, 1, 1, 1)), ("empty", (0,))):
        c = Case("prelu_of_" + name, 16)
        c.refused("(PRelu): the slope is no constant", c.op("PRelu", [c.x, c.constant(numbers("s", shape))]))
    c = Case("prelu_computed", 16)
    c.refused("(PRelu): the slope is no constant", c.op("PRelu", [c.x, c.x]))
    c = Case("prelu_not_finite", 16)
    c.refused("not finite", c.op("PRelu", [c.x, c.constant(np.array([[[1]], [[np.inf]], [[2]]], np.float32))]), "model_invalid")


def spelt_out_gelus():
    """GELU as exporters write it where the opset has none: the factors in any order, numbers on either side."""
    root = np.float32(1.4142135623730951)

    def erf_and_1(c, x, turned):
        y = x[1] / np.sqrt(2)
        scaled = c.op("Mul", [c.constant(np.float32(1) / root), x][::-1 if turned else 1], y) if turned else \
            c.op("Div", [x, c.constant(root)], y)
        y = np.vectorize(math.erf)(y)
        one = [c.op("Erf", [scaled], y), c.constant(np.array([1], np.float32) if turned else np.float32(1))]
        return c.op("Add", one[::-1] if turned else one, y + 1)

    def times(c, a, b, turned, y):
        return c.op("Mul", [b, a] if turned else [a, b], y)

    for turned in (0, 1):
        for order in ("product_half", "half_erf", "half_x", "x_twice"):
            c = Case(f"gelu_spelt_{order}_{turned}", 17)
            x, half = c.x, c.constant(np.float32(0.5))
            if order == "half_x":  # as people write it: x * 0.5 * (1 + erf(x / sqrt(2)))
                first = times(c, x, half, turned, x[1] / 2)
                y = times(c, first, erf_and_1(c, x, turned), turned, gelu(x[1]))
            elif order == "half_erf":
                inner = erf_and_1(c, x, turned)
                y = times(c, x, times(c, inner, half, turned, inner[1] / 2), turned, gelu(x[1]))
            else:  # torch.onnx: x * (1 + erf) * 0.5
                inner = erf_and_1(c, x, turned)
                first = times(c, x, inner, turned, x[1] * inner[1])
                y = times(c, first, half, turned, gelu(x[1]))
                if order == "x_twice":  # the parts have other readers
                    y = c.op("Add", [y, first], y[1] + first[1])
            if order == "x_twice":
                c.done(y, tolerance=2e-6)
            else:
                c.done(y, tolerance=2e-6, nodes=3)  # input, GELU, flatten
    c = Case("gelu_spelt_after_conv", 13)
    x = c.wide(5)
    inner = erf_and_1(c, x, False)
    y = c.op("Mul", [c.op("Mul", [x, inner], x[1] * inner[1]), c.constant(np.float32(0.5))], gelu(x[1]))
    c.done(c.op("GlobalAveragePool", [y], y[1].mean((2, 3), keepdims=True)))
    c = Case("gelu_spelt_of_scaled", 13)  # gelu(3x), where 3x is a product with a number itself
    x = c.op("Mul", [c.x, c.constant(np.float32(3))], c.x[1] * 3)
    inner = erf_and_1(c, x, False)
    y = c.op("Mul", [c.op("Mul", [x, inner], x[1] * inner[1]), c.constant(np.float32(0.5))], gelu(x[1]))
    c.done(c.op("Add", [y, x], y[1] + x[1]), tolerance=2e-6)
    c = Case("gelu_spelt_other_factors", 13)  # x/4 * (1 + erf(x)), and x/4 by itself
    y = np.vectorize(math.erf)(c.x[1]) + 1
    inner = c.op("Add", [c.op("Erf", [c.x], y - 1), c.constant(np.float32(1))], y)
    quarter = c.op("Div", [c.x, c.constant(np.float32(4))], c.x[1] / 4)
    y = c.op("Mul", [quarter, inner], quarter[1] * inner[1])
    c.done(c.op("Sub", [y, quarter], y[1] - quarter[1]), tolerance=2e-6)
    c = Case("gelu_spelt_tanh", 13)  # torch.onnx of approximate="tanh": arithmetic around a Tanh
    cube = c.op("Mul", [c.x, c.op("Mul", [c.x, c.x], c.x[1] ** 2)], c.x[1] ** 3)
    inner = c.op("Add", [c.x, c.op("Mul", [c.constant(np.float32(0.044715)), cube], 0.044715 * cube[1])],
                 c.x[1] + 0.044715 * cube[1])
    inner = c.op("Mul", [c.constant(np.float32(np.sqrt(2 / np.pi))), inner], np.sqrt(2 / np.pi) * inner[1])
    y = np.tanh(inner[1]) + 1
    y = c.op("Add", [c.constant(np.float32(1)), c.op("Tanh", [inner], y - 1)], y)
    y = c.op("Mul", [c.x, y], c.x[1] * y[1])
    c.done(c.op("Mul", [c.constant(np.float32(0.5)), y], gelu(c.x[1], True)), tolerance=2e-6)
    c = Case("erf_alone", 13)
    c.refused("is an erf outside of GELU", c.op("Relu", [c.op("Erf", [c.x])]))
    c = Case("erf_and_two", 13)
    y = c.op("Add", [c.op("Erf", [c.x]), c.constant(np.float32(2))])
    c.refused("is an erf outside of GELU", c.op("Mul", [c.x, y]))
    c = Case("erf_of_another", 13)
    x = c.wide(3)
    y = c.op("Add", [c.op("Erf", [x]), c.constant(np.float32(1))])
    c.refused("is an erf outside of GELU", c.op("Mul", [c.x, y]))


def activations():
    forms = {
        "Relu": ({}, lambda x: np.maximum(x, 0)), "Sigmoid": ({}, sigmoid),
        "LeakyRelu": ({}, lambda x: np.where(x < 0, 0.01 * x, x)),
        "LeakyRelu alpha": ({"alpha": 0.3}, lambda x: np.where(x < 0, np.float32(0.3) * x, x)),
        "HardSigmoid": ({}, lambda x: np.clip(np.float32(0.2) * x + 0.5, 0, 1)),
        "HardSigmoid alpha beta": ({"alpha": 0.6, "beta": 0.1}, lambda x: np.clip(np.float32(0.6) * x + np.float32(0.1), 0, 1)),
        "HardSwish": ({}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1))}
    for name, (attributes, meaning) in forms.items():
        op = name.split()[0]
        c = Case(name.lower().replace(" ", "_"), 14 if op == "HardSwish" else 9)
        c.done(c.op(op, [c.x], meaning(c.x[1]), **attributes))
        c = Case(name.lower().replace(" ", "_") + "_after_conv", 14)
        x = c.wide(5)
        c.done(c.op(op, [x], meaning(x[1]), **attributes))
    smooth_activations()
    prelus()
    spelt_out_gelus()
    for name, low, high in (("both", -0.5, 0.75), ("low", 0.25, None), ("high", None, 0.5), ("none", None, None), ("six", 0, 6),
                            ("relu", 0, None)):
        y = lambda x: np.clip(x, -np.inf if low is None else low, np.inf if high is None else high)  # noqa: E731,B023
        c = Case(f"clip_{name}_attributes", 9)
        c.done(c.op("Clip", [c.x], y(c.x[1]), min=low if low is None else float(low), max=high if high is None else float(high)))
        for opset in (11, 12, 13):
            c = Case(f"clip_{name}_inputs_{opset}", opset)
            inputs = [c.x, "" if low is None else c.constant(np.float32(low)), "" if high is None else
                      c.constant(np.float32(high))]
            while inputs[-1] == "":
                inputs.pop()
            c.done(c.op("Clip", inputs, y(c.x[1])))
    c = Case("clip_bounds_computed")
    c.refused("(Clip): the bounds are not constants", c.op("Clip", [c.x, c.x]))
    for order in (0, 1):  # swish and hard swish as they are written out
        c = Case(f"swish_{order}")
        x = c.wide(4)
        gate = c.op("Sigmoid", [x], sigmoid(x[1]))
        c.done(c.op("Mul", [x, gate] if order else [gate, x], x[1] * gate[1]))
        c = Case(f"hard_swish_{order}")
        x = c.wide(4)
        gate = c.op("HardSigmoid", [x], np.clip(x[1] / 6 + 0.5, 0, 1), alpha=1 / 6, beta=0.5)
        c.done(c.op("Mul", [x, gate] if order else [gate, x], x[1] * gate[1]))
    c = Case("gate_read_twice")
    gate = c.op("Sigmoid", [c.x], sigmoid(c.x[1]))
    both = c.op("Mul", [c.x, gate], c.x[1] * gate[1])
    c.done(c.op("Add", [both, gate], both[1] + gate[1]))
    c = Case("hard_swish_of_other_slope")
    gate = c.op("HardSigmoid", [c.x], np.clip(np.float32(0.2) * c.x[1] + 0.5, 0, 1))
    c.done(c.op("Mul", [c.x, gate], c.x[1] * gate[1]))
    c = Case("squeeze_and_excite")
    x = c.wide(5)
    mean = c.op("GlobalAveragePool", [x], x[1].mean((2, 3), keepdims=True))
    gate = c.op("HardSigmoid", [mean], np.clip(np.float32(0.2) * mean[1] + 0.5, 0, 1))
    c.done(c.op("Mul", [gate, x], x[1] * gate[1]))
    for name, opset, axis in (("old", 11, None), ("new", 13, None), ("axis_1", 13, 1)):
        c = Case("softmax_inside_" + name, opset)
        x = c.op("Flatten", [c.x], c.x[1].reshape(PHOTOS, -1))
        e = np.exp(x[1] - x[1].max(1, keepdims=True))
        y = c.op("Softmax", [x], e / e.sum(1, keepdims=True), axis=axis)
        c.done(c.op("Mul", [y, c.constant(np.float32(10))], y[1] * 10))
    c = Case("softmax_of_channels")
    y = c.op("Softmax", [c.x], axis=1)
    c.refused("(softmax)", c.op("Relu", [y]))


def arithmetic():
    meaning = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
    shapes = {"scalar": (), "one": (1,), "ones": (1, 1, 1, 1), "channels": (5, 1, 1), "batch_channels": (1, 5, 1, 1),
              "row": (6,), "column": (6, 1), "map": (6, 6), "map_of_one": (1, 6, 6), "channel_rows": (5, 1, 6),
              "channel_columns": (1, 5, 6, 1), "full": (5, 6, 6), "full_batch": (1, 5, 6, 6)}
    for op, function in meaning.items():
        for name, shape in shapes.items():
            k = numbers(name, shape, 0.5, 2.0)
            c = Case(f"{op.lower()}_{name}", 9 if op in ("Add", "Div") else 13)
            x = c.wide(5)
            c.done(c.op(op, [x, c.constant(k)], function(x[1], k)))
            c = Case(f"{op.lower()}_{name}_first", 14)
            x = c.op("Clip", [c.wide(5), c.constant(np.float32(0.5))], None)
            x = (x[0], np.maximum(conv(c.x[1], numbers(f"{c.name}.wide", (5, 3, 1, 1))), 0.5))
            c.done(c.op(op, [c.constant(k), x], function(k, x[1])))
        for name, (first, second) in {"same": ("map", "map"), "mean": ("map", "mean"), "mean_first": ("mean", "map"),
                                      "plane": ("map", "plane"), "plane_first": ("plane", "map"),
                                      "both": ("mean", "plane"), "self": ("map", "self")}.items():
            c = Case(f"{op.lower()}_of_{name}")
            x = c.wide(5)
            relu = c.op("Sigmoid", [x], sigmoid(x[1]))
            w = numbers("plane", (1, 5, 1, 1))
            plane = c.op("Conv", [relu, c.constant(w)], conv(relu[1], w))
            parts = {"map": relu, "self": relu, "mean": c.op("GlobalAveragePool", [relu], relu[1].mean((2, 3), keepdims=True)),
                     "plane": c.op("Sigmoid", [plane], sigmoid(plane[1]))}
            a, b = parts[first], parts[second]
            if name == "same":
                b = c.op("Sigmoid", [relu], sigmoid(relu[1]))
            c.done(c.op(op, [a, b], function(a[1], b[1])))
        for name, shape in {"scalar": (), "vector": (108,), "row": (1, 108)}.items():  # behind the flattening
            k = numbers(name, shape, 0.5, 2.0)
            c = Case(f"{op.lower()}_flat_{name}")
            x = c.op("Flatten", [c.x], c.x[1].reshape(PHOTOS, -1))
            c.done(c.op(op, [x, c.constant(k)], function(x[1], k)))
    c = Case("add_shapes_that_do_not_fit")
    c.refused("do not broadcast", c.op("Add", [c.x, c.constant(numbers("k", (4, 1, 1)))]), "model_invalid")
    c = Case("add_over_the_batch")
    c.refused("broadcasting over the batch", c.op("Add", [c.x, c.constant(numbers("k", (2, 3, 1, 1)))]))


def layers():
    for name, (trans, alpha, beta, bias) in {
            "plain": (0, None, None, (4,)), "transposed": (1, None, None, (4,)), "no_bias": (1, None, None, None),
            "scalar_bias": (0, None, None, ()), "row_bias": (1, None, None, (1, 4)), "alpha_beta": (1, 0.5, 2.0, (4,)),
            "alpha": (0, 0.25, None, (4,))}.items():
        c = Case("gemm_" + name, 11)
        x = c.op("Flatten", [c.x], c.x[1].reshape(PHOTOS, -1))
        w = numbers(name, (4, 108) if trans else (108, 4), -0.2, 0.2)
        b = None if bias is None else numbers(name + ".bias", bias)
        y = (1 if alpha is None else alpha) * (x[1] @ (w.T if trans else w))
        c.done(c.op("Gemm", [x, c.constant(w)] + ([] if b is None else [c.constant(b)]),
                    y if b is None else y + (1 if beta is None else beta) * b, transB=trans, alpha=alpha, beta=beta))
    c, w = Case("matmul"), numbers("matmul", (108, 3), -0.2, 0.2)
    x = c.op("Flatten", [c.x], c.x[1].reshape(PHOTOS, -1))
    y = c.op("MatMul", [x, c.constant(w)], x[1] @ w)
    c.done(c.op("Add", [y, c.constant(numbers("b", (3,)))], y[1] + numbers("b", (3,))))
    c = Case("gemm_transA")
    c.refused("(Gemm): transA", c.op("Gemm", [c.op("Flatten", [c.x]), c.constant(w)], transA=1))
    c = Case("matmul_of_activations")
    c.refused("(MatMul): the weight is not a constant matrix", c.op("MatMul", [c.x, c.x]))
    for name, opset, attributes, channels in (("default", 9, {}, 0), ("epsilon", 15, {"epsilon": 0.01}, 0),
                                              ("eval", 14, {"training_mode": 0}, 0), ("flat", 9, {}, 108)):
        c = Case("batch_norm_" + name, opset)
        x = c.op("Flatten", [c.x], c.x[1].reshape(PHOTOS, -1)) if channels else c.wide(5)
        p = [numbers(f"bn{i}", channels or 5, *((0.5, 1.5) if i in (0, 3) else (-1, 1))) for i in range(4)]
        s = [v.astype(np.float64).reshape((1, -1) if channels else (1, -1, 1, 1)) for v in p]
        y = (x[1] - s[2]) / np.sqrt(s[3] + np.float32(attributes.get("epsilon", 1e-5))) * s[0] + s[1]
        c.done(c.op("BatchNormalization", [x] + [c.constant(v) for v in p], y, **attributes))
    for name, opset, attributes, outputs in (("training", 14, {"training_mode": 1}, 1), ("outputs", 9, {}, 5)):
        c = Case("batch_norm_" + name, opset)
        c.refused("(BatchNormalization): training mode", c.op(
            "BatchNormalization", [c.x] + [c.constant(numbers("p", 3, 0.5, 1)) for _ in range(4)], outputs=outputs,
            **attributes))


def movers():
    for name, opset, shape, more in (("flat", 9, [0, -1], {}), ("numbers", 13, [-1, 108], {}), ("batch_1", 13, [1, -1], {}),
                                     ("zeros", 14, [0, 0, 36], {}), ("squares", 13, [0, 4, 3, 9], {}),
                                     ("allowzero", 14, [-1, 27, 4], {"allowzero": 1})):
        c = Case("reshape_" + name, opset)
        y = c.x[1].reshape([PHOTOS if i == 0 else c.x[1].shape[i] if d == 0 else d for i, d in enumerate(shape)])
        c.done(c.op("Reshape", [c.x, c.constant(np.array(shape, np.int64))], y, **more))
    c = Case("reshape_of_fixed_batch", 13, batch=4)
    c.done(c.op("Reshape", [c.x, c.constant(np.array([4, -1], np.int64))], c.x[1].reshape(PHOTOS, -1)))
    c = Case("reshape_to_nothing", 14)
    c.refused("(Reshape): allowzero", c.op("Reshape", [c.x, c.constant(np.array([0, -1], np.int64))], allowzero=1))
    c = Case("reshape_of_the_batch")
    c.refused("reshaping the batch axis", c.op("Reshape", [c.x, c.constant(np.array([3, -1], np.int64))]))
    for axis, opset in ((1, 9), (-3, 13)):
        c = Case(f"flatten_{axis}", opset)
        y = c.op("Flatten", [c.wide(4)], conv(c.x[1], numbers(f"flatten_{axis}.wide", (4, 3, 1, 1))).reshape(PHOTOS, -1), axis=axis)
        c.done(y)
    c = Case("flatten_the_batch")
    c.refused("(Flatten): flattening the batch", c.op("Flatten", [c.x], axis=0))
    for name, axis, parts in (("two", 1, 2), ("negative", -3, 3), ("many", 1, 11)):
        c = Case("concat_" + name)
        list_of = [c.x] + [c.op("LeakyRelu", [c.x], np.where(c.x[1] < 0, np.float32(a) * c.x[1], c.x[1]), alpha=a)
                           for a in np.linspace(0.1, 0.9, parts - 1).tolist()]
        c.done(c.op("Concat", list_of, np.concatenate([v[1] for v in list_of], 1), axis=axis))
    c = Case("concat_flat")
    x, y = c.op("Flatten", [c.x], c.x[1].reshape(PHOTOS, -1)), None
    y = c.op("Relu", [x], np.maximum(x[1], 0))
    c.done(c.op("Concat", [x, y], np.concatenate([x[1], y[1]], 1), axis=-1))
    c = Case("concat_of_rows")
    c.refused("(Concat): joining along another axis", c.op("Concat", [c.x, c.x], axis=2))
    for opset in (9, 11, 13, 18, 21):
        for name, pads, axes in (("all", [0, 0, 1, 2, 0, 0, 3, 0], None), ("axes", [1, 0, 2, 3], [2, 3]),
                                 ("axis", [2, 1], [-1])):
            if axes is not None and opset < 18:
                continue
            c = Case(f"pad_{name}_{opset}", opset)
            full = pads if axes is None else [0] * 8
            for i, axis in enumerate(axes or []):
                full[axis % 4], full[axis % 4 + 4] = pads[i], pads[i + len(axes)]
            y = padded(c.x[1], [full[2], full[3], full[6], full[7]])
            if opset < 11:
                c.done(c.op("Pad", [c.x], y, pads=pads))
                continue
            inputs = [c.x, c.constant(np.array(pads, np.int64))]
            if axes is not None:
                inputs += ["", c.constant(np.array(axes, np.int64))]
            elif opset > 11:
                inputs += [c.constant(np.float32(0))]
            c.done(c.op("Pad", inputs, y, mode="constant" if opset > 13 else None))
    for name, mode, value, pads in (("mode", "reflect", 0, [0, 0, 1, 1, 0, 0, 1, 1]), ("value", None, 1, [0, 0, 1, 1, 0, 0, 1, 1]),
                                    ("channels", None, 0, [0, 1, 0, 0, 0, 0, 0, 0]), ("negative", None, 0,
                                                                                      [0, 0, -1, 0, 0, 0, 0, 0])):
        c = Case("pad_refused_" + name)
        c.refused("(Pad): ", c.op("Pad", [c.x, c.constant(np.array(pads, np.int64)), c.constant(np.float32(value))], mode=mode))
    c = Case("transpose_of_ones")
    x = c.op("GlobalAveragePool", [c.x], c.x[1].mean((2, 3), keepdims=True))
    c.done(c.op("Transpose", [x], x[1].transpose(0, 2, 3, 1), perm=(0, 2, 3, 1)))
    c = Case("transpose_there_and_back")
    x = c.op("Transpose", [c.wide(5)], perm=(0, 2, 3, 1))
    y = c.op("Transpose", [x], conv(c.x[1], numbers("transpose_there_and_back.wide", (5, 3, 1, 1))), perm=(0, 3, 1, 2))
    c.done(c.op("Relu", [y], np.maximum(y[1], 0)))
    for keep in (0, 1):
        c = Case(f"transpose_then_mean_{keep}")
        x = c.op("Transpose", [c.x], perm=(0, 2, 3, 1))
        c.done(c.op("ReduceMean", [x], c.x[1].transpose(0, 2, 3, 1).mean((1, 2), keepdims=bool(keep)), axes=(1, 2), keepdims=keep))
    c = Case("transpose_that_stays")
    c.refused("is a transpose that cannot be removed", c.op("Relu", [c.op("Transpose", [c.x], perm=(0, 2, 3, 1))]))
    c = Case("transpose_of_the_batch")
    c.refused("(Transpose): a transpose of the batch axis", c.op("Transpose", [c.x], perm=(1, 0, 2, 3)))
    for opset in (9, 13, 19, 21):
        c = Case(f"identity_and_cast_{opset}", opset)
        x = c.op("Cast", [c.op("Identity", [c.x], c.x[1])], c.x[1], to=TensorProto.FLOAT)
        c.done(c.op("Relu", [x], np.maximum(x[1], 0)))
    c = Case("cast_to_integers")
    c.refused("(Cast): activations are cast to element type 7", c.op("Cast", [c.x], to=TensorProto.INT64))
    for opset in (9, 10, 12, 13, 21):
        c = Case(f"dropout_{opset}", opset)
        if opset < 12:
            y = c.op("Dropout", [c.x], c.x[1], ratio=0.3)
        else:
            y = c.op("Dropout", [c.x, c.constant(np.float32(0.3)), c.constant(np.array(False))], c.x[1])
        c.done(c.op("Relu", [y], np.maximum(y[1], 0)))
    c = Case("dropout_ratio_alone", 13)
    c.done(c.op("Relu", [c.op("Dropout", [c.x, c.constant(np.float32(0.5))])], np.maximum(c.x[1], 0)))
    c = Case("dropout_training", 13)
    c.refused("(Dropout): training mode", c.op("Dropout", [c.x, c.constant(np.float32(0.5)), c.constant(np.array(True))]))
    for opset in (11, 13):
        c = Case(f"squeeze_unsqueeze_{opset}", opset)
        x = c.op("GlobalAveragePool", [c.x], c.x[1].mean((2, 3), keepdims=True))
        axes = np.array([2, 3], np.int64)
        flat = c.op("Squeeze", [x] + ([c.constant(axes)] if opset > 12 else []), x[1].mean((2, 3)),
                    axes=[2, 3] if opset < 13 else None)
        c.done(c.op("Unsqueeze", [flat] + ([c.constant(axes)] if opset > 12 else []), x[1], axes=[2, 3] if opset < 13 else None))


def constants():
    kinds = {"value_float": (12, {"value_float": 1.5}, 1.5), "value_floats": (12, {"value_floats": [1.5, -2, 3, 4, 5, 6]},
                                                                              np.array([1.5, -2, 3, 4, 5, 6]))}
    for name, (opset, attributes, value) in kinds.items():
        c = Case("constant_" + name, opset)
        c.done(c.op("Mul", [c.x, c.op("Constant", [], **attributes)], c.x[1] * value))
    for name, kind in (("float", np.float32), ("double", np.float64), ("half", np.float16)):
        c = Case("constant_tensor_" + name, 9)
        k = c.op("Constant", [], value=numpy_helper.from_array(np.array([0.5, 2, 3], kind).reshape(3, 1, 1), "t"))
        k = c.op("Cast", [k], to=TensorProto.FLOAT) if kind is not np.float32 else k
        c.done(c.op("Mul", [c.x, k], c.x[1] * np.array([0.5, 2, 3]).reshape(3, 1, 1)))
    c = Case("constant_integers", 13)
    shape = c.op("Concat", [c.op("Constant", [], value_ints=[0]), c.op("Unsqueeze", [c.op("Constant", [], value_int=-1), c.constant(
        np.array([0], np.int64))])], axis=0)
    c.done(c.op("Reshape", [c.x, shape], c.x[1].reshape(PHOTOS, -1)))
    c = Case("constant_text", 13)
    c.refused("(Constant): a constant of this kind", c.op("Constant", [], value_string="leaf"))
    c = Case("folded_broadcast", 13)  # a weight times one number an output, and a bias put together
    w, g = numbers("w", (4, 3, 3, 3)), numbers("g", (4, 1, 1, 1), 0.5, 2)
    weight = c.op("Mul", [c.constant(w), c.constant(g)])
    bias = c.op("Sub", [c.op("Div", [c.constant(numbers("a", 4)), c.constant(np.float32(2))]), c.constant(numbers("b", 4))])
    c.done(c.op("Conv", [c.x, weight, bias], conv(c.x[1], w * g, numbers("a", 4) / 2 - numbers("b", 4))))
    c = Case("folded_shape_arithmetic", 13)
    shape = c.op("Shape", [c.x])
    part = lambda i: c.op("Gather", [shape, c.constant(np.array(i, np.int64))])  # noqa: E731
    area = c.op("Mul", [part(2), part(3)])
    one = c.constant(np.array([0], np.int64))
    to = c.op("Concat", [c.op("Unsqueeze", [v, one]) for v in (part(0), area, part(1))], axis=0)
    y = c.op("Reshape", [c.x, to], c.x[1].reshape(PHOTOS, 36, 3))
    c.done(y)
    c = Case("folded_transpose", 13)
    w = numbers("w", (108, 3), -0.2, 0.2)
    x = c.op("Flatten", [c.x], c.x[1].reshape(PHOTOS, -1))
    c.done(c.op("MatMul", [x, c.op("Transpose", [c.constant(w.T.copy())], perm=(1, 0))], x[1] @ w))


def quantisation():
    def marks(c, x, scale, zero, dequantize=None, **attributes):
        inputs = [c.constant(np.float32(scale))] + ([] if zero is None else [c.constant(zero)])
        q = c.op("QuantizeLinear", [x] + inputs, **attributes)
        level = 0 if zero is None else int(zero)
        low = -128 if zero is not None and zero.dtype == np.int8 or attributes.get("output_dtype") == 3 else 0
        return c.op("DequantizeLinear", [q] + (dequantize or inputs), quantised(x[1], scale, level, low, low + 255))

    for name, opset, zero, attributes in (("unsigned", 10, np.uint8(128), {}), ("signed", 13, np.int8(-3), {}),
                                          ("without_zero", 13, None, {}), ("saturate", 19, np.uint8(7), {"saturate": 1}),
                                          ("output_dtype", 21, None, {"output_dtype": 3}),
                                          ("output_dtype_unsigned", 21, np.uint8(100), {"output_dtype": 2})):
        c = Case("qdq_" + name, opset)
        c.done(marks(c, c.x, 4 / 255, zero, **attributes))
    for name, opset, axis, spread in (("tensor", 10, None, None), ("channel", 13, 0, (-1, 1, 1, 1)), ("negative_axis", 13, -4,
                                                                                                   (-1, 1, 1, 1))):
        for ready in (0, 1):  # integers in the file, or numbers that the file quantises itself
            c = Case(f"qdq_weight_{name}_{'float' if ready else 'levels'}", opset)
            levels = np.round(numbers("levels", (4, 3, 3, 3), -127, 127)).astype(np.int8)
            scale = np.float32(0.01) if spread is None else numbers("scale", 4, 0.005, 0.02)
            zero = np.int8(0) if spread is None else np.zeros(4, np.int8)
            s = scale if spread is None else scale.reshape(spread)
            wide = (levels * s).astype(np.float32)
            inputs = [c.constant(scale), c.constant(zero)]
            q = c.op("QuantizeLinear", [c.constant(wide + 0.3 * s)] + inputs, axis=axis) if ready else c.constant(levels)
            if ready:
                levels = np.clip(np.round((wide + np.float32(0.3) * s) / s), -128, 127)
            w = c.op("DequantizeLinear", [q] + inputs, axis=axis)
            x = marks(c, c.x, 4 / 255, np.uint8(128))
            c.done(c.op("Conv", [x, w], conv(x[1], (levels * s).astype(np.float32)), pads=(0, 0, 0, 0)))
    c = Case("qdq_bias_of_32_bits", 13)
    b = np.array([1000, -2000, 300], np.int32)
    bias = c.op("DequantizeLinear", [c.constant(b), c.constant(np.float32(1e-3)), c.constant(np.int32(0))])
    w = numbers("w", (3, 3, 1, 1))
    c.done(c.op("Conv", [c.x, c.constant(w), bias], conv(c.x[1], w, b * 1e-3)))
    scale = lambda c, *shape: c.constant(np.full(shape, 0.1, np.float32))  # noqa: E731
    c = Case("qdq_blocks", 21)
    c.refused("(QuantizeLinear): block_size", c.op("QuantizeLinear", [c.x, scale(c, 1, 3, 2, 6)], axis=2, block_size=3))
    c = Case("qdq_weight_blocks", 21)
    w = c.op("DequantizeLinear", [c.constant(np.zeros((4, 108), np.int8)), scale(c, 4, 2)], axis=1, block_size=54)
    c.refused("(DequantizeLinear): block_size", w)
    c = Case("qdq_output_dtype_16_bits", 21)
    c.refused("(QuantizeLinear): output_dtype 4", c.op("QuantizeLinear", [c.x, scale(c)], output_dtype=4))
    c = Case("qdq_zero_point_16_bits", 21)
    c.refused("(QuantizeLinear): the zero point is no 8-bit integer",
              c.op("QuantizeLinear", [c.x, scale(c), c.constant(np.int16(0))]))
    c = Case("qdq_scale_a_channel", 13)
    c.refused("(QuantizeLinear): activations have one scale", c.op("QuantizeLinear", [c.x, scale(c, 3)], axis=1))
    c = Case("qdq_on_integers", 13)
    c.refused("(Relu): computing on quantised numbers", c.op("Relu", [c.op("QuantizeLinear", [c.x, scale(c)])]))
    c = Case("qdq_other_scale", 13)
    q = c.op("QuantizeLinear", [c.x, scale(c)])
    c.refused("(DequantizeLinear): it does not undo", c.op("DequantizeLinear", [q, c.constant(np.float32(0.2))]))
    c = Case("qlinear_conv", 13)
    c.refused("(QLinearConv): this operator is not supported", c.op("QLinearConv", [c.x] * 8))


def opsets():
    """One network for every opset from 9 to 21, each operator in the form that the opset gives it."""
    for opset in range(9, 22):
        c = Case(f"opset_{opset}", opset, 8)
        pads = [0, 0, 1, 0, 0, 0, 1, 2]
        if opset < 11:
            x = c.op("Pad", [c.x], padded(c.x[1], (1, 0, 1, 2)), pads=pads)
        elif opset < 18:
            x = c.op("Pad", [c.x, c.constant(np.array(pads, np.int64))], padded(c.x[1], (1, 0, 1, 2)))
        else:
            x = c.op("Pad", [c.x, c.constant(np.array([1, 0, 1, 2], np.int64)), "", c.constant(np.array([2, 3], np.int64))],
                     padded(c.x[1], (1, 0, 1, 2)))
        w, b = numbers("w", (6, 3, 3, 3)), numbers("b", 6)
        x = c.op("Conv", [x, c.constant(w), c.constant(b)], conv(x[1], w, b))
        p = [numbers(f"p{i}", 6, *((0.5, 1.5) if i in (0, 3) else (-1, 1))) for i in range(4)]
        s = [v.astype(np.float64).reshape(1, -1, 1, 1) for v in p]
        x = c.op("BatchNormalization", [x] + [c.constant(v) for v in p], (x[1] - s[2]) / np.sqrt(s[3] + 1e-5) * s[0] + s[1],
                 training_mode=0 if opset >= 14 else None)
        y = np.clip(x[1], -1, 2)
        x = c.op("Clip", [x], y, min=-1.0, max=2.0) if opset < 11 else c.op(
            "Clip", [x, c.constant(np.float32(-1)), c.constant(np.float32(2))], y)
        y = pool(x[1], "max", (2, 2), (2, 2), (0,) * 4, (1, 1), opset >= 10)
        x = c.op("MaxPool", [x], y, kernel_shape=(2, 2), strides=(2, 2), ceil_mode=1 if opset >= 10 else None)
        x = c.op("Dropout", [x], x[1], ratio=0.25) if opset < 12 else c.op("Dropout", [x, c.constant(np.float32(0.25))], x[1])
        y = x[1] * np.clip(x[1] / 6 + 0.5, 0, 1)
        x = c.op("HardSwish", [x], y) if opset >= 14 else c.op(
            "Mul", [x, c.op("HardSigmoid", [x], alpha=1 / 6, beta=0.5)], y)
        if opset >= 10:
            numbers_of = [c.constant(np.float32(1 / 64))] + ([c.constant(np.int8(3))] if opset < 21 else [])
            q = c.op("QuantizeLinear", [x] + numbers_of, output_dtype=3 if opset >= 21 else None)
            x = c.op("DequantizeLinear", [q] + numbers_of, quantised(x[1], 1 / 64, 3 if opset < 21 else 0, -128, 127))
        y = x[1].mean((2, 3), keepdims=True)
        x = c.op("ReduceMean", [x], y, axes=[2, 3]) if opset < 18 else c.op(
            "ReduceMean", [x, c.constant(np.array([2, 3], np.int64))], y)
        axes = [] if opset < 13 else [c.constant(np.array([2, 3], np.int64))]
        x = c.op("Squeeze", [x] + axes, x[1][:, :, 0, 0], axes=[2, 3] if opset < 13 else None)
        x = c.op("Reshape", [x, c.constant(np.array([-1, 6], np.int64))], x[1], allowzero=0 if opset >= 14 else None)
        x = c.op("Cast", [c.op("Identity", [x], x[1])], x[1], to=TensorProto.FLOAT)
        w = numbers("head", (5, 6))
        zero = np.zeros(5, np.float32)
        x = c.op("Gemm", [x, c.constant(w)] + ([c.constant(zero)] if opset < 11 else []), x[1] @ w.T, transB=1)
        name, _ = c.op("Softmax", [x], axis=None if opset >= 13 else 1)
        c.done((name, x[1]))  # the softmax at the end is left off: what comes out are the logits


def main():
    for write in (convolutions, pools, activations, arithmetic, layers, movers, constants, quantisation, opsets):
        write()
    (OUT / "operators.bin").write_bytes(blob)
    (OUT / "operators.json").write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in index.items()) + "\n}\n")
    print(f"{len(index)} cases, {len(blob)} bytes, {sum('error' in e for e in index.values())} of them refused")


main()
