# SPDX-License-Identifier: BSD-3-Clause
"""Packets as text are what tcpdump prints, with port and direction after the time."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from pathlib import Path

import pytest

from dpcap.capture.errors import ToolError
from dpcap.capture.sinks import text
from dpcap.capture.sinks.stamps import EPOCH, Stamper
from dpcap.capture.sinks.text import TextSink
from support.captures import read_pcap
from support.shared import shared

PORTS = ("port0", "port17")


def block(kind, body):
    size = 12 + len(body)
    return struct.pack("=II", kind, size) + body + struct.pack("=I", size)


def header(snaplen=262144):
    section = block(0x0A0D0D0A, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1))
    resolution = struct.pack("=HHB3xI", 9, 1, 9, 0)
    return section + block(1, struct.pack("=HHI", 1, 0, snaplen) + resolution) * len(PORTS)


def epb(ns, data, wirelen=None, interface=0, flags=1):
    padded = data + bytes(-len(data) % 4)
    fixed = struct.pack("=IIIII", interface, ns >> 32, ns & 0xFFFFFFFF, len(data), wirelen or len(data))
    options = struct.pack("=HHIHHII", 6, 4, 0, 2, 4, flags, 0)
    return block(6, fixed + padded + options)


@pytest.fixture
def out(tmp_path):
    with (tmp_path / "out").open("w+b") as file:
        yield file


def printed(out, *args, **kwargs):
    blocks = kwargs.pop("blocks")
    sink = TextSink(PORTS, *args, out=out.fileno(), **kwargs)
    sink.start(header(), bytes)
    for each in blocks:
        sink.write(each)
    sink.finish()
    out.seek(0)
    return out.read().decode("latin-1")


def tcpdump(path, *flags):
    done = subprocess.run(["tcpdump", "--nano", "-tt", *flags, "-r", path], capture_output=True, check=True)
    return done.stdout.decode("latin-1")


MIX = [["-n"], ["-nn", "-vv"], ["-n", "-e", "-XX"], ["-n", "-A"], ["-n", "-q", "-x"]]


@pytest.mark.parametrize("flags", MIX, ids="".join)
def test_mixed_traffic(mix_pcap, out, flags):
    packets = read_pcap(mix_pcap)[:400]
    blocks = [epb(p.time, p.data, p.wirelen, n % 2, 1 + n // 2 % 2) for n, p in enumerate(packets)]
    ours = printed(out, blocks=blocks, flags=flags, stamper=Stamper(EPOCH, nano=True))
    added = re.findall(r"^(\d+\.\d{9}) (port\d+) +(In|Out) +", ours, re.MULTILINE)
    assert [(port, direction) for _, port, direction in added] == [
        (PORTS[n % 2], ("In", "Out")[n // 2 % 2]) for n in range(len(packets))
    ]
    assert re.sub(r"^(\d+\.\d{9}) port\d+ +(?:In|Out) +", r"\1 ", ours, flags=re.MULTILINE) == "".join(
        tcpdump(mix_pcap, *flags, "-c", str(len(packets)))
    )


def ethernet_pcaps():
    """Return the shared captures of Ethernet; skip the test when they are not there."""
    # The link type is the last field of a pcap's header.
    return sorted(
        path
        for path in shared("pcaps").glob("*.pcap")
        if path.read_bytes()[:4] == b"\xd4\xc3\xb2\xa1" and path.read_bytes()[20:24] == b"\1\0\0\0"
    )


def test_every_shared_capture(out, tmp_path):
    """One file of all of them: odd packets, cut packets, many printers."""
    count, blocks = 0, []
    for path in ethernet_pcaps():
        for packet in read_pcap(path):
            count += 1
            # Times of their own, as captures repeat them.
            blocks.append(epb(count * 10**9 + 5, packet.data, max(packet.wirelen, len(packet.data))))
    joined = tmp_path / "joined.pcapng"
    joined.write_bytes(header() + b"".join(blocks))
    expected = tcpdump(joined, "-n", "-v")
    ours = printed(out, blocks=blocks, flags=["-n", "-v"], stamper=Stamper(EPOCH, nano=True))
    assert len(re.findall(r"^\d+\.\d{9} port0 In  ", ours, re.MULTILINE)) == count > 1000
    # tcpdump gives no time to an empty packet.
    ours = re.sub(r"^\d+\.\d{9} port0 In  (?=\[Invalid header)", "", ours, flags=re.MULTILINE)
    assert re.sub(r"^(\d+\.\d{9}) port0 In  ", r"\1 ", ours, flags=re.MULTILINE) == expected


def test_the_line_looks_like_tcpdumps_any(out):
    arp = bytes(12) + bytes.fromhex("08060001080006040001") + bytes(42)
    lines = printed(
        out,
        blocks=[epb(3, arp), epb(1_500, arp, interface=1, flags=2)],
        stamper=Stamper(EPOCH),
        flags=["-n"],
        number=True,
    ).splitlines()
    assert lines[0].startswith("    1  0.000000 port0 In  ARP, Request who-has")
    assert lines[1].startswith("    2  0.000001 port17 Out ARP, Request who-has")


def test_a_payload_that_imitates_a_stamp_is_not_a_packet(out):
    """-A prints payloads as they are; only the stamp of the packet that is due counts."""
    udp = bytes.fromhex("4500002c000000004011000001010101020202020035003500180000") + b"\n0.000000009 IP x\n"
    frame = bytes(12) + b"\x08\x00" + udp
    lines = printed(
        out, blocks=[epb(9, frame), epb(10, frame)], flags=["-n", "-A"], stamper=Stamper(EPOCH, nano=True)
    )
    assert lines.count("port0 In  IP") == 2
    assert lines.count("\n0.000000009 IP x") == 2


def test_an_empty_packet_has_its_line(out):
    blocks = [epb(5, b"", 64), epb(6, bytes(60))]
    lines = printed(out, blocks=blocks, stamper=Stamper(EPOCH, nano=True)).splitlines()
    assert lines[0].startswith("0.000000005 port0 In  [Invalid header: caplen==0")
    assert lines[1].startswith("0.000000006 port0 In  ")


def test_a_packet_shows_at_once():
    """Without waiting for a second packet, or for the end."""
    reader, writer = os.pipe()
    sink = TextSink(PORTS, out=writer, flags=["-n"])
    sink.start(header(), bytes)
    sink.write(epb(5, bytes(60)))
    assert b"port0 In" in os.read(reader, 4096)  # blocks for ever when it does not
    sink.finish()
    os.close(reader)
    os.close(writer)


def test_a_reader_that_leaves():
    reader, writer = os.pipe()
    os.close(reader)
    sink = TextSink(PORTS, out=writer)
    sink.start(header(), bytes)

    def write_on():
        while True:
            sink.write(epb(5, bytes(60)) * 1000)

    with pytest.raises(BrokenPipeError):
        write_on()
    os.close(writer)


def test_a_flag_that_tcpdump_refuses(out):
    sink = TextSink(PORTS, flags=["-T", "nonsense"], out=out.fileno())

    def run():
        sink.start(header(), bytes)
        sink.finish()

    with pytest.raises(ToolError, match="tcpdump cannot print: unknown packet type `nonsense'"):
        run()


def test_tcpdump_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(text, "_MORE_FOLDERS", ())
    with pytest.raises(ToolError, match="not installed"):
        TextSink(PORTS)


def test_nothing_is_left_open(out):
    before = len(list(Path("/proc/self/fd").iterdir()))
    printed(out, blocks=[epb(5, bytes(60))])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
