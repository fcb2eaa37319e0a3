"""OpenSSL is told to sign by AVX2 where that is faster, before it looks."""

import subprocess
import sys
from pathlib import Path

import pytest

from newsletter.kit.processor import settle_openssl

WIDE = "fpu sse2 bmi2 adx avx2 sha_ni"


@pytest.fixture
def described(tmp_path: Path) -> Path:
    return tmp_path / "cpuinfo"


def write(path: Path, vendor: str, flags: str) -> None:
    core = f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\nbugs\t\t:\n\n"
    path.write_text(core * 2, encoding="ascii")


def test_amd_without_ifma_signs_by_avx2(described: Path) -> None:
    write(described, "AuthenticAMD", WIDE)
    environment: dict[str, str] = {}
    settle_openssl(environment, described)
    assert environment == {"OPENSSL_ia32cap": ":~0x80000"}


@pytest.mark.parametrize(
    ("vendor", "flags"),
    [
        ("GenuineIntel", WIDE),
        ("AuthenticAMD", f"{WIDE} avx512ifma"),
        ("AuthenticAMD", "fpu sse2 bmi2 adx"),
    ],
    ids=["intel", "ifma", "no-avx2"],
)
def test_others_keep_what_openssl_prefers(described: Path, vendor: str, flags: str) -> None:
    write(described, vendor, flags)
    environment: dict[str, str] = {}
    settle_openssl(environment, described)
    assert environment == {}


def test_what_an_operator_has_set_stands(described: Path) -> None:
    write(described, "AuthenticAMD", WIDE)
    environment = {"OPENSSL_ia32cap": ":~0x20"}
    settle_openssl(environment, described)
    assert environment == {"OPENSSL_ia32cap": ":~0x20"}


def test_a_machine_that_does_not_describe_itself_changes_nothing(described: Path) -> None:
    environment: dict[str, str] = {}
    settle_openssl(environment, described)
    assert environment == {}


PROGRAM = """
import sys
from newsletter import cli

def is_loaded() -> bool:
    return any("cryptography" in name for name in sys.modules)

cli.settle_openssl = lambda: print("loaded" if is_loaded() else "free")
cli.main(["worker", "--help"], standalone_mode=False)
print("loaded" if is_loaded() else "free")
"""


def test_openssl_is_settled_before_a_command_loads_it() -> None:
    """It looks when it is loaded, and never again."""
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = said.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("free", "loaded")
