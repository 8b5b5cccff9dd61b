# SPDX-License-Identifier: BSD-3-Clause
"""The assembler: eBPF text to instructions.

The syntax is the one of the bpf_conformance suite, one statement a line (``;`` separates too)::

    start:                      # a label; comments run to the end of the line
        mov32 %r0, 1
        ldxw %r2, [%r1+4]       # sizes b h w dw; ldxsb ldxsh ldxsw extend the sign
        jeq32 %r2, 0x10, +1     # to a label, or so many slots further
        call 5                  # a helper; 'call local f' a function, 'call %r2' by register
        lock fetch add [%r10-8], %r2
        lddw %r3, map_val(map_by_idx(0))+16     # forms of RFC 9669 section 5.4
        exit

Without a label of that name, ``exit`` names the first exit instruction. ``.quad N`` is a raw slot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dpcap.ubpf_host import isa
from dpcap.ubpf_host.isa import EncodeError, Insn, Item, Label, Raw

# The words of RFC 9669 section 5.4, and whether next_imm takes an offset.
LDDW_FORMS = {
    isa.LDDW_MAP_BY_FD: ("map_by_fd({})", False),
    isa.LDDW_MAP_VALUE_BY_FD: ("map_val(map_by_fd({}))", True),
    isa.LDDW_VARIABLE: ("var_addr({})", False),
    isa.LDDW_CODE: ("code_addr({})", False),
    isa.LDDW_MAP: ("map_by_idx({})", False),
    isa.LDDW_MAP_VALUE: ("map_val(map_by_idx({}))", True),
}

_TOKEN = re.compile(
    r"(?P<space>[ \t\r]+|#.*)"
    r"|(?P<reg>%\w+|r\d+\b)"
    r"|(?P<number>0[xX][0-9a-fA-F]+\b|[0-9]+\b)"
    r"|(?P<word>[A-Za-z_.][\w.$]*)"
    r"|(?P<mark>[][,+\-:;()])"
)


class AsmError(ValueError):
    """Text that is no program; the message begins with line and column, both from 1."""

    def __init__(self, line: int, column: int, reason: str) -> None:
        super().__init__(f"line {line}, column {column}: {reason}")
        self.line = line
        self.column = column
        self.reason = reason


class _Token(NamedTuple):
    kind: str  # reg, number, word, mark or end (of the statement)
    text: str
    line: int
    column: int

    def error(self, reason: str) -> AsmError:
        return AsmError(self.line, self.column, reason)

    def __str__(self) -> str:
        return self.text or "end of line"


def _tokenise(text: str, line: int) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise AsmError(line, position + 1, f"unexpected character {text[position]!r}")
        if match.lastgroup != "space":
            yield _Token(str(match.lastgroup), match.group(), line, position + 1)
        position = match.end()
    yield _Token("end", "", line, len(text) + 1)


class _Statement:
    """The tokens of one line, read from left to right."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.position = 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.position]

    def at_end(self) -> bool:
        return self.next.kind == "end" or self.next.text == ";"

    def take(self, kind: str, wanted: str) -> _Token:
        token = self.next
        if token.kind != kind:
            raise token.error(f"expected {wanted}, found {token}")
        self.position += 1
        return token

    def accept(self, text: str) -> bool:
        if self.next.kind == "end" or self.next.text != text:
            return False
        self.position += 1
        return True

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.next.error(f"expected {text!r}, found {self.next}")

    def comma(self) -> None:
        self.expect(",")

    def reg(self) -> int:
        token = self.take("reg", "a register")
        match = re.fullmatch(r"%?r(\d+)", token.text)
        # r11 to r15 are no registers, but they can be written: the verifier says so too.
        if match is None or int(match[1]) > 15:
            raise token.error(f"no such register: {token.text} (%r0 to %r10 exist)")
        return int(match[1])

    def number(self, bits: int, *, pattern: bool = True) -> int:
        """A number of so many bits: decimal is signed; hexadecimal may be a pattern of all the bits."""
        start = self.next
        sign = -1 if self.accept("-") else 1
        if sign == 1:
            self.accept("+")
        token = self.take("number", "a number")
        hexadecimal = token.text[:2] in {"0x", "0X"}
        value = sign * int(token.text, 16 if hexadecimal else 10)
        pattern = (pattern and hexadecimal) or bits == 64
        if not -(1 << (bits - 1)) <= value < (1 << bits if pattern else 1 << (bits - 1)):
            raise start.error(f"{value} does not fit in {bits} bits")
        return value - (1 << bits) if value >= 1 << (bits - 1) else value

    def memory(self) -> tuple[int, int]:
        """``[%rN+offset]``: register and offset."""
        self.expect("[")
        reg = self.reg()
        offset = 0 if self.next.text == "]" else self._signed_offset()
        self.expect("]")
        return reg, offset

    def _signed_offset(self) -> int:
        if self.next.text not in {"+", "-"}:
            raise self.next.error(f"expected +, - or ], found {self.next}")
        return self.number(16)

    def target(self, bits: int) -> str | int:
        """A label, or a distance in slots."""
        if self.next.kind == "word":
            return self.take("word", "a label").text
        if self.next.kind == "number" or self.next.text in {"+", "-"}:
            return self.number(bits)
        raise self.next.error(f"expected a label or a distance, found {self.next}")


