# SPDX-License-Identifier: BSD-3-Clause
"""The compiler's intermediate representation: a decision diagram over pure expressions.

A filter is a directed acyclic graph of *decisions*: test a condition, go on at one of
two further decisions, or return. Conditions and the values they compare are pure: no
state, no order, no memory but the packet's. So a value has one name (equal nodes are
the same object) and SSA needs no phis: where cBPF paths meet with different values in
A, X or M[], their continuations are separate nodes.

Values are 32-bit, unsigned, in registers zero-extended:
    const k            load (or clamped) size offset [index]: big-endian packet bytes at index + offset
    wirelen            meta which                   SKF_AD_* of the metadata word
    add sub mul div mod and or xor lsh rsh (a, b)   neg a
    pick condition k   k where the condition holds, else 0
    rank offset masks ((key, place), ...) [index]     the place of the packet's bytes under masks, U32: none

Conditions:
    true  false  not x  all x...  any x...
    has end [index]    the packet has at least index + end bytes (in 64 bits)
    eq a b   lt a b    unsigned
    match ((offset, mask, value), ...)              packet bytes under masks, by offset
    in a (k, ...)      a is one of the numbers
    stray k            an IPv4 header at k (by the Ethernet type before it) has not 20 bytes

Decisions:
    branch condition then else_        ret value

A load may only be looked at where the bytes are known to be there: below the `has` that
covers it. `clamped` is a load that may be looked at anywhere: where the bytes are not
there it gives any others of the packet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

U32: Final = 0xFFFF_FFFF


class Node:
    """One value, condition or decision. Compare with ``is``: a Graph makes each one once."""

    __slots__ = ("args", "op")

    def __init__(self, op: str, args: tuple[Any, ...]) -> None:
        self.op = op
        self.args = args

    def __repr__(self) -> str:
        return show(self)

    @property
    def nodes(self) -> Iterator[Node]:
        """The nodes among the arguments."""
        for arg in self.args:
            if isinstance(arg, Node):
                yield arg


#: What the operations on two values do, before the result is cut to 32 bits.
FOLD: Final[dict[str, Callable[[int, int], int]]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "lsh": lambda a, b: a << b if b < 32 else 0,
    "rsh": lambda a, b: a >> b if b < 32 else 0,
}

# More alternatives than this are not searched for impossible ones.
_FEW: Final = 12

# Instructions hold offsets below this.
_FAR: Final = 1 << 15

Bytes = tuple[tuple[int, int, int], ...]  # of a match: (offset, mask, value)


class Graph:
    """Makes nodes, each one once; folds constants and drops operations without effect.

    Soundness: every rewrite here is an identity of unsigned 32-bit arithmetic or of
    boolean algebra, for all operands.
    """

    def __init__(self) -> None:
        self._nodes: dict[tuple[Any, ...], Node] = {}
        self.true = self._node("true")
        self.false = self._node("false")

    def _node(self, op: str, *args: Any) -> Node:
        key = (op, *args)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(op, args)
        return node

    # Values.

    def const(self, k: int) -> Node:
        """A number."""
        return self._node("const", k & U32)

    def load(self, size: int, offset: int, index: Node | None = None) -> Node:
        """``size`` big-endian bytes of the packet."""
        if index is not None and index.op == "const":
            return self._node("load", size, offset + index.args[0], None)
        return self._node("load", size, offset, index)

    def clamped(self, size: int, offset: int, index: Node | None) -> Node:
        """As load, for places that need not be there."""
        return self._node("clamped", size, offset, index)

    def wirelen(self) -> Node:
        """The packet's length on the wire."""
        return self._node("wirelen")

    def meta(self, which: int) -> Node:
        """What the metadata word says for an SKF_AD_* number."""
        return self._node("meta", which)

    def pick(self, condition: Node, k: int) -> Node:
        """A number where the condition holds, else 0."""
        return self._node("pick", condition, k)

    def rank(self, offset: int, masks: bytes, keys: Iterable[bytes], index: Node | None = None) -> Node:
        """Which of the keys, already under the masks, the packet's bytes are first; U32: none."""
        places: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, place)
        return self.placed(offset, masks, tuple(places.items()), index)

    def placed(
        self, offset: int, masks: bytes, places: tuple[tuple[bytes, int], ...], index: Node | None
    ) -> Node:
        """As rank(), of different keys with places that are given."""
        return self._node("rank", offset, masks, places, index)

    def one_of(self, offset: int, masks: bytes, keys: Iterable[bytes], index: Node | None = None) -> Node:
        """The packet's bytes under the masks are one of the keys."""
        return self.not_(self.eq(self.rank(offset, masks, keys, index), self.const(U32)))

    def neg(self, a: Node) -> Node:
        """0 - a."""
        return self.const(-a.args[0]) if a.op == "const" else self._node("neg", a)

    def alu(self, op: str, a: Node, b: Node) -> Node:
        """An operation; a divisor that is not a constant is known not to be zero."""
        if b.op == "const":
            k = b.args[0]
            if a.op == "const":
                return self.const(FOLD[op](a.args[0], k))
            if k == 0 and op in ("add", "sub", "or", "xor", "lsh", "rsh"):
                return a
            if (op in ("mul", "and") and k == 0) or (op in ("lsh", "rsh") and k > 31):
                return self.const(0)
            if k == 1 and op in ("mul", "div"):
                return a
            if op == "sub":
                return self.alu("add", a, self.const(-k))
            if op in ("add", "and", "or", "xor") and a.op == op and a.args[1].op == "const":
                return self.alu(op, a.args[0], self.const(FOLD[op](a.args[1].args[0], k)))
            if op == "and" and k & upper(a) == upper(a):
                return a
            if op == "mul" and k & (k - 1) == 0:
                return self.alu("lsh", a, self.const(k.bit_length() - 1))
        elif a.op == "const" and op in ("add", "mul", "and", "or", "xor"):
            return self.alu(op, b, a)
        return self._node(op, a, b)

    # Conditions.

    def has(self, end: int, index: Node | None = None) -> Node:
        """The packet has ``index + end`` bytes."""
        if index is not None and index.op == "const":
            end, index = end + index.args[0], None
        if end >= 1 << 31:  # no packet is that long
            return self.false
        return self.true if end == 0 and index is None else self._node("has", end, index)

    def eq(self, a: Node, b: Node) -> Node:
        """Equality. A compare of packet bits with a constant becomes a match."""
        if a is b:
            return self.true
        if a.op == "const":
            a, b = b, a
        if b.op != "const":
            return self._node("eq", a, b)
        k = b.args[0]
        if a.op == "const":
            return self.true if a.args[0] == k else self.false
        if a.op == "add" and a.args[1].op == "const":
            return self.eq(a.args[0], self.const(k - a.args[1].args[0]))
        if a.op == "sub" and k == 0:
            return self.eq(a.args[0], a.args[1])
        bits = _packet_bits(a)
        if bits is None:
            return self._node("eq", a, b)
        size, offset, mask, shift = bits
        k <<= shift
        if k & ~mask:
            return self.false
        shifts = range(8 * (size - 1), -1, -8)
        return self.match(
            (offset + i, mask >> s & 255, k >> s & 255) for i, s in enumerate(shifts) if mask >> s & 255
        )

    def lt(self, a: Node, b: Node) -> Node:
        """A < b, unsigned."""
        if a is b or (b.op == "const" and b.args[0] == 0):
            return self.false
        if a.op == b.op == "const":
            return self.true if a.args[0] < b.args[0] else self.false
        if a.op == "const" and a.args[0] >= upper(b):
            return self.false
        if b.op == "const" and b.args[0] > upper(a):
            return self.true
        return self._node("lt", a, b)

    def match(self, parts: Iterable[tuple[int, int, int]]) -> Node:
        """Each packet byte under its mask has its value."""
        ordered = tuple(sorted(parts))
        return self._node("match", ordered) if ordered else self.true

    def contains(self, a: Node, numbers: Iterable[int]) -> Node:
        """A is one of the numbers."""
        return self._node("in", a, tuple(sorted(set(numbers))))

    def stray(self, k: int) -> Node:
        """The Ethernet type at k - 2 is IPv4's, and the header length at k is not 20 bytes."""
        return self._node("stray", k)

    def not_(self, x: Node) -> Node:
        """Negation."""
        if x is self.true:
            return self.false
        if x is self.false:
            return self.true
        return x.args[0] if x.op == "not" else self._node("not", x)

    def all_(self, parts: Iterable[Node]) -> Node:
        """Conjunction: flat, without doubles, its matches one match."""
        kept: dict[Node, None] = {}
        fields: dict[int, tuple[int, int]] = {}
        for x in _flat("all", parts):
            if x is self.false or self.not_(x) in kept:
                return self.false
            if x.op == "match":
                for offset, mask, value in x.args[0]:
                    known, at = fields.get(offset, (0, 0))
                    if (at ^ value) & known & mask:
                        return self.false
                    fields[offset] = known | mask, at | value
            elif x is not self.true:
                kept[x] = None
        for x in [x for x in kept if x.op == "any" and fields and len(x.args) <= _FEW]:
            # What contradicts the matches cannot be the alternative that holds.
            possible = [y for y in x.args if y.op != "match" or not _contradicts(y.args[0], fields)]
            if len(possible) < len(x.args):
                del kept[x]
                rest = [*kept, self.match((o, m, v) for o, (m, v) in fields.items())]
                return self.all_([*rest, self.any_(possible)])
        if fields:
            kept = {self.match((o, m, v) for o, (m, v) in fields.items()): None, **kept}
        return self._combine("all", kept, self.true)

    def any_(self, parts: Iterable[Node]) -> Node:
        """Disjunction: flat, without doubles, what all parts ask for asked once."""
        kept: dict[Node, None] = {}
        for x in _flat("any", parts):
            if x is self.true or self.not_(x) in kept:
                return self.true
            if x is not self.false:
                kept[x] = None
        if len(kept) < 2:
            return self._combine("any", kept, self.false)
        # (s and a) or (s and b) = s and (a or b)
        sides = [x.args if x.op == "all" else (x,) for x in kept]
        common = [x for x in sides[0] if all(x in side for side in sides[1:])]
        shared = _shared_bytes(sides)
        if not common and not shared:
            return self._combine("any", kept, self.false)
        rest = self.any_(
            self.all_(self._without_bytes(x, shared) for x in side if x not in common) for side in sides
        )
        return self.all_([*common, self.match(shared), rest])

    def _without_bytes(self, x: Node, known: Bytes) -> Node:
        return self.match(part for part in x.args[0] if part not in known) if x.op == "match" else x

    def _combine(self, op: str, parts: dict[Node, None], empty: Node) -> Node:
        if len(parts) < 2:
            return next(iter(parts), empty)
        return self._node(op, *parts)

    # Decisions.

    def branch(self, condition: Node, then: Node, else_: Node) -> Node:
        """Go on at ``then`` if the condition holds, else at ``else_``."""
        if then is else_ or condition is self.true:
            return then
        if condition is self.false:
            return else_
        if condition.op == "not":
            return self._node("branch", condition.args[0], else_, then)
        return self._node("branch", condition, then, else_)

    def ret(self, value: Node) -> Node:
        """Return a value."""
        return self._node("ret", value)


