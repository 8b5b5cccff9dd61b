# SPDX-License-Identifier: BSD-3-Clause
"""
Two hosts with a DPDK application for a wire, out of network namespaces.

    left:  10.77.0.1, eth0 <-- veth --> wire: left   net_af_packet
                                                      testpmd
    right: 10.77.0.2, eth0 <-- veth --> wire: right  net_af_packet

The application runs in the namespace `wire`, so nothing else of the machine touches these links.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path
from typing import Self

LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
_numbers = itertools.count()


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class TwoHosts:
    """The three namespaces, gone with the context."""

    def __init__(self) -> None:
        name = f"dpcap-{os.getpid()}-{next(_numbers)}"
        self.left, self.right, self.wire = (f"{name}-{part}" for part in ("left", "right", "wire"))

    def __enter__(self) -> Self:
        try:
            for namespace in (self.left, self.right, self.wire):
                _ip("netns", "add", namespace)
            for end, namespace, address in (("left", self.left, LEFT), ("right", self.right, RIGHT)):
                self._link(end, namespace, address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for namespace in (self.left, self.right, self.wire):
            if Path("/run/netns", namespace).exists():
                _ip("netns", "del", namespace)

    def _link(self, end: str, namespace: str, address: str) -> None:
        _ip("-n", self.wire, "link", "add", end, "type", "veth", "peer", "eth0", "netns", namespace)
        # Without offloads the packets are those that a network would see: whole and with checksums.
        for where, device in ((self.wire, end), (namespace, "eth0")):
            offloads = ("tx", "off", "tso", "off", "gso", "off", "gro", "off")
            subprocess.run(
                [*self.run_in(where), "ethtool", "-K", device, *offloads], check=True, capture_output=True
            )
            # Nothing between the test's own packets: no router solicitation, no probing of neighbours.
            settings = (
                f"ipv6.conf.{device}.disable_ipv6=1",
                f"ipv4.neigh.{device}.delay_first_probe_time=3600",
            )
            for setting in settings:
                subprocess.run([*self.run_in(where), "sysctl", "-qw", f"net.{setting}"], check=True)
            _ip("-n", where, "link", "set", device, "up")
        _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")

    @staticmethod
    def run_in(namespace: str) -> list[str]:
        """Return the start of a command line that runs in a namespace (and in nothing else of its own)."""
        return ["nsenter", f"--net=/run/netns/{namespace}"]
