# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap stats``: what the queues do, interval by interval, without capturing any packet."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from dpcap.capture.csv_file import CsvFile
from dpcap.capture.errors import OutputError
from dpcap.capture.session import Stop
from dpcap.capture.stats import formats, options

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from dpcap.capture.stats.watch import Sample, Watch

    Write = Callable[[Sample], None]


def _parser() -> options.Parser:
    parser = options.Parser(
        "dpcap stats",
        "Count packets, bytes, bursts and polls of each queue, and the packets that match a filter, without "
        "capturing any.",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--json", action="store_true", help="one JSON object a line and interval")
    kind.add_argument(
        "--csv", metavar="FILE", help="rows to FILE (- is standard output); dpcap plot draws them"
    )
    kind.add_argument("--openmetrics", action="store_true", help="totals as OpenMetrics text")
    parser.add_argument(
        "-w",
        dest="write",
        metavar="FILE",
        help="with --json and --openmetrics: to FILE; metrics replace those of the last interval at once, as "
        "node_exporter's textfile collector wants",
    )
    return parser


def run(argv: Sequence[str]) -> int:
    """Run ``dpcap stats ARGV`` and return the exit code."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)
    if arguments.write is not None and not (arguments.json or arguments.openmetrics):
        parser.error("-w goes with --json or --openmetrics")
    with ExitStack() as stack:
        watch = stack.enter_context(options.watch(arguments))
        write = stack.enter_context(_output(arguments, watch))
        stop = stack.enter_context(Stop())
        print(f"dpcap: watching {options.port_names(watch)} of {watch.who}", file=sys.stderr, flush=True)
        sample = None
        for sample in watch.samples(stop, arguments.interval, arguments.count):
            write(sample)
        if watch.ended:
            print(f"dpcap: {watch.who} has ended", file=sys.stderr)
        if sample is not None:
            _print_totals(sample)
    return 0


@contextmanager
def _output(arguments: argparse.Namespace, watch: Watch) -> Iterator[Write]:
    """Open what the samples go to."""
    if arguments.csv is not None:
        with CsvFile(arguments.csv, formats.CSV_COLUMNS) as file:
            yield lambda sample: file.write(formats.csv_rows(sample, watch))
    elif arguments.openmetrics and arguments.write is not None:
        yield lambda sample: _replace(arguments.write, formats.metrics(sample, watch))
    else:
        kind = (
            formats.metrics
            if arguments.openmetrics
            else formats.json_line
            if arguments.json
            else formats.table
        )
        with ExitStack() as stack:
            out = sys.stdout
            if arguments.write is not None:
                try:
                    out = stack.enter_context(open(arguments.write, "w"))
                except OSError as error:
                    raise OutputError(f"cannot write {arguments.write}: {error.strerror}") from error
            yield lambda sample: print(kind(sample, watch), end="", file=out, flush=True)


def _replace(path: str, text: str) -> None:
    """Write a file such that nobody reads half of it."""
    part = f"{path}.{os.getpid()}"
    try:
        with open(part, "w") as file:
            file.write(text)
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _print_totals(sample: Sample) -> None:
    """Print what came together since the start."""
    for port in sorted({queue.port.label for queue in sample.queues}):
        sums = dict.fromkeys(formats.DIRECTIONS.values(), 0)
        for queue in sample.queues:
            if queue.port.label == port:
                sums[formats.DIRECTIONS[queue.direction]] += queue.total.packets
        print(f"{port}: {sums['in']} packets in, {sums['out']} packets out", file=sys.stderr)
