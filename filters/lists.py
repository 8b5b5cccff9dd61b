# SPDX-License-Identifier: BSD-3-Clause
"""Long lists of hosts, nets, ports, port ranges and Ethernet addresses: what libpcap takes minutes for.

libpcap's time grows with the square of a list's length, with its optimiser exponentially.
So it is given a short expression: of

    udp and (dst host a or dst host b or c or d or ...)

only `dst host a or b or b or s` is left, with a *stand-in* s for all the rest, and in what it
makes of that, each comparison with s stands for one with every member of the rest. This gives
what libpcap would have given, because

- a program for the list does with each member what it does with s: it is compiled with two
  different stand-ins, and the two programs may differ in numbers that are compared only, else
  the list is left to libpcap;
- the order of the rest does not matter: b stays before it, so that whatever the list loads
  from the packet was loaded, or found missing, when the rest is looked at. IPv6 addresses are
  compared word by word, and loaded so: there the comparisons take the order in (build.py).

Members that are compared alike (addresses of one family, nets of one prefix length) are a
group; each has a stand-in of its own. `not a and not b and not c` is a list as well.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters import cbpf, libpcap
from dpcap.filters.build import Comparison
from dpcap.filters.cbpf import Insn
from dpcap.filters.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Shorter lists are libpcap's.
SHORTEST: Final = 40

_TOKEN: Final = re.compile(r"[()!]|\|\||&&|[^\s()!|&]+")
_KINDS: Final = frozenset(("host", "net", "port", "portrange"))
_QUALIFIERS: Final = (
    frozenset(("src", "dst", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "ether")) | _KINDS
)
_OR: Final = ("or", "||")
_BOTH: Final = ("and", "&&")
_NOT: Final = ("not", "!")
_AFTER: Final = frozenset((*_OR, *_BOTH, ")"))
_ADDRESS: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)\.(\d+)(?:/(\d+))?")
_ADDRESS6: Final = re.compile(r"([0-9a-fA-F:]+)(?:/(\d+))?")
_MAC: Final = re.compile(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
_RANGE: Final = re.compile(r"(\d+)-(\d+)")
_JEQ: Final = cbpf.JMP | cbpf.JEQ | cbpf.K
_JGE: Final = cbpf.JMP | cbpf.JGE | cbpf.K
_JGT: Final = cbpf.JMP | cbpf.JGT | cbpf.K
_JA: Final = cbpf.JMP | cbpf.JA
_AND: Final = cbpf.ALU | cbpf.AND | cbpf.K
# Conditional jumps reach 255 instructions.
_CHUNK: Final = 250


class Group(NamedTuple):
    """What members of a list have in common that are compared alike."""

    kind: str  # "ip", "ip6", "ether", "port" or "range"
    bits: int  # compared, of an address

    @property
    def size(self) -> int:
        """Bytes of a member."""
        return {"ip": 4, "ip6": 16, "ether": 6, "port": 2, "range": 4}[self.kind]

    @property
    def masks(self) -> bytes:
        """What of them is compared."""
        ones = (1 << self.bits) - 1 << 8 * self.size - self.bits
        return ones.to_bytes(self.size, "big")

    @property
    def words(self) -> list[tuple[int, int]]:
        """Offset and size of the words that libpcap compares, in its order."""
        if self.kind == "ip6":
            return [(0, 4), (4, 4), (8, 4), (12, 4)]
        return {"ip": [(0, 4)], "ether": [(2, 4), (0, 2)], "port": [(0, 2)], "range": [(0, 2), (2, 2)]}[
            self.kind
        ]

    def literal(self, member: bytes, *, net: bool) -> str:
        """A member as libpcap reads it."""
        if self.kind == "ether":
            return member.hex(":")
        if self.kind == "port":
            return str(int.from_bytes(member, "big"))
        if self.kind == "range":
            return f"{int.from_bytes(member[:2], 'big')}-{int.from_bytes(member[2:], 'big')}"
        return f"{ipaddress.ip_address(member)}{f'/{self.bits}' if net else ''}"


class _Item(NamedTuple):
    """One member of a list."""

    start: int
    end: int
    qualifiers: tuple[str, ...]
    group: Group
    member: bytes


_Token = tuple[str, int, int]  # and where it starts and ends


class _List(NamedTuple):
    """Members from the third on, and the text that they take."""

    start: int
    end: int
    qualifiers: tuple[str, ...]
    joint: str  # between members
    first: dict[Group, bytes]
    rest: dict[Group, dict[bytes, None]]


class Listed(NamedTuple):
    """A filter with lists."""

    cbpf: cbpf.Program  # with all members, for libpcap
    short: cbpf.Program  # with stand-ins
    comparisons: dict[int, Comparison]  # of the short program with stand-ins


class _Standing(NamedTuple):
    """A stand-in, and the one that stands for the list's first member where that does not."""

    whole: _List
    group: Group
    numbers: tuple[int, ...]
    of_first: tuple[int, ...]


