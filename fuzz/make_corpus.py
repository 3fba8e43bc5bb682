#!/usr/bin/env python3
"""Writes the seed corpora of the model parsers, fuzz/corpus/{safetensors,pickle,zip,pytorch,model,classes,onnx}/, and of forms,
fuzz/corpus/http_multipart/.

make_corpus.py        standard library only; the same bytes every time

Small files, good and hostile. Each hostile one is named after its trick; tests/unit/test_formats_hostile.c and
tests/http/test_multipart.c say what the reader must answer.
"""
import collections
import io
import json
import pathlib
import pickle
import struct
import zipfile

OUT = pathlib.Path(__file__).resolve().parent / "corpus"


# ---------------------------------------------------------------- safetensors

def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_files():
    two = {"a": tensor("F32", [2], 0, 8), "b": tensor("F16", [2, 2], 8, 16)}
    data = struct.pack("<2f4e", 1, 2, 3, 4, 5, 6)
    yield "good", safetensors({"__metadata__": {"classes": "[\"x\"]"}, **two}, data)
    yield "scalar_and_types", safetensors({"s": tensor("I64", [], 0, 8), "b": tensor("BF16", [1], 8, 10),
                                           "d": tensor("F64", [1], 10, 18), "t": tensor("BOOL", [1], 18, 19)},
                                          bytes(8) + b"\x80\x3f" + struct.pack("<d", 2.5) + b"\x01")
    yield "length_over_file", safetensors(two, data, 1 << 40)
    yield "length_overflows", safetensors(two, data, (1 << 64) - 1)
    yield "length_zero", safetensors(two, data, 0)
    yield "offsets_over_end", safetensors({"a": tensor("F32", [4], 0, 16)}, bytes(8))
    yield "offsets_reversed", safetensors({"a": tensor("F32", [2], 8, 0)}, bytes(8))
    yield "offsets_negative", safetensors({"a": tensor("F32", [2], -8, 0)}, bytes(8))
    yield "overlap", safetensors({"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 4, 12)}, bytes(12))
    yield "hole", safetensors({"a": tensor("F32", [1], 0, 4), "b": tensor("F32", [1], 8, 12)}, bytes(12))
    yield "rest", safetensors({"a": tensor("F32", [1], 0, 4)}, bytes(12))
    yield "shape_overflows", safetensors({"a": tensor("F32", [1 << 62, 1 << 62], 0, 8)}, bytes(8))
    yield "shape_lies", safetensors({"a": tensor("F32", [3], 0, 8)}, bytes(8))
    yield "shape_deep", safetensors({"a": tensor("F32", [1] * 9, 0, 4)}, bytes(4))
    yield "shape_empty", safetensors({"a": tensor("F32", [0], 0, 0)})
    yield "type_unknown", safetensors({"a": tensor("F8_E4M3", [8], 0, 8)}, bytes(8))
    yield "entry_extra_key", safetensors({"a": {**tensor("F32", [2], 0, 8), "more": 1}}, bytes(8))
    yield "name_twice", safetensors(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                                    b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4))
    yield "name_long", safetensors({"n" * 200: tensor("F32", [1], 0, 4)}, bytes(4))
    yield "metadata_number", safetensors({"__metadata__": {"temperature": 1}, "a": tensor("F32", [1], 0, 4)}, bytes(4))
    yield "digest_wrong", safetensors({"__metadata__": {"digest": "0" * 64}, "a": tensor("F32", [1], 0, 4)}, bytes(4))
    yield "deep_nesting", safetensors(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}")
    yield "not_an_object", safetensors(b"[1,2,3]")
    yield "not_utf8", safetensors(b'{"\xff":1}')
    yield "integer_huge", safetensors(b'{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}', bytes(4))


# ---------------------------------------------------------------- pickles

def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def tuple_of(*parts):
    return b"(" + b"".join(parts) + b"t"


def storage(key, count, kind="FloatStorage"):
    return tuple_of(text("storage"), b"ctorch\n" + kind.encode() + b"\n", text(key), text("cpu"), number(count)) + b"Q"


def rebuilt(stored, offset, size, stride):
    return (b"ctorch._utils\n_rebuild_tensor_v2\n" +
            tuple_of(stored, number(offset), tuple_of(*map(number, size)), tuple_of(*map(number, stride)), b"\x89",
                     b"ccollections\nOrderedDict\n)R") + b"R")


def state(*items):
    return b"\x80\x02}(" + b"".join(text(k) + v for k, v in items) + b"u."


class Evil:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def pickle_files():
    good = state(("a.weight", rebuilt(storage("0", 6), 0, (2, 3), (3, 1))))
    yield "good", good
    yield "plain_data", pickle.dumps({"epoch": 3, "names": ["a", "b"], "t": (1, 2.5, None, True), "big": 1 << 40,
                                      "s": {1, 2}}, 2)
    yield "plain_data_4", pickle.dumps({"epoch": 3, "names": ["a", "b"], "bytes": b"xyz"}, 4)
    yield "os_system", b"\x80\x02cposix\nsystem\n" + tuple_of(text("touch /tmp/executed")) + b"R."
    yield "os_system_4", pickle.dumps(Evil(__import__("os").system, "true"), 4)
    yield "builtins_eval", b"\x80\x02c__builtin__\neval\n" + tuple_of(text("1+1")) + b"R."
    yield "nested_global", state(("a", b"csubprocess\nPopen\n" + tuple_of(text("id")) + b"R"))
    yield "torch_lookalike", b"\x80\x02ctorch\nload\n" + tuple_of(text("x")) + b"R."
    yield "dotted_global", b"\x80\x04\x8c\x05torch\x8c\x13_utils.os.system\x00\x00\x00\x93)R."
    yield "newobj", b"\x80\x02cposix\nsystem\n)\x81."
    yield "inst_opcode", b"(iposix\nsystem\n."
    yield "ext_opcode", b"\x80\x02\x82\x01."
    yield "no_stop", good[:-1]
    yield "stack_underflow", b"\x80\x02R."
    yield "mark_underflow", b"\x80\x02t."
    yield "items_into_number", b"\x80\x02K\x01(K\x02K\x03u."
    yield "memo_unknown", b"\x80\x02h\x05."
    yield "memo_huge", b"\x80\x02Nr\xff\xff\xff\xff."
    yield "string_over_end", b"\x80\x02X\xff\xff\xff\x7fabc."
    yield "own_member", b"\x80\x02]q\x00h\x00a."
    yield "billion_laughs", b"\x80\x02]q\x000" + b"".join(
        b"](" + b"h%c" % (i - 1) * 10 + b"eq%c0" % i for i in range(1, 30)) + b"h\x1d."
    yield "counter", pickle.dumps({"milestones": collections.Counter([30, 60])}, 2)  # of a MultiStepLR
    yield "ordered_dicts_of_one_list", (b"\x80\x02]q\x00(" + b"N)\x86" * 100 + b"e0ccollections\nOrderedDict\nq\x010](" +
                                        b"h\x01h\x00\x85R" * 100 + b"e.")
    yield "deep_tuples", b"\x80\x02N" + b"\x85" * 3000 + b"."
    yield "persistent_id_not_storage", b"\x80\x02K\x01Q."
    yield "tensor_out_of_storage", state(("a", rebuilt(storage("0", 6), 0, (2, 4), (4, 1))))
    yield "tensor_expanded", state(("a", rebuilt(storage("0", 1), 0, (1 << 20, 1 << 10), (0, 0))))
    yield "tensor_overflows", state(("a", rebuilt(storage("0", 1 << 62), 0, (1 << 62, 1 << 62), (1 << 62, 1 << 62))))
    yield "tensor_negative", state(("a", rebuilt(storage("0", 6), -4, (2,), (1,))))
    yield "tensor_negative_stride", state(("a", rebuilt(storage("0", 6), 5, (2,), (-1,))))


# ---------------------------------------------------------------- archives

def archive(entries, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, content in entries:
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, method)
    return out.getvalue()


def torch_file(data_pkl, storages=(("0", struct.pack("<6f", *range(6))),), more=()):
    return archive([("archive/data.pkl", data_pkl), *((f"archive/data/{k}", v) for k, v in storages),
                    ("archive/version", b"3\n"), *more])


def patched(data, find, offset, replacement, last=False):
    at = (data.rindex(find) if last else data.index(find)) + offset
    return data[:at] + replacement + data[at + len(replacement):]


def overlapping():
    """Two directory entries for one local header."""
    data = archive([("a/data.pkl", b"N."), ("b/data.pkl", b"N.")])
    return patched(data, b"PK\1\2", 42, struct.pack("<I", 0), last=True)


def zip_files():
    good = archive([("a/data.pkl", b"\x80\x02}."), ("a/data/0", bytes(16))])
    yield "good", good
    yield "deflated", archive([("a/data.pkl", b"\x80\x02}."), ("a/data/0", bytes(200))], zipfile.ZIP_DEFLATED)
    yield "overlap", overlapping()
    yield "dot_dot", archive([("../evil", b"x")])
    yield "absolute", archive([("/etc/evil", b"x")])
    yield "backslash", archive([("a\\..\\evil", b"x")])
    colliding = ["".join("az" if i >> k & 1 else "bY" for k in range(9)) for i in range(300)]  # of one hash in libzip
    yield "names_collide", archive([(name, b"") for name in colliding])
    duplicate = archive([("a/x", b"1"), ("a/y", b"2")])
    yield "twice", duplicate.replace(b"a/y", b"a/x")
    yield "bomb", archive([("a/data.pkl", bytes(30 << 20))], zipfile.ZIP_DEFLATED)
    yield "size_lies", patched(good, b"PK\1\2", 20, struct.pack("<II", 1 << 20, 1 << 20))
    yield "size_lies_stored", patched(good, b"PK\1\2", 24, struct.pack("<I", 1 << 20))
    packed = archive([("a/data.pkl", bytes(5000))], zipfile.ZIP_DEFLATED)
    yield "size_lies_deflated", patched(packed, b"PK\1\2", 24, struct.pack("<I", 6000))
    yield "checksum", patched(good, b"}.", 0, b"]")
    yield "encrypted", patched(good, b"PK\1\2", 8, struct.pack("<H", 1))
    yield "method", patched(patched(good, b"PK\1\2", 10, struct.pack("<H", 97)), b"PK\3\4", 8, struct.pack("<H", 97))
    yield "directory_outside", patched(good, b"PK\5\6", 16, struct.pack("<I", 0xfffffff0))
    yield "count_lies", patched(good, b"PK\5\6", 8, struct.pack("<HH", 60000, 60000))
    locator = struct.pack("<IIQI", 0x07064b50, 0, (1 << 64) - 8, 1)
    end = good.index(b"PK\5\6")
    yield "zip64_outside", good[:end] + locator + good[end:]
    extra = struct.pack("<HHQ", 1, 8, (1 << 63))
    directory = good.index(b"PK\1\2")
    entry = bytearray(good[directory:directory + 46 + 10])
    entry[20:24] = b"\xff\xff\xff\xff"
    entry[30:32] = struct.pack("<H", len(extra))
    rest = good[directory + 46 + 10:]
    body = good[:directory] + bytes(entry) + extra + rest
    at = body.index(b"PK\5\6")
    yield "zip64_size", body[:at + 12] + struct.pack("<I", at - directory) + body[at + 16:]
    alone = bytearray(good)  # sizes that should stand in a field that is not there, or is too short for them
    alone[directory + 20:directory + 28] = b"\xff" * 8
    yield "zip64_no_field", bytes(alone)
    short = bytes(entry[:20]) + b"\xff" * 8 + bytes(entry[28:30]) + struct.pack("<H", 8) + bytes(entry[32:])
    body = good[:directory] + short + struct.pack("<HHI", 1, 4, 7) + rest
    at = body.index(b"PK\5\6")
    yield "zip64_field_short", body[:at + 12] + struct.pack("<I", at - directory) + body[at + 16:]
    # two directories: the one that the ZIP64 record names has another number of entries
    record = struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, 1, 1, end - directory, directory)
    yield "zip64_other_count", good[:end] + record + struct.pack("<IIQI", 0x07064b50, 0, end, 1) + good[end:]
    yield "no_end", good[:-22]
    yield "comment_lies", patched(good, b"PK\5\6", 20, struct.pack("<H", 100))