def _flat(op: str, parts: Iterable[Node]) -> Iterator[Node]:
    for x in parts:
        if x.op == op:
            yield from x.args
        else:
            yield x


def _shared_bytes(sides: list[tuple[Node, ...]]) -> Bytes:
    """What the matches of all sides ask for. One byte alone is cheaper asked for with its neighbours."""
    matches = [next((x.args[0] for x in side if x.op == "match"), ()) for side in sides]
    shared = tuple(part for part in matches[0] if all(part in other for other in matches[1:]))
    return shared if len(shared) > 1 else ()


def _contradicts(parts: Bytes, fields: dict[int, tuple[int, int]]) -> bool:
    """A match cannot hold together with what is known of the bytes."""
    for offset, mask, value in parts:
        known, at = fields.get(offset, (0, 0))
        if (at ^ value) & known & mask:
            return True
    return False


def upper(a: Node) -> int:
    """A number that the value never exceeds, of the form 2**n - 1 (a constant is its own)."""
    op, args = a.op, a.args
    if op == "const":
        return int(args[0])
    if op in ("load", "clamped"):
        return int((1 << 8 * args[0]) - 1)
    if op == "and":
        return _ones(min(upper(args[0]), upper(args[1])))
    if op == "rsh" and args[1].op == "const":
        return int(upper(args[0]) >> args[1].args[0])
    if op == "lsh" and args[1].op == "const":
        return _ones(min(U32, upper(args[0]) << args[1].args[0]))
    if op in ("or", "xor"):
        return _ones(upper(args[0]) | upper(args[1]))
    if op == "pick":
        return _ones(args[1])
    if op == "add":
        total = upper(args[0]) + upper(args[1])
        return _ones(total) if total <= U32 else U32
    return U32


