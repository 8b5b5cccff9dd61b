# SPDX-License-Identifier: BSD-3-Clause
"""Forms of filters in the Linux kernel's engine and in the others, beside our interpreter: the loop in C.

The kernel's verifier follows a packet's pointer only by comparisons with data_end, as XDP programs make
them, and our forms compare lengths. So the kernel gets packets as the uprobe target's do: copied to where the
verifier knows the size, here behind what the registers are to hold in the value of an array map:

    | r2: length (4) | r3: on the wire (4) | r4: metadata (8) | packet (65,535) |
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from dpcap.ubpf_host._vm import ffi, lib
from filter_engines import compile_c

from dpcap.filters.kernel import kernel_forms
from dpcap.ubpf_host.errors import EngineError
from dpcap.ubpf_host.foreign import Ubpf
from support import kernel_bpf
from support.differential import Cuts, entry, jit_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dpcap.filters import Filter
    from dpcap.ubpf_host.program import Program

_HEAD: Final = 16
_VALUE: Final = _HEAD + 0xFFFF
_ALL: Final = 0xFFFF_FFFF
_LOG: Final = 1 << 20

_LOOP = r"""
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HEAD 16
#define MOST_DATA 65535

static int bpf(int command, union bpf_attr *attr)
{
    return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

int make_map(uint32_t value_size, uint32_t flags)
{
    union bpf_attr attr = {
        .map_type = BPF_MAP_TYPE_ARRAY,
        .key_size = 4,
        .value_size = value_size,
        .max_entries = 1,
        .map_flags = flags,
    };

    return bpf(BPF_MAP_CREATE, &attr);
}

/* A map with a table that no one can write to any more. */
int make_table(const void *table, uint32_t size)
{
    uint32_t key = 0;
    int fd = make_map(size, BPF_F_RDONLY_PROG);
    union bpf_attr update = {.map_fd = fd, .key = (uintptr_t)&key, .value = (uintptr_t)table};
    union bpf_attr freeze = {.map_fd = fd};

    if (fd >= 0 && (bpf(BPF_MAP_UPDATE_ELEM, &update) || bpf(BPF_MAP_FREEZE, &freeze))) {
        close(fd);
        return -1;
    }
    return fd;
}

int load(int value, int table, const struct bpf_insn *insns, uint32_t n, char *log, uint32_t log_size)
{
    const struct bpf_insn prologue[] = {
        {.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = value},
        {0},
        {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = 0},
        {.code = BPF_JMP | BPF_JLE | BPF_K, .dst_reg = 2, .imm = MOST_DATA, .off = 2},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K},
        {.code = BPF_JMP | BPF_EXIT},
        {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 3, .src_reg = 1, .off = 4},
        {.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 4, .src_reg = 1, .off = 8},
        {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 1, .imm = HEAD},
    };
    const uint32_t n_prologue = sizeof(prologue) / sizeof(prologue[0]);
    struct bpf_insn *all = malloc((n_prologue + n) * sizeof(*all));
    union bpf_attr attr = {
        /* The type with the cheapest BPF_PROG_TEST_RUN. */
        .prog_type = BPF_PROG_TYPE_SYSCALL,
        .prog_flags = BPF_F_SLEEPABLE,
        .insn_cnt = n_prologue + n,
        .insns = (uintptr_t)all,
        .license = (uintptr_t)"GPL",
        .log_buf = (uintptr_t)log,
        .log_size = log_size,
        .log_level = log ? 1 : 0,
    };
    int fd;

    memcpy(all, prologue, sizeof(prologue));
    memcpy(all + n_prologue, insns, n * sizeof(*all));
    for (struct bpf_insn *insn = all + n_prologue; insn < all + n_prologue + n; insn++)
        if (insn->code == (BPF_LD | BPF_DW | BPF_IMM)) {
            if (insn->src_reg == BPF_PSEUDO_MAP_IDX_VALUE) {
                insn->src_reg = BPF_PSEUDO_MAP_VALUE;
                insn->imm = table;
            }
            insn++;
        }
    fd = bpf(BPF_PROG_LOAD, &attr);
    free(all);
    return fd;
}

