# SPDX-License-Identifier: BSD-3-Clause
"""All of these run in a real application."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _needs_dpdk(needs_testpmd: None) -> None:
    """Every test here runs an application."""
