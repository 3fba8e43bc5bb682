"""What the benchmarks of engines share: their options, which peers are there, how one is run. See bench/run."""
import argparse
import json
import os
import platform
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def options(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("build", help="folder of the built programs")
    parser.add_argument("work", help="folder for exported models and fetched packages")
    parser.add_argument("--rounds", type=int, default=3, help="how often each engine has its turn (3)")
    parser.add_argument("--iterations", type=int, default=0, help="forward passes a turn (chosen)")
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    parser.add_argument("--only", default="", help="engines or networks to run, separated by commas: beginnings of their names")
    return parser


def have_torch():
    return subprocess.run(["/usr/bin/python3", "-c", "import torch, onnx"], capture_output=True).returncode == 0


def have_onnxruntime(work, offline):
    package = os.path.join(work, "node_modules", "onnxruntime-node")
    if not shutil.which("node"):
        return False
    if not os.path.isdir(package) and not offline and shutil.which("npm"):
        subprocess.run(["npm", "install", "--prefix", work, "--no-save", "--no-package-lock", "--ignore-scripts",
                        "onnxruntime-node"], capture_output=True)
    shutil.copy(os.path.join(HERE, "peers", "onnxruntime_forward.mjs"), work)
    return os.path.isdir(package)


def run(command):
    """The object that the last line of the command's output is; None, with a word on stderr, when it fails."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        print("failed:", " ".join(command), result.stderr[-400:], file=sys.stderr)
        return None
    return json.loads(result.stdout.strip().splitlines()[-1])


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
               platform.machine())
    return f"{cpu}, {len(os.sched_getaffinity(0))} CPUs"


def chosen(name, only):
    return not only or any(name.startswith(beginning) for beginning in only.split(","))
