"""Rules of the tree that import-linter and ruff cannot say."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("newsletter", "workers")

# Names that say nothing about what is inside.
EMPTY_NAMES = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py", "manager.py"}


def _modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that a module imports; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _words(slice_name: str) -> set[str]:
    """The enums of a slice's models: its vocabulary, which others may speak."""
    tree = ast.parse((ROOT / "newsletter" / slice_name / "models.py").read_text())
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id.endswith("Enum") for base in node.bases)
    }


def test_tables_are_imported_by_their_own_slice_and_the_migrations_alone() -> None:
    strangers = []
    for path in _modules(*PACKAGES):
        place = path.relative_to(ROOT)
        if place.parts[:2] == ("newsletter", "migrations"):
            continue
        for line, name in _imports(path):
            match = re.fullmatch(r"newsletter\.(\w+)\.models(?:\.(\w+))?", name)
            if match is None or place.parts[:2] == ("newsletter", match.group(1)):
                continue
            if match.group(2) not in _words(match.group(1)):
                strangers.append(f"{place}:{line} imports {name}")
    assert strangers == []


def test_every_package_has_its_place_in_the_layers() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers")
    placed = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    here = {
        f"newsletter.{path.stem}"
        for path in (ROOT / "newsletter").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists())
        and path.stem not in {"__init__", "__main__"}
    }
    assert here - placed == set()


def test_every_guard_of_the_mutants_stands_where_they_look_for_it() -> None:
    """`make mutants` takes long and runs seldom; until then nobody would see that it breaks nothing."""
    listed = tomllib.loads((ROOT / "scripts/mutants.toml").read_text())["mutant"]
    stale = [one["guard"] for one in listed if (ROOT / one["file"]).read_text().count(one["find"]) != 1]
    assert stale == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in _modules(*PACKAGES, "tests") if path.name in EMPTY_NAMES] == []


@pytest.mark.parametrize(("folder", "most"), [("newsletter", 420), ("workers", 420), ("tests", 420)])
def test_no_file_is_too_long_to_have_one_subject(folder: str, most: int) -> None:
    lengths = {
        str(path.relative_to(ROOT)): path.read_text().count("\n")
        for path in _modules(folder)
        if path.parent.name != "versions"  # A migration is as long as the schema it makes.
    }
    assert {path: lines for path, lines in lengths.items() if lines > most} == {}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import newsletter.plans.models", "newsletter.plans.models"),
        ("import newsletter.plans.models as m", "newsletter.plans.models"),
        ("from newsletter.plans import models", "newsletter.plans.models"),
        ("def late():\n    from newsletter.plans.models import A", "newsletter.plans.models.A"),
    ],
)
def test_all_spellings_of_an_import_are_seen(source: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert [found for _, found in _imports(path)] == [name]


def test_the_vocabulary_of_a_slice_is_told_from_its_tables() -> None:
    assert "Reason" in _words("suppressions")
    assert "ProjectRow" not in _words("accounts")
