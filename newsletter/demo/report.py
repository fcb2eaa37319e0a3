"""What the demo prints when the campaign was sent: the copy, where its mails are, and how to go on."""

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from newsletter.demo.tour import Sent

LINES_SHOWN = 9


def tell(console: Console, sent: Sent, url: str, key: str) -> None:
    preview, generation = sent.preview, sent.campaign["generation"]
    _heading(console, "What was written")
    _line(console, "Subject", preview["subject"])
    _line(console, "Preheader", preview["preheader"])
    _line(console, "Written by", _writer(generation))
    lines = [line.strip() for line in preview["text"].splitlines() if line.strip()]
    excerpt = "\n".join([*lines[:LINES_SHOWN], "…"])
    console.print(Padding(Text(excerpt, style="italic"), (1, 2, 0, 4)))

    _heading(console, "Where to read the mails")
    console.print(f"  {sent.mails} mails, as each reader got them; none of them left this machine.")
    _verbatim(console, f"  {sent.inbox_url}", style="bold cyan")

    _heading(console, "The API key, and what to do with it")
    _verbatim(console, f"  {key}\n", style="bold")
    for number, (title, command) in enumerate(_commands(sent, f"{url}/api/v1", key), 1):
        console.print(f"  {number}. {title}", style="bold")
        _verbatim(console, f"{command}\n")


def _writer(generation: dict[str, object]) -> str:
    if generation["writer"] == "sandbox":
        return (
            "the sandbox writer, which is no language model: it arranges the words of the topic and "
            "of the brand voice. Set OPENAI_API_KEY or OPENAI_BASE_URL, and a model writes."
        )
    return str(generation["model"])


def _commands(sent: Sent, api: str, key: str) -> list[tuple[str, str]]:
    header = f"  -H 'X-API-Key: {key}'"
    subscribe = f'''curl {api}/subscribers \\
{header} \\
  -H 'Content-Type: application/json' \\
  -d '{{"list_id": "{sent.list_id}",
       "email": "you@example.com", "first_name": "Robin"}}\''''
    write = f'''curl {api}/campaigns \\
{header} \\
  -H 'Content-Type: application/json' \\
  -d '{{"list_id": "{sent.list_id}", "send": true,
       "ai": {{"prompt": "Announce our open day on Saturday, coffee included."}}}}\''''
    read = f"curl {api}/campaigns/{sent.campaign['id']} \\\n{header}"
    return [
        ("Put yourself on the list", subscribe),
        ("Write and send a campaign about a topic of your own", write),
        ("See how the first one went", read),
    ]


def _heading(console: Console, text: str) -> None:
    console.print()
    console.rule(f"[bold]{text}[/]", align="left")


def _line(console: Console, name: str, value: str) -> None:
    """A label and its text, whose further lines begin below its first."""
    row = Text(f"{name:<12}", style="bold")
    lines = Text(value).wrap(console, max(20, console.width - 16))
    for number, line in enumerate(lines):
        console.print(Padding(Text.assemble(row if number == 0 else " " * 12, line), (0, 0, 0, 2)))


def _verbatim(console: Console, text: str, style: str = "") -> None:
    """Text to copy: never broken, whatever the width."""
    console.print(Text(text, style=style), soft_wrap=True)
