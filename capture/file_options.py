# SPDX-License-Identifier: BSD-3-Clause
"""What -C, -G, -W and -z (as in tcpdump), -b and -a (as in dumpcap) ask for, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dpcap.capture.errors import UsageError
from dpcap.capture.sinks.rotation import Rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpcap.capture.arguments import Arguments

_MEGABYTE = 1_000_000  # -C counts in these
_KILOBYTE = 1_000  # -a and -b filesize
_SUFFIXES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LARGEST = 1 << 50

_RING = ("duration", "interval", "filesize", "packets", "files")
_AUTOSTOP = ("duration", "filesize", "packets", "files")


class FileOptions(NamedTuple):
    """When to change the file, and when to stop."""

    rotation: Rotation | None  # None: one file
    seconds: int = 0  # stop after so long; 0: never
    packets: int = 0  # stop after so many


def file_options(arguments: Arguments) -> FileOptions:
    """Read the options. Raises UsageError for those that do not go together."""
    stop = _pairs("-a", arguments.autostop, _AUTOSTOP)
    ring = _pairs("-b", arguments.ring_buffer, _RING)
    given = [
        name
        for name, value in (
            ("-C", arguments.file_size),
            ("-G", arguments.rotate_seconds),
            ("-W", arguments.file_count),
            ("-z", arguments.postrotate_command),
        )
        if value is not None
    ]
    needs_file = [*given, *(["-b"] if ring else []), *(f"-a {k}" for k in ("filesize", "files") if k in stop)]
    if needs_file and arguments.write is None:
        raise UsageError(f"{needs_file[0]} is about files: name one with -w")
    if ring and given:
        raise UsageError(f"-b and {given[0]} are two ways to say the same: use one of them")
    if given in (["-W"], ["-z"], ["-W", "-z"]):
        raise UsageError(f"{given[0]} goes with -C or -G")
    rotation = _dumpcap(ring, stop) if ring or not given else _tcpdump(arguments)
    return FileOptions(
        rotation=rotation if rotation != Rotation() else None,
        seconds=stop.get("duration", 0),
        packets=stop.get("packets", 0),
    )


def _tcpdump(arguments: Arguments) -> Rotation:
    files = arguments.file_count or 0
    by_time_only = arguments.file_size is None
    return Rotation(
        max_bytes=arguments.file_size or 0,
        seconds=arguments.rotate_seconds or 0,
        files=0 if by_time_only else files,
        stop_files=files if by_time_only else 0,
        command=arguments.postrotate_command or "",
    )


def _dumpcap(ring: dict[str, int], stop: dict[str, int]) -> Rotation:
    if "duration" in ring and "interval" in ring:
        raise UsageError("-b duration and -b interval are two ways to say the same: use one of them")
    if "filesize" in ring and "filesize" in stop:
        raise UsageError("-b filesize changes the file where -a filesize stops: use one of them")
    if set(ring) == {"files"}:
        raise UsageError("-b files needs to know when to change the file: -b filesize, duration or packets")
    stop_files = stop.get("files", 0)
    if stop_files and not ring:
        raise UsageError("-a files needs to know when to change the file: -b filesize, duration or packets")
    return Rotation(
        max_bytes=(ring.get("filesize") or stop.get("filesize", 0)) * _KILOBYTE,
        seconds=ring.get("duration") or ring.get("interval", 0),
        aligned="interval" in ring,
        max_packets=ring.get("packets", 0),
        files=ring.get("files", 0),
        numbered=bool(ring),
        stop_files=1 if "filesize" in stop else stop_files,
    )


def _pairs(option: str, texts: Sequence[str], known: Sequence[str]) -> dict[str, int]:
    """Read ``name:value`` pairs."""
    pairs = {}
    for text in texts:
        name, _, value = text.partition(":")
        if name not in known or not value.isdecimal() or not 1 <= int(value) < _LARGEST:
            raise UsageError(f"invalid {option} {text}: it is one of {', '.join(f'{k}:N' for k in known)}")
        pairs[name] = int(value)
    return pairs


def file_size(text: str) -> int:
    """Read the value of -C: millions of bytes, or with k, m or g behind it KiB, MiB or GiB."""
    unit = _SUFFIXES.get(text[-1:].lower())
    number = text if unit is None else text[:-1]
    size = int(number) * (unit or _MEGABYTE) if number.isdecimal() else 0
    if not 0 < size < _LARGEST:
        raise ValueError(text)
    return size
