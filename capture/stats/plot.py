# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap plot``: rates over time from what ``dpcap stats --csv`` or ``dpcap count --csv`` wrote."""

from __future__ import annotations

import argparse
import csv
import os
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from dpcap.capture.errors import DpcapError, OutputError, ToolError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Row = Mapping[str, str]

_FORMATS = (".png", ".svg")
_NEEDED = ("time", "seconds", "port", "queue", "direction", "packets")
_SIZE = (10.0, 2.8)  # inches: width, and height of one chart


class Chart(NamedTuple):
    """One of the charts below each other."""

    column: str  # of the file; without it there is no such chart
    label: str
    value: Callable[[Row], float]


def _rate(column: str, factor: float = 1.0) -> Callable[[Row], float]:
    return lambda row: float(row[column]) * factor / max(float(row["seconds"]), 1e-9)


CHARTS = (
    Chart("packets", "packets/s", _rate("packets")),
    Chart("bytes", "Mbit/s", _rate("bytes", 8e-6)),
    Chart("matched", "matched/s", _rate("matched")),
    Chart("dropped", "dropped/s", _rate("dropped")),
    Chart("busy", "busy polls, %", lambda row: float(row["busy"]) * 100),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (dpcap plot --help shows the options)")


def run(argv: Sequence[str]) -> int:
    """Run ``dpcap plot ARGV`` and return the exit code."""
    parser = _Parser(
        prog="dpcap plot",
        allow_abbrev=False,
        description="Draw the rates that dpcap stats --csv or dpcap count --csv wrote over time.",
    )
    parser.add_argument("file", metavar="FILE.csv", help="what to draw")
    parser.add_argument("-o", dest="output", metavar="FILE", help="a .png or .svg file (default: FILE.png)")
    arguments = parser.parse_args(argv)
    output = arguments.output or os.path.splitext(arguments.file)[0] + ".png"
    if os.path.splitext(output)[1].lower() not in _FORMATS:
        raise UsageError(f"{output}: the name has to end in {' or '.join(_FORMATS)}")
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an optional extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise ToolError(
            "dpcap plot needs the Python package matplotlib: pip install 'dpcap[plot]'"
        ) from error
    mpl.rcParams["svg.hashsalt"] = "dpcap"  # the same file for the same numbers
    rows = _read(arguments.file)
    try:
        _draw(Figure, rows, os.path.basename(arguments.file)).savefig(output, dpi=120)
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror}") from error
    except (ValueError, OverflowError) as error:
        raise DpcapError(f"{arguments.file}: a number or a time makes no sense: {error}") from error
    print(output)
    return 0


def _read(path: str) -> list[Row]:
    try:
        with open(path, newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            rows: list[Row] = [] if missing else list(reader)
    except OSError as error:
        raise DpcapError(f"cannot read {path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DpcapError(f"{path} is no CSV file: {error}") from error
    if missing:
        raise DpcapError(
            f"{path} has no column {missing[0]}: dpcap stats --csv and dpcap count --csv write what is needed"
        )
    if not rows:
        raise DpcapError(f"{path} has a header but no rows: there is nothing to draw")
    if any(None in row.values() for row in rows):
        raise DpcapError(f"{path} has a row that is too short")
    return rows


def _time(text: str) -> datetime:
    """Read a time as ISO 8601 writes it, or seconds since 1970."""
    try:
        return datetime.fromtimestamp(float(text), UTC).astimezone()
    except ValueError:
        return datetime.fromisoformat(text)


def _draw(figure_class: type, rows: Sequence[Row], title: str) -> Any:
    """Return a figure with a chart for each quantity that the rows have, and a line for each queue."""
    charts = [c for c in CHARTS if any(row.get(c.column) and c.value(row) for row in rows)]
    charts = charts or [CHARTS[0]]
    figure = figure_class(figsize=(_SIZE[0], _SIZE[1] * len(charts) + 0.6), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(charts), 1, sharex=True, squeeze=False)[:, 0]
    for chart, axis in zip(charts, axes, strict=True):
        for name, points in sorted(_lines(chart, rows).items()):
            times = sorted(points)
            axis.plot(times, [points[t] for t in times], label=name, marker=".", markersize=3)
        axis.set_ylabel(chart.label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left", fontsize="small", ncols=4)
    axes[-1].xaxis.axis_date(tz=_time(rows[0]["time"]).tzinfo)
    return figure


def _lines(chart: Chart, rows: Sequence[Row]) -> dict[str, dict[datetime, float]]:
    """Return the points of each line. Threads that share a queue (dpcap count) are added up."""
    lines: dict[str, dict[datetime, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        if row.get(chart.column):
            name = f"{row['port']} queue {row['queue']} {row['direction']}"
            lines[name][_time(row["time"])] += chart.value(row)
    return lines
