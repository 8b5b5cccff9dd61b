# SPDX-License-Identifier: BSD-3-Clause
"""Helpers: functions of the host that programs call by number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dpcap.ubpf_host._vm import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# enum dpcap_vm_arg and enum dpcap_vm_ret, by the names that signatures use.
ARGS = {
    "scalar": lib.DPCAP_VM_ARG_SCALAR,
    "map": lib.DPCAP_VM_ARG_MAP,
    "map_key": lib.DPCAP_VM_ARG_MAP_KEY,
    "map_value": lib.DPCAP_VM_ARG_MAP_VALUE,
    "mem": lib.DPCAP_VM_ARG_MEM,
    "mem_writable": lib.DPCAP_VM_ARG_MEM_WRITABLE,
    "size": lib.DPCAP_VM_ARG_SIZE,
    "size_or_zero": lib.DPCAP_VM_ARG_SIZE_OR_ZERO,
}
_MAX_ARGS = 5
_U64 = 0xFFFF_FFFF_FFFF_FFFF


class Helper(NamedTuple):
    """A helper with its typed signature, which the verifier enforces at each call.

    ``args`` name what r1 to r5 have to be (:data:`ARGS`); a "mem" is followed by its "size".
    ``function`` gets as many numbers (memory as an address) and returns r0, a number.
    """

    id: int
    name: str
    args: tuple[str, ...]
    function: Callable[..., int]


def to_c(helpers: Sequence[Helper]) -> tuple[Any, int, list[Any]]:
    """A C array with the helpers that the VM brings and these, its length, and what has to live as long.

    One of these takes the place of the VM's helper of that number.
    """
    n = ffi.new("uint32_t *")
    own = lib.dpcap_vm_helpers(n)
    taken = {helper.id for helper in helpers}
    kept = [own[index] for index in range(n[0]) if own[index].id not in taken]
    array = ffi.new("struct dpcap_vm_helper[]", len(kept) + len(helpers))
    for index, entry in enumerate(kept):
        array[index] = entry
    keep: list[Any] = [array]
    for index, helper in enumerate(helpers, start=len(kept)):
        keep += _fill(array[index], helper)
    return array, len(array), keep


def _fill(entry: Any, helper: Helper) -> list[Any]:
    """Write one entry; what has to live as long as it."""
    if len(helper.args) > _MAX_ARGS:
        raise ValueError(f"helper {helper.name}: {len(helper.args)} arguments, at most {_MAX_ARGS} exist")
    unknown = [arg for arg in helper.args if arg not in ARGS]
    if unknown:
        raise ValueError(f"helper {helper.name}: no such argument type: {unknown[0]} ({', '.join(ARGS)})")
    n_args = len(helper.args)
    name = ffi.new("char[]", helper.name.encode())
    function = ffi.callback(
        "uint64_t(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t)",
        lambda *regs: helper.function(*regs[:n_args]) & _U64,
    )
    entry.id = helper.id
    entry.name = name
    entry.ret = lib.DPCAP_VM_RET_SCALAR
    entry.function = function
    for index, arg in enumerate(helper.args):
        entry.args[index] = ARGS[arg]
    return [name, function]
