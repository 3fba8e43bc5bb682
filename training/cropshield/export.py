"""Owns the published files: weights plus calibration -> `.safetensors` (native), `.pth`, `.onnx`, test vectors.

What stands in the metadata is described in training/README.md. Knows nothing of photos.
"""

import json
import os

import numpy as np
import torch

from . import FORMAT_VERSION, calibrate, content, gate, models, nativefile, train
from .classes import CLASSES, UNTESTED, UNTESTED_BIAS
from .photos import CROP, PREPROCESS

TRAINED_ON = ("10,886 leaf photos of 21 classes: PlantVillage subsets (tomato, potato), potato leaves on coloured paper, "
              "sugarcane and wheat photos from farms; models/README.md names sources and licences")


def silence_untested(network):
    """Outputs without training photos get no weights and a bias that never wins."""
    with torch.no_grad():
        for name in UNTESTED:
            network.classifier[1].weight[CLASSES.index(name)] = 0
            network.classifier[1].bias[CLASSES.index(name)] = UNTESTED_BIAS
    return network


def published(weights):
    """(network in evaluation mode with the stored precision, stored file)."""
    network, stored = calibrate.load_network(weights)
    return calibrate.round_weights(silence_untested(network)).eval(), stored


def tensors_of(network):
    found = {}
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            found[name] = value.numpy().astype("<f2" if value.ndim > 1 else "<f4")
    return found


def architecture_config(network):
    """How to build a PlainLite from the file alone."""
    layers = [{"name": f"layers.{i}", "type": f"conv{m.kernel_size[0]}x{m.kernel_size[0]}", "in": m.in_channels,
               "out": m.out_channels, "stride": m.stride[0], "activation": "relu"} for i, m in enumerate(network.layers)]
    return {"input": [3, CROP, CROP], "layers": layers, "pool": "average", "classifier": "classifier.1"}


def run(weights, calibration, out, results=None):
    """Writes everything into `out`; `calibration` is the folder of `calibrate`, `results` the JSON of `evaluate`."""
    os.makedirs(out, exist_ok=True)
    network, stored = published(weights)
    name = stored["entry"]["name"]
    tensors = tensors_of(network)
    plain = isinstance(network, models.PlainLite)
    metadata = {"format_version": FORMAT_VERSION, "name": name,
                "architecture": "CropShieldLite" if plain else stored["entry"]["architecture"],
                "classes": json.dumps(CLASSES), "untested_classes": json.dumps(UNTESTED),
                "preprocess": json.dumps(PREPROCESS), "gradcam_layer": "block4", "trained_on": TRAINED_ON,
                "license": "Apache-2.0"}
    if plain:
        metadata["architecture_config"] = json.dumps(architecture_config(network))
        metadata["gradcam_layer"] = f"layers.{len(network.layers) - 1}"
    with open(os.path.join(calibration, f"{name}.calibration.json")) as file:
        settings = json.load(file)
    space = np.load(os.path.join(calibration, f"{name}.space.npz"))
    tensors.update({key: space[key] for key in ("ood.center", "ood.basis", "ood.mean")})
    metadata["temperature"] = str(settings["temperature"])
    metadata["ood"], metadata["coach"] = json.dumps(settings["ood"]), json.dumps(settings["coach"])
    if results:
        with open(results) as file:
            metadata["metrics"] = json.dumps(json.load(file)["summary"])
    path = os.path.join(out, f"{name}.safetensors")
    digest = nativefile.write(path, tensors, metadata)
    print(f"{path}: {os.path.getsize(path)} bytes, digest {digest}")
    with open(os.path.join(out, f"{name}.vectors.json"), "w") as file:
        json.dump(vectors(network, space, settings), file, indent=1)
    state = {key: value for key, value in network.state_dict().items() if not key.startswith("reject.")}
    state = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}
    torch.save({"model_state_dict": state, "model_type": "custom", "num_classes": len(CLASSES), "classes": CLASSES,
                "temperature": settings["temperature"]}, os.path.join(out, f"{name}.pth"))
    _export_onnx(network, os.path.join(out, f"{name}.onnx"))


def _export_onnx(network, path):
    options = {"dynamo": False} if int(torch.__version__.split(".")[0]) >= 2 else {}
    try:
        torch.onnx.export(network, torch.zeros(1, 3, CROP, CROP), path, opset_version=13, input_names=["input"],
                          output_names=["logits"], dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}}, **options)
    except (ImportError, RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        print(f"no ONNX file: {error}")


# Test vectors ---------------------------------------------------------------------------------------------------------


def test_images():
    """Images that any language can make again from integers; training/README.md repeats the formulas."""
    y, x = np.mgrid[0:CROP, 0:CROP]
    green = np.stack([60 + (3 * x + 5 * y) % 23, 120 + (7 * x + 2 * y) % 41, 40 + (x + 3 * y) % 17], 2)
    stripes = np.stack([4 * x % 256, 4 * y % 256, 2 * (x + y) % 256], 2)
    paper = np.broadcast_to(np.array([200, 200, 205]), (CROP, CROP, 3))
    leaf = np.where(((x - 112) ** 2 + (y - 112) ** 2 < 6400)[..., None], green, paper)
    state, noise = 1, np.zeros(CROP * CROP * 3, np.int64)
    for i in range(len(noise)):
        state = (1664525 * state + 1013904223) % 2 ** 32
        noise[i] = state >> 24
    images = {"green": green, "stripes": stripes, "paper": paper, "leaf": leaf, "noise": noise.reshape(CROP, CROP, 3)}
    return {name: image.astype(np.uint8) for name, image in images.items()}


def vectors(network, space, settings):
    found = []
    for name, image in test_images().items():
        logits, reject, pooled = train.outputs(network, image[None], "cpu", features=True)
        contents = content.features(image)
        values = gate.inputs(space, logits, reject, pooled, contents[None], settings["temperature"], calibrate.TESTED)
        score = float(gate.score(settings["ood"], values)[0])
        found.append({"image": name, "content": dict(zip(content.FEATURES, contents.tolist())),
                      "network": dict(zip(gate.NETWORK_INPUTS, values[0, :4].tolist())), "logits": logits[0].tolist(),
                      "score": score, "not_a_leaf": score > settings["ood"]["threshold"],
                      "hints": gate.hints(settings["coach"], contents)})
    return found
