# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap extcap``: ports of DPDK applications as interfaces of Wireshark and tshark.

Wireshark runs every program in its extcap folders with options that begin with --extcap, and reads sentences
from its standard output (extcap(4) of Wireshark). The program in the folder is a wrapper for this module.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from dpcap.capture import arguments as command_line
from dpcap.capture import discovery, protocol
from dpcap.capture.client import Connection
from dpcap.capture.errors import AccessError, DpcapError, FilterSyntaxError, ToolError, UsageError
from dpcap.capture.expression import compiled
from dpcap.capture.options import MAX_SNAPLEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dpcap.capture.discovery import Application

HELP = """\
usage: dpcap extcap install|uninstall|status [--system | --dir DIR]

Makes the ports of DPDK applications interfaces of Wireshark and tshark:
    tshark -i dpcap:port0 -f 'udp port 2152'

  install    put a small program into the folder where Wireshark looks for them
  uninstall  take it out again
  status     say whether it is there, and whether tshark sees it

  --system   the folder of all users, instead of your own
  --dir DIR  another folder
"""

NAME = "dpcap"
ANY = "any"
_MARK = "# made by: dpcap extcap install"
_WRAPPER = """\
#!/bin/sh
{mark}
exec {python} -m dpcap extcap "$@"
"""
_SEPARATOR = "@"  # between port and file-prefix, where several applications run


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"extcap: {message} (dpcap extcap --help explains)")


class Interface(NamedTuple):
    """What Wireshark lists."""

    value: str  # given to -i
    display: str


def run(argv: Sequence[str]) -> int:
    """Run ``dpcap extcap ARGV``, by a user or by Wireshark, and return the exit code."""
    parser = _Parser(prog="dpcap extcap", add_help=False, allow_abbrev=False)
    parser.add_argument("action", nargs="?", choices=("install", "uninstall", "status"))
    parser.add_argument("--system", action="store_true")
    parser.add_argument("--dir", type=Path)
    parser.add_argument("-h", "--help", action="store_true")
    for flag in ("--extcap-interfaces", "--extcap-dlts", "--extcap-config", "--capture"):
        parser.add_argument(flag, action="store_true")
    for option in ("--extcap-interface", "--extcap-capture-filter", "--fifo"):
        parser.add_argument(option)
    parser.add_argument("--direction", default="inout")
    parser.add_argument("--snaplen", default=str(MAX_SNAPLEN))
    parser.add_argument("--engine", default="jit")
    given, _ = parser.parse_known_args(argv)  # later releases may pass more
    if given.action is not None:
        return _manage(given.action, _folder(given))
    if given.extcap_interfaces:
        _print(_interfaces())
    elif given.extcap_interface is None or given.help:
        print(HELP, end="")
    elif given.extcap_dlts:
        print("dlt {number=1}{name=EN10MB}{display=Ethernet}")
    elif given.extcap_config:
        _print(_config())
    elif given.capture:
        return _capture(given)
    elif given.extcap_capture_filter is not None:
        return _check(given.extcap_capture_filter)
    return 0


def _print(sentences: Iterator[str]) -> None:
    for sentence in sentences:
        print(sentence)


def _interfaces() -> Iterator[str]:
    yield f"extcap {{version={protocol.VERSION}}}{{display=dpcap: ports of DPDK applications}}"
    for value, display in _list(discovery.applications()):
        yield f"interface {{value={value}}}{{display={display}}}"


def _list(applications: Sequence[Application]) -> Iterator[Interface]:
    """Yield what can be captured from.

    A name must not change when another application comes or goes: it carries the application's file-prefix,
    unless that is EAL's default. The only application has the short names as well.
    """
    capable = [a for a in applications if a.socket is not None]
    if len(capable) <= 1:
        yield Interface(NAME, f"{NAME}: {ANY}")
    for application in capable:
        names = _ports(application)
        is_default = application.file_prefix == discovery.DEFAULT_FILE_PREFIX
        if len(capable) == 1 or is_default:
            for label, display in names:
                yield Interface(f"{NAME}:{label}", f"{NAME}: {display}")
        if not is_default:
            suffix = _SEPARATOR + application.file_prefix
            for label, display in ((ANY, f"{ANY} of {application.who}"), *names):
                yield Interface(f"{NAME}:{label}{suffix}", f"{NAME}: {display}, file-prefix {suffix[1:]}")


def _ports(application: Application) -> list[tuple[str, str]]:
    """Return label and description of each port."""
    try:
        assert application.socket is not None  # noqa: S101 - only such applications are asked
        with Connection.open(application.socket, application.who) as connection:
            connection.hello()
            return [(p.label, f"{p.label} ({p.name}) of {application.who}") for p in connection.ports()]
    except DpcapError:  # it ended, or is not ours: Wireshark has no place to say so
        return []


