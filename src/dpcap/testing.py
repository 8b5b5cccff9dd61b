# SPDX-License-Identifier: BSD-3-Clause
"""Unit tests of filters, without DPDK and without a network.

The pytest plugin of this package has the fixture ``dpcap``, which makes filters. Packets are bytes,
hexadecimal text, scapy's, or come from a capture file::

    from dpcap.testing import FilterFactory, packets_from

    def test_gtpu_tap(dpcap: FilterFactory) -> None:
        tap = dpcap("vlan 100 and udp port 2152")
        for packet in packets_from("n3.pcapng"):
            assert packet in tap
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from dpcap.filters.packets import DIRECTIONS, Packet, PacketLike
from dpcap.filters.testing import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpcap.capture.pcapng_read import Packet as FilePacket
    from dpcap.filters.testing.strategies import ip_packets, packets
    from dpcap.filters.testing.tap import FilterFactory, Tap

__all__ = [
    "FilterFactory",
    "Packet",
    "PacketLike",
    "Tap",
    "build",
    "ip_packets",
    "packets",
    "packets_from",
]


def __getattr__(name: str) -> object:
    # They bring the compiler or hypothesis, and not every test needs these.
    if name in ("FilterFactory", "Tap"):
        from dpcap.filters.testing import tap  # noqa: PLC0415

        return getattr(tap, name)
    if name in ("ip_packets", "packets"):
        try:
            from dpcap.filters.testing import strategies  # noqa: PLC0415
        except ModuleNotFoundError as error:
            if error.name != "hypothesis":
                raise
            raise ImportError(
                f"dpcap.testing.{name} needs hypothesis: pip install 'dpcap[testing]'"
            ) from None
        return getattr(strategies, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def packets_from(path: str | os.PathLike[str]) -> Iterator[Packet]:
    """The packets of a pcap or pcapng file, compressed or not, in order.

    Of a pcapng file they have their direction and queue, of dpcap's own the port too. Raises
    ValueError for a file that cannot be read, is damaged, or is not of Ethernet.
    """
    from dpcap.capture.errors import DpcapError  # noqa: PLC0415 (few tests read files)
    from dpcap.capture.pcapng import LINKTYPE_ETHERNET  # noqa: PLC0415
    from dpcap.capture.savefile import packets as read  # noqa: PLC0415

    try:
        for packet in read(os.fspath(path)):
            kind = packet.interface.linktype
            if kind != LINKTYPE_ETHERNET:
                raise ValueError(f"{path}: packets of link type {kind}; filters are for Ethernet (1)")
            yield _from_file(packet)
    except DpcapError as error:
        raise ValueError(str(error)) from None


def _from_file(packet: FilePacket) -> Packet:
    port = re.fullmatch(r"port(\d+)", packet.interface.name)  # dpcap's names of DPDK's ports
    return Packet(
        packet.data,
        wirelen=max(packet.origlen, packet.caplen),
        direction=DIRECTIONS.get(packet.direction),
        port=int(port[1]) if port else 0,
        queue=packet.queue or 0,
    )
