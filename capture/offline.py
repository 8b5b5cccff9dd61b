# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap -r FILE``: filters what was captured before, into a file or as text.

A file stays what it is: pcap or pcapng, byte order, units of time, options, comments, name resolution,
statistics and blocks that nobody knows. Only the packets that do not match are left out.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from dpcap import filters
from dpcap.capture import pcap_read, pcapng_read, savefile
from dpcap.capture.errors import DpcapError, NoPortError, UsageError
from dpcap.capture.expression import compiled, expression
from dpcap.capture.file_options import file_options
from dpcap.capture.offline_output import CountOutput, FileOutput, TextOutput
from dpcap.capture.pcapng_read import Packet, PcapngError
from dpcap.capture.privileges import drop
from dpcap.capture.sinks.file import STDOUT
from dpcap.capture.stop import Interruptible
from dpcap.filters import cbpf, libpcap
from dpcap.filters.libpcap import Link

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BufferedReader

    from dpcap.capture.arguments import Arguments
    from dpcap.capture.offline_output import Output
    from dpcap.capture.pcapng_read import Block, Interface
    from dpcap.filters import Filter

# Looked at together: a burst costs little more than a packet.
_BURST = 256
_LONGEST_IN_BURST = 0xFFFF  # bytes
_DIRECTIONS = {"in": pcapng_read.INBOUND, "out": pcapng_read.OUTBOUND}


def run(arguments: Arguments) -> int:
    """Filter a file and return the exit code. Raises DpcapError where it is damaged, after what is whole."""
    path = arguments.read
    assert path is not None  # noqa: S101 - that is what brought us here
    _refuse(arguments, path)
    selector = Selector(arguments, path)
    with savefile.opened(path) as file:
        if arguments.user is not None:
            drop(arguments.user)
        _filter(arguments, path, selector, file)
    return 0


def _filter(arguments: Arguments, path: str, selector: Selector, file: BufferedReader) -> None:
    outputs = _outputs(arguments, path)
    limit = min((n for n in (arguments.count, file_options(arguments).packets) if n), default=None)
    try:
        reading = _Reading(selector, outputs, limit, burst=1 if _is_stream(path) else _BURST)
        with Interruptible() as ending:
            reading.run(ending.iterate(_announced(savefile.read(file, path), path, quiet=arguments.quiet)))
    finally:
        for output in outputs:
            output.finish()


def first_link(path: str) -> tuple[Link, int]:
    """Return link and snapshot length of a file's first interface. Raises DpcapError when there is none."""
    for item in savefile.items(path):
        interface = _described(item)
        if interface is not None and not isinstance(item, Packet):
            return Link(interface.linktype, item.order), interface.snaplen or libpcap.SNAPLEN
    raise DpcapError(f"{path} describes no interface: it has no link type")


def _described(item: Packet | Block) -> Interface | None:
    if isinstance(item, Packet):
        return item.interface
    if item.kind == pcap_read.FILE_HEADER:
        return pcap_read.parse_header(item.raw)
    return pcapng_read.parse_interface(item) if item.kind == pcapng_read.INTERFACE_DESCRIPTION else None


def _refuse(arguments: Arguments, path: str) -> None:
    """Refuse options that are for live captures, where to ignore them would mislead."""
    out = arguments.write
    options = file_options(arguments)
    if options.rotation:
        raise UsageError(
            f"-r writes one file: split {path} before or after with editcap -c N or -i SECONDS (Wireshark)"
        )
    if arguments.comments:
        raise UsageError(
            "--capture-comment is for new files: editcap --capture-comment TEXT adds one to a file"
        )
    if options.seconds:
        raise UsageError("-a duration is about live captures: a file is read to its end (or -c N packets)")
    if arguments.snaplen_given:
        raise UsageError(
            f"-s cuts packets while they are captured: editcap -s {arguments.snaplen} cuts those of a file"
        )
    if out not in (None, STDOUT) and path != savefile.STDIN and os.path.exists(out):
        try:
            same = os.path.samefile(path, out) and stat.S_ISREG(os.stat(out).st_mode)
        except OSError:
            same = False
        if same:
            raise UsageError(f"{out} is the file that is read: write to another one")
    if arguments.print and out is None:
        raise UsageError("--print goes with -w FILE: without it packets are printed anyway")
    if arguments.print and out == STDOUT:
        raise UsageError("--print and -w - both want standard output")


def _is_stream(path: str) -> bool:
    """Tell whether somebody may be waiting for each packet."""
    try:
        mode = os.fstat(0).st_mode if path == savefile.STDIN else os.stat(path).st_mode
    except OSError:  # said when it is opened
        return False
    return not stat.S_ISREG(mode)


def _outputs(arguments: Arguments, path: str) -> list[Output]:
    outputs: list[Output] = []
    if arguments.write is not None:
        outputs.append(FileOutput(arguments.write, group_read=arguments.group_read))
    if arguments.count_only:
        outputs.append(CountOutput())
    elif arguments.write is None or arguments.print:
        outputs.append(TextOutput(arguments, path))
    return outputs


