"""Owns the progress bar: on a terminal a line that redraws itself, else a line now and then."""

import sys
import time


class Progress:
    def __init__(self, title, total):
        self.title, self.total, self.done = title, max(1, total), 0
        self.start = self.shown = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def step(self, count=1, note=""):
        self.done += count
        now = time.monotonic()
        if now - self.shown < (0.2 if self.terminal else 10.0) and self.done < self.total:
            return
        self.shown = now
        share = min(1.0, self.done / self.total)
        left = (now - self.start) * (1 - share) / max(share, 1e-9)
        bar = "#" * int(24 * share) + "." * (24 - int(24 * share))
        line = f"{self.title} [{bar}] {self.done}/{self.total} {100 * share:.0f} % {left:.0f} s left {note}"
        sys.stderr.write("\r" + line[:118].ljust(118) if self.terminal else line + "\n")
        sys.stderr.flush()

    def close(self):
        if self.terminal:
            sys.stderr.write("\n")
