#!/usr/bin/python3
"""Full-size networks through the shared library, in every format that PyTorch writes, against PyTorch itself.

live.py LIBRARY.so FOLDER      exit status 77: PyTorch or torchvision is not installed

Each network is saved as checkpoint, TorchScript archive and ONNX file; logits, alone and in a batch, Grad-CAM of two classes and the
other methods for one are compared. CROPSHIELD_TESTS=long adds ResNet-34, which repeats ResNet-18's steps, and the VGG networks, half a
gigabyte each.
"""
import ctypes
import os
import pathlib
import sys

try:
    import numpy as np
    import torch
    import torchvision
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import make_goldens  # noqa: E402

TOLERANCE = 1e-3
SIZE = 224
CASES = ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0"]
if os.environ.get("CROPSHIELD_TESTS") == "long":
    CASES += ["resnet34", "vgg11_bn", "vgg16_bn"]
METHODS = (1, 2, 3, 4, 5)  # the public header's numbers in the order of make_goldens.maps_of


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("message", ctypes.c_char * 512)]


class Preprocess(ctypes.Structure):
    _fields_ = [("resize", ctypes.c_uint32), ("crop", ctypes.c_uint32), ("mean", ctypes.c_float * 3),
                ("std_dev", ctypes.c_float * 3), ("has_mean", ctypes.c_bool), ("has_std", ctypes.c_bool)]


class Options(ctypes.Structure):
    _fields_ = [("path", ctypes.c_char_p), ("device", ctypes.c_int), ("device_index", ctypes.c_int),
                ("precision", ctypes.c_int), ("threads", ctypes.c_uint), ("cpu_mask", ctypes.c_char_p),
                ("classes_path", ctypes.c_char_p), ("target_layer", ctypes.c_char_p),
                ("max_batch", ctypes.c_uint), ("preprocess", Preprocess), ("compact", ctypes.c_bool)]


class Library:
    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.library.cs_model_options_defaults.restype = Options
        self.library.cs_session_logits.restype = ctypes.POINTER(ctypes.c_float)
        self.library.cs_session_logits.argtypes = [ctypes.c_void_p]
        self.library.cs_session_destroy.argtypes = [ctypes.c_void_p]
        self.library.cs_model_destroy.argtypes = [ctypes.c_void_p]

    def run(self, path, x, classes, pixels):
        """(logits of both photos from one batch, logits of the first alone, its maps: Grad-CAM of two classes, others of class 1)"""
        error, model, session = Error(), ctypes.c_void_p(), ctypes.c_void_p()
        values = np.ascontiguousarray(x.numpy())

        def check(status):
            if status != 0:
                raise RuntimeError(f"{path}: {error.message.decode()}")

        def forward(count):
            check(self.library.cs_session_forward(session, values.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(count),
                                                  ctypes.byref(error)))
            return np.ctypeslib.as_array(self.library.cs_session_logits(session), (count, classes)).copy()

        options = self.library.cs_model_options_defaults()
        options.path, options.precision, options.max_batch = str(path).encode(), 1, len(x)
        check(self.library.cs_model_load(ctypes.byref(options), ctypes.byref(model), ctypes.byref(error)))
        try:
            check(self.library.cs_session_create(model, ctypes.byref(session), ctypes.byref(error)))
            batch, alone, maps = forward(len(x)), forward(1), []
            for c, method in [(0, 0), (1, 0)] + [(1, m) for m in METHODS]:
                made = np.zeros(pixels, np.float32)
                check(self.library.cs_session_map(session, ctypes.c_size_t(0), ctypes.c_size_t(c), method,
                                                  made.ctypes.data_as(ctypes.c_void_p), ctypes.byref(error)))
                maps.append(made)
            return batch, alone, np.stack(maps)
        finally:
            self.library.cs_session_destroy(session)
            self.library.cs_model_destroy(model)


def main():
    library, folder = Library(sys.argv[1]), pathlib.Path(sys.argv[2])
    wrong = 0
    for name in CASES:
        _, _, gain, target, _, classes, _ = make_goldens.cases()[name]
        model = getattr(torchvision.models, name)(num_classes=classes)
        make_goldens.fill(model, gain)
        for module in model.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
        model.eval()
        x = torch.cat([make_goldens.input_of(i, SIZE) for i in range(2)])
        with torch.no_grad():
            wanted = model(x).numpy()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        maps, shape = make_goldens.maps_of(model, target, x[:1], 2)
        torch.save({"state_dict": model.state_dict(), "model_type": name}, folder / f"{name}.pth")
        torch.jit.trace(model, x[:1], check_trace=False).save(str(folder / f"{name}.pt"))
        torch.onnx.export(model, x[:1], str(folder / f"{name}.onnx"), opset_version=13, input_names=["input"],
                          dynamic_axes={"input": {0: "batch"}})
        for ending in ("pth", "pt", "onnx"):
            path = folder / f"{name}.{ending}"
            batch, alone, got = library.run(path, x, classes, shape[1] * shape[2])
            difference = float(max(np.abs(batch - wanted).max(), np.abs(alone - wanted[:1]).max()))
            map_difference = float(np.abs(got - maps.numpy()).max())
            good = difference <= TOLERANCE and map_difference <= TOLERANCE
            wrong += not good
            print(f"{path.name:26} logits {difference:.1e}, maps {map_difference:.1e}{'' if good else '  TOO LARGE'}", flush=True)
            path.unlink()
    sys.exit(1 if wrong else 0)


main()
