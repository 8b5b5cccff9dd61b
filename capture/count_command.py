# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap count``: packets per interval, by port, queue, direction and thread, without capturing any.

Counting is done by uprobes, with or without the shim: its counters are those of captures.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from dpcap.capture import discovery, protocol
from dpcap.capture.csv_file import CsvFile, timestamp
from dpcap.capture.errors import UsageError
from dpcap.capture.selection import choose_application, choose_ports
from dpcap.capture.session import Stop
from dpcap.capture.uprobe.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dpcap.capture.uprobe.counters import Count
    from dpcap.capture.uprobe.probes import Queue

_NAP = 0.05  # seconds between two looks at the application
_DIRECTIONS = {protocol.DIRECTION_IN: "In", protocol.DIRECTION_OUT: "Out"}
_COLUMNS = (
    "time", "seconds", "port", "device", "queue", "direction", "tid", "thread", "packets", "bursts", "total",
)  # fmt: skip
_CLEAR_BELOW = "\x1b[J"
_LINE_UP = "\x1b[{}A"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (dpcap count --help shows the options)")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.01 <= seconds <= 1e9:
        raise argparse.ArgumentTypeError(f"invalid number of seconds {text}")
    return seconds


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="dpcap count",
        allow_abbrev=False,
        description="Count packets by port, queue, direction and thread. Needs root.",
    )
    parser.add_argument(
        "-i", "--interface", dest="interfaces", action="append", metavar="PORT",
        help="port0, 0, a device name or any (default: any)",
    )  # fmt: skip
    parser.add_argument("--pid", type=int, metavar="PID", help="the application by its process id")
    parser.add_argument("--file-prefix", metavar="P", help="the application by its EAL file-prefix")
    parser.add_argument(
        "--interval", type=_seconds, default=1.0, metavar="S", help="seconds between two lines (default 1)"
    )
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="end after S seconds")
    parser.add_argument("--csv", metavar="FILE", help="write the numbers to FILE, too; - is standard output")
    return parser.parse_args(argv)


class Row(NamedTuple):
    """What one thread did with one queue in one interval."""

    queue: Queue
    tid: int
    packets: int
    bursts: int
    total: int  # packets since the start


def run(argv: Sequence[str]) -> int:
    """Run ``dpcap count ARGV`` and return the exit code."""
    arguments = _arguments(argv)
    application = choose_application(
        discovery.applications(), pid=arguments.pid, file_prefix=arguments.file_prefix, source="uprobe"
    )
    with ExitStack() as stack:
        counters = stack.enter_context(Counters(application))
        ports = choose_ports(counters.ports(), arguments.interfaces or ["any"], application.who)
        report = _Report(
            {port.port: port.name for port in ports},
            application.pid,
            stack.enter_context(CsvFile(arguments.csv, _COLUMNS)) if arguments.csv else None,
            is_table=arguments.csv != "-",
        )
        stop = stack.enter_context(Stop())
        counters.start([port.port for port in ports])
        names = ", ".join(f"{port.label} ({port.name})" if port.name else port.label for port in ports)
        print(f"dpcap: counting on {names} by kernel uprobes", file=sys.stderr, flush=True)
        try:
            _count(counters, report, stop, arguments.interval, arguments.timeout)
        except BrokenPipeError:
            return 0
        if counters.is_full():
            print("dpcap: more threads poll than can be counted: some are missing", file=sys.stderr)
        if counters.is_gone():
            print(f"dpcap: {application.who} has ended", file=sys.stderr)
        report.totals()
    return 0


def _count(counters: Counters, report: _Report, stop: Stop, interval: float, timeout: float | None) -> None:
    start = before = time.monotonic()
    due = start + interval
    end = start + timeout if timeout else float("inf")
    while True:
        now = time.monotonic()
        is_over = now >= end or stop.asked or counters.is_gone()
        if is_over or now >= due:
            report.interval(counters.read(), now - before)
            before = now
            due += interval
        if is_over:
            return
        counters.look()
        time.sleep(max(0, min(_NAP, due - now, end - now)))


class _Report:
    """Prints what was counted, and writes it as CSV."""

    def __init__(
        self, devices: dict[int, str], pid: int, csv_file: CsvFile | None, *, is_table: bool
    ) -> None:
        self._devices = devices
        self._pid = pid
        self._threads: dict[int, str] = {}
        self._last: dict[tuple[Queue, int], Count] = {}
        self._is_table = is_table
        self._is_live = is_table and sys.stdout.isatty()
        self._lines = 0  # of the table that is on the screen
        self._csv = csv_file

    def interval(self, counts: Iterable[Count], seconds: float) -> None:
        """Report what happened since the last call, in so many seconds."""
        rows = sorted(self._row(count) for count in counts)
        if self._is_table:
            self._print(rows, seconds)
        if self._csv:
            head = (timestamp(time.time()), f"{seconds:.3f}")
            self._csv.write(dict(zip(_COLUMNS, head + self._values(row), strict=True)) for row in rows)

    def _values(self, row: Row) -> tuple[str | int, ...]:
        """Return the columns after the time."""
        port = row.queue.port
        return (
            *(f"port{port}", self._devices[port], row.queue.queue),
            *(_DIRECTIONS[row.queue.direction].lower(), row.tid, self._thread(row.tid)),
            *(row.packets, row.bursts, row.total),
        )

    def _row(self, count: Count) -> Row:
        last = self._last.get((count.queue, count.tid))
        self._last[count.queue, count.tid] = count
        packets, bursts = (last.packets, last.bursts) if last else (0, 0)
        return Row(count.queue, count.tid, count.packets - packets, count.bursts - bursts, count.packets)

    def _thread(self, tid: int) -> str:
        """Return the name of a thread, as it was when it was first seen."""
        if tid not in self._threads:
            try:
                with open(f"/proc/{self._pid}/task/{tid}/comm") as file:
                    self._threads[tid] = file.read().rstrip("\n")
            except OSError:  # it has ended, or is of another pid namespace
                self._threads[tid] = ""
        return self._threads[tid]

    def _print(self, rows: Sequence[Row], seconds: float) -> None:
        head = f"{time.strftime('%H:%M:%S')}  port    queue  dir  {'thread':<24}  {'packets':>12}"
        lines = [f"{head}  {'packets/s':>12}  {'a burst':>7}"]
        for row in rows:
            thread = f"{self._thread(row.tid)} ({row.tid})"
            burst = f"{row.packets / row.bursts:.1f}" if row.bursts else "-"
            lines.append(
                f"{'':8}  port{row.queue.port:<3} {row.queue.queue:>5}  {_DIRECTIONS[row.queue.direction]:<3}"
                f"  {thread:<24}  {row.packets:>12}  {row.packets / max(seconds, 1e-9):>12.0f}  {burst:>7}"
            )
        if self._is_live and self._lines:
            print(_LINE_UP.format(self._lines) + _CLEAR_BELOW, end="")
        print("\n".join(lines), flush=True)
        self._lines = len(lines)

    def totals(self) -> None:
        """Print the sums since the start."""
        for port in sorted(self._devices):
            sums = {
                direction: sum(
                    count.packets
                    for (queue, _), count in self._last.items()
                    if (queue.port, queue.direction) == (port, direction)
                )
                for direction in _DIRECTIONS
            }
            print(
                f"port{port}: {sums[protocol.DIRECTION_IN]} packets in, "
                f"{sums[protocol.DIRECTION_OUT]} packets out",
                file=sys.stderr,
            )
