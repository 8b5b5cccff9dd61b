# SPDX-License-Identifier: BSD-3-Clause
"""Where packets of a file go: another file, text, or a count."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from dpcap.capture import pcap_read, pcapng
from dpcap.capture.errors import DpcapError
from dpcap.capture.pcapng_read import INBOUND, OUTBOUND, Packet
from dpcap.capture.sinks.compressed import open_file
from dpcap.capture.sinks.stamps import Stamper
from dpcap.capture.sinks.text import TextSink
from dpcap.filters import libpcap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.capture.arguments import Arguments
    from dpcap.capture.pcapng_read import Block

_MAX_NS = (1 << 64) - 1  # that pcapng can hold


class Output(Protocol):
    """Takes what a file is left with."""

    def put(self, items: Sequence[Packet | Block]) -> None:
        """Take packets and other blocks, in order."""

    def finish(self) -> None:
        """End, whatever has happened."""


class FileOutput:
    """Writes blocks as they stood in the file that they come from."""

    def __init__(self, path: str, *, group_read: bool = False) -> None:
        self._sink = open_file(path, group_read=group_read)
        self._started = False

    def put(self, items: Sequence[Packet | Block]) -> None:
        """Write them. Raises OutputError, or BrokenPipeError when nobody reads any more."""
        if not items:
            return
        if not self._started:
            self._started = True
            self._sink.start(b"", bytes)
        self._sink.write(
            b"".join([item.block.raw if isinstance(item, Packet) else item.raw for item in items])
        )

    def finish(self) -> None:
        """Close the file, or leave alone what was there when nothing could be read."""
        if self._started:
            self._sink.finish()
        else:
            self._sink.discard()


class CountOutput:
    """Prints how many packets came, as tcpdump --count does."""

    def __init__(self) -> None:
        self._count = 0

    def put(self, items: Sequence[Packet | Block]) -> None:
        """Count the packets."""
        self._count += sum(isinstance(item, Packet) for item in items)

    def finish(self) -> None:
        """Print the count."""
        print(f"{self._count} packet{'' if self._count == 1 else 's'}", flush=True)


class TextOutput:
    """Prints packets: tcpdump does, and port and direction are added where the file has them."""

    def __init__(self, arguments: Arguments, path: str) -> None:
        self._path = path
        self._linktype: int | None = None
        self._names: list[str] = []
        self._sink = TextSink(
            self._names,
            flags=arguments.printer_flags,
            stamper=Stamper(arguments.time_format, nano=arguments.nano),
            number=arguments.number,
            out=sys.stdout.fileno(),
        )

    def put(self, items: Sequence[Packet | Block]) -> None:
        """Print the packets. Raises ToolError, BrokenPipeError, or DpcapError for a second link type."""
        blocks: list[bytes] = []
        try:
            blocks.extend(self._block(item) for item in items if isinstance(item, Packet))
        finally:  # what can be printed is
            if blocks:
                self._sink.write(b"".join(blocks))
        if self._sink.done:
            raise BrokenPipeError

    def _block(self, packet: Packet) -> bytes:
        linktype = packet.interface.linktype
        if self._linktype is None:
            self._linktype = linktype
            self._sink.start(pcapng.section(), bytes)
        elif linktype != self._linktype:
            first, second = map(libpcap.link_name, (self._linktype, linktype))
            raise DpcapError(
                f"{self._path} has packets of link types {first} and {second}, which tcpdump cannot print "
                "together: print them with tshark -r, or some of them with -i NAME"
            )
        name = packet.interface.name if packet.direction in (INBOUND, OUTBOUND) else ""
        described = b""
        if name not in self._names:
            self._names.append(name)
            described = pcapng.Interface(name, linktype=linktype).block(pcap_read.longest(linktype))
        return described + pcapng.packet(
            self._names.index(name),
            min(max(packet.ns, 0), _MAX_NS),
            packet.data,
            packet.origlen,
            packet.flags,
        )

    def finish(self) -> None:
        """Print what is left. Raises as put() does."""
        self._sink.finish()
