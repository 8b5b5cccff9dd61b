# SPDX-License-Identifier: BSD-3-Clause
"""What the compiler does with a filter, stage by stage, and why a packet matches or not."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from dpcap.filters import cbpf, ir, libpcap, plain
from dpcap.filters.build import TooManyPathsError, build
from dpcap.filters.evaluate import Evaluation
from dpcap.filters.forms import decisions
from dpcap.filters.words import Narrator
from dpcap.ubpf_host.disasm import disassemble
from dpcap.ubpf_host.errors import EngineError, VerifierError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from dpcap.filters.filter import Filter
    from dpcap.filters.ir import Node
    from dpcap.filters.packets import Direction

# Lines of one stage that are shown: lists of hosts have thousands.
_LINES = 400
_WIDTH = 16
# Lines of a packet's way for the members of one list.
_MEMBERS = 5

_Row = TypeVar("_Row")


#: What a stage can be: libpcap's program, decisions before and after the passes, programs of the VM.
KINDS: Final = ("cbpf", "ir", "pass", "ebpf", "native")


class Stage(NamedTuple):
    """The filter after one stage."""

    title: str
    text: str
    kind: str  # one of KINDS
    form: str = ""  # whose program it is, of ebpf and native


def stages(tap: Filter, *, native: bool = True) -> list[Stage]:
    """cBPF, decisions, decisions after each pass that changed them, eBPF and machine code of each form.

    Machine code needs capstone; without it, or without a JIT, that stage says so.
    """
    found = [Stage("cBPF", libpcap.format_text(tap.cbpf), "cbpf")]
    if "plain" not in tap.forms:
        found += _decision_stages(tap)
    for name, form in tap.forms.items():
        found.append(Stage(f"eBPF, {name} form", disassemble(form.code), "ebpf", name))
        if native:
            found.append(Stage(f"machine code, {name} form", _native(tap, name), "native", name))
    return [stage._replace(text=_shortened(stage.text)) for stage in found]


def _native(tap: Filter, form: str) -> str:
    try:
        return tap.program(form).disassemble_native()
    except EngineError as error:
        return f"{error}\n"
    except VerifierError as error:
        return f"the verifier refuses it: {error}\n"


def _decision_stages(tap: Filter) -> Iterator[Stage]:
    graph = ir.Graph()
    try:
        root = tap.decisions(graph)
    except TooManyPathsError:
        return
    passes: list[Stage] = []
    decisions(graph, root, lambda title, after: passes.append(Stage(title, ir.text(after), "pass")))
    before = ir.text(root)
    yield Stage("decisions", before, "ir")
    for stage in passes:
        if stage.text != before:
            yield stage
        before = stage.text


def _shortened(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return (
        text if len(lines) <= _LINES else "".join(lines[:_LINES]) + f"... {len(lines) - _LINES} more lines\n"
    )


class Step(NamedTuple):
    """One test on a packet's way through the filter."""

    test: str  # in words: udp.dstport == 2152
    holds: bool
    fields: tuple[str, ...]  # that were looked at
    offsets: tuple[int, ...]  # bytes that were looked at, some perhaps beyond the packet
    subject: str  # what the test is about: udp.dstport
    value: str  # what the packet has there: 1024


class Reason(NamedTuple):
    """Why a packet matches or not: the tests in order; the last one decided."""

    result: int
    steps: list[Step]
    packet: bytes

    @property
    def decided_by(self) -> Step | None:
        """The test that decided; None for a filter that tests nothing."""
        return self.steps[-1] if self.steps else None

    @property
    def verdict(self) -> str:
        """One line: whether the packet matches, and the field that decided."""
        last = self.decided_by
        why = f", decided by {last.subject}: {last.value}" if last else ""
        return f"{'matches' if self.result else 'does not match'}{why}"

    def path(self) -> Iterator[str]:
        """The tests, one a line; of long lists only the first members."""
        rows = list(without_lists(self.steps, lambda s: s.holds or s.subject, _several))
        width = max((len(row.test) for row in rows), default=0)
        for row in rows:
            yield f"  {row.test:<{width}}  {'yes' if row.holds else 'no':<3}  {row.value}".rstrip()

    def __str__(self) -> str:
        last = self.decided_by
        return "\n".join([self.verdict, *self.path(), dump(self.packet, last.offsets if last else ())])


def _several(count: int, step: Step) -> Step:
    return step._replace(test=f"{count} more of {step.subject}")


def without_lists(
    rows: Iterable[_Row], key: Callable[[_Row], object], several: Callable[[int, _Row], _Row]
) -> Iterator[_Row]:
    """Of more than some rows in a row with the same key the first, ``several(count, row)`` and the last."""
    for _, group in itertools.groupby(rows, key):
        members = list(group)
        if len(members) > _MEMBERS:
            left = len(members) - _MEMBERS + 1
            members[_MEMBERS - 2 : -1] = [several(left, members[0])]
        yield from members


def metadata_of(direction: Direction | None, port: int, queue: int) -> dict[int, int]:
    """What the metadata word says, by SKF_AD_* numbers."""
    return {
        cbpf.SKF_AD_PKTTYPE: plain.PACKET_OUTGOING if direction == "out" else 0,
        cbpf.SKF_AD_IFINDEX: port,
        cbpf.SKF_AD_QUEUE: queue,
    }


def reason(
    tap: Filter,
    packet: bytes,
    wirelen: int | None = None,
    *,
    direction: Direction | None = None,
    port: int = 0,
    queue: int = 0,
) -> Reason:
    """Follow a packet through the filter's decisions, in libpcap's order.

    Arguments as of :meth:`Filter.run`. Raises TooManyPathsError for programs that are no
    decisions (never made by libpcap).
    """
    metadata = metadata_of(direction, port, queue)
    evaluate = Evaluation(packet, len(packet) if wirelen is None else wirelen, metadata)
    narrator = Narrator(evaluate)
    node = build(ir.Graph(), tap.cbpf)
    steps = []
    told_of: set[Node] = set()
    while node.op == "branch":
        condition, then, else_ = node.args
        holds = bool(evaluate(condition))
        # That a byte is there is worth a line only where it is not; an answer is told once.
        if (condition.op != "has" or not holds) and condition not in told_of:
            told_of.add(condition)
            told = narrator.tell(condition)
            offsets = tuple(sorted(narrator.offsets(condition)))
            steps.append(Step(told.test, holds, told.fields, offsets, told.subject, told.value))
        node = then if holds else else_
    return Reason(evaluate(node.args[0]), steps, packet)


def dump(packet: bytes, marked: Collection[int] = ()) -> str:
    """The packet in hexadecimal and ASCII, 16 bytes a line, with [brackets] around the marked bytes."""
    lines = []
    for start in range(0, len(packet), _WIDTH):
        row = packet[start : start + _WIDTH]
        shown, before = "", False
        for at, byte in enumerate(row, start):
            inside = at in marked
            shown += ("]" if before else "[") if inside != before else " "
            shown += f"{byte:02x}"
            before = inside
        shown += "]" if before else ""
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"  {start:04x} {shown:<{3 * _WIDTH + 1}}  {text}")
    return "\n".join(lines)
