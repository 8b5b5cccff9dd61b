# SPDX-License-Identifier: BSD-3-Clause
"""The shim's plugin file, and the folders from which EAL loads drivers by itself."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import dpcap
from dpcap.capture.errors import DpcapError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "libdpcap_shim.so"

_NATIVE = Path(dpcap.__file__).parent / "_native"
# RTE_EAL_PMD_PATH, as it was compiled into EAL: .../dpdk/pmds-23.0
_DRIVER_FOLDER = re.compile(rb"\0(/[\x21-\x7e]*/dpdk/pmds-[0-9.]+)\0")
_LIBRARY_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64")


def built() -> Path | None:
    """Return the plugin that came with this package; None when it was built without DPDK's headers."""
    path = _NATIVE / NAME
    return path if path.exists() else None


def injector() -> Path | None:
    """Return the program that loads the plugin into a running process; None where there is none."""
    path = _NATIVE / "dpcap-inject"
    return path if path.exists() else None


def path() -> Path:
    """Return the plugin that came with this package. Raises DpcapError when there is none."""
    found = built()
    if found is None:
        raise DpcapError(
            "this dpcap was built without the plugin: install DPDK's headers (Debian: libdpdk-dev), "
            "then build it again"
        )
    return found


def dpdk_headers() -> str | None:
    """Return the version of the DPDK headers that the plugin was built with."""
    try:
        return (_NATIVE / "dpdk-version").read_text().strip() or None
    except OSError:
        return None


def driver_folders() -> list[Path]:
    """Return the folders from which the installed EAL libraries load every driver at start.

    EAL has the path compiled in, so the library itself is asked.
    """
    folders: dict[Path, None] = {}
    for library in _eal_libraries():
        try:
            match = _DRIVER_FOLDER.search(library.read_bytes())
        except OSError:
            continue
        if match:
            folder = Path(os.fsdecode(match[1]))
            if folder.is_dir():
                folders[folder] = None
    return list(folders)


def _eal_libraries() -> Iterator[Path]:
    """Yield the files of librte_eal that the dynamic linker, pkg-config and the usual folders know of."""
    seen = set()
    for candidate in _eal_candidates():
        real = candidate.resolve()
        if real not in seen and real.is_file():
            seen.add(real)
            yield real


def _eal_candidates() -> Iterator[Path]:
    for line in _output("/sbin/ldconfig", "-p"):
        name, _, target = line.partition(" => ")
        if name.strip().startswith("librte_eal.so"):
            yield Path(target)
    for folder in (*_output("pkg-config", "--variable=libdir", "libdpdk"), *_LIBRARY_FOLDERS):
        yield from Path(folder).glob("librte_eal.so*")
        yield from Path(folder).glob("*-linux-gnu/librte_eal.so*")


def _output(*argv: str) -> list[str]:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
