# SPDX-License-Identifier: BSD-3-Clause
"""Build the C parts with CMake, then the cffi bindings against them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
MANUAL = ROOT / "build" / "dpcap.1"
VERSION = re.search(r"VERSION (\d+\.\d+\.\d+) LANGUAGES", (ROOT / "CMakeLists.txt").read_text())[1]


class CMakeBuildExt(build_ext):
    """Run CMake for the static libraries and, where there is what they need, what is shipped as it is."""

    def run(self) -> None:
        build = (ROOT / "build" / "cmake").resolve()
        build.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja"], check=True)
        subprocess.run(["cmake", "--build", str(build)], check=True)
        for ext in self.extensions:
            ext.library_dirs += [str(build / "shim" / part) for part in ("vm", "ring", "uprobe")]
            # Relinked whenever the C code changed.
            ext.depends += [str(p) for p in build.glob("shim/*/*.a")]
        super().run()
        self._copy_native(build)

    def _copy_native(self, build: Path) -> None:
        package = (
            ROOT / "src" / "dpcap" if self.inplace or self.editable_mode else Path(self.build_lib) / "dpcap"
        )
        native = package / "_native"
        native.mkdir(parents=True, exist_ok=True)
        plugin = build / "shim" / "dpdk" / "libdpcap_shim.so"  # where DPDK's headers are
        injector = build / "shim" / "inject" / "dpcap-inject"  # on x86-64
        probe = build / "shim" / "uprobe" / "dpcap_uprobe.bpf.o"
        for file in filter(Path.exists, (plugin, injector, probe)):
            # A new inode: the old file may be mapped by a running application.
            temporary = native / (file.name + ".new")
            shutil.copy2(file, temporary)
            temporary.replace(native / file.name)
        if plugin.exists():
            headers = re.search(
                r"^DPDK_VERSION:INTERNAL=(.*)$", (build / "CMakeCache.txt").read_text(), re.MULTILINE
            )
            (native / "dpdk-version").write_text(f"{headers[1] if headers else ''}\n")


def write_manual() -> None:
    """Make dpcap.1 of the tables of options, commands and exit codes."""
    sys.path.insert(0, str(ROOT / "src"))
    from dpcap.capture.manual import page  # noqa: PLC0415 - of the tree that is built

    MANUAL.parent.mkdir(exist_ok=True)
    MANUAL.write_text(page(VERSION))


write_manual()  # data files have to be there before anything is built
setup(
    version=VERSION,
    data_files=[("share/man/man1", [str(MANUAL.relative_to(ROOT))])],
    cmdclass={"build_ext": CMakeBuildExt},
    cffi_modules=[
        "ubpf_host/_vm_build.py:ffi",
        "filters/_pcap_build.py:ffi",
        "capture/_ring_build.py:ffi",
        "capture/_proto_build.py:ffi",
        "capture/_uprobe_build.py:ffi",
    ],
)
