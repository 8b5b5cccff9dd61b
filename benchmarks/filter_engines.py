# SPDX-License-Identifier: BSD-3-Clause
"""
The engines that the filter benchmark compares, each as a C function to be timed.

The loops are C, compiled when the benchmark runs, so that a call costs what it costs an
application. Packets are described by records with the layout of an rte_mbuf, which rte_bpf needs.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dpcap.ubpf_host._vm import ffi, lib

from dpcap.filters import cbpf, libpcap
from dpcap.ubpf_host.program import Program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.filters import Filter

BURST = 32

_LOOPS = r"""
#include <stdint.h>
#include <time.h>

struct bpf_insn;
uint32_t bpf_filter(const struct bpf_insn *, const uint8_t *, uint32_t, uint32_t);

/* The fields of struct rte_mbuf that filters read. */
struct mbuf {
    uint8_t *buf_addr;
    uint64_t buf_iova;
    uint16_t data_off, refcnt, nb_segs, port;
    uint64_t ol_flags;
    uint32_t packet_type, pkt_len;
    uint16_t data_len, vlan_tci;
    uint8_t rest[84];
} __attribute__((aligned(64)));

typedef uint64_t (*call)(const uint8_t *, uint64_t, uint64_t, uint64_t);
typedef uint64_t (*on_mbuf)(struct mbuf *);
typedef uint64_t (*on_burst)(struct mbuf **, uint32_t, uint64_t);
typedef uint64_t (*interp)(const void *, const uint8_t *, uint64_t, uint64_t, uint64_t);

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

#define DATA(m) ((m)->buf_addr + (m)->data_off), (m)->data_len
#define EACH(result) for (uint32_t i = 0; i < n; i++) matches += (result) != 0

/* Into another order (Fisher, Yates), from Marsaglia's xorshift. */
static void shuffle(struct mbuf **m, uint32_t n)
{
    static uint64_t x = 88172645463325252;

    for (uint32_t i = n - 1; i > 0; i--) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint32_t j = x % (i + 1);
        struct mbuf *other = m[j];
        m[j] = m[i], m[i] = other;
    }
}

/*
 * Nanoseconds for n packets, the least of some runs; *count: how many of them matched.
 * shuffled: in another order in each run.
 */
double measure(int kind, void *f, void *program, struct mbuf **m, uint32_t n, int shuffled, int runs,
               uint64_t *count)
{
    double best = 1e300;

    for (int run = 0; run < runs; run++) {
        uint64_t matches = 0;

        if (shuffled)
            shuffle(m, n);
        double start = now();

        switch (kind) {
        case 0: EACH(((call)f)(DATA(m[i]), m[i]->pkt_len, 0)); break;
        case 1: EACH(((interp)f)(program, DATA(m[i]), m[i]->pkt_len, 0)); break;
        case 2:
            EACH(bpf_filter(program, m[i]->buf_addr + m[i]->data_off, m[i]->pkt_len, m[i]->data_len));
            break;
        case 3: EACH(((on_mbuf)f)(m[i])); break;
        case 4:
            for (uint32_t i = 0; i < n; i += BURST)
                matches += __builtin_popcountll(((on_burst)f)(m + i, n - i < BURST ? n - i : BURST, 0));
            break;
        }
        double took = now() - start;
        if (took < best)
            best = took;
        *count = matches;
    }
    return best;
}
"""

CALL, INTERP, LIBPCAP, MBUF, BURST_CALL = range(5)


class Mbuf(ctypes.Structure):
    """The fields of struct rte_mbuf that filters read."""

    _fields_ = (
        ("buf_addr", ctypes.c_void_p),
        ("buf_iova", ctypes.c_uint64),
        ("data_off", ctypes.c_uint16),
        ("refcnt", ctypes.c_uint16),
        ("nb_segs", ctypes.c_uint16),
        ("port", ctypes.c_uint16),
        ("ol_flags", ctypes.c_uint64),
        ("packet_type", ctypes.c_uint32),
        ("pkt_len", ctypes.c_uint32),
        ("data_len", ctypes.c_uint16),
        ("vlan_tci", ctypes.c_uint16),
        ("rest", ctypes.c_uint8 * 84),
    )


class Timed(NamedTuple):
    """A function to be timed, and what it needs to stay alive."""

    kind: int
    function: int
    program: int
    owner: Any


def compile_c(source: str, folder: Path, *options: str) -> ctypes.CDLL:
    """Compile C and load it; FileNotFoundError without gcc."""
    name = hashlib.sha256(source.encode()).hexdigest()[:16]
    (folder / f"{name}.c").write_text(source)
    library = folder / f"{name}.so"
    subprocess.run(
        ["gcc", "-w", "-shared", "-fPIC", *options, "-o", library, folder / f"{name}.c", "-lpcap"], check=True
    )
    return ctypes.CDLL(str(library))


class Packets:
    """Packets in memory, and bursts of them in some order."""

    def __init__(self, packets: Sequence[bytes]) -> None:
        size = sum(len(p) + 192 & ~63 for p in packets)
        self._memory = (ctypes.c_uint8 * (size + 64))()
        self.mbufs = (Mbuf * (len(packets) + 1))()
        at = ctypes.addressof(self._memory)
        for mbuf, packet in zip(self.mbufs, packets, strict=False):
            mbuf.buf_addr, mbuf.data_off = at, 0
            ctypes.memmove(at, packet, len(packet))
            mbuf.pkt_len = mbuf.data_len = len(packet)
            mbuf.nb_segs = mbuf.refcnt = 1
            at += len(packet) + 192 & ~63

    def order(self, indices: Sequence[int], *, shuffled: bool = False) -> Order:
        """The packets of these indices."""
        start, size = ctypes.addressof(self.mbufs), ctypes.sizeof(Mbuf)
        pointers = (ctypes.c_void_p * len(indices))(*(start + size * i for i in indices))
        return Order(pointers, shuffled, self)


class Order(NamedTuple):
    """Packets in the order in which engines get them."""

    pointers: Any
    #: In another order in each run: branch predictors learn some ten thousand packets by heart.
    shuffled: bool
    owner: Packets


class Timer:
    """The loops."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dpcap-bench-")
        self.folder = Path(self._folder.name)
        self._library = compile_c(_LOOPS, self.folder, "-O2", f"-DBURST={BURST}")
        self._library.measure.restype = ctypes.c_double

    def measure(self, timed: Timed, order: Order, runs: int) -> tuple[float, int]:
        """Nanoseconds a packet, and how many packets matched."""
        count = ctypes.c_uint64()
        took = self._library.measure(
            timed.kind,
            ctypes.c_void_p(timed.function),
            ctypes.c_void_p(timed.program),
            order.pointers,
            len(order.pointers),
            int(order.shuffled),
            runs,
            ctypes.byref(count),
        )
        return took / len(order.pointers), count.value


