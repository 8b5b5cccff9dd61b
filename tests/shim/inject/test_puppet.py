# SPDX-License-Identifier: BSD-3-Clause
"""A thread that was borrowed goes on as if nothing had been: in every system call, with glibc and musl."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from support.injection import BUILT, EAL_THREAD, INJECTOR, SOURCES, Puppet, compile_with, inject

if TYPE_CHECKING:
    from pathlib import Path

    from support.injection import Report

CALLS = ["accept", "accept4", "recvmsg", "recvfrom", "read", "epoll_wait"]
REFUSED = {
    "poll": "asleep in another system call",
    "nanosleep": "asleep in another system call",
    "futex": "asleep in another system call",
    "epoll_limited": "asleep for a limited time",
    "handler": "in a signal handler",
}
# More: DPCAP_ROUNDS=100 ./dev test
ROUNDS = int(os.environ.get("DPCAP_ROUNDS", "0"))


class Libc(NamedTuple):
    """Puppet and library for one C library."""

    puppet: Path
    payload: Path


@pytest.fixture(scope="module", params=["glibc", "musl"])
def libc(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Libc:
    if request.param == "glibc":
        return Libc(BUILT / "inject_puppet", BUILT / "libinject_payload.so")
    folder = tmp_path_factory.mktemp("musl")
    found = Libc(folder / "puppet", folder / "payload.so")
    dpdk = f"-I{SOURCES.parents[2] / 'shim' / 'dpdk'}"
    compile_with("musl-gcc", "-O2", "-o", found.puppet, SOURCES / "puppet.c")
    compile_with("musl-gcc", "-O2", "-shared", "-fPIC", dpdk, "-o", found.payload, SOURCES / "payload.c")
    return found


@pytest.mark.parametrize("call", CALLS)
def test_every_call(libc, call):
    with Puppet(call, program=libc.puppet) as puppet:
        report = inject(puppet.pid, libc.payload)
        assert (report.status, report.stops) == (0, 2), report.text
        assert puppet.line() == "loaded"
        assert puppet.memfds() == 0
        assert puppet.wake() == ["woken"]


@pytest.mark.parametrize("call", REFUSED)
def test_calls_that_are_refused(libc, call):
    with Puppet(call, program=libc.puppet) as puppet:
        report = inject(puppet.pid, libc.payload)
        assert (report.status, report.stops) == (1, 0), report.text
        assert f"{EAL_THREAD}: {REFUSED[call]}" in report.refusals[0]
        assert puppet.wake() == ["woken"]


def test_epoll_of_others_is_refused(libc):
    """If the attempt is given up it returns EINTR: who knows whether they go on."""
    with Puppet("epoll_wait", program=libc.puppet, PUPPET_NAME="mine") as puppet:
        assert "mine: asleep in epoll_wait" in inject(puppet.pid, libc.payload).refusals[0]
        assert puppet.wake() == ["woken"]


def test_position_dependent_program(tmp_path):
    program = tmp_path / "puppet"
    compile_with("cc", "-O2", "-no-pie", "-pthread", "-o", program, SOURCES / "puppet.c")
    with Puppet("accept", program=program) as puppet:
        assert inject(puppet.pid, BUILT / "libinject_payload.so").status == 0
        assert puppet.wake() == ["loaded", "woken"]


def test_a_dry_run_touches_nothing(libc):
    with Puppet("accept", program=libc.puppet) as puppet:
        report = inject(puppet.pid, libc.payload, "--dry-run")
        assert (report.status, report.stops) == (0, 0), report.text
        assert puppet.memfds() == 0
        assert puppet.wake() == ["woken"]


def test_a_library_that_cannot_be_loaded(tmp_path):
    """The checks do not see that it needs another one, which is gone."""
    empty = tmp_path / "empty.c"
    empty.write_text("")
    compile_with("cc", "-shared", "-o", tmp_path / "libgone.so", empty)
    library = tmp_path / "payload.so"
    dpdk = f"-I{SOURCES.parents[2] / 'shim' / 'dpdk'}"
    linked = ("-Wl,--no-as-needed", "-L", tmp_path, "-lgone")
    compile_with("cc", "-shared", "-fPIC", dpdk, "-o", library, SOURCES / "payload.c", *linked)
    (tmp_path / "libgone.so").unlink()
    with Puppet("accept") as puppet:
        report = inject(puppet.pid, library)
        assert report.status == 3
        assert (
            report.failure == "the process could not load the library (dlopen() failed); it runs on unchanged"
        )
        assert puppet.memfds() == 0
        assert inject(puppet.pid, BUILT / "libinject_payload.so").status == 0
        assert puppet.wake() == ["loaded", "woken"]


def test_two_at_once():
    library = str(BUILT / "libinject_payload.so")
    with Puppet("accept") as puppet:
        argv = [INJECTOR, str(puppet.pid), library]
        both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        texts = [process.communicate(timeout=60)[0] for process in both]
        assert 0 in [process.returncode for process in both], texts
        assert puppet.wake() == ["loaded", "woken"]


def survives(puppet: Puppet, library: Path) -> None:
    """After its injector was killed a process takes the next one, and its thread goes on."""
    again = inject(puppet.pid, library)
    assert again.status == 0 or is_loaded(again), again.text
    assert puppet.wake() == ["loaded", "woken"]


def is_loaded(report: Report) -> bool:
    """Tell whether the process had the library already, or by the time that it was to be loaded."""
    return (
        report.refusals == ["the shim is in the process already"]
        or report.failure == "another dpcap has just loaded the shim into this process"
    )


def test_killed_at_every_system_call(libc):
    """The injector changes the world by system calls alone: each is a moment to die before and after."""
    killer = BUILT / "inject_kill_at"
    step = 1 if ROUNDS else 9
    for call in CALLS if ROUNDS else ["accept", "epoll_wait"]:
        for at in range(1, 10_000, step):
            with Puppet(call, program=libc.puppet) as puppet:
                argv = [killer, str(at), INJECTOR, str(puppet.pid), libc.payload]
                ended = subprocess.run(argv, check=False, capture_output=True, timeout=60).returncode
                if call == "epoll_wait" and not survived_interrupted(puppet, libc.payload):
                    continue
                if call != "epoll_wait":
                    survives(puppet, libc.payload)
            if ended == 1:
                break
        else:
            pytest.fail("the injector does not end")
        assert at > 40


def survived_interrupted(puppet: Puppet, library: Path) -> bool:
    """epoll_wait() is the one call that an injector which dies in the wrong moment ends, with EINTR."""
    again = inject(puppet.pid, library)
    if again.refusals and "no thread sleeps" in again.refusals[0]:
        assert puppet.wake() == ["the call returned -4 (Interrupted system call)"]
        return False
    assert again.status == 0 or is_loaded(again), again.text
    assert puppet.wake() == ["loaded", "woken"]
    return True


def test_killed_at_a_random_instruction(libc):
    rng = random.Random(8)
    for _ in range(ROUNDS or 10):
        with Puppet("accept", program=libc.puppet) as puppet:
            process = subprocess.Popen([INJECTOR, str(puppet.pid), libc.payload], stdout=subprocess.DEVNULL)
            time.sleep(rng.uniform(0, 0.03))  # a moment, not a wait
            process.send_signal(signal.SIGKILL)
            process.wait()
            survives(puppet, libc.payload)
