"""Steps that somebody has to approve first, on a real stack: the incident waits, goes on from there, is refused, or nobody answers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from officeops.errors import OfficeOpsError, RefusedError
from officeops.ledger.watching import Incident
from officeops.releases.schema import Schema
from officeops.remedies.asking import plan_of
from officeops.remedies.due import due
from officeops.remedies.healing import Approve, Healing
from officeops.remedies.remedy import Step
from officeops.runbook.watching import RemedyChange
from tests.support import faults
from tests.support.clinic import Clinic, with_remedies
from tests.support.releases import build, quick, roll_out


def treated(clinic: Clinic, name: str, approve: Approve, *, by_hand: bool = False) -> Incident:
    return Healing(clinic.site, "a test", approve=approve, by_hand=by_hand).heal(name)


def approved(_incident: Incident, _step: Step) -> bool:
    return True


def unanswered(_incident: Incident, _step: Step) -> bool:
    return False


def refused(_incident: Incident, _step: Step) -> bool:
    raise RefusedError("Rejected by Sato: not today.")


@pytest.fixture
def asking(clinic: Clinic) -> Clinic:
    """One remedy asks, the others do not. Redis is stopped."""
    clinic.site.stack.stop("redis")
    return with_remedies(clinic, changes={"restart": RemedyChange(mode="ask")})


def test_it_waits_with_its_plan_and_goes_on_as_the_same_incident(asking: Clinic) -> None:
    waits = treated(asking, "redis.healthy", unanswered)
    assert (waits.outcome, waits.asks, waits.actions) == ("asked", "restart", ())
    plan = plan_of(waits, "restart")
    assert "redis is stopped" in plan
    assert "**Next step: restart**" in plan
    assert "### Diagnosis" in plan
    assert asking.wrong("redis")
    # Whoever asks again meanwhile waits for the same answer.
    assert treated(asking, "redis.healthy", unanswered) == waits
    done = treated(asking, "redis.healthy", approved)
    assert (done.id, done.outcome, done.actions) == (waits.id, "healed", ("restart",))
    assert [one.outcome for one in done.steps] == ["done", "asked", "approved", "well", "healed"]
    assert asking.channel.messages == []


def test_while_it_waits_the_watcher_leaves_it_alone_and_calls_somebody_when_time_is_up(asking: Clinic) -> None:
    asking.watch()
    assert [one.outcome for one in asking.treated] == ["paged"], "where nobody can be asked, somebody is called"
    asking.site.ledger.record_incident(Incident(**{**vars(asking.treated[0]), "outcome": "failed"}))  # as if nobody had been called
    asking.channel.messages.clear()
    asking.clock.passed += timedelta(minutes=20)
    assert treated(asking, "redis.healthy", unanswered).asks == "restart"
    asking.clock.passed += timedelta(hours=23)
    assert due(asking.site, asking.site.ledger.alerts()) == []
    asking.clock.passed += timedelta(hours=2)
    assert due(asking.site, asking.site.ledger.alerts()) == ["redis.healthy"]
    ended = treated(asking, "redis.healthy", unanswered)
    assert (ended.outcome, ended.actions) == ("paged", ())
    ((_, told),) = asking.channel.messages
    assert "Nobody approved in time: restart" in told
    assert "## state" in told


def test_refused_by_the_form_somebody_is_called_with_the_diagnosis(asking: Clinic) -> None:
    treated(asking, "redis.healthy", unanswered)
    ended = treated(asking, "redis.healthy", refused)
    assert (ended.outcome, ended.actions) == ("paged", ())
    ((_, told),) = asking.channel.messages
    assert "Rejected by Sato: not today" in told
    assert "## log" in told


def test_refused_by_the_person_who_asked_for_it_nobody_else_is_called(asking: Clinic) -> None:
    ended = treated(asking, "redis.healthy", refused, by_hand=True)
    assert (ended.outcome, ended.actions) == ("refused", ())
    assert asking.channel.messages == []


def test_what_is_well_again_before_anybody_answers_is_over(asking: Clinic) -> None:
    waits = treated(asking, "redis.healthy", unanswered)
    asking.site.stack.start("redis")
    ended = treated(asking, "redis.healthy", approved)
    assert (ended.id, ended.outcome, ended.actions) == (waits.id, "well", ())


def test_the_command_asks_and_ends_with_3_when_nobody_says_yes(asking: Clinic) -> None:
    runbook = asking.site.config.folder / "runbook.yaml"
    before = runbook.read_text()
    runbook.write_text(before.replace("remedies: {mode: auto,", "remedies: {mode: ask,"))
    try:
        silent = asking.command("heal", "redis.healthy")
        assert silent.status == 3
        assert "Next step: restart" in silent.stderr
        assert asking.command("heal", "redis.healthy", "--dry-run", "--json").json["plans"][0]["asks"] == ["restart"]
        assert asking.wrong("redis")
        assert asking.command("heal", "redis.healthy", "--yes").status == 0
        assert asking.wrong("redis") == set()
    finally:
        runbook.write_text(before)


def test_what_a_failed_migration_left_is_taken_back_after_a_backup_once_somebody_approves(either: Clinic) -> None:
    site, schema = quick(either.site), Schema(either.site)
    before = schema.current()
    assert before is not None
    with pytest.raises(OfficeOpsError, match="nowhere"):
        roll_out(site, build(site, faults.release_with_a_failing_migration(either.running)))
    assert schema.current() == "0900"
    assert "postgres.migration" in either.watch(1)
    (incident,) = either.treated  # nobody can be asked here
    assert (incident.outcome, incident.remedy, incident.actions) == ("paged", "migration", ())
    assert "dropped with it: column users.mail" in incident.diagnosis
    waits = treated(either, "postgres.migration", unanswered, by_hand=True)
    assert (waits.asks, schema.current()) == ("downgrade one", "0900")
    done = treated(either, "postgres.migration", approved, by_hand=True)
    assert (done.outcome, done.actions) == ("healed", ("downgrade one",))
    assert schema.current() == before
    (copy,) = {one.backup: one for one in either.site.ledger.copies()}.values()
    assert copy.verified_at is not None
    assert f"officeops restore {copy.backup}" in done.steps[-2].detail
    assert either.wrong("postgres") == set()
