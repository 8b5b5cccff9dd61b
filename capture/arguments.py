# SPDX-License-Identifier: BSD-3-Clause
"""The command line of a capture: its options and its help.

Options that tcpdump has too mean what they mean there. Those that decide on how packets are printed are
handed to tcpdump itself, which prints them.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

from dpcap.capture.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_SNAPLEN = 262144  # bytes, MAXIMUM_SNAPLEN of libpcap

USAGE = """\
usage: dpcap [-i PORT]... [-w FILE] [-c N] [OPTION]... [FILTER...]
       dpcap -r FILE [-w FILE] [OPTION]... [FILTER...]
       dpcap -D [--json] | -d|-dd|-ddd|--dump ebpf [FILTER...]
       dpcap COMMAND ...
"""

# Handed to the printer as they are; a flag given twice is handed on twice.
PRINTER_FLAGS = "AeNnqSvXx"


class Arguments(argparse.Namespace):
    """What was asked for on the command line."""

    filter: list[str]
    filter_file: str | None
    no_optimize: bool
    interfaces: list[str]
    pid: int | None
    file_prefix: str | None
    inject: bool
    direction: str
    source: str | None
    snaplen: int
    snaplen_given: bool
    count: int | None
    engine: str
    read: str | None
    count_only: bool
    write: str | None
    file_size: int | None  # bytes
    rotate_seconds: int | None
    file_count: int | None
    postrotate_command: str | None
    ring_buffer: list[str]
    autostop: list[str]
    time_format: int
    number: bool
    nano: bool
    quiet: bool
    print: bool
    printer_flags: list[str]
    list_interfaces: bool
    json: bool
    dump: int
    dump_language: str | None
    help: bool
    version: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (dpcap --help shows the options)")


class _PrinterFlag(argparse.Action):
    """Collect the option itself, for tcpdump."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **kwargs)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        del parser, values
        if option is not None:
            getattr(namespace, self.dest).append(option)


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


