# SPDX-License-Identifier: BSD-3-Clause
"""Finding DPDK processes: against real ones, and against the forms that /proc can take."""

from __future__ import annotations

import json
import os

import pytest

from dpcap.capture import discovery
from dpcap.capture.cli import main
from dpcap.capture.errors import AccessError, NoShimError
from dpcap.capture.uprobe import features
from support.testpmd import Testpmd


@pytest.fixture(scope="module")
def bare(hugepages):
    """An application without the shim."""
    with Testpmd(["net_null0"], eal_args=hugepages.eal_args, plugin=False) as app:
        yield app


def found(pid):
    return next((a for a in discovery.applications() if a.pid == pid), None)


def test_an_application_without_the_shim(bare):
    application = found(bare.pid)
    assert application.name == "dpdk-testpmd"
    assert application.file_prefix == bare.prefix
    assert application.inner_pid == bare.pid
    assert application.uid == os.geteuid()
    assert application.socket is None
    assert not application.shim_loaded


def test_its_runtime_directory_is_seen_by_everybody(bare):
    assert str(bare.runtime_dir) in discovery.hidden_runtime_dirs()


@pytest.fixture
def unprivileged(monkeypatch):
    """Without what uprobes need."""
    monkeypatch.setattr(features, "missing_capabilities", lambda: ["CAP_SYS_ADMIN"])


@pytest.mark.usefixtures("unprivileged")
def test_the_list_says_how_to_load_the_shim(bare, capsys):
    assert main(["-D", "--pid", str(bare.pid)]) == 0
    line = capsys.readouterr().out
    assert f"dpdk-testpmd (pid {bare.pid}, file-prefix {bare.prefix}): no shim in it" in line
    assert "-d $(dpcap shim path)" in line
    assert "CAP_SYS_ADMIN" in line


@pytest.mark.usefixtures("unprivileged")
def test_the_list_as_json(bare, capsys):
    assert main(["-D", "--json", "--file-prefix", bare.prefix]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["pid"], row["source"], row["port"]) == (bare.pid, None, None)


def test_a_capture_says_how_to_load_the_shim(bare, capsys):
    assert main(["--source", "shim", "--pid", str(bare.pid), "-w", "/dev/null"]) == NoShimError.exit_code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "-d $(dpcap shim path)" in said


def test_other_processes_are_not_dpdks():
    assert found(os.getpid()) is None
    assert found(1) is None


EAL_THREADS = ("app", "eal-intr-thread", "lcore-worker-1")


class Process:
    """A process as /proc shows it."""

    def __init__(
        self, proc, pid, *, inner=None, cmdline="app", maps="", unix="", parent=1, threads=EAL_THREADS
    ):
        base = proc / str(pid)
        (base / "ns").mkdir(parents=True)
        (base / "ns/net").symlink_to("net:[1]")
        (base / "net").mkdir()
        (base / "net/unix").write_text("Num       RefCount Protocol Flags    Type St Inode Path\n" + unix)
        (base / "maps").write_text(maps)
        (base / "cmdline").write_text(cmdline.replace(" ", "\0") + "\0")
        (base / "comm").write_text(os.path.basename(cmdline.split()[0])[:15] + "\n")  # noqa: PTH119
        (base / "status").write_text(f"Name:\tx\nUid:\t0\t1000\t0\t0\nNSpid:\t{pid}\t{inner or pid}\n")
        (base / "stat").write_text(f"{pid} (a) b) S {parent} 0 0\n")
        for number, thread in enumerate(threads):
            (base / "task" / str(pid + number)).mkdir(parents=True)
            (base / "task" / str(pid + number) / "comm").write_text(thread + "\n")
        self.root = base / "root"
        self.root.mkdir()


EAL = "7f0-7f1 r-xp 0000c000 fe:00 55 /usr/lib/librte_eal.so.23.0\n"
SHIM = "7f0-7f1 r-xp 0000c000 fe:00 56 /opt/libdpcap_shim.so\n"
STATE = "7f0-7f1 rw-s 00000000 00:18 57                         /run/dpdk/upf/config\n"


def socket_line(path):
    return f"ffff: 00000002 00000000 00010000 0005 01 4711 {path}\n"


def listen_path(process, path):
    seen = process.root / path.lstrip("/")
    seen.parent.mkdir(parents=True)
    seen.touch()
    return str(seen)


