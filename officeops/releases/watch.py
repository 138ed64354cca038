"""Watching a release that has just begun to serve: its own figures since then, against what the runbook allows."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from officeops.errors import OfficeOpsError
from officeops.stack.port import Colour, ServiceStatus

if TYPE_CHECKING:
    from officeops.site import Site

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LE = re.compile(r'le="([^"]+)"')
_ANSWER_S = 3.0
_MISSES = 3  # in a row: one can be a slow moment


class BreachError(OfficeOpsError):
    """The new release does not do what the runbook asks of it."""


@dataclass(frozen=True)
class Figures:
    """Counters of a process since its start. buckets: requests that took at most so many seconds, by that bound."""

    requests: float = 0
    errors: float = 0
    buckets: dict[float, float] = field(default_factory=dict)

    def since(self, before: Figures) -> Figures:
        """What came after `before`. A counter that is smaller than it was began anew with its process."""
        if self.requests < before.requests:
            return self
        buckets = {bound: count - before.buckets.get(bound, 0) for bound, count in self.buckets.items()}
        return Figures(self.requests - before.requests, self.errors - before.errors, buckets)

    @property
    def error_rate(self) -> float:
        """Share of requests that failed."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def p95(self) -> float:
        """Seconds below which 95 % of the requests lie: the bound of the histogram's bucket, inf above the last one."""
        total = self.buckets.get(inf, 0.0)
        return min((bound for bound, count in self.buckets.items() if total and count >= 0.95 * total), default=0.0)


def parse(text: str) -> Figures:
    """From Prometheus' text format: http_requests_total, http_errors_total, http_request_seconds_bucket."""
    requests = errors = 0.0
    buckets: dict[float, float] = {}
    for name, labels, value in _samples(text):
        match name:
            case "http_requests_total":
                requests += value
            case "http_errors_total":
                errors += value
            case "http_request_seconds_bucket" if found := _LE.search(labels):
                bound = inf if found[1] == "+Inf" else float(found[1])
                buckets[bound] = buckets.get(bound, 0.0) + value
    return Figures(requests, errors, buckets)


def get(url: str, path: str, *, timeout: float = _ANSWER_S) -> tuple[int, str]:
    """Status and text of an answer. Raises OSError or HTTPException."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        response = connection.getresponse()
        return response.status, response.read(1 << 22).decode(errors="replace")
    finally:
        connection.close()


class Watch:
    """The services of one colour from now on."""

    def __init__(self, site: Site, colour: Colour, figures: Callable[[], dict[str, Figures]] | None = None) -> None:
        self._site, self._colour = site, colour
        self._figures = figures or self._ask
        self._restarts = {one.name: one.restarts for one in site.stack.instances(colour)}
        self._before = self._figures()
        self._misses: dict[str, int] = {}

    def check(self) -> None:
        """Raises BreachError saying which service does what it may not."""
        for one in self._site.stack.instances(self._colour):
            self._check_service(one)
        now = self._figures()
        for service, figures in now.items():
            self._check_figures(service, figures.since(self._before.get(service, Figures())))

    def seen(self) -> dict[str, Figures]:
        """The figures since the beginning, by service."""
        return {name: found.since(self._before.get(name, Figures())) for name, found in self._figures().items()}

    def _check_service(self, one: ServiceStatus) -> None:
        if one.restarts > self._restarts.get(one.name, 0) or one.state in ("failed", "restarting", "stopped"):
            raise BreachError(f"{one.name} of the new release ended by itself after it had begun to serve ({one.detail or one.state}).")
        self._misses[one.name] = self._misses.get(one.name, 0) + 1 if one.health == "unhealthy" else 0
        if self._misses[one.name] >= _MISSES:
            raise BreachError(f"{one.name} of the new release is not ready any more: {one.detail}.")

    def _check_figures(self, service: str, found: Figures) -> None:
        allowed = self._site.config.runbook.releases
        if found.requests < allowed.min_requests:
            return
        if found.error_rate > allowed.max_error_rate:
            raise BreachError(
                f"{service} of the new release fails {found.error_rate:.1%} of {found.requests:.0f} requests; "
                f"the runbook allows {allowed.max_error_rate:.1%} (releases.max_error_rate)."
            )
        if found.p95 > allowed.max_p95_seconds:
            raise BreachError(
                f"{service} of the new release needs more than {allowed.max_p95_seconds:g} s for one request in twenty "
                f"(95th percentile {found.p95:g} s of {found.requests:.0f} requests; releases.max_p95_seconds)."
            )

    def _ask(self) -> dict[str, Figures]:
        path = self._site.config.runbook.releases.metrics_path
        found: dict[str, Figures] = {}
        for service in self._site.config.runbook.rolled() if path else ():
            try:
                status, text = get(self._site.stack.endpoint(service, self._colour), str(path))
            except (OfficeOpsError, OSError, http.client.HTTPException):
                continue  # a service that does not answer is found by its health
            if status == 200:
                found[service] = parse(text)
        return found


def _samples(text: str) -> Iterator[tuple[str, str, float]]:
    for line in text.splitlines():
        if found := _SAMPLE.match(line):
            yield found[1], found[2] or "", float(found[3])
