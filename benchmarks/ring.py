# SPDX-License-Identifier: BSD-3-Clause
"""What a packet costs in the ring: the hook's side with several ways of copying, and the drain's.

Cycles of the time-stamp counter a packet. Each number is the median of several runs of
tests/shim/ring/bench.c, whose own result is a median over bursts; the runs of all variants take turns, so
that whatever else the machine does meets all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAMS = Path(__file__).resolve().parents[1] / "build" / "cmake" / "tests" / "shim" / "ring"
LENGTHS = (64, 128, 512, 1460, 0)  # bytes; 0: mixed
SHIPPED = "memcpy"
# Name of the column: program and COPY.
VARIANTS = {
    SHIPPED: ("ring_bench", "memcpy"),
    "no fetch": ("ring_bench_no_fetch", "memcpy"),  # without asking for the ring's lines ahead
    "sse": ("ring_bench", "sse"),
    "avx2": ("ring_bench", "avx2"),
    "avx512": ("ring_bench", "avx512"),
    "movsb": ("ring_bench", "movsb"),
    "stream": ("ring_bench", "stream"),  # non-temporal stores
}
BURSTS, FILLINGS = 8192, 100

Results = dict[str, dict[str, float]]  # row, column


def available() -> dict[str, tuple[str, str]]:
    """Return the variants that this CPU can run."""
    flags = Path("/proc/cpuinfo").read_text().split()
    missing = [name for name, flag in (("avx2", "avx2"), ("avx512", "avx512bw")) if flag not in flags]
    return {name: variant for name, variant in VARIANTS.items() if name not in missing}


def run(program: str, *args: str) -> float:
    """Run one measurement; cycles a packet."""
    out = subprocess.run([PROGRAMS / program, *args], capture_output=True, text=True, check=False)
    if out.returncode:
        sys.exit(f"bench ring: {program} {' '.join(args)}: {out.stderr.strip()}")
    return float(out.stdout)


def measure(cells: Mapping[tuple[str, str], tuple[str, ...]], rounds: int) -> Results:
    """Measure each cell (row, column) several times, taking turns."""
    samples: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    for _ in range(rounds):
        for cell, (program, *args) in cells.items():
            samples[cell].append(run(program, *args))
    results: Results = {}
    for (row, column), values in samples.items():
        results.setdefault(row, {})[column] = statistics.median(values)
    return results


def show(title: str, results: Results, base: str) -> None:
    """Print cycles, and in brackets the ratio to a column."""
    columns = list(next(iter(results.values())))
    print(f"\n{title}")
    print(f"{'':>8}" + "".join(f"{column:>16}" for column in columns))
    for row, values in results.items():
        cells = (f"{values[c]:8.1f} ({values[c] / values[base]:4.2f})" for c in columns)
        print(f"{row:>8}" + "".join(f"{cell:>16}" for cell in cells))


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(prog="./dev bench ring", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each measurement (default: 5)")
    parser.add_argument("--dir", default="/dev/shm", help="where to write files (default: /dev/shm)")  # noqa: S108
    parser.add_argument("--json", metavar="OUT", help="write the figures here as well")
    args = parser.parse_args()
    path = f"{args.dir}/dpcap-bench-ring-{os.getpid()}"

    names = {length: str(length) if length else "mix" for length in LENGTHS}
    sinks = {
        "ring only": "self",
        "drained to /dev/null": "/dev/null",
        f"drained to a file in {args.dir}": path,
    }
    report: dict[str, Results] = {}
    for title, sink in sinks.items():
        cells = {
            (names[length], name): (program, "writer", copy, str(length), sink, str(BURSTS))
            for length in LENGTHS
            for name, (program, copy) in available().items()
        }
        key = f"writer, {title}"
        report[key] = measure(cells, args.rounds)
        show(f"{key}: cycles a packet by length (ratio to {SHIPPED})", report[key], SHIPPED)

    files = {
        "/dev/null": "/dev/null",
        "reused": path,
        "fresh": f"fresh:{path}",
        "reserved": f"reserve:{path}",
    }
    cells = {
        (names[length], name): ("ring_bench", "drain", "-", str(length), sink, str(FILLINGS))
        for length in LENGTHS
        for name, sink in files.items()
    }
    key = f"drain, files in {args.dir}"
    report[key] = measure(cells, args.rounds)
    show(f"{key}: cycles a packet by length (ratio to a fresh file)", report[key], "fresh")
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
