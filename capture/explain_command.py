# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap explain``: what the compiler makes of a filter, stage by stage, and why a packet matches or not."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from dpcap import filters
from dpcap.capture import columns, savefile
from dpcap.capture.errors import DpcapError, UsageError
from dpcap.capture.expression import compiled, read_filter_file
from dpcap.capture.pcapng import LINKTYPE_ETHERNET
from dpcap.filters import explain, hexdump
from dpcap.filters.build import TooManyPathsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dpcap.capture.pcapng_read import Packet
    from dpcap.filters import Filter
    from dpcap.filters.explain import Reason

HELP = """\
usage: dpcap explain [OPTION]... FILTER [FILE|HEX]
       dpcap explain [OPTION]... -F FILTERFILE [FILE|HEX]

Shows what the compiler makes of a filter: libpcap's cBPF, the decisions in it, the decisions after
each pass that changed them, and eBPF and machine code of each form. With packets (a pcap or pcapng
file, - for standard input, or one packet in hexadecimal or as a dump of tcpdump -xx or tshark -x),
shows which match and why. Quote FILTER.

  --packet N       why packet N of FILE matches or not (several: repeat; default: counts)
  --stage KIND,... these stages only: cbpf, ir, pass, ebpf, native; none; default all, with
                   packets none
  --form NAME,...  eBPF and machine code of these forms only: branch-free, early-out, branchy, plain
  -O               leave all optimisers out
  --width N        columns to use; 0 puts nothing side by side (default: those of the terminal)
  -F FILTERFILE    read the filter from a file
"""

_BOLD, _GREEN, _RED, _MARK, _PLAIN = "\033[1m", "\033[32m", "\033[31m", "\033[7m", "\033[0m"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"explain: {message} (dpcap explain --help explains)")


class _Style:
    """Colours, where somebody sees them (https://no-color.org)."""

    def __init__(self) -> None:
        self._on = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._on else text

    def dump(self, text: str) -> str:
        """Show the [marked bytes] of a dump inverted."""
        return re.sub(r"\[[^]]*\]", lambda m: self.paint(m[0], _MARK), text) if self._on else text


def run(argv: Sequence[str]) -> int:
    """Run ``dpcap explain ARGV`` and return the exit code."""
    given = _parse(argv)
    if given.help:
        print(HELP, end="")
        return 0
    words = list(given.words)
    text = read_filter_file(given.F) if given.F else words.pop(0) if words else None
    if text is None:
        raise UsageError("explain: which filter? (dpcap explain --help explains)")
    if len(words) > 1:
        raise UsageError(f"explain: what is {words[1]}? A filter of several words is quoted: 'udp port 53'")
    source = words[0] if words else None
    if given.packet and source is None:
        raise UsageError("explain: --packet N is one of a file: name the file")
    tap = compiled(lambda: filters.compile(text, optimize=not given.O))
    style = _Style()
    kinds = given.stage if given.stage is not None else () if source else explain.KINDS
    if kinds:
        width = _width() if given.width is None else given.width
        _print_stages(tap, kinds, given.form, width, style)
    if source is not None:
        _print_packets(tap, source, given.packet, style)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="dpcap explain", add_help=False, allow_abbrev=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("-F")
    parser.add_argument("-O", "--no-optimize", dest="O", action="store_true")
    parser.add_argument("--packet", action="append", type=_positive, default=[])
    parser.add_argument("--stage", type=_kinds)
    parser.add_argument("--form", type=lambda text: text.split(","))
    parser.add_argument("--width", type=int)
    parser.add_argument("-h", "--help", action="store_true")
    return parser.parse_intermixed_args(argv)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no packet number: they count from 1")
    return int(text)


def _kinds(text: str) -> tuple[str, ...]:
    if text == "none":
        return ()
    kinds = tuple(text.split(","))
    for kind in kinds:
        if kind not in explain.KINDS:
            raise argparse.ArgumentTypeError(
                f"no stage is called {kind} (there are {', '.join(explain.KINDS)} and none)"
            )
    return kinds


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else 0


