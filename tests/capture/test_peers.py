# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: E501 - tables
"""The options of tcpdump and dumpcap: what those do beside what dpcap does.

On files both read the same one. Live, tcpdump and dumpcap capture from a veth that is sent into, dpcap
from a DPDK application that receives without end.
"""

from __future__ import annotations

import itertools
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import traffic

from dpcap.capture import cli
from dpcap.capture.options import OPTIONS, REFUSED
from support.captures import capinfos, read_pcap, read_pcapng
from support.command import Command, dpcap_argv
from support.kernel_bpf import needs_kernel_bpf
from support.packets import assorted
from support.testpmd import Testpmd, wait_until

# -- on files: the same words on standard output, the same exit code

ON_FILES = [
    "-n", "-nn", "-n -v", "-n -vv", "-n -vvv", "-n -e", "-n -x", "-n -xx", "-n -X", "-n -XX", "-n -A", "-n -q",
    "-n -t", "-n -tt", "-n -ttt", "-n -tttt", "-n -ttttt", "-n -S", "-n -#", "-n --number", "-N", "-n -K", "-n -u",
    "-n -H", "-n --nano", "-n --micro", "-n --time-stamp-precision nano", "-n --time-stamp-precision=micro",
    "-n -T vxlan", "-n -M secret", "-n -l", "-n -U", "-n --immediate-mode", "-n -p", "-n -O", "-n -c 3",
    "--count", "--count -c 3", "-d", "-dd", "-ddd", "-n -y EN10MB", "-n -j host",
    "-d -y RAW", "-d -y EN10MB", "-d -y LINUX_SLL2", "-d -O", "-n -B 4096",
]  # fmt: skip


@pytest.fixture(scope="module")
def pcap(tmp_path_factory):
    path = tmp_path_factory.mktemp("peers") / "in.pcap"
    traffic.write_pcap(path, assorted())
    return path


