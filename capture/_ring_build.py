# SPDX-License-Identifier: BSD-3-Clause
"""cffi (API mode) binding of the ring's reader: dpcap.capture._ring.

The declarations are shim/ring/drain.h itself.
"""

import re
from pathlib import Path

from cffi import FFI

HEADER = Path("shim/ring/drain.h")

# cffi wants declarations; the include guard and #include are the preprocessor's.
declarations = re.sub(r"^#(ifndef|endif|include|define \w+$).*", "", HEADER.read_text(), flags=re.MULTILINE)

ffi = FFI()
ffi.cdef(declarations)
ffi.set_source(
    "dpcap.capture._ring",
    '#include "drain.h"',
    include_dirs=[str(HEADER.parent)],
    libraries=["dpcap_ring"],
    depends=[str(HEADER)],
)
