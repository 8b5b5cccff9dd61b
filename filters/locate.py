# SPDX-License-Identifier: BSD-3-Clause
"""Where in an expression an error is; libpcap tells only what.

There is no second parser here. A message that names its culprit ("unknown host
'foo'") is searched for it. For a syntax error libpcap itself is asked, token by
token: a beginning of the expression is *viable* when some completion of it
parses. Whatever follows a viable beginning never makes a shorter one
unviable, so bisection finds the first token that no completion saves.
"""

from __future__ import annotations

import re
from typing import Final

from dpcap.filters.errors import FilterError
from dpcap.filters.libpcap import compile_cbpf

# pcap-filter(7)'s tokens: names and addresses in one piece, operators, the rest by the character.
_TOKEN: Final = re.compile(r"\\?[\w.:$-]+|<<|>>|<=|>=|==|!=|&&|\|\||\S")

# What can follow some beginning: nothing, an operand of each kind, the rest of an
# index or of a comparison, a whole primitive.
_ENDINGS: Final = (
    "",
    " 1",
    " 1.1.1.1",
    " 00:00:00:00:00:00",
    " ip",
    " 1-2",
    " host 1.1.1.1",
    " = 1",
    " > 1",
    " 0] = 1",
    " 1] = 1",
    "] = 1",
    " 0",
    " 255.0.0.0",
    " stp",
    " proto 1",
    " fd00::1",
    " src 1",
)

_SYNTAX_ERROR: Final = "syntax error"
_QUOTED: Final = re.compile(r"'([^']+)'|\"([^\"]+)\"|address (\S+)$|: (\S+)$")


def locate(error: FilterError) -> FilterError:
    """The same error, with the place where it can be found."""
    expression = error.expression
    if expression is None or error.place is not None:
        return error
    is_syntax = _SYNTAX_ERROR in error.message
    place = _syntax_error(expression) if is_syntax else _named(error.message, expression)
    return FilterError(error.message, expression, place)


def _named(message: str, expression: str) -> tuple[int, int] | None:
    """The part of the expression that the message quotes."""
    for groups in _QUOTED.findall(message):
        name = next(g for g in groups if g)
        # A bogus address is quoted up to its last colon.
        found = re.search(rf"(?<![\w.:]){re.escape(name)}(?:(?<=:)|(?![\w.]))", expression)
        if found:
            return found.span()
    return None


def _syntax_error(expression: str) -> tuple[int, int] | None:
    """The first token after which nothing can follow, or the end."""
    tokens = [m.span() for m in _TOKEN.finditer(expression)]
    good, bad = 0, len(tokens) + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if _viable(expression[: tokens[middle - 1][1]]):
            good = middle
        else:
            bad = middle
    if bad <= len(tokens):
        return tokens[bad - 1]
    end = tokens[-1][1] if tokens else 0
    return end, end + 1


def _viable(beginning: str) -> bool:
    closing = ")" * max(0, beginning.count("(") - beginning.count(")"))
    bracket = "" if beginning.count("[") == beginning.count("]") else "] = 1"
    return any(
        _parses(beginning, ending + tail)
        for ending in _ENDINGS
        for tail in {closing, closing + bracket, closing + bracket + closing, bracket + closing}
    )


def _parses(beginning: str, rest: str) -> bool:
    try:
        compile_cbpf(beginning + rest, optimize=False)
    except FilterError as error:
        # "unknown port 'hots'" tells that a keyword is misspelt, where libpcap takes
        # it for a name. What else is wrong with a guessed ending does not matter.
        return _SYNTAX_ERROR not in error.message and _named(error.message, beginning) is None
    return True