def _groups(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to capture")
    what.add_argument(
        "filter", nargs="*", metavar="FILTER", help="a pcap-filter(7) expression, as for tcpdump"
    )
    what.add_argument("-F", dest="filter_file", metavar="FILE", help="read the filter from FILE")
    what.add_argument(
        "-i", "--interface", dest="interfaces", action="append", default=[], metavar="PORT",
        help="port0, 0, a device name or any; may be repeated",
    )  # fmt: skip
    what.add_argument(
        "--pid",
        type=_number("process id", 1, 1 << 22),
        metavar="PID",
        help="the application by its process id",
    )
    what.add_argument("--file-prefix", metavar="P", help="the application by its EAL file-prefix")
    what.add_argument(
        "--inject", action="store_true", help="load the shim if it is missing (dpcap attach --help explains)"
    )
    what.add_argument(
        "-Q", "--direction", choices=("in", "out", "inout"), default="inout",
        metavar="DIR",
        help="in: received packets, out: sent ones, inout: both (default)",
    )  # fmt: skip
    what.add_argument(
        "-s", "--snapshot-length", dest="snaplen", type=_snaplen, metavar="N",
        help=f"bytes kept of a packet (default {MAX_SNAPLEN})",
    )  # fmt: skip
    what.add_argument(
        "-c",
        dest="count",
        type=_number("packet count", 1, (1 << 63) - 1),
        metavar="N",
        help="stop after N packets",
    )
    what.add_argument(
        "--engine", choices=("jit", "interp"), default="jit", help="how the filter runs in the application"
    )
    what.add_argument(
        "--source",
        choices=("shim", "uprobe"),
        help="how: by the shim (default, if it is there) or by kernel uprobes",
    )
    what.add_argument("-O", "--no-optimize", action="store_true", help="leave libpcap's optimizer out")


def _output(parser: argparse.ArgumentParser) -> None:
    out = parser.add_argument_group("output")
    out.add_argument(
        "-r", dest="read", metavar="FILE", help="filter a pcap or pcapng file instead; - is standard input"
    )
    out.add_argument(
        "--count", dest="count_only", action="store_true", help="with -r: print how many packets match"
    )
    out.add_argument("-w", dest="write", metavar="FILE", help="write pcapng to FILE; - is standard output")
    out.add_argument(
        "-C",
        dest="file_size",
        type=_file_size,
        metavar="SIZE",
        help="next file after SIZE MB (or 9k, 9m, 9g)",
    )
    out.add_argument(
        "-G",
        dest="rotate_seconds",
        type=_number("number of seconds", 1, 1 << 31),
        metavar="SECS",
        help="next file after SECS seconds; FILE may hold strftime(3) formats",
    )
    out.add_argument(
        "-W",
        dest="file_count",
        type=_number("number of files", 1, 1 << 31),
        metavar="N",
        help="with -C: overwrite after N files; with -G: end after N",
    )
    out.add_argument(
        "-z", dest="postrotate_command", metavar="CMD", help="run CMD FILE on each file that is complete"
    )
    out.add_argument(
        "-b",
        dest="ring_buffer",
        action="append",
        default=[],
        metavar="WHAT:N",
        help="next file after duration, interval, filesize, packets; keep files:N",
    )
    out.add_argument(
        "-a",
        dest="autostop",
        action="append",
        default=[],
        metavar="WHAT:N",
        help="end after duration (s), filesize (kB), packets or files",
    )
    for flag in PRINTER_FLAGS:
        out.add_argument(
            f"-{flag}", dest="printer_flags", action=_PrinterFlag, default=[], help=argparse.SUPPRESS
        )
    out.add_argument("-t", dest="time_format", action="count", default=0, help=argparse.SUPPRESS)
    out.add_argument("-#", "--number", action="store_true", help="number the printed packets")
    out.add_argument("--print", action="store_true", help="with -w: print the packets too")
    out.add_argument("--quiet", action="store_true", help="say nothing but errors")
    out.add_argument("--nano", action="store_true", help="print nanoseconds instead of microseconds")
    for options in (("-l",), ("-U", "--packet-buffered"), ("-p",), ("--immediate-mode",)):
        # What they ask for is always so: packets are shown and written at once; a port's mode is left alone.
        out.add_argument(*options, action="store_true", dest="ignored", help=argparse.SUPPRESS)


def _other(parser: argparse.ArgumentParser) -> None:
    other = parser.add_argument_group("without capturing")
    other.add_argument(
        "-D",
        "--list-interfaces",
        action="store_true",
        help="list the ports of all DPDK applications; --json as JSON, in full",
    )
    other.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    other.add_argument(
        "-d",
        dest="dump",
        action="count",
        default=0,
        help="print the filter's cBPF; -dd as C, -ddd as numbers",
    )
    other.add_argument(
        "--dump", dest="dump_language", choices=("cbpf", "ebpf"), help="print the filter as cBPF or as eBPF"
    )
    other.add_argument("-h", "--help", action="store_true", help="print this")
    other.add_argument("--version", action="store_true", help="print versions and what was built in")


def _parser() -> _Parser:
    parser = _Parser(
        prog="dpcap",
        add_help=False,
        allow_abbrev=False,  # an option added later must not change what a script means
        usage=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
    )
    _groups(parser)
    _output(parser)
    _other(parser)
    return parser


def parse(argv: Sequence[str]) -> Arguments:
    """Read the command line. Raises UsageError."""
    arguments = _parser().parse_intermixed_args(argv, Arguments())
    arguments.snaplen_given = arguments.snaplen is not None
    if not arguments.snaplen_given:
        arguments.snaplen = MAX_SNAPLEN
    if arguments.inject and arguments.source == "uprobe":
        raise UsageError("--inject loads the shim, --source uprobe leaves it out: one of them")
    if arguments.json and not arguments.list_interfaces:
        raise UsageError("--json goes with -D")
    if arguments.filter_file is not None and arguments.filter:
        raise UsageError("the filter is given twice: -F FILE and on the command line")
    return arguments


def help_text(commands: Sequence[tuple[str, str]]) -> str:
    """Return what --help prints; commands are names and one-line descriptions."""
    lines = _parser().format_help().strip().splitlines()
    end_of_output = lines.index("without capturing:") - 1
    flags = " ".join(f"-{flag}" for flag in PRINTER_FLAGS)
    lines.insert(end_of_output, f"  {flags} -t -tt ...  printed as tcpdump prints with them")
    width = max(len(name) for name, _ in commands)
    return "\n".join(
        [
            USAGE + "\ntcpdump for live DPDK applications.\n",
            *lines,
            "",
            "commands:",
            *(f"  {name:<{width}}  {description}" for name, description in commands),
            "",
        ]
    )
