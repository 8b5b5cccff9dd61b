# SPDX-License-Identifier: BSD-3-Clause
"""Applications in mount, pid and network namespaces of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from dpcap.capture import discovery
from dpcap.capture.cli import main
from support.captures import read_pcapng
from support.testpmd import Testpmd

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare"),
]

# A /var/run of its own, as a container has: the socket cannot be seen from outside but through /proc.
CONTAINER = (
    "unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc",
    "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh",
)  # fmt: skip


@pytest.fixture(scope="module")
def contained():
    with Testpmd(["net_null0,size=77"], run_in=CONTAINER) as app:
        app.start()
        yield app


def test_it_is_found_and_captured_from(contained, tmp_path, capsys):
    application = next(a for a in discovery.applications() if a.file_prefix == contained.prefix)
    assert application.inner_pid == 1 != application.pid
    assert application.socket.startswith(f"/proc/{application.pid}/root/")
    assert not os.path.exists(contained.runtime_dir)  # noqa: PTH110
    out = tmp_path / "out.pcapng"
    assert main(["--pid", str(application.pid), "-c", "10", "-w", str(out)]) == 0, capsys.readouterr().err
    assert [p.wirelen for p in read_pcapng(out)] == [77] * 10


def test_the_list_shows_it(contained):
    done = subprocess.run([sys.executable, "-m", "dpcap", "-D"], capture_output=True, text=True, check=True)
    assert f"file-prefix {contained.prefix}) shim" in done.stdout
