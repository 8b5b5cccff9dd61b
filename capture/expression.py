# SPDX-License-Identifier: BSD-3-Clause
"""The filter of a command line: where its words come from, and how its errors are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.capture.errors import DpcapError, FilterSyntaxError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from dpcap.capture.arguments import Arguments

    T = TypeVar("T")


def expression(arguments: Arguments) -> str:
    """Return the filter expression: the words joined by spaces, or -F FILE without its comments."""
    if arguments.filter_file is None:
        return " ".join(arguments.filter)
    return read_filter_file(arguments.filter_file)


def read_filter_file(path: str) -> str:
    """Return the filter in a file, without the comments."""
    try:
        with open(path, errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        raise DpcapError(f"cannot read the filter from {path}: {error.strerror}") from error
    from dpcap.filters.lists import without_comments  # noqa: PLC0415 - with the compiler, when it is needed

    return without_comments(text)


def compiled(compile_: Callable[[], T]) -> T:
    """Call a compiler, and raise its FilterError as one of the command line's errors."""
    from dpcap.filters.errors import FilterError  # noqa: PLC0415 - with the compiler, when it is needed

    try:
        return compile_()
    except FilterError as error:
        from dpcap.filters.locate import locate  # noqa: PLC0415

        raise FilterSyntaxError(str(locate(error))) from error
