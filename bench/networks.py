#!/usr/bin/python3
"""Other people's networks beside ONNX Runtime: the same ONNX file in both, engines in turn, a Markdown table of medians and ratios.

Batch 1, 2 threads. Weights are random, inputs seeded; every engine's logits are compared with PyTorch's, relative to the largest of
them. See bench/run.
"""
import os
import statistics
import subprocess
import sys

import numpy as np

from engines import HERE, chosen, have_onnxruntime, have_torch, machine, options, run

NAMES = ["resnet18", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0"]
THREADS, BATCH = 2, 1
BOUND = 1e-4  # of the logits' error, relative to the largest


def main():
    arguments = options(__doc__).parse_args()
    work, names = arguments.work, [n for n in NAMES if chosen(n, arguments.only)]
    os.makedirs(work, exist_ok=True)
    missing = [n for n in names if not os.path.exists(os.path.join(work, n, "model.onnx"))]
    if missing and not have_torch():
        sys.exit("bench: PyTorch is needed for the networks: tools/setup bench")
    if missing:
        subprocess.run(["/usr/bin/python3", os.path.join(HERE, "peers", "export_networks.py"), work, *missing], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not have_onnxruntime(work, arguments.offline):
        sys.exit("bench: onnxruntime-node is missing and npm could not fetch it")
    forward = os.path.join(arguments.build, "bench", "bench_forward")
    script = os.path.join(work, "onnxruntime_forward.mjs")
    ms, errors = {}, {}
    for _ in range(arguments.rounds):
        for name in names:
            folder = os.path.join(work, name)
            numbers = [str(THREADS), str(BATCH), str(arguments.iterations or 40)]
            largest = float(np.abs(np.fromfile(os.path.join(folder, "logits.bin"), "<f4")).max())
            for engine, command in (("ours", [forward, os.path.join(folder, "model.onnx"), folder, *numbers]),
                                    ("peer", ["node", script, folder, *numbers])):
                result = run(command)
                if result:
                    ms.setdefault((name, engine), []).append(result["p50"])
                    errors[name, engine] = max(errors.get((name, engine), 0), result["max_abs_error"] / largest)
    print(f"{machine()}; batch {BATCH}, {THREADS} threads; median ms over {arguments.rounds} interleaved rounds; the same ONNX file in both; "
          "errors of the logits relative to the largest.\n")
    print("| network | CropShield | ONNX Runtime | ratio | error, CropShield | error, ONNX Runtime |")
    print("|---|---|---|---|---|---|")
    for name in names:
        ours, peer = (statistics.median(ms[name, e]) for e in ("ours", "peer"))
        print(f"| {name} | {ours:.2f} | {peer:.2f} | {peer / ours:.2f} × | {errors[name, 'ours']:.1e} | "
              f"{errors[name, 'peer']:.1e} |")
    wrong = [f"{name} ({engine})" for (name, engine), error in errors.items() if not error <= BOUND]
    if wrong:
        sys.exit("bench: logits too far from the reference: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
