"""The footer that every newsletter has by law and that no template can remove or hide.

It is added after MJML and CSS inlining, outside the element that holds the template, with
styles of its own that are ``!important``; a template's rules are scoped to the template.
"""

import html
from collections.abc import Iterator
from dataclasses import replace

from newsletter.templates.branding import Branding, colours, web_link
from newsletter.templates.escaping import clean_value

_ID = "nl-footer"

_WORDS = {
    "en": ("You receive this because you subscribed to {brand}.", "Unsubscribe", "View in browser"),
    "de": ("Sie erhalten diese E-Mail, weil Sie {brand} abonniert haben.", "Abmelden", "Im Browser ansehen"),
    "fr": ("Vous recevez cet e-mail car vous êtes abonné à {brand}.", "Se désabonner", "Voir en ligne"),
    "es": ("Recibes este correo porque te suscribiste a {brand}.", "Darse de baja", "Ver en el navegador"),
    "it": ("Ricevi questa e-mail perché sei iscritto a {brand}.", "Annulla l'iscrizione", "Vedi nel browser"),
    "pt": ("Você recebe este e-mail porque assinou {brand}.", "Cancelar inscrição", "Ver no navegador"),
    "nl": ("Je ontvangt deze e-mail omdat je bent ingeschreven bij {brand}.", "Afmelden", "Bekijk online"),
    "pl": ("Otrzymujesz tę wiadomość, ponieważ subskrybujesz {brand}.", "Wypisz się", "Zobacz online"),
    "sv": (
        "Du får detta mejl eftersom du prenumererar på {brand}.",
        "Avsluta prenumeration",
        "Visa i webbläsaren",
    ),
    "ar": ("تصلك هذه الرسالة لأنك مشترك في {brand}.", "إلغاء الاشتراك", "عرض في المتصفح"),
    "he": ("קיבלת הודעה זו כי נרשמת אל {brand}.", "הסרה מהרשימה", "צפייה בדפדפן"),
}

# Belt and braces: a template's rules cannot match the footer, see `newsletter.templates.styles`.
_SHOWN = "display:{display}!important;visibility:visible!important;opacity:1!important;"


def as_html(branding: Branding, *, unsubscribe: str, view: str, width: int, ground: str | None = None) -> str:
    """One table; ``unsubscribe`` and ``view`` are written into links as they are.

    ``ground`` is the colour around the template, where it is not the project's.
    """
    if ground is not None:
        branding = replace(branding, background_colour=ground)
    palette = colours(branding)
    background = f"background-color:{palette['background_colour']}"
    content = "".join(_paragraphs(branding, palette["muted_colour"], unsubscribe, view))
    return (
        f'<table class="{_ID}" role="presentation" width="100%" border="0" cellpadding="0" cellspacing="0" '
        f'dir="{branding.direction}" style="{background};width:100%!important;clear:both!important;'
        f'position:relative!important;margin:0!important;{_SHOWN.format(display="table")}">'
        f'<tbody><tr><td align="center" style="{background};padding:24px 24px 40px!important;'
        f'{_SHOWN.format(display="table-cell")}">'
        f'<div style="max-width:{width - 48}px;margin:0 auto!important;{_SHOWN.format(display="block")}">'
        f"{content}</div></td></tr></tbody></table>"
    )


def _paragraphs(branding: Branding, colour: str, unsubscribe: str, view: str) -> Iterator[str]:
    reason, unsubscribe_word, view_word = _WORDS.get(branding.language, _WORDS["en"])
    brand = html.escape(clean_value(branding.brand_name))
    address = ", ".join(html.escape(line) for line in _address_lines(branding))
    social = [_link(html.escape(url), label, colour) for label, url in _social(branding)]
    links = [_link(unsubscribe, unsubscribe_word, colour), _link(view, view_word, colour)]
    between = " &nbsp;&middot;&nbsp; "
    style = (
        f"margin:0 0 12px!important;padding:0;color:{colour};font-size:13px!important;"
        "line-height:20px!important;font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;"
        f"text-align:center;{_SHOWN.format(display='block')}"
    )
    for row in (
        between.join(social),
        html.escape(reason).replace("{brand}", brand),
        between.join(links),
        " &middot; ".join(part for part in (brand, address) if part),
    ):
        if row:
            yield f'<p style="{style}">{row}</p>'


def _link(url: str, label: str, colour: str) -> str:
    style = f"color:{colour};text-decoration:underline;{_SHOWN.format(display='inline')}"
    return f'<a href="{url}" target="_blank" style="{style}">{html.escape(label)}</a>'


def _social(branding: Branding) -> list[tuple[str, str]]:
    """Label and URL of the links that can be shown."""
    links = ((clean_value(label), web_link(url)) for label, url in branding.social_links.items())
    return [(label, url) for label, url in links if label and url]


def dark_styles(branding: Branding) -> str:
    """For templates with a dark design of their own: the page and the footer turn dark with it."""
    palette = colours(branding)
    page, muted = palette["dark_background_colour"], palette["dark_muted_colour"]
    return (
        "@media (prefers-color-scheme:dark){"
        f"body,table.{_ID},table.{_ID} td{{background-color:{page}!important}}"
        f"table.{_ID} p,table.{_ID} a{{color:{muted}!important}}}}"
    )


def as_text(branding: Branding, *, unsubscribe: str, view: str) -> str:
    words = _WORDS.get(branding.language, _WORDS["en"])
    brand = clean_value(branding.brand_name)
    social = [f"{label}: {url}" for label, url in _social(branding)]
    lines = [brand, *_address_lines(branding), "", *social, *([""] if social else [])]
    lines += [words[0].replace("{brand}", brand), f"{words[1]}: {unsubscribe}", f"{words[2]}: {view}"]
    return "-- \n" + "\n".join(lines)


def _address_lines(branding: Branding) -> list[str]:
    lines = (clean_value(line) for line in (branding.postal_address or "").splitlines())
    return [line for line in lines if line]
