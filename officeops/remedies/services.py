"""A service does not answer; the page is white; the model is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from officeops.clock import parse_iso
from officeops.errors import OfficeOpsError
from officeops.progress import Meter
from officeops.releases import emergency
from officeops.releases.proof import prove
from officeops.remedies.remedy import Patient, Remedy, Step
from officeops.stack.port import Deployed, Release

if TYPE_CHECKING:
    from officeops.site import Site

_DOWN = ("healthy", "answers", "serves")
_PULL_S = 3600.0


class Application(Remedy):
    """An application's service does not answer: timeout, 502, 504."""

    name = "application"

    def fits(self, patient: Patient) -> bool:
        """An app that is down."""
        return patient.service is not None and patient.service.kind == "app" and patient.measure in _DOWN

    def diagnose(self, patient: Patient) -> Mapping[str, str]:
        """State, log, releases."""
        return {"state": _state(patient), "log": patient.last_words(100), "recent releases": _releases(patient.site)}

    def ladder(self, patient: Patient) -> Sequence[Step]:
        """Restart, recreate, rebuild, roll back."""
        return [
            Step("restart", lambda: patient.site.stack.restart(patient.subject, timeout=30)),
            Step("recreate", lambda: recreate(patient.site), lambda: _not_rolled(patient)),
            Step("rebuild", lambda: rebuild(patient.site), lambda: _not_rolled(patient)),
            Step("roll back", lambda: roll_back(patient.site, patient.name), lambda: not_recent(patient.site)),
        ]


class WhiteScreen(Remedy):
    """A page, or something that it names, is not there."""

    name = "white-screen"

    def fits(self, patient: Patient) -> bool:
        """A page."""
        return patient.measure == "page"

    def diagnose(self, patient: Patient) -> Mapping[str, str]:
        """What fails, the page, the release."""
        return {"what fails": patient.detail, "page": _page(patient), "recent releases": _releases(patient.site)}

    def ladder(self, patient: Patient) -> Sequence[Step]:
        """Rebuild, roll back."""
        return [
            Step("rebuild", lambda: rebuild(patient.site), lambda: _not_rolled(patient)),
            Step("roll back", lambda: roll_back(patient.site, patient.name), lambda: not_recent(patient.site)),
        ]


class Model(Remedy):
    """Ollama does not answer, or does not have the model."""

    name = "model"

    def fits(self, patient: Patient) -> bool:
        """Ollama."""
        return patient.service is not None and patient.service.kind == "ollama" and patient.measure in (*_DOWN, "model")

    def diagnose(self, patient: Patient) -> Mapping[str, str]:
        """What it has, its log, memory."""
        return {"tags": _tags(patient), "log": patient.last_words(50), "memory": memory_by_service(patient.site)}

    def ladder(self, patient: Patient) -> Sequence[Step]:
        """Restart, pull."""
        site, name = patient.site, patient.subject
        return [
            Step(
                "restart",
                lambda: site.stack.restart(name),
                lambda: "it answers; only the model is missing" if patient.measure == "model" else "",
            ),
            Step("pull the model", lambda: pull(site, name)),
        ]


class Restart(Remedy):
    """Any other service that is down."""

    name = "restart"

    def fits(self, patient: Patient) -> bool:
        """Down, and not the database."""
        return patient.service is not None and patient.service.kind != "postgres" and patient.measure in _DOWN

    def diagnose(self, patient: Patient) -> Mapping[str, str]:
        """State and log."""
        return {"state": _state(patient), "log": patient.last_words(50)}

    def ladder(self, patient: Patient) -> Sequence[Step]:
        """Restart."""
        return [Step("restart", lambda: patient.site.stack.restart(patient.subject))]


def deployed(site: Site) -> Deployed:
    """What takes requests. Raises OfficeOpsError when nothing ever did."""
    found = site.stack.deployed()
    if found is None:
        raise OfficeOpsError("No release runs yet.", todo="Start it with `officeops up`.")
    return found


def recreate(site: Site) -> None:
    """The rolled services of the release that serves, from nothing, in their colour: they are down, there is nothing to be spared."""
    now = deployed(site)
    site.stack.launch(Release(now.sha, now.at, now.settings), now.colour)
    prove(site, now.colour)


def rebuild(site: Site) -> None:
    """Likewise, after what was built has been made anew from the commit."""
    now = deployed(site)
    site.stack.rebuild(Release(now.sha, now.at, now.settings))
    recreate(site)


def roll_back(site: Site, probe: str) -> str:
    """The release before serves again."""
    return f"{emergency.back(site, why=f'{probe} could not be mended otherwise').new[:10]} serves"


def not_recent(site: Site) -> str:
    """Why the release that serves is not rolled back: it is not new, or there is nothing to go back to."""
    now, allowed = deployed(site), timedelta(minutes=site.config.runbook.remedies.rollback_minutes)
    if site.clock() - now.at > allowed:
        return f"the release is older than {allowed.total_seconds() / 60:.0f} minutes"
    earlier = [one for one in site.ledger.releases() if one.outcome == "deployed" and one.sha != now.sha]
    return "" if earlier else "there is no earlier release"


def pull(site: Site, service: str) -> None:
    """Fetches the model that the application needs. Shows how far it is. Raises OfficeOpsError with what Ollama says."""
    import http.client

    host, port = site.stack.address(service)
    meter = Meter("pull the model", unit="bytes")
    connection = http.client.HTTPConnection(host, port, timeout=_PULL_S)
    try:
        connection.request("POST", "/api/pull", json.dumps({"model": site.config.settings.ollama_model, "stream": True}))
        response = connection.getresponse()
        for line in response:
            said = json.loads(line)
            if "error" in said:
                raise OfficeOpsError(f"Ollama cannot pull {site.config.settings.ollama_model}: {said['error']}")
            meter.total = said.get("total") or meter.total
            meter.done = said.get("completed", meter.done)
            meter.add(0)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OfficeOpsError(f"The pull broke off: {error or type(error).__name__}") from error
    finally:
        connection.close()
    meter.finish()


def memory_by_service(site: Site) -> str:
    """What each takes, largest first."""
    taken = sorted(site.stack.usage(), key=lambda one: one.memory, reverse=True)
    return "\n".join(f"{one.service}: {one.memory / 1e6:.0f} MB" + (f" of {one.limit / 1e6:.0f} MB" if one.limit else "") for one in taken)


def _not_rolled(patient: Patient) -> str:
    return "" if patient.service is not None and patient.service.rolled else "it has one colour; a restart is all that can be done"


def _state(patient: Patient) -> str:
    one = next(one for one in patient.site.stack.services() if one.name == patient.subject)
    return f"{one.state}, {one.health}, {one.restarts} restarts, release {one.release}, since {one.started_at}: {one.detail}"


def _releases(site: Site) -> str:
    since = site.clock() - timedelta(days=7)
    recent = [one for one in site.ledger.releases() if parse_iso(one.created_at) > since]
    return "\n".join(f"{one.created_at} {one.kind} {one.sha[:10]}: {one.outcome or 'goes on'} ({one.who})" for one in recent[:10]) or "none"


def _page(patient: Patient) -> str:
    from officeops.probes.web import door

    probe = next(one for one in patient.site.config.runbook.probes.pages.values() if one.service == patient.subject)
    return door(patient.site).ask(probe.path, 5).text[:4000]


def _tags(patient: Patient) -> str:
    from officeops.probes.http import Place

    host, port = patient.site.stack.address(patient.subject)
    return Place(f"http://{host}:{port}").ask("/api/tags", 3).text[:4000]
