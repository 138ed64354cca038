"""Telling people: one message, to every URL of `.env` that it concerns. The same for failed runs and for alerts; no Prefect.

Who is told: NOTIFY_URLS everything; NOTIFY_URLS_WARNING and NOTIFY_URLS_CRITICAL by how bad it is; NOTIFY_URLS_<ROLE> what that role of
the runbook's contacts answers for. A URL that is there several times is told once.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlencode, urlsplit

from pydantic import SecretStr

from officeops.errors import OfficeOpsError, TransientError
from officeops.host import host_name
from officeops.runbook import Runbook
from officeops.runbook.parts import Role
from officeops.settings import Settings

ROLES: tuple[Role, ...] = ("system_administrator", "database_administrator", "development_lead")
Severity = Literal["info", "warning", "critical"]
_RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}
_SIGNS: dict[Severity, str] = {"info": "✓", "warning": "!", "critical": "✗"}
_KINDS: dict[Severity, str] = {"info": "info", "warning": "warning", "critical": "failure"}  # Apprise's words
_ATTEMPTS, _FIRST_PAUSE_S = 4, 1.0
_SHORTEST = 6  # a shorter secret is part of ordinary words, and none that is generated is
_SHORTEST_PATH = 16
_LONGEST_ERROR = 1500


@dataclass(frozen=True)
class Message:
    """Something that somebody should know.

    what: in a few words, such as "nightly-backup failed". role: who answers for it. since: when it began (text: as it is to stand there).
    error: what was found, in any length; secrets are taken out. todo: what to do now. link: where to see more."""

    what: str
    severity: Severity = "critical"
    role: Role = "system_administrator"
    since: datetime | str | None = None
    error: str = ""
    todo: str = ""
    link: str = ""


@dataclass(frozen=True)
class Channel:
    """A URL that is told. name: its key of `.env` and its place there, which is no secret."""

    name: str
    url: SecretStr

    @property
    def slug(self) -> str:
        """The name in lower case letters, digits and dashes."""
        return self.name.lower().replace("_", "-").replace(" ", "-")


@dataclass(frozen=True)
class Text:
    """A message as people get it."""

    subject: str
    body: str
    severity: Severity


@dataclass(frozen=True)
class Delivery:
    """What became of a message on one channel. error: empty when it was delivered."""

    channel: str
    attempts: int
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was taken."""
        return not self.error


class NotDeliveredError(TransientError):
    """The other side did not take the message."""


def send(
    settings: Settings, runbook: Runbook, message: Message, *, attempts: int = _ATTEMPTS, sleep: Callable[[float], None] = time.sleep
) -> list[Delivery]:
    """Tells everybody whom the message concerns, all at once, and again after growing pauses where that fails. Never raises for a channel:
    what could not be delivered is in what is returned."""
    to, text = channels(settings, message.severity, message.role), as_text(settings, runbook, message)
    if not to:
        return []
    with ThreadPoolExecutor(len(to)) as pool:
        return list(pool.map(lambda channel: _insist(settings, channel, text, attempts, sleep), to))


def _insist(settings: Settings, channel: Channel, text: Text, attempts: int, sleep: Callable[[float], None]) -> Delivery:
    for attempt in range(1, attempts + 1):
        try:
            deliver(settings, channel, text)
        except OfficeOpsError as error:
            if not error.transient or attempt == attempts:
                return Delivery(channel.name, attempt, error.what)
            sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
        else:
            return Delivery(channel.name, attempt)
    return Delivery(channel.name, 0, "No attempt was made.")


def channels(settings: Settings, severity: Severity, role: Role) -> list[Channel]:
    """Whom a message concerns, each URL once."""
    keys = ["notify_urls"]
    keys += [f"notify_urls_{level}" for level in ("warning", "critical") if _RANK[severity] >= _RANK[level]]
    keys.append(f"notify_urls_{role}")
    found: dict[str, Channel] = {}
    for key in keys:
        for number, url in enumerate(getattr(settings, key), 1):
            found.setdefault(url.get_secret_value(), Channel(f"{key.upper()} {number}", url))
    return list(found.values())


def every_channel(settings: Settings) -> list[Channel]:
    """Each URL of .env once."""
    found: dict[str, Channel] = {}
    for role in ROLES:
        for one in channels(settings, "critical", role):
            found.setdefault(one.url.get_secret_value(), one)
    return list(found.values())


