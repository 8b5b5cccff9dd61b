# SPDX-License-Identifier: BSD-3-Clause
"""Functions by their name or place, where DPDK's own table of them is out of reach: the last rungs.

They may be wrappers, with other arguments. What passes through them cannot be told apart by port and queue.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, NamedTuple

from dpcap.capture import protocol
from dpcap.capture.errors import UsageError
from dpcap.capture.uprobe.elf import Image
from dpcap.capture.uprobe.layout import Port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dpcap.capture.uprobe.process import Process

Arguments = tuple[int, int, int]  # positions of queue, packets and their number

DPDK_ARGUMENTS: Arguments = (0, 1, 2)
# BESS: int PMDPort::RecvPackets(queue_t qid, bess::Packet **pkts, int cnt), and "this" before them.
_WRAPPERS = (
    ("_ZN7PMDPort11RecvPacketsEhPPN4bess6PacketEi", protocol.DIRECTION_IN, (1, 2, 3)),
    ("_ZN7PMDPort11SendPacketsEhPPN4bess6PacketEi", protocol.DIRECTION_OUT, (1, 2, 3)),
)
_PLACE = re.compile(
    r"(?P<direction>rx|tx)=(?:(?P<offset>0x[0-9a-fA-F]+)|(?P<symbol>[A-Za-z_$.][\w$.@]*))"
    r"(?::(?P<queue>[0-5]),(?P<packets>[0-5]),(?P<number>[0-5]))?"
)


class Function(NamedTuple):
    """A function of the program."""

    rung: str
    what: str  # its name, as it was given
    direction: int
    address: int
    arguments: Arguments


class Functions:
    """A table of one function each way. It knows one port and one queue, both 0."""

    def __init__(self, functions: Sequence[Function]) -> None:
        """Raises UsageError for functions that do not go together."""
        by_direction = {f.direction: f for f in functions}
        if len(by_direction) < len(functions) or len({f.arguments for f in functions}) > 1:
            raise UsageError("--function: one function each way, with their arguments at the same positions")
        self.arguments = functions[0].arguments
        self.description = " and ".join(f.what for f in functions)
        self._addresses = {d: f.address for d, f in by_direction.items()}

    def snapshot(self, _process: Process) -> bytes:
        """Return nothing: functions stay where they are."""
        return b""

    def ports(self, _process: Process) -> list[Port]:
        """Return port 0. A direction without a function has no queue."""
        rx, tx = (self._addresses.get(d, 0) for d in (protocol.DIRECTION_IN, protocol.DIRECTION_OUT))
        # The kernel side takes whatever passes through them for the queue 0 (any_queue).
        return [Port(0, rx, tx, (0,) if rx else (), (0,) if tx else ())]


def wrappers(process: Process) -> list[Function]:
    """Return the wrappers of applications that are known, where the program has their symbols."""
    return [
        Function("wrapper", symbol, direction, address, arguments)
        for symbol, direction, arguments in _WRAPPERS
        for address in _addresses(process, symbol)
    ]


def function(process: Process, text: str) -> Function:
    """Return what a user names: rx=SYMBOL or tx=0xOFFSET, then perhaps :QUEUE,PACKETS,NUMBER.

    Raises UsageError.
    """
    match = _PLACE.fullmatch(text)
    if not match:
        raise UsageError(
            f"{text}: a function is named rx=SYMBOL or tx=0xOFFSET (in the program's file), and where its "
            "arguments differ from DPDK's, their positions: rx=SYMBOL:1,2,3"
        )
    direction = protocol.DIRECTION_IN if match["direction"] == "rx" else protocol.DIRECTION_OUT
    positions = (match["queue"], match["packets"], match["number"])
    queue, packets, number = map(int, positions) if match["queue"] else DPDK_ARGUMENTS
    if match["offset"]:
        offset = int(match["offset"], 16)
        addresses = [
            m.start + offset - m.offset
            for m in process.modules()[0]
            if m.is_text and m.offset <= offset < m.offset + m.end - m.start
        ]
    else:
        addresses = list(_addresses(process, match["symbol"]))
    if not addresses:
        raise UsageError(f"{text}: {process.who} has no such function")
    rung = "offset" if match["offset"] else "symbol"
    return Function(rung, text, direction, addresses[0], (queue, packets, number))


def _addresses(process: Process, symbol: str) -> Iterator[int]:
    """Yield where the program has a symbol."""
    module = process.modules()[0]
    with contextlib.suppress(OSError, ValueError), Image(process.file_of(module[0])) as image:
        bias = image.bias(module[0].start, module[0].offset)
        found = {s.value for table in (".dynsym", ".symtab") for s in image.symbols(symbol, table)}
        yield from sorted(value + bias for value in found)