@pytest.mark.parametrize("line", ON_FILES)
def test_on_a_file(line, pcap, capfd):
    # With -y as well as -r tcpdump -d takes the link type of the file.
    source = [] if "-d -y" in line else ["-r", pcap]
    expected = subprocess.run(
        ["tcpdump", *line.split(), *source, "udp or tcp"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert expected.returncode == 0, expected.stderr
    assert cli.main([*line.split(), *map(str, source), "udp or tcp"]) == expected.returncode
    assert capfd.readouterr().out == expected.stdout


def test_a_filter_from_a_file(pcap, tmp_path, capfd):
    filter_file = tmp_path / "filter"
    filter_file.write_text("udp # and nothing else\n")
    argv = ["-n", "-F", str(filter_file), "-r", str(pcap)]
    expected = subprocess.run(["tcpdump", *argv], capture_output=True, text=True, check=True).stdout
    assert cli.main(argv) == 0
    assert capfd.readouterr().out == expected


@pytest.mark.parametrize("options", [["-w"], ["-U", "-w"], ["-c", "3", "-w"]], ids=" ".join)
def test_a_file_from_a_file(options, pcap, tmp_path):
    for argv in (["tcpdump", "-Z", "root", "--nano"], dpcap_argv()):
        subprocess.run(
            [*argv, "-r", pcap, *options, tmp_path / argv[0].rpartition("/")[2], "udp"], check=True
        )
    assert read_pcap(tmp_path / "dpcap") == read_pcap(tmp_path / "tcpdump")


# -- live: what the programs leave behind


class Row(NamedTuple):
    """One option: for which program, and what is looked at."""

    program: str
    options: str  # {out} is the file
    looked_at: tuple[str, ...]  # functions of Outcome
    name: str = "x.pcapng"


LIVE = [
    Row("tcpdump", "-c 5 -w {out}", ("code", "packets", "captured_line")),
    Row("tcpdump", "-c 5 -s 64 -w {out}", ("code", "packets", "longest")),
    Row("tcpdump", "-c 5 --snapshot-length=64 -w {out}", ("code", "packets", "longest")),
    Row("tcpdump", "-c 5 -Q in -w {out}", ("code", "packets")),
    Row("tcpdump", "-c 5 -y EN10MB -w {out}", ("code", "packets")),
    Row("tcpdump", "-c 5 -j host -w {out}", ("code", "packets")),
    Row("tcpdump", "-c 5 --nano -U -w {out}", ("code", "packets")),
    Row("tcpdump", "-c 5 --micro -w {out}", ("code", "packets")),
    Row("tcpdump", "-c 5 -n --print -w {out}", ("code", "packets", "lines")),
    Row("tcpdump", "-c 5 -n -l", ("code", "lines")),
    Row("tcpdump", "-c 5 -n -#", ("code", "lines")),
    Row("tcpdump", "-c 5 -B 1024 -p --immediate-mode -w {out}", ("code", "packets")),
    Row("tcpdump", "-c 5 -Z nobody -w {out}", ("code", "packets", "owner")),
    Row("tcpdump", "-G 1 -W 2 -w {out}", ("code", "file_count", "names"), "%H%M%S.pcap"),
    Row("tcpdump", "-C 1 -W 3 -c 12000 -w {out}", ("code", "names"), "x"),
    Row("tcpdump", "-G 1 -W 1 -z gzip -w {out}", ("code", "names"), "x.pcap"),
    Row("tcpdump", "-L", ("code", "types")),
    Row("tcpdump", "-J", ("code", "types")),
    Row("dumpcap", "-c 5 -w {out}", ("code", "packets")),
    Row("dumpcap", "-c 5 -f len>60 -w {out}", ("code", "packets")),
    Row("dumpcap", "-c 5 -s 64 -w {out}", ("code", "packets", "longest")),
    Row("dumpcap", "-a packets:7 -w {out}", ("code", "packets")),
    Row("dumpcap", "-a duration:1 -w {out}", ("code", "file_count")),
    Row("dumpcap", "-a filesize:10 -w {out}", ("code", "file_count", "about_10_kb")),
    Row("dumpcap", "-b packets:5 -a files:3 -w {out}", ("code", "file_count", "packets", "numbered")),
    Row("dumpcap", "-b packets:5 -b files:2 -a packets:23 -w {out}", ("code", "file_count", "numbered")),
    Row("dumpcap", "-b filesize:10 -a files:2 -w {out}", ("code", "file_count", "numbered")),
    Row("dumpcap", "-b duration:1 -a files:2 -w {out}", ("code", "file_count", "numbered")),
    Row("dumpcap", "-b interval:1 -a files:2 -w {out}", ("code", "file_count", "numbered")),
    Row("dumpcap", "-c 5 -g -w {out}", ("code", "mode")),
    Row("dumpcap", "-c 5 -q -w {out}", ("code", "no_counts")),
    Row("dumpcap", "-c 5 --capture-comment hello -w {out}", ("code", "comment")),
    Row("dumpcap", "-d -f udp", ("code",)),
    Row(
        "dumpcap",
        "-c 5 --autostop duration:60 --ring-buffer files:3 --ring-buffer packets:2 -w {out}",
        ("code",),
    ),
    Row("dumpcap", "-P -c 5 -w {out}", ()),  # refused
]


class Outcome:
    """What a program that has ended left behind."""

    def __init__(self, done, folder):
        self._done = done
        self._folder = folder

    @property
    def files(self):
        return sorted(self._folder.iterdir())

    def code(self):
        return self._done.returncode

    def file_count(self):
        return len(self.files)

    def _read(self):
        found = []
        for path in self.files:
            is_pcapng = path.read_bytes()[:4] == b"\n\r\r\n"
            found.append((read_pcapng if is_pcapng else read_pcap)(path))
        return found

    def packets(self):
        return [len(packets) for packets in self._read()]

    def longest(self):
        return max(len(p.data) for packets in self._read() for p in packets)

    def captured_line(self):
        return re.findall(r"^(\d+ packets? captured)$", self._done.stderr, re.MULTILINE)

    def lines(self):
        return len(re.findall(r"^ *(?:\d+ +)?\d\d:\d\d:\d\d\.\d{6} ", self._done.stdout, re.MULTILINE))

    def owner(self):
        return {pwd.getpwuid(path.stat().st_uid).pw_name for path in self.files}

    def names(self):
        return {re.sub(r"\d{6}", "HHMMSS", path.name) for path in self.files}

    def numbered(self):
        return [re.sub(r"\d{14}", "TIME", path.name) for path in self.files]

    def about_10_kb(self):
        return 9_000 < self.files[0].stat().st_size < 13_000

    def mode(self):
        return [stat.filemode(path.stat().st_mode) for path in self.files]

    def no_counts(self):
        return "Packets:" in self._done.stderr or "packets captured" in self._done.stderr

    def comment(self):
        return capinfos(self.files[0]).get("Capture comment")

    def types(self):
        return re.sub(r"for \S+", "for PORT", self._done.stdout + self._done.stderr).splitlines()[:2]


@pytest.fixture(scope="module")
def app(hugepages):
    """An application that receives packets of 90 bytes without end."""
    if not shutil.which("dpdk-testpmd"):
        pytest.skip("dpdk-testpmd is not installed")
    with Testpmd(["net_null0,size=90"], eal_args=hugepages.eal_args) as app:
        app.start()
        yield app


SENDER = """
import select, socket, sys
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(("right", 0))
packet = bytes.fromhex(sys.argv[1])
while not select.select([sys.stdin], [], [], 0.0005)[0]:  # until it is closed
    for _ in range(20):
        sender.send(packet)
"""


@pytest.fixture(scope="module")
def veth():
    """Run in a namespace with the end `left` of a veth, into which UDP packets of 90 bytes are sent."""
    if os.geteuid():
        pytest.skip("needs root")
    needs_kernel_bpf()  # to filter packets of a socket
    name = f"dpcap-{os.getpid()}-peers"
    inside = ["nsenter", f"--net=/run/netns/{name}"]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for line in ("link add left type veth peer name right", "link set left up", "link set right up"):
            subprocess.run(["ip", "-n", name, *line.split()], check=True)
        packet = assorted()[0].ljust(90, b"\0")[:90]
        argv = [*inside, sys.executable, "-c", SENDER, packet.hex()]
        with subprocess.Popen(argv, stdin=subprocess.PIPE) as sender:
            yield inside
            sender.stdin.close()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def run(argv, folder):
    folder.chmod(0o777)
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, timeout=120)
    return Outcome(done, folder)


@pytest.mark.parametrize("row", LIVE, ids=lambda row: f"{row.program} {row.options}")
def test_live(row, app, veth, tmp_path):
    if not shutil.which(row.program):
        pytest.skip(f"{row.program} is not installed")
    tmp_path.chmod(0o755)
    for parent in itertools.takewhile(lambda p: p != Path("/tmp"), tmp_path.parents):
        parent.chmod(0o755)  # for who gives up root's rights
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for folder in (theirs, ours):
        folder.mkdir()
    # Whom tcpdump becomes by itself cannot write everywhere.
    root = ["-Z", "root"] if row.program == "tcpdump" and "-Z" not in row.options else []
    theirs_argv = [
        *veth,
        row.program,
        "-i",
        "left",
        *root,
        *row.options.format(out=theirs / row.name).split(),
    ]
    ours_argv = dpcap_argv("--pid", str(app.pid), *row.options.format(out=ours / row.name).split())
    expected, found = run(theirs_argv, theirs), run(ours_argv, ours)
    if not row.looked_at:
        assert expected.code() == 0
        assert found.code() == 2
        assert found._done.stderr.count("\n") == 1
        return
    assert expected.code() == 0, expected._done.stderr
    for what in row.looked_at:
        assert getattr(found, what)() == getattr(expected, what)(), (what, found._done.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals(number, app, veth, tmp_path):
    last = {}
    for name, argv in (
        ("tcpdump", [*veth, "tcpdump", "-i", "left", "-Z", "root"]),
        ("dpcap", dpcap_argv("--pid", str(app.pid))),
    ):
        with Command([*argv, "-w", tmp_path / name]) as command:
            command.wait_for("listening on")
            wait_until(lambda name=name: (tmp_path / name).stat().st_size > 100, "packets")
            assert command.end(number) == 0
            last[name] = [re.sub(r"\d+", "N", line) for line in command.stderr.splitlines()[-3:]]
    assert last["dpcap"][:2] == last["tcpdump"][:2] == ["N packets captured", "N packets received by filter"]


def test_sigusr1_prints_statistics(app, veth, tmp_path):
    for argv in (
        [*veth, "tcpdump", "-i", "left", "-Z", "root", "-w", tmp_path / "t"],
        dpcap_argv("--pid", str(app.pid), "-w", tmp_path / "d"),
    ):
        with Command(argv) as command:
            command.wait_for("listening on")
            os.kill(command.pid, signal.SIGUSR1)
            command.wait_for(r"\d+ packets? captured, \d+ packets? received by filter, \d+ packets? dropped")
            assert command.end() == 0


# -- the table itself


def test_every_option_of_tcpdump_and_dumpcap_is_known():
    """Each is an option with its meaning, or is refused with a remedy."""
    known = {flag for option in OPTIONS for flag in option.flags} | set(REFUSED)
    usage = subprocess.run(["tcpdump", "--help"], capture_output=True, text=True, check=True)
    text = usage.stdout + usage.stderr
    bundle = re.search(r"\[-(\S+)\]", text)[1]
    theirs = {f"-{flag}" for flag in bundle} | set(re.findall(r"\[ ?(--?[\w-]+)", text)) - {f"-{bundle[:-1]}"}
    assert theirs <= known
    if shutil.which("dumpcap"):
        text = subprocess.run(["dumpcap", "--help"], capture_output=True, text=True, check=True).stdout
        theirs = set(re.findall(r"^  (-\w)\b", text, re.MULTILINE)) | set(re.findall(r"(--[\w-]+)", text))
        assert theirs <= known


@pytest.mark.parametrize("flag", REFUSED)
def test_what_is_refused_says_what_to_do(flag, capsys):
    assert cli.main([flag]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"dpcap: {flag}: ")
    assert said.count("\n") == 1
