"""What the product is measured against: other senders of the same newsletter, at full speed.

Each returns mails a second, over ``count`` mails to each of the ports by a process of its own.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bench.content import Sample
from bench.node import PEERS, node
from bench.programs import compiled, program

SMTP_SOURCE = "smtp-source -d -s 10 -l {size}"


def smtp_source(ports: Sequence[int], count: int, size: int) -> float:
    """Postfix's load generator: C, sessions used again, not pipelined. Raises `Missing`."""
    binary, *options = SMTP_SOURCE.format(size=size).split()
    command = [program(binary, "postfix"), *options, "-m", str(count), "-f", "news@example.com"]
    commands = [[*command, "-t", "reader@example.com", f"127.0.0.1:{port}"] for port in ports]
    started = time.perf_counter()
    _run(commands)
    return count * len(ports) / (time.perf_counter() - started)


def nodemailer(ports: Sequence[int], count: int, sample: Sample) -> float:
    """A pool of ten connections that signs with DKIM, RSA-2048. Raises `Missing`."""
    command = [node(), str(PEERS / "nodemailer.js")]
    said = _run([[*command, str(port), str(count), str(sample.parts), _key()] for port in ports])
    return count * len(ports) / max(map(float, said))


def c_client(port: int, count: int, sample: Sample) -> float:
    """Pipelined, prebuilt bytes, four connections. Raises `Missing`."""
    (seconds,) = _run([[compiled("client"), str(port), str(count), "4", str(sample.file)]])
    return count / float(seconds)


def bare_loop(ports: Sequence[int], count: int, sample: Sample) -> float:
    """Our own SMTP client with prebuilt bytes and nothing around it."""
    command = [sys.executable, "-m", "bench.push"]
    said = _run([[*command, str(port), str(count), str(sample.file)] for port in ports])
    return count * len(ports) / max(map(float, said))


def _run(commands: list[list[str]]) -> list[str]:
    """All at once; their outputs."""
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    ended = [child.communicate() for child in children]
    for child, (_, errors) in zip(children, ended, strict=True):
        if child.returncode:
            raise RuntimeError(f"{' '.join(map(str, child.args))}: {errors[-500:]}")  # type: ignore[arg-type]
    return [out for out, _ in ended]


@cache
def _key() -> str:
    """A file with a fresh RSA key of 2,048 bits."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65_537, 2_048)
    path = Path(tempfile.mkdtemp(prefix="newsletter-bench-")) / "key.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(path)