def _ones(k: int) -> int:
    return (1 << k.bit_length()) - 1


def _packet_bits(a: Node) -> tuple[int, int, int, int] | None:
    """(size, offset, mask, shift) when a = (bytes & mask) >> shift, from a fixed place."""
    if a.op == "load":
        far = a.args[2] is not None or a.args[0] + a.args[1] > _FAR
        return None if far else (a.args[0], a.args[1], (1 << 8 * a.args[0]) - 1, 0)
    if a.op in ("and", "rsh") and a.args[1].op == "const":
        bits = _packet_bits(a.args[0])
        if bits is not None:
            size, offset, mask, shift = bits
            k = a.args[1].args[0]
            if a.op == "and":
                return size, offset, mask & k << shift, shift
            shift += k
            return size, offset, mask >> shift << shift, shift
    return None


INFIX: Final = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "mod": "%", "and": "&", "or": "|",
    "xor": "^", "lsh": "<<", "rsh": ">>", "eq": "==", "lt": "<",
}  # fmt: skip


def show(node: Node) -> str:
    """A value or a condition as text; of a decision its first step."""
    op, args = node.op, node.args
    if op == "const":
        return f"{args[0]:#x}" if args[0] > 9 else str(args[0])
    if op in ("load", "clamped"):
        size, offset, index = args
        return f"P{8 * size}[{offset}]" if index is None else f"P{8 * size}[{show(index)} + {offset}]"
    if op == "has":
        return f"len >= {args[0]}" if args[1] is None else f"len >= {show(args[1])} + {args[0]}"
    if op == "match":
        return _show_match(args[0])
    if op == "in":
        return f"{show(args[0])} in {{{len(args[1])} numbers}}"
    if op == "rank":
        at = args[0] if args[3] is None else f"{show(args[3])} + {args[0]}"
        return f"place of P[{at}:{len(args[1])}] & {args[1].hex()} in {len(args[2])} keys"
    if op == "pick":
        return f"({args[1]} if {show(args[0])} else 0)"
    if op == "not":
        return f"not ({show(args[0])})"
    if op in ("all", "any"):
        return "(" + (" and " if op == "all" else " or ").join(show(a) for a in args) + ")"
    if op in INFIX:
        return f"({show(args[0])} {INFIX[op]} {show(args[1])})"
    if op == "branch":
        return f"if {show(args[0])}"
    return " ".join([op, *(show(a) if isinstance(a, Node) else str(a) for a in args)])


