# SPDX-License-Identifier: BSD-3-Clause
"""The compiled filter as text: ``-d``, ``-dd``, ``-ddd`` and ``--dump``. Needs no application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.capture.errors import UsageError
from dpcap.capture.expression import compiled, expression
from dpcap.filters import cbpf, libpcap

if TYPE_CHECKING:
    from dpcap.capture.arguments import Arguments


def text(arguments: Arguments) -> str:
    """Return what was asked for, line by line as tcpdump prints it."""
    if arguments.dump_language == "ebpf":
        return _ebpf(arguments)
    link, snaplen = _link(arguments)
    program = _with_snaplen(
        compiled(
            lambda: libpcap.compile_cbpf(
                expression(arguments), optimize=not arguments.no_optimize, link=link
            ),
        ),
        snaplen,
    )
    if arguments.dump > 2:
        return cbpf.format_decimal(program)
    if arguments.dump == 2:
        return cbpf.format_c(program)
    return libpcap.format_text(program)


def _link(arguments: Arguments) -> tuple[libpcap.Link | None, int]:
    """Return link (None: Ethernet) and snapshot length: what -y and -s, or the file that -r names, say."""
    if arguments.linktype is not None:
        linktype = libpcap.linktype(arguments.linktype)
        if linktype is None:
            raise UsageError(
                f"-y: no link type is called {arguments.linktype} (libpcap's names: EN10MB, RAW, ...)"
            )
        return libpcap.Link(linktype), arguments.snaplen
    if arguments.read is None:
        return None, arguments.snaplen
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

    link, _ = _link(arguments)
    made = compiled(
        lambda: filters.compile(expression(arguments), optimize=not arguments.no_optimize, link=link)
    )
    return disassemble(made.ebpf)
