# SPDX-License-Identifier: BSD-3-Clause
"""Completion in real shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from dpcap.capture import cli, completion
from dpcap.capture.options import OPTIONS
from support.command import dpcap_argv
from support.testpmd import Testpmd

PATH = f"{Path(dpcap_argv()[0]).parent}:{os.environ['PATH']}"


def script(shell):
    return subprocess.run(dpcap_argv("completion", shell), capture_output=True, text=True, check=True).stdout


def offered_by_bash(line):
    """Return what bash offers for the last word of a line."""
    words = line.split(" ")
    setting = (
        f"{script('bash')}\nCOMP_WORDS=({' '.join(repr(w) for w in words)})\nCOMP_CWORD={len(words) - 1}\n"
        'COMP_LINE="${COMP_WORDS[*]}"\n_dpcap\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", setting], capture_output=True, text=True, check=True, env=os.environ | {"PATH": PATH}
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_offers_every_option():
    assert {flag for option in OPTIONS for flag in option.flags} <= set(offered_by_bash("dpcap -"))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("dpcap -Q ", ["in", "out", "inout"]),
        ("dpcap --engine j", ["jit"]),
        ("dpcap ex", ["explain", "extcap"]),
        ("dpcap shim in", ["install"]),
        ("dpcap --file-p", ["--file-prefix"]),
        ("dpcap -c ", []),
    ],
)
def test_bash(line, offered):
    assert offered_by_bash(line) == offered


def test_bash_offers_files(tmp_path):
    (tmp_path / "some.pcap").touch()
    assert offered_by_bash(f"dpcap -r {tmp_path}/so") == [f"{tmp_path}/some.pcap"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize(
    ("typed", "shown"),
    [("dpcap --file-p", "--file-prefix"), ("dpcap shi", "shim"), ("dpcap --engine i", "interp")],
)
def test_zsh(typed, shown, tmp_path):
    """A real interactive zsh: TAB completes the word."""
    (tmp_path / "_dpcap").write_text(script("zsh"))
    (tmp_path / ".zshrc").write_text(
        f"PS1='ready> '\nfpath=({tmp_path} $fpath)\nautoload -Uz compinit; compinit -u -d {tmp_path}/dump\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(  # noqa: S606 - a terminal of its own
            "zsh", ["zsh", "-i"], os.environ | {"ZDOTDIR": str(tmp_path), "PATH": PATH, "TERM": "dumb"}
        )
    try:
        screen = b""

        def wait_for(text):
            nonlocal screen
            end = time.monotonic() + 60
            while text not in screen:
                assert time.monotonic() < end, screen
                if select.select([terminal], [], [], 1)[0]:
                    screen += os.read(terminal, 65536)

        wait_for(b"ready> ")
        screen = b""
        os.write(terminal, typed.encode() + b"\t")
        wait_for(shown.split(typed.rpartition(" ")[2], 1)[1].encode())
    finally:
        os.write(terminal, b"\x03\x15exit\r")
        os.close(terminal)
        os.waitpid(pid, 0)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_parses_it(tmp_path):
    (tmp_path / "x").write_text(script("zsh"))
    subprocess.run(["zsh", "-n", tmp_path / "x"], check=True)


def test_names_of_live_ports(hugepages):
    if not shutil.which("dpdk-testpmd"):
        pytest.skip("dpdk-testpmd is not installed")
    with Testpmd(["net_null7"], eal_args=hugepages.eal_args) as app:
        assert {"any", "port0", "net_null7"} <= set(offered_by_bash("dpcap -i "))
        assert str(app.pid) in offered_by_bash("dpcap --pid ")
        assert app.prefix in offered_by_bash("dpcap --file-prefix ")


def test_usage(capsys):
    assert cli.main(["completion"]) == 2
    assert "bash or zsh?" in capsys.readouterr().err
    assert cli.main(["completion", "--help"]) == 0
    assert capsys.readouterr().out == completion.HELP
    assert not re.search(r"\bnames\b", completion.HELP.replace("the names of ports", ""))
