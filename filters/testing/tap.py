# SPDX-License-Identifier: BSD-3-Clause
"""Filters as the ``dpcap`` fixture makes them: bound to an engine, and watched for coverage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dpcap.filters import cbpf
from dpcap.filters.errors import FilterError
from dpcap.filters.filter import Filter, compile  # noqa: A004 (as re.compile)
from dpcap.filters.lists import without_comments
from dpcap.filters.packets import Packet
from dpcap.ubpf_host import engines
from dpcap.ubpf_host.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dpcap.filters.packets import Direction, PacketLike

LIBPCAP = "libpcap"


def engine_names() -> list[str]:
    """All engines that can be asked for, here or not."""
    return [*engines.ENGINES, LIBPCAP]


def check(engine: str, tap: Filter) -> None:
    """Raise EngineError, with the reason, when an engine cannot run a filter."""
    if engine != LIBPCAP:
        engines.find(engine).load(tap.program())
    elif any(cbpf.is_ancillary(insn) for insn in tap.cbpf):
        raise EngineError("libpcap's interpreter knows neither direction, port nor queue")


class Tap(Filter):
    """A filter that runs in one engine and tells what it ran over.

    Raises EngineError when the engine cannot run it.
    """

    def __init__(
        self, tap: Filter, engine: str, observe: Callable[[Filter, Packet | None], None] | None
    ) -> None:
        super().__init__(tap.expression, tap.cbpf, optimize="plain" not in tap.forms)
        #: The engine that runs it.
        self.engine = engine
        check(engine, self)
        self._observe = observe
        if observe is not None:
            observe(self, None)

    def run(
        self,
        packet: PacketLike,
        wirelen: int | None = None,
        engine: str | None = None,
        *,
        direction: Direction | None = None,
        port: int | None = None,
        queue: int | None = None,
        form: str | None = None,
    ) -> int:
        """As Filter.run(), by default in the engine of the test."""
        known = Packet(packet, wirelen=wirelen, direction=direction, port=port, queue=queue)
        if self._observe is not None:
            self._observe(self, known)
        return super().run(known, engine=engine or self.engine, form=form)


class FilterFactory:
    """The ``dpcap`` fixture: makes filters that run in the engine of the test.

    >>> def test_gtpu(dpcap: FilterFactory) -> None:
    ...     assert packet in dpcap("udp port 2152")
    """

    def __init__(self, engine: str, observe: Callable[[Filter, Packet | None], None] | None = None) -> None:
        #: Name of the engine, as ``--dpcap-engine`` has it.
        self.engine = engine
        self._observe = observe
        self._made: dict[tuple[str, bool], Tap] = {}

    def __call__(self, filter: str | Path | Filter, *, optimize: bool = True) -> Tap:  # noqa: A002 (as they call it)
        """Make a filter of an expression, of a file with one (as ``dpcap -F`` reads it), or of a Filter.

        Raises FilterError for an expression that is none. Skips the test when the engine
        cannot run this filter.
        """
        __tracebackhide__ = True  # what is wrong is in the test
        if isinstance(filter, Path):
            filter = without_comments(filter.read_text(errors="surrogateescape"))  # noqa: A001
        if isinstance(filter, Filter):
            return self._bound(filter)
        key = filter, optimize
        if key not in self._made:  # hypothesis asks a hundred times
            try:
                self._made[key] = self._bound(compile(filter, optimize=optimize))
            except FilterError as error:
                raise error.with_traceback(None) from None
        return self._made[key]

    def from_cbpf(self, instructions: Iterable[Sequence[int]], *, optimize: bool = True) -> Tap:
        """Make a filter of (code, jt, jf, k) instructions, as tcpdump -dd prints them."""
        __tracebackhide__ = True
        return self._bound(Filter.from_cbpf(instructions, optimize=optimize))

    def _bound(self, made: Filter) -> Tap:
        __tracebackhide__ = True
        try:
            return Tap(made, self.engine, self._observe)
        except EngineError as error:
            pytest.skip(f"{self.engine} cannot run {made!r}: {error}")

    def __repr__(self) -> str:
        return f"<FilterFactory for {self.engine}>"
