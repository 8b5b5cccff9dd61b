# SPDX-License-Identifier: BSD-3-Clause
"""Samples as a table for people, JSON lines, CSV rows and OpenMetrics."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from dpcap.capture import protocol
from dpcap.capture.csv_file import timestamp
from dpcap.capture.stats import openmetrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.capture.stats.counters import Counters
    from dpcap.capture.stats.watch import Queue, Sample, Watch

DIRECTIONS = {protocol.DIRECTION_IN: "in", protocol.DIRECTION_OUT: "out"}
# Of a burst, as far as they are told apart here: what is larger goes into the last one.
_N_SIZES = 9
BURST_SIZES = ("1", *(f"{1 << i}-{(2 << i) - 1}" for i in range(1, _N_SIZES - 1)), f"{1 << _N_SIZES - 1}-")

CSV_COLUMNS = (
    *("time", "seconds", "port", "device", "queue", "direction"),
    *("packets", "bytes", "bursts", "mean_burst", "empty_polls", "busy"),
    *("matched", "matched_bytes", "captured", "dropped", "missed"),
    *(f"bursts_{size}" for size in BURST_SIZES),
)


def burst_sizes(counters: Counters) -> dict[str, int]:
    """Return the number of bursts of each size."""
    head, tail = counters.bursts[: _N_SIZES - 1], counters.bursts[_N_SIZES - 1 :]
    return dict(zip(BURST_SIZES, (*head, sum(tail)), strict=True))


def _place(queue: Queue) -> dict[str, Any]:
    return {
        "port": queue.port.label,
        "device": queue.port.name,
        "queue": queue.queue,
        "direction": DIRECTIONS[queue.direction],
    }


def _numbers(queue: Queue, counters: Counters, watch: Watch) -> dict[str, Any]:
    """Everything that is counted; None: there is no such thing here."""
    polls = queue.direction == protocol.DIRECTION_IN
    mean = counters.mean_burst
    return {
        "packets": counters.packets,
        "bytes": counters.bytes,
        "bursts": counters.n_bursts,
        "mean_burst": None if mean is None else round(mean, 3),
        "empty_polls": counters.empty_polls if polls else None,
        "busy": round(counters.busy, 6) if polls and counters.busy is not None else None,
        "matched": counters.matched if watch.filter else None,
        "matched_bytes": counters.matched_bytes if watch.filter else None,
        "captured": counters.captured,
        "dropped": counters.dropped,
        "missed": counters.missed,
    }


def json_line(sample: Sample, watch: Watch) -> str:
    """Write a sample as one line: an object with a list of queues, each with its totals."""
    queues = [
        _place(queue)
        | _numbers(queue, queue.now, watch)
        | {"burst_sizes": burst_sizes(queue.now)}
        | {"total": _numbers(queue, queue.total, watch) | {"burst_sizes": burst_sizes(queue.total)}}
        for queue in sample.queues
    ]
    head = {
        "time": timestamp(sample.time),
        "seconds": round(sample.seconds, 6),
        "application": watch.name,
        "pid": watch.pid,
        "filter": watch.filter or None,
    }
    return json.dumps(head | {"queues": queues}) + "\n"


def csv_rows(sample: Sample, watch: Watch) -> list[dict[str, Any]]:
    """Write a sample as rows with CSV_COLUMNS: what happened in the interval."""
    head = {"time": timestamp(sample.time), "seconds": f"{sample.seconds:.6f}"}
    return [
        head
        | _place(queue)
        | _numbers(queue, queue.now, watch)
        | {f"bursts_{size}": n for size, n in burst_sizes(queue.now).items()}
        for queue in sample.queues
    ]


def table(sample: Sample, watch: Watch) -> str:
    """Write a sample for people: a line for each queue and direction."""
    heads = rate_heads(with_filter=bool(watch.filter))
    widths = [12, 10, 6, 7, *([11] if watch.filter else []), 11, 10]
    clock = time.strftime("%H:%M:%S", time.localtime(sample.time))
    lines = [f"{clock}  {'port':<7} {'queue':>5}  dir" + _cells(heads, widths)]
    for queue in sample.queues:
        cells = rates(queue, sample.seconds, with_filter=bool(watch.filter))
        place = f"{queue.port.label:<7} {queue.queue:>5}  {DIRECTIONS[queue.direction].capitalize():<3}"
        lines.append(f"{'':8}  {place}" + _cells(cells, widths))
    return "\n".join(lines) + "\n"


def rate_heads(*, with_filter: bool) -> list[str]:
    """Return the headings of what rates() returns."""
    matched = ["matched/s"] if with_filter else []
    return ["packets/s", "Mbit/s", "burst", "busy", *matched, "captured/s", "dropped/s"]


def rates(queue: Queue, seconds: float, *, with_filter: bool) -> list[str]:
    """Return what people read of a queue, in the order of rate_heads()."""
    now = queue.now
    seconds = max(seconds, 1e-9)
    is_polled = queue.direction == protocol.DIRECTION_IN and now.busy is not None
    return [
        f"{now.packets / seconds:,.0f}",
        f"{now.bytes * 8 / seconds / 1e6:,.1f}",
        "-" if now.mean_burst is None else f"{now.mean_burst:.1f}",
        f"{now.busy:.1%}" if is_polled else "-",
        *([f"{now.matched / seconds:,.0f}"] if with_filter else []),
        f"{now.captured / seconds:,.0f}",
        f"{now.dropped / seconds:,.0f}",
    ]


def _cells(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def metrics(sample: Sample, watch: Watch) -> str:
    """Write the totals as OpenMetrics text."""
    application = {"application": watch.name, "pid": str(watch.pid)}
    series = []
    for queue in sample.queues:
        labels = application | {name: str(value) for name, value in _place(queue).items()}
        series.append((labels, queue.total, _numbers(queue, queue.total, watch)))
    return openmetrics.exposition(series)
