# SPDX-License-Identifier: BSD-3-Clause
"""Programs in C, through clang and our loader, verifier and engines."""

from __future__ import annotations

import contextlib
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from dpcap.ubpf_host._vm import lib

from dpcap.ubpf_host.errors import VerifierError
from dpcap.ubpf_host.objects import Object, ObjectError
from support.vm import ENGINES

SOURCES = Path(__file__).parent / "bpf"
IPV4 = bytes(12) + b"\x08\x00\x45" + bytes(11) + b"\x0a\0\0\x01\x0a\0\0\x02"


class Compiler:
    """clang -target bpf, each source once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, source: str, *options: str, name: str | None = None) -> Path:
        """The object of a file of `bpf/`, or of C text."""
        path = SOURCES / source
        if name:
            path = self.folder / f"{name}.c"
            path.write_text('#include "bpf.h"\n' + source)
        target = self.folder / f"{path.stem}.o"
        subprocess.run(
            [
                "clang",
                "-target",
                "bpf",
                "-mcpu=v3",
                "-O2",
                "-g",
                *options,
                f"-I{SOURCES}",
                "-c",
                path,
                "-o",
                target,
            ],
            check=True,
        )
        return target


@pytest.fixture(scope="module")
def compile_bpf(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    return Compiler(tmp_path_factory.mktemp("bpf"))


@pytest.mark.parametrize("engine", ENGINES)
def test_flows(compile_bpf: Compiler, engine: str) -> None:
    flows = Object(compile_bpf("flows.c"), lcores=2)
    program = flows.program("count_flows")
    other = IPV4[:-1] + b"\x03"
    assert program.run(IPV4, wirelen=100, engine=engine) == 2
    assert program.run(IPV4 + b"x", wirelen=1500, engine=engine) == 2
    lib.dpcap_vm_set_lcore(1)
    assert program.run(other, wirelen=60, engine=engine) == 2
    lib.dpcap_vm_set_lcore(0)
    assert program.run(IPV4[:33], engine=engine) == 0

    assert dict(flows.maps["flows"].items()) == {
        IPV4[26:34]: struct.pack("<QQ", 2, 1600),
        other[26:34]: struct.pack("<QQ", 1, 60),
    }
    assert list(flows.maps["new_flows"].records()) == [IPV4[26:34], other[26:34]]
    assert flows.maps["per_lcore"].values_of(0) == [struct.pack("<Q", 2), struct.pack("<Q", 1)]
    assert flows.maps[".data"][0] == struct.pack("<Q", 8)
    assert flows.maps[".bss"][0] == struct.pack("<Q", 1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("level", ["-O1", "-O2"])
def test_functions(compile_bpf: Compiler, engine: str, level: str) -> None:
    program = Object(compile_bpf("flows.c", level)).program("call_functions")
    assert program.run(IPV4, engine=engine) == 2 * (1 + 8 + 5) + 2 * len(IPV4)
    assert program.run(b"123", engine=engine) == 2 * 1 + 2 * 3


def test_object_lists_what_is_in_it(compile_bpf: Compiler) -> None:
    flows = Object(compile_bpf("flows.c"))
    assert flows.programs == {"count_flows": "dpcap", "call_functions": "other", "print": "other"}
    assert {"flows", "new_flows", "per_lcore", ".data", ".bss"} <= set(flows.maps)
    assert flows.maps["flows"].type == "hash"
    assert (flows.maps["flows"].key_size, flows.maps["flows"].value_size) == (8, 16)
    with pytest.raises(KeyError, match="which program"):
        flows.program()


@pytest.mark.parametrize("engine", ENGINES)
def test_print(compile_bpf: Compiler, engine: str, capfd: pytest.CaptureFixture[str]) -> None:
    program = Object(compile_bpf("flows.c")).program("print")
    assert program.run(b"1234567", engine=engine) == len("7 bytes at 1")
    assert capfd.readouterr().err == "7 bytes at 1\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_legacy_maps(compile_bpf: Compiler, engine: str) -> None:
    legacy = Object(compile_bpf("legacy.c", "-g0").read_bytes())
    program = legacy.program()
    assert [program.run(bytes(n), engine=engine) for n in (2, 6, 2, 3)] == [0, 2, 6, 0]
    assert [int.from_bytes(value, "little") for _, value in legacy.maps["lengths"].items()] == [0, 0, 2, 3]
    assert legacy.maps["unused"].type == "lru_hash"


def test_programs_outlive_their_object(compile_bpf: Compiler) -> None:
    program = Object(compile_bpf("flows.c")).program("count_flows")
    assert program.run(IPV4) == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            (
                'struct { __uint(type, BPF_MAP_TYPE_STACK); __uint(max_entries, 4); } m SEC(".maps");'
                'SEC("x") u64 f(void) { return (u64)bpf_map_lookup_elem(&m, 0); }'
            ),
            "map m: type 23 of Linux is not supported",
        ),
        (
            (
                'struct { __uint(type, 1); __uint(pinning, 1); __uint(max_entries, 4); } m SEC(".maps");'
                'SEC("x") u64 f(void) { return (u64)bpf_map_lookup_elem(&m, 0); }'
            ),
            "map m: member pinning is not supported",
        ),
        (
            (
                'struct { __uint(max_entries, 4); } m SEC(".maps");'
                'SEC("x") u64 f(void) { return (u64)bpf_map_lookup_elem(&m, 0); }'
            ),
            "map m has no type",
        ),
        (
            (
                "struct { __uint(type, 1); __uint(max_entries, 0); __type(key, u32); __type(value, u32); } m"
                ' SEC(".maps"); SEC("x") u64 f(void) { return (u64)bpf_map_lookup_elem(&m, 0); }'
            ),
            "map m: a map of type 2 with keys of 4 bytes, values of 4 and 0 entries cannot be made",
        ),
        ('extern u64 there; SEC("x") u64 f(void) { return there; }', "there is neither a map nor a variable"),
        ('u64 there(void); SEC("x") u64 f(void) { return there(); }', "call of there, which is no function"),
        (
            (
                "struct s { int a, b; } __attribute__((preserve_access_index));"
                'SEC("x") u64 f(struct s *s) { return s->b; }'
            ),
            "structures with preserve_access_index (CO-RE) are not supported",
        ),
        ("static int n; int get(void);", "there is no global function in this object"),
    ],
    ids=["map type", "member", "no type", "shape", "variable", "function", "CO-RE", "empty"],
)
def test_objects_that_cannot_be_loaded(compile_bpf: Compiler, source: str, message: str) -> None:
    path = compile_bpf(source, "-Wno-everything", name="refused")
    with pytest.raises(ObjectError) as error:
        Object(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_maps_need_btf(compile_bpf: Compiler) -> None:
    with pytest.raises(ObjectError, match=r"maps in \.maps need BTF: compile with -g"):
        Object(compile_bpf("flows.c", "-g0"))


def test_files_that_are_no_objects() -> None:
    with pytest.raises(ObjectError, match="this is no ELF object"):
        Object(b"")
    with pytest.raises(ObjectError, match="this is no BPF object"):
        Object(Path("/proc/self/exe").read_bytes())


def test_constants_are_read_only(compile_bpf: Compiler) -> None:
    # The assembly keeps clang from seeing that this is undefined.
    source = (
        'static const volatile u64 table[2] = {1, 2}; SEC("x") u64 f(const u8 *p, u64 n)'
        '{ u64 *t = (u64 *)table; __asm__ volatile("" : "+r"(t)); t[n & 1] = 7; return t[0]; }'
    )
    with pytest.raises(VerifierError, match=r"map \.rodata is read-only"):
        Object(compile_bpf(source, "-Wno-everything", name="constant")).program()


def test_sections_without_contents_have_none(compile_bpf: Compiler) -> None:
    """A section of type 0 (SHT_NULL) is nowhere in the file, whatever offset it claims."""
    image = compile_bpf("flows.c").read_bytes()
    headers, size, count = struct.unpack_from("<Q10xHH", image, 0x28)
    for index in range(count):
        damaged = bytearray(image)
        at = headers + index * size
        struct.pack_into("<I", damaged, at + 4, 0)
        struct.pack_into("<Q", damaged, at + 24, 1 << 40)
        with contextlib.suppress(ObjectError):
            Object(bytes(damaged))


def test_damaged_objects_are_refused_or_harmless(compile_bpf: Compiler) -> None:
    """Bytes changed at random: an error or programs that can be verified, never a crash."""
    image = compile_bpf("flows.c").read_bytes()
    rng = random.Random(7)
    loaded = 0
    for _ in range(2000):
        damaged = bytearray(image)
        for _ in range(rng.choice([1, 1, 2, 8])):
            damaged[rng.randrange(len(damaged))] = rng.choice([0, 1, 0x7F, 0xFF, rng.randrange(256)])
        if rng.random() < 0.1:
            del damaged[rng.randrange(len(damaged)) :]
        # Any other error, and any crash, fails the test.
        with contextlib.suppress(ObjectError):
            Object(bytes(damaged))
            loaded += 1
    assert 0 < loaded < 2000
