#!/usr/bin/python3
"""The reference network: runs every engine in turn, round after round, and prints a Markdown table of medians and ratios.

Every engine gets its weights prepared before and the same input; its logits are compared with PyTorch's, and one that computes
something else makes the run fail. See bench/run.
"""
import os
import statistics
import subprocess
import sys

import numpy as np

from engines import HERE, chosen, have_onnxruntime, have_torch, machine, options, run

MODEL = os.path.join(HERE, "..", "models", "cropshield_cnn.safetensors")
CONFIGURATIONS = [(1, 1), (2, 1), (2, 8)]  # threads, batch: the columns
EXPORTED = ["input.bin", "logits.bin", "weights.bin", "ranges.bin", "model.onnx", "model_int8.onnx", "model.pt"]
# How far logits may be from PyTorch's, relative to the largest of them: float32 and fewer bits.
BOUND, BOUND_FEWER_BITS = 1e-4, 5e-2


def export(work):
    def stamp(path):
        return os.path.getmtime(path) if os.path.exists(path) else 0

    source = max(map(stamp, [MODEL, *(os.path.join(HERE, "peers", name) for name in ("export.py", "export_int8.py"))]))
    if min(stamp(os.path.join(work, name)) for name in EXPORTED) >= source:
        return
    if not have_torch():
        sys.exit("bench: PyTorch is needed for the reference logits: tools/setup bench")
    subprocess.run(["/usr/bin/python3", os.path.join(HERE, "peers", "export.py"), MODEL, work], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def find_engines(arguments):
    """{name: command(threads, batch, iterations)} of what is there."""
    work, build = arguments.work, os.path.join(arguments.build, "bench")
    forward, onednn = os.path.join(build, "bench_forward"), os.path.join(build, "bench_onednn")
    calibrated, torch = os.path.join(work, "int8.safetensors"), os.path.join(HERE, "peers", "torch_forward.py")
    engines = {}

    def ours(name, model, *more):
        engines[name] = lambda t, b, n: [forward, model, work, t, b, n, *more]

    def peer(name, before, *after):
        engines[name] = lambda t, b, n: [*before, work, t, b, n, *after]

    ours("CropShield fp32", MODEL)
    ours("CropShield fp32, AVX2", MODEL, "fp32", "avx2")
    ours("CropShield int8, 16-bit fixed point", MODEL, "int8")
    if subprocess.run([os.path.join(build, "bench_calibrate"), MODEL, work, calibrated]).returncode == 0:
        ours("CropShield int8, calibrated", calibrated, "int8")
    if have_onnxruntime(work, arguments.offline):
        node = ["node", os.path.join(work, "onnxruntime_forward.mjs")]
        peer("ONNX Runtime fp32", node)
        peer("ONNX Runtime INT8 (QDQ)", node, "model_int8.onnx")
    if os.path.exists(onednn):
        peer("oneDNN fp32 direct", [onednn], "direct")
        peer("oneDNN fp32 direct, AVX2", ["env", "ONEDNN_MAX_CPU_ISA=AVX2", "DNNL_MAX_CPU_ISA=AVX2", onednn], "direct")
        peer("oneDNN fp32 Winograd", [onednn], "winograd")
        peer("oneDNN INT8", [onednn], "int8")
    if have_torch():
        peer("PyTorch TorchScript fp32", ["/usr/bin/python3", torch], "script")
        peer("PyTorch eager fp32", ["/usr/bin/python3", torch], "eager")
    return {name: command for name, command in engines.items() if chosen(name, arguments.only)}


def fewer_bits(name):
    return "int8" in name.lower()


def print_table(engines, ms, errors, arguments):
    def median(name, threads, batch):
        return statistics.median(ms[name, threads, batch]) if (name, threads, batch) in ms else None

    def text(value, form):
        return "–" if value is None else form.format(value)

    def ratio(a, b):
        return None if a is None or b is None else a / b

    mine = [median(name, 2, 1) for name in engines if name.startswith("CropShield int8") and (name, 2, 1) in ms]
    fp32, fast = median("CropShield fp32", 2, 1), min(mine, default=None)
    print(f"{machine()}; reference network, median ms an image over {arguments.rounds} interleaved rounds; every engine's weights "
          "prepared before; logits checked against the same reference (PyTorch, float32).\n")
    print("| engine | 1 thread | 2 threads | batch 8, 2 threads | largest logit error | ÷ our fp32 | ÷ our int8 | "
          "2 threads ÷ 1 | batch 8 ÷ batch 1 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in engines:
        one, two, eight = (median(name, t, b) for t, b in CONFIGURATIONS)
        print(f"| {name} | {text(one, '{:.1f}')} | {text(two, '{:.1f}')} | {text(eight, '{:.1f}')} | "
              f"{text(errors.get(name), '{:.1e}')} | {text(ratio(two, fp32), '{:.2f} ×')} | {text(ratio(two, fast), '{:.2f} ×')} | "
              f"{text(ratio(one, two), '{:.2f} ×')} | {text(ratio(two, eight), '{:.2f} ×')} |")
    print("\nRatios: of the times with two threads and batch 1; of throughput in the last two columns. 'our int8' is the faster one.")


def main():
    parser = options(__doc__)
    parser.add_argument("--configurations", default="1x1,2x1,2x8", help="threads x batch, of these three")
    arguments = parser.parse_args()
    configurations = [c for c in CONFIGURATIONS if "{}x{}".format(*c) in arguments.configurations.split(",")]
    os.makedirs(arguments.work, exist_ok=True)
    export(arguments.work)
    engines = find_engines(arguments)
    ms, errors, wrong = {}, {}, []
    for _ in range(arguments.rounds):
        for threads, batch in configurations:
            for name, command in engines.items():
                iterations = arguments.iterations or (20 if batch == 1 else 6)
                result = run(command(str(threads), str(batch), str(iterations)))
                if result:
                    ms.setdefault((name, threads, batch), []).append(result["p50"] / batch)
                    errors[name] = max(errors.get(name, 0), result["max_abs_error"])
                elif name not in wrong:
                    wrong.append(name)
    print_table(engines, ms, errors, arguments)
    largest = float(np.abs(np.fromfile(os.path.join(arguments.work, "logits.bin"), "<f4")).max())
    wrong += [name for name, error in errors.items()
              if not error <= largest * (BOUND_FEWER_BITS if fewer_bits(name) else BOUND)]
    if wrong:
        sys.exit("bench: failed, or logits too far from the reference: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
