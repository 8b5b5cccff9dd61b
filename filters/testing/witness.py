# SPDX-License-Identifier: BSD-3-Clause
"""Words for tests that no packet has reached: told of a packet made up for the way there.

The way to a test says what some bytes are: those that matched. The rest are zeros, but where headers would
make no sense. Several ways with other headers (tcp, udp and sctp share libpcap's tests of ports) give
several names.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters import ir
from dpcap.filters.evaluate import Evaluation
from dpcap.filters.fields import dissect
from dpcap.filters.words import Narrator

if TYPE_CHECKING:
    from dpcap.filters.ir import Node

_SIZE: Final = 512  # bytes; filters rarely look further
_WAYS: Final = 6  # that are followed to one test
_PASSES: Final = 8
# What headers have where the way there does not tell: by the field, or the field before.
_USUAL: Final = {
    "ip.hdr_len": 0x45,
    "ipv6.flow": 0x60,
    "tcp.hdr_len": 0x50,
    "gtp.flags": 0x30,
    "gtp.message": 0xFF,
}
_AFTER: Final = {"gtp.teid": b"\x45", "inner.eth.src": b"\x08\x00"}

Bytes = dict[int, tuple[int, int]]  # by offset: which bits are known, and what they are


class Told(NamedTuple):
    """A test in words."""

    test: str  # udp.dstport == 2152
    subject: str  # udp.dstport
    network: str  # IPv4, IPv6 or nothing: whose test it is


def tell(root: Node) -> dict[Node, Told]:
    """Words for the condition of each decision; tests of lengths (``has``) are left out."""
    ways: dict[Node, list[Bytes]] = {root: [{}]}
    told: dict[Node, Told] = {}
    narrator_of = functools.cache(lambda way: Narrator(Evaluation(_packet(dict(way)), _SIZE)))
    for node in ir.order(root):
        if node.op != "branch":
            continue
        condition, then, else_ = node.args
        here = ways.get(node) or [{}]
        narrators = [narrator_of(tuple(way.items())) for way in here]
        if condition.op != "has":
            told[node] = _joined(condition, narrators)
        for way, narrator in zip(here, narrators, strict=True):
            _add(ways.setdefault(then, []), _with(way, condition, narrator))
            _add(ways.setdefault(else_, []), way)
    return told


def _add(ways: list[Bytes], way: Bytes | None) -> None:
    if way is not None and len(ways) < _WAYS and way not in ways:
        ways.append(way)


def _with(way: Bytes, condition: Node, narrator: Narrator) -> Bytes | None:
    """The way on where the condition holds; None where it cannot."""
    known = dict(way)
    for offset, mask, value in narrator.matched(condition):
        mask_before, value_before = known.get(offset, (0, 0))
        if (value_before ^ value) & mask_before & mask:
            return None
        known[offset] = mask_before | mask, value_before | value
    return known


def _packet(way: Bytes) -> bytes:
    packet = bytearray(_SIZE)
    for offset, (_, value) in way.items():
        if offset < _SIZE:
            packet[offset] = value
    for _ in range(_PASSES):
        before = bytes(packet)
        for field in dissect(before):
            name = field.name.rpartition("inner.")[2]
            if name in _USUAL:
                _set(packet, way, field.start, _USUAL[name])
            for at, value in enumerate(_AFTER.get(field.name, b""), field.end):
                _set(packet, way, at, value)
        if packet == before:
            break
    return bytes(packet)


def _set(packet: bytearray, way: Bytes, at: int, value: int) -> None:
    """Bits that the way does not know."""
    mask = way.get(at, (0, 0))[0]
    if at < len(packet) and not packet[at] & ~mask & 0xFF:
        packet[at] |= value & ~mask


def _joined(condition: Node, narrators: list[Narrator]) -> Told:
    words: dict[str, str] = {}
    networks = set()
    for narrator in narrators:
        found = narrator.tell(condition)
        words.setdefault(found.test, found.subject)
        networks |= {"IPv6" for f in narrator.fields if f.name == "ipv6.dst"}
        networks |= {"IPv4" for f in narrator.fields if f.name == "ip.dst"}
    network = networks.pop() if len(networks) == 1 else ""
    return Told(_either(list(words)), _either(list(dict.fromkeys(words.values()))), network)


def _either(texts: list[str]) -> str:
    """``tcp.dstport == 53``, ``udp.dstport == 53``: tcp/udp.dstport == 53."""
    heads, rests = zip(*(text.split(".", 1) if "." in text else (text, "") for text in texts), strict=True)
    if len(set(rests)) == 1 and rests[0]:
        return f"{'/'.join(heads)}.{rests[0]}"
    return " or ".join(texts)


def distinct(told: dict[Node, Told]) -> dict[Node, Told]:
    """With the network protocol for those that read the same."""
    count: dict[str, int] = {}
    for words in told.values():
        count[words.test] = count.get(words.test, 0) + 1
    return {
        node: words._replace(test=f"{words.test} ({words.network})")
        if count[words.test] > 1 and words.network
        else words
        for node, words in told.items()
    }
