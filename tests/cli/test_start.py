"""What a command brings into memory: starts are felt by people, and each worker pays for its own."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("newsletter.cli", {"sqlalchemy", "litestar", "openai"}),
        ("newsletter.serving", {"litestar", "openai"}),
    ],
)
def test_what_is_not_used_is_not_loaded(module: str, unneeded: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert module in loaded.stdout.split()
    assert unneeded.isdisjoint(loaded.stdout.split())
