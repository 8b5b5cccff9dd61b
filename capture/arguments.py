# SPDX-License-Identifier: BSD-3-Clause
"""The command line of a capture, read as options.py describes it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

from dpcap.capture.errors import UsageError
from dpcap.capture.options import MAX_SNAPLEN, OPTIONS, REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Arguments(argparse.Namespace):
    """What was asked for on the command line."""

    filter: list[str]
    filter_file: str | None
    no_optimize: bool
    interfaces: list[str]
    pids: list[int]
    file_prefix: str | None
    inject: bool
    direction: str
    source: str | None
    sample: int  # one packet in so many
    functions: list[str]
    snaplen: int  # bytes
    snaplen_given: bool
    count: int | None
    engine: str
    buffer_kib: int | None
    linktype: str | None
    time_stamp_type: str | None
    read: str | None
    count_only: bool
    write: str | None
    group_read: bool
    comments: list[str]
    user: str | None
    file_size: int | None  # bytes
    rotate_seconds: int | None
    file_count: int | None
    postrotate_command: str | None
    ring_buffer: list[str]
    autostop: list[str]
    time_format: int
    number: bool
    nano: bool
    micro: bool
    precision: str | None
    quiet: bool
    print: bool
    printer_flags: list[str]
    list_interfaces: bool
    list_linktypes: bool
    list_time_stamps: bool
    json: bool
    dump: int
    dump_language: str | None
    help: bool
    version: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (dpcap --help shows the options)")


class _Printer(argparse.Action):
    """Collect the option itself, and its value if it has one, for tcpdump."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        del parser
        if option is not None:
            getattr(namespace, self.dest).extend([option, values] if values else [option])


class _Filter(argparse.Action):
    """-f TEXT as dumpcap has it, -F FILE as tcpdump has it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        del parser
        if namespace.filter_file is not None or namespace.filter_text is not None:
            raise UsageError("the filter is given twice: use -f or -F once")
        setattr(namespace, "filter_file" if option == "-F" else "filter_text", values)


class _Refused(argparse.Action):
    """Say what to do instead of an option that dpcap does not have."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        del parser, namespace, values
        raise UsageError(f"{option}: {REFUSED[option or '']}")


def _number(what: str, low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                f"invalid {what} {text}: a number from {low} to {high} is needed"
            )
        return int(text)

    return parse


def _file_size(text: str) -> int:
    from dpcap.capture.file_options import file_size  # noqa: PLC0415 - rarely needed

    try:
        return file_size(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid file size {text}") from None


def _snaplen(text: str) -> int:
    # 0 means the most, as it does for tcpdump.
    return _number("snapshot length", 0, MAX_SNAPLEN)(text) or MAX_SNAPLEN


# What argparse is told for each kind of option.
_KINDS: dict[str, dict[str, Any]] = {
    "flag": {"action": "store_true"},
    "counted": {"action": "count", "default": 0},
    "value": {},
    "append": {"action": "append", "default": None},
    "filter": {"action": _Filter},
    "printer": {"action": _Printer, "nargs": 0},
    "printer_value": {"action": _Printer},
    "pids": {"action": "append", "type": _number("process id", 1, 1 << 22)},
    "snaplen": {"type": _snaplen},
    "count": {"type": _number("packet count", 1, (1 << 63) - 1)},
    "sample": {"type": _number("sampling", 1, 1_000_000_000)},
    "kib": {"type": _number("buffer size", 1, 262144)},
    "size": {"type": _file_size},
    "seconds": {"type": _number("number of seconds", 1, 1 << 31)},
    "files": {"type": _number("number of files", 1, 1 << 31)},
}
_LISTS = ("interfaces", "functions", "pids", "comments", "ring_buffer", "autostop", "printer_flags")


def _parser() -> _Parser:
    parser = _Parser(
        prog="dpcap",
        add_help=False,
        allow_abbrev=False,  # an option added later must not change what a script means
        usage=argparse.SUPPRESS,
        # With a width argparse does not import shutil to ask the terminal's, for each option.
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100),
    )
    parser.add_argument("filter", nargs="*")
    for option in OPTIONS:
        settings = dict(_KINDS[option.kind])
        if option.choices:
            settings["choices"] = option.choices
        parser.add_argument(*option.flags, dest=option.dest, **settings)
    for flag in REFUSED:
        parser.add_argument(flag, dest="refused", action=_Refused, nargs="?")
    parser.set_defaults(
        direction="inout", engine="jit", sample=1, filter_file=None, filter_text=None, **dict.fromkeys(_LISTS)
    )
    return parser


def parse(argv: Sequence[str]) -> Arguments:
    """Read the command line. Raises UsageError."""
    namespace = Arguments()
    namespace.printer_flags = []
    arguments = _parser().parse_intermixed_args(argv, namespace)
    for name in _LISTS:
        setattr(arguments, name, getattr(arguments, name) or [])
    arguments.snaplen_given = arguments.snaplen is not None
    if not arguments.snaplen_given:
        arguments.snaplen = MAX_SNAPLEN
    if arguments.inject and arguments.source == "uprobe":
        raise UsageError("--inject loads the shim, --source uprobe leaves it out: one of them")
    if (arguments.sample > 1 or arguments.functions) and (arguments.source == "shim" or arguments.inject):
        raise UsageError("--sample and --function mean kernel uprobes: leave --source shim and --inject out")
    if arguments.json and not arguments.list_interfaces:
        raise UsageError("--json goes with -D")
    _settle_filter(arguments)
    _settle_precision(arguments)
    if "-q" in arguments.printer_flags and arguments.write is not None and not arguments.print:
        arguments.quiet = True  # dumpcap's -q; nothing is printed that tcpdump's could shorten
    return arguments


def _settle_filter(arguments: Arguments) -> None:
    if arguments.filter_file is not None and arguments.filter:
        raise UsageError("the filter is given twice: -F FILE and on the command line")
    if arguments.filter_text is not None:
        if arguments.filter:
            raise UsageError("the filter is given twice: -f FILTER and on the command line")
        arguments.filter = [arguments.filter_text]


def _settle_precision(arguments: Arguments) -> None:
    nano = arguments.nano or arguments.precision == "nano"
    if nano and (arguments.micro or arguments.precision == "micro"):
        raise UsageError("--nano and --micro contradict each other: use one of them")
    arguments.nano = nano
    if arguments.time_stamp_type not in (None, "host"):
        raise UsageError(f"-j: no time stamp type {arguments.time_stamp_type} (host is the one there is)")
    is_live = not arguments.dump and not arguments.dump_language and arguments.read is None
    if is_live and arguments.linktype not in (None, "EN10MB"):
        raise UsageError(f"-y: no port has link type {arguments.linktype} (DPDK's are Ethernet, EN10MB)")
