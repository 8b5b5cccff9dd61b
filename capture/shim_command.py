# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap shim``: where the plugin is, and how EAL comes to load it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dpcap.capture import plugin
from dpcap.capture.errors import AccessError, DpcapError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = """\
usage: dpcap shim path
       dpcap shim install [--dir DIR]
       dpcap shim uninstall [--dir DIR]

The shim is a plugin (libdpcap_shim.so) that a DPDK application loads at its start. Without a
capture it does nothing and costs nothing.

  path       print where the plugin is, for one application:
                 dpdk-testpmd -d $(dpcap shim path) ...
  install    copy it to the folder from which EAL loads drivers by itself: every DPDK application
             that is started from then on can be captured from, without an option
  uninstall  take it out of there again; applications that run keep it until they end

  --dir DIR  that folder, instead of the one that the installed DPDK names
"""

# Symbols every build of the plugin exports; what has them was put there by an install.
_MARK = b"dpcap_shim_init"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"shim: {message} (dpcap shim --help explains)")


def run(argv: Sequence[str]) -> int:
    """Run ``dpcap shim ARGV`` and return the exit code."""
    parser = _Parser(prog="dpcap shim", add_help=False, allow_abbrev=False)
    parser.add_argument("action", nargs="?", choices=("path", "install", "uninstall"))
    parser.add_argument("--dir", type=Path)
    parser.add_argument("-h", "--help", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.help:
        print(HELP, end="")
    elif arguments.action is None:
        raise UsageError("shim: path, install or uninstall? (dpcap shim --help explains)")
    elif arguments.action == "path":
        print(_path())
    elif arguments.action == "install":
        for folder in _folders(arguments.dir):
            _install(folder)
    else:
        for folder in _folders(arguments.dir):
            _uninstall(folder)
    return 0


def _path() -> Path:
    found = plugin.path()
    if _world_writable_parent(found):
        print(
            "dpcap: EAL refuses plugins below a folder that everybody may write to: "
            f"copy {found.name} elsewhere, or use 'dpcap shim install'",
            file=sys.stderr,
        )
    return found


def _world_writable_parent(path: Path) -> bool:
    """Tell whether EAL's -d would refuse the file (verify_perms() in eal_common_options.c)."""
    return any(parent.stat().st_mode & 0o002 for parent in path.resolve().parents)


def _folders(chosen: Path | None) -> list[Path]:
    if chosen is not None:
        if not chosen.is_dir():
            raise DpcapError(f"{chosen}: no such directory")
        return [chosen]
    found = plugin.driver_folders()
    if not found:
        raise DpcapError(
            "no installed DPDK found that loads drivers from a folder (a static one does not): "
            "name the folder with --dir, or start the application with -d $(dpcap shim path)"
        )
    return found


def _install(folder: Path) -> None:
    source = plugin.path()
    target = folder / plugin.NAME
    if target.exists() and not _is_ours(target):
        raise DpcapError(f"{target} exists and is not dpcap's: it was left alone")
    # A new file, renamed: a running application may have the old one mapped.
    temporary = target.with_name(f".{plugin.NAME}.{os.getpid()}")
    try:
        try:
            shutil.copyfile(source, temporary)
            temporary.chmod(0o755)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except PermissionError as error:
        raise AccessError(f"cannot write to {folder}: run 'dpcap shim install' as root") from error
    except OSError as error:
        raise DpcapError(f"cannot write {target}: {error.strerror}") from error
    print(f"installed {target}")
    print(
        "DPDK applications that are started from now on can be captured from; "
        "'dpcap shim uninstall' undoes it"
    )


def _uninstall(folder: Path) -> None:
    target = folder / plugin.NAME
    if not target.exists():
        print(f"nothing to do: there is no {target}")
        return
    if not _is_ours(target):
        raise DpcapError(f"{target} is not dpcap's: it was left alone")
    try:
        target.unlink()
    except PermissionError as error:
        raise AccessError(f"cannot remove {target}: run 'dpcap shim uninstall' as root") from error
    print(f"removed {target}")


def _is_ours(path: Path) -> bool:
    return _MARK in path.read_bytes()
