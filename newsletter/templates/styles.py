"""The CSS that authors may write: an allow-list, and a scope that keeps it off the footer.

Nothing here can take an element out of the flow, pull it over another one, load a file or
hide a brace; a template's rules reach the template's own part of the mail alone.
"""

import re
from collections.abc import Iterator

SCOPE = "nl-layout"
"""The class of the element around everything that a template draws."""

_SIDES = ("", "-top", "-right", "-bottom", "-left")
PROPERTIES = frozenset(
    {
        *(f"{box}{side}" for box in ("margin", "padding", "border") for side in _SIDES),
        *(f"border{side}-{part}" for side in _SIDES for part in ("color", "style", "width")),
        *("border-radius", "border-collapse", "border-spacing", "box-shadow"),
        *("color", "background", "background-color", "direction", "display"),
        *("font", "font-family", "font-size", "font-style", "font-weight", "font-variant"),
        *("letter-spacing", "word-spacing", "line-height", "list-style", "list-style-type"),
        *("text-align", "text-decoration", "text-decoration-color", "text-transform", "text-shadow"),
        *("text-underline-offset", "text-decoration-thickness"),
        *("vertical-align", "white-space", "word-break", "word-wrap", "overflow-wrap", "hyphens"),
        *("width", "min-width", "max-width", "height", "max-height", "table-layout", "object-fit"),
    }
)
MAX_SELECTORS = 500
"""In all style sheets of a template: each is looked up in the whole mail, and read in a
time that grows with the square of their number (6,000 took 40 seconds)."""
MAX_DECLARATIONS = 100
"""In one ``style`` attribute; later ones are left out."""
SHEET_PROPERTIES = PROPERTIES | {
    *("opacity", "overflow", "float", "clear", "visibility", "border-color", "filter"),
    *("color-scheme", "supported-color-schemes", "-webkit-text-size-adjust"),
}
"""What a style sheet of a template may set besides."""

_VALUE = re.compile(r"[\w\s#%.,()'\"!/+-]{1,200}")
_FUNCTION = re.compile(r"([\w-]*)\(")
_FUNCTIONS = frozenset({"rgb", "rgba", "hsl", "hsla", "linear-gradient", "invert", "brightness"})
_NEGATIVE = re.compile(r"(?<![\w)])-\s*[\d.]")
_SELECTOR = re.compile(r"""[\w\s.#>+~*:\[\]="'-]+""")
_PSEUDO = re.compile(r"::?[\w-]*")
_PSEUDO_ALLOWED = frozenset({":hover", ":link", ":visited", ":active", ":first-child", ":last-child"})
_ROOT = re.compile(r"^(?:html\s+body|html|body|:root)(?![\w-])")
_OUTLOOK_DARK = re.compile(r"^(\[data-ogs[cb]\])\s+")
_MEDIA = re.compile(r"@media\s+[\w\s():,.<>=-]+", re.IGNORECASE)


class StyleInvalid(ValueError):
    """A rule that a template may not have; ``line`` counts from 0 at the start of the sheet."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def clean_inline(style: str) -> str:
    """A ``style`` attribute with what is not allowed left out."""
    kept = []
    for declaration in style.split(";", MAX_DECLARATIONS)[:MAX_DECLARATIONS]:
        name, value = _declaration(declaration)
        if name in PROPERTIES and problem(name, value) is None and (name, value) != ("display", "none"):
            kept.append(f"{name}:{value}")
    return ";".join(kept)


def problem(name: str, value: str) -> str | None:
    """Why a declaration is not allowed, or None."""
    if _VALUE.fullmatch(value) is None:
        return f"the value of '{name}' is not allowed"
    for function in _FUNCTION.findall(value):
        if function.lower() not in _FUNCTIONS:
            return f"'{function}()' is not allowed in styles"
    if _NEGATIVE.search(value) and name not in ("letter-spacing", "box-shadow", "text-shadow"):
        return f"'{name}' may not be negative"
    return None


def scope(css: str) -> str:
    """A template's style sheet, its rules limited to the template; raises `StyleInvalid`.

    ``body`` and ``:root`` mean the template's outermost element. Media queries are kept.
    """
    css = re.sub(r"/\*.*?\*/", lambda match: "\n" * match.group().count("\n"), css, flags=re.DOTALL)
    out: list[str] = []
    media = False
    selector: str | None = None
    end = line = 0
    for match in re.finditer(r"[{}]", css):
        text = css[end : match.start()]
        end = match.end()
        start = line + text[: len(text) - len(text.lstrip())].count("\n")
        if match.group() == "{" and selector is None:
            if text.strip().startswith("@"):
                if media or _MEDIA.fullmatch(text.strip()) is None:
                    raise StyleInvalid(f"'{text.split()[0]}' is not allowed; only @media is", start)
                media = True
                out.append(" ".join(text.split()) + "{")
            else:
                selector = _scoped(text, start)
        elif match.group() == "}" and selector is not None:
            out.append(f"{selector}{{{';'.join(_declarations(text, line))}}}\n")
            selector = None
        elif match.group() == "}" and media and not text.strip():
            media = False
            out.append("}\n")
        else:
            raise StyleInvalid("the braces of this style sheet do not match", start)
        line += text.count("\n")
    if css[end:].strip() or media or selector is not None:
        raise StyleInvalid("the braces of this style sheet do not match", line)
    return "".join(out)


def selectors(css: str) -> int:
    """How many selectors and media queries a style sheet has."""
    return sum(part.rpartition("}")[2].count(",") + 1 for part in css.split("{")[:-1])


def _declaration(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name.strip().lower(), " ".join(value.split())


def _declarations(text: str, line: int) -> Iterator[str]:
    for part in text.split(";"):
        at = line + part[: len(part) - len(part.lstrip())].count("\n")
        line += part.count("\n")
        if part.strip():
            name, value = _declaration(part)
            wrong = None if name in SHEET_PROPERTIES else f"the property '{name[:40]}' is not allowed"
            wrong = wrong or problem(name, value)
            if wrong is not None:
                raise StyleInvalid(wrong, at)
            yield f"{name}:{value}"


def _scoped(selectors: str, line: int) -> str:
    scoped = []
    for selector in selectors.split(","):
        selector = " ".join(selector.split())
        refused = [one for one in _PSEUDO.findall(selector) if one not in (*_PSEUDO_ALLOWED, ":root")]
        if _SELECTOR.fullmatch(selector) is None or selector[0] in ">+~" or refused:
            raise StyleInvalid(f"the selector '{selector[:60]}' is not allowed", line)
        prefix = ""
        if outlook := _OUTLOOK_DARK.match(selector):
            prefix, selector = outlook[1] + " ", selector[outlook.end() :]
        rooted = _ROOT.sub(f".{SCOPE}", selector)
        if rooted == selector:
            rooted = f".{SCOPE} {selector}"
        if re.match(rf"\.{SCOPE}[^\s>+~]*\s*[+~]", rooted):
            raise StyleInvalid(f"the selector '{selector[:60]}' reaches outside the template", line)
        scoped.append(prefix + rooted)
    return ",".join(scoped)
