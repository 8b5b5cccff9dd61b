# SPDX-License-Identifier: BSD-3-Clause
"""Memory for DPDK applications: 2 MB hugepages where they can be had, ordinary memory elsewhere."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
PAGE_MB = 2


def _read(name: str) -> int:
    return int((POOL / name).read_text())


@contextlib.contextmanager
def _locked_pool() -> Iterator[None]:
    """Let no other run count and change the pages at the same time."""
    with (POOL / "nr_hugepages").open() as pool:
        fcntl.flock(pool, fcntl.LOCK_EX)
        yield


def _give_back_for_the_dead() -> None:
    """Undo what runs left that were killed: their mounts tell the process id and the pages added."""
    for line in Path("/proc/mounts").read_text().splitlines():
        folder = Path(line.split()[1])
        found = re.match(r"dpcap-huge-(\d+)-(\d+)-", folder.name)
        if not found or Path("/proc", found[1]).exists():
            continue
        # Busy while an application of that run still uses it.
        if subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode == 0:
            folder.rmdir()
            (POOL / "nr_hugepages").write_text(str(max(0, _read("nr_hugepages") - int(found[2]))))


class HugePages:
    """
    A hugetlbfs of `megabytes` in a folder of its own, gone with the context.

    Pages that the pool lacks are added, and taken away at the end. The mount holds a reservation, so that
    two runs never count on the same pages. Where that fails, `eal_args` falls back to --in-memory (pages are
    there, mounting is not allowed, or `mount` is false) or --no-huge, and `note` says why.
    """

    def __init__(self, megabytes: int, *, mount: bool = True) -> None:
        self.megabytes = megabytes
        self._wants_mount = mount
        self.note = ""
        self.eal_args: list[str] = []
        self.folder: Path | None = None
        self._added = 0

    def __enter__(self) -> Self:
        try:
            self._acquire()
        except (OSError, subprocess.CalledProcessError) as error:
            self._give_back()
            reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
            self.note = f"no hugepages ({reason}): running with --no-huge"
            self.eal_args = ["--no-huge"]
        return self

    def __exit__(self, *_: object) -> None:
        if self.folder:
            subprocess.run(["umount", str(self.folder)], check=True)
            self.folder.rmdir()
            self.folder = None
        self._give_back()

    def _acquire(self) -> None:
        pages = -(-self.megabytes // PAGE_MB)
        with _locked_pool():
            _give_back_for_the_dead()
            missing = pages - (_read("free_hugepages") - _read("resv_hugepages"))
            if missing > 0:
                before = _read("nr_hugepages")
                (POOL / "nr_hugepages").write_text(str(before + missing))
                # The kernel adds what it finds, without an error.
                self._added = max(0, _read("nr_hugepages") - before)
                if self._added < missing:
                    raise OSError(f"the kernel found {self._added} of {missing} pages")
            if self._wants_mount:
                self._mount()
            else:
                self.eal_args = ["--in-memory"]
        if self.folder:
            reserved = f", {self._added} of them reserved for this" if self._added else ""
            self.note = f"{pages} hugepages of {PAGE_MB} MB{reserved}"

    def _mount(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix=f"dpcap-huge-{os.getpid()}-{self._added}-"))
        size = f"{self.megabytes}M"
        options = f"pagesize={PAGE_MB}M,size={size},min_size={size}"
        mounted = subprocess.run(
            ["mount", "-t", "hugetlbfs", "-o", options, "none", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode == 0:
            self.folder = folder
            self.eal_args = [f"--huge-dir={folder}"]
        else:
            folder.rmdir()
            self.note = f"no hugetlbfs ({mounted.stderr.strip()}): running with --in-memory"
            self.eal_args = ["--in-memory"]

    def _give_back(self) -> None:
        if self._added:
            with _locked_pool():
                (POOL / "nr_hugepages").write_text(str(max(0, _read("nr_hugepages") - self._added)))
            self._added = 0
