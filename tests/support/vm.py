# SPDX-License-Identifier: BSD-3-Clause
"""The engines of the VM that tests run."""

from __future__ import annotations

import warnings

import pytest

from dpcap.ubpf_host import engines

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _has_jit = engines.default() == "jit"

NEEDS_JIT = pytest.mark.skipif(not _has_jit, reason="no JIT for this machine")
# The engines of the VM itself, for parametrize.
ENGINES = [pytest.param("jit", marks=NEEDS_JIT), "interp"]
