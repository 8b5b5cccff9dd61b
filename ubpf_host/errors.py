# SPDX-License-Identifier: BSD-3-Clause
"""What goes wrong with programs and engines. Each message is one line."""

from __future__ import annotations


class VerifierError(ValueError):
    """A program that the verifier refused. The message tells why, ``log`` all that it said."""

    def __init__(self, log: str) -> None:
        lines = [line for line in log.splitlines() if line.strip()]
        super().__init__(lines[-1].strip() if lines else "the program was refused")
        self.log = log


class EngineError(RuntimeError):
    """An engine that is not installed, or cannot run this program."""
