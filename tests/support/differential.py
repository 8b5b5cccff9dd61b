# SPDX-License-Identifier: BSD-3-Clause
"""Every form of many filters beside libpcap's bpf_filter(), on cut packets: the loop in C."""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dpcap.ubpf_host._vm import ffi, lib
from filter_engines import compile_c

from dpcap.filters import Filter, explain, libpcap
from dpcap.filters.forms import plain_form
from dpcap.ubpf_host.errors import VerifierError
from dpcap.ubpf_host.program import Program
from support.guarded import GuardedMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Packets are cut to every length up to this one: beyond all headers that filters look at.
LONGEST: Final = 130
_WHOLE: Final = 0xFFFF
_MOST_FORMS: Final = 4

_LOOP = r"""
#include <stdint.h>

struct bpf_insn;
uint32_t bpf_filter(const struct bpf_insn *, const uint8_t *, uint32_t, uint32_t);

#define MOST_FORMS 4
#define BURST 64

/* As the burst entries are told. */
struct record {
    uint64_t base;
    uint32_t wirelen;
    uint16_t offset, len;
};

struct filter {
    const struct bpf_insn *insns;
    uint64_t (*call[MOST_FORMS])(const uint8_t *, uint64_t, uint64_t, uint64_t);
    uint64_t (*burst[MOST_FORMS])(const struct record *const *, uint32_t, uint64_t);
};

struct difference {
    uint32_t filter, form, record, in_burst;
    uint64_t result, wanted;
};

struct counts {
    uint64_t wanted, calls, bursts, differences;
};

static void differ(struct counts *counts, struct difference *first, struct difference found)
{
    if (counts->differences++ == 0)
        *first = found;
}

void compare(const struct filter *filters, uint32_t n_filters, const struct record *records, uint32_t n,
             struct counts *counts, struct difference *first)
{
    const struct record *pointers[BURST];

    for (uint32_t f = 0; f < n_filters; f++)
        for (uint32_t start = 0; start < n; start += BURST) {
            uint32_t size = n - start < BURST ? n - start : BURST;
            uint64_t wanted[BURST], accepted = 0;

            for (uint32_t i = 0; i < size; i++) {
                const struct record *r = pointers[i] = &records[start + i];

                wanted[i] = bpf_filter(filters[f].insns, (void *)r->base, r->wirelen, r->len);
                accepted |= (uint64_t)(wanted[i] != 0) << i;
            }
            counts->wanted += size;
            for (uint32_t form = 0; form < MOST_FORMS; form++) {
                if (!filters[f].call[form])
                    continue;
                for (uint32_t i = 0; i < size; i++) {
                    const struct record *r = pointers[i];
                    uint64_t result = filters[f].call[form]((void *)r->base, r->len, r->wirelen, 0);

                    if (result != wanted[i])
                        differ(counts, first, (struct difference){f, form, start + i, 0, result, wanted[i]});
                }
                counts->calls += size;
                uint64_t bits = filters[f].burst[form](pointers, size, 0);

                if (bits != accepted)
                    differ(counts, first, (struct difference){f, form, start, 1, bits, accepted});
                counts->bursts += size;
            }
        }
}
"""


class _Record(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_uint64),
        ("wirelen", ctypes.c_uint32),
        ("offset", ctypes.c_uint16),
        ("len", ctypes.c_uint16),
    )


class _Filter(ctypes.Structure):
    _fields_ = (
        ("insns", ctypes.c_void_p),
        ("call", ctypes.c_void_p * _MOST_FORMS),
        ("burst", ctypes.c_void_p * _MOST_FORMS),
    )


class _Difference(ctypes.Structure):
    _fields_ = (
        ("filter", ctypes.c_uint32),
        ("form", ctypes.c_uint32),
        ("record", ctypes.c_uint32),
        ("in_burst", ctypes.c_uint32),
        ("result", ctypes.c_uint64),
        ("wanted", ctypes.c_uint64),
    )


