# SPDX-License-Identifier: BSD-3-Clause
"""``python -m dpcap``: the command line."""

import sys

from dpcap.capture.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