def _print_stages(
    tap: Filter, kinds: Sequence[str], forms: Sequence[str] | None, width: int, style: _Style
) -> None:
    for form in forms or ():
        if form not in tap.forms:
            raise UsageError(f"explain: this filter has no {form} form (it has {', '.join(tap.forms)})")
    blocks = [
        columns.Block(stage.title, stage.text.expandtabs().splitlines())
        for stage in explain.stages(tap, native="native" in kinds)
        if stage.kind in kinds and (not forms or not stage.form or stage.form in forms)
    ]
    for row in columns.rows(blocks, width):
        titles, *lines = columns.side_by_side(row)
        print("\n".join([style.paint(titles, _BOLD), *lines, ""]))
    names = (f"{name} (default)" if name == tap.default_form else name for name in tap.forms)
    print(style.paint("forms", _BOLD) + f"  {', '.join(names)}")


class _Sample(NamedTuple):
    """A packet to explain."""

    label: str
    data: bytes
    wirelen: int


def _print_packets(tap: Filter, source: str, numbers: Sequence[int], style: _Style) -> None:
    if source == savefile.STDIN or os.path.exists(source):
        samples = _chosen(source, numbers) if numbers else _summed_up(tap, source, style)
    else:
        try:
            data = hexdump.parse(source)
        except ValueError as error:
            raise UsageError(f"explain: {source} is neither a file nor a packet: {error}") from None
        samples = [_Sample("packet", data, len(data))]
    for sample in samples:
        reason = _reason(tap, sample.data, sample.wirelen)
        head, *rest = str(reason).splitlines()
        print(style.paint(f"{sample.label} {head}", _GREEN if reason.result else _RED))
        print("\n".join(style.dump(line) for line in rest))


def _reason(tap: Filter, data: bytes, wirelen: int) -> Reason:
    try:
        return explain.reason(tap, data, wirelen)
    except TooManyPathsError:
        raise DpcapError(
            "explain: this filter has too many ways through it to follow a packet on one"
        ) from None


def _ethernet(packets: Iterable[Packet], path: str) -> Iterable[Packet]:
    for packet in packets:
        if packet.interface.linktype != LINKTYPE_ETHERNET:
            raise DpcapError(
                f"explain: {path} has packets of link type {packet.interface.linktype}; only those of "
                "Ethernet (1) are explained (dpcap -r filters the others too)"
            )
        yield packet


def _chosen(path: str, numbers: Sequence[int]) -> list[_Sample]:
    samples = {}
    for number, packet in enumerate(_ethernet(savefile.packets(path), path), 1):
        if number in numbers:
            samples[number] = _Sample(f"packet {number}", packet.data, packet.origlen)
        if number >= max(numbers):
            break
    for wanted in numbers:
        if wanted not in samples:
            raise DpcapError(f"explain: {path} has no packet {wanted}")
    return [samples[number] for number in numbers]


def _summed_up(tap: Filter, path: str, style: _Style) -> list[_Sample]:
    """Count the packets of a file by what decided; return the packet when it is the only one."""
    groups: dict[tuple[bool, str], list[int]] = {}
    samples = []
    for number, packet in enumerate(_ethernet(savefile.packets(path), path), 1):
        reason = _reason(tap, packet.data, packet.origlen)
        step = reason.decided_by
        why = f"decided by {', '.join(step.fields) or step.test}" if step else "whatever they are"
        groups.setdefault((bool(reason.result), why), []).append(number)
        samples = [_Sample("packet 1", packet.data, packet.origlen)] if number == 1 else []
    total = sum(map(len, groups.values()))
    matching = sum(len(numbers) for (matches, _), numbers in groups.items() if matches)
    print(style.paint(f"{matching} of {total} packet{'' if total == 1 else 's'} match", _BOLD))
    for (matches, why), numbers in sorted(groups.items(), key=lambda g: (not g[0][0], -len(g[1]))):
        what = style.paint("match       " if matches else "do not match", _GREEN if matches else _RED)
        print(f"{len(numbers):9} {what}, {why} (packet {_some(numbers)})")
    return samples


def _some(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:3]))
    return shown if len(numbers) <= 3 else f"{shown}, ..."