def _announced(items: Iterator[Packet | Block], path: str, *, quiet: bool) -> Iterator[Packet | Block]:
    """Say what is read, as tcpdump does, when the first interface is known."""
    for item in items:
        if not quiet:
            interface = _described(item)
            if interface is not None:
                quiet = True
                print(
                    f"dpcap: reading from file {path}, link-type {libpcap.link_name(interface.linktype)}, "
                    f"snapshot length {interface.snaplen or libpcap.SNAPLEN}",
                    file=sys.stderr,
                )
        yield item


class Selector:
    """Says which packets are wanted. The filter is compiled for each link type that occurs."""

    def __init__(self, arguments: Arguments, path: str) -> None:
        self._text = expression(arguments)
        self._optimize = not arguments.no_optimize
        self._path = path
        self._direction = _DIRECTIONS.get(arguments.direction)
        self._names = set() if "any" in arguments.interfaces else set(arguments.interfaces)
        self._seen: set[str] = set()  # interfaces that there are
        self._taps: dict[Link, Filter] = {}

    def prepare(self, item: Packet | Block) -> None:
        """Compile for the interface that a block describes; what is wrong is said before packets come."""
        interface = _described(item)
        if interface is None or isinstance(item, Packet):
            return
        is_pcap = item.kind == pcap_read.FILE_HEADER
        if is_pcap and self._direction:
            raise UsageError(f"-Q: {self._path} is a pcap file, which does not say directions (pcapng does)")
        if is_pcap and self._names:
            raise UsageError(f"-i: {self._path} is a pcap file, which has no interfaces (pcapng does)")
        if not self._taps:
            tap = self._tap(Link(interface.linktype, item.order))
            if is_pcap and any(cbpf.is_ancillary(insn) for insn in tap.cbpf):
                raise UsageError(
                    f"{self._path} is a pcap file, which does not say directions (pcapng does): "
                    "leave inbound and outbound out of the filter"
                )

    def _tap(self, link: Link) -> Filter:
        if link not in self._taps:
            self._taps[link] = compiled(
                lambda: filters.compile(self._text, optimize=self._optimize, link=link)
            )
        return self._taps[link]

    def select(self, packets: Sequence[Packet]) -> list[bool]:
        """Tell for each packet whether it is wanted."""
        wanted = [False] * len(packets)
        groups: dict[tuple[Link, int], list[int]] = {}
        for index, packet in enumerate(packets):
            if self._is_here(packet):
                link = Link(packet.interface.linktype, packet.block.order)
                groups.setdefault((link, packet.direction), []).append(index)
        for (link, direction), indexes in groups.items():
            tap = self._tap(link)
            for index, accepted in zip(
                indexes, _run(tap, [packets[i] for i in indexes], direction), strict=True
            ):
                wanted[index] = accepted
        return wanted

    def _is_here(self, packet: Packet) -> bool:
        if self._direction and packet.direction != self._direction:
            return False
        if self._names:
            interface = packet.interface
            self._seen.add(interface.name)
            return interface.name in self._names or interface.description in self._names
        return True

    def check_names(self) -> None:
        """Raise NoPortError when none of the interfaces that were asked for has a packet."""
        if self._names and not self._names & self._seen:
            asked, there = ", ".join(sorted(self._names)), ", ".join(sorted(filter(None, self._seen)))
            raise NoPortError(
                f"{asked}: no packet of such an interface in {self._path} ({there or 'none'} exist)"
            )


def _run(tap: Filter, packets: Sequence[Packet], direction: int) -> Sequence[bool]:
    # 0, or 3 which nobody writes: not known.
    meta = direction if direction in (pcapng_read.INBOUND, pcapng_read.OUTBOUND) else 0
    program = tap.program()
    if len(packets) > 1 and all(len(p.data) <= _LONGEST_IN_BURST for p in packets):
        return program.run_burst([p.data for p in packets], wirelens=[p.origlen for p in packets], meta=meta)
    return [program.run(p.data, wirelen=p.origlen, meta=meta) != 0 for p in packets]


class _Reading:
    """Carries packets from a file to the outputs."""

    def __init__(
        self, selector: Selector, outputs: Sequence[Output], limit: int | None, *, burst: int
    ) -> None:
        self._selector = selector
        self._outputs = outputs
        self._left = limit
        self._burst = burst
        self._batch: list[Packet | Block] = []

    def run(self, items: Iterator[Packet | Block]) -> None:
        try:
            for item in items:
                self._selector.prepare(item)
                self._batch.append(item)
                if len(self._batch) >= self._burst:
                    self._pass_on()
                    if self._left == 0:
                        return
        except PcapngError:
            self._pass_on()  # what came before the damage is right
            raise
        self._pass_on()
        self._selector.check_names()

    def _pass_on(self) -> None:
        batch, self._batch = self._batch, []
        verdicts = iter(self._selector.select([item for item in batch if isinstance(item, Packet)]))
        wanted: list[Packet | Block] = []
        for item in batch:
            if not isinstance(item, Packet):
                wanted.append(item)
            elif next(verdicts) and self._left != 0:
                wanted.append(item)
                if self._left is not None:
                    self._left -= 1
            if self._left == 0:
                break
        for output in self._outputs:
            output.put(wanted)
