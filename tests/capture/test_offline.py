# SPDX-License-Identifier: BSD-3-Clause
"""dpcap -r: the packets that tcpdump finds, in a file that is otherwise what it was."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess

import pytest
import traffic

from dpcap.capture import cli, pcap_read, savefile
from dpcap.capture.errors import DpcapError
from dpcap.capture.pcapng_read import Packet
from support.command import Command, dpcap_argv
from support.packets import assorted
from support.shared import shared

NANOSECOND = {"<": b"\x4d\x3c\xb2\xa1", ">": b"\xa1\xb2\x3c\x4d"}


def tcpdump(*argv):
    return subprocess.run(["tcpdump", "-Z", "root", *argv], capture_output=True, text=True, check=False)


def records(path):
    """Return second, fraction, length and bytes of each packet of a pcap, as they stand there."""
    found = []
    for item in savefile.items(str(path)):
        if isinstance(item, Packet):
            fields = struct.unpack_from(item.block.order + "II", item.block.raw)
            found.append((*fields, item.origlen, item.data))
    return found


def packets(path):
    return [(p.ns, p.origlen, p.data) for p in savefile.packets(str(path))]


@pytest.fixture
def pcap(tmp_path):
    path = tmp_path / "in.pcap"
    traffic.write_pcap(path, assorted())
    return path


# -- against tcpdump


@pytest.mark.parametrize("expression", ["udp or tcp port 80", "greater 100 or ip6"])
def test_every_shared_capture(expression, tmp_path, capsys):
    """Every link type, both byte orders, odd headers: the same packets, or refused by both."""
    theirs, ours = tmp_path / "theirs.pcap", tmp_path / "ours"
    compared = refused = 0
    for path in sorted(shared("pcaps").glob("*.pcap*")):
        is_nano = path.read_bytes()[:4] in NANOSECOND.values() or path.suffix == ".pcapng"
        done = tcpdump("--nano" if is_nano else "--micro", "-r", path, "-w", theirs, expression)
        code = cli.main(["--quiet", "-r", str(path), "-w", str(ours), expression])
        assert bool(code) == bool(done.returncode), (path, done.stderr, capsys.readouterr().err)
        if code:
            refused += 1
        elif path.suffix == ".pcap":
            assert records(ours) == records(theirs), path
            compared += 1
        else:
            assert packets(ours) == packets(theirs), path
            compared += 1
    assert compared > 400
    assert refused < 20


# tcpdump prints a second with a fraction of more digits, and no time for an empty packet.
ODD_TIMES = {
    "atm-oam-loopback-print-overrun.pcap", "rx_serviceid_oobr.pcap", "timestamp_invalid_nano.pcap",
    "timestamp_invalid_micro.pcap",
}  # fmt: skip


def test_text_is_tcpdumps(capfdbinary):
    for path in sorted(shared("pcaps").glob("*.pcap*"))[::3]:
        expected = subprocess.run(
            ["tcpdump", "-n", "-e", "-r", path], capture_output=True, check=False
        ).stdout
        assert cli.main(["--quiet", "-n", "-e", "-r", str(path)]) == 0, path
        printed = capfdbinary.readouterr().out
        if path.name not in ODD_TIMES and b"[Invalid header" not in expected:
            assert printed == expected, path


@pytest.mark.parametrize(
    "flags", [["-tttt"], ["-tt", "--nano"], ["-t", "-q"], ["-#"], ["-A"], ["-XX"], ["-ttt"]]
)
def test_printer_flags(pcap, flags, capfdbinary):
    expected = subprocess.run(["tcpdump", "-n", *flags, "-r", pcap, "udp"], capture_output=True, check=True)
    assert cli.main(["-n", *flags, "-r", str(pcap), "udp"]) == 0
    assert capfdbinary.readouterr().out == expected.stdout


@pytest.mark.parametrize("options", [[], ["-c", "1"], ["-c", "5"], ["-a", "packets:5"]], ids=" ".join)
def test_count(pcap, options, capsys):
    limits = ["-c", options[1].removeprefix("packets:")] if options else []
    expected = tcpdump("--count", *limits, "-r", pcap, "udp").stdout
    assert cli.main(["--count", *options, "-r", str(pcap), "udp"]) == 0
    assert capsys.readouterr().out == expected


def test_first_line_is_tcpdumps(pcap, capsys):
    expected = tcpdump("-r", pcap, "--count").stderr
    assert cli.main(["-r", str(pcap), "--count"]) == 0
    assert capsys.readouterr().err == f"dpcap: {expected}"


@pytest.mark.parametrize("options", [["-d"], ["-dd"], ["-ddd"]])
def test_the_compiled_filter_is_that_of_the_files_link_type(options, tmp_path, capsys):
    path = tmp_path / "raw.pcap"
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101))
    assert cli.main([*options, "-r", str(path), "udp port 53"]) == 0
    expected = tcpdump(*options, "-r", path, "udp port 53").stdout
    assert capsys.readouterr().out == expected


# -- what is broken


def test_cut_anywhere(pcap, tmp_path, capsys):
    """What is whole is kept, and the end is said in one line, where tcpdump says one too."""
    whole = pcap.read_bytes()
    cut, theirs, ours = tmp_path / "cut.pcap", tmp_path / "theirs.pcap", tmp_path / "ours.pcap"
    for size in (0, 3, 4, 10, 23, 24, 30, 40, 41, 100, 200, 1000, len(whole) - 1):
        cut.write_bytes(whole[:size])
        for path in (theirs, ours):
            path.unlink(missing_ok=True)
        done = tcpdump("--nano", "-r", cut, "-w", theirs)
        code = cli.main(["--quiet", "-r", str(cut), "-w", str(ours)])
        err = capsys.readouterr().err
        assert code == done.returncode, size
        assert ours.exists() == theirs.exists(), size
        assert err.count("\n") == (1 if code else 0)
        if ours.exists():
            assert records(ours) == records(theirs)


def test_a_damaged_pcapng(tmp_path, capsys):
    data = pcapng()
    path, out = tmp_path / "x.pcapng", tmp_path / "out.pcapng"
    path.write_bytes(data[:-20])
    assert cli.main(["-r", str(path), "-w", str(out)]) == 1
    assert "ends in the middle of" in capsys.readouterr().err.splitlines()[-1]
    assert data.startswith(out.read_bytes())
    assert len(packets(out)) > 0


@pytest.mark.parametrize("content", [b"", b"x", b"not a capture at all", b"\x0a\x0d\x0d\x0a" * 9])
def test_no_capture_at_all(content, tmp_path, capsys):
    path, out = tmp_path / "x", tmp_path / "out"
    path.write_bytes(content)
    assert cli.main(["-r", str(path), "-w", str(out)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


def test_a_wrong_filter_leaves_the_output_alone(pcap, tmp_path, capsys):
    out = tmp_path / "old"
    out.write_bytes(b"precious")
    assert cli.main(["-r", str(pcap), "-w", str(out), "udp prt 1"]) == 8
    assert out.read_bytes() == b"precious"
    assert "syntax error" in capsys.readouterr().err


# -- pcapng


def block(order, kind, body):
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


def option(order, code, value):
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def epb(order, interface, data, flags, comment=b"a comment"):
    options = option(order, 1, comment) + option(order, 2, struct.pack(order + "I", flags)) + bytes(4)
    fixed = struct.pack(order + "IIIII", interface, 5, 6, len(data), len(data))
    return block(order, 6, fixed + data + bytes(-len(data) % 4) + options)


def pcapng(order="<"):
    """Two interfaces of two link types, and every kind of block there is."""

    def interface(name, linktype, *options):
        named = option(order, 2, name) + b"".join(options) + bytes(4)
        return block(order, 1, struct.pack(order + "HHI", linktype, 0, 1000) + named)

    ethernet = assorted()
    return b"".join(
        [
            block(
                order, 0x0A0D0D0A,
                struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + option(order, 1, b"the file") + bytes(4),
            ),
            interface(b"port0", 1, option(order, 9, b"\x09"), option(order, 11, b"\0udp")),
            interface(b"tun0", 101),
            *(epb(order, 0, packet, 1 + n % 2) for n, packet in enumerate(ethernet)),
            block(order, 4, struct.pack(order + "HH4s8s", 1, 12, bytes(4), b"a.host\0\0") + bytes(4)),
            *(epb(order, 1, packet[14:], 1) for packet in ethernet if packet[12:14] == b"\x08\0"),
            block(order, 3, struct.pack(order + "I", 60) + ethernet[0][:60].ljust(60, b"\0")),
            block(order, 0x0BAD, struct.pack(order + "I", 0xFFFFFFF0) + b"custom data!"),
            block(order, 0x77777, b"nobody knows"),
            block(order, 5, struct.pack(order + "III", 0, 5, 6) + option(order, 4, bytes(8)) + bytes(4)),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("order", "<>")
def test_all_but_packets_is_kept(order, tmp_path):
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    path.write_bytes(pcapng(order))
    assert cli.main(["-r", str(path), "-w", str(out)]) == 0
    assert out.read_bytes() == path.read_bytes()
    assert cli.main(["-r", str(path), "-w", str(out), "udp"]) == 0
    before, after = list(savefile.items(str(path))), list(savefile.items(str(out)))
    assert [i for i in after if not isinstance(i, Packet)] == [i for i in before if not isinstance(i, Packet)]
    kept = [i.block.raw for i in after if isinstance(i, Packet)]
    assert 0 < len(kept) < sum(isinstance(i, Packet) for i in before)
    assert set(kept) <= {i.block.raw for i in before if isinstance(i, Packet)}


def test_each_interface_has_its_link_type(tmp_path):
    """tcpdump refuses such files: so each interface is compared as a file of its own."""
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    path.write_bytes(pcapng())
    assert cli.main(["-r", str(path), "-w", str(out), "udp port 53"]) == 0
    for number, linktype in enumerate((1, 101)):
        alone, found = tmp_path / "alone.pcap", tmp_path / "found.pcap"
        mine = [p for p in savefile.packets(str(path)) if p.interface_id == number and p.ns]
        content = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, linktype)
        for p in mine:
            content += struct.pack("<IIII", 0, 0, len(p.data), p.origlen) + p.data
        alone.write_bytes(content)
        assert tcpdump("-r", alone, "-w", found, "udp port 53").returncode == 0
        kept = [p.data for p in savefile.packets(str(out)) if p.interface_id == number and p.ns]
        assert kept == [p.data for p in savefile.packets(str(found))]
        assert kept


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["-Q", "in"], lambda p: p.direction == 1),
        (["-Q", "out"], lambda p: p.direction == 2),
        (["inbound"], lambda p: p.interface_id == 0 and p.direction in (0, 1)),
        (["-i", "port0", "-Q", "out"], lambda p: p.interface_id == 0 and p.direction == 2),
        (["-i", "tun0"], lambda p: p.interface_id == 1),
        (["-i", "any"], lambda _: True),
    ],
)
def test_what_only_pcapng_tells(options, wanted, tmp_path):
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    data = pcapng()
    path.write_bytes(data)
    if options == ["inbound"]:  # libpcap does not know it for raw IP
        whole = list(savefile.items(str(path)))
        path.write_bytes(
            b"".join(
                i.block.raw if isinstance(i, Packet) else i.raw
                for i in whole
                if not (isinstance(i, Packet) and i.interface_id)
            )
        )
    assert cli.main(["-r", str(path), "-w", str(out), *options]) == 0
    expected = [p for p in savefile.packets(str(path)) if wanted(p)]
    assert [p.block.raw for p in savefile.packets(str(out))] == [p.block.raw for p in expected]
    assert expected


def test_text_shows_port_and_direction(tmp_path, capfd):
    path = tmp_path / "in.pcapng"
    path.write_bytes(pcapng())
    assert cli.main(["-n", "-c", "2", "-r", str(path), "-i", "port0"]) == 0
    first, second = capfd.readouterr().out.splitlines()
    assert " port0 In  " in first
    assert " port0 Out " in second


# -- where it comes from and goes to


@pytest.mark.parametrize("program", ["gzip", "zstd", "lz4"])
@pytest.mark.parametrize("make", [lambda p: p.read_bytes(), lambda _: pcapng()], ids=["pcap", "pcapng"])
def test_compressed_input(program, make, pcap, tmp_path, capsys):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    plain = make(pcap)
    path, out = tmp_path / "in", tmp_path / "out"
    compressed = subprocess.run([program, "-c"], input=plain, stdout=subprocess.PIPE, check=True).stdout
    path.write_bytes(compressed)
    assert cli.main(["-r", str(path), "-w", str(out)]) == 0
    assert out.read_bytes() == plain
    path.write_bytes(compressed * 2 if plain[:4] == b"\n\r\r\n" else compressed)  # a stream of streams
    assert cli.main(["-r", str(path), "-w", str(out)]) == 0
    assert out.read_bytes() in (plain, plain * 2)
    capsys.readouterr()
    path.write_bytes(compressed[:-20])
    assert cli.main(["--quiet", "-r", str(path), "-w", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cut short" in said


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".lz4"])
def test_compressed_output(suffix, pcap, tmp_path):
    program = {".gz": "gzip", ".zst": "zstd", ".lz4": "lz4"}[suffix]
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    out = tmp_path / f"out.pcap{suffix}"
    assert cli.main(["-r", str(pcap), "-w", str(out)]) == 0
    assert subprocess.run([program, "-dc", out], capture_output=True, check=True).stdout == pcap.read_bytes()


def test_a_pipe_of_pipes(pcap):
    argv = dpcap_argv("--quiet", "-r", "-", "-w", "-", "udp")
    with pcap.open("rb") as file:
        done = subprocess.run(argv, stdin=file, capture_output=True, check=True)
    counted = subprocess.run(
        ["tcpdump", "--count", "-r", "-"], input=done.stdout, capture_output=True, check=True
    )
    assert counted.stdout.decode() == tcpdump("-r", pcap, "--count", "udp").stdout


def test_a_packet_comes_out_before_the_next_one_goes_in(pcap):
    data = pcap.read_bytes()
    first = 24 + 16 + struct.unpack_from("<I", data, 24 + 8)[0]
    argv = dpcap_argv("--quiet", "-r", "-", "-w", "-")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as dpcap:
        dpcap.stdin.write(data[:first])
        dpcap.stdin.flush()
        assert dpcap.stdout.read(first) == data[:first]  # blocks for ever when it does not
        dpcap.stdin.close()
        assert dpcap.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_in_order(number, pcap, tmp_path):
    reader, writer = os.pipe()
    out = tmp_path / "out"
    with Command(dpcap_argv("-r", "-", "-w", out), stdin=reader) as dpcap:
        os.write(writer, pcap.read_bytes())
        dpcap.wait_for("reading from")
        size = pcap.stat().st_size
        while not out.exists() or out.stat().st_size < size:
            assert dpcap.running
        assert dpcap.end(number) == 0
    os.close(reader)
    os.close(writer)
    assert out.read_bytes() == pcap.read_bytes()


def test_a_reader_that_leaves(pcap, tmp_path):
    big = tmp_path / "big.pcap"
    data = pcap.read_bytes()
    big.write_bytes(data + data[24:] * 500)
    for options in (["-w", "-"], ["-n"]):
        argv = dpcap_argv("--quiet", "-r", big, *options)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as dpcap:
            dpcap.stdout.read(100)
            dpcap.stdout.close()
            assert dpcap.stderr.read() == b""
            assert dpcap.wait() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-w", "{in}"], "is the file that is read"),
        (["-w", "{in}2", "-C", "1"], "-r writes one file"),
        (["-a", "duration:3"], "-a duration is about live captures"),
        (["-s", "96"], "editcap -s 96"),
        (["-Q", "in"], "does not say directions"),
        (["-i", "port0"], "has no interfaces"),
        (["inbound"], "does not say directions"),
        (["--print"], "--print goes with -w"),
        (["-w", "/nonexistent/x"], "No such file"),
        (["-n", "-F", "/nonexistent"], "No such file"),
    ],
)
def test_refused(options, said, pcap, capfd):
    before = pcap.read_bytes()
    assert cli.main(["--quiet", "-r", str(pcap), *(o.replace("{in}", str(pcap)) for o in options)]) != 0
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert pcap.read_bytes() == before
    assert [p.name for p in pcap.parent.iterdir()] == ["in.pcap"]


def test_no_such_file(capfd):
    assert cli.main(["-r", "/nonexistent"]) == 1
    assert capfd.readouterr().err == "dpcap: cannot read /nonexistent: No such file or directory\n"


def test_several_link_types_cannot_be_printed(tmp_path, capfd):
    path = tmp_path / "in.pcapng"
    path.write_bytes(pcapng())
    assert cli.main(["--quiet", "-n", "-r", str(path)]) == 1
    err = capfd.readouterr().err
    assert "EN10MB (Ethernet) and RAW (Raw IP)" in err
    assert err.count("\n") == 1


def test_an_interface_that_is_not_there(tmp_path, capsys):
    path = tmp_path / "in.pcapng"
    path.write_bytes(pcapng())
    assert cli.main(["--quiet", "--count", "-r", str(path), "-i", "port9"]) == 5
    assert "port0, tun0 exist" in capsys.readouterr().err


# -- the pcap reader by itself


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "scale"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1), (0xA1B2CD34, 1000)])
def test_kinds_of_pcap(order, magic, scale, tmp_path):
    path = tmp_path / "x.pcap"
    extra = bytes(8) if magic == 0xA1B2CD34 else b""
    record = struct.pack(order + "IIII", 7, 5, 3, 60) + extra + b"abc"
    path.write_bytes(struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 96, 0x18000071) + record)
    (packet,) = savefile.packets(str(path))
    assert (packet.ns, packet.data, packet.origlen) == (7 * 10**9 + 5 * scale, b"abc", 60)
    assert (packet.interface.linktype, packet.interface.snaplen) == (0x71, 96)
    assert packet.block.raw == record


@pytest.mark.parametrize("version", [(2, 2), (543, 0), (2, 3)])
def test_old_versions_swapped_the_lengths(version, tmp_path):
    path = tmp_path / "x.pcap"
    path.write_bytes(
        struct.pack("<IHHiIII", 0xA1B2C3D4, *version, 0, 0, 96, 1)
        + struct.pack("<IIII", 7, 5, 60, 3)
        + b"abc"
    )
    (packet,) = savefile.packets(str(path))
    assert (packet.data, packet.origlen) == (b"abc", 60)


def test_a_packet_longer_than_possible(tmp_path):
    path = tmp_path / "x.pcap"
    path.write_bytes(struct.pack("<IHHiIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 96, 1, 7, 5, 1 << 20, 1 << 20))
    with pytest.raises(DpcapError, match="a packet of 1048576 bytes"):
        list(savefile.packets(str(path)))
    assert pcap_read.longest(1) == 262144
