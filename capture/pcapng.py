# SPDX-License-Identifier: BSD-3-Clause
"""The blocks of a pcapng file that are not packets: SHB, IDB and ISB (draft-ietf-opsawg-pcapng).

Integers are in this machine's byte order, as in the rings. A block is

    +---------------------+
    | type                |  u32
    | total length        |  u32, all of the block, a multiple of 4
    | body                |
    | options             |  code u16, length u16, value padded to 4 bytes; ended by code 0, length 0
    | total length        |  u32
    +---------------------+
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Option = tuple[int, bytes]

_SHB, _IDB, _ISB, _EPB = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
LINKTYPE_ETHERNET = 1

_OPT_ENDOFOPT, _OPT_COMMENT = 0, 1
_SHB_HARDWARE, _SHB_OS, _SHB_USERAPPL = 2, 3, 4
_IF_NAME, _IF_DESCRIPTION, _IF_MACADDR, _IF_SPEED = 2, 3, 6, 8
_IF_TSRESOL, _IF_FILTER, _IF_OS, _IF_HARDWARE = 9, 11, 12, 15
_EPB_FLAGS = 2
_ISB_STARTTIME, _ISB_ENDTIME, _ISB_IFRECV, _ISB_IFDROP, _ISB_FILTERACCEPT = 2, 3, 4, 5, 6
_ISB_OSDROP, _ISB_USRDELIV = 7, 8

_NANOSECONDS = b"\x09"  # if_tsresol: 10^-9
_FILTER_IS_TEXT = b"\0"  # first byte of if_filter
_MAX_OPTION = 0xFFFF  # bytes


def _block(kind: int, body: bytes, options: Iterable[Option]) -> bytes:
    parts = [body]
    for code, value in options:
        value = value[:_MAX_OPTION]  # noqa: PLW2901 - a filter of a thousand hosts is cut
        parts += [struct.pack("=HH", code, len(value)), value, bytes(-len(value) % 4)]
    parts.append(struct.pack("=HH", _OPT_ENDOFOPT, 0))
    content = b"".join(parts)
    size = struct.pack("=I", 12 + len(content))
    return struct.pack("=I", kind) + size + content + size


def _texts(options: Iterable[tuple[int, str]]) -> list[Option]:
    return [(code, text.encode("utf-8", "surrogateescape")) for code, text in options if text]


def section(
    *, hardware: str = "", os: str = "", application: str = "", comments: Iterable[str] = ()
) -> bytes:
    """Return the section header block that begins the file."""
    body = struct.pack("=IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1)  # version 1.0, length not known
    return _block(
        _SHB,
        body,
        _texts(
            [
                *((_OPT_COMMENT, c) for c in comments),
                (_SHB_HARDWARE, hardware),
                (_SHB_OS, os),
                (_SHB_USERAPPL, application),
            ]
        ),
    )


class Interface(NamedTuple):
    """One capture interface: a port."""

    name: str
    description: str = ""
    mac: bytes = b""  # 6 octets
    speed: int = 0  # bit/s, 0: not known
    filter: str = ""
    os: str = ""
    hardware: str = ""  # the driver
    linktype: int = LINKTYPE_ETHERNET

    def block(self, snaplen: int) -> bytes:
        """Return its description block. tcpdump refuses a file in which snaplen differs between them."""
        options = _texts([(_IF_NAME, self.name), (_IF_DESCRIPTION, self.description)])
        if len(self.mac) == 6:
            options.append((_IF_MACADDR, self.mac))
        if self.speed:
            options.append((_IF_SPEED, struct.pack("=Q", self.speed)))
        options.append((_IF_TSRESOL, _NANOSECONDS))
        if self.filter:
            options.append((_IF_FILTER, _FILTER_IS_TEXT + self.filter.encode("utf-8", "surrogateescape")))
        options += _texts([(_IF_OS, self.os), (_IF_HARDWARE, self.hardware)])
        return _block(_IDB, struct.pack("=HHI", self.linktype, 0, snaplen), options)


def packet(interface_id: int, ns: int, data: bytes, origlen: int, flags: int = 0) -> bytes:
    """Return an enhanced packet block. ns is its time since 1970, flags are epb_flags."""
    fixed = struct.pack("=IIIII", interface_id, *_words(ns), len(data), origlen)
    options = [(_EPB_FLAGS, struct.pack("=I", flags))] if flags else []
    return _block(_EPB, fixed + data + bytes(-len(data) % 4), options)


class Statistics(NamedTuple):
    """Counters of an interface since the start of the capture. Times are nanoseconds since 1970."""

    start_ns: int
    end_ns: int
    received: int  # packets that the hooks saw
    accepted: int  # by the filter
    dropped: int  # accepted, and a ring was full
    delivered: int  # written to the file

    def block(self, interface_id: int) -> bytes:
        """Return its interface statistics block."""
        counters = (
            (_ISB_IFRECV, self.received),
            (_ISB_IFDROP, self.dropped),  # the ring is the interface's; Wireshark shows this counter
            (_ISB_FILTERACCEPT, self.accepted),
            (_ISB_OSDROP, 0),
            (_ISB_USRDELIV, self.delivered),
        )
        options = [
            (_ISB_STARTTIME, _time(self.start_ns)),
            (_ISB_ENDTIME, _time(self.end_ns)),
            *((code, struct.pack("=Q", value)) for code, value in counters),
        ]
        return _block(_ISB, struct.pack("=I", interface_id) + _time(self.end_ns), options)


def _time(ns: int) -> bytes:
    """Return a time in the units of if_tsresol: the high word, then the low one."""
    return struct.pack("=II", *_words(ns))


def _words(ns: int) -> tuple[int, int]:
    return ns >> 32, ns & 0xFFFFFFFF
