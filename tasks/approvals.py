"""Asking people before something is changed: the run is suspended with a form, its worker is free, and it begins again once it is answered.

A run that is resumed starts from its top, so the question comes after everything that only looks and before everything that changes. What is
asked about (the terms) names the question: terms that are still the same have their answer, and other terms are asked about anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.runtime import deployment, flow_run
from pydantic import Field, ValidationError, create_model

from officeops.clock import iso
from officeops.errors import RefusedError
from officeops.ledger import Approval
from officeops.runbook.model import Action, Contact
from officeops.site import Site

_NAME = "Approval"  # names the form's class, and with it where Prefect keeps it
_FALLBACK_S = 3600.0  # Prefect's own limit, should the automation that cancels what expired not be there


class RejectedError(RefusedError):
    """A person said no. The run ends as cancelled, not as failed."""

    def __init__(self, who: str, why: str) -> None:
        super().__init__(f"Rejected by {who}: {why}.", state="Nothing was changed.")


def approve(site: Site, action: Action, *, plan: str, terms: Mapping[str, object], always: bool = False) -> None:
    """Returns when `action` may be done: the runbook does not ask about it, the run has no deployment (the command line asked already), or
    somebody approved these very terms. Otherwise suspends the run, which leaves this call by an exception of Prefect's own.

    plan: Markdown for the form. terms: what would be done, without figures that change by themselves. always: whatever the runbook says.
    Raises RejectedError."""
    if (always or action in site.config.runbook.approvals.actions) and deployment.id is not None:
        ask(site, action, plan=plan, terms=terms)


def ask(site: Site, action: str, *, plan: str, terms: Mapping[str, object], state: str = "Nothing was changed yet.") -> None:
    """Returns when somebody approved these very terms, else as `approve`. The run must have a deployment. state: what was done so far."""
    terms = json.loads(json.dumps({"action": action, **terms}, default=str))
    key = hashlib.sha256(json.dumps(terms, sort_keys=True).encode()).hexdigest()[:16]
    asked = {one.id: one for one in site.ledger.approvals() if one.run == str(flow_run.id)}
    identifier = f"{flow_run.id}-{key}"
    question = asked.pop(identifier, None) or Approval(identifier, action, str(flow_run.id), terms, iso(site.clock()))
    site.ledger.record_approval(question)
    get_run_logger().info("Asking whether this may be done; see the form of this run")
    hours = site.config.runbook.approvals.expires_hours
    asking = form(site.config.runbook.contacts, _asked(plan, hours=hours, anew=bool(asked), state=state))
    try:
        answer: Any = suspend_flow_run(wait_for_input=asking, timeout=int(hours * 3600 + _FALLBACK_S), key=key)
    except ValidationError as error:
        raise RefusedError(
            "The run was resumed without an answer.", state="Nothing was changed.", todo="Start it again and answer its form."
        ) from error
    _record(site, question, answer)
    if answer.decision == "reject":
        raise RejectedError(answer.who, answer.reason.rstrip("."))
    get_run_logger().info("Approved by %s: %s", answer.who, answer.reason)


def form(contacts: Sequence[Contact], description: str) -> type[RunInput]:
    """The form: what is decided, by whom, why. Who is one of the runbook's contacts, or free text when it has none."""
    names = people(contacts)
    fields: dict[str, Any] = {
        "decision": (str, _field(0, "reject: the run is cancelled and nothing is changed.", enum=["approve", "reject"])),
        "who": (str, _field(1, "Who decides this. Kept in the ledger as it is stated here.", **({"enum": names} if names else {}))),
        "reason": (str, _field(2, "Why, for the ledger.")),
    }
    made: type[RunInput] = create_model(_NAME, __base__=RunInput, **fields)
    return made.with_initial_data(description=description)


def people(contacts: Sequence[Contact]) -> list[str]:
    """As they are chosen in the form: `Sato (system administrator)`; the role alone while the runbook names nobody."""
    names = [(one.name.strip(" -"), one.role.replace("_", " ")) for one in contacts]
    return list(dict.fromkeys(f"{name} ({role})" if name else role for name, role in names))


def _field(position: int, description: str, **schema: Any) -> Any:
    """position: Prefect's database keeps no order of keys, and the form sorts by this. The server checks answers by the schema; a Literal
    with one value would be no choice there."""
    return Field(description=description, min_length=1, json_schema_extra={"position": position, **schema})


def _asked(plan: str, *, hours: float, anew: bool, state: str) -> str:
    again = "**Asked anew: things changed since this run was last answered.**\n\n" if anew else ""
    return f"{again}{state} Without an answer within {hours:g} hours the run is cancelled.\n\n{plan}"


def _record(site: Site, question: Approval, answer: Any) -> None:
    """Whoever runs twice with the same answer keeps when it was first read."""
    said = {"decision": answer.decision, "who": answer.who, "why": answer.reason, "decided_at": iso(datetime.now(UTC))}
    site.ledger.record_approval(Approval(**{**vars(question), **said}))
