# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap top``: the busiest queues, live, with the packet rates of the last intervals as sparklines."""

from __future__ import annotations

import sys
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dpcap.capture import protocol
from dpcap.capture.errors import OutputError, ToolError, UsageError
from dpcap.capture.session import Stop
from dpcap.capture.stats import formats, options
from dpcap.capture.stats.counters import Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from dpcap.capture.stats.watch import Queue, Sample, Watch

_LEAST_BARS, _MOST_BARS = 5, 40  # intervals that a sparkline shows
_NUMBERS_WIDTH = 92  # columns that all else takes
_BARS = " ▁▂▃▄▅▆▇█"
_SVG_WIDTH = 120  # columns


def run(argv: Sequence[str]) -> int:
    """Run ``dpcap top ARGV`` and return the exit code."""
    parser = options.Parser("dpcap top", "Show what the queues do, the busiest first. Ctrl-C ends it.")
    parser.add_argument("--svg", metavar="FILE", help="leave a picture of the last screen in FILE")
    arguments = parser.parse_intermixed_args(argv)
    try:
        from rich.console import Console  # noqa: PLC0415 - an optional extra
        from rich.live import Live  # noqa: PLC0415
    except ImportError as error:
        raise ToolError("dpcap top needs the Python package rich: pip install 'dpcap[top]'") from error
    if not sys.stdout.isatty():
        raise UsageError("dpcap top wants a terminal: dpcap stats prints the same numbers anywhere")
    with ExitStack() as stack:
        watch = stack.enter_context(options.watch(arguments))
        stop = stack.enter_context(Stop())
        screen = Screen(watch)
        console = Console()
        with Live(console=console, screen=True, auto_refresh=False) as live:
            for sample in watch.samples(stop, arguments.interval, arguments.count):
                live.update(screen.render(sample, console.width), refresh=True)
        if watch.ended:
            print(f"dpcap: {watch.who} has ended", file=sys.stderr)
    if arguments.svg is not None and screen.last is not None:
        _save_svg(screen.render(screen.last, _SVG_WIDTH, again=True), arguments.svg)
    return 0


def _save_svg(table: Table, path: str) -> None:
    import io  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415

    console = Console(record=True, width=_SVG_WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(table)
    try:
        console.save_svg(path, title="dpcap top")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


class Screen:
    """What is on the screen, and what it remembers of the past."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._history: dict[Key, deque[float]] = {}
        self.last: Sample | None = None

    def render(self, sample: Sample, width: int, *, again: bool = False) -> Table:
        """Return the table of a sample, for so many columns: the queues with the most packets first.

        A sample is remembered unless it is rendered again.
        """
        from rich import box  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        watch = self._watch
        title = f"{watch.who}" + (f"   filter: {watch.filter}" if watch.filter else "")
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in ("port", "queue", "dir"):
            table.add_column(name, justify="right" if name == "queue" else "left")
        for name in formats.rate_heads(with_filter=bool(watch.filter)):
            table.add_column(name, justify="right")
        bars = min(_MOST_BARS, max(_LEAST_BARS, width - _NUMBERS_WIDTH))
        table.add_column("packets/s so far", style="green", width=bars, no_wrap=True)
        if not again:
            self._remember(sample)
        for queue in sorted(sample.queues, key=lambda q: -q.now.packets):
            table.add_row(*self._row(queue, sample.seconds, bars))
        return table

    def _remember(self, sample: Sample) -> None:
        self.last = sample
        for queue in sample.queues:
            history = self._history.setdefault(_key(queue), deque(maxlen=_MOST_BARS))
            history.append(queue.now.packets / max(sample.seconds, 1e-9))

    def _row(self, queue: Queue, seconds: float, bars: int) -> Iterable[str]:
        direction = "In" if queue.direction == protocol.DIRECTION_IN else "Out"
        yield from (queue.port.label, str(queue.queue), direction)
        yield from formats.rates(queue, seconds, with_filter=bool(self._watch.filter))
        yield sparkline(list(self._history[_key(queue)])[-bars:])


def _key(queue: Queue) -> Key:
    return Key(queue.port.port, queue.queue, queue.direction)


def sparkline(values: Sequence[float]) -> str:
    """Draw numbers as bars of text, the largest as high as a line; what is not 0 shows."""
    top = max(values, default=0) or 1.0
    steps = len(_BARS) - 1
    return "".join(_BARS[max(1, round(value / top * steps)) if value > 0 else 0] for value in values)
