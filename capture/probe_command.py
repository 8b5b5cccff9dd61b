# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap probe``: where uprobes could see an application's packets, and where they really do."""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

from dpcap.capture import discovery, protocol
from dpcap.capture.errors import OutputError, UsageError
from dpcap.capture.selection import choose_application
from dpcap.capture.uprobe import candidates, features
from dpcap.capture.uprobe.attachment import DIRECTIONS
from dpcap.capture.uprobe.process import Process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.capture.discovery import Application
    from dpcap.capture.uprobe.candidates import Candidate, Outcome

_MOST_SECONDS = 3600


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (dpcap probe --help shows the options)")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"invalid number of seconds {text}")
    return seconds


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="dpcap probe",
        allow_abbrev=False,
        description="Find the functions that an application's packets pass through, and try each: needs root",
    )
    parser.add_argument("--pid", type=int, metavar="PID", help="the application by its process id")
    parser.add_argument("--file-prefix", metavar="P", help="the application by its EAL file-prefix")
    parser.add_argument(
        "--seconds", type=_seconds, default=1.0, metavar="S", help="how long to try (default 1)"
    )
    parser.add_argument(
        "--function", dest="functions", action="append", default=[], metavar="rx=PLACE",
        help="try a function, too: rx=SYMBOL or tx=0xOFFSET, then :1,2,3 for the positions of its queue, "
        "packets and their number",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--csv", metavar="FILE", help="write the table to FILE, too")
    parser.add_argument("--log", metavar="FOLDER", help="write a log of each candidate into FOLDER")
    return parser.parse_args(argv)


def run(argv: Sequence[str]) -> int:
    """Run ``dpcap probe ARGV``: 0 if packets were seen in both directions, else 1."""
    arguments = _arguments(argv)
    application = choose_application(
        discovery.applications(), pid=arguments.pid, file_prefix=arguments.file_prefix, source="uprobe"
    )
    features.check(application.who, "load the shim into it (dpcap attach)")
    with Process(application.pid, application.who) as process:
        found = candidates.find(process, arguments.functions)
        outcomes = _try(process, found, arguments.seconds)
    rows = [_row(i, c, o) for i, (c, o) in enumerate(zip(found, outcomes, strict=True), 1)]
    if arguments.csv:
        _write_csv(arguments.csv, rows)
    if arguments.log:
        _write_logs(arguments.log, application, rows)
    if arguments.json:
        about = {"application": application.name, "pid": application.pid}
        print(json.dumps([about | row for row in rows], indent=2))
    else:
        _print(rows)
        print(_conclusion(application, rows))
    seen = {row["direction"] for row in rows if row["verdict"] == candidates.PACKETS}
    return 0 if len(seen) == len(DIRECTIONS) else 1


def _try(process: Process, found: Sequence[Candidate], seconds: float) -> list[Outcome]:
    """Try all candidates side by side; one function that several rungs lead to is tried once."""
    trials: dict[tuple[str, int, int, tuple[int, int, int]], candidates.Trial] = {}
    keys = [(c.location.name, c.location.offset, c.direction, c.arguments) for c in found]
    with ExitStack() as stack:
        for key, candidate in zip(keys, found, strict=True):
            if key not in trials:
                trials[key] = candidates.Trial(process, candidate)
                stack.callback(trials[key].close)
        time.sleep(seconds)
        outcomes = {key: trial.outcome() for key, trial in trials.items()}
    return [outcomes[key] for key in keys]


def _row(number: int, candidate: Candidate, outcome: Outcome) -> dict[str, Any]:
    place = candidate.place
    return {
        "number": number,
        "rung": candidate.rung,
        "what": candidate.what,
        "direction": "in" if candidate.direction == protocol.DIRECTION_IN else "out",
        "file": candidate.location.name,
        "offset": f"{candidate.location.offset:#x}",
        "probed": f"{candidate.location.offset + place.offset:#x}",
        "instruction": "emulated" if place.is_cheap else "single-stepped",
        "code": candidate.code.hex(" "),
        "arguments": ",".join(map(str, candidate.arguments)),
        "seconds": round(outcome.seconds, 3),
        "attach_seconds": round(outcome.attach_seconds, 3),
        "polls": outcome.polls,
        "bursts": outcome.bursts,
        "packets": outcome.packets,
        "sound_bursts": outcome.sound,
        "threads": " ".join(map(str, outcome.threads)),
        "verdict": outcome.verdict,
        "problem": outcome.problem,
    }


def _print(rows: Sequence[dict[str, Any]]) -> None:
    columns = ("number", "rung", "direction", "file", "probed", "instruction", "polls", "packets", "verdict")
    table = [
        columns,
        *([os.path.basename(str(row[c])) if c == "file" else str(row[c]) for c in columns] for row in rows),
    ]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        print("  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip())


def _conclusion(application: Application, rows: Sequence[dict[str, Any]]) -> str:
    works = [row for row in rows if row["verdict"] == candidates.PACKETS]
    parts = []
    for direction in ("in", "out"):
        first = next((row for row in works if row["direction"] == direction), None)
        parts.append(f"{direction}: {first['what']}" if first else f"{direction}: no packets seen")
    return f"{application.who}: {'; '.join(parts)}"


def _write_csv(path: str, rows: Sequence[dict[str, Any]]) -> None:
    try:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["number"])
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}") from error


def _write_logs(folder: str, application: Application, rows: Sequence[dict[str, Any]]) -> None:
    """Write candidate-1.log and so on: a line for everything that is known."""
    try:
        os.makedirs(folder, exist_ok=True)
        for row in rows:
            with open(os.path.join(folder, f"candidate-{row['number']}.log"), "w") as file:
                print(f"application: {application.who}", file=file)
                for name, value in row.items():
                    print(f"{name}: {value}", file=file)
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: {error.strerror}") from error
