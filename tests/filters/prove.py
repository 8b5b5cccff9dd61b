# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: T201 - a command
"""
Compare the filter compiler with libpcap's interpreter, and count what was compared.

Each expression is compiled by libpcap with its optimiser and without it. Every form that the
compiler makes of either program has to give what bpf_filter() gives for that program, called
for one packet and in bursts, for every packet cut to each length from 0 to 130 and whole, each
before a page that must not be touched. Random expressions and programs are hypothesis'; what
it finds it reduces to the smallest. Each pass by itself: decisions before and after it.

Each form in all engines: interpreter, JIT, the kernel (where bpf(2) may be called) and libubpf (where
it is installed, or DPCAP_LIBUBPF names it). So is the form that the uprobe target takes, with no more of
a packet than that target copies for it.

    ./dev prove [--full] [--captures FOLDER]

Without --full: the first packet of each capture, and fewer random programs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import inputs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dpcap.filters import Filter, FilterError, cbpf, libpcap
from support import expressions, passes, programs
from support.differential import LONGEST, Comparison, entry
from support.kernel import Engines, NotAllowedError
from support.packets import assorted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# With tables, which are a map of their own in the kernel.
LISTS = [
    " or ".join(f"host 10.{i % 3}.0.{i % 250}" for i in range(300)),
    " or ".join(f"tcp dst port {7 * i + 3}" for i in range(300)),
    " or ".join(f"ip6 host 2001:db8::{i:x}" for i in range(40)),
]
CAPTURES = Path(__file__).parents[3] / "shared" / "pcaps"


class DifferenceError(AssertionError):
    """The compiler and libpcap do not agree."""


def both(expression: str) -> Iterator[Filter]:
    """The filter from libpcap's optimised program, and from the other one."""
    for optimize in (True, False):
        try:
            program = cbpf.validate(libpcap.compile_cbpf(expression, optimize=optimize))
        except FilterError:
            continue  # only libpcap's optimiser sees that a filter rejects all packets
        yield Filter(expression, program)


def captures(folder: Path, most: int | None) -> tuple[list[bytes], list[bytes]]:
    """Different packets of all captures: Ethernet's, and those of other links as raw bytes."""
    ethernet: dict[bytes, None] = {}
    others: dict[bytes, None] = {}
    for path in sorted(folder.glob("*.pcap*")):
        try:
            link, packets = inputs.read_capture(path)
        except inputs.InputError as error:
            print(f"left out: {error}")
            continue
        (ethernet if link == inputs.DLT_EN10MB else others).update(dict.fromkeys(packets[:most]))
    return list(ethernet), [packet for packet in others if packet not in ethernet]


def known(comparison: Comparison, packets: list[bytes]) -> str:
    """Every primitive of pcap-filter(7) on all packets."""
    taps = [tap for expression in expressions.ALL for tap in both(expression)]
    found = comparison.run([entry(tap) for tap in taps], packets)
    if found:
        raise DifferenceError(found)
    forms = sum(len(tap.forms) + 1 for tap in taps)
    return f"{len(expressions.ALL)} expressions, {len(taps)} programs, {forms} forms"


