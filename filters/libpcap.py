# SPDX-License-Identifier: BSD-3-Clause
"""libpcap's compiler, and its interpreter as the reference for ours."""

from __future__ import annotations

import os
import struct
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dpcap.filters._pcap import ffi, lib

from dpcap.filters.cbpf import Insn, Program, to_bytes
from dpcap.filters.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Callable

#: What a filter made by tcpdump returns for a match: its default snapshot length.
SNAPLEN: Final = 262144

# One lock for everything that touches libpcap's static data: the grammar was not
# reentrant before 1.8, and bpf_image() returns a static buffer.
_lock = threading.Lock()

# libpcap walks the blocks of a program recursively. From this many characters on
# that takes a thread with a stack of its own; pages never touched cost nothing.
_BIG_EXPRESSION: Final = 16384
_BIG_STACK: Final = 512 << 20


def version() -> str:
    """The library's own description of itself: ``libpcap version 1.10.3 (...)``."""
    return str(ffi.string(lib.pcap_lib_version()).decode())


#: Link type of Ethernet, LINKTYPE_ETHERNET.
ETHERNET: Final = 1

# struct pcap_file_header, version 2.4, in the two byte orders.
_FILE_HEADER: Final = {order: struct.Struct(order + "IHHiIII") for order in "<>"}
_FILE_MAGIC: Final = 0xA1B2C3D4
_NATIVE: Final = "<" if sys.byteorder == "little" else ">"


# LINKTYPE_ATM_RFC1483: where those begin that stand for other numbers in libpcap.
_FIRST_MATCHING_LINKTYPE: Final = 100


class Link(NamedTuple):
    """What packets are: the LINKTYPE of the file they come from, and the file's byte order, for struct."""

    linktype: int = ETHERNET
    order: str = _NATIVE


def link_name(linktype: int) -> str:
    """How tcpdump calls a link type of a file: ``EN10MB (Ethernet)``."""
    with _lock:
        handle = _open(Link(linktype))
        try:
            dlt = lib.pcap_datalink(handle)
        finally:
            lib.pcap_close(handle)
        name, description = lib.pcap_datalink_val_to_name(dlt), lib.pcap_datalink_val_to_description(dlt)
        if name == ffi.NULL:
            return str(linktype)
        return f"{ffi.string(name).decode()} ({ffi.string(description).decode()})"


def linktype(name: str) -> int | None:
    """The LINKTYPE that libpcap calls so (EN10MB, RAW, LINUX_SLL2); None: there is none.

    Its numbers inside are those of files, except for some which are searched for.
    """
    dlt = int(lib.pcap_datalink_name_to_val(name.encode("utf-8", "surrogateescape")))
    if dlt < 0:
        return None
    candidates = (dlt, *range(_FIRST_MATCHING_LINKTYPE, _FIRST_MATCHING_LINKTYPE + 10))
    found: int = next(n for n in candidates if link_name(n).split()[0] == name.upper())
    return found


def _open(link: Link) -> Any:
    """A pcap_t to compile for. Other links than Ethernet get that of a file.

    Some are told apart by numbers of the system and byte order that wrote them, which libpcap
    only allows for when it compiles for a file.
    """
    if link.linktype == ETHERNET:
        handle = lib.pcap_open_dead(lib.DLT_EN10MB, SNAPLEN)
        if handle == ffi.NULL:
            raise MemoryError
        return handle
    error = ffi.new("char[]", lib.PCAP_ERRBUF_SIZE)
    fd = os.memfd_create("dpcap-link", os.MFD_CLOEXEC)
    try:
        os.write(fd, _FILE_HEADER[link.order].pack(_FILE_MAGIC, 2, 4, 0, 0, SNAPLEN, link.linktype))
        handle = lib.pcap_open_offline(f"/proc/self/fd/{fd}".encode(), error)
    finally:
        os.close(fd)
    if handle == ffi.NULL:
        raise FilterError(ffi.string(error).decode(errors="replace"))
    return handle


def compile_cbpf(expression: str, *, optimize: bool = True, link: Link | None = None) -> Program:
    """Compile a pcap-filter(7) expression, as tcpdump does; for Ethernet unless ``link`` says else.

    Not validated yet: ``protochain`` gives backward jumps. Raises FilterError with
    libpcap's message; locate() finds the place.
    """
    if "\0" in expression:
        raise FilterError("a filter expression cannot contain a NUL character", expression)
    if len(expression) < _BIG_EXPRESSION:
        return _compile(expression, optimize, link or Link())
    return _on_big_stack(lambda: _compile(expression, optimize, link or Link()))


def _compile(expression: str, optimize: bool, link: Link) -> Program:
    with _lock:
        handle = _open(link)
        program = ffi.new("struct bpf_program *")
        try:
            text = expression.encode("utf-8", "surrogateescape")
            if lib.pcap_compile(handle, program, text, optimize, lib.PCAP_NETMASK_UNKNOWN) != 0:
                message = ffi.string(lib.pcap_geterr(handle)).decode("utf-8", "replace")
                raise FilterError(" ".join(message.split()), expression)
            raw = ffi.unpack(program.bf_insns, program.bf_len)
            result = tuple(Insn(i.code, i.jt, i.jf, i.k) for i in raw)
            lib.pcap_freecode(program)
            return result
        finally:
            lib.pcap_close(handle)


def _on_big_stack(work: Callable[[], Program]) -> Program:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 (slow to import, rarely needed)

    previous = threading.stack_size(_BIG_STACK)
    try:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()
    finally:
        threading.stack_size(previous)


def format_text(program: Program) -> str:
    """As tcpdump -d: one line an instruction, printed by libpcap itself."""
    with _lock:
        raw = _array(program)
        return "".join(ffi.string(lib.bpf_image(raw + i, i)).decode() + "\n" for i in range(len(program)))


class Oracle:
    """libpcap's interpreter on one program: what every translation is compared with.

    It trusts the program: pass one that libpcap compiled or cbpf.validate() passed.
    """

    def __init__(self, program: Program) -> None:
        self._insns = _array(program)

    def run(self, packet: Any, wirelen: int | None = None) -> int:
        """The program's return value for a packet (anything with the buffer protocol)."""
        data = ffi.from_buffer(packet)
        return int(lib.bpf_filter(self._insns, data, len(data) if wirelen is None else wirelen, len(data)))

    @property
    def address(self) -> int:
        """The ``struct bpf_insn`` array, for callers in C."""
        return int(ffi.cast("uintptr_t", self._insns))


def _array(program: Program) -> Any:
    array = ffi.new("struct bpf_insn[]", len(program))
    ffi.buffer(array)[:] = to_bytes(program)
    return array