def _address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


def jit_burst(tap: Filter, form: str, *, prefetch: bool = False) -> Timed:
    """The VM's JIT with the loop inside."""
    program = Program(tap.forms[form].code, rodata=tap.forms[form].rodata)
    layout = ffi.new(
        "struct dpcap_vm_burst_layout *",
        {
            "base": Mbuf.buf_addr.offset,
            "offset": Mbuf.data_off.offset,
            "len": Mbuf.data_len.offset,
            "wirelen": Mbuf.pkt_len.offset,
            "prefetch": prefetch,
        },
    )
    if lib.dpcap_vm_jit_burst(program.handle, layout) != 0:
        raise OSError("no JIT")
    return Timed(BURST_CALL, _address(lib.dpcap_vm_burst_entry(program.handle)), 0, program)


def jit(tap: Filter, form: str) -> Timed:
    """The VM's JIT, a call a packet."""
    program = tap.program(form)
    if lib.dpcap_vm_jit(program.handle) != 0:
        raise OSError("no JIT")
    return Timed(CALL, _address(lib.dpcap_vm_jit_entry(program.handle)), 0, program)


def interp(tap: Filter, form: str) -> Timed:
    """The VM's interpreter."""
    program = tap.program(form)
    function = _address(ffi.addressof(lib, "dpcap_vm_interp"))
    return Timed(INTERP, function, _address(program.handle), program)


def pcap(tap: Filter) -> Timed:
    """Libpcap's interpreter."""
    oracle = libpcap.Oracle(tap.cbpf)
    return Timed(LIBPCAP, 0, oracle.address, oracle)


class RteBpf:
    """DPDK's translation of cBPF and its JIT. It allocates through EAL, which has to be started."""

    def __init__(self) -> None:
        self._library = next(lib for lib in map(_load, _RTE_BPF_NAMES) if lib is not None)
        eal = next(lib for lib in map(_load, _RTE_EAL_NAMES) if lib is not None)
        arguments = b"bench --no-huge --no-shconf --no-pci --no-telemetry -m 64".split()
        cores = os.sched_getaffinity(0)
        if eal.rte_eal_init(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments)) < 0:
            raise OSError("EAL does not start")
        os.sched_setaffinity(0, cores)  # EAL binds the thread to one
        self._library.rte_bpf_convert.restype = ctypes.c_void_p
        self._library.rte_bpf_load.restype = ctypes.c_void_p

    def load(self, tap: Filter) -> Timed | None:
        """The machine code; None when rte_bpf refuses the program."""
        code = cbpf.to_bytes(tap.cbpf)
        buffer = ctypes.create_string_buffer(code, len(code))
        program = (ctypes.c_uint64 * 2)(len(tap.cbpf), ctypes.addressof(buffer))  # struct bpf_program
        parameters = self._library.rte_bpf_convert(program)
        bpf = self._library.rte_bpf_load(ctypes.c_void_p(parameters)) if parameters else None
        if not bpf:
            return None
        machine = (ctypes.c_uint64 * 2)()  # struct rte_bpf_jit
        self._library.rte_bpf_get_jit(ctypes.c_void_p(bpf), machine)
        return Timed(MBUF, machine[0], bpf, self) if machine[0] else None


