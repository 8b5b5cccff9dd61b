# SPDX-License-Identifier: BSD-3-Clause
"""cffi (API mode) binding of what uprobes need in C: dpcap.capture._uprobe.

The declarations are the headers of shim/uprobe themselves.
"""

import re
from pathlib import Path

from cffi import FFI

HEADERS = [Path("shim/uprobe/attach.h"), Path("shim/uprobe/pump.h")]

# cffi wants declarations; the include guard and #include are the preprocessor's.
declarations = re.sub(
    r"^#(ifndef|endif|include|define \w+$).*", "", "".join(h.read_text() for h in HEADERS), flags=re.MULTILINE
)

ffi = FFI()
ffi.cdef(declarations)
ffi.set_source(
    "dpcap.capture._uprobe",
    "".join(f'#include "{header.name}"\n' for header in HEADERS),
    include_dirs=[str(HEADERS[0].parent)],
    libraries=["dpcap_uprobe", "dpcap_ring", "pthread"],
    depends=[str(header) for header in HEADERS],
)
