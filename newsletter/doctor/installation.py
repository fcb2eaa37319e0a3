"""What is on this machine: folders, files, the secret key, the public address, stray variables."""

import difflib
import os
import re
import stat
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import TemplateError
from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from newsletter.copywriting.prompts import Task
from newsletter.doctor.finding import Finding, broken, ok, warning
from newsletter.kit.resources import Resources
from newsletter.plans import catalogue
from newsletter.settings import PREFIX, Settings
from newsletter.templates import starters

KEY_FILE = "secret_key"
_COMPOSE = {PREFIX + "VERSION", PREFIX + "PORT"}
"""Read by compose.yaml, from the same file."""


def folders(settings: Settings) -> list[Finding]:
    return [_data(settings.data_dir), _prompts(settings), _templates(settings), _plans(settings)]


def _data(folder: Path) -> Finding:
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return broken(
            "data folder",
            f"{folder} cannot be written",
            "Let this user write it, or set NEWSLETTER_DATA_DIR.",
        )
    return ok("data folder", str(folder.absolute()))


def _prompts(settings: Settings) -> Finding:
    try:
        task = Task.load(Resources("prompts", settings.prompts_dir))
    except (OSError, ValueError, LookupError, TemplateError) as error:
        return broken("prompts", _line(error), "Mend NEWSLETTER_PROMPTS_DIR, or install the program anew.")
    return ok("prompts", f"{task.name} {task.hash[:12]}")


def _templates(settings: Settings) -> Finding:
    try:
        found = starters.load(Resources("email_templates", settings.email_templates_dir))
    except (OSError, ValueError, LookupError, TemplateError) as error:
        mend = "Mend NEWSLETTER_EMAIL_TEMPLATES_DIR, or install the program anew."
        return broken("templates", _line(error), mend)
    return ok("templates", f"{len(found)} to begin with")


def _plans(settings: Settings) -> Finding:
    try:
        plans = catalogue.load(settings.plans_file)
    except (OSError, ValueError) as error:
        return broken("plans", _line(error), "Mend NEWSLETTER_PLANS_FILE, or leave it out.")
    return ok("plans", ", ".join(plans))


def secret_key(settings: Settings, *, has_projects: bool) -> Finding:
    if settings.secret_key is not None:
        is_exported = bool(os.environ.get(PREFIX + "SECRET_KEY"))
        source = "the environment" if is_exported else str(Settings.model_config.get("env_file"))
        return ok("secret key", f"from {source}, {len(settings.secret_keys_old)} former ones")
    path = settings.data_dir / KEY_FILE
    if not path.exists():
        if has_projects:
            return broken(
                "secret key",
                f"{path} is gone: no API key works, no secret can be read, no link in a mail holds",
                "Put it back from a backup, or set NEWSLETTER_SECRET_KEY.",
            )
        return ok("secret key", f"made on the first start, kept in {path}")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return warning("secret key", f"{path} can be read by other users", f"chmod 600 {path}")
    return ok("secret key", f"made here, kept in {path}")


def public_url(settings: Settings, *, has_live_projects: bool) -> list[Finding]:
    url = settings.public_url
    found = [ok("public address", url)]
    if _is_loopback(urlsplit(url).hostname or ""):
        found = [ok("public address", f"{url}: links in mails work on this machine alone")]
        if has_live_projects:
            mend = "Set NEWSLETTER_PUBLIC_URL to the HTTPS address that readers reach."
            found = [
                warning("public address", f"{url} is in mails of live projects, and leads nowhere", mend)
            ]
    elif not url.startswith("https://"):
        mend = "Put a proxy with TLS in front and set NEWSLETTER_PUBLIC_URL to its address."
        found = [warning("public address", f"{url} is not HTTPS, which one-click unsubscribe asks for", mend)]
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def unknown_variables(settings: Settings) -> list[Finding]:
    """Names that begin as ours and mean nothing: a typo would otherwise be a silent default."""
    known = {*variables(type(settings)), PREFIX + "ENV_FILE"}
    found = []
    for name in sorted({*os.environ, *_names_in(Path(str(Settings.model_config.get("env_file"))))}):
        if name.upper().startswith(PREFIX) and name.upper() not in known | _COMPOSE:
            nearest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.5)
            mend = f"Did you mean {nearest[0]}?" if nearest else "docs/settings.md lists all of them."
            found.append(warning("settings", f"{name} is set, but there is no such setting", mend))
    return found


def _names_in(file: Path) -> list[str]:
    if not file.is_file():
        return []
    return re.findall(r"^\s*(?:export\s+)?(\w+)\s*=", file.read_text(errors="replace"), re.MULTILINE)


def variables(group: type[BaseSettings]) -> Iterator[str]:
    """The environment variables of a group of settings and of the groups in it."""
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseSettings):
            yield from variables(field.annotation)
        elif isinstance(field.validation_alias, AliasChoices):
            yield from (str(choice) for choice in field.validation_alias.choices)
        else:
            yield f"{group.model_config.get('env_prefix', '')}{name}".upper()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
