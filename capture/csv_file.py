# SPDX-License-Identifier: BSD-3-Clause
"""Numbers over time in a CSV file: a header, then rows as they come."""

from __future__ import annotations

import csv
import sys
from contextlib import nullcontext
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Self

from dpcap.capture.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType


def timestamp(seconds: float) -> str:
    """Write a time (seconds since 1970) as ISO 8601 does, in local time with its offset from UTC."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")


class CsvFile:
    """A file of rows; - is standard output. A context manager: leaving it closes the file."""

    def __init__(self, path: str, columns: Sequence[str]) -> None:
        """Open the file and write the header. Raises OutputError."""
        try:
            # Not closed here, but by close().
            self._file: IO[str] = sys.stdout if path == "-" else open(path, "w", newline="")  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error
        self._writer = csv.DictWriter(self._file, columns, lineterminator="\n")
        self._writer.writeheader()

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        with nullcontext() if self._file is sys.stdout else self._file:
            self._file.flush()

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows; whoever follows the file sees them at once. None becomes an empty field."""
        self._writer.writerows(rows)
        self._file.flush()
