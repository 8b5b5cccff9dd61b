# SPDX-License-Identifier: BSD-3-Clause
"""The pytest plugin, found by its entry point. The compiler is loaded when a test asks for it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from dpcap.filters.testing.compare import Comparison
    from dpcap.filters.testing.tap import FilterFactory

_COMPARISONS = pytest.StashKey[list["Comparison"]]()
_COVERAGE = "dpcap-coverage"
_NOT_BUILT = "dpcap's compiled modules cannot be loaded"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--dpcap-engine`` and its ini option, ``--dpcap-coverage``."""
    group = parser.getgroup("dpcap", "unit tests of packet filters")
    group.addoption(
        "--dpcap-engine",
        metavar="ENGINE,...",
        help="run tests with the dpcap fixture in each of these engines: jit (default), interp, libpcap, "
        "ubpf, rte_bpf, or all",
    )
    group.addoption(
        "--dpcap-coverage",
        metavar="REPORT",
        nargs="?",
        const="term",
        type=_report,
        action="append",
        default=[],
        help="which sides of which tests of the filters no packet took: term (default) or json:FILE; "
        "may be repeated",
    )
    group.addoption(
        "--dpcap-coverage-fail-under",
        metavar="PERCENT",
        type=float,
        default=0.0,
        help="fail when a smaller part of the sides was taken",
    )
    parser.addini("dpcap_engine", "default of --dpcap-engine", default="")


def _report(text: str) -> str:
    if text != "term" and not text.startswith("json:"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither term nor json:FILE (write --dpcap-coverage=term)"
        )
    return text


def pytest_configure(config: pytest.Config) -> None:
    """Refuse engines that do not exist, where some are named; start to measure coverage."""
    _engines(config)
    reports = config.getoption("dpcap_coverage")
    fail_under = config.getoption("dpcap_coverage_fail_under")
    if not reports and not fail_under:
        return
    if config.getoption("numprocesses", None):
        raise pytest.UsageError("--dpcap-coverage does not see other processes: run pytest without -n")
    try:
        from dpcap.filters.testing.coverage_plugin import CoveragePlugin  # noqa: PLC0415 (see the module)
    except ImportError as error:
        raise pytest.UsageError(f"--dpcap-coverage: {_NOT_BUILT}: {error}") from None
    config.pluginmanager.register(CoveragePlugin(reports or ["term"], fail_under), _COVERAGE)


def _engines(config: pytest.Config) -> list[str]:
    """Names of the engines that were asked for; none: the default one."""
    text = config.getoption("dpcap_engine") or config.getini("dpcap_engine")
    names = [name for name in text.replace(",", " ").split() if name]
    if not names:
        return []
    try:
        from dpcap.filters.testing.tap import engine_names  # noqa: PLC0415 (see the module)
    except ImportError as error:
        raise pytest.UsageError(f"--dpcap-engine: {_NOT_BUILT}: {error}") from None
    known = engine_names()
    for name in names:
        if name not in (*known, "all"):
            raise pytest.UsageError(f"--dpcap-engine: no such engine: {name} ({', '.join(known)}, all)")
    return known if "all" in names else list(dict.fromkeys(names))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test with the fixture once for each engine, which is in its id."""
    if "dpcap_engine" not in metafunc.fixturenames:
        return
    marks = metafunc.definition.iter_markers("parametrize")
    if any("dpcap_engine" in mark.args[0] for mark in marks):
        return  # a test that chooses its engines itself
    metafunc.parametrize(
        "dpcap_engine", _engines(metafunc.config) or [_default()], indirect=True, scope="session"
    )


def _default() -> str:
    try:
        from dpcap.ubpf_host.engines import default  # noqa: PLC0415 (see the module)
    except ImportError:
        return "jit"  # the fixture tells what is wrong
    return default()


@pytest.fixture(scope="session")
def dpcap_engine(request: pytest.FixtureRequest) -> str:
    """Name of the engine that the test's filters run in. Skips where this machine does not have it."""
    try:
        from dpcap.filters import compile  # noqa: A004, PLC0415 (see the module)
        from dpcap.filters.testing.tap import check  # noqa: PLC0415
        from dpcap.ubpf_host.errors import EngineError  # noqa: PLC0415
    except ImportError as error:
        pytest.fail(f"{_NOT_BUILT}: {error}", pytrace=False)
    name = str(request.param)
    try:
        check(name, compile("ip"))
    except EngineError as error:
        pytest.skip(f"no engine {name} here: {error}")
    return name


@pytest.fixture(scope="session")
def dpcap(dpcap_engine: str, pytestconfig: pytest.Config) -> FilterFactory:
    """Makes filters that run in the engine of the test. A filter is a container of packets.

    >>> tap = dpcap("udp port 2152")
    >>> assert packet in tap
    """
    from dpcap.filters.testing.tap import FilterFactory  # noqa: PLC0415 (see the module)

    measured = pytestconfig.pluginmanager.get_plugin(_COVERAGE)
    return FilterFactory(dpcap_engine, measured.coverage.observe if measured else None)


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: Any, right: object) -> list[str] | None:
    """Explain a failed ``assert packet in tap``."""
    module = sys.modules.get("dpcap.filters.filter")
    if module is None or op not in ("in", "not in") or not isinstance(right, module.Filter):
        return None
    from dpcap.filters.testing.compare import compare  # noqa: PLC0415 (see the module)

    found = compare(op, left, right)
    config.stash.setdefault(_COMPARISONS, []).append(found)
    return [found.head, found.verdict]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Add the path and the dump to the error, as a note: of long explanations pytest shows eight lines."""
    try:
        return (yield)
    except BaseException as error:
        _add_notes(error, item.config.stash.get(_COMPARISONS, []))
        raise
    finally:
        item.config.stash[_COMPARISONS] = []


def _add_notes(error: BaseException, comparisons: list[Comparison]) -> None:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            _add_notes(part, comparisons)
        return
    text = str(error)
    for found in reversed(comparisons):
        if found.head in text:
            error.add_note(f"\n{found.details}")
            return
