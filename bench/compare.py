#!/usr/bin/python3
"""Runs every engine in turn, round after round, and prints a Markdown table of medians and ratios. See bench/run."""
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys

BUILD, WORK, ROUNDS = sys.argv[1], sys.argv[2], int(sys.argv[3])
HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "..", "models", "cropshield_cnn.safetensors")
CONFIGURATIONS = [(1, 1), (2, 1), (2, 8)]  # threads, batch


def have_torch():
    return subprocess.run(["/usr/bin/python3", "-c", "import torch"], capture_output=True).returncode == 0


def have_onnxruntime():
    if not shutil.which("node") or not shutil.which("npm"):
        return False
    if not os.path.isdir(os.path.join(WORK, "node_modules", "onnxruntime-node")):
        subprocess.run(["npm", "install", "--prefix", WORK, "--no-save", "--no-package-lock", "--ignore-scripts",
                        "onnxruntime-node"], capture_output=True)
    shutil.copy(os.path.join(HERE, "peers", "onnxruntime_forward.mjs"), WORK)
    return os.path.isdir(os.path.join(WORK, "node_modules", "onnxruntime-node"))


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        print("failed:", " ".join(command), result.stderr[-400:], file=sys.stderr)
        return None
    return json.loads(result.stdout.strip().splitlines()[-1])


def main():
    os.makedirs(WORK, exist_ok=True)
    if not have_torch():
        sys.exit("bench: PyTorch is needed for the reference logits: tools/setup goldens")
    if not os.path.exists(os.path.join(WORK, "logits.bin")) or \
            os.path.getmtime(os.path.join(WORK, "logits.bin")) < os.path.getmtime(MODEL):
        subprocess.run(["/usr/bin/python3", os.path.join(HERE, "peers", "export.py"), MODEL, WORK], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    forward = os.path.join(BUILD, "bench", "bench_forward")
    engines = {
        "CropShield fp32": lambda t, b, n: [forward, MODEL, WORK, str(t), str(b), str(n)],
        "CropShield fp32, AVX2": lambda t, b, n: [forward, MODEL, WORK, str(t), str(b), str(n), "fp32", "avx2"],
    }
    if run([forward, MODEL, WORK, "1", "1", "1", "int8"]):
        engines["CropShield int8"] = lambda t, b, n: [forward, MODEL, WORK, str(t), str(b), str(n), "int8"]
    if have_onnxruntime():
        engines["ONNX Runtime fp32"] = lambda t, b, n: ["node", os.path.join(WORK, "onnxruntime_forward.mjs"), WORK, str(t),
                                                        str(b), str(n)]
    peers = os.path.join(HERE, "peers", "torch_forward.py")
    engines["PyTorch TorchScript fp32"] = lambda t, b, n: ["/usr/bin/python3", peers, WORK, str(t), str(b), str(n), "script"]
    engines["PyTorch eager fp32"] = lambda t, b, n: ["/usr/bin/python3", peers, WORK, str(t), str(b), str(n), "eager"]
    ms, errors = {}, {}
    for _ in range(ROUNDS):
        for threads, batch in CONFIGURATIONS:
            for name, command in engines.items():
                result = run(command(threads, batch, 20 if batch == 1 else 6))
                if result:
                    ms.setdefault((name, threads, batch), []).append(result["p50"] / batch)
                    errors[name] = max(errors.get(name, 0), result["max_abs_error"])
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
               platform.machine())
    print(f"{cpu}, {len(os.sched_getaffinity(0))} CPUs; median ms an image over {ROUNDS} interleaved rounds; every engine's weights "
          "prepared before; logits checked against the same reference.\n")
    print("| engine | 1 thread | 2 threads | batch 8, 2 threads | largest logit error | 2 threads vs CropShield fp32 |")
    print("|---|---|---|---|---|---|")
    ours = statistics.median(ms[("CropShield fp32", 2, 1)])
    for name in engines:
        cells = [statistics.median(ms[(name, t, b)]) if (name, t, b) in ms else None for t, b in CONFIGURATIONS]
        print(f"| {name} | " + " | ".join("–" if c is None else f"{c:.1f}" for c in cells) +
              f" | {errors.get(name, float('nan')):.1e} | " + ("–" if cells[1] is None else f"{cells[1] / ours:.2f} ×") + " |")


if __name__ == "__main__":
    main()
