#!/usr/bin/python3
"""PyTorch on the exported network; one JSON line.  torch_forward.py DIR THREADS BATCH ITERATIONS eager|script"""
import json
import sys
import time

import numpy as np
import torch

directory, threads, batch, iterations, mode = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
torch.set_num_threads(threads)
model = torch.jit.load(f"{directory}/model.pt").eval()
if mode == "script":
    model = torch.jit.optimize_for_inference(torch.jit.freeze(model))
x = torch.from_numpy(np.fromfile(f"{directory}/input.bin", "<f4").reshape(8, 3, 224, 224)[:batch].copy())
want = np.fromfile(f"{directory}/logits.bin", "<f4").reshape(8, -1)[:batch]
times, warmup = [], min(5, iterations)
with torch.no_grad():
    for i in range(warmup + iterations):
        start = time.perf_counter()
        y = model(x)
        if i >= warmup:
            times.append((time.perf_counter() - start) * 1e3)
times.sort()
print(json.dumps({"engine": f"torch-{torch.__version__.split('+')[0]}-{mode}", "threads": threads, "batch": batch,
                  "p50": times[len(times) // 2], "min": times[0], "max": times[-1],
                  "max_abs_error": float(np.abs(y.numpy() - want).max())}))