struct record {
    uint64_t base;
    uint32_t wirelen;
    uint16_t offset, len;
};

/* A form; without an engine, the place is 0 (or -1). */
struct form {
    const void *program;
    uint64_t (*interp)(const void *, const uint8_t *, uint64_t, uint64_t, uint64_t);
    uint64_t (*jit)(const uint8_t *, uint64_t, uint64_t, uint64_t);
    uint64_t (*ubpf)(const uint8_t *, uint64_t);
    int32_t kernel;
    uint32_t reach; /* the kernel gets no more of a packet */
};

struct found {
    uint64_t wanted, result;
    uint32_t record, engine;
};

struct counts {
    uint64_t results, kernel, ubpf;
};

/* 0, 1: there is a difference, or -errno. */
int compare(const struct form *f, uint8_t *value, const struct record *records, uint32_t n,
            struct counts *counts, struct found *found)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct record *r = &records[i];
        const uint8_t *data = (const uint8_t *)r->base;
        const uint64_t meta = i % 3; /* no, in, out: the direction */
        const uint64_t wanted = f->interp(f->program, data, r->len, r->wirelen, meta);
        uint64_t results[3] = {wanted, wanted, wanted};

        results[0] = f->jit(data, r->len, r->wirelen, meta);
        if (f->ubpf) {
            results[1] = f->ubpf(data, r->len);
            counts->ubpf++;
        }
        if (f->kernel >= 0) {
            union bpf_attr attr = {.test.prog_fd = f->kernel};
            uint32_t have = r->len < f->reach ? r->len : f->reach;

            memcpy(value, &have, 4);
            memcpy(value + 4, &r->wirelen, 4);
            memcpy(value + 8, &meta, 8);
            memcpy(value + HEAD, data, have);
            if (bpf(BPF_PROG_TEST_RUN, &attr))
                return -errno;
            results[2] = attr.test.retval;
            counts->kernel++;
        }
        counts->results++;
        for (uint32_t engine = 0; engine < 3; engine++)
            if (results[engine] != wanted) {
                *found = (struct found){wanted, results[engine], i, engine};
                return 1;
            }
    }
    return 0;
}
"""

_ENGINES: Final = ("the JIT", "libubpf", "the kernel")


class _Form(ctypes.Structure):
    _fields_ = (
        ("program", ctypes.c_void_p),
        ("interp", ctypes.c_void_p),
        ("jit", ctypes.c_void_p),
        ("ubpf", ctypes.c_void_p),
        ("kernel", ctypes.c_int32),
        ("reach", ctypes.c_uint32),
    )


class _Found(ctypes.Structure):
    _fields_ = (
        ("wanted", ctypes.c_uint64),
        ("result", ctypes.c_uint64),
        ("record", ctypes.c_uint32),
        ("engine", ctypes.c_uint32),
    )


class Counts(ctypes.Structure):
    """How many results of each engine were compared with the interpreter's."""

    _fields_ = (("results", ctypes.c_uint64), ("kernel", ctypes.c_uint64), ("ubpf", ctypes.c_uint64))
    results: int  # of the JIT
    kernel: int
    ubpf: int


class NotAllowedError(Exception):
    """bpf(2) is not for us."""


class Loaded(NamedTuple):
    """A form in all engines."""

    name: str  # of the form; "uprobe" is that of the uprobe target
    program: Program
    kernel: int  # a descriptor; -1: the verifier of the kernel refused it
    reach: int
    refusal: str  # its reason
    ubpf: Ubpf | None