def _show_match(parts: Bytes) -> str:
    runs: list[list[tuple[int, int, int]]] = []
    for part in parts:
        if runs and runs[-1][-1][0] + 1 == part[0]:
            runs[-1].append(part)
        else:
            runs.append([part])
    shown = []
    for run in runs:
        mask = "".join(f"{m:02x}" for _, m, _ in run)
        under = "" if set(mask) == {"f"} else f" & {mask}"
        shown.append(f"P[{run[0][0]}:{len(run)}]{under} == {''.join(f'{v:02x}' for _, _, v in run)}")
    return " and ".join(shown)


def text(root: Node) -> str:
    """All decisions, one a line, numbered; where a condition holds ``?``, else ``:``."""
    numbers = {node: i for i, node in enumerate(order(root))}
    lines = []
    for node, i in numbers.items():
        goes_on = f"  ? {numbers[node.args[1]]} : {numbers[node.args[2]]}" if node.op == "branch" else ""
        lines.append(f"{i:4}  {node!r}{goes_on}\n")
    return "".join(lines)


def order(root: Node) -> list[Node]:
    """The decisions from the root on, each before those it leads to, `then` sides first."""
    done: set[Node] = set()
    finished: list[Node] = []
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, seen = stack.pop()
        if seen:
            finished.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            if node.op == "branch":
                # What is visited first comes last.
                stack.append((node.args[1], False))
                stack.append((node.args[2], False))
    return finished[::-1]


