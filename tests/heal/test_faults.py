"""What can go wrong, done to a real stack of each kind: found by the watcher within two rounds, mended as the table says, or a person is
called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from officeops.releases.renewal import renew
from officeops.stack.port import other
from tests.heal.conftest import STACKS
from tests.support import faults
from tests.support.clinic import Clinic, watching_disk, watching_memory, with_remedies
from tests.support.ports import eventually
from tests.support.releases import Knocking


def test_a_process_that_is_killed_is_back_before_anybody_is_told(either: Clinic) -> None:
    either.running.kill("redis")
    eventually(lambda: either.running.service("redis").health == "healthy", 30, "Redis")
    assert either.running.service("redis").restarts >= 1
    assert either.watch() == ["backups.verified"] or either.watch() == []
    assert either.treated == []


def test_a_backend_that_hangs_is_restarted(either: Clinic) -> None:
    with faults.frozen(either.running, "backend"):
        assert "backend.healthy" in either.watch()
    (incident,) = either.treated
    assert (incident.outcome, incident.remedy) == ("healed", "application")
    assert either.taken(incident) == [("restart", "well")]
    assert {"## state", "## log", "## recent releases"} <= set(incident.diagnosis.splitlines())
    assert either.wrong("backend") == set()


def test_a_service_that_ended_for_good_is_started_before_those_that_need_it(either: Clinic) -> None:
    with faults.stopped(either.running, "redis"):
        eventually(lambda: "backend.healthy" in either.wrong("backend"), what="the backend's trouble")
        firing = either.watch()
    assert "redis.healthy" in firing
    assert "backend.healthy" not in firing
    (incident,) = either.treated
    assert (incident.target, incident.outcome, either.taken(incident)) == ("redis", "healed", [("restart", "well")])
    eventually(lambda: either.wrong("backend") == set(), what="the backend's recovery")
    assert [body for _, body in either.channel.messages if "This explains:" in body and "backend.healthy" in body]


def test_a_port_that_somebody_else_has_is_a_case_for_a_person(either: Clinic) -> None:
    service = faults.with_a_port(either.running)
    with faults.port_blocked(either.running):
        assert f"{service}.healthy" in either.watch()
    (incident,) = either.treated
    assert (incident.outcome, either.taken(incident)[-1]) == ("paged", ("restart", "still wrong"))
    settings = either.site.config.settings
    port = settings.http_port if faults.on_compose(either.running) else settings.redis_port
    assert any(f"{service}.healthy needs a person" in body and str(port) in body for _, body in either.channel.messages)


def test_an_asset_that_is_gone_makes_a_white_screen_and_is_built_again(either: Clinic) -> None:
    with faults.asset_gone(either.running):
        assert "frontend.page" in either.watch()
    (incident,) = either.treated
    assert (incident.outcome, incident.remedy, either.taken(incident)) == ("healed", "white-screen", [("rebuild", "well")])
    assert "/app.js answered 404" in incident.diagnosis
    assert either.running.get("/app.js").status_code == 200


def test_a_model_that_is_gone_is_pulled(either: Clinic) -> None:
    with faults.model_gone(either.running):
        assert "ollama.model" in either.watch()
    incident = either.treated[-1]
    assert (incident.outcome, either.taken(incident)[-1]) == ("healed", ("pull the model", "well"))
    assert either.wrong("ollama") == set()


def test_connections_that_idle_in_transactions_are_ended_when_there_are_no_more(either: Clinic) -> None:
    with faults.connections_exhausted(either.running):
        assert "postgres.connections" in either.watch()
        (incident,) = either.treated
        assert (incident.outcome, incident.remedy) == ("healed", "database")
        assert either.taken(incident)[-1] == ("end idle transactions", "well")
        assert "idle in transaction" in incident.diagnosis
        assert any("max_connections from 100 to" in body for _, body in either.channel.messages)


def test_a_wrong_password_is_a_case_for_a_person(either: Clinic) -> None:
    clinic = with_remedies(either, verify_seconds=1)
    with faults.wrong_password(clinic.running):
        assert "postgres.answers" in clinic.watch()
    assert [one.outcome for one in clinic.treated] == ["paged"]
    told = " ".join(body for _, body in clinic.channel.messages if "postgres.answers needs a person" in body)
    assert "refused the password" in told
    assert "another" not in told


def test_a_disk_that_somebody_else_fills_is_a_case_for_a_person(either: Clinic, folder: Path) -> None:
    clinic = watching_disk(either, folder / "small")
    with faults.disk_filled(folder / "small"):
        assert f"host.disk:{folder}/small" in clinic.watch()
    (incident,) = clinic.treated
    assert (incident.outcome, incident.remedy) == ("paged", "disk")
    assert incident.actions == ("rotate logs", "prune releases")
    assert ("archive", "skipped") in [(one.what, one.outcome) for one in incident.steps]
    assert {"## largest directories", "## releases", "## tables"} <= set(incident.diagnosis.splitlines())
    assert any("enlarge the disk to" in body for _, body in clinic.channel.messages)


def test_a_disk_full_of_old_logs_is_emptied(either: Clinic) -> None:
    logs = either.site.home / "prefect" / "logs"
    logs.parent.mkdir(exist_ok=True)
    clinic = watching_disk(either, logs)
    try:
        with faults.disk_filled(logs, by="server.log.1"):
            incident = clinic.heal(f"host.disk:{logs}")
            assert (incident.outcome, clinic.taken(incident)) == ("healed", [("rotate logs", "well")])
    finally:
        logs.parent.rmdir()


def test_what_takes_too_much_memory_is_restarted(either: Clinic) -> None:
    name, clinic = watching_memory(either)
    clinic.watch(1)  # what it was before
    with faults.memory_ballooned(clinic.running):
        assert name in clinic.watch()
    (incident,) = [one for one in clinic.treated if one.probe == name]
    assert (incident.outcome, incident.remedy, clinic.taken(incident)) == ("healed", "memory", [("restart what grew", "well")])
    assert "## by service" in incident.diagnosis
    assert any("redis was restarted" in one.detail for one in incident.steps)


@pytest.mark.parametrize("either", STACKS[1:], indirect=True)
def test_a_rolled_service_that_takes_too_much_memory_is_restarted_without_an_interruption(either: Clinic) -> None:
    before = either.site.stack.deployed()
    assert before is not None
    with Knocking(either.site) as knocking:
        with faults.backend_ballooned(either.running):
            assert "backend.memory" in either.watch()
        (incident,) = [one for one in either.treated if one.probe == "backend.memory"]
        assert (incident.outcome, either.taken(incident)) == ("healed", [("restart what grew", "well")])
        now = other(before.colour)
        assert any(f"backend runs anew in {now}, without an interruption" in one.detail for one in incident.steps)
        with either.site.locked("a test"):
            assert renew(either.site, why="as it was before the test") == before.colour
    assert knocking.failures == []


def test_slow_answers_are_told_with_what_to_scale(either: Clinic) -> None:
    either.watch(1)  # what was asked before
    with faults.answers_slow(either.running):
        assert "backend.p95" in either.watch()
    assert either.treated == []
    (told,) = [body for _, body in either.channel.messages if "backend.p95" in body]
    assert f"cores in place of {os.cpu_count()}" in told


def test_one_failed_answer_in_ten_is_told_to_look_into_the_logs(either: Clinic) -> None:
    either.watch(1)
    with faults.some_fail(either.running):
        assert "backend.error_rate" in either.watch()
    assert either.treated == []
    (told,) = [body for _, body in either.channel.messages if "backend.error_rate" in body]
    assert "officeops logs backend" in told


def test_nothing_is_done_when_all_is_well(clinic: Clinic) -> None:
    incident = clinic.heal("backend.health")
    assert (incident.outcome, incident.actions) == ("well", ())


def test_nothing_is_done_while_somebody_changes_the_stack(clinic: Clinic) -> None:
    clinic.site.stack.stop("redis")
    with clinic.site.locked("deploy of a test"):
        incident = clinic.heal("redis.healthy")
    assert (incident.outcome, incident.actions) == ("refused", ())
    assert clinic.wrong("redis")


def test_a_service_that_does_not_hold_gets_its_attempts_and_one_call(clinic: Clinic) -> None:
    outcomes = []
    for _ in range(6):
        clinic.site.stack.stop("redis")
        outcomes.append(clinic.heal("redis.healthy").outcome)
    assert outcomes == ["healed", "healed", "healed", "paged", "refused", "refused"]
    assert len(clinic.channel.messages) == 1


def test_a_dry_run_says_what_would_be_done_and_does_nothing(clinic: Clinic) -> None:
    from officeops.remedies.healing import Healing

    clinic.site.stack.stop("ollama")
    plan = Healing(clinic.site, "a test").plan("ollama.healthy")
    assert plan is not None
    assert [step.name for step in plan.steps] == ["restart", "pull the model"]
    assert clinic.wrong("ollama") >= {"ollama.healthy", "ollama.answers"}
    assert clinic.site.ledger.incidents() == []