def pytorch_files():
    good = state(("a.weight", rebuilt(storage("0", 6), 0, (2, 3), (3, 1))))
    yield "good", torch_file(good)
    yield "transposed", torch_file(state(("a", rebuilt(storage("0", 6), 0, (3, 2), (1, 3)))))
    yield "os_system", torch_file(b"\x80\x02cposix\nsystem\n" + tuple_of(text("touch /tmp/executed")) + b"R.")
    yield "storage_missing", torch_file(state(("a", rebuilt(storage("7", 6), 0, (6,), (1,)))))
    yield "storage_short", torch_file(state(("a", rebuilt(storage("0", 7), 0, (7,), (1,)))))
    yield "storage_name", torch_file(state(("a", rebuilt(storage("../../etc/passwd", 6), 0, (6,), (1,)))))
    yield "many_views", torch_file(state(*((f"t{i}", rebuilt(storage("0", 8192, "ByteStorage"), 0, (8192,), (1,)))
                                            for i in range(40))), [("0", bytes(8192))])
    yield "name_twice", torch_file(state(*[("a", rebuilt(storage("0", 6), 0, (6,), (1,)))] * 2))
    yield "big_endian", torch_file(good, more=[("archive/byteorder", b"big")])
    yield "no_pickle", archive([("archive/other", b"x")])
    yield "not_tensors", torch_file(pickle.dumps({"a": 1}, 2))
    raw = b"X\x02\x00\x00\x00\xff\xfe"  # a text that is not UTF-8
    yield "name_not_utf8", torch_file(b"\x80\x02}(" + raw + rebuilt(storage("0", 6), 0, (6,), (1,)) + b"u.")
    yield "member_not_utf8", torch_file(b"\x80\x02}(" + text("state_dict") + good[2:-1] + raw + number(1) + b"u.")
    beside = b"\x80\x02}(" + text("state_dict") + good[2:-1]
    yield "classes_of_no_names", torch_file(beside + text("class_names") + b"N" + text("class_to_idx") + b"}" + text("classes") +
                                            b"K\x26u.")
    yield "classes_list_empty", torch_file(beside + text("classes") + b"]" + text("class_names") + b"\x89u.")
    yield "classes_text", torch_file(beside + text("classes") + text("classes.txt") + b"u.")
    yield "legacy", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    yield "legacy_tar", bytes(257) + b"ustar\x0000" + bytes(300)
    module = (b"\x80\x02c__torch__.net\nNet\n)\x81}(" + text("weight") + rebuilt(storage("0", 6), 0, (6,), (1,)) +
              text("training") + b"\x89ub.")
    yield "torchscript", torch_file(module, more=[("archive/constants.pkl", b"\x80\x02).")])
    yield "torchscript_os_system", torch_file(module[:-2] + text("x") + b"cposix\nsystem\n" + tuple_of(
        text("touch /tmp/executed")) + b"Rub.", more=[("archive/constants.pkl", b"\x80\x02).")])
    nested = b"\x80\x02" + b"".join(b"c__torch__\nM\n)\x81}(" + text("m") for _ in range(60)) + b"N" + b"ub" * 60 + b"."
    yield "torchscript_deep", torch_file(nested, more=[("archive/constants.pkl", b"\x80\x02).")])
    yield "torchscript_class_without_archive", torch_file(module)
    shared = b"\x80\x02}q\x00(" + (text("a") + b"N") * 100 + b"u0](" + b"c__torch__\nM\n)\x81h\x00b" * 100 + b"e."
    yield "torchscript_one_state", torch_file(shared, more=[("archive/constants.pkl", b"\x80\x02).")])
    tree = b"\x80\x02c__torch__\nM\n)\x81q\x00" + b"".join(
        b"0c__torch__\nM\n)\x81}(" + b"".join(text(c) + b"h%c" % i for c in "abcd") + b"ubq%c" % (i + 1) for i in range(30))
    wide = (b"\x80\x02" + text("k") + b"q\x010Nq\x020c__torch__\nM\n)\x81}(" + b"h\x01h\x02" * 1500 + b"ubq\x00" +
            b"0c__torch__\nM\n)\x81}(" + b"h\x01h\x00" * 1000 + b"ub.")  # one module of many members, named many times
    yield "torchscript_many_parts", torch_file(wide, more=[("archive/constants.pkl", b"\x80\x02).")])
    yield "torchscript_many_modules", torch_file(tree + b".", more=[("archive/constants.pkl", b"\x80\x02).")])