class Counts(ctypes.Structure):
    """What was compared."""

    _fields_ = (
        ("wanted", ctypes.c_uint64),
        ("calls", ctypes.c_uint64),
        ("bursts", ctypes.c_uint64),
        ("differences", ctypes.c_uint64),
    )
    wanted: int  # results of bpf_filter()
    calls: int  # of a form, a packet at a time
    bursts: int  # packets in bursts of a form
    differences: int


class Entry(NamedTuple):
    """A filter that is compared, with its programs by form."""

    tap: Filter
    programs: dict[str, Program]
    oracle: libpcap.Oracle


def entry(tap: Filter) -> Entry:
    """A filter with all its forms that the verifier accepts, and the plain one."""
    programs = {}
    for name, form in {**tap.forms, "plain": plain_form(tap.cbpf)}.items():
        try:
            programs[name] = Program(form.code, rodata=form.rodata)
        except VerifierError:
            if name == "plain":
                raise
    return Entry(tap, programs, libpcap.Oracle(tap.cbpf))


class Cuts:
    """Memory for a packet at every length, each before a guard page."""

    def __init__(self) -> None:
        self._cut = GuardedMemory(LONGEST + 1)
        self._whole = GuardedMemory(1, _WHOLE)
        #: Where they are.
        self.records = (_Record * (LONGEST + 2))()
        self.packets = 0
        self.cut_packets = 0

    def packet(self, data: bytes) -> int:
        """Lay a packet out at every length; how many lengths."""
        data = data[:_WHOLE]
        lengths = [*range(min(len(data), LONGEST) + 1)]
        for length in lengths:
            self._cut.put(length, data[:length])
            self.records[length] = _Record(self._cut.address(length, length), len(data), 0, length)
        if len(data) > LONGEST:
            self._whole.put(0, data)
            self.records[len(lengths)] = _Record(self._whole.address(0, len(data)), len(data), 0, len(data))
            lengths.append(len(data))
        self.packets += 1
        self.cut_packets += len(lengths)
        return len(lengths)


class Comparison(Cuts):
    """The loop, its memory and what it counted."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="dpcap-differential-")
        self._library = compile_c(_LOOP, Path(self._folder.name), "-O2")
        self.counts = Counts()

    def run(self, entries: Sequence[Entry], packets: Iterable[bytes]) -> str:
        """Compare all with all. What the first difference is; empty: there is none."""
        table = (_Filter * len(entries))()
        for row, found in zip(table, entries, strict=True):
            row.insns = found.oracle.address
            for form, program in enumerate(found.programs.values()):
                row.call[form] = jit_address(program)
                row.burst[form] = _burst(program)
        first = _Difference()
        for data in packets:
            n = self.packet(data)
            self._library.compare(
                table, len(table), self.records, n, ctypes.byref(self.counts), ctypes.byref(first)
            )
            if self.counts.differences:
                return self._describe(entries[first.filter], first, data)
        return ""

    def _describe(self, found: Entry, first: Any, data: bytes) -> str:
        length = self.records[first.record].len
        how = "in a burst from there on" if first.in_burst else "called"
        shown = (s for s in explain.stages(found.tap, native=False) if s.kind in ("cbpf", "ir", "pass"))
        return (
            f"{found.tap!r}, {list(found.programs)[first.form]} form, {how}: {first.result:#x}, "
            f"not {first.wanted:#x}, for the first {length} bytes of {data.hex()}\n"
            + "".join(f"\n{stage.title}\n{stage.text}" for stage in shown)
        )


def _address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


def jit_address(program: Program) -> int:
    """The machine code of a program, called a packet at a time."""
    if lib.dpcap_vm_jit(program.handle) != 0:
        raise OSError("no JIT for this machine")
    return _address(lib.dpcap_vm_jit_entry(program.handle))


def _burst(program: Program) -> int:
    if lib.jit_burst(program.handle) != 0:
        raise OSError("no JIT for this machine")
    return _address(lib.dpcap_vm_burst_entry(program.handle))
