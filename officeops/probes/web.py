"""Asking at the front door, as people do: addresses, pages with all that they name, the certificate."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from officeops.errors import OfficeOpsError
from officeops.probes.host import cores
from officeops.probes.http import Answer, NoAnswerError, Place, unverified
from officeops.probes.reading import Reading, yes
from officeops.stack.values import filled, setting_values

if TYPE_CHECKING:
    from officeops.runbook.watching import PageProbe, WebProbe
    from officeops.site import Site

_ASSETS = 60  # as many of a page are asked for
_PAGE_S = 5.0
_TLS_PORT = 443  # in its container, whatever is published
_TYPES = {"script": "javascript", "style": "css", "image": "image/"}
_IMPORTED = re.compile(r"""^\s*(?:import|export)\b[^"';]*["'](\.{1,2}/[^"']+)["']""", re.MULTILINE)
_REL = {"stylesheet": "style", "icon": "image", "modulepreload": "script"}


def door(site: Site) -> Place:
    """By TLS and its name where the front door has one, else without."""
    settings = site.config.settings
    plain = site.stack.front_door()
    named = settings.site_address.split(",")[0].strip() if settings.officeops_stack == "compose" else ""
    host = urlsplit(named if "://" in named else f"https://{named}").hostname if named else None
    if host is None or named.startswith(("http://", ":")):
        return Place(plain, host or "localhost")
    return Place(f"https://{urlsplit(plain).hostname}:{_TLS_PORT}", host)


def ask_web(site: Site, name: str, probe: WebProbe) -> Iterator[Reading]:
    """Whether it answers as the runbook says, and after how long."""
    try:
        answer = door(site).ask(probe.path, probe.timeout)
    except NoAnswerError as error:
        yield yes(f"{probe.service}.{name}", "serves", str(error))
        if isinstance(error.__cause__, TimeoutError):
            yield Reading(f"{probe.service}.{name}_seconds", "response", probe.timeout, "no answer", facts=cores())
        return
    yield yes(f"{probe.service}.{name}", "serves", _unfit(site, probe, answer))
    yield Reading(f"{probe.service}.{name}_seconds", "response", answer.seconds, facts=cores())


def ask_page(site: Site, name: str, probe: PageProbe) -> Iterator[Reading]:
    """The page and everything that it names: the first that is not as it should be makes a white screen."""
    count, problem = _walk(door(site), probe.path, time.monotonic() + _PAGE_S)
    yield yes(f"{probe.service}.{name}", "page", problem)
    yield Reading(f"{probe.service}.{name}_assets", "count", count)


def ask_certificate(site: Site, now: datetime) -> Iterable[Reading]:
    """Days until it ends. One that is made for a short time, as Caddy's own are, is measured against its time."""
    from cryptography import x509

    place = door(site)
    address = urlsplit(place.url)
    with (
        socket.create_connection((address.hostname or "", address.port or 443), 3) as plain,
        unverified().wrap_socket(plain, server_hostname=place.host) as wrapped,
    ):
        shown = wrapped.getpeercert(binary_form=True)
    if shown is None:
        raise OfficeOpsError("the front door shows no certificate")
    found = x509.load_der_x509_certificate(shown)
    left, whole = found.not_valid_after_utc - now, found.not_valid_after_utc - found.not_valid_before_utc
    days, limit = left.total_seconds() / 86400, whole.total_seconds() / 86400 / 6  # Caddy renews when a third is left
    caddy = next(name for name, service in site.config.runbook.services.items() if service.kind == "caddy")
    return [Reading(f"{caddy}.certificate", "certificate", days, f"for {place.host}", limit=limit if limit < 14 else None)]


def named_by(text: str) -> list[tuple[str, str]]:
    """(address, kind) of what a page needs: script, style, image."""
    parser = _Names()
    parser.feed(text)
    return parser.found


class _Names(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Keeps what the tag names."""
        given = dict(attributes)
        kind = {"script": "script", "img": "image"}.get(tag) or (_REL.get(str(given.get("rel"))) if tag == "link" else None)
        address = given.get("href" if tag == "link" else "src")
        if kind and address and not urlsplit(address).scheme and not address.startswith("//"):
            self.found.append((address, kind))


def _unfit(site: Site, probe: WebProbe, answer: Answer) -> str:
    if answer.status != probe.status:
        return f"{probe.path} answered {answer.status}: {answer.text[:200]}"
    wanted = filled(probe.contains, setting_values(site.config.settings))
    if isinstance(wanted, str) and wanted not in answer.text:
        return f"{probe.path} does not have {wanted!r} in its answer: {answer.text[:200]}"
    if not probe.json_values:
        return ""
    try:
        found = answer.json()
        wrong = {key: found.get(key) for key, value in probe.json_values.items() if found.get(key) != value}
    except (ValueError, AttributeError):
        return f"{probe.path} answered something that is no JSON object: {answer.text[:200]}"
    return f"{probe.path} says {', '.join(f'{key}: {json.dumps(value)}' for key, value in wrong.items())}" if wrong else ""


def _walk(place: Place, path: str, deadline: float) -> tuple[int, str]:
    """How many assets were asked for, and what is wrong with the first that is not right."""
    page, problem = _fetched(place, path, "html")
    if problem:
        return 0, problem
    waiting = [(urljoin(path, address), kind) for address, kind in named_by(page)]
    seen: set[str] = set()
    while waiting and len(seen) < _ASSETS and time.monotonic() < deadline:
        address, kind = waiting.pop(0)
        if address in seen:
            continue
        seen.add(address)
        text, problem = _fetched(place, address, _TYPES[kind])
        if problem:
            return len(seen), problem
        if kind == "script":
            waiting += [(urljoin(address, imported), "script") for imported in _IMPORTED.findall(text)]
    return len(seen), ""


def _fetched(place: Place, path: str, kind: str) -> tuple[str, str]:
    """The text where it may name more, and what is wrong."""
    try:
        answer = place.ask(path, _PAGE_S)
    except NoAnswerError as error:
        return "", str(error)
    if answer.status != 200:
        return "", f"{path} answered {answer.status}"
    if not answer.body.strip():
        return "", f"{path} is empty"
    if kind not in answer.type:
        return "", f"{path} is {answer.type or 'of no type'}, not {kind.strip('/')}"
    return answer.text if kind in ("html", "javascript") else "", ""
