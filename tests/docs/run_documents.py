#!/usr/bin/env python3
"""Runs every command of the documents: each ```sh block of README.md, docs/*.md and training-free parts, in order, in a folder with
sample photos, with the built program first in PATH and a server on a free port in place of 127.0.0.1:8501.

A block that cannot run inside a test (it installs packages or runs this very test) is fenced ```sh-manual and listed, so that
such blocks are seen. Snippets of examples/ are run by tests/docs/examples.sh.
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

SOURCE, PROGRAM = os.environ["CROPSHIELD_SOURCE"], os.environ["CROPSHIELD"]


def blocks(path):
    text = open(path, encoding="utf-8").read()
    for match in re.finditer(r"^```(sh|sh-manual)\n(.*?)^```", text, re.M | re.S):
        yield match.group(1), match.group(2), text.count("\n", 0, match.start()) + 2


def start_server(folder):
    server = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--quiet"], stderr=subprocess.PIPE, text=True, cwd=folder)
    for line in server.stderr:
        match = re.search(r"listening on http://127\.0\.0\.1:(\d+)", line)
        if match:
            return server, match.group(1)
    raise SystemExit("the server did not start")


def main():
    documents = [os.path.join(SOURCE, "README.md")] + sorted(glob.glob(os.path.join(SOURCE, "docs", "*.md")))
    failed = ran = manual = 0
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, os.path.join(SOURCE, "tests/docs/samples.py"), folder], check=True)
        os.makedirs(os.path.join(folder, "bin"))
        os.symlink(PROGRAM, os.path.join(folder, "bin", "cropshield"))
        os.symlink(os.path.join(SOURCE, "models"), os.path.join(folder, "models"))
        os.symlink(os.path.join(SOURCE, "examples"), os.path.join(folder, "examples"))
        server, port = start_server(folder)
        environment = dict(os.environ, PATH=os.path.join(folder, "bin") + ":" + os.environ["PATH"], HOME=folder, NO_COLOR="1",
                           CROPSHIELD_ITERATIONS="1", CROPSHIELD_WARMUP="0")  # of bench, where a block names none
        try:
            for document in documents:
                for kind, text, line in blocks(document):
                    name = f"{os.path.relpath(document, SOURCE)}:{line}"
                    if kind == "sh-manual":
                        print(f"{name}: manual")
                        manual += 1
                        continue
                    script = "set -eu -o pipefail\n" + text.replace("127.0.0.1:8501", f"127.0.0.1:{port}").replace(
                        "localhost:8501", f"127.0.0.1:{port}")
                    result = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True,
                                            timeout=300)
                    ran += 1
                    if result.returncode != 0:
                        failed += 1
                        print(f"{name}: exit status {result.returncode}\n{text}\n{result.stdout[-800:]}\n{result.stderr[-800:]}")
        finally:
            server.terminate()
            server.wait()
    print(f"{ran} blocks ran, {manual} manual, {failed} failed")
    return 1 if failed or ran == 0 else 0


sys.exit(main())
