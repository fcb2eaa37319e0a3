"""What a command brings into memory: starts are felt by people, and each worker pays for its own."""

import re
import subprocess
import sys

import click
import pytest

from newsletter.cli import main


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("newsletter.cli", {"sqlalchemy", "litestar", "openai"}),
        ("newsletter.serving", {"litestar", "openai", "alembic", "premailer"}),
        ("newsletter.asgi", {"openai", "alembic", "premailer"}),
    ],
)
def test_what_is_not_used_is_not_loaded(module: str, unneeded: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert module in loaded.stdout.split()
    assert unneeded.isdisjoint(loaded.stdout.split())


def test_the_list_of_commands_loads_none_of_them() -> None:
    program = (
        "import sys; from newsletter.cli import main; "
        "main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"sqlalchemy", "litestar", "dramatiq", "cryptography"}.isdisjoint(done.stdout.split())
    context = click.Context(main)
    listed = {name: main.get_command(context, name) for name in main.list_commands(context)}
    for name, command in listed.items():
        assert command is not None
        # The list says it shorter than the command, but not otherwise.
        first_word = (command.help or "").split()[0]
        assert re.search(rf"^  {name} +{first_word}\b", done.stdout, re.MULTILINE), name
