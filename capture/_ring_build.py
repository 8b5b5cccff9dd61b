# SPDX-License-Identifier: BSD-3-Clause
"""cffi (API mode) binding of the ring's reader: dpcap.capture._ring."""

from cffi import FFI

ffi = FFI()
ffi.cdef("#define DPCAP_RING_VERSION ...")
ffi.set_source(
    "dpcap.capture._ring",
    '#include "ring.h"\n#include "proto.h"',
    include_dirs=["shim/ring", "shim/dpdk"],
    libraries=["dpcap_ring"],
)
