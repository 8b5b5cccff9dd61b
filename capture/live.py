# SPDX-License-Identifier: BSD-3-Clause
"""A capture from a running application, from the command line to the last line that is printed."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dpcap import filters
from dpcap.capture import protocol
from dpcap.capture.client import seal_forms
from dpcap.capture.errors import UsageError
from dpcap.capture.expression import compiled, expression
from dpcap.capture.file_options import file_options
from dpcap.capture.privileges import drop
from dpcap.capture.session import Session, Stop
from dpcap.capture.targets import connect, header

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dpcap.capture.arguments import Arguments
    from dpcap.capture.progress import Progress
    from dpcap.capture.protocol import Queue
    from dpcap.capture.session import Sink
    from dpcap.capture.sinks.compressed import CompressedSink
    from dpcap.capture.sinks.file import FileSink
    from dpcap.capture.sinks.rotation import RotatingSink, Rotation
    from dpcap.capture.sinks.tee import TeeSink
    from dpcap.capture.sinks.text import TextSink
    from dpcap.capture.targets import Target
    from dpcap.filters.filter import Filter
    from dpcap.filters.forms import Form

    AnySink = FileSink | CompressedSink | RotatingSink | TeeSink | TextSink

_SECOND = 1_000_000_000


def run(arguments: Arguments) -> int:
    """Capture until told to stop, and return the exit code."""
    text = expression(arguments)
    options = file_options(arguments)
    # Before anything is touched: what cannot be compiled cannot be captured.
    program = compiled(lambda: filters.compile(text, optimize=not arguments.no_optimize))
    forms = _forms(program)
    with ExitStack() as stack:
        targets = connect(arguments, program, stack)
        stop = stack.enter_context(Stop())
        if arguments.user is not None:
            drop(arguments.user)
        start_ns = time.time_ns()
        sink = _open_sink(arguments, options.rotation, [name for target in targets for name in target.names])
        session = Session(
            sink,
            stop,
            count=_smaller(arguments.count, options.packets),
            until_ns=start_ns + options.seconds * _SECOND if options.seconds else 0,
            slack_ns=max(target.connection.slack_ns for target in targets),
        )
        progress = _progress(arguments, session, sink)
        session.report = lambda: _print_progress(session, list(forms), progress)
        session.keeps_queues = verbose = "-v" in arguments.printer_flags and arguments.write is not None
        session.statistics_blocks = lambda: _statistics(session, start_ns)
        try:
            memory = seal_forms(forms.values())
            try:
                for target in targets:
                    session.attach(target.connection, target.request(arguments, forms.values()), memory)
            finally:
                os.close(memory)
        except BaseException:
            sink.discard()
            raise
        if not arguments.quiet:
            _announce(targets, arguments.snaplen)
        _capture(
            session,
            sink,
            header(arguments, targets, text),
            lambda: _statistics(session, start_ns),
            progress,
            quiet=arguments.quiet or arguments.count_only,
        )
        if verbose:
            print("\n".join(_form_lines(session.queues, list(forms))), file=sys.stderr)
        if arguments.count_only:
            print(_count(session.captured, "packet"), flush=True)
    return 0


def _forms(program: Filter) -> dict[str, Form]:
    """Return what the shim may choose from. At least one form passes the verifier."""
    assert program.default_form in program.forms  # noqa: S101 - asking makes the plain one, if need be
    return program.forms


def _smaller(count: int | None, packets: int) -> int | None:
    return min((n for n in (count, packets) if n), default=None)


def _open_sink(arguments: Arguments, rotation: Rotation | None, names: Sequence[str]) -> AnySink:
    """Open what is written to. Each kind is imported when it is needed."""
    if arguments.write is None and not arguments.count_only:
        return _text_sink(arguments, names)
    path = arguments.write or os.devnull
    if rotation is not None:
        from dpcap.capture.sinks.rotation import RotatingSink  # noqa: PLC0415

        if arguments.print:
            raise UsageError("--print goes with one file, not with several")
        return RotatingSink(path, rotation, group_read=arguments.group_read)
    from dpcap.capture.sinks.compressed import open_file  # noqa: PLC0415
    from dpcap.capture.sinks.file import STDOUT  # noqa: PLC0415

    if path == STDOUT and (arguments.print or arguments.count_only):
        raise UsageError(f"{'--print' if arguments.print else '--count'} and -w - both want standard output")
    file = open_file(path, group_read=arguments.group_read)
    if not arguments.print:
        return file
    from dpcap.capture.sinks.tee import TeeSink  # noqa: PLC0415

    return TeeSink(file, _text_sink(arguments, names))


def _text_sink(arguments: Arguments, names: Sequence[str]) -> TextSink:
    from dpcap.capture.sinks.stamps import Stamper  # noqa: PLC0415
    from dpcap.capture.sinks.text import TextSink  # noqa: PLC0415

    return TextSink(
        names,
        flags=arguments.printer_flags,
        stamper=Stamper(arguments.time_format, nano=arguments.nano),
        number=arguments.number,
        out=sys.stdout.fileno(),
    )


def _announce(targets: Sequence[Target], snaplen: int) -> None:
    """Say what is captured, as tcpdump does."""
    for note in (note for target in targets for note in target.connection.notes):
        print(f"dpcap: {note}", file=sys.stderr)
    names = ", ".join(
        f"{name} ({port.name})" if port.name else name
        for target in targets
        for name, port in zip(target.names, target.ports, strict=True)
    )
    print(
        f"dpcap: listening on {names}, link-type EN10MB (Ethernet), snapshot length {snaplen} bytes",
        file=sys.stderr,
    )


def _statistics(session: Session, start_ns: int) -> bytes:
    """Return the blocks that end a file."""
    counters = session.statistics(start_ns, time.time_ns())
    return b"".join(counters[number].block(number) for number in sorted(counters))


def _progress(arguments: Arguments, session: Session, sink: AnySink) -> Progress | None:
    """Make the line that tells how it goes on: on a terminal that nothing else is printed on."""
    if arguments.quiet or arguments.print or arguments.write in (None, "-") or not sys.stderr.isatty():
        return None
    from dpcap.capture.progress import Progress  # noqa: PLC0415 - for terminals

    progress = Progress(session.totals, lambda: int(getattr(sink, "size", 0)), sys.stderr)
    session.tick = progress.tick
    return progress


def _capture(
    session: Session,
    sink: Sink,
    header: bytes,
    trailer: Callable[[], bytes],
    progress: Progress | None,
    *,
    quiet: bool,
) -> None:
    """Run the session and close the sink, whatever happens; then say what was captured."""
    try:
        try:
            sink.start(header, trailer)
            session.run()
        finally:
            sink.finish()
    except BrokenPipeError:  # whoever reads has enough: that is an end like others
        pass
    finally:
        if progress is not None:
            progress.clear()
        if not quiet:
            _report(session)


def _report(session: Session) -> None:
    """Print the last lines, as tcpdump does."""
    lines = [f"dpcap: {who} has ended" for who in session.ended]
    corrupt = session.corrupt_rings()
    if corrupt:
        lines.append(f"dpcap: {_count(corrupt, 'ring')} held nonsense and could not be read to the end")
    lines += _counters(session)
    if sys.stderr.isatty() and session.interrupted:
        lines.insert(0, "")  # behind the ^C
    print("\n".join(lines), file=sys.stderr)


def _print_progress(session: Session, forms: Sequence[str], progress: Progress | None) -> None:
    """Print how far a running capture is."""
    if progress is not None:
        progress.clear()
    lines = [f"dpcap: {', '.join(_counters(session))}", *_form_lines(session.ask_queues(), forms)]
    print("\n".join(lines), file=sys.stderr)


def _form_lines(queues: Sequence[Queue], forms: Sequence[str]) -> list[str]:
    """Say which form of the filter each queue runs, and what the forms cost there."""
    lines = []
    for queue in queues:
        if queue.best is None:
            continue
        costs = ", ".join(f"{forms[f.form]} {f.cycles:.1f}" for f in queue.forms if f.cycles)
        direction = "In" if queue.direction == protocol.DIRECTION_IN else "Out"
        lines.append(
            f"dpcap: filter form {forms[queue.best.form]} on port{queue.port} {direction} queue {queue.queue}"
            f" (cycles a packet: {costs or 'not measured yet'})"
        )
    return lines


def _counters(session: Session) -> list[str]:
    captured, accepted, dropped = session.totals()
    return [
        f"{_count(captured, 'packet')} captured",
        f"{_count(accepted, 'packet')} received by filter",
        f"{_count(dropped, 'packet')} dropped by dpcap's ring",
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
