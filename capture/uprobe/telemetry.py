# SPDX-License-Identifier: BSD-3-Clause
"""What an application tells about its ports by itself: DPDK's telemetry, on by default.

https://doc.dpdk.org/guides/howto/telemetry.html: commands are datagrams on a socket in the runtime
directory, and answers are JSON.
"""

from __future__ import annotations

import json
import os
import re
import socket
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dpcap.capture.discovery import resolve_in_root, socket_paths

if TYPE_CHECKING:
    from dpcap.capture.discovery import Application

_SOCKET = re.compile(r"/.*/dpdk/([^/]+)/dpdk_telemetry\.v2(?::\d+)?$")
_PATIENCE = 1.0  # seconds, with an application that is stopped or busy
_MEGABIT = 1_000_000


class Device(NamedTuple):
    """A port as its application sees it."""

    port: int
    name: str  # device name
    mac: bytes
    mtu: int
    rx_queues: int
    tx_queues: int
    speed: int  # bit/s, 0: unknown
    started: bool


class Answer(NamedTuple):
    """Everything that was told."""

    version: str  # of DPDK
    devices: dict[int, Device]


NOTHING = Answer("", {})


def ask(application: Application) -> Answer:
    """Return what an application tells; NOTHING when it has no telemetry or does not answer."""
    for path in socket_paths(f"/proc/{application.pid}/net/unix"):
        match = _SOCKET.match(path)
        if match and match[1] == application.file_prefix:
            seen = resolve_in_root(f"/proc/{application.pid}/root", path)
            try:
                with _Connection(seen) as connection:
                    if connection.pid == application.inner_pid:
                        return Answer(connection.version, connection.devices())
            except (OSError, ValueError, KeyError, TypeError):
                continue
    return NOTHING


class _Connection:
    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_PATIENCE)
        # A path may be longer than sun_path when it leads through /proc/PID/root.
        folder = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
        try:
            self._socket.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
            greeting = json.loads(self._socket.recv(1 << 16))
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(folder)
        self.pid = greeting["pid"]
        self.version = str(greeting["version"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _ask(self, command: str) -> Any:
        self._socket.send(command.encode())
        return json.loads(self._socket.recv(1 << 17))[command.partition(",")[0]]

    def devices(self) -> dict[int, Device]:
        return {port: self._device(port) for port in self._ask("/ethdev/list")}

    def _device(self, port: int) -> Device:
        info = self._ask(f"/ethdev/info,{port}")
        link = self._ask(f"/ethdev/link_status,{port}") or {}
        speed = link.get("speed", 0)
        return Device(
            port=port,
            name=info["name"],
            mac=bytes.fromhex(info["mac_addr"].replace(":", "")),
            mtu=info.get("mtu", 0),
            rx_queues=info.get("nb_rx_queues", 0),
            tx_queues=info.get("nb_tx_queues", 0),
            speed=speed * _MEGABIT if isinstance(speed, int) and speed < 1 << 31 else 0,
            started=bool(info.get("dev_started", 1)),
        )
