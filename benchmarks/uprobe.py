# SPDX-License-Identifier: BSD-3-Clause
"""
What each way to look into an application costs it: uprobes, the shim and dpdk-dumpcap, side by side.

A testpmd forwards as fast as it can, bursts of 32; each packet is received and sent once. A rate is packets
per CPU-second of the forwarding thread. Each sample is bracketed by two without a capture in the same
process, the ways take turns, and the median is shown: the rate, and what is kept of the one without capture.

    ./dev bench uprobe [--json OUT] [--csv OUT] [--plot OUT.png] [--rounds N] [--seconds S] [--only NAME]...
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the harness that runs real testpmds

import traffic  # noqa: E402

from capture import IO, NOTHING, Application, Dpcap, Dumpcap, Tool  # noqa: E402
from support.hugepages import HugePages  # noqa: E402
from support.testpmd import Testpmd, TestpmdError, wait_until  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

SNAPLEN = "96"
SAMPLE = "1000"


class OurTool(Dpcap):
    """dpcap with some options."""

    options: tuple[str, ...] = ()

    def __init__(self, app: Testpmd, expression: str, out: Path) -> None:
        super().__init__(app, expression, out)
        wait_until(
            lambda: "listening on" in self.text() or "counting on" in self.text() or self.process.poll(),
            "dpcap captures",
        )

    def command(self, app: Testpmd, expression: str) -> list[str]:
        """Return what to run."""
        return [*super().command(app, expression), *self.options]


class ByUprobe(OurTool):
    """Kernel uprobes, packets cut."""

    name = "uprobe"
    options = ("--source", "uprobe", "-s", SNAPLEN)


class WholeByUprobe(OurTool):
    """Kernel uprobes, packets as they are."""

    name = "uprobe"
    options = ("--source", "uprobe")


class SampleByUprobe(OurTool):
    """Kernel uprobes on some packets."""

    name = "uprobe"
    options = ("--sample", SAMPLE)


class SentByUprobe(OurTool):
    """Kernel uprobes on one direction."""

    name = "uprobe"
    options = ("--source", "uprobe", "-s", SNAPLEN, "-Q", "out")


class Count(OurTool):
    """Kernel uprobes that count."""

    name = "uprobe"

    def command(self, app: Testpmd, expression: str) -> list[str]:
        """Return what to run."""
        del expression
        count = [sys.executable, "-m", "dpcap", "count", "--pid", str(app.pid), "-i", "port0"]
        return [*count, "--csv", str(self.out)]

    def counts(self) -> tuple[int, int]:
        """Return nothing stored, nothing dropped."""
        return 0, 0


class ByShim(OurTool):
    """The shim, packets cut."""

    name = "shim"
    options = ("--source", "shim", "-s", SNAPLEN)


class CutDumpcap(Dumpcap):
    """DPDK's, packets cut."""

    def command(self, app: Testpmd, expression: str) -> list[str]:
        """Return what to run."""
        return [*super().command(app, expression), "-s", SNAPLEN]


@dataclass(frozen=True)
class Case:
    """One way to look, for one purpose."""

    name: str
    tool: type[Tool]
    expression: str = ""


CASES = (
    Case("count", Count),
    Case(f"one packet in {SAMPLE}", SampleByUprobe),
    Case("filter, no match", ByUprobe, NOTHING),
    Case("filter, no match", ByShim, NOTHING),
    Case("filter, no match", CutDumpcap, NOTHING),
    Case(f"all packets, {SNAPLEN} bytes", ByUprobe),
    Case(f"all packets, {SNAPLEN} bytes", ByShim),
    Case(f"all packets, {SNAPLEN} bytes", CutDumpcap),
    Case(f"sent packets, {SNAPLEN} bytes", SentByUprobe),
    Case("all packets, whole", WholeByUprobe),
)


@dataclass
class Row:
    """What one way costs."""

    driver: str
    case: str
    tool: str
    mpps: float
    kept: float  # of the rate without a capture
    baseline_mpps: float
    stored: float  # packets a sample
    dropped: float
    rounds: int


class Forwarder(Application):
    """A testpmd of one port."""

    def __init__(self, vdev: str, pages: HugePages) -> None:
        self.vdev = vdev
        super().__init__(Path(vdev), IO, pages, vdev=vdev)