class _Place(NamedTuple):
    """Where a short program deals with the rest of a group."""

    standing: _Standing
    start: int
    differ: list[int]  # the comparisons with numbers that only the stand-in has


class _DifferentError(Exception):
    """The program is not what it was taken for: the list is libpcap's."""


def without_comments(text: str) -> str:
    """The expression in a file: what follows a # is for people."""
    return re.sub(r"#.*", "", text)


def compile_lists(expression: str, shortest: int = SHORTEST) -> Listed | None:
    """The programs of an expression with long lists; None when it has none that can be shortened."""
    lists = list(_find(expression, shortest))
    if not lists:
        return None
    try:
        return _compile(expression, lists)
    except (FilterError, _DifferentError, IndexError):
        return None  # libpcap shall say what is wrong with the expression itself


def _find(expression: str, shortest: int) -> Iterator[_List]:
    tokens = [(m.group(), m.start(), m.end()) for m in _TOKEN.finditer(expression)]
    at = 0
    while at < len(tokens):
        negated = tokens[at][0] in _NOT
        items, following = _items(tokens, at + negated, negated=negated)
        if len(items) < shortest or not items[0].qualifiers or not _in_any_order(items):
            at += 1
            continue
        first: dict[Group, bytes] = {}
        rest: dict[Group, dict[bytes, None]] = {}
        for item in items[1:]:  # the very first may be negated
            first.setdefault(item.group, item.member)
        for item in items[2:]:
            rest.setdefault(item.group, {})[item.member] = None
        joint = " and not " if negated else " or "
        yield _List(items[2].start, items[-1].end, items[0].qualifiers, joint, first, rest)
        at = following


def _items(tokens: list[_Token], at: int, *, negated: bool) -> tuple[list[_Item], int]:
    """``a or b or c``; if negated, what follows the first not in ``not a and not b and not c``."""
    items: list[_Item] = []
    following = at
    while following < len(tokens):
        item, after = _item(tokens, following, items[0].qualifiers if items else ())
        if item is None or (items and item.qualifiers not in ((), items[0].qualifiers)):
            break
        if negated and not item.qualifiers:
            break
        items.append(item)
        following = after
        joined = after < len(tokens) and tokens[after][0] in (_BOTH if negated else _OR)
        if not joined or (negated and (after + 1 >= len(tokens) or tokens[after + 1][0] not in _NOT)):
            break
        following = after + 1 + negated
    return items, following


def _in_any_order(items: list[_Item]) -> bool:
    """Groups may be compared one after the other: not IPv6 prefixes of several lengths, both ways."""
    qualifiers = items[0].qualifiers
    directed = "src" in qualifiers or "dst" in qualifiers
    return directed or len({item.group for item in items if item.group.kind == "ip6"}) < 2


def _item(tokens: list[_Token], at: int, before: tuple[str, ...]) -> tuple[_Item | None, int]:
    """The member that begins at a token, and the token behind it."""
    start = at
    while at < len(tokens) and tokens[at][0] in _QUALIFIERS:
        at += 1
    if at >= len(tokens) or (at + 1 < len(tokens) and tokens[at + 1][0] not in _AFTER):
        return None, at
    qualifiers = tuple(token for token, _, _ in tokens[start:at])
    given = qualifiers or before
    kinds = _KINDS.intersection(given) or ({"host"} if "ether" in given else set())
    found = _member(tokens[at][0], next(iter(kinds)), ether="ether" in given) if len(kinds) == 1 else None
    if found is None:
        return None, at
    return _Item(tokens[start][1], tokens[at][2], qualifiers, *found), at + 1


