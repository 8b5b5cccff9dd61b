# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: E501 - tables read better with one entry a line
"""Random cBPF programs, random expressions and random packets, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from dpcap.filters import cbpf
from dpcap.filters.cbpf import Insn, Program

_NUMBERS = st.one_of(
    st.integers(0, 20),
    st.sampled_from([0x800, 0x86DD, 0xFF, 0xFFFF, 0x1FFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 262144]),
    st.integers(0, 0xFFFFFFFF),
)
_OFFSETS = st.one_of(
    st.integers(0, 70), st.sampled_from([32767, 32768, 65536, 0x7FFFFFFC, 0x80000000, 0xF0000000])
)
_CODES = sorted(c for c in cbpf.CODES if c & 7 not in (cbpf.JMP, cbpf.RET))
_JUMPS = sorted(c for c in cbpf.CODES if c & 7 == cbpf.JMP)


@st.composite
def _insn(draw: st.DrawFn, left: int) -> Insn:
    """One instruction before ``left`` others, the last of which returns."""
    kind = draw(st.integers(0, 9))
    if kind < 3 and left > 1:
        code = draw(st.sampled_from(_JUMPS))
        distance = st.integers(0, min(left - 1, 12))
        if code == cbpf.JMP | cbpf.JA:
            return Insn(code, 0, 0, draw(distance))
        return Insn(code, draw(distance), draw(distance), draw(_NUMBERS))
    if kind == 3 and left > 1 and draw(st.booleans()):
        return Insn(draw(st.sampled_from([0x06, 0x16])), 0, 0, draw(_NUMBERS))
    if kind < 6:  # loads of the packet are what filters are made of
        return Insn(draw(st.sampled_from([0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xB1])), 0, 0, draw(_OFFSETS))
    code = draw(st.sampled_from(_CODES))
    cls = code & 7
    if cls in (cbpf.ST, cbpf.STX) or (cls in (cbpf.LD, cbpf.LDX) and code & 0xE0 == cbpf.MEM):
        return Insn(code, 0, 0, draw(st.integers(0, 3)))
    if cls in (cbpf.LD, cbpf.LDX) and code & 0xE0 in (cbpf.ABS, cbpf.IND, cbpf.MSH):
        return Insn(code, 0, 0, draw(_OFFSETS))
    k = draw(_NUMBERS)
    if cls == cbpf.ALU and code & 0xF0 in (cbpf.LSH, cbpf.RSH):
        k %= 32
    if cls == cbpf.ALU and code & 0xF0 in (cbpf.DIV, cbpf.MOD):
        k = k or 1
    return Insn(code, 0, 0, k)


@st.composite
def programs(draw: st.DrawFn, longest: int = 30) -> Program:
    """A valid program. M[0] to M[3], A and X are set first: bpf_filter() does not clear M."""
    length = draw(st.integers(0, longest))
    start = [Insn(cbpf.LD | cbpf.IMM, 0, 0, draw(_NUMBERS)), *(Insn(cbpf.ST, 0, 0, i) for i in range(4))]
    body = [draw(_insn(length - i)) for i in range(length)]
    end = Insn(draw(st.sampled_from([0x06, 0x16])), 0, 0, draw(st.sampled_from([0, 1, 262144])))
    return cbpf.validate([*start, *body, end])


#: Bytes that look like Ethernet now and then.
packets = st.one_of(
    st.binary(max_size=90),
    st.builds(
        lambda head, kind, rest: head + kind + rest,
        st.binary(min_size=12, max_size=12),
        st.sampled_from([b"\x08\0\x45\0", b"\x08\0\x46\0", b"\x86\xdd\x60\0", b"\x81\0\0\x64\x08\0\x45\0", b"\x88\x47\0\x3e\x81\x40"]),
        st.binary(max_size=80),
    ),
)  # fmt: skip

_PRIMITIVES = st.one_of(
    st.sampled_from(["ip", "ip6", "tcp", "udp", "icmp", "arp", "sctp", "vlan", "vlan 100", "mpls", "ether multicast", "inbound"]),
    st.builds("{}host {}".format, st.sampled_from(["", "src ", "dst ", "ip "]), st.sampled_from(["10.0.0.1", "192.168.1.1", "10.0.0.2"])),
    st.builds("{}net {}".format, st.sampled_from(["", "src ", "dst "]), st.sampled_from(["10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32"])),
    st.builds("{}{}port {}".format, st.sampled_from(["", "tcp ", "udp "]), st.sampled_from(["", "src ", "dst "]), st.sampled_from([53, 80, 2152])),
    st.builds("portrange {}-{}".format, st.integers(0, 1000), st.integers(1000, 65535)),
    st.builds("{} {}".format, st.sampled_from(["less", "greater"]), st.integers(0, 200)),
)  # fmt: skip

_values = st.recursive(
    st.one_of(
        st.builds(str, st.integers(0, 300)),
        st.just("len"),
        st.builds("{}[{}]".format, st.sampled_from(["ether", "ip", "tcp", "udp", "ip6", "arp"]), st.integers(0, 40)),
        st.builds("{}[{}:{}]".format, st.sampled_from(["ether", "ip", "tcp", "udp", "ip6"]), st.integers(0, 40), st.sampled_from([1, 2, 4])),
    ),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*&|^"), inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(["<<", ">>"]), st.integers(0, 31)),
        st.builds("({} {} {})".format, inner, st.sampled_from("/%"), st.integers(1, 40)),
        st.builds("ip[{} & 0x3f]".format, inner),
    ),
    max_leaves=4,
)  # fmt: skip

#: Expressions that libpcap parses. Its optimiser may find that one rejects all packets.
expressions = st.recursive(
    st.one_of(_PRIMITIVES, st.builds("({} {} {})".format, _values, st.sampled_from(["=", "!=", "<", ">", ">=", "<="]), _values)),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("not {}".format, inner),
    ),
    max_leaves=6,
)  # fmt: skip
