# SPDX-License-Identifier: BSD-3-Clause
"""dpcap -w - into programs that read captures: it ends when they have enough. And several applications."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from support.captures import IDB, assert_whole, blocks, options, read_pcapng, tshark_fields
from support.command import dpcap_argv
from support.testpmd import Testpmd


@pytest.fixture(scope="module")
def apps(hugepages):
    if not shutil.which("dpdk-testpmd"):
        pytest.skip("dpdk-testpmd is not installed")
    with (
        Testpmd(["net_null0,size=90"], eal_args=hugepages.eal_args) as one,
        Testpmd(["net_null1,size=70", "net_null2,size=71"], eal_args=hugepages.eal_args) as two,
    ):
        one.start()
        two.start()
        yield one, two


@pytest.mark.parametrize(
    "reader",
    [["tcpdump", "-n", "-c", "5", "-r", "-"], ["tshark", "-n", "-c", "5", "-r", "-"], ["head", "-c", "1000"]],
)
def test_the_end_of_the_reader_is_an_end(reader, apps):
    if not shutil.which(reader[0]):
        pytest.skip(f"{reader[0]} is not installed")
    argv = dpcap_argv("--pid", str(apps[0].pid), "--quiet", "-w", "-")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as dpcap:
        done = subprocess.run(reader, stdin=dpcap.stdout, capture_output=True, check=False, timeout=60)
        dpcap.stdout.close()
        assert dpcap.stderr.read() == b""
        assert dpcap.wait(60) == 0
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5 or len(done.stdout) == 1000


def test_text_into_a_reader_that_leaves(apps):
    argv = dpcap_argv("--pid", str(apps[0].pid), "--quiet", "-n")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as dpcap:
        assert b"port0" in dpcap.stdout.readline()
        dpcap.stdout.close()
        assert dpcap.stderr.read() == b""
        assert dpcap.wait(60) == 0


def capture_both(apps, out):
    """What dpcap said, and the file, decompressed."""
    pids = [word for app in apps for word in ("--pid", str(app.pid))]
    argv = dpcap_argv(*pids, "-i", "any", "-Q", "in", "-c", "3000", "-w", out)
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    program = {".gz": "gzip", ".zst": "zstd", ".lz4": "lz4"}.get(out.suffix)
    plain = out.with_name("plain.pcapng")
    if program is None:
        plain = out
    elif not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    else:
        plain.write_bytes(subprocess.run([program, "-dc", out], capture_output=True, check=True).stdout)
    assert_whole(plain)
    return done, plain


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".lz4"])
def test_several_applications_in_one_file(suffix, apps, tmp_path):
    out = tmp_path / f"x.pcapng{suffix}"
    one, two = apps
    # At full rate the first one has filled its rings before the second one is attached: one at a time.
    sizes = set()
    for silent in apps:
        silent.stop()
        try:
            done, plain = capture_both(apps, out)
        finally:
            silent.start()
        packets = read_pcapng(plain)
        assert len(packets) == 3000
        sizes |= {(p.port, len(p.data)) for p in packets}
    assert sizes == {
        (f"port0@{one.prefix}", 90), (f"port0@{two.prefix}", 70), (f"port1@{two.prefix}", 71),
    }  # fmt: skip
    assert f"port0@{one.prefix} (net_null0)" in done.stderr
    _, section = blocks(plain)[0]
    described = options(section[16:])
    assert b"dpcap" in described[4]
    assert b"DPDK" in described[4]
    assert described[2]  # the processor
    assert described[3].startswith(b"Linux ")
    interfaces = [options(body[8:]) for kind, body in blocks(plain) if kind == IDB]
    assert [i[2].decode() for i in interfaces] == [
        f"port0@{one.prefix}",
        f"port0@{two.prefix}",
        f"port1@{two.prefix}",
    ]
    for interface, app in zip(interfaces, (one, two, two), strict=True):
        assert f"dpdk-testpmd (pid {app.pid})".encode() in interface[3]
        assert len(interface[6]) == 6
        assert interface[15] == b"net_null"
    if shutil.which("tshark"):
        names = {row[0] for row in tshark_fields(plain, "frame.interface_name")}
        assert names == {p.port for p in packets}


def test_a_compressed_ring_of_files(apps, tmp_path):
    argv = dpcap_argv(
        "--pid", str(apps[0].pid), "-b", "packets:100", "-a", "files:3", "-w", tmp_path / "x.pcapng.gz"
    )
    subprocess.run(argv, capture_output=True, check=True, timeout=60)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    for path in files:
        assert path.name.endswith(".pcapng.gz")
        plain = tmp_path / "plain"
        plain.write_bytes(subprocess.run(["gzip", "-dc", path], capture_output=True, check=True).stdout)
        assert_whole(plain)
        assert len(read_pcapng(plain)) == 100
        plain.unlink()


def test_count_without_output(apps):
    argv = dpcap_argv("--pid", str(apps[0].pid), "--count", "-c", "77")
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "77 packets\n"
