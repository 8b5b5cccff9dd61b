# SPDX-License-Identifier: BSD-3-Clause
"""cffi (API mode) binding of the control protocol: dpcap.capture._proto.

The declarations are shim/dpdk/proto.h and counters.h themselves, the headers that the shim is compiled with.
"""

import re
from pathlib import Path

from cffi import FFI

FOLDER = Path("shim/dpdk")
HEADERS = (FOLDER / "proto.h", FOLDER / "counters.h")

declarations = "\n".join(header.read_text() for header in HEADERS)
# cffi reads plain numbers (array sizes need them) and asks the C compiler for the value of expressions.
declarations = re.sub(r"^(#define \w+) +\(.*", r"\1 ...", declarations, flags=re.MULTILINE)
# The include guard and #include are the preprocessor's.
declarations = re.sub(r"^#(ifndef|endif|include|define \w+$).*", "", declarations, flags=re.MULTILINE)

# The version of this dpcap goes with it: asking the installed package's metadata takes 50 ms.
version = re.search(r"VERSION (\d+\.\d+\.\d+) LANGUAGES", Path("CMakeLists.txt").read_text())[1]
declarations += "\nstatic char *const DPCAP_VERSION;"

ffi = FFI()
ffi.cdef(declarations)
ffi.set_source(
    "dpcap.capture._proto",
    "".join(f'#include "{header.name}"\n' for header in HEADERS),
    include_dirs=[str(FOLDER)],
    define_macros=[("DPCAP_VERSION", f'"{version}"')],
    depends=[*map(str, HEADERS), "CMakeLists.txt"],
)
