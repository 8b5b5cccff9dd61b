# SPDX-License-Identifier: BSD-3-Clause
"""A compiled filter, and compile() which makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dpcap.filters import cbpf, libpcap, plain
from dpcap.filters.alternatives import compile_alternatives
from dpcap.filters.build import TooManyPathsError, build
from dpcap.filters.errors import FilterError
from dpcap.filters.forms import Form, compile_forms, plain_form
from dpcap.filters.lists import Listed, compile_lists
from dpcap.filters.locate import locate
from dpcap.filters.packets import as_packet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dpcap.filters.ir import Graph, Node
    from dpcap.filters.packets import Direction, PacketLike
    from dpcap.ubpf_host.program import Program

_BUFFER: Final = (bytes, bytearray, memoryview)

# DPCAP_VM_META_DIRECTION.
_DIRECTIONS: Final = {None: 0, "in": 1, "out": 2}

# libpcap's optimiser takes exponential time for lists. Expressions longer than this
# many characters are tried without it first, and it is left out above so many
# instructions, up to which it ends within some milliseconds.
_SURELY_SHORT: Final = 256
_OPTIMIZE_UP_TO: Final = 2000
# Of programs longer than this many instructions no form would fit into the VM.
_LONGEST: Final = 50_000


class Filter:
    """A filter as eBPF; a container of the packets it accepts: ``packet in filter``.

    Packets are Ethernet frames without FCS: bytes, hexadecimal text, scapy's packets, or
    :class:`dpcap.testing.Packet` with direction, port, queue and length on the wire. Those of a
    filter compiled for another link type are packets of that.
    """

    def __init__(
        self,
        expression: str | None,
        program: cbpf.Program,
        *,
        optimize: bool = True,
        listed: Listed | None = None,
    ) -> None:
        #: What it was compiled from; None for Filter.from_cbpf().
        self.expression = expression
        #: libpcap's program. cbpf.format_c() and others print it as tcpdump does.
        self.cbpf = program
        self._listed = listed
        #: Programs with the same answers, by name, the best guess first. See forms.py.
        self.forms: dict[str, Form] = (
            compile_forms(program, self.decisions) if optimize else {"plain": plain_form(program)}
        )
        self._programs: dict[str, Program] = {}
        self._default_form: str | None = None
        self._oracle: libpcap.Oracle | None = None

    def decisions(self, graph: Graph) -> Node:
        """What the passes begin with. Raises TooManyPathsError (build.py)."""
        if self._listed is not None:
            return build(graph, self._listed.short, self._listed.comparisons)
        if len(self.cbpf) > _LONGEST:
            raise TooManyPathsError
        return build(graph, self.cbpf)

    @property
    def default_form(self) -> str:
        """The form that is run when none is asked for: the first that the verifier accepts.

        What the passes know is not always what the verifier can prove: then the plain
        translation, which checks before each load, is still there.
        """
        if self._default_form is None:
            self._default_form = next((name for name in self.forms if self.is_accepted(name)), "plain")
            if self._default_form not in self.forms:
                self.forms["plain"] = plain_form(self.cbpf)
        return self._default_form

    def is_accepted(self, form: str) -> bool:
        """Whether the verifier accepts a form."""
        from dpcap.ubpf_host.errors import VerifierError  # noqa: PLC0415 (nothing of the VM is needed to compile)

        try:
            self.program(form)
        except VerifierError:
            return False
        return True

    @property
    def accepts_all(self) -> bool:
        """Whether no packet is looked at, as for the empty expression."""
        code, _, _, k = self.cbpf[0]
        return code == cbpf.RET | cbpf.K and k != 0

    @property
    def ebpf(self) -> bytes:
        """RFC 9669 instructions; r1 packet, r2 its bytes, r3 its length on the wire, r4 metadata."""
        return self.forms[self.default_form].code

    @property
    def rodata(self) -> bytes:
        """The read-only table that the instructions refer to."""
        return self.forms[self.default_form].rodata

    @classmethod
    def from_cbpf(cls, instructions: Iterable[Sequence[int]], *, optimize: bool = True) -> Filter:
        """A filter from (code, jt, jf, k) instructions, as tcpdump -dd prints them.

        Raises FilterError for a program that libpcap's interpreter could not run either.
        """
        return cls(None, cbpf.validate(instructions), optimize=optimize)

    def program(self, form: str | None = None) -> Program:
        """A form (by default default_form) in the VM, verified at the first use."""
        name = form or self.default_form
        if name not in self._programs:
            from dpcap.ubpf_host.program import Program  # noqa: PLC0415 (nothing of the VM is needed to compile)

            self._programs[name] = Program(self.forms[name].code, rodata=self.forms[name].rodata)
        return self._programs[name]

    def run(
        self,
        packet: PacketLike,
        wirelen: int | None = None,
        engine: str | None = None,
        *,
        direction: Direction | None = None,
        port: int | None = None,
        queue: int | None = None,
        form: str | None = None,
    ) -> int:
        """What bpf_filter() returns for the packet: 0 for no match, else the bytes to keep.

        ``wirelen`` is the length on the wire when the packet is cut. ``engine`` is one of the
        VM's, or "libpcap" for the interpreter of libpcap (which knows no direction, port or
        queue). ``port`` and ``queue`` are DPDK's ids, ``form`` a name of :attr:`forms`. What
        a :class:`dpcap.testing.Packet` knows of itself need not be given.
        """
        if not isinstance(packet, _BUFFER):
            known = as_packet(packet)
            packet = known.data
            wirelen = known.wirelen if wirelen is None else wirelen
            direction = direction or known.direction
            port = known.port if port is None else port
            queue = known.queue if queue is None else queue
        if engine == "libpcap":
            return self._run_libpcap(packet, wirelen)
        meta = (
            _DIRECTIONS[direction]
            | (port or 0) << plain.META_PORT_SHIFT
            | (queue or 0) << plain.META_QUEUE_SHIFT
        )
        return self.program(form).run(packet, wirelen=wirelen, meta=meta, engine=engine)

    def _run_libpcap(self, packet: bytes | bytearray | memoryview, wirelen: int | None) -> int:
        if self._oracle is None:
            if any(cbpf.is_ancillary(insn) for insn in self.cbpf):
                raise FilterError(
                    "libpcap's interpreter knows neither direction, port nor queue (use another engine)",
                    self.expression,
                )
            self._oracle = libpcap.Oracle(self.cbpf)
        return self._oracle.run(packet, wirelen)

    def __contains__(self, packet: PacketLike) -> bool:
        return self.run(packet) != 0

    def __repr__(self) -> str:
        what = repr(self.expression) if self.expression is not None else f"{len(self.cbpf)} cBPF instructions"
        return f"<Filter {what}>"


def compile(  # noqa: A001 (as re.compile)
    expression: str, *, optimize: bool = True, link: libpcap.Link | None = None
) -> Filter:
    """Compile a pcap-filter(7) expression; the empty one accepts everything.

    ``optimize=False`` leaves out libpcap's optimiser and ours. ``link`` tells of a file
    whose packets are no Ethernet frames (only libpcap optimises for those). Raises
    FilterError, which shows the place of a syntax error.
    """
    try:
        # Our passes are made for headers at Ethernet's places; programs with an offset computed by
        # others (radiotap) can take them a time without end.
        ours = optimize and _is_ethernet(link)
        listed = compile_lists(expression) if ours and len(expression) > _SURELY_SHORT else None
        program = listed.cbpf if listed else _to_cbpf(expression, optimize=optimize, link=link)
        return Filter(expression, cbpf.validate(program), optimize=ours, listed=listed)
    except FilterError as error:
        error = error if error.expression is not None else FilterError(error.message, expression)
        raise locate(error) from None


def _is_ethernet(link: libpcap.Link | None) -> bool:
    return link is None or link.linktype == libpcap.ETHERNET


def _to_cbpf(expression: str, *, optimize: bool, link: libpcap.Link | None) -> cbpf.Program:
    if not optimize or len(expression) > _SURELY_SHORT:
        program = (compile_alternatives(expression) if optimize and _is_ethernet(link) else None) or (
            libpcap.compile_cbpf(expression, optimize=False, link=link)
        )
        if not optimize or len(program) > _OPTIMIZE_UP_TO:
            return program
    return libpcap.compile_cbpf(expression, link=link)
