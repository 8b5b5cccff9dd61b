# SPDX-License-Identifier: BSD-3-Clause
"""What all tests of the injector need."""

from __future__ import annotations

import pytest

from support.injection import INJECTOR


@pytest.fixture(scope="session", autouse=True)
def _needs_injector() -> None:
    if not INJECTOR.exists():
        pytest.skip("dpcap-inject is missing: ./dev build builds it on x86-64")
