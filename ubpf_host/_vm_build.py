# SPDX-License-Identifier: BSD-3-Clause
"""cffi (API mode) binding of the VM: dpcap.ubpf_host._vm.

The declarations are read from the C header, so that there is no second copy of them.
"""

import re
from pathlib import Path

from cffi import FFI

# The build runs in the root of the project.
HEADER = Path("shim/vm/dpcap_vm.h")


def declarations(header: str) -> str:
    """What cffi can parse of a header: declarations and numeric constants."""
    header = re.sub(r"#ifdef __cplusplus.*?#endif", "", header, flags=re.DOTALL)
    lines = []
    for line in header.splitlines():
        constant = re.match(r"#define (\w+) (0x[0-9a-fA-F]+|\d+)\b", line)
        if constant:
            lines.append(f"#define {constant[1]} {constant[2]}")
        elif not line.startswith("#"):
            lines.append(re.sub(r"__attribute__\(\(.*?\)\)(?=[\s;])", "", line))
    return "\n".join(lines)


# What would cost a call through libffi for each packet if it were written in Python.
RUN = """
/* A packet of a burst of our own: what a struct dpcap_vm_burst_layout can describe. */
struct record {
    uint64_t base;
    uint32_t wirelen;
    uint16_t offset;
    uint16_t len;
};

static uint64_t run_jit(const struct dpcap_vm_prog *prog, void *mem, uint64_t len, uint64_t wirelen,
        uint64_t meta)
{
    return dpcap_vm_jit_entry(prog)(mem, len, wirelen, meta);
}

static int jit_burst(struct dpcap_vm_prog *prog)
{
    static const struct dpcap_vm_burst_layout layout = {
        .base = offsetof(struct record, base),
        .offset = offsetof(struct record, offset),
        .len = offsetof(struct record, len),
        .wirelen = offsetof(struct record, wirelen),
    };

    return dpcap_vm_jit_burst(prog, &layout);
}

static uint64_t run_one_burst(const struct dpcap_vm_prog *prog, int jit, const struct record *records,
        uint32_t n, uint64_t meta)
{
    void *pointers[DPCAP_VM_MAX_BURST];
    uint64_t accepted = 0;

    for (uint32_t i = 0; i < n; i++) {
        void *mem = (void *)(uintptr_t)(records[i].base + records[i].offset);

        pointers[i] = (void *)&records[i];
        if (!jit && dpcap_vm_interp(prog, mem, records[i].len, records[i].wirelen, meta))
            accepted |= 1ull << i;
    }
    return jit ? dpcap_vm_burst_entry(prog)(pointers, n, meta) : accepted;
}

/* Any number of records, burst after burst. accepted: a byte for each. */
static void run_bursts(const struct dpcap_vm_prog *prog, int jit, const struct record *records,
        uint64_t n, uint64_t meta, uint8_t *accepted)
{
    for (uint64_t start = 0; start < n; start += DPCAP_VM_MAX_BURST) {
        uint64_t left = n - start;
        uint32_t burst = left < DPCAP_VM_MAX_BURST ? (uint32_t)left : DPCAP_VM_MAX_BURST;
        uint64_t bits = run_one_burst(prog, jit, records + start, burst, meta);

        for (uint32_t i = 0; i < burst; i++)
            accepted[start + i] = bits >> i & 1;
    }
}
"""

ffi = FFI()
ffi.cdef(declarations(HEADER.read_text()))
ffi.cdef(
    """
    struct record { uint64_t base; uint32_t wirelen; uint16_t offset; uint16_t len; };
    uint64_t run_jit(const struct dpcap_vm_prog *, void *mem, uint64_t len, uint64_t wirelen, uint64_t meta);
    int jit_burst(struct dpcap_vm_prog *);
    void run_bursts(const struct dpcap_vm_prog *, int jit, const struct record *, uint64_t n, uint64_t meta,
                    uint8_t *accepted);
    """
)
ffi.set_source(
    "dpcap.ubpf_host._vm",
    '#include <stddef.h>\n#include "dpcap_vm.h"\n' + RUN,
    include_dirs=[str(HEADER.parent)],
    libraries=["dpcap_vm"],
)
