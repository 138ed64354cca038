"""From rounds to what people are told, on a simulated clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from officeops.alerts.causes import cause_in
from officeops.alerts.engine import Alert, Change, Circumstances, acknowledged, advance
from officeops.probes import Reading, judge
from officeops.runbook.load import read_runbook
from officeops.runbook.watching import Alerts
from tests.support.site import PROJECT

BEGIN = datetime(2026, 3, 1, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RUNBOOK = read_runbook(PROJECT / "runbook.yaml")[0]
DISK = Reading("host.disk", "disk", 0.9)
WELL = Reading("host.disk", "disk", 0.5)


@dataclass
class Watching:
    """Rounds, one a minute."""

    now: datetime = BEGIN
    terms: Alerts = field(default_factory=Alerts)
    given: Circumstances = field(default_factory=Circumstances)
    known: dict[str, Alert] = field(default_factory=dict)
    over: list[Alert] = field(default_factory=list)

    def round(self, *readings: Reading) -> list[Change]:
        after, changes = advance(self.known, judge(readings, self.terms.rules), now=self.now, terms=self.terms, given=self.given)
        self.known = {one.name: one for one in after if one.phase != "resolved"}
        self.over += [one for one in after if one.phase == "resolved"]
        self.now += MINUTE
        return changes

    def rounds(self, count: int, *readings: Reading) -> list[tuple[str, str]]:
        return [told for _ in range(count) for told in brief(self.round(*readings))]

    def phase(self, name: str = "host.disk") -> str | None:
        return self.known[name].phase if name in self.known else None


def brief(changes: Sequence[Change]) -> list[tuple[str, str]]:
    return [(one.kind, one.alert.name) for one in changes]


def test_what_is_wrong_for_a_moment_is_told_to_nobody() -> None:
    watching = Watching()
    assert watching.round(DISK) == []
    assert watching.phase() == "pending"
    assert watching.round(WELL) == []
    assert watching.phase() is None
    assert watching.over == []


def test_what_stays_wrong_is_told_in_the_second_round_and_once() -> None:
    watching = Watching()
    assert watching.rounds(60, DISK) == [("firing", "host.disk")]
    assert watching.known["host.disk"].told_at == BEGIN + MINUTE


def test_a_round_that_comes_a_little_early_counts() -> None:
    watching = Watching()
    watching.round(DISK)
    watching.now -= timedelta(seconds=1)
    assert brief(watching.round(DISK)) == [("firing", "host.disk")]


def test_it_is_over_when_it_was_well_for_long_enough_and_that_is_told_once() -> None:
    watching = Watching()
    watching.rounds(2, DISK)
    assert watching.rounds(5, WELL) == []
    assert watching.rounds(10, WELL) == [("resolved", "host.disk")]
    assert [one.resolved_at for one in watching.over] == [BEGIN + 2 * MINUTE], "from when it was well, not from when we were sure"


def test_between_the_limit_and_the_value_to_clear_nothing_changes() -> None:
    watching = Watching()
    watching.rounds(2, DISK)
    assert watching.rounds(30, replace(DISK, value=0.78)) == []
    assert watching.phase() == "firing"
    assert watching.rounds(30, replace(DISK, value=0.74)) == [("resolved", "host.disk")]


def test_what_flaps_is_told_once() -> None:
    watching = Watching()
    told = []
    for _ in range(60):
        told += watching.rounds(2, DISK) + watching.rounds(2, WELL)
    assert told == [("firing", "host.disk")]


def test_reminders_come_as_the_runbook_says_until_somebody_takes_care() -> None:
    watching = Watching(terms=Alerts(remind_minutes=60))
    told = watching.rounds(130, DISK)
    assert told == [("firing", "host.disk"), ("reminder", "host.disk"), ("reminder", "host.disk")]
    watching.known["host.disk"] = acknowledged(watching.known["host.disk"], "sato")
    assert watching.rounds(300, DISK) == []
    assert watching.rounds(10, WELL) == [("resolved", "host.disk")]


def test_what_cannot_be_asked_stays_as_it_was() -> None:
    watching = Watching()
    watching.rounds(2, DISK)
    assert watching.rounds(5) == []
    assert watching.phase() == "firing"
    assert watching.rounds(90) == [("resolved", "host.disk")], "what is not asked for an hour is no more"


def test_what_is_being_worked_on_is_no_alert() -> None:
    working = True
    watching = Watching(given=Circumstances(expected=lambda name: working))
    assert watching.rounds(20, DISK) == []
    assert watching.phase() is None
    working = False
    assert watching.rounds(2, DISK) == [("firing", "host.disk")]


def test_a_silenced_alert_is_kept_and_told_when_the_silence_ends() -> None:
    silent = True
    watching = Watching(given=Circumstances(muted=lambda name: silent))
    assert watching.rounds(20, DISK) == []
    assert watching.phase() == "firing"
    silent = False
    assert watching.rounds(5, DISK) == [("firing", "host.disk")]


def test_what_was_never_told_ends_without_a_word() -> None:
    watching = Watching(given=Circumstances(muted=lambda name: True))
    watching.rounds(20, DISK)
    assert watching.rounds(20, WELL) == []
    assert [one.phase for one in watching.over] == ["resolved"]


# Causes

DATABASE = Reading("postgres.answers", "database", 0.0, "refused")
BACKEND = Reading("backend.health", "serves", 0.0, "/health answered 502")
ERRORS = Reading("backend.error_rate", "error_rate", 0.5)


def with_causes() -> Watching:
    assert RUNBOOK is not None
    return Watching(given=Circumstances(cause=cause_in(RUNBOOK)))


def test_a_cause_explains_what_depends_on_it_in_one_message() -> None:
    watching = with_causes()
    watching.round(DATABASE, BACKEND, ERRORS)
    (change,) = watching.round(DATABASE, BACKEND, ERRORS)
    assert change.alert.name == "postgres.answers"
    assert set(change.explained) == {"backend.health", "backend.error_rate"}
    assert watching.rounds(60, DATABASE, BACKEND, ERRORS) == []


def test_causes_of_causes_are_one_message_that_names_all_of_it() -> None:
    watching = with_causes()
    stopped, silent, ill = (
        Reading(name, measure, 0.0)
        for name, measure in (("redis.healthy", "healthy"), ("redis.answers", "answers"), ("backend.healthy", "healthy"))
    )
    watching.round(stopped, silent, ill)
    (change,) = watching.round(stopped, silent, ill)
    assert (change.alert.name, set(change.explained)) == ("redis.healthy", {"redis.answers", "backend.healthy"})


def test_what_is_asked_through_an_application_that_is_down_is_explained_by_it() -> None:
    told = with_causes().rounds(5, Reading("backend.healthy", "healthy", 0.0), Reading("ollama.ai_health", "serves", 0.0))
    assert told == [("firing", "backend.healthy")]


def test_a_missing_model_explains_what_is_said_of_it_elsewhere() -> None:
    told = with_causes().rounds(5, Reading("ollama.ai_models", "serves", 0.0), Reading("ollama.model", "model", 0.0))
    assert told == [("firing", "ollama.model")]


def test_what_outlives_its_cause_is_told_for_itself() -> None:
    watching = with_causes()
    watching.rounds(2, DATABASE, BACKEND)
    well = replace(DATABASE, value=1.0)
    told = watching.rounds(10, well, BACKEND)
    assert told == [("resolved", "postgres.answers"), ("firing", "backend.health")]


def test_what_ends_with_its_cause_is_never_told() -> None:
    watching = with_causes()
    told = watching.rounds(5, DATABASE, BACKEND, ERRORS)
    told += watching.rounds(20, *(replace(one, value=1.0 if one.measure != "error_rate" else 0.0) for one in (DATABASE, BACKEND, ERRORS)))
    assert told == [("firing", "postgres.answers"), ("resolved", "postgres.answers")]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        # Of a service's own alerts one stands for the others; the deepest cause stands for all.
        ([("redis.healthy", "healthy"), ("redis.answers", "answers"), ("backend.health", "serves")], ["redis.healthy"]),
        ([("caddy.healthy", "healthy"), ("backend.health", "serves"), ("frontend.page", "page")], ["caddy.healthy"]),
        ([("postgres.healthy", "healthy"), ("backend.healthy", "healthy"), ("frontend.page", "page")], ["frontend.page", "postgres.healthy"]),
        # The model is no part of what the backend depends on.
        ([("ollama.healthy", "healthy"), ("ollama.ai_health", "serves"), ("backend.health", "serves")], ["backend.health", "ollama.healthy"]),
    ],
)  # fmt: skip
def test_who_stands_for_whom(wrong: list[tuple[str, str]], told: list[str]) -> None:
    watching = with_causes()
    readings = [Reading(name, measure, 0.0) for name, measure in wrong]
    assert sorted(name for _kind, name in watching.rounds(30, *readings)) == told


def test_a_steady_hour_with_deploys_in_it_has_no_false_alarm() -> None:
    deploying = False
    watching = Watching(given=Circumstances(expected=lambda name: deploying and name.startswith("backend.")))
    good = [WELL, replace(BACKEND, value=1.0), replace(ERRORS, value=0.01)]
    told = []
    for minute in range(60):
        deploying = minute % 15 in (3, 4, 5)
        told += watching.rounds(1, *([WELL, BACKEND, ERRORS] if deploying else good))
    assert told == []
