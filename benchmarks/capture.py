# SPDX-License-Identifier: BSD-3-Clause
"""
What capturing costs the application: dpcap and dpdk-dumpcap on the same testpmd, side by side.

One net_pcap port replays traffic for ever; every packet is received once and sent once. A rate is packets per
CPU-second of the forwarding thread (the port's counters against the thread's schedstat), so that neither
other processes nor the tool itself count as overhead. Each sample is bracketed by two without a capture in
the same process, and what is shown is the median of the differences, in TSC cycles a packet ("c") for one
receive and one transmit hook together.

    ./dev bench capture [--json OUT] [--pcap FILE] [--rounds N] [--seconds S] [--only NAME]...
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the harness that runs real testpmds

import traffic  # noqa: E402

from support.hugepages import HugePages  # noqa: E402
from support.testpmd import Testpmd, TestpmdError, wait_until  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTHING, FEW, ALL = "udp port 9", "udp port 5060", ""
# Long enough for a tool to have its hooks in, once its file is there.
SETTLE = 0.3


@dataclass(frozen=True)
class Load:
    """How the application forwards."""

    name: str
    args: tuple[str, ...] = ()
    mpps: float | None = None  # made as slow as this by looking around in memory


IO = Load("io")
CSUM = Load("csum", ("--forward-mode=csum",))
LOADS = (IO, CSUM, Load("2.4 Mpps", mpps=2.4), Load("0.5 Mpps", mpps=0.5))


@dataclass(frozen=True)
class Case:
    """One row: a filter under one load."""

    name: str
    load: Load
    expression: str


CASES = (
    Case("reject all, io", IO, NOTHING),
    Case("reject all, csum", CSUM, NOTHING),
    Case("accept 1 %, io", IO, FEW),
    Case("accept 1 %, csum", CSUM, FEW),
    Case("accept all, saturated", IO, ALL),
    Case("accept all, 2.4 Mpps", LOADS[2], ALL),
    Case("accept all, 0.5 Mpps", LOADS[3], ALL),
)


@dataclass
class Row:
    """The result of a case with a tool; rates are per CPU-second of the forwarding thread."""

    case: str
    tool: str
    cycles: float  # added, a packet
    loss: float  # of throughput, 0..1
    stored_per_s: float
    dropped: float  # of the packets that matched, 0..1
    tool_cpu: float  # CPUs
    baseline_mpps: float
    samples: list[float]
    failed: int = 0  # rounds that were lost, because the application died or for another reason


def tsc_hz() -> float:
    """Return the frequency of the time-stamp counter, as the kernel measured it."""
    for text in (
        Path("/sys/devices/system/cpu/cpu0/tsc_freq_khz"),
        Path("/sys/devices/system/cpu/cpu0/cpufreq/base_frequency"),
    ):
        with contextlib.suppress(OSError):
            return float(text.read_text()) * 1000
    # The kernel's delay loop counts the TSC, and two of its steps are a "bogomips".
    bogomips = re.search(r"bogomips\s*: ([\d.]+)", Path("/proc/cpuinfo").read_text())
    if bogomips:
        return float(bogomips[1]) / 2 * 1e6
    raise SystemExit("capture: cannot tell the TSC's frequency on this machine")


class Tool:
    """A capture that runs; ends with the context."""

    name = ""

    def __init__(self, app: Testpmd, expression: str, out: Path) -> None:
        self.out = out
        self._log = out.with_suffix(".log")
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                self.command(app, expression), stdout=log, stderr=log, env=self.environment()
            )
        wait_until(lambda: self.out.exists() or self.process.poll() is not None, f"{self.name} has its file")
        time.sleep(SETTLE)
        if self.process.poll() is not None:
            raise SystemExit(f"capture: {self.name} ended: {self.text()}")

    def command(self, app: Testpmd, expression: str) -> list[str]:
        """Return what to run."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return the environment to run it in."""
        return dict(os.environ)

    def counts(self) -> tuple[int, int]:
        """Return packets stored and dropped, when it has ended."""
        raise NotImplementedError

    def text(self) -> str:
        """Return what it printed."""
        return self._log.read_text()

    def number(self, pattern: str) -> int:
        """Find the last number of this kind in what it printed."""
        found = re.findall(pattern, self.text())
        if not found:
            raise SystemExit(f"capture: {self.name} did not say how much it captured: {self.text()[-500:]}")
        return int(found[-1])

    def cpu_ns(self) -> int:
        """Return the CPU time used so far."""
        return time.clock_gettime_ns((~self.process.pid << 3) | _CPUCLOCK_SCHED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.out.unlink(missing_ok=True)


class Dpcap(Tool):
    """Ours."""

    name = "dpcap"

    def command(self, app: Testpmd, expression: str) -> list[str]:
        """Return what to run."""
        dpcap = [sys.executable, "-m", "dpcap", "--pid", str(app.pid), "-i", "port0", "-w", str(self.out)]
        return [*dpcap, *([expression] if expression else [])]

    def counts(self) -> tuple[int, int]:
        """Return packets stored and dropped, when it has ended."""
        return self.number(r"(\d+) packets captured"), self.number(r"(\d+) packets dropped")


class Dumpcap(Tool):
    """DPDK's."""

    name = "dpdk-dumpcap"

    def command(self, app: Testpmd, expression: str) -> list[str]:
        """Return what to run."""
        dumpcap = ["dpdk-dumpcap", f"--file-prefix={app.prefix}", "-i", "0", "-w", str(self.out)]
        return [*dumpcap, *(["-f", expression] if expression else [])]

    def environment(self) -> dict[str, str]:
        """
        Return an environment in which Debian's dumpcap captures from Debian's testpmd.

        Mempool operations are numbered in the order in which their libraries are loaded, and testpmd is
        linked with one that dumpcap lacks.
        """
        (library,) = list(Path("/usr/lib").glob("*/dpdk/pmds-*/librte_mempool_dpaa.so.[0-9][0-9]"))[:1]
        return os.environ | {"LD_PRELOAD": str(library), "LD_LIBRARY_PATH": str(library.parent)}

    def counts(self) -> tuple[int, int]:
        """Return packets stored and dropped, when it has ended."""
        # It prints the count over and over, with backspaces between.
        stored = self.number(r"(\d+) [\x08\s]*Packets received/dropped")
        return stored, self.number(r"received/dropped on interface '[^']*': \d+/(\d+)")


# The CPU time of a process as a clock of clock_gettime(2): see clock_getcpuclockid(3).
_CPUCLOCK_SCHED = 2


def _schedstat_ns(task: Path) -> int:
    """Return the CPU time of a thread, up to the last tick; 0 when it has ended."""
    try:
        return int((task / "schedstat").read_text().split()[0])
    except OSError:
        return 0


class Application:
    """A forwarding testpmd and the thread that forwards."""

    def __init__(
        self,
        pcap: Path,
        load: Load,
        pages: HugePages,
        *,
        reads: int = 0,
        plugin: bool = True,
        vdev: str | None = None,
    ) -> None:
        noisy = ("--forward-mode=noisy", "--noisy-lkup-memory=1", f"--noisy-lkup-num-reads={reads}")
        self.app = Testpmd(
            [vdev or f"net_pcap0,rx_pcap={pcap},infinite_rx=1"],
            eal_args=pages.eal_args,
            app_args=("--nb-cores=1", *load.args, *(noisy if load.mpps else ())),
            plugin=plugin,
            megabytes=300,
            mbufs=32768,
        )
        self.app.start()
        if plugin:
            wait_until(self.app.sockets, "the control socket")
        tasks = Path(f"/proc/{self.app.pid}/task").iterdir()
        (self.task,) = [t for t in tasks if (t / "comm").read_text().strip() == "rte-worker-1"]
        self._clock = (~self.app.pid << 3) | _CPUCLOCK_SCHED

    def close(self) -> None:
        """End it; it may have been killed by a tool."""
        self.app.kill()

    def _cpu_ns(self) -> int:
        # The kernel brings the clock of a process up to date when it is read, and a running
        # thread's schedstat only with the next tick. The other threads sleep.
        others = (t for t in self.task.parent.iterdir() if t != self.task)
        return time.clock_gettime_ns(self._clock) - sum(_schedstat_ns(t) for t in others)

    def _reading(self) -> tuple[float, int]:
        before = self._cpu_ns()
        packets = self.app.stats()["RX-packets"]
        return (before + self._cpu_ns()) / 2, packets

    def ns_per_packet(self, seconds: float) -> float:
        """Return the CPU time that a packet takes, over the next seconds."""
        ns, packets = self._reading()
        time.sleep(seconds)
        ns_after, packets_after = self._reading()
        if packets_after == packets:
            raise TestpmdError("the forwarding thread got no CPU time during a sample")
        return (ns_after - ns) / (packets_after - packets)


def throttled(pcap: Path, load: Load, pages: HugePages) -> int:
    """Return how many memory reads a packet make the application as slow as wanted."""
    if not load.mpps:
        return 0
    readings = []
    for reads in (10, 200):
        app = Application(pcap, load, pages, reads=reads, plugin=False)
        readings.append((reads, app.ns_per_packet(0.5)))
        app.close()
    (few, fast), (many, slow) = readings
    return max(1, round(few + (1000 / load.mpps - fast) * (many - few) / (slow - fast)))


class Bench:
    """Runs the cases."""

    def __init__(self, args: argparse.Namespace, pcap: Path, pages: HugePages, folder: Path) -> None:
        self.args = args
        self.pcap = pcap
        self.pages = pages
        self.out = folder / "out.pcapng"
        self.ghz = tsc_hz() / 1e9

    def idle(self, load: Load) -> Row:
        """Compare an application that has the shim with one that has not."""
        samples, bases = [], []
        for _ in range(self.args.rounds):
            times = []
            for plugin in (False, True, False):
                app = Application(self.pcap, load, self.pages, plugin=plugin)
                times.append(app.ns_per_packet(self.args.seconds))
                app.close()
            bases.append((times[0] + times[2]) / 2)
            samples.append(times[1] - bases[-1])
        return self._row(f"idle shim, {load.name}", "dpcap", samples, bases)

    def _row(self, case: str, tool: str, samples: list[float], bases: list[float]) -> Row:
        base, added = statistics.median(bases), statistics.median(samples)
        cycles = [sample * self.ghz for sample in samples]
        return Row(case, tool, added * self.ghz, added / (base + added), 0, 0, 0, 1000 / base, cycles)

    def run(self, case: Case, tool: type[Tool], reads: int) -> Row:
        """Measure one case with one tool."""
        results: list[tuple[float, ...]] = []
        failed = 0
        app = Application(self.pcap, case.load, self.pages, reads=reads)
        try:
            while len(results) < self.args.rounds and failed < self.args.rounds:
                try:
                    results.append(self._round(app, case, tool))
                except (OSError, TestpmdError) as error:
                    failed += 1
                    what = "the benchmark failed" if app.app.alive else "the application died"
                    why = str(error).partition("\n")[0]
                    print(f"    {case.name}, {tool.name}: {what}: {why}", file=sys.stderr, flush=True)
                    app.close()
                    app = Application(self.pcap, case.load, self.pages, reads=reads)
        finally:
            app.close()
        if not results:
            raise SystemExit(f"capture: {case.name}, {tool.name}: none of {failed} rounds succeeded")
        samples, bases, stored, dropped, cpu = (list(column) for column in zip(*results, strict=True))
        row = self._row(case.name, tool.name, samples, bases)
        row.stored_per_s, row.dropped, row.tool_cpu = map(statistics.median, (stored, dropped, cpu))
        row.failed = failed
        return row

    def _round(self, app: Application, case: Case, tool: type[Tool]) -> tuple[float, ...]:
        """Return ns added and ns of the baseline, a packet; stored per s; share dropped; CPUs of the tool."""
        before = app.ns_per_packet(self.args.seconds)
        with tool(app.app, case.expression, self.out) as running:
            cpu_ns, start = running.cpu_ns(), time.monotonic()
            during = app.ns_per_packet(self.args.seconds)
            elapsed = time.monotonic() - start
            cpu = (running.cpu_ns() - cpu_ns) / 1e9 / elapsed
        stored, dropped = running.counts()
        base = (before + app.ns_per_packet(self.args.seconds)) / 2
        return during - base, base, stored / (elapsed + SETTLE), dropped / max(1, stored + dropped), cpu

    def rows(self) -> Iterator[Row]:
        """Measure everything that was asked for."""
        wanted = self.args.only
        for load in (IO, CSUM):
            if not wanted or "idle" in wanted:
                yield self.idle(load)
        for case in CASES:
            if wanted and not any(name in case.name for name in wanted):
                continue
            reads = throttled(self.pcap, case.load, self.pages)
            for tool in (Dpcap, Dumpcap):
                if tool.name not in self.args.without:
                    yield self.run(case, tool, reads)


HEADINGS = ("case", "tool", "baseline", "added", "loss", "stored/s", "dropped", "tool CPU", "failed")


def show(row: Row) -> None:
    """Print one line of the table."""
    print(
        f"{row.case:24}{row.tool:14}{row.baseline_mpps:9.1f} M{row.cycles:+9.1f} c{row.loss:9.1%}"
        f"{row.stored_per_s / 1e6:9.3f} M{row.dropped:10.3%}{row.tool_cpu:9.2f}{row.failed:9}",
        flush=True,
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="What capturing costs a DPDK application.")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--pcap", type=Path, help="traffic to forward (default: our own mix)")
    parser.add_argument("--rounds", type=int, default=6, help="samples of each case (default 6)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a sample (default 1)")
    parser.add_argument("--only", action="append", default=[], help="only cases with this in their name")
    parser.add_argument("--without", action="append", default=[], help="leave this tool out")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        # Memory, so that a disk does not decide.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpcap-bench-", dir="/dev/shm")))
        pages = stack.enter_context(HugePages(400))
        print(pages.note)
        pcap = args.pcap or folder / "mix.pcap"
        if not args.pcap:
            traffic.write_pcap(pcap, traffic.mix())
        print("".join(f"{h:{w}}" for h, w in zip(HEADINGS, (24, 14, 12, 11, 9, 11, 10, 11, 6), strict=True)))
        rows = []
        for row in Bench(args, pcap, pages, folder).rows():
            show(row)
            rows.append(row)
    for row in rows:
        ours = next((r for r in rows if r.case == row.case and r.tool == Dpcap.name), None)
        if row.tool == Dumpcap.name and ours and row.cycles > 0:
            print(f"{row.case}: dpcap adds {ours.cycles / row.cycles:.3f} of what dpdk-dumpcap adds")
    if args.json:
        args.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
