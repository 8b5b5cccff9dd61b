# SPDX-License-Identifier: BSD-3-Clause
"""Long lists of hosts, nets and ports: what libpcap takes minutes for.

libpcap's time grows with the square of a list's length, with its optimiser exponentially.
So it is given a short expression: of

    udp and (dst host a or dst host b or c or d or ...)

only `dst host a or b or s` is left, with a *stand-in* s for all the rest, and in what it
makes of that, each comparison with s becomes one with every member of the rest. This gives
what libpcap would have given, because

- a program for the list does with each member what it does with s: it is compiled with two
  different stand-ins, and the two programs may differ in numbers that are compared for
  equality (`jeq`) only, else the list is left to libpcap;
- the order of the rest does not matter: b stays before it, so that whatever the list loads
  from the packet was loaded, or found missing, when the rest is looked at.

Nets are grouped by the length of their prefixes, each group with a stand-in of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters import cbpf, libpcap
from dpcap.filters.cbpf import Insn
from dpcap.filters.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Shorter lists are libpcap's.
SHORTEST: Final = 40

_TOKEN: Final = re.compile(r"[()!]|\|\||&&|[^\s()!|&]+")
_QUALIFIERS: Final = frozenset(
    ("host", "net", "port", "src", "dst", "ip", "arp", "rarp", "tcp", "udp", "sctp")
)
_OR: Final = ("or", "||")
_AFTER: Final = frozenset((*_OR, "and", "&&", ")"))
_ADDRESS: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)\.(\d+)(?:/(\d+))?")
_JEQ: Final = cbpf.JMP | cbpf.JEQ | cbpf.K
_JA: Final = cbpf.JMP | cbpf.JA
# Conditional jumps reach 255 instructions.
_CHUNK: Final = 250


class _Item(NamedTuple):
    """One member of a list."""

    start: int
    end: int
    qualifiers: tuple[str, ...]
    group: str  # members of a group are compared in the same way
    number: int  # what the packet's is compared with


class _List(NamedTuple):
    """Members from the third on, and the text that they take."""

    start: int
    end: int
    qualifiers: tuple[str, ...]
    groups: dict[str, set[int]]


def without_comments(text: str) -> str:
    """The expression in a file: what follows a # is for people."""
    return re.sub(r"#.*", "", text)


def compile_lists(expression: str, shortest: int = SHORTEST) -> cbpf.Program | None:
    """The cBPF of an expression with long lists; None when it has none that can be shortened."""
    lists = list(_find(expression, shortest))
    if not lists:
        return None
    try:
        first, second = (_compile(expression, lists, variant) for variant in range(2))
    except FilterError:
        return None  # libpcap shall say what is wrong with the expression itself
    sets: dict[int, tuple[int, ...]] = {}
    seen: set[int] = set()
    if first is None or second is None or len(first[0]) != len(second[0]):
        return None
    for pc, (a, b) in enumerate(zip(first[0], second[0], strict=True)):
        if a == b:
            continue
        members = first[1].get(a.k)
        if a[:3] != b[:3] or a.code != _JEQ or members is None or second[1].get(b.k) is not members:
            return None
        seen.add(a.k)
        sets[pc] = tuple(sorted(members))
    return _expand(first[0], sets) if seen == set(first[1]) else None


def _find(expression: str, shortest: int) -> Iterator[_List]:
    tokens = [(m.group(), m.start(), m.end()) for m in _TOKEN.finditer(expression)]
    at = 0
    while at < len(tokens):
        items: list[_Item] = []
        following = at
        while True:
            item, after = _item(tokens, following, items[0].qualifiers if items else ())
            if item is None or (items and item.qualifiers not in ((), items[0].qualifiers)):
                break
            items.append(item)
            following = after
            if after >= len(tokens) or tokens[after][0] not in _OR:
                break
            following = after + 1
        if len(items) < shortest or not items[0].qualifiers:
            at += 1
            continue
        groups: dict[str, set[int]] = {}
        for item in items[2:]:
            groups.setdefault(item.group, set()).add(item.number)
        yield _List(items[2].start, items[-1].end, items[0].qualifiers, groups)
        at = following


