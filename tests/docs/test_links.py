"""Links between the documents lead somewhere, and each page is found from the first one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
"""Code, in which ``#`` begins a comment, and brackets are anything."""


def anchors(page: Path) -> set[str]:
    """What a heading is called in a link: small letters, hyphens for spaces, nothing else."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    prose = re.sub(r"`[^`\n]*`", "", FENCED.sub("", page.read_text(encoding="utf-8")))
    for pair in LINK.findall(prose):
        path, _, anchor = "".join(pair).partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append("".join(pair))
    assert broken == []


def test_the_readme_names_every_page() -> None:
    named = {"".join(pair).partition("#")[0] for pair in LINK.findall((ROOT / "README.md").read_text())}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} - named == set()


def test_the_picture_of_the_readme_is_small_enough_to_load() -> None:
    assert (ROOT / "docs/images/newsletter.png").stat().st_size <= 200_000
