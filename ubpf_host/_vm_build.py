# SPDX-License-Identifier: BSD-3-Clause
"""cffi (API mode) binding of the VM: dpcap.ubpf_host._vm."""

from cffi import FFI

ffi = FFI()
ffi.cdef("#define DPCAP_VM_STACK_SIZE ...")
ffi.set_source(
    "dpcap.ubpf_host._vm",
    '#include "dpcap_vm.h"',
    include_dirs=["shim/vm"],
    libraries=["dpcap_vm"],
)
