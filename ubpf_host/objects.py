# SPDX-License-Identifier: BSD-3-Clause
"""Objects made by ``clang -target bpf``: programs written in C, with their maps and data."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpcap.ubpf_host._vm import ffi, lib

from dpcap.ubpf_host.maps import Map
from dpcap.ubpf_host.program import Program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.ubpf_host.helpers import Helper

_LOG_SIZE = 4096


class ObjectError(ValueError):
    """A file that is no BPF object, or one with something that cannot be loaded."""


class Object:
    """An object file, with its maps made.

        object = Object("flows.o")
        program = object.program("count_flows")
        program.run(packet)
        dict(object.maps["flows"].items())

    ``source`` is a path or the file's bytes. ObjectError when it cannot be loaded.
    """

    def __init__(self, source: str | Path | bytes, *, lcores: int = 1) -> None:
        image = source if isinstance(source, bytes) else Path(source).read_bytes()
        handle = ffi.new("struct dpcap_vm_object **")
        log = ffi.new("char[]", _LOG_SIZE)
        error = lib.dpcap_vm_object_open(ffi.from_buffer(image), len(image), lcores, handle, log, _LOG_SIZE)
        if error == -errno.EINVAL:
            reason = ffi.string(log).decode(errors="replace").strip()
            raise ObjectError(reason if isinstance(source, bytes) else f"{source}: {reason}")
        if error:
            raise OSError(-error, os.strerror(-error))
        self._handle = ffi.gc(handle[0], lib.dpcap_vm_object_free)
        n = ffi.new("uint32_t *")
        maps = lib.dpcap_vm_object_maps(self._handle, n)
        # A map lives as long as the object: its handle holds it.
        self._maps = [Map.adopt(ffi.gc(maps[i], self._keep)) for i in range(n[0])]
        self.maps = {map_.name: map_ for map_ in self._maps}
        programs = lib.dpcap_vm_object_programs(self._handle, n)
        self._programs = {
            ffi.string(programs[i].name).decode(errors="replace"): programs[i] for i in range(n[0])
        }

    def _keep(self, _handle: Any) -> None:
        """Nothing to free: the object does."""

    @property
    def programs(self) -> dict[str, str]:
        """The names of its programs, each with the section that it is in."""
        return {
            name: ffi.string(program.section).decode(errors="replace")
            for name, program in self._programs.items()
        }

    def program(
        self,
        name: str | None = None,
        *,
        kind: str = "packet",
        mem_size: int | None = None,
        helpers: Sequence[Helper] = (),
    ) -> Program:
        """Verify one of its programs, by default the only one. KeyError names those that exist."""
        if name is None and len(self._programs) == 1:
            (name,) = self._programs
        if name not in self._programs:
            raise KeyError(f"which program? {', '.join(self._programs)} exist")
        entry = self._programs[name]
        code = bytes(ffi.buffer(entry.insns, entry.n_insns * ffi.sizeof("struct dpcap_insn")))
        return Program(code, kind=kind, mem_size=mem_size, helpers=helpers, maps=self._maps)
