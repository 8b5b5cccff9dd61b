# SPDX-License-Identifier: BSD-3-Clause
"""What is used of libbpf, loaded when it is needed (libbpf.so.1; Debian: libbpf1).

Everything here has been in libbpf since its release 1.0.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, Self

from cffi import FFI

from dpcap.capture.errors import DpcapError, ToolError

if TYPE_CHECKING:
    from types import TracebackType

_LIBRARY = "libbpf.so.1"

ffi = FFI()
ffi.cdef(
    """
    struct bpf_object; struct bpf_program; struct bpf_map;
    typedef int (*libbpf_print_fn_t)(int level, const char *format, void *arguments);
    libbpf_print_fn_t libbpf_set_print(libbpf_print_fn_t fn);
    struct bpf_object *bpf_object__open_mem(const void *image, size_t size, const void *options);
    int bpf_object__load(struct bpf_object *object);
    void bpf_object__close(struct bpf_object *object);
    struct bpf_program *bpf_object__find_program_by_name(const struct bpf_object *object, const char *name);
    struct bpf_map *bpf_object__find_map_by_name(const struct bpf_object *object, const char *name);
    int bpf_program__fd(const struct bpf_program *program);
    int bpf_program__set_expected_attach_type(struct bpf_program *program, int type);
    int bpf_program__set_log_buf(struct bpf_program *program, char *buffer, size_t size);
    int bpf_map__fd(const struct bpf_map *map);
    int bpf_map__set_max_entries(struct bpf_map *map, uint32_t entries);
    int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags);
    int bpf_map_delete_elem(int fd, const void *key);
    int libbpf_probe_bpf_map_type(int type, const void *options);
    int libbpf_probe_bpf_helper(int program_type, int helper, const void *options);
    """
)

# linux/bpf.h
PROG_TYPE_KPROBE = 2
MAP_TYPE_RINGBUF = 27
FUNC_LOOP = 181
TRACE_UPROBE_MULTI = 48

_LOG_SIZE = 1 << 20
_LOG_TAIL = 6  # lines of a verifier's log that are shown


class LoadError(DpcapError):
    """The kernel did not take the program; the message ends with what it said."""


@functools.cache
def library() -> Any:
    """Load the library. Raises ToolError when it is not there."""
    try:
        lib = ffi.dlopen(_LIBRARY)
    except OSError as error:
        raise ToolError(
            f"{_LIBRARY} is needed to capture from an application without the shim "
            f"(Debian: apt install libbpf1): {error}"
        ) from error
    lib.libbpf_set_print(ffi.NULL)  # what goes wrong is in the return values
    return lib


class Object:
    """A loaded BPF object. A context manager: leaving it closes it."""

    def __init__(self, image: bytes, *, max_entries: dict[str, int], attach_type: int) -> None:
        """Load an object file's content. Raises LoadError."""
        self._lib = library()
        self._object = self._lib.bpf_object__open_mem(image, len(image), ffi.NULL)
        if self._object == ffi.NULL:
            raise LoadError(f"the BPF object cannot be opened: {os.strerror(ffi.errno)}")
        try:
            for name, entries in max_entries.items():
                self._lib.bpf_map__set_max_entries(self._map(name), entries)
            logs = {}
            for name in ("rx_enter", "rx_return", "tx_enter", "tx_return"):
                program = self._program(name)
                logs[name] = ffi.new("char[]", _LOG_SIZE)
                self._lib.bpf_program__set_log_buf(program, logs[name], _LOG_SIZE)
                if attach_type:
                    self._lib.bpf_program__set_expected_attach_type(program, attach_type)
            status = self._lib.bpf_object__load(self._object)
        except BaseException:
            self.close()
            raise
        if status:
            self.close()
            raise LoadError(_why(-status, logs))

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close its descriptors; what is attached stays until its links are closed, too."""
        if self._object != ffi.NULL:
            self._lib.bpf_object__close(self._object)
            self._object = ffi.NULL

    def _program(self, name: str) -> Any:
        return self._lib.bpf_object__find_program_by_name(self._object, name.encode())

    def _map(self, name: str) -> Any:
        return self._lib.bpf_object__find_map_by_name(self._object, name.encode())

    def program_fd(self, name: str) -> int:
        """Return the descriptor of a program."""
        return int(self._lib.bpf_program__fd(self._program(name)))

    def map_fd(self, name: str) -> int:
        """Return the descriptor of a map."""
        return int(self._lib.bpf_map__fd(self._map(name)))

    def update(self, name: str, key: bytes, value: bytes) -> None:
        """Set an element of a map. Raises OSError."""
        status = self._lib.bpf_map_update_elem(self.map_fd(name), key, value, 0)
        if status:
            raise OSError(-status, os.strerror(-status))

    def delete(self, name: str, key: bytes) -> None:
        """Delete an element of a map, if it is there."""
        self._lib.bpf_map_delete_elem(self.map_fd(name), key)


def _why(number: int, logs: dict[str, Any]) -> str:
    """Say why the kernel refused a program: the end of its log."""
    for name, log in logs.items():
        lines = ffi.string(log).decode(errors="replace").splitlines()
        # A program that was accepted has no more than statistics.
        if len(lines) > _LOG_TAIL:
            head = f"the kernel's verifier refuses the program {name}: {os.strerror(number)}"
            return "\n".join([head, *lines[-_LOG_TAIL:]])
    return f"the kernel does not load the BPF program: {os.strerror(number)}"
