# SPDX-License-Identifier: BSD-3-Clause
"""cffi (API mode) binding of libpcap's filter compiler: dpcap.filters._pcap."""

from cffi import FFI

ffi = FFI()
ffi.cdef("const char *pcap_lib_version(void);")
ffi.set_source("dpcap.filters._pcap", "#include <pcap/pcap.h>", libraries=["pcap"])