@pytest.mark.parametrize(
    ("cmdline", "maps", "prefix"),
    [
        ("bessd -f", EAL, "rte"),
        ("bessd --file-prefix=b", EAL, "b"),
        ("bessd --file-prefix c", EAL, "c"),
        ("bessd --file-prefix", EAL, ""),
        ("bessd", EAL + STATE, "upf"),  # its own arguments say nothing
        ("static", STATE, "upf"),
        ("static", STATE.replace("config", "fbarray_memzone"), "upf"),
        ("static", STATE.rstrip() + " (deleted)\n", "upf"),
    ],
)
def test_the_file_prefix(tmp_path, cmdline, maps, prefix):
    Process(tmp_path, 7, cmdline=cmdline, maps=maps)
    [application] = discovery.applications(str(tmp_path))
    assert application.file_prefix == prefix


def test_containers_with_the_same_pids_and_paths(tmp_path):
    """Two containers that share the network namespace of the host, each with a pid 1 of its own."""
    path = "/var/run/dpdk/rte/dpcap.1.sock"
    table = socket_line(path) * 2 + socket_line("/var/run/dpdk/rte/dpcap.9.sock")
    sockets = []
    for pid in (100, 200):
        process = Process(tmp_path, pid, inner=1, maps=EAL + SHIM, unix=table)
        sockets.append(listen_path(process, path))
    applications = discovery.applications(str(tmp_path))
    assert [(a.pid, a.inner_pid, a.socket) for a in applications] == [
        (100, 1, sockets[0]),
        (200, 1, sockets[1]),
    ]


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/a/b", "/a/b"),
        ("/absolute/x", "/run/x"),
        ("/relative/x", "/run/x"),
        ("/a/../absolute//./x", "/run/x"),
        ("/twice/x", "/run/x"),
        ("/../../x", "/x"),
    ],
)
def test_links_stay_inside_the_root(tmp_path, path, leads_to):
    (tmp_path / "run").mkdir()
    (tmp_path / "absolute").symlink_to("/run")
    (tmp_path / "relative").symlink_to("run")
    (tmp_path / "twice").symlink_to("/absolute")
    assert discovery.resolve_in_root(str(tmp_path), path) == f"{tmp_path}{leads_to}"


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "circle").symlink_to("/circle")
    discovery.resolve_in_root(str(tmp_path), "/circle/x")


def test_a_socket_that_nobody_listens_on_is_ignored(tmp_path):
    process = Process(tmp_path, 7, maps=EAL)
    listen_path(process, "/var/run/dpdk/rte/dpcap.7.sock")
    [application] = discovery.applications(str(tmp_path))
    assert application.socket is None


def test_a_shim_linked_into_a_static_program(tmp_path):
    path = "/var/run/dpdk/rte/dpcap.7.sock"
    process = Process(tmp_path, 7, maps=STATE, unix=socket_line(path))
    socket = listen_path(process, path)
    [application] = discovery.applications(str(tmp_path))
    assert (application.socket, application.shim_loaded) == (socket, True)


@pytest.mark.parametrize("thread", ["eal-intr-thread", "dpdk-intr"])
def test_a_static_program_that_shares_nothing(tmp_path, thread):
    """--in-memory: no file of EAL's is mapped."""
    Process(tmp_path, 7, cmdline="static --file-prefix=x", threads=("static", thread))
    [application] = discovery.applications(str(tmp_path))
    assert (application.name, application.file_prefix) == ("static", "x")


def test_who_loads_the_library_alone_is_no_application(tmp_path):
    """As a Python that calls into librte_bpf."""
    Process(tmp_path, 7, cmdline="python", maps=EAL, threads=("python", "worker"))
    assert discovery.applications(str(tmp_path)) == []


def test_a_long_name_is_whole(tmp_path):
    Process(tmp_path, 7, cmdline="/usr/bin/dpdk-forwarding-plane -l 0", maps=EAL)
    assert discovery.applications(str(tmp_path))[0].name == "dpdk-forwarding-plane"


def test_a_forked_child_is_not_a_second_application(tmp_path):
    Process(tmp_path, 7, cmdline="app", maps=EAL)
    Process(tmp_path, 8, cmdline="app", maps=EAL, parent=7)
    assert [a.pid for a in discovery.applications(str(tmp_path))] == [7]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's identity")
def test_another_user_is_told_whose_they_are(bare, capfd):
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setuid(65534)
        os._exit(main(["-D"]))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == AccessError.exit_code
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert str(bare.runtime_dir) in said
    assert "as root or as that user" in said
