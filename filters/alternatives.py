# SPDX-License-Identifier: BSD-3-Clause
"""Expressions of hundreds of alternatives, compiled some at a time.

libpcap's time grows with the square of an expression's length, without its optimiser too. So
of `a or b or c or ...` some terms at once are compiled, and their programs put one behind the
other: where one rejects, the next begins. That is what libpcap's program for all does: it
tests one term after the other, and a load that fails rejects in either.

Left to libpcap as a whole: what has an `and` outside of parentheses, as that binds as `or`
does; terms that take their qualifiers from those before them; and words like `vlan`, which
move what comes after them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dpcap.filters import cbpf, libpcap
from dpcap.filters.cbpf import Insn
from dpcap.filters.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Terms that are compiled at once. With fewer in all, libpcap is fast enough.
_AT_ONCE: Final = 32
_FEWEST: Final = 128

_TOKEN: Final = re.compile(r"\[[^\]]*\]|[()]|\|\||&&|[^\s()|&\[]+|[|&]")
_MOVES: Final = frozenset(("vlan", "mpls", "pppoed", "pppoes", "geneve", "vxlan"))
# What a term may begin with that means the same wherever it stands.
_BEGINS: Final = frozenset((
    "(", "not", "!", "src", "dst", "host", "net", "port", "portrange", "gateway", "ether", "ip",
    "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "pim", "ah", "esp",
    "vrrp", "less", "greater", "broadcast", "multicast", "len", "inbound", "outbound", "proto",
))  # fmt: skip
_RETURN: Final = cbpf.RET | cbpf.K
_JA: Final = cbpf.JMP | cbpf.JA


def compile_alternatives(expression: str) -> cbpf.Program | None:
    """The unoptimised program; None for expressions that are not made like this."""
    terms = _terms(expression)
    if len(terms) < _FEWEST:
        return None
    texts = [" or ".join(terms[i : i + _AT_ONCE]) for i in range(0, len(terms), _AT_ONCE)]
    try:
        programs = [libpcap.compile_cbpf(text, optimize=False) for text in texts]
    except FilterError:
        return None  # libpcap shall say what is wrong with the expression itself
    return tuple(_joined(programs))


def _terms(expression: str) -> list[str]:
    """What stands between `or`s; [] where that is not all there is."""
    terms: list[str] = []
    depth, start = 0, 0
    begins = True
    for match in _TOKEN.finditer(expression):
        word = match.group()
        if word in _MOVES or "#" in word or (begins and word.partition("[")[0] not in _BEGINS):
            return []
        begins = False
        depth += (word == "(") - (word == ")")
        if depth == 0 and word in ("and", "&&"):
            return []
        if depth == 0 and word in ("or", "||"):
            terms.append(expression[start : match.start()])
            start, begins = match.end(), True
    return [*terms, expression[start:]]


def _joined(programs: list[cbpf.Program]) -> Iterator[Insn]:
    """One behind the other: `ret #0` of all but the last becomes a jump to the next."""
    for number, program in enumerate(programs):
        last = number + 1 == len(programs)
        for pc, insn in enumerate(program):
            is_reject = insn.code == _RETURN and insn.k == 0
            yield Insn(_JA, 0, 0, len(program) - pc - 1) if is_reject and not last else insn
