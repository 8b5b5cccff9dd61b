# SPDX-License-Identifier: BSD-3-Clause
"""What can go wrong for a user of the command: one class and one exit code for each kind.

The message is one line that says what is wrong and what to do about it. Lines after the first are detail
(the place in a filter, a verifier's log) and are printed below it as they are.
"""

from __future__ import annotations


class DpcapError(Exception):
    """A failure that the user can do something about; printed as ``dpcap: MESSAGE``."""

    exit_code = 1
    meaning = "anything else that went wrong"


class UsageError(DpcapError):
    """The command line does not make sense."""

    exit_code = 2
    meaning = "the command line is wrong"


class NoApplicationError(DpcapError):
    """No DPDK process was found, or none that was asked for."""

    exit_code = 3
    meaning = "no DPDK application found"


class AmbiguousApplicationError(DpcapError):
    """Several DPDK processes run and none was chosen."""

    exit_code = 4
    meaning = "several DPDK applications run: choose with --pid or --file-prefix"


class NoPortError(DpcapError):
    """The application has no such port."""

    exit_code = 5
    meaning = "no such port"


class NoShimError(DpcapError):
    """The application runs without the shim."""

    exit_code = 6
    meaning = "the application has no shim loaded"


class AccessError(DpcapError):
    """The application belongs to somebody else."""

    exit_code = 7
    meaning = "not permitted: run as the application's user or as root"


class FilterSyntaxError(DpcapError):
    """The filter expression does not compile."""

    exit_code = 8
    meaning = "the filter expression does not compile"


class RefusedError(DpcapError):
    """The application's shim answered a request with an error."""

    exit_code = 9
    meaning = "the application refused (the verifier's log is shown)"


class OutputError(DpcapError):
    """The capture file cannot be opened or written."""

    exit_code = 10
    meaning = "the output cannot be written"


class ToolError(DpcapError):
    """A program that dpcap relies on is missing or failed."""

    exit_code = 11
    meaning = "a program that dpcap needs is missing or failed (tcpdump prints the packets)"


class InjectionError(DpcapError):
    """The shim cannot be loaded into the running application."""

    exit_code = 12
    meaning = "the shim cannot be loaded into the running application (nothing was tried, or it runs on)"


INTERNAL_EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h

ERRORS: tuple[type[DpcapError], ...] = (
    DpcapError,
    UsageError,
    NoApplicationError,
    AmbiguousApplicationError,
    NoPortError,
    NoShimError,
    AccessError,
    FilterSyntaxError,
    RefusedError,
    OutputError,
    ToolError,
    InjectionError,
)


def exit_code_table() -> list[tuple[int, str]]:
    """Every exit code and what it means, in order."""
    return [
        (0, "success"),
        *((error.exit_code, error.meaning) for error in ERRORS),
        (INTERNAL_EXIT_CODE, "a defect in dpcap (DPCAP_DEBUG=1 shows the traceback)"),
    ]
