# SPDX-License-Identifier: BSD-3-Clause
"""Engines of others, loaded at run time when they are installed: uBPF and DPDK's rte_bpf.

Neither knows tables of read-only data, so that their addresses are put into the program as
plain 64-bit immediates.
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import TYPE_CHECKING, Any

from dpcap.ubpf_host._vm import ffi

from dpcap.ubpf_host import isa
from dpcap.ubpf_host.errors import EngineError
from dpcap.ubpf_host.isa import R1, R2, R3, R4, Insn
from dpcap.ubpf_host.liveness import arguments

if TYPE_CHECKING:
    from dpcap.ubpf_host.program import Program

_ARGUMENT_NAMES = {3: "the length on the wire", 4: "the metadata word"}


def _library(names: list[str], package: str) -> ctypes.CDLL:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise EngineError(f"{names[0]} is not installed ({package})")


def _address(view: Any) -> int:
    return int(ffi.cast("uintptr_t", view))


def _with_table_addresses(
    program: Program, table: ctypes.Array[ctypes.c_char], engine: str
) -> list[isa.Item]:
    """The program with the addresses of its table as numbers."""
    items: list[isa.Item] = []
    for item in isa.decode(program.code):
        if isinstance(item, Insn) and item.opcode == isa.LDDW and item.src != isa.LDDW_IMM:
            if item.src != isa.LDDW_MAP_VALUE or item.imm & 0xFFFF_FFFF:
                raise EngineError(f"{engine} has no maps, and this program uses one")
            address = ctypes.addressof(table) + (item.imm >> 32)
            items.append(isa.lddw(isa.Reg(item.dst), address))
        else:
            items.append(item)
    return items


# ---- uBPF: https://github.com/iovisor/ubpf, vm/inc/ubpf.h


@functools.cache
def _ubpf() -> ctypes.CDLL:
    library = _library(
        [os.environ.get("DPCAP_LIBUBPF", "libubpf.so"), "libubpf.so.1"], "github.com/iovisor/ubpf"
    )
    library.ubpf_create.restype = ctypes.c_void_p
    library.ubpf_destroy.argtypes = [ctypes.c_void_p]
    library.ubpf_load.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_uint32,
        ctypes.POINTER(ctypes.c_char_p),
    ]
    library.ubpf_compile.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p)]
    library.ubpf_compile.restype = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t)
    return library


class Ubpf:
    """A program in uBPF's JIT: r1 and r2 are its only arguments."""

    def __init__(self, program: Program) -> None:
        for reg, name in _ARGUMENT_NAMES.items():
            if reg in arguments(program.code):
                raise EngineError(f"uBPF cannot run this program: it reads {name} (r{reg})")
        self.library = _ubpf()
        # The table has to live as long as the code that holds its address.
        self.table = ctypes.create_string_buffer(program.rodata, max(len(program.rodata), 1))
        self.vm = self.library.ubpf_create()
        if not self.vm:
            raise EngineError("uBPF has no memory for a program")
        code = isa.encode(_with_table_addresses(program, self.table, "uBPF"))
        message = ctypes.c_char_p()
        if self.library.ubpf_load(self.vm, code, len(code), ctypes.byref(message)) != 0:
            raise EngineError(f"uBPF refused the program: {_text(message)}")
        self.function = self.library.ubpf_compile(self.vm, ctypes.byref(message))
        if not self.function:
            raise EngineError(f"uBPF could not translate the program: {_text(message)}")

    def __call__(self, view: Any, length: int, _wirelen: int, _meta: int) -> int:
        """Run it over the memory."""
        return int(self.function(_address(view), length))

    def __del__(self) -> None:
        if getattr(self, "vm", None):
            self.library.ubpf_destroy(self.vm)


def _text(message: ctypes.c_char_p) -> str:
    return (message.value or b"no reason given").decode(errors="replace").strip()


# ---- DPDK's rte_bpf, rte_bpf.h of 20.11 to 25.11


class _RteBpfArg(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("size", ctypes.c_size_t), ("buf_size", ctypes.c_size_t))


class _RteBpfXsymFunc(ctypes.Structure):
    _fields_ = (
        ("val", ctypes.c_void_p),
        ("nb_args", ctypes.c_uint32),
        ("args", _RteBpfArg * 5),
        ("ret", _RteBpfArg),
    )


class _RteBpfXsymVar(ctypes.Structure):
    _fields_ = (("val", ctypes.c_void_p), ("desc", _RteBpfArg))


class _RteBpfXsymUnion(ctypes.Union):
    _fields_ = (("func", _RteBpfXsymFunc), ("var", _RteBpfXsymVar))


class _RteBpfXsym(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("type", ctypes.c_int), ("symbol", _RteBpfXsymUnion))


