# SPDX-License-Identifier: BSD-3-Clause
"""A filter for the kernel, where its verifier decides: inside of the BPF program of shim/uprobe.

The registers are those of the VM, so the instructions are, too. What differs is where packets are: r1 points
to a copy of their first bytes, of a size that the kernel's verifier knows, and r2 tells how many were copied.
So one has to know before how many a filter may look at; when it cannot be known, all are copied.

Tables of read-only data have no place there. A form without one is taken, in order branchy, plain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dpcap.filters import cbpf
from dpcap.filters.errors import FilterError
from dpcap.filters.forms import plain_form

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpcap.filters.filter import Filter

# The longest IPv4 header: what the instruction for its length makes of four bits.
_LONGEST_HEADER: Final = 60
_FORMS: Final = ("branchy", "plain")


class KernelForm(NamedTuple):
    """A program for the kernel."""

    name: str
    code: bytes  # RFC 9669 instructions
    reach: int | None  # bytes of a packet that it may look at; None: all of them


def kernel_forms(tap: Filter) -> Iterator[KernelForm]:
    """The forms of a filter that the kernel may take, the best first. Its verifier has the last word."""
    reach = _reach(tap.cbpf)
    for name in _FORMS:
        form = tap.forms.get(name)
        if form is None and name == "plain":
            try:
                form = plain_form(tap.cbpf)
            except FilterError:  # too long for the VM, which has more room
                continue
        if form is not None and not form.rodata:
            yield KernelForm(name, form.code, reach)


def _reach(program: cbpf.Program) -> int | None:
    """The bytes from the start of a packet that a program may read; None when it computes a place."""
    indexed_from = 0
    ends = [0]
    for code, _, _, k in program:
        cls, mode = code & 0x07, code & 0xE0
        if cls == cbpf.LDX:
            if mode == cbpf.IMM:
                indexed_from = max(indexed_from, k)
            elif mode not in (cbpf.LEN, cbpf.MEM):
                indexed_from = max(indexed_from, _LONGEST_HEADER)
                ends.append(k + 1)
            else:
                return None
        elif cls == cbpf.MISC and code & 0xF8 == cbpf.TAX:
            return None
    for code, _, _, k in program:
        if code & 0x07 == cbpf.LD and k < cbpf.SKF_LL_OFF:
            if code & 0xE0 == cbpf.ABS:
                ends.append(k + cbpf.SIZE[code & 0x18])
            elif code & 0xE0 == cbpf.IND:
                ends.append(k + indexed_from + cbpf.SIZE[code & 0x18])
    return max(ends)
