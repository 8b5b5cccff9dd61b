# SPDX-License-Identifier: BSD-3-Clause
"""What the compiler does with a filter, stage by stage, and why a packet matches or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters import ir, libpcap
from dpcap.filters.build import TooManyPathsError, build
from dpcap.filters.evaluate import Evaluation
from dpcap.filters.fields import dissect, name_of
from dpcap.filters.forms import decisions
from dpcap.ubpf_host.disasm import disassemble
from dpcap.ubpf_host.errors import EngineError, VerifierError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpcap.filters.filter import Filter
    from dpcap.filters.ir import Node

# Lines of one stage that are shown: lists of hosts have thousands.
_LINES = 400
_WIDTH = 16


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
        root = build(graph, tap.cbpf)
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

    test: str
    holds: bool
    fields: tuple[str, ...]  # that were looked at
    offsets: tuple[int, ...]  # bytes that were looked at, some perhaps beyond the packet


class Reason(NamedTuple):
    """Why a packet matches or not: the tests in order; the last one decided."""

    result: int
    steps: list[Step]
    packet: bytes

    @property
    def decided_by(self) -> Step | None:
        """The test that decided; None for a filter that tests nothing."""
        return self.steps[-1] if self.steps else None

    def __str__(self) -> str:
        lines = []
        for step in self.steps:
            answer = "yes" if step.holds else "no"
            lines.append(f"  {step.test:<44} {answer:<4} {', '.join(step.fields)}")
        last = self.decided_by
        why = f", decided by {', '.join(last.fields) or last.test}" if last else ""
        head = f"{'matches' if self.result else 'does not match'}{why}"
        return "\n".join([head, *lines, dump(self.packet, last.offsets if last else ())])


def reason(tap: Filter, packet: bytes, wirelen: int | None = None) -> Reason:
    """Follow a packet through the filter's decisions, in libpcap's order.

    The filter has no direction, port or queue here: `inbound` holds. Raises
    TooManyPathsError for programs that are no decisions (never made by libpcap).
    """
    evaluate = Evaluation(packet, len(packet) if wirelen is None else wirelen)
    fields = dissect(packet)
    node = build(ir.Graph(), tap.cbpf)
    steps = []
    while node.op == "branch":
        condition, then, else_ = node.args
        holds = bool(evaluate(condition))
        offsets = tuple(sorted(_offsets(condition, evaluate)))
        # That a byte is there is worth a line only where it is not.
        if condition.op != "has" or not holds:
            names = dict.fromkeys(name_of(fields, offset) for offset in offsets)
            steps.append(Step(ir.show(condition), holds, tuple(names), offsets))
        node = then if holds else else_
    return Reason(evaluate(node.args[0]), steps, packet)


def _offsets(condition: Node, evaluate: Evaluation) -> Iterator[int]:
    """The bytes of the packet that a condition is about, not those that tell where they are."""
    if condition.op == "has":
        end, index = condition.args
        yield end + (0 if index is None else evaluate(index)) - 1
        return
    parts = list(ir.parts_of(condition))
    indexes = (part.args[2] for part in parts if part.op == "load" and part.args[2] is not None)
    places = {place for index in indexes for place in ir.parts_of(index)}
    for part in parts:
        if part in places:
            continue
        if part.op == "match":
            yield from (offset for offset, _, _ in part.args[0])
        elif part.op == "load":
            size, offset, index = part.args
            at = offset + (0 if index is None else evaluate(index))
            yield from range(at, at + size)


def dump(packet: bytes, marked: tuple[int, ...] = ()) -> str:
    """The packet in hexadecimal, 16 bytes a line, with [brackets] around the marked bytes."""
    lines = []
    for start in range(0, len(packet), _WIDTH):
        row = "".join(
            f"[{byte:02x}]" if start + i in marked else f" {byte:02x} "
            for i, byte in enumerate(packet[start : start + _WIDTH])
        )
        lines.append(f"  {start:04x} {row.replace('][', ' ')}".rstrip())
    return "\n".join(lines)
