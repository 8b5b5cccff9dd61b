# SPDX-License-Identifier: BSD-3-Clause
"""Which sides of which tests of a filter the packets of a test suite took.

The tests are those of the cBPF that libpcap makes of the expression, without those that earlier ones
settle. That a packet ends before a byte that is looked at is no side: libpcap's semantics, not the filter's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dpcap.filters import ir
from dpcap.filters.build import TooManyPathsError, build
from dpcap.filters.evaluate import Evaluation
from dpcap.filters.explain import metadata_of
from dpcap.filters.passes.implied import drop_implied
from dpcap.filters.testing.witness import Told, distinct, tell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dpcap.filters.filter import Filter
    from dpcap.filters.ir import Node
    from dpcap.filters.packets import Packet


_LONG: Final = 200  # tests


class Branch(NamedTuple):
    """One test of a filter, and how many packets took its sides."""

    text: str
    subject: str
    true: int
    false: int

    @property
    def missing(self) -> str:
        """What no packet did; empty where both sides were taken."""
        if not self.true and not self.false:
            return "never tested"
        return "never true" if not self.true else "never false" if not self.false else ""


class FilterCoverage:
    """The sides of one filter. TooManyPathsError for programs that are no decisions."""

    def __init__(self, tap: Filter) -> None:
        #: What the user calls it.
        self.name = tap.expression if tap.expression is not None else f"{len(tap.cbpf)} cBPF instructions"
        graph = ir.Graph()
        self._root = drop_implied(graph, build(graph, tap.cbpf))
        told = tell(self._root)
        # drop_implied() leaves long lists alone: there a test is one wherever it stands.
        self._is_long = len(told) > _LONG
        merged: dict[Node, Told] = {}
        for node, words in told.items():
            merged.setdefault(self._key(node), words)
        self._told = distinct(merged)
        self._taken: dict[tuple[Node, bool], int] = {}
        self._packets: set[Packet] = set()

    def _key(self, node: Node) -> Node:
        condition: Node = node.args[0]
        return condition if self._is_long else node

    def observe(self, packet: Packet) -> None:
        """Count the sides that a packet takes, once for each different packet."""
        if packet in self._packets:
            return
        self._packets.add(packet)
        metadata = metadata_of(packet.direction, packet.port, packet.queue)
        evaluate = Evaluation(packet.data, packet.wirelen, metadata)
        node = self._root
        while node.op == "branch":
            condition, then, else_ = node.args
            holds = bool(evaluate(condition))
            side = self._key(node), holds
            self._taken[side] = self._taken.get(side, 0) + 1
            node = then if holds else else_

    @property
    def packets(self) -> int:
        """Different packets that it ran over."""
        return len(self._packets)

    def tests(self) -> list[Branch]:
        """The tests in the order of the filter."""
        return [
            Branch(
                words.test, words.subject, self._taken.get((node, True), 0), self._taken.get((node, False), 0)
            )
            for node, words in self._told.items()
        ]

    @property
    def sides(self) -> int:
        """How many there are."""
        return 2 * len(self._told)

    @property
    def taken(self) -> int:
        """How many some packet took."""
        return sum(bool(count) for test in self.tests() for count in (test.true, test.false))


class Coverage:
    """The coverage of all filters of a test run."""

    def __init__(self) -> None:
        self._filters: dict[object, FilterCoverage | None] = {}

    def observe(self, tap: Filter, packet: Packet | None = None) -> None:
        """Count a packet that a filter runs over; without one only that the filter was made."""
        key = (tap.expression, tap.cbpf)
        if key not in self._filters:
            try:
                self._filters[key] = FilterCoverage(tap)
            except TooManyPathsError:
                self._filters[key] = None
        found = self._filters[key]
        if found is not None and packet is not None:
            found.observe(packet)

    @property
    def filters(self) -> list[FilterCoverage]:
        """Those that can be measured, in the order in which they were made."""
        return [found for found in self._filters.values() if found is not None]

    @property
    def percent(self) -> float:
        """Of the sides of all filters."""
        return percent(self.filters)

    def as_json(self) -> dict[str, Any]:
        """What ``--dpcap-coverage=json:FILE`` writes."""
        return {
            "filters": [
                {
                    "filter": found.name,
                    "packets": found.packets,
                    "sides": found.sides,
                    "taken": found.taken,
                    "percent": round(percent([found]), 1),
                    "tests": [{"test": t.text, "true": t.true, "false": t.false} for t in found.tests()],
                }
                for found in self.filters
            ],
            "sides": sum(found.sides for found in self.filters),
            "taken": sum(found.taken for found in self.filters),
            "percent": round(self.percent, 1),
        }


def percent(filters: Iterable[FilterCoverage]) -> float:
    """Of the sides of some filters, those that were taken; 100 where there are none."""
    found = list(filters)
    sides = sum(f.sides for f in found)
    return 100.0 * sum(f.taken for f in found) / sides if sides else 100.0
