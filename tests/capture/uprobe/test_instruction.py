# SPDX-License-Identifier: BSD-3-Clause
"""Where functions are probed, by what real drivers begin with."""

from __future__ import annotations

import pytest

from dpcap.capture.uprobe.instruction import Place, place


@pytest.mark.parametrize(
    ("code", "offset", "is_cheap"),
    [
        ("41 57 41 56", 0, True),  # push %r15
        ("55 48 89 e5", 0, True),  # push %rbp
        ("f3 0f 1e fa 41 57", 4, True),  # endbr64; push
        ("66 85 d2 74 10", 3, True),  # test %dx,%dx; je
        ("66 85 d2 0f 84 00 01 00 00", 3, True),  # the same, with a long jump
        ("f3 0f 1e fa 66 85 d2 74 10", 7, True),
        ("48 85 ff 74 10", 3, True),  # test %rdi,%rdi; je
        ("f6 c2 07 75 10", 3, True),  # test $7,%dl; jne
        ("0f 1f 44 00 00", 0, True),  # nop
        ("eb 10", 0, True),  # jmp
        ("e9 00 00 00 00", 0, True),
        ("66 85 d2 31 c0", 0, False),  # test without a jump
        ("48 83 ec 28 85 d2 74 10", 0, False),  # the stack has changed
        ("89 d0 c3", 0, False),  # mov
        ("0f b7 c2", 0, False),  # movzwl
        ("85 17 74 10", 0, False),  # test %edx,(%rdi): of memory
        ("f3 0f 1e fa 89 d0", 0, False),
        ("48", 0, False),
        ("", 0, False),
    ],
)
def test_place(code, offset, is_cheap):
    assert place(bytes.fromhex(code)) == Place(offset, is_cheap)
