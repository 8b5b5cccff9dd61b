# SPDX-License-Identifier: BSD-3-Clause
"""The folder of shared test data beside the repository (or where DPCAP_SHARED says)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shared(*parts: str) -> Path:
    """Return the path of a shared file or folder; skip the test when it is not there."""
    folder = Path(os.environ.get("DPCAP_SHARED") or ROOT.parent / "shared")
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no shared test data at {path} (set DPCAP_SHARED)", allow_module_level=True)
    return path
