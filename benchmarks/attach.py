# SPDX-License-Identifier: BSD-3-Clause
"""
What a thousand captures that come and go on a busy core leave in the application.

A testpmd forwards on a core that it shares with a thread that does nothing but compete, so that the lcore is
preempted inside hooks. Captures attach and detach; others are killed in the middle (kill -9). Before and
after, while nobody captures: packets per CPU-second of the forwarding thread, descriptors, mappings, memory.

    ./dev bench attach [--cycles N] [--kills N] [--json OUT]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the harness that runs real testpmds

import traffic  # noqa: E402

from support.footprint import Footprint, is_captured  # noqa: E402
from support.hugepages import HugePages  # noqa: E402
from support.shim_client import attach_and_be_killed, connect, keep_if_byte  # noqa: E402
from support.testpmd import Testpmd, lcores, wait_until  # noqa: E402

UDP = keep_if_byte(23, 17)
RING = 65536
SECONDS = 0.5  # of a sample
WARM_UP = 5  # rounds in which everything is used once


def forwarding_thread(app: Testpmd) -> Path:
    """Return the folder in /proc of the thread that forwards."""
    tasks = Path(f"/proc/{app.pid}/task").iterdir()
    (task,) = [task for task in tasks if (task / "comm").read_text().strip() == "rte-worker-1"]
    return task


def mpps(app: Testpmd, task: Path, count: int) -> float:
    """Return how many million packets a CPU-second of the thread forwards: the median of some samples."""

    def reading() -> tuple[int, int]:
        return int((task / "schedstat").read_text().split()[0]), app.stats()["RX-packets"]

    samples = []
    for _ in range(count):
        ns, packets = reading()
        time.sleep(SECONDS)
        ns_after, packets_after = reading()
        samples.append((packets_after - packets) * 1000 / (ns_after - ns))
    return statistics.median(samples)


def show(when: str, rate: float, size: Footprint) -> dict[str, object]:
    """Print one line, and return it for the file."""
    print(f"{when:26}{rate:8.2f} Mpps  {size}", flush=True)
    return {"when": when, "mpps": rate, **dataclasses.asdict(size)}


def attach(app: Testpmd) -> None:
    """Capture until a packet came, and leave."""
    with connect(app) as client:
        rings = client.attach([0], UDP, ring_size=RING)
        wait_until(lambda: any(ring.read() for ring in rings), "a packet")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="What attaching and detaching leaves in an application.")
    parser.add_argument("--cycles", type=int, default=1000, help="captures that end in order (default 1000)")
    parser.add_argument("--kills", type=int, default=200, help="captures that are killed (default 200)")
    parser.add_argument("--samples", type=int, default=9, help="of the throughput, each time (default 9)")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpcap-attach-")))
        pcap = folder / "mix.pcap"
        traffic.write_pcap(pcap, traffic.mix())
        pages = stack.enter_context(HugePages(160))
        print(pages.note)
        vdev = f"net_pcap0,rx_pcap={pcap},infinite_rx=1"
        app = stack.enter_context(Testpmd([vdev], eal_args=pages.eal_args, megabytes=128, mbufs=16384))
        app.start()
        wait_until(app.sockets, "the control socket")
        (path,) = app.sockets()
        task = forwarding_thread(app)
        rows = [show("never captured", mpps(app, task, args.samples), Footprint.of(app.pid))]
        for _ in range(WARM_UP):
            attach(app)
            attach_and_be_killed(path)
        wait_until(lambda: not is_captured(app.pid), "all captures gone")
        rows.append(
            show(f"after {2 * WARM_UP} captures", mpps(app, task, args.samples), Footprint.of(app.pid))
        )
        core = (lcores()[1].split(",") if len(lcores()) > 1 else ["0"])[-1]
        busy = stack.enter_context(
            subprocess.Popen(["taskset", "-c", core, "sh", "-c", "while :; do :; done"])
        )
        stack.callback(busy.kill)
        start = time.monotonic()
        for _ in range(args.cycles):
            attach(app)
        for _ in range(args.kills):
            attach_and_be_killed(path)
        seconds = time.monotonic() - start
        busy.kill()
        wait_until(lambda: not is_captured(app.pid), "all captures gone")
        when = f"after {args.cycles} + {args.kills} more"
        rows.append(show(when, mpps(app, task, args.samples), Footprint.of(app.pid)))
        print(f"{args.cycles} captures that left and {args.kills} that were killed, in {seconds:.0f} s")
        alive = app.alive
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    same = (rows[-1]["descriptors"], rows[-1]["threads"]) == (rows[1]["descriptors"], rows[1]["threads"])
    return 0 if alive and same else 1


if __name__ == "__main__":
    sys.exit(main())