def rebuild(root: Node, change: Callable[[Node, Node, Node], Node]) -> Node:
    """Each branch made anew from its last to its first: change(branch, new then, new else)."""
    new: dict[Node, Node] = {}
    for node in reversed(order(root)):
        new[node] = change(node, new[node.args[1]], new[node.args[2]]) if node.op == "branch" else node
    return new[root]


def lengths(root: Node) -> dict[Node, int]:
    """For each decision the bytes that the packet surely has when it is reached.

    Sound: it is the least over all ways there, and a way knows what its `has` tests told.
    """
    known: dict[Node, int] = {root: 0}
    for node in order(root):
        if node.op != "branch":
            continue
        condition, then, else_ = node.args
        here = known[node]
        true = max(here, condition.args[0]) if condition.op == "has" and condition.args[1] is None else here
        known[then] = min(known.get(then, true), true)
        known[else_] = min(known.get(else_, here), here)
    return known


def not_stray(root: Node) -> dict[Node, frozenset[int]]:
    """For each decision the places at which surely no stray is; sound as lengths() is."""
    known: dict[Node, frozenset[int]] = {root: frozenset()}
    for node in order(root):
        if node.op != "branch":
            continue
        condition, then, else_ = node.args
        here = known[node]
        without = here | {condition.args[0]} if condition.op == "stray" else here
        known[then] = known[then] & here if then in known else here
        known[else_] = known[else_] & without if else_ in known else without
    return known


def rewrite(graph: Graph, node: Node, replace: Callable[[Node], Node | None]) -> Node:
    """A value or condition made anew with what ``replace`` gives for its parts (None: as it is)."""
    done: dict[Node, Node] = {}

    def change(node: Node) -> Node:
        made = done.get(node)
        if made is None:
            made = done[node] = replace(node) or _remake(graph, node, change)
        return made

    return change(node)


def _remake(graph: Graph, node: Node, change: Callable[[Node], Node]) -> Node:
    op, args = node.op, node.args
    if op in ("load", "clamped"):
        if args[2] is None:
            return node
        make = graph.load if op == "load" else graph.clamped
        return make(args[0], args[1], change(args[2]))
    if op == "has":
        return node if args[1] is None else graph.has(args[0], change(args[1]))
    if op == "in":
        return graph.contains(change(args[0]), args[1])
    if op == "rank":
        return node if args[3] is None else graph.placed(args[0], args[1], args[2], change(args[3]))
    if op in ("all", "any"):
        return (graph.all_ if op == "all" else graph.any_)(change(x) for x in args)
    if op == "pick":
        return graph.pick(change(args[0]), args[1])
    if op in ("not", "neg"):
        return (graph.not_ if op == "not" else graph.neg)(change(args[0]))
    if op in ("eq", "lt"):
        return (graph.eq if op == "eq" else graph.lt)(change(args[0]), change(args[1]))
    if op in FOLD:
        return graph.alu(op, change(args[0]), change(args[1]))
    return node


def parts_of(node: Node) -> set[Node]:
    """The node and all values and conditions that it is made of."""
    seen: set[Node] = set()
    stack = [node]
    while stack:
        part = stack.pop()
        if part not in seen:
            seen.add(part)
            stack.extend(part.nodes)
    return seen