def model_files():
    """Through the front door: a whole small network, and files whose pieces do not fit each other."""
    widths, tensors = [3, 1, 1], {}
    for i, (a, b) in enumerate(zip(widths, widths[1:]), 1):
        for conv, inputs in ((0, a), (3, b)):
            tensors[f"block{i}.{conv}.weight"] = (b, inputs, 3, 3)
            for part in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"block{i}.{conv + 1}.{part}"] = (b,)
    tensors["classifier.1.weight"], tensors["classifier.1.bias"] = (2, 1), (2,)

    def file(changes=(), metadata=(), drop=(), prefix=""):
        shapes = {**{prefix + k: v for k, v in tensors.items() if k not in drop}, **dict(changes)}
        header, at = {"__metadata__": {"architecture": "CropShieldCNN", **dict(metadata)}}, 0
        for name, shape in shapes.items():
            count = 1
            for length in shape:
                count *= length
            header[name] = tensor("F32", list(shape), at, at + 4 * count)
            at += 4 * count
        return safetensors(header, struct.pack("<f", 0.5) * (at // 4))

    yield "good", file(metadata={"preprocess": '{"crop":32,"resize":36}', "classes": '["a","b"]'})
    yield "tensor_missing", file(drop=["block2.4.running_var"])
    yield "channels", file({"block2.0.weight": (1, 7, 3, 3)})
    yield "rank", file({"classifier.1.weight": (2,)})
    yield "kernel", file({"block1.0.weight": (1, 3, 300, 1)})
    yield "classes", file(metadata={"classes": '["a","b","c"]'})
    yield "classes_type", file(metadata={"classes": '[1,2]'})
    yield "crop", file(metadata={"preprocess": '{"crop":1000000}'})
    yield "crop_small", file(metadata={"preprocess": '{"crop":1,"resize":1}'})
    yield "mean", file(metadata={"preprocess": '{"mean":[1,2]}'})
    yield "std_zero", file(metadata={"preprocess": '{"std":[0,1,1]}'})
    yield "temperature", file(metadata={"temperature": "-1"})
    yield "temperature_text", file(metadata={"temperature": "warm"})
    yield "layer", file(metadata={"gradcam_layer": "block7"})
    yield "architecture", file(metadata={"architecture": "resnet50"})
    yield "wrapped", file({"net.criterion.weight": (2,)}, prefix="net.model.")
    yield "wrapped_twice", file({"model." + k: v for k, v in tensors.items()}, prefix="net.")
    yield "wrapped_head", file({"head.weight": (3, 2)}, prefix="model.")
    yield "wrapped_extra_twice", file({"model.ood.mean": (1,), "ood.mean": (1,)}, prefix="model.")
    yield "wrapped_deep", file(prefix="a." * 50)
    yield "wrapped_only_dots", file(drop=list(tensors), changes={"." * 9: (1,), "." * 8: (1,), "model.": (1,), "model..": (1,)})
    not_a_number = bytearray(file())
    not_a_number[-4:] = b"\0\0\xc0\x7f"
    yield "nan", bytes(not_a_number)
    for name, zero in (("int8_zero_wraps", 65664), ("int8_zero_negative", -65536)):
        yield name, file(metadata={"int8": json.dumps({"scales": [[1, "block1.0", 0.1, zero]]})})
    for name, alpha, beta, zero in (("range_of_four_bits", 0, 15, 8), ("range_huge", -3e38, 3e38, 5),
                                    ("range_without_zero", 0, 255, 60000)):
        nodes = [{"op": "input", "name": "x", "inputs": [], "shape": [1, 3, 8, 8]},
                 {"op": "quantize", "name": "q", "inputs": [0], "scale": 0.1, "zero_point": zero, "alpha": alpha, "beta": beta},
                 {"op": "global_avg_pool", "name": "p", "inputs": [1]}, {"op": "flatten", "name": "y", "inputs": [2]}]
        yield name, file(drop=list(tensors), changes={"ood.mean": (1,)}, metadata={
            "architecture": "graph", "architecture_config": json.dumps({"output": 3, "nodes": nodes}),
            "preprocess": '{"crop":8,"resize":8}'})
    yield "text", b"This is a leaf.\n"
    yield "empty", b""


def classes_files():
    yield "good", b'{"Potato__healthy":1,"Potato__early_blight":0}'
    yield "list", b'["a","b"]'
    yield "hole", b'{"a":0,"b":2}'
    yield "twice", b'{"a":0,"b":0}'
    yield "negative", b'{"a":-1}'
    yield "name_twice", b'{"a":0,"a":1}'
    yield "number", b"7"
    yield "empty", b"{}"
    yield "deep", b"[" * 4000
    yield "text", b'{"a":"0"}'
    yield "cut", b'{"a":0'
    yield "control", b'{"a\\u001b[2J":0}'


# ---------------------------------------------------------------- ONNX (protobuf by hand: the schema's field numbers)

def varint(value):
    value &= (1 << 64) - 1
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(index, value):
    if isinstance(value, int):
        return varint(index << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(index << 3 | 2) + varint(len(value)) + value


def onnx_tensor(name, shape, values, kind=1, code="f", more=b""):
    raw = struct.pack(f"<{len(values)}{code}", *values)
    return b"".join(field(1, d) for d in shape) + field(2, kind) + field(8, name) + field(9, raw) + more


def onnx_node(op, inputs, outputs, *attributes, name="", domain=""):
    return (b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outputs) + field(3, name or outputs[0]) +
            field(4, op) + b"".join(field(5, a) for a in attributes) + (field(7, domain) if domain else b""))


def ints(name, values):
    return field(1, name) + b"".join(field(8, v) for v in values) + field(20, 7)


def integer(name, value):
    return field(1, name) + field(3, value) + field(20, 2)


def real(name, value):
    return field(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + field(20, 1)


def onnx_value(name, shape):
    dims = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def onnx_file(nodes, tensors, opset=13, shape=("n", 3, 8, 8), output="y", more=b""):
    graph = (b"".join(field(1, n) for n in nodes) + field(2, "g") + b"".join(field(5, t) for t in tensors) +
             field(11, onnx_value("x", shape)) + field(12, onnx_value(output, ("n", 2))) + more)
    return field(1, 7) + field(7, graph) + field(8, field(2, opset))


def onnx_files():
    weight = onnx_tensor("w", (2, 3, 1, 1), [0.5] * 6)
    conv = onnx_node("Conv", ["x", "w"], ["c"])
    tail = [onnx_node("GlobalAveragePool", ["c"], ["p"]), onnx_node("Flatten", ["p"], ["y"])]
    good = onnx_file([conv, *tail], [weight])
    yield "good", good
    shape = [onnx_node("Shape", ["p"], ["s"]), onnx_node("Constant", [], ["zero"], integer("value_int", 0)),
             onnx_node("Gather", ["s", "zero"], ["n"]), onnx_node("Unsqueeze", ["n", "axes"], ["n1"]),
             onnx_node("Concat", ["n1", "rest"], ["to"], integer("axis", 0)), onnx_node("Reshape", ["p", "to"], ["y"])]
    vectors = [onnx_tensor("axes", (1,), [0], 7, "q"), onnx_tensor("rest", (1,), [-1], 7, "q")]
    yield "shape_arithmetic", onnx_file([conv, tail[0], *shape], [weight, *vectors])
    parts = [onnx_node("Transpose", ["c"], ["t"], ints("perm", [0, 2, 3, 1])),
             onnx_node("Shape", ["p"], ["first"], integer("start", -9), integer("end", 1)),
             onnx_node("Shape", ["t"], ["last"], integer("start", -1), integer("end", 99)),
             onnx_node("Shape", ["p"], ["none"], integer("start", 3), integer("end", -2)),
             onnx_node("Concat", ["first", "last", "none"], ["to"], integer("axis", 0)), onnx_node("Reshape", ["p", "to"], ["y"])]
    yield "shape_parts", onnx_file([conv, tail[0], *parts], [weight], opset=15)
    quantised = [onnx_node("DequantizeLinear", ["q", "s", "z"], ["w"], integer("axis", 0))]
    yield "quantised_weight", onnx_file([*quantised, conv, *tail], [
        onnx_tensor("q", (2, 3, 1, 1), [-3, -2, -1, 0, 1, 2], 3, "b"), onnx_tensor("s", (2,), [0.5, 0.25]),
        onnx_tensor("z", (2,), [0, 0], 3, "b")])
    yield "operator_unknown", onnx_file([onnx_node("LSTM", ["x"], ["c"], name="rnn"), *tail], [weight])
    yield "operator_of_others", onnx_file([onnx_node("FusedConv", ["x", "w"], ["c"], domain="com.microsoft"), *tail],
                                          [weight])
    yield "external_data", onnx_file([conv, *tail], [field(1, 6) + field(2, 1) + field(8, "w") + field(14, 1) + field(
        13, field(1, "location") + field(2, "../../etc/passwd"))])
    inner = field(1, 6) + field(2, 1) + field(14, 1) + field(13, field(1, "location") + field(2, "/etc/passwd"))
    yield "external_constant", onnx_file([onnx_node("Constant", [], ["w"], field(1, "value") + field(5, inner) + field(20, 4)),
                                          conv, *tail], [])
    yield "pad_axes", onnx_file([onnx_node("Pad", ["x", "pads", "", "axes"], ["p0"]), onnx_node("Conv", ["p0", "w"], ["c"]), *tail],
                                [weight, onnx_tensor("pads", (4,), [1, 0, 2, 3], 7, "q"), onnx_tensor("axes", (2,), [2, 3], 7, "q")],
                                opset=18)
    yield "pad_axes_outside", onnx_file(
        [onnx_node("Pad", ["x", "pads", "", "axes"], ["p0"]), onnx_node("Conv", ["p0", "w"], ["c"]), *tail],
        [weight, onnx_tensor("pads", (4,), [1, 0, 2, 3], 7, "q"), onnx_tensor("axes", (2,), [2, 1 << 40], 7, "q")], opset=18)
    yield "weight_quantised_here", onnx_file(
        [onnx_node("QuantizeLinear", ["w", "s", "z"], ["q"], integer("axis", 0)),
         onnx_node("DequantizeLinear", ["q", "s", "z"], ["d"], integer("axis", 0)), onnx_node("Conv", ["x", "d"], ["c"]), *tail],
        [weight, onnx_tensor("s", (2,), [0.5, 0.25]), onnx_tensor("z", (2,), [0, 0], 3, "b")])
    turned = [onnx_node("Transpose", ["x"], ["t"], ints("perm", [0, 2, 3, 1])),
              onnx_node("Transpose", ["t"], ["u"], ints("perm", [0, 3, 1, 2])), onnx_node("Conv", ["u", "w"], ["c"])]
    yield "transposes", onnx_file([*turned, *tail], [weight])
    yield "transpose_at_the_end", onnx_file([turned[0]], [weight], output="t")
    yield "broadcast_grows", onnx_file(
        [onnx_node("Mul", ["a", "b"], ["ab"]), conv, *tail],
        [weight, onnx_tensor("a", (3000, 1), [1] * 3000), onnx_tensor("b", (3000,), [1] * 3000)])
    numbers = [onnx_tensor("root", (), [1.4142135]), onnx_tensor("one", (1,), [1]), onnx_tensor("half", (), [0.5])]
    erf = [onnx_node("Div", ["x", "root"], ["d"]), onnx_node("Erf", ["d"], ["e"]), onnx_node("Add", ["e", "one"], ["e1"])]
    yield "gelu_spelt", onnx_file([*erf, onnx_node("Mul", ["x", "e1"], ["m"]), onnx_node("Mul", ["m", "half"], ["g"]),
                                   onnx_node("Conv", ["g", "w"], ["c"]), *tail], [weight, *numbers], opset=17)
    yield "gelu_parts", onnx_file([*erf, onnx_node("Mul", ["x", "e1"], ["m"]), onnx_node("Add", ["m", "d"], ["g"]),
                                   onnx_node("Conv", ["g", "w"], ["c"]), *tail], [weight, *numbers], opset=17)
    yield "erf_alone", onnx_file([*erf[:2], onnx_node("Conv", ["e", "w"], ["c"]), *tail], [weight, *numbers], opset=17)
    huge = [onnx_tensor("root", (), [1e-30]), numbers[1], onnx_tensor("half", (), [3e38])]
    yield "gelu_factor_huge", onnx_file([*erf, onnx_node("Mul", ["x", "e1"], ["m"]), onnx_node("Mul", ["m", "half"], ["g"]),
                                         onnx_node("Div", ["g", "root"], ["h"]), onnx_node("Conv", ["h", "w"], ["c"]), *tail],
                                        [weight, *huge], opset=17)
    huge = [onnx_tensor("root", (), [1e30]), numbers[1], onnx_tensor("half", (), [3e38])]
    yield "gelu_scale_huge", onnx_file([*erf, onnx_node("Mul", ["x", "e1"], ["m"]), onnx_node("Mul", ["m", "half"], ["g"]),
                                        onnx_node("Conv", ["g", "w"], ["c"]), *tail], [weight, *huge], opset=17)
    yield "prelu", onnx_file([conv, onnx_node("PRelu", ["c", "slope"], ["r"]), onnx_node("GlobalAveragePool", ["r"], ["p"]), tail[1]],
                             [weight, onnx_tensor("slope", (2, 1, 1), [0.1, -0.2])])
    yield "prelu_of_rows", onnx_file([conv, onnx_node("PRelu", ["c", "slope"], ["r"], name="pr"),
                                      onnx_node("GlobalAveragePool", ["r"], ["p"]), tail[1]],
                                     [weight, onnx_tensor("slope", (8, 1), [0.1] * 8)])
    yield "mean_axes_huge", onnx_file([conv, onnx_node("ReduceMean", ["c"], ["p"], ints("axes", [(1 << 63) - 1] * 2)), tail[1]],
                                      [weight])
    for part, tensors in (("alpha", (1e20, 1)), ("beta", (1, 1e20))):
        yield f"gemm_{part}_huge", onnx_file(
            [onnx_node("Flatten", ["x"], ["f"]), onnx_node("Gemm", ["f", "v", "b"], ["y"], real(part, 1e20), name="fc")],
            [onnx_tensor("v", (192, 2), [tensors[0]] * 384), onnx_tensor("b", (2,), [tensors[1]] * 2)])
    yield "opset_old", onnx_file([conv, *tail], [weight], opset=8)
    yield "opset_new", onnx_file([conv, *tail], [weight], opset=99)
    yield "tensor_lies", onnx_file([conv, *tail], [onnx_tensor("w", (2, 3, 1, 1000), [0.5] * 6)])
    yield "tensor_overflows", onnx_file([conv, *tail], [onnx_tensor("w", (1 << 62, 1 << 62, 1, 1), [0.5] * 6)])
    yield "tensor_negative", onnx_file([conv, *tail], [onnx_tensor("w", (-2, -3, 1, 1), [0.5] * 6)])
    yield "name_twice", onnx_file([conv, conv, *tail], [weight])
    yield "name_missing", onnx_file([onnx_node("Conv", ["x", "nowhere"], ["c"]), *tail], [weight])
    yield "own_output", onnx_file([onnx_node("Relu", ["c"], ["c"]), *tail], [weight])
    yield "stride_zero", onnx_file([onnx_node("Conv", ["x", "w"], ["c"], ints("strides", [0, 1])), *tail], [weight])
    yield "pads_huge", onnx_file([onnx_node("Conv", ["x", "w"], ["c"], ints("pads", [60000] * 4)), *tail], [weight])
    yield "groups", onnx_file([onnx_node("Conv", ["x", "w"], ["c"], integer("group", 7)), *tail], [weight])
    yield "reshape_overflows", onnx_file([conv, onnx_node("Reshape", ["c", "to"], ["y"])], [
        weight, onnx_tensor("to", (3,), [1, 1 << 40, 1 << 40], 7, "q")])
    yield "constants_grow", onnx_file(
        [onnx_node("ConstantOfShape", ["to"], ["big"])] + [onnx_node("Identity", ["big"], [f"b{i}"]) for i in range(40)] +
        [conv, *tail], [weight, onnx_tensor("to", (2,), [1000, 900], 7, "q")])
    yield "gather_outside", onnx_file([onnx_node("Gather", ["v", "i"], ["g"]), conv, *tail], [
        weight, onnx_tensor("v", (2,), [1, 2]), onnx_tensor("i", (1,), [5], 7, "q")])
    yield "no_output", onnx_file([conv], [weight])
    yield "output_constant", onnx_file([conv], [weight], output="w")
    yield "input_flat", onnx_file([conv, *tail], [weight], shape=("n", 3))
    second = field(11, onnx_value("x2", ("n", 3, 8, 8)))
    yield "two_inputs", onnx_file([conv, *tail], [weight], more=second)
    yield "two_graphs", good + field(7, second)  # protobuf would merge them
    nested = onnx_node("If", ["x"], ["c"])
    for _ in range(60):
        nested = onnx_node("If", ["x"], ["c"], field(1, "then_branch") + field(6, field(1, nested)) + field(20, 5))
    yield "deep", onnx_file([nested], [weight])
    yield "length_lies", good[:2] + field(7, b"")[:1] + b"\xff\xff\xff\xff\x07" + good[10:]
    yield "cut", good[:len(good) // 2]
    yield "wire_type", b"\x08\x07\x0f\x00\x00\x00\x00\x00\x00\x00"


# ---------------------------------------------------------------- forms: the Content-Type on the first line, then the body

def part(*header, data=b"abc", boundary=b"X"):
    return b"--" + boundary + b"\r\n" + b"".join(line + b"\r\n" for line in header) + b"\r\n" + data + b"\r\n"


def disposition(parameters):
    return b"Content-Disposition: form-data; " + parameters


def form(*parts, type=b"multipart/form-data; boundary=X", end=b"--X--\r\n"):
    return type + b"\n" + b"".join(parts) + end


def http_multipart_files():
    image = disposition(b'name="image"')
    yield "curl", form(part(disposition(b'name="image"; filename="a.jpg"'), b"Content-Type: image/jpeg", data=b"\xff\xd8\xff\r\n-"),
                       part(disposition(b'name="note"'), data=b"hello"))
    yield "dotnet", form(part(b"Content-Type: image/png", disposition(
        b'name=image; filename="=?utf-8?B?YmzDpHR0LnBuZw==?="; filename*=utf-8\'\'bl%C3%A4tt.png')),
        type=b'multipart/form-data; boundary="X"')
    yield "java", form(part(disposition(b'name="image"; filename="a.jpg"')), type=b"multipart/form-data; boundary=X; charset=utf-8")
    yield "android", form(part(disposition(b'name="image";filename="a.jpg"'), boundary=b"*****"),
                          type=b"Multipart/Form-Data;Boundary=*****", end=b"--*****--")
    yield "escapes", form(part(disposition(b'filename="a name=\\"q\\\\.png"; name="image"')),
                          part(disposition(b'name="image"; filename="C:\\photos\\a.jpg"')))
    yield "extended_bad", form(part(disposition(b"name=image; filename=a; filename*=utf-8''%zz")),
                               part(disposition(b"name=image; filename*=utf-8''%00%")), part(disposition(b"name=image; filename*=x'y")))
    yield "around", form(b"preamble\r\n--Y\r\n", part(image), end=b"--X-- \r\nepilogue\r\n--X\r\n")
    yield "padding", form(part(image).replace(b"--X", b"--X \t"), end=b"--X--  \r\n")
    yield "folded", form(part(b"Content-Disposition: form-data;", b" name=image;", b"\tfilename=x", b"X:"))
    yield "bare_lf", form(part(image).replace(b"\r", b""), end=b"--X--\n")
    yield "empty_parts", form(part(image, data=b""), b"--X\r\n" + image + b"\r\n\r\n", b"--X\r\n" + image + b"\r\n")
    yield "near_boundaries", form(part(image, data=b"--XX\r\r\n\r\n-\r\n--\r\n--X\r\n--XY\r--XYZ\n--XYZ", boundary=b"XYZ"),
                                  type=b"multipart/form-data; boundary=XYZ", end=b"--XYZ--")
    yield "dashes", form(part(image, data=b"\r\n---\r\n", boundary=b"--"), type=b"multipart/form-data; boundary=--", end=b"------")
    yield "blanks_in_boundary", form(part(image, boundary=b"a b"), type=b'multipart/form-data; boundary="a b"', end=b"--a b--")
    yield "boundary_long", form(part(image, boundary=b"b" * 71), type=b"multipart/form-data; boundary=" + b"b" * 71, end=b"")
    yield "boundary_twice", form(part(image), type=b"multipart/form-data; boundary=X; boundary=Y")
    yield "header_huge", form(part(b"X: " + b"x" * 17000, image))
    yield "header_nul", form(part(b"X: \0", image))
    yield "header_no_colon", form(part(image, b"abc"))
    yield "no_disposition", form(part(image), part(b"Content-Type: image/png"))
    yield "no_name", form(part(disposition(b"filename=image")))
    yield "name_twice", form(part(disposition(b"name=image; name=note")))
    yield "quote_open", form(part(disposition(b'name="image\\"')))
    yield "base64", form(part(image, b"Content-Transfer-Encoding: base64"))
    yield "nested", form(part(image, b"Content-Type: multipart/mixed; boundary=Y", data=b"--Y\r\n\r\na\r\n--Y--"))
    yield "many_images", form(*[part(image, data=b"")] * 33)
    yield "many_names", form(*[part(disposition(b"name=" + b"field" * i), data=b"") for i in range(1, 12)])
    yield "large_photo", form(part(image, data=b"x" * 65), part(image, data=b"x" * 64))
    yield "not_alone", form(part(image), end=b"--XY\r\n")
    yield "cut", form(part(image), end=b"--X-")
    yield "mixed", form(part(image), type=b"multipart/mixed; boundary=X")


def main():
    for name, files in (("safetensors", safetensors_files), ("pickle", pickle_files), ("zip", zip_files),
                        ("pytorch", pytorch_files), ("model", model_files), ("classes", classes_files), ("onnx", onnx_files),
                        ("http_multipart", http_multipart_files)):
        folder = OUT / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in files():
            (folder / file).write_bytes(content)
        print(f"{name}: {len(list(folder.iterdir()))} files, {sum(f.stat().st_size for f in folder.iterdir())} bytes")


main()
