"""A project's look: its names, links and colours, and the colours derived from them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from newsletter.templates.escaping import clean_copy, clean_line

DARK_PAGE, DARK_SURFACE, DARK_TEXT, DARK_MUTED = "#121316", "#1c1e22", "#e8e8ea", "#a0a3aa"
MIN_CONTRAST = 4.5
"""WCAG 2.2, success criterion 1.4.3: contrast of text."""
MIN_SHAPE_CONTRAST = 3.0
"""Success criterion 1.4.11: of shapes, such as a button."""

_RIGHT_TO_LEFT = frozenset({"ar", "arc", "ckb", "dv", "fa", "ha", "he", "iw", "khw", "ks", "ps", "ur", "yi"})
_RIGHT_TO_LEFT_SCRIPTS = frozenset({"arab", "hebr", "syrc", "thaa", "nkoo", "adlm"})
_HEX = re.compile(r"#(?:[0-9a-f]{3}|[0-9a-f]{6})", re.IGNORECASE)

RGB = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Branding:
    """What a project brings to every mail. A colour is ``#rgb`` or ``#rrggbb``; another
    value falls back to the default. A link that is not http or https is left out."""

    brand_name: str
    website_url: str | None = None
    logo_url: str | None = None
    primary_colour: str = "#2f5bea"
    background_colour: str = "#f3f4f6"
    text_colour: str = "#1f2430"
    social_links: Mapping[str, str] = field(default_factory=dict)
    """Label to URL, shown in this order."""
    postal_address: str | None = None
    locale: str = "en"
    """A language tag (BCP 47)."""

    @property
    def language(self) -> str:
        return self.locale.replace("_", "-").split("-")[0].lower() or "en"

    @property
    def tag(self) -> str:
        """The locale as an HTML ``lang``."""
        tag = self.locale.replace("_", "-")
        return tag if re.fullmatch(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*", tag) else "en"

    @property
    def direction(self) -> str:
        subtags = self.tag.lower().split("-")
        script = next((one for one in subtags[1:] if len(one) == 4 and one.isalpha()), None)
        if script is not None:
            return "rtl" if script in _RIGHT_TO_LEFT_SCRIPTS else "ltr"
        return "rtl" if subtags[0] in _RIGHT_TO_LEFT else "ltr"


COLOUR_NAMES = frozenset(
    {"primary_colour", "on_primary_colour", "link_colour", "tint_colour", "background_colour"}
    | {"surface_colour", "text_colour", "muted_colour", "rule_colour", "dark_background_colour"}
    | {"dark_surface_colour", "dark_text_colour", "dark_muted_colour", "dark_rule_colour"}
    | {"dark_link_colour", "dark_tint_colour", "dark_primary_colour", "on_dark_primary_colour"}
)
LAYOUT_NAMES = COLOUR_NAMES | {"brand_name", "website_url", "logo_url", "postal_address"}
"""What a template may read besides a body's fields."""
COPY_NAMES = frozenset({"brand_name", "website_url", "postal_address"})
"""What subject, preheader and body may read of it."""


def constants(branding: Branding) -> dict[str, str]:
    """Every name of `LAYOUT_NAMES` with its value; what is missing is empty."""
    return {
        "brand_name": clean_line(branding.brand_name),
        "website_url": web_link(branding.website_url),
        "logo_url": web_link(branding.logo_url),
        "postal_address": ", ".join(clean_copy(branding.postal_address or "").split("\n")),
        **colours(branding),
    }


def colours(branding: Branding) -> dict[str, str]:
    """The palette, light and dark, with enough contrast for text whatever the brand's colour is."""
    default = Branding("")
    primary = _rgb(branding.primary_colour, default.primary_colour)
    page = _rgb(branding.background_colour, default.background_colour)
    surface = (255, 255, 255)
    text = readable(_rgb(branding.text_colour, default.text_colour), surface)
    dark_page, dark_surface = _rgb(DARK_PAGE, ""), _rgb(DARK_SURFACE, "")
    dark_primary = readable(primary, dark_surface, MIN_SHAPE_CONTRAST)
    return {
        "primary_colour": _hex(primary),
        "on_primary_colour": _hex(_on(primary)),
        "link_colour": _hex(readable(primary, surface)),
        "tint_colour": _hex(_mix(primary, surface, 0.08)),
        "background_colour": _hex(page),
        "surface_colour": _hex(surface),
        "text_colour": _hex(text),
        "muted_colour": _hex(readable(_mix(text, surface, 0.66), page)),
        "rule_colour": _hex(_mix(text, surface, 0.12)),
        "dark_background_colour": _hex(dark_page),
        "dark_surface_colour": _hex(dark_surface),
        "dark_text_colour": DARK_TEXT,
        "dark_muted_colour": DARK_MUTED,
        "dark_rule_colour": _hex(_mix((255, 255, 255), dark_surface, 0.14)),
        "dark_link_colour": _hex(readable(primary, dark_surface)),
        "dark_primary_colour": _hex(dark_primary),
        "on_dark_primary_colour": _hex(_on(dark_primary)),
        "dark_tint_colour": _hex(_mix(primary, dark_surface, 0.22)),
    }


def web_link(url: str | None) -> str:
    """``url`` where it is http or https with a host and no character that could end an attribute."""
    if not url or re.search(r"[\s\"'<>{}\\^`|\x00-\x20\x7f\ufffe\uffff]", url):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in ("http", "https") and parts.hostname else ""


def contrast(one: RGB, other: RGB) -> float:
    """The contrast ratio of WCAG 2.2, 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def readable(colour: RGB, ground: RGB, enough: float = MIN_CONTRAST) -> RGB:
    """``colour``, moved towards black or white until it stands out from ``ground``."""
    towards = (
        (0, 0, 0) if contrast((0, 0, 0), ground) > contrast((255, 255, 255), ground) else (255, 255, 255)
    )
    for step in range(21):
        moved = _mix(towards, colour, step / 20)
        if contrast(moved, ground) >= enough:
            return moved
    return towards


def _on(ground: RGB) -> RGB:
    """White where it can be read, as designers prefer it on saturated colours; else near-black."""
    white, black = (255, 255, 255), (17, 18, 20)
    return white if contrast(white, ground) >= MIN_CONTRAST else black


def _luminance(colour: RGB) -> float:
    channels = [part / 255 for part in colour]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mix(one: RGB, other: RGB, share: float) -> RGB:
    red, green, blue = (round(a * share + b * (1 - share)) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _rgb(text: str, default: str) -> RGB:
    digits = (text.strip() if _HEX.fullmatch(text.strip()) else default)[1:]
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def _hex(colour: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


FULL = Branding(
    "Example", "https://example.com", "https://example.com/logo.png", postal_address="1 Example Street"
)
"""A project with everything set, to try a template on."""
EMPTY = Branding("")
"""A project with nothing set."""