class _RteBpfPrm(ctypes.Structure):
    _fields_ = (
        ("ins", ctypes.c_char_p),
        ("nb_ins", ctypes.c_uint32),
        ("xsym", ctypes.POINTER(_RteBpfXsym)),
        ("nb_xsym", ctypes.c_uint32),
        ("prog_arg", _RteBpfArg),
    )


class _RteBpfJit(ctypes.Structure):
    _fields_ = (("func", ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)), ("sz", ctypes.c_size_t))


_RTE_BPF_ARG_PTR = 0x10
_RTE_BPF_XTYPE_VAR = 1
# rte_bpf gives a program one pointer to memory of a known size, so r2 to r4 stand before the packet:
#
#   +----------------+----------------+----------------+-----------
#   | length         | wirelen        | meta           | packet
#   +----------------+----------------+----------------+-----------
#   0                8                16               24
_RTE_HEADER = 24
_RTE_PACKET_MAX = 1 << 18
_RTE_PROLOGUE = [
    isa.ldx("dw", R2, R1, 0),
    isa.ldx("dw", R3, R1, 8),
    isa.ldx("dw", R4, R1, 16),
    isa.add(R1, _RTE_HEADER),
]


@functools.cache
def _rte_bpf() -> ctypes.CDLL:
    names = [
        os.environ.get("DPCAP_LIBRTE_BPF", "librte_bpf.so"),
        *(f"librte_bpf.so.{v}" for v in range(26, 20, -1)),
    ]
    library = _library(names, "Debian: librte-bpf23")
    library.rte_bpf_load.argtypes = [ctypes.POINTER(_RteBpfPrm)]
    library.rte_bpf_load.restype = ctypes.c_void_p
    library.rte_bpf_destroy.argtypes = [ctypes.c_void_p]
    library.rte_bpf_get_jit.argtypes = [ctypes.c_void_p, ctypes.POINTER(_RteBpfJit)]
    return library


class RteBpf:
    """A program in rte_bpf's JIT, over a copy of the packet."""

    def __init__(self, program: Program) -> None:
        self.library = _rte_bpf()
        self.writes = program.kind == "memory"
        self.table = ctypes.create_string_buffer(program.rodata, max(len(program.rodata), 1))
        items = _with_table_addresses(program, self.table, "rte_bpf")
        code = isa.encode([*_RTE_PROLOGUE, *items])
        symbols = self._table_symbols(items)
        size = _RTE_HEADER + (_RTE_PACKET_MAX if program.mem_size is None else program.mem_size)
        parameters = _RteBpfPrm(
            ins=code,
            nb_ins=len(code) // isa.SLOT_SIZE,
            xsym=symbols,
            nb_xsym=len(symbols),
            prog_arg=_RteBpfArg(type=_RTE_BPF_ARG_PTR, size=size, buf_size=size),
        )
        self.bpf = self.library.rte_bpf_load(ctypes.byref(parameters))
        if not self.bpf:
            raise EngineError(
                "rte_bpf refused the program (its verifier or its instruction set is not enough)"
            )
        self.jit = _RteBpfJit()
        if self.library.rte_bpf_get_jit(self.bpf, ctypes.byref(self.jit)) != 0 or not self.jit.func:
            raise EngineError("rte_bpf has no JIT for this program")

    def _table_symbols(self, items: list[isa.Item]) -> ctypes.Array[_RteBpfXsym]:
        """A variable at every address that the program loads: its verifier follows no arithmetic on them."""
        start, size = ctypes.addressof(self.table), len(self.table)
        loads = {item.imm for item in items if isinstance(item, Insn) and item.opcode == isa.LDDW}
        addresses = sorted(address for address in loads if start <= address < start + size)
        symbols = (_RteBpfXsym * len(addresses))()
        for symbol, address in zip(symbols, addresses, strict=True):
            left = start + size - address
            symbol.name = b"table"
            symbol.type = _RTE_BPF_XTYPE_VAR
            symbol.symbol.var.val = address
            symbol.symbol.var.desc = _RteBpfArg(type=_RTE_BPF_ARG_PTR, size=left, buf_size=left)
        return symbols

    def __call__(self, view: Any, length: int, wirelen: int, meta: int) -> int:
        """Run it over a copy of the memory."""
        memory = ctypes.create_string_buffer(
            b"".join(word.to_bytes(8, "little") for word in (length, wirelen, meta)), _RTE_HEADER + length
        )
        address = ctypes.addressof(memory) + _RTE_HEADER
        ctypes.memmove(address, _address(view), length)
        result = int(self.jit.func(ctypes.addressof(memory)))
        if self.writes:
            ctypes.memmove(_address(view), address, length)
        return result

    def __del__(self) -> None:
        if getattr(self, "bpf", None):
            self.library.rte_bpf_destroy(self.bpf)
