# SPDX-License-Identifier: BSD-3-Clause
"""dpcap shim path, install and uninstall."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dpcap.capture import plugin
from dpcap.capture.cli import main

pytestmark = pytest.mark.skipif(plugin.built() is None, reason="built without DPDK's headers")


def test_path_is_an_elf_file(capsys):
    assert main(["shim", "path"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_bytes()[:4] == b"\x7fELF"


def test_eal_names_its_driver_folder():
    folders = plugin.driver_folders()
    installed = subprocess.run(["dpkg", "-L", "librte-eal23"], capture_output=True, text=True, check=False)
    if installed.returncode != 0:
        pytest.skip("DPDK is not installed as Debian's packages")
    assert any(list(folder.glob("librte_net_*.so*")) for folder in folders)


def test_install_and_uninstall(tmp_path, capsys):
    target = tmp_path / plugin.NAME
    assert main(["shim", "install", "--dir", str(tmp_path)]) == 0
    assert target.read_bytes() == plugin.path().read_bytes()
    old = target.stat().st_ino
    # Again, as after an upgrade: a new file, as the old one may be mapped.
    assert main(["shim", "install", "--dir", str(tmp_path)]) == 0
    assert target.stat().st_ino != old
    assert main(["shim", "uninstall", "--dir", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []
    assert main(["shim", "uninstall", "--dir", str(tmp_path)]) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_somebody_elses_file_is_left_alone(action, tmp_path, capsys):
    target = tmp_path / plugin.NAME
    target.write_bytes(b"not ours")
    assert main(["shim", action, "--dir", str(tmp_path)]) == 1
    assert target.read_bytes() == b"not ours"
    assert "left alone" in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert main(["shim", "install", "--dir", str(tmp_path / "none")]) == 1
    assert "no such directory" in capsys.readouterr().err


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["--help"], 0), (["frob"], 2)])
def test_it_explains_itself(argv, code, capsys):
    assert main(["shim", *argv]) == code
    said = capsys.readouterr()
    assert "install" in said.out + said.err
