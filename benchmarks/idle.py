# SPDX-License-Identifier: BSD-3-Clause
"""
What dpcap takes of a CPU while nothing matches: it looks at its rings every millisecond and otherwise sleeps.

    ./dev bench idle [--samples N] [--json OUT]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the harness that runs real testpmds

from support.command import dpcap  # noqa: E402
from support.testpmd import Testpmd  # noqa: E402

NOTHING = "udp port 9"
SECONDS = 2.0  # of a sample


def cpu_ns(pid: int) -> int:
    """Return the CPU time that the threads of a process have used."""
    return sum(
        int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()
    )


def shares(pid: int, samples: int) -> list[float]:
    """Return what share of a CPU a process takes, once a sample."""
    found = []
    for _ in range(samples):
        before, start = cpu_ns(pid), time.monotonic()
        time.sleep(SECONDS)
        found.append((cpu_ns(pid) - before) / 1e9 / (time.monotonic() - start))
    return found


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="The CPU that an idle capture takes.")
    parser.add_argument("--samples", type=int, default=10, help="of two seconds each (default 10)")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    args = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="dpcap-idle-") as folder, Testpmd(["net_null0"]) as app:
        for name in ("no traffic", "traffic of which nothing matches"):
            arguments = ("--pid", str(app.pid), "-i", "port0", "-w", f"{folder}/out.pcapng", NOTHING)
            with dpcap(*arguments) as capture:
                found = shares(capture.pid, args.samples)
                capture.end()
            results[name] = found
            print(
                f"{name:34} median {statistics.median(found):.2%}, most {max(found):.2%} of a CPU", flush=True
            )
            app.start()
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