_RTE_BPF_NAMES = ["librte_bpf.so", *(f"librte_bpf.so.{v}" for v in range(26, 20, -1))]
_RTE_EAL_NAMES = ["librte_eal.so", *(f"librte_eal.so.{v}" for v in range(26, 20, -1))]


def _load(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return None


def gcc(taps: Sequence[Filter], folder: Path) -> list[Timed]:
    """Each cBPF program as C through gcc -O3, a call a packet."""
    source = _C_HEAD + "".join(_as_c(f"filter_{i}", tap.cbpf) for i, tap in enumerate(taps))
    library = compile_c(source, folder, "-O3", "-march=native")
    return [
        Timed(CALL, ctypes.cast(getattr(library, f"filter_{i}"), ctypes.c_void_p).value or 0, 0, library)
        for i in range(len(taps))
    ]


_C_HEAD = r"""
#include <stdint.h>
#include <string.h>
static inline uint32_t ld4(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
static inline uint32_t ld2(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return __builtin_bswap16(v); }
static inline uint32_t ld1(const uint8_t *p) { return *p; }
"""
_C_OPS = {
    cbpf.ADD: "+", cbpf.SUB: "-", cbpf.MUL: "*", cbpf.DIV: "/", cbpf.OR: "|", cbpf.AND: "&",
    cbpf.LSH: "<<", cbpf.RSH: ">>", cbpf.MOD: "%", cbpf.XOR: "^",
}  # fmt: skip
_C_JUMPS = {cbpf.JEQ: "==", cbpf.JGT: ">", cbpf.JGE: ">=", cbpf.JSET: "&"}


def _as_c(name: str, program: cbpf.Program) -> str:
    """What a careful programmer would write, for the compiler to optimise."""
    lines = [f"uint64_t {name}(const uint8_t *p, uint64_t len, uint64_t wire, uint64_t meta) {{"]
    lines.append("uint32_t a = 0, x = 0, m[16] = {0};")
    for pc, (code, jt, jf, k) in enumerate(program):
        cls, operand = code & 7, "x" if code & 8 else f"{k}u"
        mode, size = code & 0xE0, cbpf.SIZE.get(code & 0x18, 4)
        to = "a" if cls == cbpf.LD else "x"
        at = f"((uint64_t)x + {k}u)" if mode == cbpf.IND else f"{k}ull"
        load = f"if ({at} + {size} > len) return 0; {to} = ld{size}(p + {at});"
        if cls in (cbpf.LD, cbpf.LDX):
            text = {
                cbpf.IMM: f"{to} = {k}u;",
                cbpf.LEN: f"{to} = wire;",
                cbpf.MEM: f"{to} = m[{k}];",
                cbpf.MSH: f"{load} x = (x & 15) << 2;",
            }.get(mode, load)
        elif cls in (cbpf.ST, cbpf.STX):
            text = f"m[{k}] = {'a' if cls == cbpf.ST else 'x'};"
        elif cls == cbpf.ALU and code & 0xF0 == cbpf.NEG:
            text = "a = -a;"
        elif cls == cbpf.ALU:
            op = code & 0xF0
            guard = "if (!x) return 0;" if op in (cbpf.DIV, cbpf.MOD) and code & 8 else ""
            fits = "x > 31 ? 0 : " if op in (cbpf.LSH, cbpf.RSH) and code & 8 else ""
            text = f"{guard} a = {fits}a {_C_OPS[op]} {operand};"
        elif cls == cbpf.JMP:
            test = _C_JUMPS.get(code & 0xF0)
            text = f"goto L{pc + 1 + k};"
            if test:
                text = f"if (a {test} {operand}) goto L{pc + 1 + jt}; else goto L{pc + 1 + jf};"
        elif cls == cbpf.RET:
            text = "return a;" if code & 0x18 == cbpf.A else f"return {k}u;"
        else:
            text = "x = a;" if code & 0xF8 == cbpf.TAX else "a = x;"
        lines.append(f"L{pc}: {text}")
    return "\n".join([*lines, "}", ""])
