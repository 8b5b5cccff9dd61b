# SPDX-License-Identifier: BSD-3-Clause
"""What goes wrong with programs and engines. Each message is one line."""

from __future__ import annotations


class VerifierError(ValueError):
    """A program that the verifier refused. The message tells why, ``log`` all that it said."""

    def __init__(self, log: str) -> None:
        # The registers at the place that is at fault are on indented lines after the reason.
        reasons = [line for line in log.splitlines() if line[:1].strip()]
        super().__init__(reasons[-1] if reasons else "the program was refused")
        self.log = log


class EngineError(RuntimeError):
    """An engine that is not installed, or cannot run this program."""
