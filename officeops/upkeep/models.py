"""Ollama's model, fetched anew: the one from before stays under another name until the new one has answered."""

from __future__ import annotations

import http.client
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.releases import models

if TYPE_CHECKING:
    from officeops.site import Site

KIND = "model"
_KEPT = "officeops-before"  # the name of what was there before, while the new one is tried


@dataclass(frozen=True)
class Model:
    """service: that has it. before, after: digests. note: why it stayed as it was, if it had to."""

    service: str
    name: str
    before: str
    after: str
    note: str = ""


def renew(site: Site) -> tuple[Model, ...]:
    """The model of the release that runs, in every service of kind ollama. Raises OfficeOpsError, with the model from before in use, when
    the new one does not answer."""
    deployed = site.stack.deployed()
    name = (deployed.settings if deployed else {}).get("ollama_model", site.config.settings.ollama_model)
    services = [service for service, described in site.config.runbook.services.items() if described.kind == "ollama"]
    return tuple(_journalled(site, service, name) for service in services)


def put_in_order(site: Site) -> None:
    """Where a killed run was in the middle, the model from before is the model again."""
    for operation in site.ledger.operations(KIND):
        _put_back(site.stack.endpoint(operation.facts["service"]), operation.facts["model"])
        site.ledger.end(operation.id, "undone", "The process that did it ended.")


def _journalled(site: Site, service: str, name: str) -> Model:
    operation = f"{KIND}-{site.clock():%Y%m%d_%H%M%S}-{secrets.token_hex(2)}"
    site.ledger.begin(KIND, operation, service=service, model=name)
    try:
        done = _renew(service, site.stack.endpoint(service), name)
    except OfficeOpsError as error:
        site.ledger.end(operation, "undone", str(error))
        raise
    site.ledger.end(operation, "done")
    return done


def _renew(service: str, url: str, name: str) -> Model:
    before = models.digests(url).get(name, "")
    if before and not _copied(url, name, _KEPT):
        return Model(
            service, name, before, before, "This Ollama cannot keep what it has while it fetches another one: the model stays as it is."
        )
    try:
        models.pull(url, name)
        _require_answer(url, name)
    except OfficeOpsError as error:
        _put_back(url, name)
        error.state = f"{error.state} The model from before is in use.".strip()
        raise
    if before:
        models.ask(url, "DELETE", "/api/delete", {"model": _KEPT})
    return Model(service, name, before, models.digests(url).get(name, ""))


def _put_back(url: str, name: str) -> None:
    if _KEPT in models.digests(url):
        _copied(url, _KEPT, name)
        models.ask(url, "DELETE", "/api/delete", {"model": _KEPT})


def _copied(url: str, source: str, destination: str) -> bool:
    return models.ask(url, "POST", "/api/copy", {"source": source, "destination": destination})[0] == http.client.OK


def _require_answer(url: str, name: str) -> None:
    question: dict[str, Any] = {"model": name, "prompt": "Say yes.", "stream": False, "options": {"num_predict": 8}}
    status, answers = models.ask(url, "POST", "/api/generate", question)
    if status != http.client.OK or not any(str(one.get("response", "")).strip() for one in answers):
        raise OfficeOpsError(f"The model {name} that was fetched does not answer (status {status}): {answers[-1:]}.")
