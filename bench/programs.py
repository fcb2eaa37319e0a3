"""The programs that rows are measured with: where they are, or what Debian calls their package."""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from bench.table import Missing

SOURCES = Path(__file__).parent / "peers"
# Daemons' programs, which a user's PATH need not have.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@cache
def program(name: str, package: str) -> str:
    """Raises `Missing`."""
    found = shutil.which(name, path=PATH)
    if found is None:
        raise Missing(f"{name}: apt-get install {package}")
    return found


@cache
def compiled(name: str) -> str:
    """One of the C programs in ``peers/``. Raises `Missing`."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("a C compiler: apt-get install gcc libc6-dev")
    folder = Path(tempfile.mkdtemp(prefix="newsletter-bench-"))
    binary = folder / name
    command = [compiler, "-O2", "-o", str(binary), str(SOURCES / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"a C compiler that works: {done.stderr.strip()[-200:]}")
    return str(binary)