def deliver(settings: Settings, channel: Channel, text: Text) -> None:
    """Tells one channel, once. Raises NotDeliveredError saying what the other side said, OfficeOpsError when the URL is none that can be told."""
    import apprise

    service = _service(apprise_url(channel.url.get_secret_value()))
    if service is None:
        raise OfficeOpsError(f"{channel.name} is no URL that Apprise knows.", todo=f"Correct {channel.name.split()[0]} in .env.")
    told = apprise.Apprise(servers=[service])
    with _overheard() as said:
        taken = told.notify(body=text.body, title=text.subject, notify_type=_KINDS[text.severity], body_format="text")
    if not taken:
        why = redacted(" ".join(said) or "no reason was given", settings)
        raise NotDeliveredError(f"{channel.name} did not take the message: {why}")


def as_text(settings: Settings, runbook: Runbook, message: Message) -> Text:
    """The message in words: what, where, since when, the error without secrets, what to do, who answers for it, where to see more."""
    where = f"{runbook.stack} on {host_name(settings)}"
    since = (
        message.since.astimezone(settings.zone).strftime("%Y-%m-%d %H:%M:%S %Z") if isinstance(message.since, datetime) else message.since
    )
    lines = [
        ("Where", f"{runbook.title} ({where})"),
        ("Since", since),
        ("Error", redacted(_shortened(message.error), settings)),
        ("What to do", message.todo),
        ("Answers for it", _people(runbook, message.role)),
        ("See", message.link),
    ]
    body = "\n".join(f"{name}: {value}" for name, value in lines if value)
    return Text(f"{_SIGNS[message.severity]} {where}: {redacted(message.what, settings)}", body, message.severity)


def redacted(text: str, settings: Settings) -> str:
    """`text` without any secret of the settings, however it is written in URLs, and without credentials of other URLs."""
    for secret in sorted(_secrets(settings), key=len, reverse=True):
        for form in {secret, quote(secret, safe=""), quote_plus(secret), quote(secret)}:
            text = text.replace(form, "(hidden)")
    return re.sub(r"(://)[^\s/@]+@", r"\1(hidden)@", text)


def apprise_url(url: str) -> str:
    """`url` as Apprise wants it. Addresses of services that it knows are left alone; any other http(s) address is a plain webhook, which
    gets JSON with `title`, `message` and `type`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or _service(url) is not None:
        return url
    # Apprise takes the query for its own options, and hands on what begins with a dash.
    query = urlencode([(f"-{key}", value) for key, value in parse_qsl(parts.query, keep_blank_values=True)])
    return parts._replace(scheme="jsons" if parts.scheme == "https" else "json", query=query).geturl()


def _people(runbook: Runbook, role: Role) -> str:
    named = [f"{one.name} {one.contact}".strip() for one in runbook.contacts if one.role == role and one.name.strip("- ")]
    return ": ".join(part for part in (role.replace("_", " "), ", ".join(named)) if part)


def _shortened(error: str) -> str:
    return error if len(error) <= _LONGEST_ERROR else f"{error[:_LONGEST_ERROR]} … (more in the run's log)"


def _secrets(settings: Settings) -> set[str]:
    """Every secret value in clear, and of those that are URLs or `user:password` the password by itself."""
    found: set[str] = set()
    for value in dict(settings).values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, SecretStr):
                secret = one.get_secret_value()
                found |= {secret, *_parts_of(secret)}
    return {one for one in found if len(one) >= _SHORTEST}


def _parts_of(secret: str) -> Iterator[str]:
    """What must not be seen of a secret that is a URL, or `user:password`: Apprise and drivers quote them in parts."""
    if "://" not in secret:
        yield secret.partition(":")[2]
        return
    rest = secret.partition("://")[2]
    yield unquote(rest)
    credentials, at, address = rest.rpartition("@")
    if at:
        yield from (unquote(credentials.partition(":")[2]), credentials.partition(":")[2])
    path = address.partition("/")[2]
    if len(path) >= _SHORTEST_PATH:  # a token; a shorter one is a word
        yield path


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """What Apprise logs in this thread while the block runs: it tells in no other way why something was not taken. It stands in no log
    then, since whole URLs are in it."""
    said: list[str] = []
    here = threading.get_ident()

    def ours(record: logging.LogRecord) -> bool:
        if record.thread != here:
            return True
        if record.levelno >= logging.WARNING:
            said.append(record.getMessage())
        return False

    logger = logging.getLogger("apprise")
    logger.addFilter(ours)
    try:
        yield said
    finally:
        logger.removeFilter(ours)


def _service(url: str) -> Any:
    """Apprise's object for the URL, None when it knows none."""
    import apprise

    with _overheard():
        return apprise.Apprise.instantiate(url)
