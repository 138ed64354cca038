"""The values that a program is given: settings as text, and texts of the runbook with their placeholders filled in."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from officeops.runbook.placeholders import fill, named
from officeops.settings import Settings
from officeops.settings.model import is_secret


def setting_values(settings: Settings) -> dict[str, str | SecretStr]:
    """Every setting by its field's name, as `.env` would have it."""
    return {key: _plain(value) for key, value in settings}


def release_values(settings: Settings, changed: Mapping[str, str]) -> dict[str, str | SecretStr]:
    """The same for a release that runs with other values than today's. changed: by the names of fields; secrets stay secret."""
    own = {key: SecretStr(value) if key in Settings.model_fields and is_secret(key) else value for key, value in changed.items()}
    return {**setting_values(settings), **own}


def site_url(settings: Settings) -> str | None:
    """The site's own address by TLS, such as https://office.example.com; None where it has none."""
    named = settings.site_address.split(",")[0].strip() if settings.officeops_stack == "compose" else ""
    if not named or named.startswith("http://"):
        return None
    host = named.removeprefix("https://")
    return f"https://{host}" if ":" in host or settings.https_port == 443 else f"https://{host}:{settings.https_port}"


def front_url(settings: Settings) -> str:
    """Where the front door answers by TLS: at the site's own address, else on this host."""
    return site_url(settings) or f"https://localhost:{settings.https_port}"


def filled(text: str, values: Mapping[str, str | SecretStr]) -> str | SecretStr:
    """`text` with each {name} replaced; a secret when any of the values is one."""
    clear = {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in values.items()}
    result = fill(text, clear)
    return SecretStr(result) if any(isinstance(values[name], SecretStr) for name in named(text)) else result


def _plain(value: object) -> str | SecretStr:
    match value:
        case SecretStr():
            return value
        case tuple() if any(isinstance(part, SecretStr) for part in value):
            return SecretStr(" ".join(part.get_secret_value() for part in value))
        case tuple():
            return " ".join(map(str, value))
        case bool():
            return str(value).lower()  # as .env has it
        case _:
            return "" if value is None else str(value)
