# SPDX-License-Identifier: BSD-3-Clause
"""
Nanoseconds a packet of each filter in each engine, side by side.

W1 is one flow in the first-level cache: every branch is predicted. W2 is packets of all
kinds in random order: ruled by branch mispredictions. W3 and W4 (--full) are 75 MB of
packets in order and in random order: ruled by memory. Engines:

    jit-burst     the VM's JIT with the loop over the burst inside, the fastest form of the filter
    jit           the VM's JIT, a call a packet, the same form as a rule
    interp        the VM's interpreter
    libpcap       bpf_filter()
    rte_bpf_jit   DPDK's rte_bpf_convert() and JIT
    gcc           the cBPF program as C, gcc -O3, a call a packet

An engine that answers a filter wrongly for a packet is marked and left out of that filter's ratios.

    ./dev bench filters [--expressions FILE] [--pcap FILE] [--full] [--json OUT]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filter_engines as engines
import filter_set
import traffic

from dpcap.filters import compile  # noqa: A004 - as re.compile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dpcap.filters import Filter

NAMES = ["jit-burst", "jit", "interp", "libpcap", "rte_bpf_jit", "gcc"]
BIG = 75 << 20
GTPU_PORT = (2152).to_bytes(2, "big")


def read_pcap(path: Path) -> list[bytes]:
    """The packets of a little-endian pcap."""
    data = path.read_bytes()
    packets, at = [], 24
    while at + 16 <= len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        packets.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return packets


def workloads(packets: Sequence[bytes], *, full: bool) -> dict[str, tuple[engines.Packets, Any]]:
    """Packets and their order, by name."""
    numbers = random.Random(1)
    flow = [p for p in packets if p[36:38] == GTPU_PORT] or list(packets[:1])
    made = {}
    for name, some in (("W1", flow), ("W2", packets)):
        memory = engines.Packets(some)
        made[name] = memory, memory.order(numbers.choices(range(len(some)), k=16384))
    if full:
        copies = [numbers.choice(packets) for _ in range(BIG * len(packets) // sum(map(len, packets)))]
        memory = engines.Packets(copies)
        indices = list(range(len(copies)))
        made["W3"] = memory, memory.order(indices)
        numbers.shuffle(indices)
        made["W4"] = memory, memory.order(indices)
    return made


class Row:
    """The figures of one filter."""

    def __init__(self, name: str, expression: str) -> None:
        self.name = name
        self.expression = expression
        self.ns: dict[str, dict[str, float]] = {}
        self.forms: dict[str, str] = {}
        self.wrong: set[str] = set()

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {**vars(self), "wrong": sorted(self.wrong)}


def candidates(tap: Filter, make: Callable[[Filter, str], engines.Timed]) -> dict[str, engines.Timed]:
    """The forms of a filter in one of the VM's engines."""
    return {form: make(tap, form) for form in tap.forms}


def measure(
    row: Row, tap: Filter, others: dict[str, engines.Timed], time: Callable[..., Any], work: dict[str, Any]
) -> None:
    """Time every engine on every workload, several rounds in turn, and keep the least."""
    ours = {
        "jit-burst": candidates(tap, engines.jit_burst),
        "jit": candidates(tap, engines.jit),
        "interp": {"": engines.interp(tap, list(tap.forms)[-1])},
    }
    reference = engines.pcap(tap)
    for load, (_, order) in work.items():
        best = row.ns[load] = {}
        _, wanted = time(reference, order, 1)
        for _ in range(3):
            for name in NAMES:
                other = reference if name == "libpcap" else others.get(name)
                forms = ours.get(name) or ({"": other} if other else {})
                for form, timed in forms.items():
                    took, count = time(timed, order)
                    if count != wanted:
                        row.wrong.add(name)
                    elif took < best.get(name, math.inf):
                        best[name] = took
                        if name == "jit-burst":
                            row.forms[load] = form


def run_each(time: Callable[..., Any], timed: engines.Timed, orders: list[Any]) -> None:
    """Run an engine once over every workload."""
    for order in orders:
        time(timed, order, 1)


