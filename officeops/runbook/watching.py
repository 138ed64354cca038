"""The chapters on monitoring, alerts and common problems: what is asked, when people are told, what is done about it."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from officeops.runbook.parts import Amount, Count, Inside, Name, Part, Role, Switch, Text

Severity = Literal["warning", "critical"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,126}$")]
Path = Annotated[str, Field(pattern=r"^/[!-~]*$")]


def _clock_time(text: str) -> str:
    time.fromisoformat(text)  # ValueError: not one
    return text


ClockTime = Annotated[str, Field(pattern=r"^\d\d:\d\d$"), AfterValidator(_clock_time)]


class WebProbe(Part):
    """A request at the front door, as people make them."""

    service: Name = Field(description="The service that answers for it")
    path: Path = Field(description="What is asked for, by GET")
    status: Count = Field(200, ge=100, le=599, description="The status that it must answer with")
    contains: str = Field("", description="Text that must be in the answer; it may name keys of .env in lower case: {ollama_model}")
    json_values: dict[str, str | int | float | bool | None] = Field(
        {}, description="Keys of the answer's JSON object with the values that they must have"
    )
    timeout: Amount = Field(8.0, gt=0, le=60, description="Seconds to wait for the answer; above what alerts allow")


class PageProbe(Part):
    """A page at the front door. It, and every script, style sheet and image that it names, must answer with the right type and not be empty."""

    service: Name = Field(description="The service that answers for it")
    path: Path = Field("/", description="The page")


class Probes(Part):
    """The chapter on monitoring: what is asked in each round."""

    every_seconds: Amount = Field(60, ge=5, description="Between two rounds of `officeops watch`")
    timeout_seconds: Amount = Field(
        5, gt=0, description="A probe that has not answered after this long could not be asked (web probes have their own)"
    )
    web: dict[Name, WebProbe] = Field({}, description="Requests at the front door, by name")
    pages: dict[Name, PageProbe] = Field({}, description="Pages with all that they name, by name")
    window_minutes: Amount = Field(5, gt=0, description="Error rate and response times are those of the last minutes")
    min_requests: Count = Field(20, ge=1, description="Fewer requests than this in that time prove nothing")
    folders: tuple[str, ...] = Field(
        (), description="Further folders whose file systems are watched; OFFICEOPS_HOME and local backup targets are in any case"
    )
    prefect: Switch = Field(True, description="The Prefect server, its worker and late runs are watched too, where this host has them")
    logs: Switch = Field(True, description="Errors in the services' logs are counted and grouped")
    keep_hours: Amount = Field(168, gt=0, description="How long measured values are kept in the ledger")


class RuleChange(Part):
    """What differs from a rule's defaults (docs/monitoring.md lists them)."""

    limit: Amount | None = Field(None, description="The value beyond which something is wrong, in the measure's own unit")
    clear: Amount | None = Field(None, description="The value at which it is well again; between the two nothing changes")
    for_seconds: Amount | None = Field(None, ge=0, description="How long it must be wrong before people are told")
    severity: Severity | None = Field(None, description="critical: an hour matters; warning: the next working day will do")
    role: Role | None = Field(None, description="Who is told, by what they answer for")
    action: Text | None = Field(None, description="What the person should do")


class Maintenance(Part):
    """A time in which nobody is told, in the zone of TZ."""

    days: tuple[Day, ...] = Field((), description="Days of the week on which it begins; none: every day")
    start: ClockTime = Field(description="HH:MM in quotes")
    end: ClockTime = Field(description="HH:MM in quotes; before `start`: on the next day")
    alerts: tuple[Text, ...] = Field(("*",), description="Names of alerts, with * for any text")


class Alerts(Part):
    """The chapter on alerts: when people are told of what the probes find."""

    rules: dict[RuleName, RuleChange] = Field(
        {}, description="Changes to the rules, by measure (memory, disk, connections ...) or alert (backend.health)"
    )
    clear_seconds: Amount = Field(
        300, ge=0, description="How long something must be well before the alert is over; what flaps is told once"
    )
    remind_minutes: Amount = Field(240, gt=0, description="An alert that nobody acknowledged is told again after this long")
    deploy_quiet_minutes: Amount = Field(
        30, ge=0, description="How long at most a release or a restore keeps alerts of what it touches quiet"
    )
    maintenance: tuple[Maintenance, ...] = Field((), description="Times in which nobody is told")


class RemedyChange(Part):
    """What differs from a remedy's defaults."""

    mode: Literal["auto", "ask", "never"] | None = Field(
        None, description="auto: by itself; ask: a person approves each step; never: people only; default: that of all, or the remedy's own"
    )
    attempts: Count | None = Field(
        None, ge=1, description="Tries for one target in the window before a person is called; default: that of all"
    )


class Remedies(Part):
    """The chapter on common problems: what is done by itself."""

    mode: Literal["auto", "ask", "never"] = Field("auto", description="For all that are not named below")
    attempts: Count = Field(3, ge=1, description="Tries for one target in the window; then the circuit opens and a person is called")
    window_minutes: Amount = Field(15, gt=0, description="The window of the attempts")
    verify_seconds: Amount = Field(30, gt=0, description="How long the probe that raised it may take to be well after a step")
    rollback_minutes: Amount = Field(60, gt=0, description="A release that is younger is rolled back as a last step")
    idle_transaction_seconds: Amount = Field(
        300, gt=0, description="Sessions that idle in a transaction for longer are ended when the database refuses connections"
    )
    file: Inside | None = Field(None, description="Python file beside runbook.yaml with remedies of your own")
    changes: dict[Name, RemedyChange] = Field({}, description="Changes to single remedies, by name")