def _member(text: str, kind: str, *, ether: bool) -> tuple[Group, bytes] | None:
    """A member; None for what libpcap has to judge."""
    if ether:
        is_mac = kind == "host" and _MAC.fullmatch(text)
        return (Group("ether", 48), bytes.fromhex(text.replace(":", ""))) if is_mac else None
    if kind == "port":
        return (Group("port", 16), int(text).to_bytes(2, "big")) if _is_port(text) else None
    if kind == "portrange":
        match = _RANGE.fullmatch(text)
        if match is None or not _is_port(match[1]) or not _is_port(match[2]) or int(match[1]) > int(match[2]):
            return None
        return Group("range", 16), b"".join(int(n).to_bytes(2, "big") for n in match.groups())
    match = _ADDRESS.fullmatch(text) or _ADDRESS6.fullmatch(text)
    if match is None or (kind == "host") != (match[match.lastindex or 0] is None or "/" not in text):
        return None
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    if not network.prefixlen:
        return None
    return Group("ip" if network.version == 4 else "ip6", network.prefixlen), network.network_address.packed


def _is_port(text: str) -> bool:
    return text.isdecimal() and text == str(int(text)) and int(text) < 1 << 16


def _compile(expression: str, lists: list[_List]) -> Listed | None:
    """With stand-ins in one program for the rest, in another one for the first members too."""
    used = {int(n) for n in re.findall(r"(?<![\w.])\d{1,9}(?![\w.])", expression)}
    for found in lists:
        for group, members in found.rest.items():
            for member in (*members, found.first[group]):
                used.update(_numbers(group, member))
    standing: list[_Standing] = []
    texts: list[list[str]] = [[], []]
    at = 0
    for found in lists:
        parts: list[list[str]] = [[], []]
        for group in found.rest:
            one, other = _stand_in(group, used), _stand_in(group, used)
            second = _stand_in(group, used)
            if one is None or other is None or second is None:
                return None
            standing.append(_Standing(found, group, _numbers(group, one), _numbers(group, other)))
            for part, pair in zip(parts, ((found.first[group], one), (other, second)), strict=True):
                net = "net" in found.qualifiers
                part += [" ".join((*found.qualifiers, group.literal(m, net=net))) for m in pair]
        for text, part in zip(texts, parts, strict=True):
            text += [expression[at : found.start], found.joint.join(part)]
        at = found.end
    # Not optimised: libpcap's optimiser changes the order of tests, which shows in cut packets.
    first, second_program = (
        libpcap.compile_cbpf("".join(text) + expression[at:], optimize=False) for text in texts
    )
    places = list(_places(first, second_program, standing))
    comparisons: dict[int, Comparison] = {}
    for place in places:
        comparisons.update(_comparisons(first, place))
    return Listed(_expand(first, places), first, comparisons)


def _numbers(group: Group, member: bytes) -> tuple[int, ...]:
    """What libpcap compares the packet's words with."""
    return tuple(int.from_bytes(member[at : at + size], "big") for at, size in group.words)


def _stand_in(group: Group, used: set[int]) -> bytes | None:
    """A member of the group whose first words are compared with nothing else; they are used up."""
    if group.kind == "range":
        low = _stand_in(Group("port", 16), used)
        high = _stand_in(Group("port", 16), used)
        return low + high if low and high and low < high else high + low if low and high else None
    width = 8 * group.words[0][1]
    bits = min(group.bits, width)
    for candidate in range((1 << bits) - 2, 0, -1):
        number = candidate << width - bits
        if number not in used:
            used.add(number)
            at, size = group.words[0]
            return bytes(at) + number.to_bytes(size, "big") + bytes(group.size - at - size)
    return None