def limits(examples: int) -> settings:
    """Hypothesis' settings for so many examples: others each time."""
    return settings(
        max_examples=examples, deadline=None, database=None, derandomize=False, print_blob=True,
        phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def random_expressions(comparison: Comparison, packets: list[bytes], examples: int) -> str:
    """Random well-typed expressions, each on all packets."""
    count = 0

    @limits(examples)
    @given(programs.expressions)
    def compare(expression: str) -> None:
        nonlocal count
        if "inbound" in expression:
            return
        try:
            entries = [entry(tap) for tap in both(expression)]
        except FilterError:
            return
        found = comparison.run(entries, packets)
        count += 1
        if found:
            comparison.counts.differences = 0
            raise DifferenceError(found)

    compare()
    return f"{count} random expressions"


def random_programs(comparison: Comparison, packets: list[bytes], examples: int) -> str:
    """Random cBPF programs, each on all packets and one of its own."""
    count = 0

    @limits(examples)
    @given(programs.programs(), programs.packets)
    def compare(program: cbpf.Program, packet: bytes) -> None:
        nonlocal count
        if any(cbpf.is_ancillary(insn) for insn in program):
            return
        found = comparison.run([entry(Filter.from_cbpf(program))], [packet, *packets])
        count += 1
        if found:
            comparison.counts.differences = 0
            raise DifferenceError(found)

    compare()
    return f"{count} random programs"


def each_pass(examples: int) -> str:
    """Decisions before and after each pass, on random programs and packets."""
    for apply in passes.PASSES:

        @limits(examples)
        @given(programs.programs(), st.one_of(programs.packets, st.sampled_from(assorted())), st.just(apply))
        def compare(program: cbpf.Program, packet: bytes, apply: passes.Pass) -> None:
            passes.check(program, packet[:LONGEST], apply)

        compare()
    return f"{len(passes.PASSES)} passes, each on {examples} random programs"


def every_engine(known: Sequence[str], packets: list[bytes], examples: int) -> str:
    """Each form of known expressions, of lists and of random programs in all engines."""
    accepted: Counter[str] = Counter()
    every: Counter[str] = Counter()

    def compare(engines: Engines, tap: Filter, packets: list[bytes]) -> None:
        with engines.load(tap) as forms:
            every.update(form.name for form in forms)
            accepted.update(form.name for form in forms if form.kernel >= 0)
            found = engines.compare(forms, packets)
            if found:
                raise DifferenceError(f"{tap!r}, {found}")

    with Engines() as engines:
        taps = [tap for expression in [*known, *LISTS] for tap in both(expression)]
        for tap in taps:
            compare(engines, tap, packets)
        forms = [", ".join(f"{accepted[name]} of {every[name]} {name}" for name in every)]
        for counter in (accepted, every):
            counter.clear()

        @limits(examples)
        @given(programs.programs(), programs.packets)
        def random(program: cbpf.Program, packet: bytes) -> None:
            compare(engines, Filter.from_cbpf(program), [packet, *packets[::10]])

        random()
        forms.append(", ".join(f"{accepted[name]} of {every[name]} {name}" for name in every))
        counts = engines.counts
        ubpf = f"{counts.ubpf} of libubpf" if counts.ubpf else "libubpf: skipped, not installed"
        return (
            f"every engine: {len(known)} expressions and {len(LISTS)} lists, {len(taps)} programs; "
            f"the kernel takes of their forms {forms[0]}; of random programs' {forms[1]}; on "
            f"{engines.cuts.packets} packets at {engines.cuts.cut_packets} lengths {counts.results} results "
            f"of the interpreter beside as many of the JIT, {counts.kernel} of the kernel ({ubpf})"
        )


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(description="Compare the filter compiler with libpcap's interpreter.")
    parser.add_argument("--full", action="store_true", help="all packets, ten times as much at random")
    parser.add_argument("--captures", type=Path, default=CAPTURES, help="a folder of capture files")
    parser.add_argument(
        "--every", type=inputs.count, default=1, help="of the expressions, one in so many in every engine"
    )
    parser.add_argument("--random", type=inputs.count, help="random expressions, and programs")
    arguments = parser.parse_args()
    examples = arguments.random or (3000 if arguments.full else 300)
    ethernet, others = captures(arguments.captures, None if arguments.full else 1)
    if not ethernet:
        print(f"no captures in {arguments.captures}: generated packets only", file=sys.stderr)
    generated = list(assorted())
    print(
        f"packets: {len(ethernet)} of Ethernet captures, {len(others)} of others as raw bytes, "
        f"{len(generated)} generated; cut to 0 to {LONGEST} bytes, and whole"
    )
    some = [*generated[::3], *ethernet[:: max(1, len(ethernet) // 20)]]
    stages: list[Callable[[Comparison], str]] = [
        lambda c: known(c, [*generated, *ethernet, *others]),
        lambda c: random_expressions(c, some, examples),
        lambda c: random_programs(c, some, examples),
        lambda _: each_pass(examples // 10),
        lambda _: every_engine(
            expressions.ALL[:: arguments.every], some if arguments.full else generated[::6], examples
        ),
    ]
    for stage in stages:
        start, comparison = time.monotonic(), Comparison()
        try:
            what = stage(comparison)
        except NotAllowedError as error:
            print(f"every engine: skipped: {error}", flush=True)
            continue
        except AssertionError as error:
            print(error, file=sys.stderr)
            print("differences found", file=sys.stderr)
            return 1
        counts = comparison.counts
        compared = (
            f" on {comparison.packets} packets at {comparison.cut_packets} lengths: {counts.wanted} results "
            f"of bpf_filter() beside {counts.calls} of calls and {counts.bursts} in bursts"
            if counts.wanted
            else ""
        )
        print(f"{what}{compared}: 0 differences ({time.monotonic() - start:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", os.devnull)
    sys.exit(main())
