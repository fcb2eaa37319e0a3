"""Breaks each guard of ``scripts/mutants.toml`` once and sees its test fail: ``make mutants``.

A guard whose test passes without it is not tested. The copy of the project in which this
happens is thrown away; the checkout is not touched. Writes the table of docs/reliability.md.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.faults.report import write_between

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("mutants.toml")
PARTS = ("newsletter", "workers", "tests", "prompts", "email_templates", "docs", "pyproject.toml")
SECONDS = 300
"""What a test gets; a guard whose absence makes it hang is noticed, too."""
PASSED, FAILED, NOT_RUN = 0, 1, -1
"""Exit statuses of pytest, and what stands for any other."""


@dataclass(frozen=True, slots=True)
class Mutant:
    guard: str
    file: str
    find: str
    replace: str
    test: str
    size: str = "embedded"


def main() -> None:
    mutants = [Mutant(**fields) for fields in tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]]
    with tempfile.TemporaryDirectory(prefix="newsletter-mutants-") as name:
        folder = Path(name)
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, folder / part)
        for size in sorted({mutant.size for mutant in mutants}):
            tests = sorted({mutant.test for mutant in mutants if mutant.size == size})
            if run(folder, size, *tests) != PASSED:
                sys.exit("The tests fail with all guards in place: mend that first.")
        verdicts = [(mutant, verdict(folder, mutant)) for mutant in mutants]
    write_between("mutants", table(verdicts))
    sys.exit(any(word != "killed" for _, word in verdicts))


def verdict(folder: Path, mutant: Mutant) -> str:
    """``killed``, ``survived``, or ``stale`` where the list does not fit the code any more."""
    path = folder / mutant.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(mutant.find) != 1:
        word = "stale"
    else:
        path.write_text(whole.replace(mutant.find, mutant.replace), encoding="utf-8")
        try:
            word = {PASSED: "survived", FAILED: "killed"}.get(run(folder, mutant.size, mutant.test), "stale")
        finally:
            path.write_text(whole, encoding="utf-8")
    print(f"{word:9} {mutant.guard}", flush=True)
    return word


def run(folder: Path, size: str, *tests: str) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "NEWSLETTER_TEST_SIZE": size, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS * len(tests),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return FAILED if len(tests) == 1 else NOT_RUN
    # A fixture that fails is an error in the summary: the test itself has said nothing then.
    is_error = done.returncode == FAILED and " error" in done.stdout.splitlines()[-1]
    return NOT_RUN if is_error else done.returncode


def table(verdicts: list[tuple[Mutant, str]]) -> str:
    lines = ["| guard | in | test that fails without it | |", "|---|---|---|---|"]
    for mutant, word in verdicts:
        file, _, test = mutant.test.partition("::")
        name = test.removeprefix("test_").replace("_", " ")
        place = f"`{file.removeprefix('tests/')}`"
        shown = f"{name} ({place})" if name else place
        lines.append(
            f"| {mutant.guard} | `{mutant.file.removeprefix('newsletter/')}` | {shown} "
            f"| {word if word == 'killed' else f'**{word}**'} |"
        )
    killed = sum(word == "killed" for _, word in verdicts)
    return "\n".join([*lines, "", f"{killed} of {len(verdicts)} killed, by `make mutants`."])


if __name__ == "__main__":
    main()
