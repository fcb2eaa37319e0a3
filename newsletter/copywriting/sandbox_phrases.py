"""The set phrases of the sandbox writer, one set per language."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phrases:
    """``{topic}``, ``{brand}`` and ``{audience}`` are filled in; they stand where any words fit."""

    greeting: str
    formal_greeting: str
    reader: str
    """Who is greeted where no first name is known."""
    subject: str
    """Used where the brief gives no topic."""
    preheader: str
    opening: str
    points: str
    about: str
    audience: str
    voice: str
    links: str
    links_text: str
    link: str
    closing: str
    closing_text: str
    sign_off: str


PHRASES = {
    "en": Phrases(
        greeting="Hello {name},",
        formal_greeting="Dear {name},",
        reader="there",
        subject="News from {brand}",
        preheader="A short note from {brand}: {topic}",
        opening="today we have one subject for you: <strong>{topic}</strong>.",
        points="What it is about",
        about="Who is writing",
        audience="This letter is written for {audience}.",
        voice="In our own words",
        links="Take a closer look",
        links_text="Here is where to go on:",
        link="Read more at {host}",
        closing="Over to you",
        closing_text="Is there something you would like to know about it? Reply to this mail and ask.",
        sign_off="Best wishes,\n{brand}",
    ),
    "de": Phrases(
        greeting="Hallo {name},",
        formal_greeting="Guten Tag {name},",
        reader="zusammen",
        subject="Neues von {brand}",
        preheader="Ein kurzer Gruß von {brand}: {topic}",
        opening="heute geht es um ein Thema: <strong>{topic}</strong>.",
        points="Worum es geht",
        about="Wer hier schreibt",
        audience="Dieser Brief ist geschrieben für: {audience}.",
        voice="In unseren Worten",
        links="Mehr dazu",
        links_text="Hier geht es weiter:",
        link="Weiterlesen auf {host}",
        closing="Und jetzt Sie",
        closing_text="Haben Sie eine Frage dazu? Antworten Sie einfach auf diese Mail.",
        sign_off="Herzliche Grüße\n{brand}",
    ),
    "fr": Phrases(
        greeting="Bonjour {name},",
        formal_greeting="Bonjour {name},",
        reader="à vous",
        subject="Des nouvelles de {brand}",
        preheader="Un petit mot de {brand} : {topic}",
        opening="aujourd'hui, un seul sujet : <strong>{topic}</strong>.",
        points="De quoi il s'agit",
        about="Qui vous écrit",
        audience="Cette lettre s'adresse à : {audience}.",
        voice="Avec nos mots",
        links="Pour aller plus loin",
        links_text="La suite se trouve ici :",
        link="Lire la suite sur {host}",
        closing="À vous la parole",
        closing_text="Une question à ce sujet ? Répondez simplement à ce message.",
        sign_off="Bien à vous,\n{brand}",
    ),
    "es": Phrases(
        greeting="Hola {name}:",
        formal_greeting="Buenos días {name}:",
        reader="a todos",
        subject="Noticias de {brand}",
        preheader="Una breve nota de {brand}: {topic}",
        opening="hoy hay un solo tema: <strong>{topic}</strong>.",
        points="De qué se trata",
        about="Quién escribe",
        audience="Esta carta está escrita para: {audience}.",
        voice="Con nuestras palabras",
        links="Para saber más",
        links_text="Aquí se puede seguir leyendo:",
        link="Leer más en {host}",
        closing="Ahora usted",
        closing_text="¿Tiene alguna pregunta? Responda a este mensaje.",
        sign_off="Un saludo,\n{brand}",
    ),
}


def phrases_for(locale: str) -> Phrases:
    """Those of the locale's language; English where we have none."""
    return PHRASES.get(locale.replace("_", "-").partition("-")[0].casefold(), PHRASES["en"])