def survives(work: Callable[[], object]) -> bool:
    """Whether a child process that does the work ends well: rte_bpf's JIT makes code that crashes."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def geometric_means(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Of each engine on each workload, over the filters that it answers rightly."""
    means: dict[str, dict[str, float]] = {}
    for load in rows[0].ns:
        for name in NAMES:
            values = [r.ns[load][name] for r in rows if name in r.ns[load] and name not in r.wrong]
            if values:
                means.setdefault(load, {})[name] = math.exp(sum(map(math.log, values)) / len(values))
    return means


def ratios(rows: Sequence[Row], load: str, other: str) -> list[float]:
    """jit-burst to another engine, for each filter that the other answers rightly."""
    return [
        r.ns[load]["jit-burst"] / r.ns[load][other]
        for r in rows
        if other in r.ns[load] and other not in r.wrong and "jit-burst" in r.ns[load]
    ]


def report(rows: Sequence[Row]) -> None:
    """Print the tables."""
    for load in rows[0].ns:
        print(f"\n{load}, ns a packet" + "".join(f"{name:>13}" for name in NAMES) + "   form of jit-burst")
        for row in rows:
            cells = "".join(
                f"{'wrong':>13}"
                if n in row.wrong
                else f"{row.ns[load][n]:13.2f}"
                if n in row.ns[load]
                else f"{'-':>13}"
                for n in NAMES
            )
            print(f"{row.name:<{len(load) + 13}}" + cells + f"   {row.forms.get(load, '')}")
        mean = geometric_means(rows)[load]
        print(
            f"{'geometric mean':<{len(load) + 13}}" + "".join(f"{mean.get(n, math.nan):13.2f}" for n in NAMES)
        )
    print("\njit-burst to another engine, geometric mean (greatest), over what the other answers rightly")
    for load in rows[0].ns:
        for other in NAMES[1:]:
            found = ratios(rows, load, other)
            if found:
                mean_ratio = math.exp(sum(map(math.log, found)) / len(found))
                print(f"  {load} {other:<12} {mean_ratio:5.2f} ({max(found):.2f})   {len(found)} filters")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Time filters in every engine.")
    parser.add_argument("--expressions", type=Path, help="lines of name|expression")
    parser.add_argument("--pcap", type=Path, help="the packets of W2; W1 is its GTP-U packets")
    parser.add_argument("--only", action="append", help="a filter's name; repeated")
    parser.add_argument("--full", action="store_true", help="W3 and W4 too")
    parser.add_argument("--runs", type=int, default=7, help="runs of which the fastest counts")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    lines = arguments.expressions.read_text().splitlines() if arguments.expressions else filter_set.FILTERS
    packets = read_pcap(arguments.pcap) if arguments.pcap else list(traffic.mix(128))
    chosen = [(name, expression) for name, _, expression in (line.partition("|") for line in lines if line)]
    chosen = [(n, e) for n, e in chosen if not arguments.only or n in arguments.only]
    rows = [Row(name, expression) for name, expression in chosen]
    taps = [compile(row.expression) for row in rows]

    timer = engines.Timer()

    def time(timed: engines.Timed, order: Any, runs: int = arguments.runs) -> tuple[float, int]:
        return timer.measure(timed, order, runs)

    work = workloads(packets, full=arguments.full)
    compiled = engines.gcc(taps, timer.folder)
    try:
        rte = engines.RteBpf()
    except (OSError, StopIteration) as error:
        print(f"no rte_bpf: {error or 'not installed'}", file=sys.stderr)
        rte = None
    for row, tap, c in zip(rows, taps, compiled, strict=True):
        others = {"gcc": c}
        machine = rte.load(tap) if rte else None
        orders = [order for _, order in work.values()]
        if machine is not None and survives(partial(run_each, time, machine, orders)):
            others["rte_bpf_jit"] = machine
        elif rte:
            row.wrong.add("rte_bpf_jit")
        measure(row, tap, others, time, work)
    report(rows)
    if arguments.json:
        figures = {"geomean": geometric_means(rows), "rows": [row.as_json() for row in rows]}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