def _item(tokens: list[tuple[str, int, int]], at: int, before: tuple[str, ...]) -> tuple[_Item | None, int]:
    """The member that begins at a token, and the token behind it."""
    start = at
    while at < len(tokens) and tokens[at][0] in _QUALIFIERS:
        at += 1
    if at >= len(tokens) or (at + 1 < len(tokens) and tokens[at + 1][0] not in _AFTER):
        return None, at
    qualifiers = tuple(token for token, _, _ in tokens[start:at])
    kind = {"host", "net", "port"}.intersection(qualifiers or before)
    found = _number(tokens[at][0], next(iter(kind))) if len(kind) == 1 else None
    if found is None:
        return None, at
    return _Item(tokens[start][1], tokens[at][2], qualifiers, *found), at + 1


def _number(text: str, kind: str) -> tuple[str, int] | None:
    """(group, number) of a member; None for what libpcap has to judge."""
    if kind == "port":
        return (
            ("port", int(text))
            if text.isdecimal() and text == str(int(text)) and int(text) < 1 << 16
            else None
        )
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return None
    octets = [int(o) for o in match.groups()[:4]]
    if max(octets) > 255 or any(str(o) != t for o, t in zip(octets, match.groups(), strict=False)):
        return None
    number = int.from_bytes(octets, "big")
    length = int(match[5]) if match[5] else 32
    if (kind == "host") != (match[5] is None) or not 0 < length <= 32 or number & (1 << 32 - length) - 1:
        return None
    return f"/{length}", number


def _compile(
    expression: str, lists: list[_List], variant: int
) -> tuple[cbpf.Program, dict[int, set[int]]] | None:
    """The program with stand-ins, and whom they stand for."""
    whom: dict[int, set[int]] = {}
    used = {number for found in lists for members in found.groups.values() for number in members}
    used.update(int(n) for n in re.findall(r"(?<![\w.])\d{1,9}(?![\w.])", expression))
    text, at = [], 0
    for found in lists:
        text.append(expression[at : found.start])
        parts = []
        for group, members in found.groups.items():
            number = _stand_in(group, used, variant)
            if number is None:
                return None
            used.add(number)
            whom[number] = members
            address = ".".join(str(o) for o in number.to_bytes(4, "big"))
            literal = (
                str(number) if group == "port" else address + (group if "net" in found.qualifiers else "")
            )
            parts.append(" ".join((*found.qualifiers, literal)))
        text.append(" or ".join(parts))
        at = found.end
    text.append(expression[at:])
    # Not optimised: libpcap's optimiser changes the order of tests, which shows in cut packets.
    return libpcap.compile_cbpf("".join(text), optimize=False), whom


def _stand_in(group: str, used: set[int], variant: int) -> int | None:
    """A number of the group that nothing in the expression is compared with."""
    bits = 16 if group == "port" else int(group[1:])
    shift = 0 if group == "port" else 32 - bits
    candidates = range((1 << bits) - 2 - variant, 0, -2)
    return next((c << shift for c in candidates if c << shift not in used), None)


def _expand(program: cbpf.Program, sets: dict[int, tuple[int, ...]]) -> cbpf.Program:
    """Each comparison with a stand-in becomes one with every member it stands for.

    Distances grow, so that conditional jumps go to unconditional ones behind them:

        jeq a, T, F  ->  jeq a, +0, +1;  ja T;  ja F
        jeq s, T, F  ->  jeq s1, to the ja; ... jeq s250, +0, +1;  ja T;  ...;  ja F
    """
    sizes = []
    for pc, insn in enumerate(program):
        if pc in sets:
            members = len(sets[pc])
            sizes.append(members + -(-members // _CHUNK) + 1)
        else:
            sizes.append(3 if insn.code & 0x07 == cbpf.JMP and insn.code & 0xF0 != cbpf.JA else 1)
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    out: list[Insn] = []

    def goto(target: int) -> None:
        out.append(Insn(_JA, 0, 0, starts[target] - len(out) - 1))

    for pc, (code, jt, jf, k) in enumerate(program):
        if pc in sets:
            members_of = sets[pc]
            for first in range(0, len(members_of), _CHUNK):
                chunk = members_of[first : first + _CHUNK]
                for i, number in enumerate(chunk):
                    left = len(chunk) - 1 - i
                    out.append(Insn(_JEQ, left, 0 if left else 1, number))
                goto(pc + 1 + jt)
            goto(pc + 1 + jf)
        elif code & 0x07 != cbpf.JMP:
            out.append(program[pc])
        elif code & 0xF0 == cbpf.JA:
            goto(pc + 1 + k)
        else:
            out.append(Insn(code, 0, 1, k))
            goto(pc + 1 + jt)
            goto(pc + 1 + jf)
    return tuple(out)