class Engines:
    """The loop, the kernel's map and what was counted."""

    def __init__(self) -> None:
        """Raise NotAllowedError where bpf(2) may not be called, or does not answer."""
        if not kernel_bpf.answers():
            raise NotAllowedError("bpf(2) takes no programs here, or does not answer")
        self._folder = tempfile.TemporaryDirectory(prefix="dpcap-kernel-")
        self._library = compile_c(_LOOP, Path(self._folder.name), "-O2", "-D_GNU_SOURCE")
        self._map = self._library.make_map(_VALUE, 1 << 10)  # BPF_F_MMAPABLE
        if self._map < 0:
            raise NotAllowedError("bpf(2) may not be called here")
        self._value = mmap.mmap(self._map, _VALUE)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._value))
        self._log = ctypes.create_string_buffer(_LOG)
        self.cuts = Cuts()
        self.counts = Counts()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._value.close()
        os.close(self._map)

    @contextmanager
    def load(self, tap: Filter) -> Iterator[list[Loaded]]:
        """All forms of a filter, that of the uprobe target too."""
        loaded = []
        try:
            programs = entry(tap).programs
            for name, program in programs.items():
                loaded.append(self._load(name, program, _ALL))
            by_code = {program.code: program for program in programs.values()}
            for form in kernel_forms(tap):
                if form.code not in by_code:
                    continue
                found = self._load("uprobe", by_code[form.code], _ALL if form.reach is None else form.reach)
                loaded.append(found)
                if found.kernel >= 0:
                    break
            yield loaded
        finally:
            for made in loaded:
                if made.kernel >= 0:
                    os.close(made.kernel)

    def _load(self, name: str, program: Program, reach: int) -> Loaded:
        code, rodata = program.code, program.rodata
        table = self._library.make_table(rodata, len(rodata)) if rodata else -1
        insns = ctypes.create_string_buffer(code, len(code))
        kernel = self._library.load(self._map, table, insns, len(code) // 8, None, 0)
        refusal = ""
        if kernel < 0:
            self._log[0] = b"\0"
            self._library.load(self._map, table, insns, len(code) // 8, self._log, _LOG)
            lines = self._log.value.decode().splitlines()
            refusal = next((line for line in reversed(lines) if not line.startswith("processed ")), "too big")
        if table >= 0:
            os.close(table)
        ubpf = None
        with suppress(EngineError):  # not installed, or the form wants more than two registers
            ubpf = Ubpf(program)
        return Loaded(name, program, kernel, reach, refusal, ubpf)

    def compare(self, forms: Sequence[Loaded], packets: Iterable[bytes]) -> str:
        """Run all forms on all cuts of the packets. What the first difference is; empty: there is none."""
        interp = int(ffi.cast("uintptr_t", ffi.addressof(lib, "dpcap_vm_interp")))
        value = ctypes.c_void_p(self._address)
        rows = [
            _Form(
                int(ffi.cast("uintptr_t", form.program.handle)),
                interp,
                jit_address(form.program),
                ctypes.cast(form.ubpf.function, ctypes.c_void_p).value if form.ubpf else None,
                form.kernel,
                form.reach,
            )
            for form in forms
        ]
        for data in packets:
            n = self.cuts.packet(data)
            for form, row in zip(forms, rows, strict=True):
                difference = self._compare(form, row, value, n)
                if difference:
                    return f"{difference} of {data.hex()}"
        return ""

    def _compare(self, form: Loaded, row: _Form, value: Any, n: int) -> str:
        found = _Found()
        rc = self._library.compare(
            ctypes.byref(row), value, self.cuts.records, n, ctypes.byref(self.counts), ctypes.byref(found)
        )
        if rc < 0:
            raise OSError(-rc, f"BPF_PROG_TEST_RUN: {errno.errorcode[-rc]}")
        if not rc:
            return ""
        return (
            f"{form.name} form: {_ENGINES[found.engine]} gives {found.result:#x}, the interpreter "
            f"{found.wanted:#x}, for the first {self.cuts.records[found.record].len} bytes"
        )
