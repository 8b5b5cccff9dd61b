# SPDX-License-Identifier: BSD-3-Clause
"""A verified program and how to run it."""

from __future__ import annotations

import errno
import itertools
import os
import struct
from typing import TYPE_CHECKING, Any

from dpcap.ubpf_host._vm import ffi, lib

from dpcap.ubpf_host import engines, isa
from dpcap.ubpf_host.errors import VerifierError
from dpcap.ubpf_host.helpers import Helper, to_c

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dpcap.ubpf_host.maps import Map

Memory = bytes | bytearray | memoryview

# What the verifier may say about one program. To fill it with zeros would take longer than to load most.
_LOG_SIZE = 1 << 18
_new_log = ffi.new_allocator(should_clear_after_alloc=False)
_KINDS = {"packet": lib.DPCAP_VM_PACKET, "memory": lib.DPCAP_VM_MEMORY}
# struct record of _vm_build.py: base, wirelen, offset, len.
_RECORD = struct.Struct("<QIHH")
_BURST_PACKET_MAX = 0xFFFF
_U32 = 0xFFFF_FFFF
_U64 = 0xFFFF_FFFF_FFFF_FFFF


class Program:
    """A program that passed the verifier.

    ``code`` is bytes (8 for each slot), instructions and labels of :mod:`dpcap.ubpf_host.isa`, or
    assembly text. Programs of kind "packet" get read-only memory whose length they have to check
    before each access; those of kind "memory" get writable memory of exactly ``mem_size`` bytes.
    ``rodata`` is a read-only table, see :func:`dpcap.ubpf_host.isa.ld_map_value`; ``helpers``
    are functions that the program may call, beside those that the VM brings under their Linux
    numbers (bpf-helpers(7)); ``maps`` those that it loads by their index.

    Raises :class:`VerifierError` for a program that cannot be proved safe, ValueError (AsmError,
    EncodeError) for one that cannot be read.
    """

    def __init__(
        self,
        code: bytes | str | Iterable[isa.Item],
        *,
        kind: str = "packet",
        mem_size: int | None = None,
        rodata: Memory = b"",
        helpers: Sequence[Helper] = (),
        maps: Sequence[Map] = (),
    ) -> None:
        if kind not in _KINDS:
            raise ValueError(f"no such kind of program: {kind} (packet, memory)")
        if (kind == "memory") != (mem_size is not None):
            raise ValueError("mem_size is for programs of kind memory, and they need it")
        if isinstance(code, str):
            from dpcap.ubpf_host.asm import assemble  # noqa: PLC0415 # compiled filters need no text

            code = assemble(code)
        elif not isinstance(code, bytes):
            code = isa.encode(code)
        if len(code) % isa.SLOT_SIZE:
            raise ValueError(f"{len(code)} bytes: a program is a multiple of {isa.SLOT_SIZE} bytes long")
        self.code: bytes = code
        self.kind = kind
        self.mem_size = mem_size
        self.rodata = bytes(rodata)
        self.maps = tuple(maps)
        helper_array, n_helpers, self._keep = to_c(helpers)
        self._handle = self._load(helper_array, n_helpers)
        self._runners: dict[str, engines.Runner] = {}

    def _load(self, helpers: Any, n_helpers: int) -> Any:
        insns = ffi.from_buffer("struct dpcap_insn[]", self.code)
        rodata = ffi.from_buffer(self.rodata)
        maps = ffi.new("struct dpcap_vm_map *[]", [map_.handle for map_ in self.maps])
        attr = ffi.new(
            "struct dpcap_vm_load_attr *",
            {
                "insns": insns,
                "n_insns": len(self.code) // isa.SLOT_SIZE,
                "type": _KINDS[self.kind],
                "mem_size": self.mem_size or 0,
                "rodata": rodata,
                "rodata_size": len(self.rodata),
                "helpers": helpers,
                "n_helpers": n_helpers,
                "maps": maps,
                "n_maps": len(self.maps),
            },
        )
        handle = ffi.new("struct dpcap_vm_prog **")
        log = _new_log("char[]", _LOG_SIZE)
        error = lib.dpcap_vm_load(attr, handle, log, _LOG_SIZE)
        if error == -errno.ENOMEM:
            raise MemoryError("no memory for the program")
        if error:
            raise VerifierError(ffi.string(log).decode(errors="replace") or os.strerror(-error))
        return ffi.gc(handle[0], lib.dpcap_vm_free)

    @property
    def handle(self) -> Any:
        """The ``struct dpcap_vm_prog *``, for cffi code. It lives as long as this object."""
        return self._handle

    def _runner(self, engine: str) -> engines.Runner:
        runner = self._runners.get(engine)
        if runner is None:
            runner = self._runners[engine] = engines.find(engine).load(self)
        return runner

    def _view(self, mem: Memory) -> Any:
        """The memory as a cdata array, not copied."""
        if self.kind == "packet":
            return ffi.from_buffer("uint8_t[]", mem)
        if isinstance(mem, bytes) or (isinstance(mem, memoryview) and mem.readonly):
            raise TypeError("this program may write its memory: pass a bytearray")
        if len(mem) != self.mem_size:
            raise ValueError(f"this program takes {self.mem_size} bytes of memory, not {len(mem)}")
        return ffi.from_buffer("uint8_t[]", mem, require_writable=True)

    def jit_entry(self) -> int:
        """The address of the machine code, for C: dpcap_vm_fn of dpcap_vm.h. It lives as long as this object.

        EngineError on machines without a JIT.
        """
        self._runner("jit")
        return int(ffi.cast("uintptr_t", lib.dpcap_vm_jit_entry(self._handle)))

    def run(
        self, mem: Memory, *, wirelen: int | None = None, meta: int = 0, engine: str | None = None
    ) -> int:
        """Run over ``mem`` and return r0, 0 to 2**64 - 1.

        ``wirelen`` is the packet's length on the wire, by default what is there; ``meta`` the
        program metadata word (r4). ``engine`` is one of :data:`dpcap.ubpf_host.engines.ENGINES`,
        by default the JIT, or the interpreter on machines without one. EngineError for an engine
        that is not there or cannot run this program.
        """
        view = self._view(mem)
        length = len(view)
        result: int = self._runner(engine or engines.default())(
            view, length, length if wirelen is None else wirelen, meta & _U64
        )
        return result

    def run_burst(
        self,
        packets: Sequence[Memory],
        *,
        wirelens: Sequence[int] | None = None,
        meta: int = 0,
        engine: str | None = None,
    ) -> list[bool]:
        """Run over many packets: whether r0 was not zero, for each of them.

        The loop over each burst of packets is inside of the VM; ``engine`` is "jit" or "interp".
        Packets are of at most 65,535 bytes.
        """
        if self.kind != "packet":
            raise ValueError("bursts are for programs of kind packet")
        jit = engines.prepare_burst(engine or engines.default(), self)
        lengths = [len(packet) for packet in packets]
        if wirelens is None:
            wirelens = lengths
        if len(wirelens) != len(packets) or not all(0 <= wirelen <= _U32 for wirelen in wirelens):
            raise ValueError("wirelens has a number of 32 bits for each packet")
        for index, length in enumerate(lengths):
            if length > _BURST_PACKET_MAX:
                raise ValueError(
                    f"packet {index} has {length} bytes, at most {_BURST_PACKET_MAX} fit in a burst"
                )
        # One block of memory for all: cheaper than to ask each packet where it is.
        data = ffi.from_buffer(b"".join(packets))
        start = int(ffi.cast("uintptr_t", data))
        starts = itertools.accumulate(lengths[:-1], initial=start)
        records = b"".join(map(_RECORD.pack, starts, wirelens, itertools.repeat(0), lengths))
        accepted = bytearray(len(lengths))
        lib.run_bursts(
            self._handle,
            jit,
            ffi.from_buffer("struct record[]", records),
            len(lengths),
            meta & _U64,
            ffi.from_buffer(accepted),
        )
        return list(map(bool, accepted))

    def disassemble(self) -> str:
        """The program as text."""
        from dpcap.ubpf_host.disasm import disassemble  # noqa: PLC0415 # as above

        return disassemble(self.code)

    @property
    def native_code(self) -> bytes:
        """The machine code that the JIT makes of it. EngineError on machines without a JIT."""
        self._runner("jit")
        size = ffi.new("size_t *")
        return bytes(ffi.buffer(lib.dpcap_vm_jit_code(self._handle, size), size[0]))

    def disassemble_native(self) -> str:
        """The machine code as text, one instruction a line. Needs capstone."""
        try:
            import capstone  # noqa: PLC0415 # optional, and slow to load
        except ImportError:
            raise engines.EngineError(
                "capstone is not installed: pip install 'dpcap[disasm]' to read machine code"
            ) from None
        decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        return "".join(
            f"{insn.address:5x}:  {insn.bytes.hex():<24}{insn.mnemonic} {insn.op_str}".rstrip() + "\n"
            for insn in decoder.disasm(self.native_code, 0)
        )
