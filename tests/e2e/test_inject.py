# SPDX-License-Identifier: BSD-3-Clause
"""The shim into applications that were started without it: nothing breaks, and every capture is right."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import traffic

from support.captures import read_pcap, read_pcapng, tcpdump_filter
from support.command import Command, dpcap_argv, run_dpcap
from support.injection import BUILT, INJECTOR, SOURCES, traced
from support.kernel_bpf import needs_kernel_bpf
from support.polling import Polling
from support.testpmd import NATIVE, PLUGIN, Testpmd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.hugepages import HugePages

# More: DPCAP_ROUNDS=50 ./dev test; four times as many fresh applications.
ROUNDS = int(os.environ.get("DPCAP_ROUNDS", "2"))
FILTER = "udp port 2152"


@pytest.fixture(scope="module", autouse=True)
def _needs_injector() -> None:
    if not INJECTOR.exists():
        pytest.skip("dpcap-inject is missing: ./dev build builds it on x86-64")


class Loop:
    """The mixed traffic, for ever: what any part of it must look like."""

    def __init__(self, pcap: Path, folder: Path) -> None:
        self.vdev = f"net_pcap0,rx_pcap={pcap},infinite_rx=1"
        self.matching = [p.data for p in tcpdump_filter(pcap, FILTER, folder / "expected.pcap")]

    def check(self, pid: int, out: Path, *options: str) -> str:
        """Capture, and fail unless it is a part of the loop, without a gap; return what dpcap said."""
        done = run_dpcap("--pid", str(pid), "-Q", "in", "-c", "1000", "-w", out, *options, FILTER)
        assert done.returncode == 0, done.stderr
        captured = [p.data for p in read_pcapng(out)]
        assert len(captured) == 1000
        # Packets may be alike: every place where the first is found may be the one.
        n = len(self.matching)
        assert any(
            all(captured[i] == self.matching[(start + i) % n] for i in range(1000))
            for start in (i for i, data in enumerate(self.matching) if data == captured[0])
        )
        return done.stderr


@pytest.fixture(scope="module")
def traffic_loop(mix_pcap: Path, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return Loop(mix_pcap, tmp_path_factory.mktemp("loop"))


@pytest.fixture
def bare(hugepages: HugePages, traffic_loop: Loop) -> Iterator[Testpmd]:
    """An application without the shim, under full load."""
    with Testpmd([traffic_loop.vdev], eal_args=hugepages.eal_args, plugin=False) as app:
        app.start()
        yield app
        goes_on(app)


def goes_on(app: Testpmd) -> None:
    """Fail unless it forwards, and ends in order."""
    app.wait_forwarded(10_000)
    assert app.quit() == 0, app.text


def dpcap_ok(*arguments: str | Path) -> str:
    """Run dpcap to its end and return what it printed."""
    done = run_dpcap(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def memfds(app: Testpmd) -> list[str]:
    """Return the memory files of the injector that an application holds."""
    links = (os.readlink(fd) for fd in Path(f"/proc/{app.pid}/fd").iterdir())  # noqa: PTH115
    return [link for link in links if PLUGIN in link]


# -- as a user sees it


def test_inject_on_the_way_to_a_capture(tmp_path: Path) -> None:
    out, twice = tmp_path / "out.pcapng", tmp_path / "twice.pcap"
    traffic.write_pcap(twice, 2 * list(traffic.mix()))
    with Testpmd([f"net_pcap0,rx_pcap={twice}"], plugin=False) as app:
        argv = dpcap_argv(
            "--pid", str(app.pid), "-i", "port0", "--inject", "-Q", "in", "-c", "1000", "-w", out
        )
        with Command([*argv, FILTER]) as capture:
            capture.wait_for("listening on")
            app.start()
            assert capture.wait() == 0, capture.stderr
        first, second, *_ = capture.stderr.splitlines()
        assert first.startswith(f"dpcap: loading the shim into dpdk-testpmd (pid {app.pid}): borrows")
        assert second.startswith("dpcap: loaded: telemetry-v2 stood still for ")
        assert app.quit() == 0
    expected = tcpdump_filter(twice, FILTER, tmp_path / "expected.pcap")[:1000]
    assert len(expected) == 1000
    assert [p.data for p in read_pcapng(out)] == [p.data for p in expected]


def test_attach_dry_run_prints_every_check(bare: Testpmd) -> None:
    lines = dpcap_ok("attach", "--dry-run", "--pid", str(bare.pid)).splitlines()
    assert lines[0] == f"dpdk-testpmd (pid {bare.pid}), file-prefix {bare.prefix}"
    assert [line.split("  ok  ")[0].strip() for line in lines[1:-1]] == [
        *("permission", "architecture", "threads", "shim", "C library"),
        *("plugin", "DPDK", "memory file", "sleeping thread"),
    ]
    assert lines[-1].startswith("dpcap attach borrows a sleeping thread twice")
    assert bare.sockets() == []


def test_it_is_off_unless_asked_for(bare: Testpmd) -> None:
    needs_kernel_bpf()  # uprobes are what is left
    done = run_dpcap("--pid", str(bare.pid), "-c", "1", "-w", "/dev/null")
    assert bare.sockets() == []
    assert PLUGIN not in Path(f"/proc/{bare.pid}/maps").read_text()
    assert "Traceback" not in done.stderr


def test_attach_and_detach(bare: Testpmd, traffic_loop: Loop, tmp_path: Path) -> None:
    """Once loaded it is parked and woken, as often as one likes, by whatever name one calls it."""
    who = f"dpdk-testpmd (pid {bare.pid})"
    said = dpcap_ok("attach", "--file-prefix", bare.prefix)
    assert said.splitlines()[-1] == f"{who} can be captured from"
    maps = Path(f"/proc/{bare.pid}/maps")
    mapped = maps.read_text().count(PLUGIN)
    for _ in range(ROUNDS):
        traffic_loop.check(bare.pid, tmp_path / "out.pcapng")
        said = dpcap_ok("detach", "--pid", str(bare.pid))
        assert said == f"{who}: hooks out, shim parked; 'dpcap attach' wakes it\n"
        assert dpcap_ok("detach", "--pid", str(bare.pid)) == f"{who}: its shim is parked already\n"
        refused = run_dpcap("--pid", str(bare.pid), "-c", "1")
        assert refused.stderr == f"dpcap: {who} refused: the shim is parked: 'dpcap attach' wakes it\n"
        assert "shim, parked (dpcap attach wakes it)" in dpcap_ok("-D", "--pid", str(bare.pid))
        assert dpcap_ok("attach", "--pid", str(bare.pid)).splitlines() == [
            f"woke the shim in {who}; 'dpcap detach' parks it again",
            f"{who} can be captured from",
        ]
    traffic_loop.check(bare.pid, tmp_path / "out.pcapng")
    assert maps.read_text().count(PLUGIN) == mapped


def test_detach_ends_captures(bare: Testpmd, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    with Command(dpcap_argv("--pid", str(bare.pid), "--inject", "-w", out, "icmp")) as capture:
        capture.wait_for("listening on")
        said = dpcap_ok("detach", "--pid", str(bare.pid))
        assert "hooks out, shim parked, 1 capture ended" in said
        assert capture.wait() == 0, capture.stderr
    assert read_pcapng(out)
    with Command(dpcap_argv("--pid", str(bare.pid), "--inject", "-w", out, "icmp")) as capture:
        capture.wait_for("woke the shim in")
        capture.wait_for("listening on")


def test_a_refusal_is_one_line(bare: Testpmd) -> None:
    with traced(bare.pid):
        done = run_dpcap("attach", "--pid", str(bare.pid))
    assert done.returncode == 12
    assert done.stderr == (
        f"dpcap: dpdk-testpmd (pid {bare.pid}): cannot load the shim into it: thread {bare.pid} is traced by "
        f"process {os.getpid()} already: end the debugger (pid {os.getpid()}) first\n"
    )


# -- rounds


def test_fresh_applications_under_load(hugepages: HugePages, traffic_loop: Loop, tmp_path: Path) -> None:
    for _ in range(4 * ROUNDS if ROUNDS > 2 else ROUNDS):
        with Testpmd([traffic_loop.vdev], eal_args=hugepages.eal_args, plugin=False) as app:
            app.start()
            traffic_loop.check(app.pid, tmp_path / "out.pcapng", "--inject")
            assert memfds(app) == []
            goes_on(app)


def test_an_adversary_in_the_application(hugepages: HugePages, traffic_loop: Loop, tmp_path: Path) -> None:
    """It fights for the locks that loading needs."""
    preload = f"LD_PRELOAD={BUILT / 'libinject_adversary.so'}"
    for _ in range(ROUNDS):
        with Testpmd(
            [traffic_loop.vdev], eal_args=hugepages.eal_args, plugin=False, run_in=["env", preload]
        ) as app:
            app.start()
            traffic_loop.check(app.pid, tmp_path / "out.pcapng", "--inject")
            assert memfds(app) == []
            goes_on(app)


def test_the_injector_dies_at_a_random_instruction(
    hugepages: HugePages, traffic_loop: Loop, tmp_path: Path
) -> None:
    for _ in range(ROUNDS):
        with Testpmd([traffic_loop.vdev], eal_args=hugepages.eal_args, plugin=False) as app:
            app.start()
            argv: list[str | Path] = [INJECTOR, str(app.pid), NATIVE / PLUGIN]
            injector = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
            time.sleep(random.uniform(0, 0.15))  # a moment, not a wait
            injector.send_signal(signal.SIGKILL)
            injector.wait()
            app.wait_forwarded(10_000)
            traffic_loop.check(app.pid, tmp_path / "out.pcapng", "--inject")
            goes_on(app)


# -- other applications


STATIC = (
    *("eal", "kvargs", "telemetry", "ring", "mempool", "mbuf", "net", "ethdev", "meter", "rcu", "pci"),
    *("bus_vdev", "net_null", "mempool_ring"),
)


def link(folder: Path, *options: str) -> Path:
    """Link the small application with a static DPDK; skip where there is none."""
    flags = subprocess.run(
        ["pkg-config", "--cflags", "libdpdk"], capture_output=True, text=True, check=True
    ).stdout.split()
    archives = [f"-l:librte_{name}.a" for name in STATIC]
    libraries = ["-Wl,--whole-archive", *archives, "-Wl,--no-whole-archive", "-lnuma", "-lbsd", "-lm"]
    program = folder / "polling"
    done = subprocess.run(
        ["cc", "-O2", *flags, SOURCES / "polling.c", *options, *libraries, "-ldl", "-pthread", "-o", program],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"no static DPDK to link: {done.stderr.splitlines()[-1]}")
    return program


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["-pie"], "in the symbol table of"),
        (["-no-pie"], "in the symbol table of"),
        (["-rdynamic"], "exported by"),
        (["-s"], None),
    ],
    ids=["PIE", "no PIE", "exported", "stripped"],
)
def test_static_dpdk(options: list[str], found: str | None, tmp_path: Path) -> None:
    with Polling(link(tmp_path, *options)) as app:
        looked = run_dpcap("attach", "--dry-run", "--pid", str(app.pid))
        done = run_dpcap("--pid", str(app.pid), "--inject", "-c", "100", "-w", tmp_path / "out.pcapng")
        if found is None:
            assert "its symbol table was stripped" in done.stderr
            assert (looked.returncode, done.returncode) == (12, 12)
            return
        assert found in looked.stdout
        assert done.returncode == 0, done.stderr
        assert [p.wirelen for p in read_pcapng(tmp_path / "out.pcapng")] == [64] * 100


@pytest.mark.usefixtures("as_root")
def test_a_container(tmp_path: Path) -> None:
    """Its mounts, processes and network are its own, and the library is not in its file system."""
    run_in = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "sh", "-c")
    script = f'mount -t tmpfs none /run && mount -t tmpfs none {NATIVE} && exec "$@"'
    with Testpmd(["net_null0,size=77"], plugin=False, run_in=[*run_in, script, "sh"]) as app:
        app.start()
        out = tmp_path / "out.pcapng"
        done = run_dpcap("--file-prefix", app.prefix, "--inject", "-c", "10", "-w", out)
        assert done.returncode == 0, done.stderr
        assert [p.wirelen for p in read_pcapng(out)] == [77] * 10
        assert "woke" not in done.stderr
        dpcap_ok("detach", "--file-prefix", app.prefix)
        dpcap_ok("attach", "--file-prefix", app.prefix)


def test_memory_without_hugepages(traffic_loop: Loop, tmp_path: Path) -> None:
    with Testpmd([traffic_loop.vdev], eal_args=["--no-huge"], plugin=False) as app:
        app.start()
        traffic_loop.check(app.pid, tmp_path / "out.pcapng", "--inject")
        goes_on(app)


def test_without_telemetry(traffic_loop: Loop, tmp_path: Path) -> None:
    """Another of EAL's threads is borrowed."""
    with Testpmd([traffic_loop.vdev], eal_args=["--no-huge", "--no-telemetry"], plugin=False) as app:
        app.start()
        assert "loaded: rte_mp_handle stood still" in traffic_loop.check(
            app.pid, tmp_path / "out.pcapng", "--inject"
        )
        goes_on(app)


