# SPDX-License-Identifier: BSD-3-Clause
"""Failures: one line with the remedy, and the exit code of the table."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dpcap.capture import cli, discovery, errors, selection
from dpcap.capture.discovery import Application
from dpcap.capture.protocol import Port


def test_every_kind_has_an_exit_code_of_its_own():
    codes = [code for code, _ in errors.exit_code_table()]
    assert len(set(codes)) == len(codes)
    kinds = [kind for kind in errors.DpcapError.__subclasses__() if "exit_code" in vars(kind)]
    assert (errors.DpcapError, *kinds) == errors.ERRORS


def app(pid, prefix="rte", *, socket=True, loaded=True):
    path = f"/run/dpdk/{prefix}/dpcap.{pid}.sock" if socket else None
    return Application(pid, pid, "testpmd", prefix, 0, path, loaded)


def port(number, name):
    return Port(number, name, "net_null", bytes(6), 1500, 0, 1, 1, True)


PORTS = [port(0, "net_pcap0"), port(1, "0000:03:00.0")]


def test_the_only_application_needs_no_name():
    assert selection.choose_application([app(1)]).pid == 1


def test_the_only_one_with_a_shim_needs_no_name():
    assert selection.choose_application([app(1, socket=False), app(2)]).pid == 2


def test_one_without_a_shim_will_do():
    assert selection.choose_application([app(1, socket=False)]).pid == 1


@pytest.mark.parametrize(
    ("chosen", "pid"), [({"pid": 2}, 2), ({"file_prefix": "b"}, 2), ({"file_prefix": "a"}, 1)]
)
def test_one_of_several_is_chosen(chosen, pid):
    assert selection.choose_application([app(1, "a"), app(2, "b")], **chosen).pid == pid


@pytest.mark.parametrize(
    ("applications", "chosen", "kind", "said"),
    [
        ([app(1), app(2, "x")], {}, errors.AmbiguousApplicationError, "--pid or --file-prefix"),
        ([app(1)], {"pid": 7}, errors.NoApplicationError, "pid 7"),
        ([app(1)], {"file_prefix": "x"}, errors.NoApplicationError, "file-prefix rte"),
        (
            [app(1, socket=False, loaded=False)],
            {"source": "shim"},
            errors.NoShimError,
            "-d $(dpcap shim path)",
        ),
        ([app(1, socket=False)], {"source": "shim"}, errors.NoShimError, "no control socket"),
        ([app(1), app(2, "x")], {"source": "uprobe"}, errors.AmbiguousApplicationError, "--pid or"),
        ([app(1, socket=False), app(2, "x", socket=False)], {}, errors.AmbiguousApplicationError, "--pid or"),
    ],
)
def test_no_choice_of_an_application(applications, chosen, kind, said):
    with pytest.raises(kind) as caught:
        selection.choose_application(applications, **chosen)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_runs(monkeypatch, capsys):
    monkeypatch.setattr(discovery, "applications", list)
    monkeypatch.setattr(discovery, "hidden_runtime_dirs", list)
    assert cli.main(["-D"]) == errors.NoApplicationError.exit_code
    assert "no DPDK application found" in capsys.readouterr().err


def test_somebody_elses_run(monkeypatch, capsys):
    monkeypatch.setattr(discovery, "applications", list)
    monkeypatch.setattr(discovery, "hidden_runtime_dirs", lambda: ["/var/run/dpdk/rte"])
    assert cli.main(["-D"]) == errors.AccessError.exit_code
    assert "as root" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ([], [0]),
        (["any"], [0, 1]),
        (["port1"], [1]),
        (["1"], [1]),
        (["0000:03:00.0"], [1]),
        (["port1", "net_pcap0", "0"], [0, 1]),
    ],
)
def test_ports_have_several_names(wanted, numbers):
    assert [p.port for p in selection.choose_ports(PORTS, wanted, "x")] == numbers


@pytest.mark.parametrize(("name", "said"), [("7", "port7: no such port"), ("eth0", "eth0: no such port")])
def test_a_port_that_is_not_there(name, said):
    with pytest.raises(errors.NoPortError) as caught:
        selection.choose_ports(PORTS, [name], "testpmd (pid 1)")
    assert said in str(caught.value)
    assert "port0 (net_pcap0), port1 (0000:03:00.0) exist" in str(caught.value)


def test_a_filter_that_does_not_parse(capsys):
    assert cli.main(["-d", "udp", "prt", "2152"]) == errors.FilterSyntaxError.exit_code
    said = capsys.readouterr().err
    assert said.startswith("dpcap: can't parse filter expression: syntax error")
    assert "^" in said


def test_a_filter_file_that_is_not_there(capsys, tmp_path):
    assert cli.main(["-d", "-F", str(tmp_path / "none")]) == errors.DpcapError.exit_code
    assert "No such file" in capsys.readouterr().err


def test_bad_usage(capsys):
    assert cli.main(["--frobnicate"]) == errors.UsageError.exit_code
    assert capsys.readouterr().err.startswith("dpcap: ")


def test_a_defect_shows_no_traceback(monkeypatch, capsys):
    def broken():
        raise RuntimeError("oh")

    monkeypatch.setattr(discovery, "applications", broken)
    monkeypatch.delenv("DPCAP_DEBUG", raising=False)
    assert cli.main(["-D"]) == errors.INTERNAL_EXIT_CODE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "RuntimeError: oh" in said
    monkeypatch.setenv("DPCAP_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli.main(["-D"])


def test_a_reader_that_leaves_is_no_failure():
    """As in dpcap -dd ... | head -1: nothing is said about the broken pipe."""
    expression = " or ".join(f"port {n}" for n in range(1, 150))
    dpcap = subprocess.Popen(
        [sys.executable, "-m", "dpcap", "-O", "-dd", expression],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    dpcap.stdout.readline()
    dpcap.stdout.close()
    assert dpcap.stderr.read() == b""
    dpcap.stderr.close()
    assert dpcap.wait() == 0


def choose(applications, *, pids=(), everything=False, prefix=None, source=None):
    return [
        a.pid
        for a in selection.choose_applications(
            applications, pids=pids, file_prefix=prefix, source=source, everything=everything
        )
    ]


def test_several_applications():
    several = [app(1, "a"), app(2, "b"), app(3, "c", socket=False)]
    assert choose(several, everything=True) == [1, 2]
    assert choose(several, pids=[2, 1, 2]) == [1, 2]
    assert choose(several, pids=[2], everything=True) == [2]
    assert choose(several, prefix="a", everything=True) == [1]
    with pytest.raises(errors.AmbiguousApplicationError):
        choose(several)
    with pytest.raises(errors.NoApplicationError):
        choose(several, pids=[1, 9])
