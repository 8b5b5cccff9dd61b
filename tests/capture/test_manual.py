# SPDX-License-Identifier: BSD-3-Clause
"""The manual page is well formed, and has every option and exit code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from dpcap.capture import cli, errors, manual
from dpcap.capture.options import OPTIONS, REFUSED


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    if not shutil.which("man"):
        pytest.skip("man is not installed")
    path = tmp_path_factory.mktemp("man") / "dpcap.1"
    path.write_text(manual.page("1.2.3"))
    done = subprocess.run(
        ["man", "--warnings", "-l", path], capture_output=True, text=True, check=True,
        env=os.environ
        | {"MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "MAN_DISABLE_SECCOMP": "1"},
    )  # fmt: skip
    assert done.stderr == ""
    return re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout).replace("\u2010", "-")


def test_every_option_is_there(shown):
    for option in OPTIONS:
        for flag in option.flags:
            assert re.search(rf"(^|[ ,]){re.escape(flag)}([ ,]|$)", shown, re.MULTILINE), flag
        assert option.text
    for flag in REFUSED:
        assert flag in shown


def test_every_exit_code_is_there(shown):
    status = shown.split("EXIT STATUS")[1].split("EXAMPLES")[0]
    assert [int(n) for n in re.findall(r"^ {7}(\d+) ", status, re.MULTILINE)] == [
        code for code, _ in errors.exit_code_table()
    ]


def test_every_command_is_there(shown):
    for command in cli.COMMANDS:
        if command.description:
            assert f"dpcap {command.name}" in shown


def test_it_begins_as_manuals_do(shown):
    assert shown.startswith("DPCAP(1)")
    assert "dpcap - tcpdump for live DPDK applications" in shown
    assert "dpcap 1.2.3" in shown
