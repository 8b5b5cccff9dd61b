# SPDX-License-Identifier: BSD-3-Clause
"""Where DPDK keeps the functions of its ports: rte_eth_fp_ops, or rte_eth_devices up to 20.11.

The layouts are those of rte_ethdev_core.h and ethdev_driver.h of the releases named.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dpcap.capture.uprobe.process import Process

MAX_PORTS = 32  # RTE_MAX_ETHPORTS, as everybody builds it
MAX_QUEUES = 1024  # RTE_MAX_QUEUES_PER_PORT
ENTRY_WORDS = 16  # 64-bit words of struct rte_eth_fp_ops
FP_OPS_SIZE = MAX_PORTS * ENTRY_WORDS * 8  # bytes


class Layout(NamedTuple):
    """Places in struct rte_eth_fp_ops, in 64-bit words."""

    name: str
    rx: int
    rx_queues: int
    tx: int
    tx_queues: int
    reserved: tuple[int, ...]  # always zero


LAYOUTS = (
    Layout("DPDK 21.11 to 23.07", rx=0, rx_queues=3, tx=8, tx_queues=11, reserved=(5, 6, 7, 13, 14, 15)),
    Layout("DPDK 23.11 or later", rx=2, rx_queues=0, tx=10, tx_queues=8, reserved=(6, 7, 15)),
)


class Port(NamedTuple):
    """What a running port calls: addresses in the process."""

    port: int
    rx: int
    tx: int
    rx_queues: tuple[int, ...]  # the first argument for queue 0, 1, 2, ...
    tx_queues: tuple[int, ...]


class FpOps:
    """The array rte_eth_fp_ops of a process."""

    def __init__(self, address: int, layout: Layout) -> None:
        self.address = address
        self.layout = layout

    @property
    def description(self) -> str:
        """What it is."""
        return f"rte_eth_fp_ops ({self.layout.name})"

    def snapshot(self, process: Process) -> bytes:
        """Return what changes when a port starts or stops."""
        return process.read(self.address, FP_OPS_SIZE)

    def ports(self, process: Process) -> list[Port]:
        """Return the ports that are started now. A stopped one has the functions of those that never were."""
        words = process.words(self.address, MAX_PORTS * ENTRY_WORDS)
        if len(words) < MAX_PORTS * ENTRY_WORDS:
            return []
        at = self.layout
        last = words[-ENTRY_WORDS:]
        found = []
        for port in range(MAX_PORTS):
            entry = words[port * ENTRY_WORDS : (port + 1) * ENTRY_WORDS]
            rx, tx = entry[at.rx], entry[at.tx]
            if (rx, tx) == (last[at.rx], last[at.tx]) or not (process.is_text(rx) and process.is_text(tx)):
                continue
            rx_queues, tx_queues = (_queues(process, entry[i]) for i in (at.rx_queues, at.tx_queues))
            found.append(Port(port, rx, tx, rx_queues, tx_queues))
        return found


class Devices:
    """The array rte_eth_devices of a process, as up to DPDK 20.11: functions first, then what differs."""

    _NAME_BYTES = 64  # rte_eth_dev_data begins with name, rx_queues, tx_queues, nb_rx_queues, nb_tx_queues
    _DATA_WORDS = range(2, 24)  # where the pointer to it may be

    description = "rte_eth_devices (DPDK up to 20.11)"

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self._stride = size // MAX_PORTS  # bytes

    def snapshot(self, process: Process) -> bytes:
        """Return what changes when a port starts or stops."""
        places = range(self.address, self.address + MAX_PORTS * self._stride, self._stride)
        return b"".join(process.read(place, 8 * self._DATA_WORDS.stop) for place in places)

    def ports(self, process: Process) -> list[Port]:
        """Return the ports that are started now."""
        found = []
        for port in range(MAX_PORTS):
            words = process.words(self.address + port * self._stride, self._DATA_WORDS.stop)
            if len(words) < self._DATA_WORDS.stop or not all(process.is_text(a) for a in words[:2]):
                continue
            data = next(filter(None, (self._data(process, words[i]) for i in self._DATA_WORDS)), None)
            if data is not None:
                found.append(Port(port, words[0], words[1], *data))
        return found

    def _data(self, process: Process, address: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Return the queues in an rte_eth_dev_data, or None when there is none at the address."""
        data = process.read(address, self._NAME_BYTES + 20) if address else b""
        if len(data) < self._NAME_BYTES + 20:
            return None
        name, _, rest = data[: self._NAME_BYTES].partition(b"\0")
        if not name or any(not 0x20 < byte < 0x7F for byte in name) or rest.strip(b"\0"):
            return None
        rx, tx, n_rx, n_tx = struct.unpack_from("=QQHH", data, self._NAME_BYTES)
        if not (n_rx <= MAX_QUEUES and n_tx <= MAX_QUEUES):
            return None
        return process.words(rx, n_rx), process.words(tx, n_tx)


Table = FpOps | Devices


def _queues(process: Process, array: int) -> tuple[int, ...]:
    """Return the queues of a port: DPDK's array has room for all that may come, and zeros behind them."""
    words = process.words(array, MAX_QUEUES)
    return words[: words.index(0)] if 0 in words else words


def layout_at(words: Sequence[int], is_text: Callable[[int], bool]) -> Layout | None:
    """Tell which layout an array of words is in, by the words that point into text."""
    for layout in LAYOUTS:
        if all(
            words[at + place] and is_text(words[at + place])
            for at in (0, (MAX_PORTS - 1) * ENTRY_WORDS)
            for place in (layout.rx, layout.tx)
        ):
            return layout
    return None
