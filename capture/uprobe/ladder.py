# SPDX-License-Identifier: BSD-3-Clause
"""Where a process keeps its drivers' functions, from the surest way to find out to the last resort.

    1. dynsym       the program's dynamic symbols, then its libraries'. The program first: where it uses the
                    array itself, the linker has moved it there, and the library's is dead
    2. symtab       the ordinary symbols, in what was not stripped
    3. debug file   those of a separate debug file, found by the build id
    4. signature    what the array looks like in memory

The first that leads to a table is taken.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from dpcap.capture.errors import DpcapError
from dpcap.capture.uprobe import signature
from dpcap.capture.uprobe.elf import Image, debug_file
from dpcap.capture.uprobe.layout import FP_OPS_SIZE, Devices, FpOps, Table, layout_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dpcap.capture.uprobe.elf import Symbol
    from dpcap.capture.uprobe.process import Mapping, Process

_FP_OPS, _DEVICES = "rte_eth_fp_ops", "rte_eth_devices"


class NotFoundError(DpcapError):
    """No rung of the ladder led to the drivers' functions."""


class Found(NamedTuple):
    """A table of functions, and how it was found."""

    rung: str
    where: str  # the file, or what was searched
    table: Table


def climb(process: Process) -> Found:
    """Return the first table that any rung leads to. Raises NotFoundError."""
    for rung in RUNGS.values():
        for found in rung(process):
            return found
    raise NotFoundError(
        f"{process.who}: cannot find its ports: neither symbols nor memory show {_FP_OPS} or {_DEVICES} "
        "(is it a DPDK application for x86-64, and has rte_eal_init() ended?)"
    )


def _by_symbols(process: Process, rung: str, section: str) -> Iterator[Found]:
    for module in process.modules():
        path = process.file_of(module[0])
        with contextlib.suppress(OSError, ValueError), Image(path) as image:
            bias = _bias(image, module)
            yield from _tables(process, image, section, bias=bias, rung=rung, where=module[0].path)


def _by_debug_file(process: Process) -> Iterator[Found]:
    for module in process.modules():
        with contextlib.suppress(OSError, ValueError), Image(process.file_of(module[0])) as image:
            build_id = image.build_id()
            path = build_id and (debug_file(build_id) or debug_file(build_id, f"/proc/{process.pid}/root"))
            if path:
                bias = _bias(image, module)
                with Image(path) as debug:
                    yield from _tables(process, debug, ".symtab", bias=bias, rung="debug file", where=path)


def _by_signature(process: Process) -> Iterator[Found]:
    for table in signature.search(process):
        yield Found("signature", "memory", table)


RUNGS: dict[str, Callable[[Process], Iterator[Found]]] = {
    "dynsym": lambda process: _by_symbols(process, "dynsym", ".dynsym"),
    "symtab": lambda process: _by_symbols(process, "symtab", ".symtab"),
    "debug file": _by_debug_file,
    "signature": _by_signature,
}


def _bias(image: Image, module: list[Mapping]) -> int:
    first = module[0]
    return image.bias(first.start, first.offset)


def _tables(
    process: Process, image: Image, section: str, *, bias: int, rung: str, where: str
) -> Iterator[Found]:
    for symbol in image.symbols(_FP_OPS, section):
        table = _fp_ops(process, symbol, bias)
        if table is not None:
            yield Found(rung, where, table)
    for symbol in image.symbols(_DEVICES, section):
        devices = Devices(symbol.value + bias, symbol.size)
        if symbol.size and devices.ports(process):
            yield Found(rung, where, devices)


def _fp_ops(process: Process, symbol: Symbol, bias: int) -> FpOps | None:
    """Return the array if it is the one that is in use: filled by a constructor before main()."""
    address = symbol.value + bias
    words = process.words(address, FP_OPS_SIZE // 8)
    if len(words) * 8 < FP_OPS_SIZE:
        return None
    layout = layout_at(words, process.is_text)
    return None if layout is None else FpOps(address, layout)
