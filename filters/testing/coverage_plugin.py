# SPDX-License-Identifier: BSD-3-Clause
"""``--dpcap-coverage``: reports at the end of a test run, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from dpcap.filters.explain import without_lists
from dpcap.filters.testing.coverage import Branch, Coverage, FilterCoverage, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NAME: Final = 60  # columns for the expression
_ENOUGH: Final = 1e-9


class CoveragePlugin:
    """Registered in runs that measure coverage."""

    def __init__(self, reports: Sequence[str], fail_under: float) -> None:
        self.coverage = Coverage()
        self._reports = reports
        self._fail_under = fail_under

    @property
    def _is_too_low(self) -> bool:
        return self.coverage.percent < self._fail_under - _ENOUGH

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write files; a coverage that is too low fails a run that passed."""
        for report in self._reports:
            if report.startswith("json:"):
                text = json.dumps(self.coverage.as_json(), indent=2)
                Path(report.removeprefix("json:")).write_text(f"{text}\n", encoding="utf-8")
        if self._is_too_low and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what no packet did."""
        if "term" in self._reports:
            terminalreporter.section("dpcap: coverage of filter branches")
            for line in lines(self.coverage):
                terminalreporter.line(line)
        if self._is_too_low:
            terminalreporter.line(
                f"FAIL: {self.coverage.percent:.0f} % of the filters' sides were taken, "
                f"--dpcap-coverage-fail-under={self._fail_under:g}",
                red=True,
            )


def lines(coverage: Coverage) -> Iterator[str]:
    """A line for each filter, and one for each test with a side that no packet took."""
    if not coverage.filters:
        yield "no filter was made by the dpcap fixture"
        return
    for found in coverage.filters:
        yield _sum(_short(found.name), [found])
        yield from _missing(found)
    if len(coverage.filters) > 1:
        yield _sum("all filters", coverage.filters)


def _sum(name: str, filters: Sequence[FilterCoverage]) -> str:
    sides, taken = sum(f.sides for f in filters), sum(f.taken for f in filters)
    return f"{name:<{_NAME}} {taken:>4} of {sides:>4} sides {percent(filters):4.0f} %"


def _missing(found: FilterCoverage) -> Iterator[str]:
    rows = [test for test in found.tests() if test.missing]
    shown = list(without_lists(rows, lambda t: (t.subject, t.missing), _several))
    width = max((len(test.text) for test in shown), default=0)
    for test in shown:
        yield f"    {test.text:<{width}}  {test.missing}"


def _several(count: int, test: Branch) -> Branch:
    return test._replace(text=f"{count} more of {test.subject}")


def _short(text: str) -> str:
    text = " ".join(text.split()) or "(the empty filter)"
    return text if len(text) <= _NAME else f"{text[: _NAME - 3]}..."
