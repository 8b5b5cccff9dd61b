# SPDX-License-Identifier: BSD-3-Clause
"""What a failed ``assert packet in tap`` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters.build import TooManyPathsError
from dpcap.filters.explain import Reason, dump, reason
from dpcap.filters.packets import as_packet, is_scapy
from dpcap.filters.summary import summarize

if TYPE_CHECKING:
    from dpcap.filters.filter import Filter
    from dpcap.filters.packets import Packet, PacketLike

# Of long packets: lines of the dump at the beginning, and around each mark.
_LINES: Final = 12
_FIRST: Final = 4
_LONGEST: Final = 160


class Comparison(NamedTuple):
    """Why an assertion failed."""

    head: str  # one line, which stands behind "assert"
    verdict: str
    details: str  # the path and the dump


def compare(op: str, left: PacketLike, tap: Filter) -> Comparison:
    """Explain ``left in tap`` or ``left not in tap``, which did not hold."""
    packet = as_packet(left)
    head = _short(f"{_summary(packet)} {op} {tap!r}")
    try:
        found = reason(
            tap,
            packet.data,
            packet.wirelen,
            direction=packet.direction,
            port=packet.port,
            queue=packet.queue,
        )
    except TooManyPathsError:
        return Comparison(head, "", _dump(packet.data, ()))
    marked = found.decided_by.offsets if found.decided_by else ()
    parts = ["\n".join(found.path()), _dump(packet.data, marked)]
    return Comparison(head, _verdict(op, found), "\n\n".join(part for part in parts if part))


def _verdict(op: str, found: Reason) -> str:
    matched = op == "not in"
    if bool(found.result) == matched:
        return found.verdict
    # The engine answered something else than the decisions that it was made from.
    answer = "accepts" if matched else "refuses"
    return f"{found.verdict}; but the engine {answer} it: this is a bug in dpcap, please report it"


def _summary(packet: Packet) -> str:
    source: object = packet.source
    text = source.summary() if is_scapy(source) else summarize(packet.data, packet.wirelen)  # type: ignore[attr-defined]
    known = [
        f"direction {packet.direction}" if packet.direction else "",
        f"port {packet.port}" if packet.port else "",
        f"queue {packet.queue}" if packet.queue else "",
    ]
    more = ", ".join(k for k in known if k)
    return f"{text} ({more})" if more else text


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]}...>"


def _dump(packet: bytes, marked: tuple[int, ...]) -> str:
    """The dump; of long packets the beginning and what is around the marked bytes."""
    lines = dump(packet, marked).splitlines()
    if len(lines) <= _LINES:
        return "\n".join(lines)
    shown = {*range(_FIRST), *(at // 16 + i for at in marked for i in (-1, 0, 1))}
    out, left = [], 0
    for number, line in enumerate(lines):
        if number in shown:
            out += [f"  ... {16 * left} bytes"] * bool(left) + [line]
            left = 0
        else:
            left += 1
    return "\n".join(out + [f"  ... {len(packet) - 16 * (len(lines) - left)} bytes"] * bool(left))
