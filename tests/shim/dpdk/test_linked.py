# SPDX-License-Identifier: BSD-3-Clause
"""The library installed, linked by an application, and loaded in every other way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from support.shim_client import Client, SessionEndedError
from support.testpmd import NATIVE, runtime_root, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "build" / "cmake"


def run(*argv: str | Path, **env: str) -> None:
    done = subprocess.run(
        [str(a) for a in argv], env=os.environ | env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the library is installed."""
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", BUILD, "--prefix", prefix)
    return prefix


@pytest.fixture(scope="module", params=["make", "cmake"])
def forwarder(request: pytest.FixtureRequest, prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the example, built as its readers would."""
    folder = tmp_path_factory.mktemp(request.param) / "forwarder"
    shutil.copytree(ROOT / "examples" / "forwarder", folder)
    if request.param == "make":
        (file,) = prefix.glob("**/dpcap_shim.pc")
        run("make", "-C", folder, PKG_CONFIG_PATH=str(file.parent))
    else:
        run("cmake", "-S", folder, "-B", folder, f"-DCMAKE_PREFIX_PATH={prefix}")
        run("cmake", "--build", folder)
    return folder / "forwarder"


class Running:
    """An application without a prompt: it is ready when it says so."""

    def __init__(
        self,
        *argv: str | Path,
        until: str,
        env: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.prefix = f"dpcap-{os.getpid()}-linked"
        self.runtime_dir = runtime_root() / self.prefix
        eal = ("-l", "0", "--no-pci", "--no-huge", "-m", "64", f"--file-prefix={self.prefix}")
        self.process = subprocess.Popen(
            [*map(str, argv), *eal, "--vdev=net_null0", "--vdev=net_null1"],
            env=os.environ | (env or {}),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout
        for line in self.process.stdout:
            if until in line:
                break
        else:
            pytest.fail("the application ended early")

    def sockets(self) -> list[Path]:
        return list(self.runtime_dir.glob("dpcap.*.sock"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.rest, _ = self.process.communicate()
        shutil.rmtree(self.runtime_dir, ignore_errors=True)


@pytest.fixture
def running(forwarder: Path, prefix: Path) -> Iterator[Running]:
    (library,) = prefix.glob("**/libdpcap_shim.so")
    with Running(forwarder, until="forwarding", env={"LD_LIBRARY_PATH": str(library.parent)}) as app:
        yield app
    assert app.process.returncode == 0, app.rest


def test_the_example_can_be_captured(running):
    (path,) = running.sockets()  # dpcap_shim_init() returns when clients can connect
    with Client(path) as client:
        assert [port[7] for port in client.ports()] == ["net_null0", "net_null1"]
        rings = client.attach([0, 1])
        assert len(rings) == 4
        wait_until(lambda: all(ring.received > 0 and ring.read() for ring in rings), "packets in all rings")


def test_stopping_the_example_in_the_middle_of_a_capture(running):
    with Client(running.sockets()[0]) as client:
        rings = client.attach([0, 1])
        wait_until(lambda: all(ring.received > 0 for ring in rings), "packets")
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: all(ring.closed for ring in rings), "closed rings")
        wait_until(lambda: not running.sockets(), "the socket removed")


def test_nothing_of_dpdk_is_linked(prefix):
    (library,) = prefix.glob("**/libdpcap_shim.so.0")
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    libraries = [line.split("[")[1].rstrip("]") for line in needed.splitlines() if "(NEEDED)" in line]
    assert libraries == ["libc.so.6"]
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    )
    names = [line.split()[-1] for line in symbols.stdout.splitlines()]
    assert sorted(names) == ["dpcap_shim_fini", "dpcap_shim_init", "dpcap_shim_version"]


def test_a_process_without_dpdk_is_told(tmp_path):
    """As a static DPDK that exports nothing."""
    source = tmp_path / "app.c"
    source.write_text("#include <dlfcn.h>\nint main(int c, char **v) { return c < 2 || !dlopen(v[1], 2); }\n")
    run("cc", source, "-o", tmp_path / "app")
    plugin = NATIVE / "libdpcap_shim.so"
    done = subprocess.run([tmp_path / "app", plugin], capture_output=True, text=True, check=True)
    assert done.stderr == (
        "dpcap: no captures from this process: it exports no DPDK functions "
        "(a static DPDK needs an executable linked with -rdynamic)\n"
    )


def test_preloaded_into_everything_is_silent():
    plugin = NATIVE / "libdpcap_shim.so"
    done = subprocess.run(
        ["true"], env=os.environ | {"LD_PRELOAD": str(plugin)}, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def compile_app(source: Path, prefix: Path) -> Path:
    """Compile an application that links the shim and DPDK."""
    (file,) = prefix.glob("**/dpcap_shim.pc")
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "dpcap_shim", "libdpdk"],
        env=os.environ | {"PKG_CONFIG_PATH": str(file.parent)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    app = source.with_suffix("")
    run("cc", source, *flags, "-o", app)
    return app


@pytest.mark.parametrize("command", ["fork", "exec"])
def test_a_fork_keeps_nothing_of_the_parent(prefix, tmp_path, command):
    """A child, also one that runs a program, neither writes into rings nor keeps the connection open."""
    source = Path(shutil.copy(Path(__file__).parent / "forking.c", tmp_path))
    (library,) = prefix.glob("**/libdpcap_shim.so")
    env = {"LD_LIBRARY_PATH": str(library.parent)}
    child = 0
    with Running(compile_app(source, prefix), until="ready", env=env, stdin=subprocess.PIPE) as app:
        try:
            with Client(app.sockets()[0]) as client:
                (ring,) = client.attach([0], directions=1, ring_size=65536)
                assert app.process.stdin
                assert app.process.stdout
                app.process.stdin.write(command[0])
                app.process.stdin.close()
                app.process.stdin = None
                child = int(app.process.stdout.readline().split()[1])
                wait_until(lambda: ring.received > 1000 and ring.read(), "packets of the parent")
                held = [str(fd.readlink()) for fd in Path(f"/proc/{child}/fd").iterdir()]
                assert not [target for target in held if "memfd:dpcap" in target]
                app.process.kill()
                with pytest.raises(SessionEndedError):
                    client.receive()
                assert Path(f"/proc/{child}").exists()
        finally:
            if child:
                os.kill(child, signal.SIGKILL)


def test_calling_it_too_early_is_told(prefix, tmp_path):
    source = tmp_path / "app.c"
    source.write_text(
        "#include <dpcap_shim.h>\n#include <rte_ethdev.h>\n"
        "int main(int c, char **v) { return c > 5 ? rte_eth_dev_start(v[1][0]) : -dpcap_shim_init(); }\n"
    )
    app = compile_app(source, prefix)
    (library,) = prefix.glob("**/libdpcap_shim.so")
    done = subprocess.run(
        [app],
        env=os.environ | {"LD_LIBRARY_PATH": str(library.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 11  # EAGAIN
    assert done.stderr == "dpcap: dpcap_shim_init() was called before rte_eal_init()\n"
