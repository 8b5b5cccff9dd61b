# SPDX-License-Identifier: BSD-3-Clause
"""The compiled filter as text: ``-d``, ``-dd``, ``-ddd`` and ``--dump``. Needs no application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.capture.expression import compiled, expression
from dpcap.filters import cbpf, libpcap

if TYPE_CHECKING:
    from dpcap.capture.arguments import Arguments


def text(arguments: Arguments) -> str:
    """Return what was asked for, line by line as tcpdump prints it."""
    if arguments.dump_language == "ebpf":
        return _ebpf(arguments)
    program = _with_snaplen(
        compiled(
            lambda: libpcap.compile_cbpf(
                expression(arguments), optimize=not arguments.no_optimize, link=_link(arguments)
            ),
        ),
        arguments.snaplen,
    )
    if arguments.dump > 2:
        return cbpf.format_decimal(program)
    if arguments.dump == 2:
        return cbpf.format_c(program)
    return libpcap.format_text(program)


def _link(arguments: Arguments) -> libpcap.Link | None:
    """Return the link type of the file that -r names; None: Ethernet."""
    if arguments.read is None:
        return None
    from dpcap.capture.offline import first_link  # noqa: PLC0415 - rarely needed

    return first_link(arguments.read)


def _with_snaplen(program: cbpf.Program, snaplen: int) -> cbpf.Program:
    """Put the snapshot length into the accepting returns, where libpcap puts it."""
    return tuple(
        insn._replace(k=snaplen) if insn.code == cbpf.RET | cbpf.K and insn.k else insn for insn in program
    )


def _ebpf(arguments: Arguments) -> str:
    from dpcap import filters  # noqa: PLC0415 - the whole compiler, not only libpcap's
    from dpcap.ubpf_host.disasm import disassemble  # noqa: PLC0415

    made = compiled(
        lambda: filters.compile(
            expression(arguments), optimize=not arguments.no_optimize, link=_link(arguments)
        )
    )
    return disassemble(made.ebpf)
