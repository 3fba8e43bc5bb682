#!/usr/bin/python3
"""Networks on a GPU beside PyTorch on the same GPU, engines in turn, a Markdown table of medians and ratios. Needs PyTorch with CUDA.

Each takes photos from the CPU's memory and gives logits back there (CropShield the map for Grad-CAM too). PyTorch runs fp16 in NHWC,
once as programs do (eager) and once as a recorded CUDA graph. Weights are random, read from a .pth; every engine's logits are
compared with those of PyTorch on the CPU in float32, relative to the largest. See bench/run.
"""
import json
import os
import statistics
import sys
import time

from engines import HERE, chosen, options, run

NAMES = ["cropshield_cnn", "resnet18", "resnet50", "efficientnet_b0", "mobilenet_v3_large"]
BATCHES = [1, 8, 32]
BOUND = {"fp32": 1e-4, "fp16": 2e-2}
ENGINES = ["ours fp16", "graph fp16", "eager fp16", "ours fp32", "graph fp32"]


def network(name):
    import torch

    torch.manual_seed(7)
    if name == "cropshield_cnn":
        sys.path.insert(0, os.path.join(HERE, "..", "training"))
        from cropshield.models import CropShieldCNN

        return CropShieldCNN()
    import torchvision

    return getattr(torchvision.models, name)(weights=None, num_classes=22)


def settled(model, photos):
    """Batch norms that know these photos: with fresh ones, numbers vanish or leave fp16's range layer by layer."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    model.train()
    with torch.no_grad():
        forward_of(model)(photos)
    return model.eval()


def prepare(folder, name):
    """model.pth, input.bin, logits.bin; the network's weights without the reject output, which only training knows."""
    import torch

    photos = torch.randn(max(BATCHES), 3, 224, 224, generator=torch.Generator().manual_seed(11))
    model = settled(network(name), photos)
    os.makedirs(folder, exist_ok=True)
    with torch.inference_mode():
        logits = forward_of(model)(photos)
    torch.save({k: v for k, v in model.state_dict().items() if not k.startswith("reject.")}, os.path.join(folder, "model.pth"))
    photos.numpy().tofile(os.path.join(folder, "input.bin"))
    logits.numpy().tofile(os.path.join(folder, "logits.bin"))
    return float(logits.abs().max())


def forward_of(model):
    if hasattr(model, "activations"):  # its own forward goes on in float32
        return lambda x: model.classifier(model.activations(x).mean((2, 3)))
    return model


def peer(folder, name, engine, batch, iterations):
    """One engine of PyTorch's in a process of its own; prints one JSON line."""
    import numpy as np
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    how, precision = engine.split()
    dtype = torch.float16 if precision == "fp16" else torch.float32
    model = network(name)
    model.load_state_dict(torch.load(os.path.join(folder, "model.pth"), weights_only=True), strict=False)
    model = model.eval().to("cuda", dtype, memory_format=torch.channels_last)
    forward = forward_of(model)
    photos = torch.from_numpy(np.fromfile(os.path.join(folder, "input.bin"), "<f4").reshape(-1, 3, 224, 224)[:batch]).pin_memory()
    want = np.fromfile(os.path.join(folder, "logits.bin"), "<f4").reshape(-1, 22)[:batch]
    there = torch.empty(batch, 3, 224, 224, dtype=torch.float32, device="cuda")

    def compute():
        return forward(there.to(dtype).contiguous(memory_format=torch.channels_last)).float()

    with torch.inference_mode():
        there.copy_(photos)
        if how == "graph":
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                for _ in range(5):
                    compute()
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = compute()
        ms = []
        for i in range(iterations + 20):
            start = time.perf_counter()
            there.copy_(photos, non_blocking=True)
            if how == "graph":
                graph.replay()
            else:
                out = compute()
            logits = out.cpu()
            if i >= 20:
                ms.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"p50": statistics.median(ms), "max_abs_error": float(np.abs(logits.numpy() - want).max())}))


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--peer":
        return peer(*sys.argv[2:5], int(sys.argv[5]), int(sys.argv[6]))
    import torch

    arguments = options(__doc__).parse_args()
    names = [n for n in NAMES if chosen(n, arguments.only)]
    if not torch.cuda.is_available():
        sys.exit("bench: PyTorch sees no GPU")
    ours = os.path.join(arguments.build, "bench", "bench_forward")
    ms, errors = {}, {}
    for name in names:
        folder = os.path.join(arguments.work, name)
        largest = prepare(folder, name)
        for _ in range(arguments.rounds):
            for batch in BATCHES:
                for engine in ENGINES:
                    how, precision = engine.split()
                    count = str(arguments.iterations or 100)
                    command = [sys.executable, __file__, "--peer", folder, name, engine, str(batch), count]
                    if how == "ours":
                        command = [ours, os.path.join(folder, "model.pth"), folder, "0", str(batch), count, precision, "all", "cuda"]
                    result = run(command)
                    if result:
                        ms.setdefault((name, batch, engine), []).append(result["p50"])
                        error = result["max_abs_error"] / largest
                        errors[name, engine] = max(errors.get((name, engine), 0), error)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}; median ms of a batch over {arguments.rounds} interleaved rounds, photos "
          "and logits in the CPU's memory; the same weights.\n")
    print("| network | batch | " + " | ".join(f"{e}" for e in ENGINES) + " | graph ÷ ours, fp16 | fp32 |")
    print("|---|---|" + "---|" * (len(ENGINES) + 2))
    for name in names:
        for batch in BATCHES:
            row = {e: statistics.median(ms[name, batch, e]) if (name, batch, e) in ms else float("nan") for e in ENGINES}
            print(f"| {name} | {batch} | " + " | ".join(f"{row[e]:.2f}" for e in ENGINES) +
                  f" | {row['graph fp16'] / row['ours fp16']:.2f} × | {row['graph fp32'] / row['ours fp32']:.2f} × |")
    print("\nErrors of the logits, relative to the largest:", ", ".join(f"{n} {e} {v:.0e}" for (n, e), v in errors.items()))
    failed = [f"{n} ({e}, batch {b})" for n in names for b in BATCHES for e in ENGINES if (n, b, e) not in ms]
    if failed:
        sys.exit("bench: no result: " + "; ".join(failed))
    wrong = [f"{n} ({e})" for (n, e), v in errors.items() if not v <= BOUND[e.split()[1]]]
    if wrong:
        sys.exit("bench: logits too far from the reference: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
