#!/usr/bin/python3
"""The whole request, its parts, start-up and memory, in one run: request.py [PHOTO [ROUNDS]]. Without a photo, or with "": a drawn
one of 12 MP.

Prints medians beside what they are compared with. The replaced app's path takes part when Debian's PyTorch is there. Keep the machine
quiet meanwhile. BUILD=build/release names another build.
"""
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
build = os.environ.get("BUILD", os.path.join(root, "build/release"))
program, stages_program = os.path.join(build, "cropshield"), os.path.join(build, "bench/bench_image")
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def draw(path):
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:3000, 0:4000].astype(np.float32)
    noise = np.random.default_rng(1).normal(0, 4, (3000, 4000)).astype(np.float32)
    leaf = ((x - 2000) / 1500) ** 2 + ((y - 1500) / 900) ** 2 < 1
    vein = 18 * np.sin((x + y) / 60) + 12 * np.sin(x / 23) + noise
    pixels = np.stack([np.where(leaf, a, b) + vein for a, b in ((70, 150), (130, 145), (50, 140))], -1)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def request(photo, *options):
    report = json.loads(output(program, "bench", "--image", photo, "--iterations", "5", "--warmup", "2", "--json", *options))
    return report["latency_ms"]["p50"], report["stages_ms"]


def stages(photo):
    return {name: float(ms) for name, ms in (line.split("\t") for line in output(stages_program, photo, "5").splitlines())}


def start_up(photo):
    """Process start to exit in ms."""
    start = time.perf_counter()
    subprocess.run([program, "predict", photo], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


def idle_server(*options):
    server = subprocess.Popen([program, "serve", "--port", "0", "--quiet", *options], stderr=subprocess.PIPE, text=True)
    try:
        server.stderr.readline()
        time.sleep(0.5)
        return int(re.search(r"VmRSS:\s*(\d+)", open(f"/proc/{server.pid}/status").read())[1]) * 1024 / 1e6
    finally:
        server.terminate()
        server.wait()


def replaced(photo):
    path = os.path.join(root, "bench/peers/replaced_path.py")
    model = os.path.join(root, "models/cropshield_cnn.safetensors")
    run = subprocess.run([python, path, model, photo, str(os.cpu_count()), "2"], capture_output=True, text=True)
    return json.loads(run.stdout) if run.returncode == 0 else None


def main():
    photo, folder = sys.argv[1] if len(sys.argv) > 1 else "", None
    if photo == "":
        folder = tempfile.TemporaryDirectory()
        photo = os.path.join(folder.name, "photo.jpg")
        draw(photo)
    whole, whole_exact, parts, starts, theirs, details = [], [], [], [], [], []
    for _ in range(rounds):  # all in turn, so that a slow moment of the machine meets all
        p50, detail = request(photo)
        whole.append(p50)
        details.append(detail)
        whole_exact.append(request(photo, "--decode", "exact")[0])
        parts.append(stages(photo))
        starts += [start_up(photo) for _ in range(5)]
        theirs.append(replaced(photo))
    middle = statistics.median
    part = {name: middle(p[name] for p in parts) for name in parts[0]}
    detail = {name: middle(d[name] for d in details) for name in details[0]}
    floor = part["libjpeg-turbo full"] + detail["inference"], part["libjpeg-turbo scaled"] + detail["inference"]
    rows = [
        ("whole request, ms", middle(whole), f"{middle(whole) / floor[0]:.2f} x libjpeg-turbo's decoding at full size + inference ({floor[0]:.1f} ms)"),
        ("", None, f"{middle(whole) / floor[1]:.2f} x libjpeg-turbo's decoding at the same reduced size + inference ({floor[1]:.1f} ms)"),
        ("whole request, --decode exact, ms", middle(whole_exact), f"{middle(whole_exact) / floor[0]:.2f} x libjpeg-turbo's decoding at full size + inference"),
    ]
    if theirs[0] is not None:
        total = middle(t["total"] for t in theirs)
        rows.append(("the replaced app's path, ms", total, f"{total / middle(whole):.2f} x ours"))
    rows += [
        ("resize while decoding at full size + preprocess, one thread, ms", part["resize in decode+resize exact"] + part["preprocess"], ""),
        ("… at the reduced size, ms", part["resize in decode+resize fast"] + part["preprocess"], ""),
        ("… of a decoded photo that lies in memory, ms", part["resize"] + part["preprocess"], ""),
        ("maps of 22 classes, ms", part["22 maps"], ""),
        ("overlay + PNG, one thread, ms", part["overlay"] + part["png"], f"all cores {part['overlay'] + part['png, all cores']:.2f}; JPEG {part['overlay'] + part['jpeg']:.2f}, WebP {part['overlay'] + part['webp']:.2f}"),
        ("JSON of a diagnosis, ms", detail["json"], ""),
        ("predict, process start to exit, ms", middle(starts), f"fastest {min(starts):.0f}"),
        ("predict, peak resident, MB", peak_of_predict(photo), ""),
        ("idle server, resident, MB", idle_server(), f"with --compact {idle_server('--compact'):.1f}"),
    ]
    for name, value, note in rows:
        print(f"{name:<64} {'' if value is None else f'{value:.3f}' if value < 1 else f'{value:.1f}':>8}  {note}".rstrip())


def peak_of_predict(photo):
    """A process of its own measures, because this one's children include larger ones."""
    code = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    return int(output(python, "-c", code, program, "predict", photo)) * 1024 / 1e6


main()
