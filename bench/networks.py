#!/usr/bin/python3
"""Other people's networks beside ONNX Runtime: the same ONNX file in both, engines in turn, a Markdown table of medians and ratios.

    networks.py BUILD WORK ROUNDS [NAME…]        (bench/run calls it; batch 1, 2 threads)

Weights are random, inputs seeded; every engine's logits are compared with PyTorch's, relative to the largest of them.
"""
import json
import os
import statistics
import subprocess
import sys

import numpy as np

from compare import BUILD, ROUNDS, WORK, have_onnxruntime, run

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ["resnet18", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0"]
THREADS, BATCH, ITERATIONS = 2, 1, 40


def main():
    names = sys.argv[4:] or NAMES
    os.makedirs(WORK, exist_ok=True)
    missing = [n for n in names if not os.path.exists(os.path.join(WORK, n, "model.onnx"))]
    if missing:
        subprocess.run(["/usr/bin/python3", os.path.join(HERE, "peers", "export_networks.py"), WORK, *missing], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not have_onnxruntime():
        sys.exit("bench: onnxruntime-node is missing and npm could not fetch it")
    forward = os.path.join(BUILD, "bench", "bench_forward")
    script = os.path.join(WORK, "onnxruntime_forward.mjs")
    ms, errors = {}, {}
    for _ in range(ROUNDS):
        for name in names:
            folder = os.path.join(WORK, name)
            arguments = [str(THREADS), str(BATCH), str(ITERATIONS)]
            largest = float(np.abs(np.fromfile(os.path.join(folder, "logits.bin"), "<f4")).max())
            for engine, command in (("ours", [forward, os.path.join(folder, "model.onnx"), folder, *arguments]),
                                    ("peer", ["node", script, folder, *arguments])):
                result = run(command)
                if result:
                    ms.setdefault((name, engine), []).append(result["p50"])
                    errors[name, engine] = max(errors.get((name, engine), 0), result["max_abs_error"] / largest)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"{cpu}; batch {BATCH}, {THREADS} threads; median ms over {ROUNDS} interleaved rounds; the same ONNX file in both; "
          "errors of the logits relative to the largest.\n")
    print("| network | CropShield | ONNX Runtime | ratio | error, CropShield | error, ONNX Runtime |")
    print("|---|---|---|---|---|---|")
    for name in names:
        ours, peer = (statistics.median(ms[name, e]) for e in ("ours", "peer"))
        print(f"| {name} | {ours:.2f} | {peer:.2f} | {peer / ours:.2f} × | {errors[name, 'ours']:.1e} | "
              f"{errors[name, 'peer']:.1e} |")


if __name__ == "__main__":
    main()
