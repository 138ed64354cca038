"""A release takes over from another, on every stack, under somebody who asks all the time."""

from __future__ import annotations

import threading
from dataclasses import replace

import httpx
import pytest

from officeops.errors import OfficeOpsError, UsageError
from officeops.gate import Gate
from officeops.lock import LockedError
from officeops.releases import emergency, records
from officeops.releases.rollout import Rollout
from officeops.releases.schema import Schema
from tests.releases.conftest import Office
from tests.support.releases import Knocking, build, require_sound, roll_out

LIGHT = pytest.mark.light


def test_a_release_takes_over_and_goes_back_without_a_request_that_fails(office: Office) -> None:
    with Knocking(office.site) as knocking:
        there = roll_out(office.site, office.second, why="a test")
        require_sound(office.site, office.second.sha)
        back = roll_out(office.site, office.first, kind="rollback")
        require_sound(office.site, office.first.sha)
    assert knocking.failures == []
    assert knocking.asked > 50
    assert (there.old, there.new, there.outcome) == (office.first.sha, office.second.sha, "deployed")
    assert (back.old, back.new, back.outcome) == (office.second.sha, office.first.sha, "rolled_back")
    assert there.switched_after_s is not None
    assert there.drained_s is not None
    assert there.downtime_s is None


def test_a_request_that_began_before_the_switch_is_answered_by_the_old_release_to_its_end(office: Office) -> None:
    url, token = f"http://127.0.0.1:{office.site.config.settings.http_port}", _log_in(office)
    lines: list[str] = []
    begun = threading.Event()

    def chat() -> None:
        question = {"message": "Please talk for 5 seconds."}
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.stream("POST", f"{url}/api/v1/ai/chat", json=question, headers=headers, timeout=60) as answer:
            for line in answer.iter_lines():
                lines.append(line)
                begun.set()

    thread = threading.Thread(target=chat)
    thread.start()
    assert begun.wait(20)
    done = roll_out(office.site, office.second)
    thread.join(30)
    assert any(line.startswith("event: end") for line in lines), lines[-4:]
    assert done.drained_s is not None
    assert done.drained_s < 20


def test_the_settings_of_a_release_go_back_with_it_and_the_hosts_own_do_not(office: Office) -> None:
    other = replace(office.second, settings={"ollama_model": "another:model"})
    roll_out(office.site, other)
    assert _model(office) == "another:model"
    deployed = office.site.stack.deployed()
    assert deployed is not None
    assert deployed.settings == {"ollama_model": "another:model"}
    roll_out(office.site, office.first)
    assert _model(office) == office.site.config.settings.ollama_model
    found = records.release_of(office.site, records.find(office.site, "previous"))
    assert (found.sha, found.settings) == (office.second.sha, {"ollama_model": "another:model"})
    roll_out(office.site, found, kind="rollback")
    assert _model(office) == "another:model"


def test_the_simple_way_interrupts_and_says_for_how_long(office: Office) -> None:
    done = roll_out(office.site, office.second, strategy="recreate")
    require_sound(office.site, office.second.sha)
    assert done.strategy == "recreate"
    assert done.downtime_s is not None
    assert 0 < done.downtime_s < 60


@LIGHT
def test_a_release_is_written_down_with_all_that_it_was_made_of(office: Office) -> None:
    before = len(office.site.ledger.releases())
    roll_out(office.site, office.second, why="to see it written")
    record = office.site.ledger.releases()[0]
    assert len(office.site.ledger.releases()) == before + 1
    assert (record.sha, record.kind, record.outcome, record.why) == (office.second.sha, "deploy", "deployed", "to see it written")
    assert {"lock", "caddyfile", "compose"} <= record.hashes.keys()
    assert record.artifact
    assert record.revision == Schema(office.site).current()
    assert record.created_at < str(record.deployed_at) < str(record.retired_at)
    assert "@" in record.who
    kept = office.site.home / "release-settings" / f"{record.id}.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert records.settings_of(office.site, record.id) == {"ollama_model": office.site.config.settings.ollama_model}


@LIGHT
def test_an_emergency_goes_back_by_what_is_there(office: Office) -> None:
    roll_out(office.site, office.second)
    seen: list[str | None] = []
    with Knocking(office.site) as knocking, office.site.locked("test"):
        done = emergency.back(
            office.site, why="all is on fire", switched=lambda rollout: seen.append(Gate(rollout.site.stack).serving("/version"))
        )
    assert seen == [office.first.sha]
    assert (done.new, done.outcome) == (office.first.sha, "rolled_back")
    assert knocking.failures == []
    require_sound(office.site, office.first.sha)
    assert emergency.unshown(office.site)[0] == office.site.ledger.releases()[0].id


@LIGHT
def test_what_no_rollback_may_need_is_removed_and_the_rest_stays(office: Office) -> None:
    site = office.with_releases(keep=2)
    roll_out(site, office.second)
    third = build(site, office.variant("good"))
    roll_out(site, third)
    built = {release.sha for release in site.stack.built()}
    assert built == {office.second.sha, third.sha}
    with pytest.raises(UsageError, match="no release"):
        records.find(site, office.first.sha[:8])
    build(site, office.first.sha)  # and built again it can be gone back to
    site = office.with_releases(keep=3)
    assert records.find(site, office.first.sha[:8]).sha == office.first.sha


@LIGHT
def test_a_second_one_is_told_who_is_at_work(office: Office) -> None:
    with office.site.locked("deploy of 123"), pytest.raises(LockedError, match=r"deploy of 123"), office.site.locked("another deploy"):
        pass


@LIGHT
def test_leaving_in_the_middle_ends_where_it_began(office: Office) -> None:
    with pytest.raises(KeyboardInterrupt), office.site.locked("test"), Rollout.begin(office.site, office.second, kind="deploy") as rollout:
        rollout.launch()
        rollout.prove()
        rollout.switch()
        raise KeyboardInterrupt
    require_sound(office.site, office.first.sha)
    assert office.site.ledger.releases()[0].outcome == "undone"


@LIGHT
def test_a_way_back_that_fails_says_both_and_stays_in_the_journal(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OfficeOpsError("The disk is gone.")

    with (
        pytest.raises(OfficeOpsError, match=r"no good.*way back failed: The disk is gone") as caught,
        office.site.locked("test"),
        Rollout.begin(office.site, office.second, kind="deploy") as rollout,
    ):
        rollout.launch()
        monkeypatch.setattr(office.site.stack, "retire", broken)
        raise OfficeOpsError("It is no good.")
    assert "officeops reconcile" in caught.value.todo
    monkeypatch.undo()
    assert len(office.site.ledger.operations("rollout")) == 1


def _log_in(office: Office) -> str:
    from benchmarks.load import log_in

    return log_in(office.site)


def _model(office: Office) -> str:
    """The model that the backend which serves was told of."""
    answer = httpx.get(f"http://127.0.0.1:{office.site.config.settings.http_port}/api/v1/ai/models", timeout=20)
    return str(answer.json()["default"])
