# SPDX-License-Identifier: BSD-3-Clause
"""The engines that can run a program, in one table with one interface.

``jit`` and ``interp`` are the VM's own. ``ubpf`` and ``rte_bpf`` are other people's, found when
asked for: to run where they are wanted, and to compare with. Every program has passed our
verifier before any engine sees it. Packages above add engines of their own with :func:`register`.
"""

from __future__ import annotations

import errno
import functools
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from dpcap.ubpf_host._vm import ffi, lib

from dpcap.ubpf_host.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpcap.ubpf_host.program import Program

    # Memory (a cdata array of bytes), its length, the length on the wire, metadata: r0.
    Runner = Callable[[Any, int, int, int], int]

__all__ = ["ENGINES", "Engine", "EngineError", "default", "find", "register"]


class Engine(NamedTuple):
    """One way to run programs."""

    name: str
    description: str
    # Makes a program ready; EngineError when the engine is not there or cannot run it.
    load: Callable[[Program], Runner]


def _prepare(error: int, what: str) -> None:
    if error == -errno.ENOTSUP:
        raise EngineError(f"there is no JIT for this machine: use --engine interp ({what})")
    if error:
        raise EngineError(f"no memory for machine code ({what})")


def _load_jit(program: Program) -> Runner:
    _prepare(lib.dpcap_vm_jit(program.handle), "translating the program")
    return functools.partial(lib.run_jit, program.handle)


def _load_interp(program: Program) -> Runner:
    return functools.partial(lib.dpcap_vm_interp, program.handle)


def _load_ubpf(program: Program) -> Runner:
    from dpcap.ubpf_host.foreign import Ubpf  # noqa: PLC0415 # ctypes costs 10 ms, and few ask for it

    return Ubpf(program)


def _load_rte_bpf(program: Program) -> Runner:
    from dpcap.ubpf_host.foreign import RteBpf  # noqa: PLC0415 # as above

    return RteBpf(program)


ENGINES: dict[str, Engine] = {}


def register(engine: Engine) -> None:
    """Add an engine to the table."""
    ENGINES[engine.name] = engine


for _engine in (
    Engine("jit", "machine code (x86-64)", _load_jit),
    Engine("interp", "the interpreter", _load_interp),
    Engine("ubpf", "the JIT of libubpf.so", _load_ubpf),
    Engine("rte_bpf", "the JIT of DPDK's librte_bpf", _load_rte_bpf),
):
    register(_engine)


def find(name: str) -> Engine:
    """The engine of that name; EngineError names those that exist."""
    try:
        return ENGINES[name]
    except KeyError:
        raise EngineError(f"no such engine: {name} ({', '.join(ENGINES)} exist)") from None


@functools.cache
def default() -> str:
    """The JIT; where there is none for this machine, the interpreter, with a warning."""
    exit_only = ffi.new("struct dpcap_insn[2]", [{"opcode": 0xB7}, {"opcode": 0x95}])
    attr = ffi.new("struct dpcap_vm_load_attr *", {"insns": exit_only, "n_insns": 2})
    handle = ffi.new("struct dpcap_vm_prog **")
    if lib.dpcap_vm_load(attr, handle, ffi.NULL, 0) != 0:
        raise MemoryError("no memory for a program")
    try:
        if lib.dpcap_vm_jit(handle[0]) == -errno.ENOTSUP:
            warnings.warn("no JIT for this machine: programs run in the interpreter", stacklevel=3)
            return "interp"
    finally:
        lib.dpcap_vm_free(handle[0])
    return "jit"


def prepare_burst(name: str, program: Program) -> bool:
    """Make a program ready for bursts in the engine of that name. Whether it is the JIT."""
    if name not in ("jit", "interp"):
        raise EngineError(f"{find(name).name} has no bursts: jit and interp have")
    if program.kind != "packet":
        raise EngineError(f"a burst is of packets: a program of kind {program.kind} cannot run over it")
    if name == "jit" and not lib.dpcap_vm_burst_entry(program.handle):
        _prepare(lib.jit_burst(program.handle), "translating the burst loop")
    return name == "jit"
