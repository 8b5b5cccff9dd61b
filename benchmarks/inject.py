# SPDX-License-Identifier: BSD-3-Clause
"""
How long an lcore pauses while the shim is loaded into its application.

A small application (tests/shim/inject/polling.c) polls a port and notes the longest pause between two polls,
by the TSC. Fresh processes, and in each some windows of the same length: nothing is done; all checks are made
and no more; the shim is loaded; nothing is done, with the shim in it. The injector runs on another CPU
than the lcore.

    ./dev bench inject [--rounds N] [--json OUT]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the harness that runs real applications

from support.injection import BUILT, INJECTOR  # noqa: E402
from support.polling import Polling  # noqa: E402
from support.testpmd import NATIVE, PLUGIN  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = BUILT / "inject_polling"
WINDOW = 0.25  # seconds: longer than loading takes
PAUSE = 0.15
NOTHING, CHECKS, LOADED = "nothing", "checks only", "shim loaded"
MS, US = 1e6, 1e3


def inject(pid: int, *options: str) -> list[int]:
    """Run the injector; return for how many nanoseconds the borrowed thread stood still, each time."""
    argv = [str(INJECTOR), *options, str(pid), str(NATIVE / PLUGIN)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the injector refused:\n{done.stdout}")
    return [int(line.split("\t")[-1]) for line in done.stdout.splitlines() if line.startswith("stop")]


@contextlib.contextmanager
def undisturbed(app: Polling) -> Iterator[None]:
    """Let no other program have the lcore's CPU, where that is allowed; before long the kernel steps in."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(app.pid, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(app.pid, os.SCHED_OTHER, os.sched_param(0))
        time.sleep(PAUSE)


def one_window(app: Polling, what: str, stops: list[int]) -> int:
    """Do it, and return the longest gap of the window."""
    with undisturbed(app):
        app.longest_gap()
        end = time.monotonic() + WINDOW
        if what == CHECKS:
            inject(app.pid, "--dry-run")
        elif what == LOADED:
            stops += inject(app.pid)
        time.sleep(max(0.0, end - time.monotonic()))
        return app.longest_gap()


def measure(rounds: int, kinds: list[str], lcore: int) -> tuple[dict[str, list[int]], list[int]]:
    """Return the longest gaps of each kind, and the times that threads stood still."""
    gaps: dict[str, list[int]] = {kind: [] for kind in kinds}
    stops: list[int] = []
    rng = random.Random(1)
    for _ in range(rounds):
        before = [NOTHING, CHECKS]  # once the shim is in there is nothing to check
        after = [kind for kind in kinds if kind not in (CHECKS, LOADED)]
        rng.shuffle(before)
        with Polling(PROGRAM, cpu=lcore) as app:
            for kind in (*before, LOADED, *after):
                gaps[kind].append(one_window(app, kind, stops))
    return gaps, stops


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="The longest pause of an lcore while the shim is loaded.")
    parser.add_argument("--rounds", type=int, default=50, help="fresh processes (default 50)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures to a file")
    arguments = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2 or not INJECTOR.exists() or not PROGRAM.exists():
        parser.error("needs two CPUs, the injector and DPDK's headers when it is built")
    *_, lcore = cpus
    os.sched_setaffinity(0, set(cpus) - {lcore})  # of this process and of what it starts
    kinds = [NOTHING, CHECKS, LOADED]
    gaps, stops = measure(arguments.rounds, kinds, lcore)
    print(f"longest pause of the lcore in {WINDOW} s, us{'median':>16}{'p90':>8}{'max':>8}")
    for kind in kinds:
        values = sorted(gaps[kind])
        figures = (statistics.median(values), values[len(values) * 9 // 10], values[-1])
        print(f"  {kind:<40}{''.join(f'{figure / US:8.0f}' for figure in figures)}")
    print(f"{len(stops)} times a thread was borrowed, and stood still for")
    print(f"  a median of {statistics.median(stops) / MS:.2f} ms, at most {max(stops) / MS:.2f} ms")
    if arguments.json:
        arguments.json.write_text(json.dumps({"gaps_ns": gaps, "stood_still_ns": stops}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
