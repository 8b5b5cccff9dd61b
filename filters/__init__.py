# SPDX-License-Identifier: BSD-3-Clause
"""The filter compiler: tcpdump expressions to eBPF.

>>> tap = compile("udp port 2152")
>>> packet in tap
True
"""

from dpcap.filters.errors import FilterError
from dpcap.filters.filter import Filter, compile  # noqa: A004 (as re.compile)

__all__ = ["Filter", "FilterError", "compile"]