_Parser = Callable[[_Statement], Insn]


def _with_target(insn: Insn, target: str | int) -> Insn:
    if isinstance(target, str):
        return insn._replace(target=target)
    return insn._replace(imm=target) if isa.target_in_imm(insn) else insn._replace(offset=target)


def _two_operands(opcode: int, offset: int = 0) -> _Parser:
    def parse(s: _Statement) -> Insn:
        dst = s.reg()
        s.comma()
        if s.next.kind == "reg":
            return Insn(opcode | isa.X, dst, s.reg(), offset)
        return Insn(opcode, dst, 0, offset, s.number(32))

    return parse


def _one_operand(opcode: int, imm: int = 0) -> _Parser:
    return lambda s: Insn(opcode, s.reg(), imm=imm)


def _movsx(opcode: int, width: int) -> _Parser:
    def parse(s: _Statement) -> Insn:
        dst = s.reg()
        s.comma()
        return Insn(opcode, dst, s.reg(), width)

    return parse


def _conditional(opcode: int) -> _Parser:
    operands = _two_operands(opcode)

    def parse(s: _Statement) -> Insn:
        insn = operands(s)
        s.comma()
        return _with_target(insn, s.target(16))

    return parse


def _load(opcode: int) -> _Parser:
    def parse(s: _Statement) -> Insn:
        dst = s.reg()
        s.comma()
        base, offset = s.memory()
        return Insn(opcode, dst, base, offset)

    return parse


def _store_reg(opcode: int, imm: int = 0) -> _Parser:
    def parse(s: _Statement) -> Insn:
        base, offset = s.memory()
        s.comma()
        return Insn(opcode, base, s.reg(), offset, imm)

    return parse


def _store_imm(opcode: int) -> _Parser:
    def parse(s: _Statement) -> Insn:
        base, offset = s.memory()
        s.comma()
        return Insn(opcode, base, 0, offset, s.number(32))

    return parse


def _lddw(s: _Statement) -> Insn:
    dst = s.reg()
    s.comma()
    if s.next.kind != "word":
        return Insn(isa.LDDW, dst, imm=s.number(64) & 0xFFFF_FFFF_FFFF_FFFF)
    start = s.next
    words = []
    while s.next.kind == "word":
        words.append(s.take("word", "a word").text)
        s.expect("(")
    form = "(".join([*words, "{}"]) + ")" * len(words)
    imm = s.number(32) & 0xFFFF_FFFF
    for _ in words:
        s.expect(")")
    for source, (text, has_offset) in LDDW_FORMS.items():
        if text == form:
            next_imm = s.number(32) if has_offset and s.next.text in {"+", "-"} else 0
            return Insn(isa.LDDW, dst, source, imm=imm | (next_imm & 0xFFFF_FFFF) << 32)
    raise start.error(f"no such form of lddw: {form.format('N')}")


def _call(s: _Statement) -> Insn:
    if s.accept("local"):
        return _with_target(Insn(isa.CALL, src=isa.CALL_LOCAL), s.target(32))
    if s.accept("runtime"):
        return Insn(isa.CALL, src=isa.CALL_RUNTIME, imm=s.number(32))
    s.accept("helper")
    if s.next.kind == "reg":
        return Insn(isa.CALLX, s.reg())
    return Insn(isa.CALL, imm=s.number(32))