def _places(first: cbpf.Program, second: cbpf.Program, standing: list[_Standing]) -> Iterator[_Place]:
    """Where the stand-ins are. The programs differ in nothing but the numbers of the stand-ins."""
    if len(first) != len(second):
        raise _DifferentError
    by_number = {n: s for s in standing for n in s.numbers[:1]}
    by_first = {n: s for s in standing for n in s.of_first[:1]}
    rest: dict[int, list[int]] = {}
    firsts: dict[int, list[int]] = {}
    for pc, (a, b) in enumerate(zip(first, second, strict=True)):
        if a == b:
            continue
        if a[:3] != b[:3] or a.code not in (_JEQ, _JGE, _JGT):
            raise _DifferentError
        if a.k in by_number:
            rest.setdefault(id(by_number[a.k]), []).append(pc)
        elif b.k in by_first:
            firsts.setdefault(id(by_first[b.k]), []).append(pc)
    for s in standing:
        here, before = rest.get(id(s), []), firsts.get(id(s), [])
        if not here or len(here) != len(before):
            raise _DifferentError
        # The rest begins where the first member leads to when it is not the packet's.
        targets = {t for pc in range(before[0], before[-1] + 1) for t in _targets(first, pc)}
        starts = [t for t in targets if before[-1] < t <= here[0]]
        if not starts:
            raise _DifferentError
        yield _Place(s, max(starts), here)


def _targets(program: cbpf.Program, pc: int) -> tuple[int, ...]:
    """Where a conditional jump goes, by way of those that reach further."""
    code, jt, jf, _ = program[pc]
    if code & 0x07 != cbpf.JMP or code == _JA:
        return ()
    found = [pc + 1 + jt, pc + 1 + jf]
    for i, to in enumerate(found):
        while program[to].code == _JA:
            to += 1 + program[to].k  # noqa: PLW2901
        found[i] = to
    return tuple(found)


def _comparisons(program: cbpf.Program, place: _Place) -> Iterator[tuple[int, Comparison]]:
    """The comparisons with a stand-in, and what they stand for."""
    group, numbers = place.standing.group, place.standing.numbers
    members = list(place.standing.whole.rest[group])
    starts = [pc for pc in place.differ if program[pc].code != _JGT and program[pc].k == numbers[0]]
    made: list[list[tuple[int, Comparison]]] = []
    for pc in starts:
        if group.kind in ("ip", "port"):
            then, else_ = _targets(program, pc)
            made.append([(pc, Comparison(then, else_, tuple(int.from_bytes(m, "big") for m in members)))])
        elif group.kind == "range":
            made.append([(pc, _of_ranges(program, pc, members))])
        else:
            made.append(list(_of_words(program, pc, group, members)))
    if group.kind == "ip6" and len(made) > 1:  # source, then destination
        (pc, last), destination = made[0][-1], made[1][0][1]
        made[0][-1] = pc, last._replace(next_offset=destination.offset)
    for one in made:
        yield from one


def _of_ranges(program: cbpf.Program, pc: int, members: list[bytes]) -> Comparison:
    inside, outside = _targets(program, pc)
    while program[inside].code & 0x07 in (cbpf.LD, cbpf.LDX):
        inside += 1
    if program[inside].code != _JGT or _targets(program, inside)[0] != outside:
        raise _DifferentError
    numbers: set[int] = set()
    for m in members:
        numbers.update(range(int.from_bytes(m[:2], "big"), int.from_bytes(m[2:], "big") + 1))
    return Comparison(_targets(program, inside)[1], outside, tuple(sorted(numbers)))


def _of_words(
    program: cbpf.Program, pc: int, group: Group, members: list[bytes]
) -> Iterator[tuple[int, Comparison]]:
    """One comparison for each word, with all words up to it."""
    base = None
    have: list[int] = []
    for at, size in group.words:
        load = program[pc - 1]
        mask = (1 << 8 * size) - 1
        if load.code == _AND:
            mask, load = load.k, program[pc - 2]
        mode, wanted = load.code & 0xE0, int.from_bytes(group.masks[at : at + size], "big")
        if program[pc].code != _JEQ or load.code & 0x07 != cbpf.LD or mode not in (cbpf.ABS, cbpf.IND):
            raise _DifferentError
        base = load.k - at if base is None else base
        if (load.k, mask, cbpf.SIZE[load.code & 0x18]) != (base + at, wanted, size):
            raise _DifferentError
        have += range(at, at + size)
        low, high = min(have), max(have) + 1
        then, else_ = _targets(program, pc)
        yield (
            pc,
            Comparison(
                then,
                else_,
                offset=base + low,
                indexed=mode == cbpf.IND,
                masks=group.masks[low:high],
                keys=tuple(member[low:high] for member in members),
            ),
        )
        # The next word follows at once.
        pc = then
        while program[pc].code & 0x07 == cbpf.LD or program[pc].code == _AND:
            pc += 1


