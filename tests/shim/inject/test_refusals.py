# SPDX-License-Identifier: BSD-3-Clause
"""Processes that are left alone, each with its reason."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.injection import BUILT, SOURCES, Puppet, compile_with, inject, traced
from support.kernel_bpf import needs_kernel_bpf
from support.testpmd import NATIVE, PLUGIN, wait_until

PAYLOAD = BUILT / "libinject_payload.so"
NOBODY = 65534


def refused(puppet: Puppet, reason: str, library: Path | str = PAYLOAD) -> None:
    """Fail unless the process is refused for that reason alone, and is whole afterwards."""
    report = inject(puppet.pid, library)
    assert (report.status, report.stops) == (1, 0), report.text
    assert len(report.refusals) == 1, report.text
    assert reason in report.refusals[0]
    assert puppet.memfds() == 0


def test_seccomp():
    needs_kernel_bpf()
    with Puppet("accept", PUPPET_SECCOMP="1") as puppet:
        refused(puppet, "a seccomp filter judges its system calls")
        assert puppet.wake() == ["woken"]


def test_static_libc(tmp_path):
    program = tmp_path / "puppet"
    compile_with("cc", "-static", "-pthread", "-o", program, SOURCES / "puppet.c")
    with Puppet("accept", program=program) as puppet:
        refused(puppet, "it has no C library that could load another one: a static program")
        assert puppet.wake() == ["woken"]


def test_traced():
    with Puppet("accept") as puppet:
        with traced(puppet.pid):
            refused(puppet, f"is traced by process {os.getpid()} already")
        assert puppet.wake() == ["woken"]


def test_stopped():
    with Puppet("accept") as puppet:
        os.kill(puppet.pid, signal.SIGSTOP)
        status = Path(f"/proc/{puppet.pid}/status")
        wait_until(lambda: "T (stopped)" in status.read_text(), "it stops")
        refused(puppet, "it is stopped")
        os.kill(puppet.pid, signal.SIGCONT)
        assert puppet.wake() == ["woken"]


def test_no_safe_thread():
    with Puppet("poll") as puppet:
        refused(puppet, "no thread sleeps where it can be borrowed (inject_puppet: the main thread, ")
        assert puppet.wake() == ["woken"]


def test_loaded_already():
    with Puppet("accept") as puppet:
        assert inject(puppet.pid, PAYLOAD).status == 0
        refused(puppet, "the shim is in the process already")
        assert puppet.wake() == ["loaded", "woken"]


def test_no_dpdk():
    if not (NATIVE / PLUGIN).exists():
        pytest.skip("the plugin was not built")
    with Puppet("accept") as puppet:
        refused(puppet, "its DPDK functions cannot be found", NATIVE / PLUGIN)
        assert puppet.wake() == ["woken"]


def test_another_libc(tmp_path):
    """A plugin that was built with glibc, in a program that runs with musl."""
    compile_with("musl-gcc", "-o", tmp_path / "puppet", SOURCES / "puppet.c")
    source = tmp_path / "needs.c"
    source.write_text('#include "payload.c"\nint gnu_get_libc_version(void);\n'
                      "int needs(void);\nint needs(void) { return gnu_get_libc_version(); }\n")  # fmt: skip
    library = tmp_path / "needs.so"
    folders = (f"-I{SOURCES}", f"-I{SOURCES.parents[2] / 'shim' / 'dpdk'}")
    compile_with("cc", "-shared", "-fPIC", *folders, "-o", library, source)
    with Puppet("accept", program=tmp_path / "puppet") as puppet:
        refused(puppet, "lacks gnu_get_libc_version, which the plugin was built with", library)
        assert puppet.wake() == ["woken"]


def test_wrong_architecture(tmp_path):
    source = tmp_path / "pause.c"
    # pause(2) of i386, for ever
    source.write_text('void _start(void); void _start(void) { for (;;) __asm__("int $0x80" : : "a"(29)); }\n')
    program = tmp_path / "pause"
    compile_with("cc", "-m32", "-nostdlib", "-static", "-o", program, source)
    try:
        process = subprocess.Popen([program])
    except OSError:
        pytest.skip("this kernel runs no 32-bit programs")
    try:
        report = inject(process.pid, PAYLOAD)
        assert (report.status, report.stops) == (1, 0)
        assert report.refusals == ["its program is not for x86-64 (ELF class 1, machine 3)"]
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_another_user():
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    with Puppet("accept") as puppet, tempfile.TemporaryDirectory() as folder:
        # Somebody else may not look into our folders.
        Path(folder).chmod(0o755)
        injector = shutil.copy(NATIVE / "dpcap-inject", folder)
        library = shutil.copy(PAYLOAD, folder)
        done = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", injector,
             str(puppet.pid), library],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stdout.splitlines()[0] == (
            "check\tpermission\tno\tnot permitted: the process is of user id 0\trun dpcap as root"
        )
        assert puppet.wake() == ["woken"]


def test_its_own_user():
    """Who owns the process needs no privilege, where Yama leaves that to the owner."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    yama = Path("/proc/sys/kernel/yama/ptrace_scope")
    if yama.exists() and yama.read_text() != "0\n":
        pytest.skip("Yama forbids it")
    as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        injector, library, program = (
            shutil.copy(file, folder) for file in (NATIVE / "dpcap-inject", PAYLOAD, BUILT / "inject_puppet")
        )
        with Puppet("accept", program=Path(program), run_in=as_nobody) as puppet:
            argv = [*as_nobody, injector, str(puppet.pid), library]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout
            assert puppet.wake() == ["loaded", "woken"]


def test_no_such_process():
    child = subprocess.Popen(["true"])
    child.wait()
    assert inject(child.pid, PAYLOAD).failure == "there is no such process"


def contained(*mounts: str) -> tuple[str, ...]:
    """Return a command that runs another in mount and pid namespaces of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    script = " && ".join([*(f"mount -t tmpfs none {folder}" for folder in mounts), 'exec "$@"'])
    return ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh")


def inner_pid(puppet: Puppet) -> int:
    """Return the process in the container, as seen from outside."""
    children = Path(f"/proc/{puppet.pid}/task/{puppet.pid}/children")
    return int(children.read_text().split()[0])


def test_a_container_that_does_not_see_the_library():
    with Puppet("accept", run_in=contained("/tmp")) as puppet:
        report = inject(inner_pid(puppet), PAYLOAD)
        assert report.status == 0, report.text
        assert puppet.wake() == ["loaded", "woken"]


def test_a_container_without_proc():
    with Puppet("accept", run_in=contained("/proc")) as puppet:
        report = inject(inner_pid(puppet), PAYLOAD)
        assert (report.status, report.stops) == (1, 0)
        assert report.refusals == ["its file system has no /proc, through which the library is opened"]
        assert puppet.wake() == ["woken"]
