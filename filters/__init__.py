# SPDX-License-Identifier: BSD-3-Clause
"""The filter compiler: tcpdump expressions to eBPF.

>>> tap = compile("udp port 2152")
>>> packet in tap
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpcap.filters.errors import FilterError
    from dpcap.filters.filter import Filter, compile  # noqa: A004 (as re.compile)

__all__ = ["Filter", "FilterError", "compile"]


def __getattr__(name: str) -> object:
    # Loaded at the first use: every run of pytest imports this package for the plugin below it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 (as above)

    return getattr(import_module(f"{__name__}.{'errors' if name == 'FilterError' else 'filter'}"), name)
