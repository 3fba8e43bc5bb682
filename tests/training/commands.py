"""Runs the training side's commands that stand on the lines of standard input, one after the other in one process.

Starting Python and importing torch takes longer than a command on the drawn pictures does.
"""
import shlex
import sys

from cropshield.__main__ import main

for line in sys.stdin:
    words = shlex.split(line)
    if not words:
        continue
    print(f"== {line.strip()}", flush=True)
    sys.argv = ["cropshield", *words]
    main()
