# SPDX-License-Identifier: BSD-3-Clause
"""
Nanoseconds a packet of the VM's engines beside those of others, on the same filters.

The VM and uBPF run the same eBPF, the branching form of each filter; rte_bpf runs what its
own rte_bpf_convert() makes of the filter's cBPF. W1 is one flow: every branch is predicted. W2
is packets of all kinds in random order. Engines that are not installed are left out
(DPCAP_LIBUBPF names a libubpf.so elsewhere); an engine that answers a filter wrongly, or refuses
it, is left out of that filter's ratios.

    ./dev bench vm [--expressions FILE] [--pcap FILE] [--runs N] [--json OUT]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filter_engines as engines
import filter_set
import inputs
import traffic
from dpcap.ubpf_host._vm import ffi, lib

from dpcap.ubpf_host.errors import EngineError
from dpcap.ubpf_host.foreign import Ubpf
from dpcap.ubpf_host.program import Program
from filters import workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dpcap.filters import Filter

    Figures = dict[str, dict[str, float]]

NAMES = ["jit-burst", "jit", "interp", "ubpf_jit", "ubpf_interp", "rte_bpf_jit", "rte_bpf_interp", "libpcap"]
ROUNDS = 3
# What is to be shown: ours against each other's of the same kind.
PAIRS = [
    ("interp", "ubpf_interp"), ("interp", "rte_bpf_interp"), ("interp", "libpcap"),
    ("jit", "ubpf_jit"), ("jit", "rte_bpf_jit"), ("jit-burst", "ubpf_jit"), ("jit-burst", "rte_bpf_jit"),
]  # fmt: skip

# The interpreters of others take their arguments in ways of their own.
_ADAPTERS = r"""
#include <stddef.h>
#include <stdint.h>

static int (*exec_ubpf)(const void *, void *, size_t, uint64_t *);
static uint64_t (*exec_rte_bpf)(const void *, void *);
static const void *rte_program;

void set_ubpf(void *exec) { exec_ubpf = exec; }
void set_rte_bpf(void *exec, const void *program) { exec_rte_bpf = exec; rte_program = program; }

uint64_t run_ubpf(const void *vm, void *mem, uint64_t len, uint64_t wirelen, uint64_t meta)
{
    uint64_t result = 0;

    exec_ubpf(vm, mem, len, &result);
    return result;
}

uint64_t run_rte_bpf(void *mbuf) { return exec_rte_bpf(rte_program, mbuf); }
"""


def _pointer(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class Others:
    """Engines of other projects, as far as they are installed."""

    def __init__(self, folder: Path) -> None:
        self._adapters = engines.compile_c(_ADAPTERS, folder, "-O2")
        self._rte: engines.RteBpf | None = None
        try:
            self._rte = engines.RteBpf()
        except (OSError, StopIteration) as error:
            print(f"no rte_bpf: {error or 'not installed'}", file=sys.stderr)

    def load(self, tap: Filter, program: Program) -> dict[str, engines.Timed]:
        """Those that take the filter."""
        found: dict[str, engines.Timed] = {}
        try:
            ubpf = Ubpf(program)
        except EngineError as error:
            print(f"{(tap.expression or '')[:40]!r}: {error}", file=sys.stderr)
        else:
            self._adapters.set_ubpf(ctypes.c_void_p(_pointer(ubpf.library.ubpf_exec)))
            run = _pointer(self._adapters.run_ubpf)
            found["ubpf_jit"] = engines.Timed(engines.CALL, _pointer(ubpf.function), 0, ubpf)
            # It takes the addresses of tables for a fault, and prints one line a packet.
            if not program.rodata:
                found["ubpf_interp"] = engines.Timed(engines.INTERP, run, ubpf.vm, ubpf)
        machine = self._rte.load(tap) if self._rte else None
        if machine is not None:
            library = ctypes.CDLL(None)
            self._adapters.set_rte_bpf(
                ctypes.c_void_p(_pointer(library.rte_bpf_exec)), ctypes.c_void_p(machine.program)
            )
            run = _pointer(self._adapters.run_rte_bpf)
            found["rte_bpf_jit"] = machine
            found["rte_bpf_interp"] = engines.Timed(engines.MBUF, run, 0, machine)
        return found


def measure(
    tap: Filter, others: Others, measure_one: Callable[..., Any], work: dict[str, Any]
) -> tuple[Figures, list[str]]:
    """Each engine's figures on each workload, and the engines that answered wrongly."""
    form = list(tap.forms)[-1]
    timed = {
        "jit-burst": engines.jit_burst(tap, form),
        "jit": engines.jit(tap, form),
        "interp": engines.interp(tap, form),
        "libpcap": engines.pcap(tap),
        **others.load(tap, tap.program(form)),
    }
    figures: Figures = {}
    wrong: set[str] = set()
    for load, order in work.items():
        _, wanted = measure_one(timed["libpcap"], order)
        best = figures[load] = {}
        # In turn, so that what disturbs the machine for a while does not hit one engine alone.
        for name, engine in list(timed.items()) * ROUNDS:
            took, count = measure_one(engine, order)
            best[name] = min(took, best.get(name, math.inf))
            if count != wanted:
                wrong.add(name)
    return figures, sorted(wrong)


def _mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def mean_ratio(rows: Sequence[dict[str, Any]], load: str, ours: str, other: str) -> tuple[float, int]:
    """Geometric mean of the filters that both answer rightly, and how many these are."""
    ratios = [
        row["ns"][load][ours] / row["ns"][load][other]
        for row in rows
        if other in row["ns"][load] and not {ours, other} & set(row["wrong"])
    ]
    return _mean(ratios), len(ratios)


