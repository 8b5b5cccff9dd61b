# SPDX-License-Identifier: BSD-3-Clause
"""Packets as tests and scripts have them, made into what a filter runs over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal, SupportsBytes

Direction = Literal["in", "out"]

#: Bits 0 and 1 of pcapng's epb_flags, which scapy hands on.
DIRECTIONS: Final[dict[Any, Direction]] = {1: "in", 2: "out"}
# scapy layers that begin a packet without its Ethernet header.
_NOT_ETHERNET: Final = ("ARP", "Dot1Q", "ICMP", "IP", "IPv6", "SCTP", "TCP", "UDP")


@dataclass(frozen=True, init=False, repr=False)
class Packet:
    """An Ethernet frame without FCS, and what DPDK knows of it.

    ``data`` is any :data:`PacketLike`. ``wirelen`` is the length on the wire, more than the
    bytes that are there when the packet was cut; ``port`` and ``queue`` are DPDK's ids.

    >>> Packet("02 00 00 00 00 02  02 00 00 00 00 01  08 00", direction="in", port=3) in tap

    Raises ValueError for text that is not hexadecimal, TypeError for what is no packet.
    """

    data: bytes
    wirelen: int
    direction: Direction | None
    port: int
    queue: int
    #: What it was made from.
    source: object = field(compare=False)

    def __init__(
        self,
        data: PacketLike,
        *,
        wirelen: int | None = None,
        direction: Direction | None = None,
        port: int | None = None,
        queue: int | None = None,
    ) -> None:
        raw, known = _convert(data)
        wirelen = known.get("wirelen", len(raw)) if wirelen is None else wirelen
        if wirelen < len(raw):
            raise ValueError(f"a packet of {len(raw)} bytes cannot have had {wirelen} on the wire")
        if direction not in (None, "in", "out"):
            raise ValueError(f'direction is "in" or "out", not {direction!r}')
        values = {
            "data": raw,
            "wirelen": wirelen,
            "direction": direction or known.get("direction"),
            "port": known.get("port", 0) if port is None else port,
            "queue": known.get("queue", 0) if queue is None else queue,
            "source": known.get("source", data),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __bytes__(self) -> bytes:
        return self.data

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        more = "" if self.wirelen == len(self.data) else f", wirelen={self.wirelen}"
        more += f", direction={self.direction!r}" if self.direction else ""
        more += f", port={self.port}" if self.port else ""
        more += f", queue={self.queue}" if self.queue else ""
        return f"Packet({self.data.hex()!r}{more})"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """What hypothesis and IPython show, which know better for dataclasses."""
        printer.text(repr(self))


#: What can be asked for in a filter: bytes, hexadecimal text or a dump (see hexdump.py), a scapy
#: packet, a Packet, or anything else that turns into bytes.
PacketLike = bytes | bytearray | memoryview | str | SupportsBytes


def as_packet(value: PacketLike) -> Packet:
    """The packet itself, or a Packet made from what there is."""
    return value if isinstance(value, Packet) else Packet(value)


def is_scapy(value: object) -> bool:
    """A packet of scapy's, told without importing scapy."""
    return any(cls.__module__ == "scapy.packet" and cls.__name__ == "Packet" for cls in type(value).__mro__)


def _convert(value: Any) -> tuple[bytes, dict[str, Any]]:
    """Bytes, and what else the object knows of the packet."""
    if isinstance(value, Packet):
        return value.data, {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, str):
        from dpcap.filters.hexdump import parse  # noqa: PLC0415 (few packets come as text)

        return parse(value), {}
    if is_scapy(value):
        name = type(value).__name__
        if name in _NOT_ETHERNET:
            raise ValueError(
                f"the packet begins with {name}: a filter sees Ethernet (put Ether()/ before it)"
            )
        data = bytes(value)
        known = {"direction": DIRECTIONS.get(getattr(value, "direction", None))}
        # It stays what it was read with when the packet is changed.
        wirelen = getattr(value, "wirelen", None) or 0
        return data, known | ({"wirelen": wirelen} if wirelen > len(data) else {})
    if hasattr(type(value), "__bytes__"):
        return bytes(value), {}
    try:
        return bytes(memoryview(value)), {}  # array.array, mmap and others
    except TypeError:
        raise TypeError(
            f"{type(value).__name__} is no packet: bytes, hexadecimal text, scapy's, dpcap.testing.Packet are"
        ) from None
