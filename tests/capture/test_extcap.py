# SPDX-License-Identifier: BSD-3-Clause
"""DPDK ports in tshark, through its extcap interface."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from dpcap.capture import discovery, extcap
from dpcap.capture.cli import main
from support.captures import assert_whole, read_pcapng
from support.testpmd import Testpmd

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


@pytest.fixture(scope="module")
def app(hugepages, mix_pcap):
    with Testpmd([f"net_pcap0,rx_pcap={mix_pcap},infinite_rx=1"], eal_args=hugepages.eal_args) as app:
        app.start()
        yield app


@pytest.fixture(scope="module")
def tshark(tmp_path_factory):
    """Run tshark with a personal configuration that has dpcap installed."""
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
    subprocess.run([sys.executable, "-m", "dpcap", "extcap", "install"], env=environment, check=True)

    def run(*argv):
        return subprocess.run(
            ["tshark", *argv], env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    return run


def name_of(app):
    """Return the interface of port 0, whatever other applications run."""
    return f"dpcap:port0@{app.prefix}"


def test_tshark_lists_the_ports(app, tshark):
    listed = tshark("-D").stdout
    assert f"dpcap: port0 (net_pcap0) of dpdk-testpmd (pid {app.pid})" in listed
    assert f"dpcap: any of dpdk-testpmd (pid {app.pid})" in listed


def test_tshark_captures(app, tshark, tmp_path):
    out = tmp_path / "out.pcapng"
    done = tshark("-i", name_of(app), "-f", "udp port 2152", "-c", "10", "-w", out)
    assert done.returncode == 0, done.stderr
    packets = read_pcapng(out)
    assert len(packets) == 10
    assert {p.direction for p in packets} <= {"in", "out"}
    assert all(b"\x08\x68" in p.data[34:38] for p in packets)  # port 2152 in UDP
    assert "Error" not in done.stderr


def test_an_option_of_the_dialog(app, tshark, tmp_path):
    out = tmp_path / "out.pcapng"
    name = name_of(app)
    option = "extcap." + name.replace(":", "_").replace("@", "_").replace("-", "_").lower() + ".direction:out"
    done = tshark("-i", name, "-o", option, "-c", "50", "-w", out)
    assert done.returncode == 0, done.stderr
    assert {p.direction for p in read_pcapng(out)} == {"out"}


def test_a_wrong_filter_is_said(app, tshark, tmp_path):
    done = tshark("-i", name_of(app), "-f", "udp prot 1", "-c", "1", "-w", tmp_path / "x.pcapng")
    assert "syntax error" in done.stderr


def test_the_filter_box(capsys):
    assert main(["extcap", "--extcap-interface", "dpcap:port0", "--extcap-capture-filter", "udp port 1"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["extcap", "--extcap-interface", "dpcap:port0", "--extcap-capture-filter", "udp prot 1"]) != 0
    assert "syntax error" in capsys.readouterr().out


def test_the_whole_file_through_a_fifo(app, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    argv = ["extcap", "--capture", "--extcap-interface", name_of(app), "--fifo", fifo, "--extcap-version=4.9"]
    with subprocess.Popen([sys.executable, "-m", "dpcap", *argv], stderr=subprocess.PIPE) as dpcap:
        with fifo.open("rb") as reader:
            data = reader.read(100_000)
            dpcap.terminate()
            data += reader.read()
        assert dpcap.wait(60) == 0
        assert dpcap.stderr.read() == b""
    (tmp_path / "x.pcapng").write_bytes(data)
    assert_whole(tmp_path / "x.pcapng")


def test_sentences(capsys):
    assert main(["extcap", "--extcap-interface", "dpcap", "--extcap-dlts"]) == 0
    assert capsys.readouterr().out == "dlt {number=1}{name=EN10MB}{display=Ethernet}\n"
    assert main(["extcap", "--extcap-interface", "dpcap", "--extcap-config"]) == 0
    config = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("arg ") for line in config) == 3
    assert sum("{default=true}" in line for line in config) == 2


def application(number, prefix):
    return discovery.Application(number, number, "upf", prefix, 0, "/nowhere/dpcap.sock", shim_loaded=True)


@pytest.mark.parametrize(
    ("prefixes", "names"),
    [
        ([], ["dpcap"]),
        (["rte"], ["dpcap", "dpcap:port0"]),
        (["a"], ["dpcap", "dpcap:port0", "dpcap:any@a", "dpcap:port0@a"]),
        (["rte", "a"], ["dpcap:port0", "dpcap:any@a", "dpcap:port0@a"]),
        (["a", "b"], ["dpcap:any@a", "dpcap:port0@a", "dpcap:any@b", "dpcap:port0@b"]),
    ],
)
def test_names_stay_when_other_applications_come(monkeypatch, prefixes, names):
    monkeypatch.setattr(extcap, "_ports", lambda _: [("port0", "port0 (net_null0) of upf")])
    applications = [application(number, prefix) for number, prefix in enumerate(prefixes)]
    assert [interface.value for interface in extcap._list(applications)] == names


def test_names_without_an_application(monkeypatch, capsys):
    monkeypatch.setattr(extcap.discovery, "applications", list)
    assert main(["extcap", "--extcap-interfaces", "--extcap-version=4.0"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("extcap {version=")
    assert second == "interface {value=dpcap}{display=dpcap: any}"


def test_install_and_uninstall(tmp_path, capsys):
    folder = tmp_path / "extcap"
    assert main(["extcap", "status", "--dir", str(folder)]) == 0
    assert "not installed" in capsys.readouterr().out
    assert main(["extcap", "install", "--dir", str(folder)]) == 0
    done = subprocess.run(
        [folder / "dpcap", "--extcap-dlts", "--extcap-interface", "dpcap"], capture_output=True, check=True
    )
    assert b"EN10MB" in done.stdout
    assert main(["extcap", "uninstall", "--dir", str(folder)]) == 0
    assert list(folder.iterdir()) == []


def test_somebody_elses_program_is_left_alone(tmp_path, capsys):
    (tmp_path / "dpcap").write_text("#!/bin/sh\n")
    for action in ("install", "uninstall"):
        assert main(["extcap", action, "--dir", str(tmp_path)]) == 1
    assert (tmp_path / "dpcap").read_text() == "#!/bin/sh\n"
    assert "left alone" in capsys.readouterr().err
