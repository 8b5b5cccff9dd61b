# SPDX-License-Identifier: BSD-3-Clause
"""dpcap explain, as its user sees it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest
import traffic

from dpcap.capture import cli, columns, errors
from dpcap.filters import compile, explain  # noqa: A004 - as re.compile
from support.captures import tcpdump_count
from support.packets import assorted


@pytest.fixture
def pcap(tmp_path):
    path = tmp_path / "x.pcap"
    traffic.write_pcap(path, assorted())
    return path


def run(capsys, *argv):
    code = cli.main(["explain", *map(str, argv)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_every_stage_is_shown(capsys):
    code, out, _ = run(capsys, "udp port 2152")
    assert code == 0
    for stage in explain.stages(compile("udp port 2152")):
        assert f"{stage.title}\n{stage.text.expandtabs()}" in out
    assert out.splitlines()[-1] == "forms  branch-free (default), early-out, branchy"


def test_stages_and_forms_can_be_chosen(capsys):
    _, out, _ = run(capsys, "udp port 2152", "--stage", "ebpf,native", "--form", "branchy")
    titles = [line for line in out.splitlines() if line.endswith(" form")]
    assert titles == ["eBPF, branchy form", "machine code, branchy form"]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_stages_stand_side_by_side_where_there_is_room(capsys, width):
    _, out, _ = run(capsys, "udp port 2152", "--stage", "cbpf,ir,pass", "--width", width)
    assert max(map(len, out.splitlines())) <= width
    assert bool(re.search(r"^cBPF +decisions", out, re.MULTILINE)) == (width > 80)


def test_nothing_of_a_block_is_lost_in_a_column():
    block = columns.Block("t", ["   0  if " + " and ".join(f"P[{n}:1] == 11" for n in range(40))])
    (row,) = columns.rows([block], 60)
    lines = columns.side_by_side(row)
    assert max(map(len, lines)) <= 60
    assert " ".join("".join(f"{line.strip()} " for line in lines[1:]).split()) == " ".join(
        block.lines[0].split()
    )


def test_counts_over_a_file_are_those_of_tcpdump(capsys, pcap):
    for expression in ("udp", "ip6", "tcp port 80", "not arp"):
        code, out, _ = run(capsys, expression, pcap)
        assert code == 0
        matching, total = map(int, re.match(r"(\d+) of (\d+) packets match\n", out).groups())
        assert (matching, total) == (tcpdump_count(pcap, expression), len(assorted()))
        rows = re.findall(r"^ +(\d+) (match|do not match) *, decided by ", out, re.MULTILINE)
        assert sum(int(n) for n, what in rows if what == "match") == matching
        assert sum(int(n) for n, _ in rows) == total


def test_one_packet_of_a_file(capsys, pcap):
    code, out, _ = run(capsys, "udp dst port 1024", pcap, "--packet", 1)
    assert code == 0
    assert out.startswith("packet 1 matches, decided by udp.dstport: 1024\n")
    assert "[04 00]" in out


@pytest.mark.parametrize("between", ["", " ", ":", "0x"])
def test_a_packet_in_hexadecimal(capsys, between):
    packet = assorted()[0]
    text = "0x" + packet.hex() if between == "0x" else between.join(f"{byte:02x}" for byte in packet)
    _, out, _ = run(capsys, "udp dst port 53", text)
    assert out.startswith("packet does not match, decided by udp.dstport: 1024\n")


def test_a_packet_as_a_dump(capsys):
    _, out, _ = run(capsys, "udp dst port 53", explain.dump(assorted()[0]))
    assert out.startswith("packet does not match, decided by udp.dstport: 1024\n")


def test_packets_from_standard_input(pcap):
    with pcap.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "dpcap", "explain", "udp", "-"],
            stdin=file,
            capture_output=True,
            check=True,
        )
    assert b"packets match" in done.stdout


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_on_a_terminal_only(pcap, no_color, coloured):
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "dpcap", "explain", "udp dst port 1024", pcap, "--packet", "1"]
    try:
        subprocess.run(argv, stdout=theirs, env=os.environ | {"NO_COLOR": no_color}, check=True)
        shown = os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (b"\033[" in shown) == coloured
    assert b"\033" not in subprocess.run(argv, capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "which filter?"),
        (["udp", "port", "53"], "quoted"),
        (["udp", "nothing.pcap"], "neither a file nor a packet"),
        (["udp", "012"], "half a byte"),
        (["udp", "--stage", "asm"], "no stage is called asm"),
        (["udp", "--form", "round"], "no round form"),
        (["udp", "--packet", "1"], "name the file"),
        (["udp", "--packet", "0", "x"], "count from 1"),
        (["udp", "--frob"], "--frob"),
        (["udp prt 5"], "syntax error"),
        (["udp", "/etc/passwd"], "neither a pcap nor a pcapng file"),
        (["udp", "/"], "Is a directory"),
        (["-F", "/nonexistent"], "No such file"),
    ],
)
def test_failures(capsys, argv, said):
    code, out, err = run(capsys, *argv)
    assert code != 0
    assert out == ""
    assert said in err.splitlines()[0]
    assert err.startswith("dpcap: ")
    assert len(err.splitlines()) == (3 if "syntax" in said else 1)


def test_a_packet_that_is_not_there(capsys, pcap):
    code, _, err = run(capsys, "udp", pcap, "--packet", 100000)
    assert code == errors.DpcapError.exit_code
    assert "no packet 100000" in err


def test_another_link_type(capsys, tmp_path):
    path = tmp_path / "x.pcap"
    traffic.write_pcap(path, assorted()[:1])
    data = bytearray(path.read_bytes())
    data[20] = 101
    path.write_bytes(data)
    code, _, err = run(capsys, "udp", path)
    assert code == 1
    assert "link type 101" in err
