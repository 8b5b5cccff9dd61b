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
import inputs
import traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dpcap.filters import Filter

NAMES = ["jit-burst", "jit", "interp", "libpcap", "rte_bpf_jit", "gcc"]
BIG = 75 << 20
ROUNDS = 3
GTPU_PORT = (2152).to_bytes(2, "big")


def workloads(packets: Sequence[bytes], *, full: bool) -> dict[str, engines.Order]:
    """Packets in some order, by name."""
    numbers = random.Random(1)
    flow = [p for p in packets if p[36:38] == GTPU_PORT] or list(packets[:1])
    made = {}
    for name, some in (("W1", flow), ("W2", packets)):
        indices = numbers.choices(range(len(some)), k=16384)
        made[name] = engines.Packets(some).order(indices, shuffled=name == "W2")
    if full:
        copies = [numbers.choice(packets) for _ in range(BIG * len(packets) // sum(map(len, packets)))]
        memory = engines.Packets(copies)
        indices = list(range(len(copies)))
        made["W3"] = memory.order(indices)
        numbers.shuffle(indices)
        made["W4"] = memory.order(indices)
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


def candidates(tap: Filter) -> dict[str, dict[str, engines.Timed]]:
    """What each of the VM's engines has to choose from."""
    forms = [form for form in tap.forms if tap.is_accepted(form)] or [tap.default_form]
    return {
        "jit-burst": {form: engines.jit_burst(tap, form) for form in forms}
        | {f"{form}, prefetch": engines.jit_burst(tap, form, prefetch=True) for form in forms},
        "jit": {form: engines.jit(tap, form) for form in forms},
        "interp": {"": engines.interp(tap, forms[-1])},
    }


def measure(
    row: Row,
    tap: Filter,
    others: dict[str, engines.Timed],
    time: Callable[..., Any],
    work: dict[str, engines.Order],
) -> None:
    """Time every engine on every workload, several rounds in turn, and keep the least."""
    reference = engines.pcap(tap)
    entries = candidates(tap)
    entries["libpcap"] = {"": reference}
    entries |= {name: {"": other} for name, other in others.items()}
    for load, order in work.items():
        best = row.ns[load] = {}
        _, wanted = time(reference, order, 1)
        for _ in range(ROUNDS):
            for name, forms in entries.items():
                for form, timed in forms.items():
                    took, count = time(timed, order)
                    if count != wanted:
                        row.wrong.add(name)
                    elif took < best.get(name, math.inf):
                        best[name] = took
                        if name == "jit-burst":
                            row.forms[load] = form


def run_each(time: Callable[..., Any], timed: engines.Timed, orders: Sequence[engines.Order]) -> None:
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


def load_others(
    taps: Sequence[Filter], timer: engines.Timer, check: Callable[[engines.Timed], bool]
) -> tuple[list[dict[str, engines.Timed]], list[set[str]]]:
    """For each filter the engines of others that are installed, and those that fail on it."""
    found: list[dict[str, engines.Timed]] = [{} for _ in taps]
    failed: list[set[str]] = [set() for _ in taps]
    try:
        for others, compiled in zip(found, engines.gcc(taps, timer.folder), strict=True):
            others["gcc"] = compiled
        rte = engines.RteBpf()
    except (OSError, StopIteration) as error:
        print(f"no rte_bpf: {error or 'not installed'}", file=sys.stderr)
        return found, failed
    for tap, others, wrong in zip(taps, found, failed, strict=True):
        machine = rte.load(tap)
        if machine is not None and check(machine):
            others["rte_bpf_jit"] = machine
        else:
            wrong.add("rte_bpf_jit")
    return found, failed


def run(arguments: argparse.Namespace) -> None:
    """Measure, print and write."""
    filters = (
        inputs.read_filters(arguments.expressions)
        if arguments.expressions
        else inputs.compile_all(("", line) for line in filter_set.FILTERS)
    )
    filters = inputs.choose(filters, arguments.only)
    packets = inputs.read_packets(arguments.pcap) if arguments.pcap else list(traffic.mix(128))
    if arguments.json:
        arguments.json.touch()  # whether it can be written shows before the hour, not after it
    timer = engines.Timer()

    def time(timed: engines.Timed, order: engines.Order, runs: int = arguments.runs) -> tuple[float, int]:
        return timer.measure(timed, order, runs)

    work = workloads(packets, full=arguments.full)

    def ends_well(timed: engines.Timed) -> bool:
        return survives(partial(run_each, time, timed, list(work.values())))

    taps = [f.tap for f in filters]
    found, failed = load_others(taps, timer, ends_well)
    rows = [Row(f.name, f.tap.expression or "") for f in filters]
    for row, tap, others, wrong in zip(rows, taps, found, failed, strict=True):
        row.wrong |= wrong
        measure(row, tap, others, time, work)
    report(rows)
    if arguments.json:
        figures = {"geomean": geometric_means(rows), "rows": [row.as_json() for row in rows]}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Time filters in every engine.")
    parser.add_argument("--expressions", type=Path, help="lines of name|expression")
    parser.add_argument("--pcap", type=Path, help="the packets of W2; W1 is its GTP-U packets")
    parser.add_argument("--only", action="append", help="a filter's name; repeated")
    parser.add_argument("--full", action="store_true", help="W3 and W4 too")
    parser.add_argument("--runs", type=inputs.count, default=7, help="runs of which the fastest counts")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    try:
        run(parser.parse_args())
    except (inputs.InputError, OSError) as error:
        print(f"bench filters: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