def _config() -> Iterator[str]:
    """Yield the options of the dialog; a default selector is left out of the call."""
    yield "arg {number=0}{call=--direction}{display=Direction}{type=selector}{tooltip=Which packets}"
    for value, display in (("inout", "received and sent"), ("in", "received"), ("out", "sent")):
        default = "true" if value == "inout" else "false"
        yield f"value {{arg=0}}{{value={value}}}{{display={display}}}{{default={default}}}"
    yield (
        "arg {number=1}{call=--snaplen}{display=Snapshot length}{type=integer}"
        f"{{range=1,{MAX_SNAPLEN}}}{{default={MAX_SNAPLEN}}}"
        "{tooltip=Bytes kept of a packet}"
    )
    yield "arg {number=2}{call=--engine}{display=Filter engine}{type=selector}{tooltip=How the filter runs}"
    for value, display in (("jit", "compiled (JIT)"), ("interp", "interpreted")):
        default = "true" if value == "jit" else "false"
        yield f"value {{arg=2}}{{value={value}}}{{display={display}}}{{default={default}}}"


def _capture(given: argparse.Namespace) -> int:
    from dpcap.capture import live  # noqa: PLC0415 - not needed to list interfaces

    if given.fifo is None:
        raise UsageError("extcap: --capture needs --fifo")
    port, _, prefix = given.extcap_interface.removeprefix(NAME).lstrip(":").partition(_SEPARATOR)
    argv = ["-i", port or ANY, "-w", given.fifo, "-Q", given.direction, "-s", given.snaplen]
    argv += [
        "--engine",
        given.engine,
        "--quiet",
    ]  # Wireshark shows what is said on standard error as an error
    if prefix:
        argv += ["--file-prefix", prefix]
    if given.extcap_capture_filter:
        argv += ["--", given.extcap_capture_filter]
    # Whatever goes wrong, who waits for a writer of the pipe must see one come, or it waits for ever; and see
    # it go when what went wrong can be read: at the end of the process.
    with suppress(OSError):  # said when the file is opened
        os.open(given.fifo, os.O_WRONLY | os.O_CLOEXEC)
    return live.run(command_line.parse(argv))


def _check(expression: str) -> int:
    """Say on standard output what is wrong with a filter; nothing when it is right."""
    from dpcap import filters  # noqa: PLC0415

    try:
        compiled(lambda: filters.compile(expression))
    except FilterSyntaxError as error:
        print(error)
        return error.exit_code
    return 0


def _folder(given: argparse.Namespace) -> Path:
    if given.dir is not None:
        return Path(given.dir)
    folders = _folders_of_wireshark()
    # 4.2 and later name both; up to 4.0 the personal one is not listed.
    system = folders.get("Global Extcap path") or folders.get("Extcap path")
    personal = folders.get("Personal Extcap path")
    if personal is None and "Personal configuration" in folders:
        personal = str(Path(folders["Personal configuration"]) / "extcap")
    found = system if given.system else personal
    if found is None:
        raise ToolError("tshark does not say where its extcap folder is: name it with --dir")
    return Path(found)


def _folders_of_wireshark() -> dict[str, str]:
    for program in ("tshark", "wireshark"):
        try:
            done = subprocess.run([program, "-G", "folders"], capture_output=True, text=True, check=False)
        except OSError:
            continue
        rows = (line.partition(":") for line in done.stdout.splitlines())
        return {name.strip(): value.strip() for name, _, value in rows}
    raise ToolError(
        "neither tshark nor wireshark is installed: install one, or name its extcap folder with --dir"
    )


def _manage(action: str, folder: Path) -> int:
    target = folder / NAME
    ours = target.exists() and _MARK in target.read_text(errors="replace")
    if target.exists() and not ours:
        raise DpcapError(f"{target} exists and is not dpcap's: it was left alone")
    try:
        if action == "install":
            folder.mkdir(parents=True, exist_ok=True)
            target.write_text(_WRAPPER.format(mark=_MARK, python=shlex.quote(sys.executable)))
            target.chmod(0o755)
            print(f"installed {target}; 'tshark -D' and Wireshark list dpcap's interfaces now")
        elif not ours:
            print(f"not installed in {folder} ('dpcap extcap install' does that)")
        elif action == "uninstall":
            target.unlink()
            print(f"removed {target}")
        else:
            print(f"installed in {folder}; tshark {_seen_by_tshark()}")
    except PermissionError as error:
        raise AccessError(f"cannot write to {folder}: run it as root") from error
    return 0


def _seen_by_tshark() -> str:
    try:
        done = subprocess.run(["tshark", "-D"], capture_output=True, text=True, check=False)
    except OSError:
        return "is not installed"
    seen = [line for line in done.stdout.splitlines() if f"{NAME}:" in line or line.endswith(NAME)]
    return "lists:\n" + "\n".join(seen) if seen else "does not list it"
