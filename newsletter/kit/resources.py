"""Finds the files that travel with the program: prompts and e-mail templates.

They are looked up in this order: the operator's folder (a setting), the wheel
(``newsletter/_data``), the checkout. An editable install shows neither of the last two
through `importlib.resources`, which is why this is the only reader.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


class Resources:
    """One family of files, for example ``Resources("prompts", override=None)``.

    Two that look in the same folders are equal: what was made of the files of one is kept for both.
    """

    def __init__(self, family: str, override: Path | None = None) -> None:
        candidates = [_PACKAGE / "_data" / family, _PACKAGE.parent / family]
        self._roots = [root for root in [override, *candidates] if root is not None and root.is_dir()]
        if not self._roots:
            raise FileNotFoundError(f"the folder '{family}' is missing from this installation")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and self._roots == other._roots

    def __hash__(self) -> int:
        return hash(tuple(self._roots))

    def path(self, name: str) -> Path:
        """The first match for ``name``, a relative path with forward slashes."""
        for root in self._roots:
            path = (root / name).resolve()
            if path.is_relative_to(root.resolve()) and path.is_file():
                return path
        raise FileNotFoundError(name)

    def text(self, name: str) -> str:
        return self.path(name).read_text(encoding="utf-8")

    def names(self, pattern: str) -> list[str]:
        """Relative names that match a glob, sorted, each once."""
        found = {
            str(path.relative_to(root).as_posix()) for root in self._roots for path in root.glob(pattern)
        }
        return sorted(found)
