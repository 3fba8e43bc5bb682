"""The reference network as a quantised ONNX model (QuantizeLinear/DequantizeLinear around every layer), for export.py.

Weights 8-bit signed, a scale an output channel; maps 8-bit unsigned, a scale each, from the given ranges; pooled features and the linear
layer stay float32. That is what ONNX Runtime's own static quantisation writes for this network with its settings for VNNI.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_int8(layers, ranges, path):
    """`layers`: [(weight, bias)], convolutions first, then the linear layer; `ranges`: of the input and of each ReLU's output."""
    nodes, constants = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def requantise(x, scale, zero):
        names = [constant(f"{x}_scale", np.float32(scale)), constant(f"{x}_zero", np.uint8(zero))]
        return node("DequantizeLinear", [node("QuantizeLinear", [x, *names], f"{x}_q"), *names], f"{x}_dq")

    scale = np.float32(ranges[0] / 127)
    x = requantise("input", scale, 128)
    for i, (weight, bias) in enumerate(layers[:-1]):
        scales = (np.abs(weight).max((1, 2, 3)) / 127).astype(np.float32)
        whole = np.rint(weight / scales[:, None, None, None]).clip(-127, 127).astype(np.int8)
        w = node("DequantizeLinear", [constant(f"w{i}_q", whole), constant(f"w{i}_scale", scales),
                                      constant(f"w{i}_zero", np.zeros(len(scales), np.int8))], f"w{i}", axis=0)
        b = node("DequantizeLinear", [constant(f"b{i}_q", np.rint(bias / (scales * scale)).astype(np.int32)),
                                      constant(f"b{i}_scale", scales * scale),
                                      constant(f"b{i}_zero", np.zeros(len(scales), np.int32))], f"b{i}", axis=0)
        x = node("Relu", [node("Conv", [x, w, b], f"conv{i}", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], f"relu{i}")
        scale = np.float32(ranges[i + 1] / 255)
        x = requantise(x, scale, 0)
        if i % 2 == 1:
            x = requantise(node("MaxPool", [x], f"pool{i}", kernel_shape=[2, 2], strides=[2, 2]), scale, 0)
    x = node("Flatten", [node("GlobalAveragePool", [x], "pooled")], "features")
    node("Gemm", [x, constant("fc_weight", layers[-1][0]), constant("fc_bias", layers[-1][1])], "logits", transB=1)
    graph = helper.make_graph(
        nodes, "int8", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(layers[-1][1])])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, path)
