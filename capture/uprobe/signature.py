# SPDX-License-Identifier: BSD-3-Clause
"""Find rte_eth_fp_ops in a process without any symbol, by what it looks like.

    entry 0      | rx ... tx ... |  of a driver
    entry 1      | rx ... tx ... |
    ...
    entry 30     | rx ... tx ... |  the dummies that stand for no port:
    entry 31     | rx ... tx ... |  the same in both

Every rx and tx points into text, and the reserved words are zero.
"""

from __future__ import annotations

import array
from typing import TYPE_CHECKING

from dpcap.capture.uprobe.layout import ENTRY_WORDS, FP_OPS_SIZE, LAYOUTS, MAX_PORTS, FpOps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dpcap.capture.uprobe.layout import Layout
    from dpcap.capture.uprobe.process import Process

_ALIGNMENT_WORDS = 8  # a cache line
_CHUNK = 16 << 20  # bytes read at once


def search(process: Process) -> list[FpOps]:
    """Return every place in the data of the program and its libraries that looks like it."""
    found = []
    for start, end in _data_regions(process):
        for base in range(start, end, _CHUNK):
            # What begins in one chunk may end in the next.
            data = process.read(base, min(_CHUNK + FP_OPS_SIZE, end - base))
            words = array.array("Q", data[: len(data) // 8 * 8])
            found += [FpOps(base + 8 * at, layout) for at, layout in _matches(words, process.is_text)]
    return list({table.address: table for table in found}.values())


def _data_regions(process: Process) -> Iterator[tuple[int, int]]:
    """Yield the writable memory of each file with what follows it, .bss: the program's own first."""
    mappings = process.mappings()
    for module in process.modules():
        for mapping in module:
            if not mapping.permissions.startswith("rw"):
                continue
            end = mapping.end
            for following in mappings[mappings.index(mapping) + 1 :]:
                if following.start != end or following.inode or following.path:
                    break
                end = following.end
            yield mapping.start, end


def _matches(words: array.array[int], is_text: Callable[[int], bool]) -> Iterator[tuple[int, Layout]]:
    last = (MAX_PORTS - 1) * ENTRY_WORDS
    for layout in LAYOUTS:
        rx = last + layout.rx
        for at in range(0, len(words) - MAX_PORTS * ENTRY_WORDS + 1, _ALIGNMENT_WORDS):
            # Most places are ruled out by the first comparison.
            if words[at + rx] and words[at + rx] == words[at + rx - ENTRY_WORDS] and is_text(words[at + rx]):
                entries = words[at : at + MAX_PORTS * ENTRY_WORDS]
                if _looks_like(entries, layout, is_text):
                    yield at, layout


def _looks_like(words: array.array[int], layout: Layout, is_text: Callable[[int], bool]) -> bool:
    dummies = {words[-ENTRY_WORDS + layout.rx], words[-ENTRY_WORDS + layout.tx]}
    if len(dummies) > 2 or words[-ENTRY_WORDS + layout.tx] != words[-2 * ENTRY_WORDS + layout.tx]:
        return False
    return all(
        is_text(words[at + layout.rx])
        and is_text(words[at + layout.tx])
        and not any(words[at + place] for place in layout.reserved)
        for at in range(0, MAX_PORTS * ENTRY_WORDS, ENTRY_WORDS)
    )