def _lock(s: _Statement) -> Insn:
    """``lock [fetch] OP[32] [%rN+offset], %rM``; ``fetch_add`` for ``fetch add`` too."""
    fetch = s.accept("fetch")
    token = s.take("word", "an atomic operation")
    op, size = token.text, "dw"
    if op.startswith("fetch_"):
        fetch, op = True, op.removeprefix("fetch_")
    if op.endswith("32"):
        op, size = op.removesuffix("32"), "w"
    if op not in isa.ATOMIC_OPS:
        raise token.error(f"no such atomic operation: {token.text} ({', '.join(isa.ATOMIC_OPS)})")
    fetch = fetch or op in isa.ATOMIC_ALWAYS_FETCH
    imm = isa.ATOMIC_OPS[op] | (isa.FETCH if fetch else 0)
    return _store_reg(isa.STX | isa.ATOMIC | isa.SIZES[size], imm)(s)


def _mnemonics() -> dict[str, _Parser]:
    table: dict[str, _Parser] = {
        "lddw": _lddw,
        "call": _call,
        "lock": _lock,
        "exit": lambda _: Insn(isa.EXIT),
        "ja": lambda s: _with_target(Insn(isa.JA), s.target(16)),
        "ja32": lambda s: _with_target(Insn(isa.JA32), s.target(32)),
    }
    for suffix, alu, jmp in (("", isa.ALU64, isa.JMP), ("32", isa.ALU, isa.JMP32)):
        for op, (code, offset) in isa.ALU_OPS.items():
            table[op + suffix] = _two_operands(code | alu, offset)
        for op, code in isa.JUMP_OPS.items():
            table[op + suffix] = _conditional(code | jmp)
        table["neg" + suffix] = _one_operand(isa.NEG | alu)
    for width in (16, 32, 64):
        for op, opcode in isa.END_OPS.items():
            table[f"{op}{width}"] = _one_operand(opcode, width)
        table[f"swap{width}"] = table[f"bswap{width}"]  # the suite uses both names
    for width, bits in ((8, 32), (16, 32), (8, 64), (16, 64), (32, 64)):
        table[f"movsx{width}{bits}"] = _movsx(isa.MOV | isa.X | (isa.ALU64 if bits == 64 else isa.ALU), width)
    for name, size in isa.SIZES.items():
        table[f"ldx{name}"] = _load(isa.LDX | isa.MEM | size)
        table[f"stx{name}"] = _store_reg(isa.STX | isa.MEM | size)
        table[f"st{name}"] = _store_imm(isa.ST | isa.MEM | size)
        if name != "dw":
            table[f"ldxs{name}"] = _load(isa.LDX | isa.MEMSX | size)
    return table


_MNEMONICS = _mnemonics()


class _Assembly:
    """The items of a text, with the tokens that errors point to."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.tokens: list[_Token] = []

    def add(self, item: Item, token: _Token) -> None:
        self.items.append(item)
        self.tokens.append(token)

    def statement(self, s: _Statement) -> None:
        token = s.take("word", "an instruction or a label")
        if s.accept(":"):
            self.add(Label(token.text), token)
            return
        if token.text == ".quad":
            self.add(Raw(s.number(64) & 0xFFFF_FFFF_FFFF_FFFF), token)
        elif token.text in _MNEMONICS:
            self.add(_MNEMONICS[token.text](s), token)
        else:
            raise token.error(f"no such instruction: {token.text}")
        if not s.at_end():
            raise s.next.error(f"unexpected {s.next} after {token.text}")

    def default_exit_label(self) -> None:
        if not any(isinstance(item, Insn) and item.target == "exit" for item in self.items):
            return
        if Label("exit") in self.items:
            return
        for index, item in enumerate(self.items):
            if isinstance(item, Insn) and item.opcode == isa.EXIT:
                self.items.insert(index, Label("exit"))
                self.tokens.insert(index, self.tokens[index])
                return


def _parse(text: str) -> _Assembly:
    assembly = _Assembly()
    for line, content in enumerate(text.split("\n"), start=1):
        s = _Statement(list(_tokenise(content, line)))
        while s.next.kind != "end":
            if not s.accept(";"):
                assembly.statement(s)
    assembly.default_exit_label()
    return assembly


def parse(text: str) -> list[Item]:
    """The instructions and labels of a text. AsmError names line and column of what is wrong."""
    return _parse(text).items


def assemble(text: str) -> bytes:
    """The bytes of a text, 8 for each slot. AsmError names line and column of what is wrong."""
    assembly = _parse(text)
    try:
        return isa.encode(assembly.items)
    except EncodeError as error:
        raise assembly.tokens[error.index].error(error.reason) from None
