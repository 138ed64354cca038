"""Whether a release that runs beside the serving one may have its requests: checks in a row, then the runbook's questions."""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING

from officeops.errors import OfficeOpsError
from officeops.releases.watch import get
from officeops.runbook.model import Smoke
from officeops.stack.port import Colour, ServiceStatus

if TYPE_CHECKING:
    from officeops.site import Site

_PAUSE_S = 0.2
_RESTARTS = 3  # a release that ended so often will not do better
_ANSWER_S = 10.0
_LAST_WORDS = 20


class ProofError(OfficeOpsError):
    """The new release is not fit to serve. The state holds the last words of the service that failed."""


def prove(site: Site, colour: Colour) -> None:
    """Every rolled service of `colour` passes the runbook's number of checks in a row, then every smoke request. Raises ProofError."""
    asked = site.config.runbook.releases
    deadline, passed = time.monotonic() + asked.ready_seconds, 0
    while passed < asked.ready_checks:
        found = site.stack.instances(colour)
        ill = next((one for one in found if one.state != "running" or one.health != "healthy"), None)
        passed = 0 if ill else passed + 1
        if ill and (_is_hopeless(ill) or time.monotonic() > deadline):
            late = "" if _is_hopeless(ill) else f" after {asked.ready_seconds:g} s"
            raise failed(site, colour, ill.name, f"is not ready{late}: {ill.detail or ill.state}")
        time.sleep(_PAUSE_S)
    for one in asked.smoke:
        if why := _wrong(site, colour, one):
            raise failed(site, colour, one.service, f"failed the smoke request {one.path}: {why}")


def failed(site: Site, colour: Colour, service: str, why: str) -> ProofError:
    """What is said of it, with the service's last words."""
    try:
        words = "\n".join(line.text for line in site.stack.logs(service, tail=_LAST_WORDS, colour=colour))
    except OfficeOpsError as error:
        words = f"(its log cannot be read: {error})"
    return ProofError(f"{service} of the new release {why}.", state=f"Its last words:\n{words}\n")


def _wrong(site: Site, colour: Colour, smoke: Smoke) -> str:
    try:
        status, text = get(site.stack.endpoint(smoke.service, colour), smoke.path, timeout=_ANSWER_S)
    except (OfficeOpsError, OSError, http.client.HTTPException) as error:
        return f"no answer ({error or type(error).__name__})"
    if status != smoke.status:
        return f"status {status} instead of {smoke.status}: {text[:200]}"
    return "" if smoke.contains in text else f"{smoke.contains!r} is not in the answer: {text[:200]}"


def _is_hopeless(one: ServiceStatus) -> bool:
    return one.state == "failed" or one.restarts >= _RESTARTS