class Bench:
    """Runs the cases."""

    def __init__(self, args: argparse.Namespace, pages: HugePages, folder: Path) -> None:
        self._args = args
        self._pages = pages
        self._out = folder / "out.pcapng"

    def rows(self, driver: str, vdev: str) -> list[Row]:
        """Measure all ways on one driver, in turns."""
        cases = [
            c
            for c in CASES
            if not self._args.only or any(o in f"{c.name} {c.tool.name}" for o in self._args.only)
        ]
        results: dict[Case, list[tuple[float, float, int, int]]] = {case: [] for case in cases}
        app = Forwarder(vdev, self._pages)
        try:
            for _ in range(self._args.rounds):
                for case in cases:
                    try:
                        results[case].append(self._round(app, case))
                    except (OSError, TestpmdError, SystemExit) as error:
                        print(f"    {driver}, {case.name}, {case.tool.name}: {error}", file=sys.stderr)
                        if not app.app.alive:
                            app.close()
                            app = Forwarder(vdev, self._pages)
        finally:
            app.close()
        return [_row(driver, case, rounds) for case, rounds in results.items() if rounds]

    def _round(self, app: Application, case: Case) -> tuple[float, float, int, int]:
        """Return ns a packet without and with the capture; packets stored and dropped."""
        before = app.ns_per_packet(self._args.seconds)
        with case.tool(app.app, case.expression, self._out) as running:
            during = app.ns_per_packet(self._args.seconds)
        base = (before + app.ns_per_packet(self._args.seconds)) / 2
        return (base, during, *running.counts())


def _row(driver: str, case: Case, rounds: Sequence[tuple[float, float, int, int]]) -> Row:
    return Row(
        driver=driver,
        case=case.name,
        tool=case.tool.name,
        mpps=1000 / statistics.median(during for _, during, _, _ in rounds),
        kept=statistics.median(base / during for base, during, _, _ in rounds),
        baseline_mpps=1000 / statistics.median(base for base, _, _, _ in rounds),
        stored=statistics.median(stored for _, _, stored, _ in rounds),
        dropped=statistics.median(dropped for _, _, _, dropped in rounds),
        rounds=len(rounds),
    )


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    print(
        f"{'driver':10}{'case':24}{'tool':14}{'Mpps':>8}{'kept':>8}{'without':>9}{'stored':>11}{'dropped':>11}"
    )
    for r in rows:
        print(
            f"{r.driver:10}{r.case:24}{r.tool:14}{r.mpps:8.2f}{r.kept:8.1%}{r.baseline_mpps:9.1f}"
            f"{r.stored:11.0f}{r.dropped:11.0f}"
        )


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw the share of the rate that is kept, a bar for each way."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra
    except ImportError:
        raise SystemExit("uprobe: --plot needs matplotlib: pip install 'dpcap[plot]'") from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    colours = {"uprobe": "tab:blue", "shim": "tab:green", "dpdk-dumpcap": "tab:orange"}
    drivers = list(dict.fromkeys(r.driver for r in rows))
    figure, axes = plt.subplots(1, len(drivers), figsize=(6 * len(drivers), 5), squeeze=False)
    for axis, driver in zip(axes[0], drivers, strict=True):
        mine = [r for r in rows if r.driver == driver][::-1]
        axis.barh(
            [f"{r.case} ({r.tool})" for r in mine],
            [100 * r.kept for r in mine],
            color=[colours[r.tool] for r in mine],
        )
        axis.set_xscale("log")
        axis.set_xlim(1, 120)
        ticks = (1, 3, 10, 30, 100)
        axis.set_xticks(ticks, labels=map(str, ticks))
        axis.minorticks_off()
        axis.set_xlabel("% of the rate without a capture")
        axis.set_title(f"{driver}, {mine[0].baseline_mpps:.0f} Mpps without")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="What each way to look into an application costs it.")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--csv", type=Path, help="write the results to this file too")
    parser.add_argument("--plot", type=Path, help="draw the results into this file (needs matplotlib)")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each case (default 5)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a sample (default 0.5)")
    parser.add_argument("--only", action="append", default=[], help="only cases with this in their name")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        # Memory, so that a disk does not decide.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpcap-bench-", dir="/dev/shm")))
        pages = stack.enter_context(HugePages(400))
        print(pages.note)
        pcap = folder / "mix.pcap"
        traffic.write_pcap(pcap, traffic.mix())
        bench = Bench(args, pages, folder)
        rows = bench.rows("net_pcap", f"net_pcap0,rx_pcap={pcap},infinite_rx=1")
        rows += bench.rows("net_null", "net_null0,size=64")
    show(rows)
    if args.json:
        args.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
            writer.writeheader()
            writer.writerows(map(dataclasses.asdict, rows))
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()