def _branchy_program(n: int) -> str:
    """Assembly of n instructions: every five read a field behind a check of the length, and branch."""
    lines = ["mov %r0, 0"]
    for i in range((n - 3) // 5):
        lines += [f"jlt %r2, {20 + i % 60}, next{i}", f"ldxh %r0, [%r1+{10 + i % 10}]", "be16 %r0"]
        lines += [f"jeq32 %r0, {i}, next{i}", "add %r0, 1", f"next{i}:"]
    return "\n".join([*lines, "mov %r0, 1", "exit"])


def latencies(taps: Sequence[Filter], runs: int) -> list[dict[str, Any]]:
    """Median microseconds to load (copy, verify, decode) and to translate."""
    # The filters around 60 instructions in whatever form has them, and long branching programs.
    programs = [(t.expression, t.program(f)) for t in taps for f in t.forms]
    near = sorted(programs, key=lambda p: abs(len(p[1].code) // 8 - 60))[:3]
    made = [("generated", Program(_branchy_program(n))) for n in (4096, 65535)]
    rows = []
    for name, program in near + made:
        took: dict[str, list[float]] = {"load": [], "jit": [], "python": []}
        insns = ffi.from_buffer("struct dpcap_insn[]", program.code)
        rodata = ffi.from_buffer(program.rodata)
        n = len(program.code) // 8
        attr = ffi.new(
            "struct dpcap_vm_load_attr *",
            {"insns": insns, "n_insns": n, "rodata": rodata, "rodata_size": len(program.rodata)},
        )
        handle = ffi.new("struct dpcap_vm_prog **")
        for _ in range(max(5, runs * 1000 // n)):
            start = time.perf_counter_ns()
            lib.dpcap_vm_load(attr, handle, ffi.NULL, 0)
            loaded = time.perf_counter_ns()
            lib.dpcap_vm_jit(handle[0])
            took["jit"].append((time.perf_counter_ns() - loaded) / 1000)
            took["load"].append((loaded - start) / 1000)
            lib.dpcap_vm_free(handle[0])
            # The same from Python: Program() and its first engine.
            start = time.perf_counter_ns()
            fresh = Program(program.code, rodata=program.rodata)
            lib.dpcap_vm_jit(fresh.handle)
            took["python"].append((time.perf_counter_ns() - start) / 1000)
            ffi.release(fresh.handle)
        medians = {step: statistics.median(values) for step, values in took.items()}
        rows.append({"program": name, "instructions": n, **medians})
    return rows


def report(figures: dict[str, Any]) -> None:
    """Print the tables."""
    rows = figures["rows"]
    for load in rows[0]["ns"]:
        print(f"\n{load}, ns a packet  " + "".join(f"{name:>15}" for name in NAMES))
        for row in rows:
            ns, wrong = row["ns"][load], row["wrong"]
            cells = ("wrong" if n in wrong else f"{ns[n]:.2f}" if n in ns else "-" for n in NAMES)
            print(f"{row['name']:<17}" + "".join(f"{cell:>15}" for cell in cells))
        means = figures["geomean"][load]
        print(f"{'geometric mean':<17}" + "".join(f"{means[n]:>15.2f}" for n in NAMES))
    print("\nratios, geometric mean of the filters that both answer rightly")
    for ratio in figures["ratios"]:
        print("  {load} {ours:<10} / {other:<15} {ratio:6.3f}   {filters} filters".format(**ratio))
    print("\nmicroseconds, median      load (verify)       JIT   both, from Python")
    for row in figures["latency"]:
        took = f"{row['load']:>16.1f} {row['jit']:>9.1f} {row['python']:>20.1f}"
        print(f"{row['instructions']:>6} instructions   {took}")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Time the VM's engines beside others.")
    parser.add_argument("--expressions", type=Path, help="lines of name|expression")
    parser.add_argument("--pcap", type=Path, help="the packets of W2; W1 is its GTP-U packets")
    parser.add_argument("--runs", type=int, default=7, help="runs of which the fastest counts")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    filters = (
        inputs.read_filters(arguments.expressions)
        if arguments.expressions
        else inputs.compile_all(("", line) for line in filter_set.FILTERS)
    )
    packets = inputs.read_packets(arguments.pcap) if arguments.pcap else list(traffic.mix(128))
    names, taps = zip(*filters, strict=True)

    timer = engines.Timer()

    def measure_one(timed: engines.Timed, order: Any) -> tuple[float, int]:
        return timer.measure(timed, order, arguments.runs)

    work = workloads(packets, full=False)
    others = Others(timer.folder)
    rows = []
    for name, tap in zip(names, taps, strict=True):
        ns, wrong = measure(tap, others, measure_one, work)
        rows.append({"name": name, "expression": tap.expression, "ns": ns, "wrong": wrong})
    figures: dict[str, Any] = {"rows": rows, "geomean": {}, "ratios": [], "latency": latencies(taps, 50)}
    for load in work:
        figures["geomean"][load] = {
            n: _mean([r["ns"][load][n] for r in rows if n in r["ns"][load] and n not in r["wrong"]])
            for n in NAMES
        }
        for ours, other in PAIRS:
            ratio, count = mean_ratio(rows, load, ours, other)
            if count:
                entry = {"load": load, "ours": ours, "other": other, "ratio": ratio, "filters": count}
                figures["ratios"].append(entry)
    report(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