def test_with_the_interrupt_thread_alone(traffic_loop: Loop, tmp_path: Path) -> None:
    """It sleeps in epoll_wait()."""
    eal_args = ["--no-huge", "--no-telemetry", "--no-shconf"]
    with Testpmd([traffic_loop.vdev], eal_args=eal_args, plugin=False) as app:
        app.start()
        assert "loaded: eal-intr-thread stood still" in traffic_loop.check(
            app.pid, tmp_path / "out.pcapng", "--inject"
        )
        goes_on(app)


def test_the_shims_thread_keeps_off_the_lcores(bare: Testpmd) -> None:
    """Wherever it was made; and it takes no signal that is the application's."""
    dpcap_ok("attach", "--pid", str(bare.pid))

    def status(name: str) -> dict[str, str]:
        for task in Path(f"/proc/{bare.pid}/task").iterdir():
            if (task / "comm").read_text() == f"{name}\n":
                lines = (task / "status").read_text().splitlines()
                return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        raise AssertionError(name)

    assert status("dpcap")["Cpus_allowed_list"] == status("telemetry-v2")["Cpus_allowed_list"]
    all_but_kill_and_stop = 0xFFFFFFFE7FFBFEFF  # 32 and 33 are the C library's own
    assert int(status("dpcap")["SigBlk"], 16) == all_but_kill_and_stop
    assert int(status("telemetry-v2")["SigBlk"], 16) == 0


def test_reads_what_the_loop_holds(mix_pcap: Path, traffic_loop: Loop) -> None:
    """The test of the tests: there is enough to compare."""
    assert 100 < len(traffic_loop.matching) < len(read_pcap(mix_pcap))