def _end(program: cbpf.Program, place: _Place) -> tuple[int, int]:
    """The instruction behind those that deal with a stand-in; and where they lead when it is not it."""
    words = len(place.standing.group.words)
    starts = [
        pc for pc in place.differ if program[pc].code != _JGT and program[pc].k == place.standing.numbers[0]
    ]
    pc = starts[-1]
    onward = _targets(program, pc)[1]
    for _ in range(words - 1):
        pc += 1
        while program[pc].code not in (_JEQ, _JGT):
            pc += 1
    pc += 1
    while program[pc].code == _JA:
        pc += 1
    return pc, onward


def _expand(program: cbpf.Program, places: list[_Place]) -> cbpf.Program:
    """The program with every member instead of the stand-ins.

    Distances grow, so that conditional jumps go to unconditional ones behind them:

        jeq a, T, F  ->  jeq a, +0, +1;  ja T;  ja F

    What deals with a stand-in is there once for each member. Where one number is compared,
    the comparisons follow each other instead:

        jeq s, T, F  ->  jeq s1, to the ja; ... jeq s250, +0, +1;  ja T;  ...;  ja F
    """
    copied = {p.start: p for p in places if p.standing.group.kind not in ("ip", "port")}
    sets = {
        pc: [int.from_bytes(m, "big") for m in p.standing.whole.rest[p.standing.group]]
        for p in places
        if p.start not in copied
        for pc in p.differ
    }
    out: list[Insn] = []
    starts: dict[int, int] = {}  # of instructions; in a copy of that
    jumps: list[tuple[int, int, dict[int, int]]] = []  # where, to which instruction, of which copy

    def goto(target: int, copy: dict[int, int]) -> None:
        jumps.append((len(out), target, copy))
        out.append(Insn(_JA, 0, 0, 0))

    def one(pc: int, insn: Insn, copy: dict[int, int]) -> None:
        code, jt, jf, k = insn
        if pc in sets:
            for first in range(0, len(sets[pc]), _CHUNK):
                chunk = sets[pc][first : first + _CHUNK]
                for i, number in enumerate(chunk):
                    left = len(chunk) - 1 - i
                    out.append(Insn(_JEQ, left, 0 if left else 1, number))
                goto(pc + 1 + jt, copy)
            goto(pc + 1 + jf, copy)
        elif code & 0x07 != cbpf.JMP:
            out.append(insn)
        elif code & 0xF0 == cbpf.JA:
            goto(pc + 1 + k, copy)
        else:
            out.append(Insn(code, 0, 1, k))
            goto(pc + 1 + jt, copy)
            goto(pc + 1 + jf, copy)

    pc = 0
    while pc < len(program):
        place = copied.get(pc)
        if place is None:
            starts[pc] = len(out)
            one(pc, program[pc], starts)
            pc += 1
            continue
        starts[pc] = len(out)
        copy: dict[int, int] = {}
        numbers, (end_of_place, onward) = place.standing.numbers, _end(program, place)
        for member in place.standing.whole.rest[place.standing.group]:
            copy = {}
            words: Iterator[int] = iter(())
            for at in range(place.start, end_of_place):
                insn = program[at]
                copy[at] = len(out)
                if insn.code in (_JEQ, _JGE, _JGT):
                    if insn.k == numbers[0] and insn.code != _JGT:
                        words = iter(_numbers(place.standing.group, member))
                        insn = insn._replace(k=next(words))
                    elif (number := next(words, None)) is not None:
                        insn = insn._replace(k=number)
                one(at, insn, copy)
            copy[onward] = len(out)
        copy.pop(onward, None)  # the last one goes on as the stand-in does
        pc = end_of_place
    starts[len(program)] = len(out)
    for at, target, copy in jumps:
        to = copy[target] if target in copy else starts[target]
        out[at] = Insn(_JA, 0, 0, to - at - 1)
    return tuple(out)
