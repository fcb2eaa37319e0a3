"""Which of its ways OpenSSL takes on this processor.

For RSA it prefers MULX and ADX over AVX2 where there are both, as suits Intel's. AMD's without AVX-512
IFMA sign with RSA-2048 faster by AVX2: 580 to 600 µs instead of 650 to 920 (seven runs in turn on a
shared EPYC). A signature is most of what a signed mail costs.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path

_CAPABILITIES = "OPENSSL_ia32cap"
_WITHOUT_ADX = ":~0x80000"
"""Bit 19 of what CPUID says in EBX for leaf 7 (OPENSSL_ia32cap(3))."""
_NEEDED = frozenset({"adx", "bmi2", "avx2"})


def settle_openssl(
    environment: MutableMapping[str, str] = os.environ, described: Path = Path("/proc/cpuinfo")
) -> None:
    """Call it before anything loads OpenSSL: it looks once. What an operator has set stands."""
    try:
        text = described.read_text(encoding="ascii", errors="replace")
    except OSError:
        return  # No Linux: OpenSSL's own choice stands.
    if _signs_faster_by_avx2(text):
        environment.setdefault(_CAPABILITIES, _WITHOUT_ADX)


def _signs_faster_by_avx2(cpuinfo: str) -> bool:
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    # All cores say the same.
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = set(fields.get("flags", "").split())
    return fields.get("vendor_id") == "AuthenticAMD" and flags >= _NEEDED and "avx512ifma" not in flags
