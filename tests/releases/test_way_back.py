"""Ways back that are needed when something else is broken too, and starts after them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from officeops.errors import OfficeOpsError, UsageError
from officeops.gate import Gate
from officeops.ledger import Ledger
from officeops.ledger.ledger import LedgerError
from officeops.releases import emergency, preflight, records
from officeops.releases.rollout import Rollout, bring_up, reconcile
from officeops.releases.schema import Schema
from officeops.stack.releases import Commits
from tests.releases.applications import commit_variant
from tests.releases.conftest import STACKS, Office
from tests.support.releases import Knocking, build, require_sound, roll_out

pytestmark = pytest.mark.light
LOCAL, COMPOSE = ([stack] for stack in STACKS)
EXPANDED = "0005"


@pytest.fixture
def expanded(office: Office) -> Iterator[str]:
    """The commit of a release with a further expand revision; afterwards the schema is as it was."""
    yield office.variant("expanding")
    with office.site.locked("test", wait_s=60):
        if Schema(office.site).current() == EXPANDED:
            Schema(office.site).downgrade("-1")


def begun_and_killed(office: Office) -> None:
    """A deploy of the second release whose process ended just after its requests went there."""
    with office.site.locked("test"):
        rollout = Rollout.begin(office.site, office.second, kind="deploy")
        rollout.launch()
        rollout.prove()
        rollout.switch()


@pytest.mark.parametrize("office", LOCAL, indirect=True)
def test_after_a_rollback_over_a_migration_everything_starts_again_on_the_schema_as_it_is(office: Office, expanded: str) -> None:
    roll_out(office.site, build(office.site, expanded))
    roll_out(office.site, office.first, kind="rollback")
    assert Schema(office.site).current() == EXPANDED
    office.site.stack.down()
    with office.site.locked("up"):
        assert bring_up(office.site, office.first) == []
    require_sound(office.site, office.first.sha)
    assert Schema(office.site).current() == EXPANDED


@pytest.mark.parametrize("office", LOCAL, indirect=True)
def test_the_release_that_can_take_the_schema_back_is_kept_although_it_did_not_hold(office: Office) -> None:
    broken = build(office.site, commit_variant(office.repository, "expanding"))
    with pytest.raises(KeyboardInterrupt), office.site.locked("test"), Rollout.begin(office.site, broken, kind="deploy") as rollout:
        rollout.expand(Schema(office.site).plan(broken))
        raise KeyboardInterrupt
    roll_out(office.site, office.second)
    assert broken.sha in {release.sha for release in office.site.stack.built()}
    assert Schema(office.site).plan_downgrade("-1").current == EXPANDED
    with office.site.locked("test"):
        Schema(office.site).downgrade("-1")
    records.prune(office.site)
    assert broken.sha not in {release.sha for release in office.site.stack.built()}


@pytest.mark.parametrize("office", LOCAL, indirect=True)
def test_a_commit_that_ran_with_other_settings_can_be_gone_back_to(office: Office) -> None:
    roll_out(office.site, replace(office.first, settings={"ollama_model": "another:model"}))
    for wanted in ("previous", office.first.sha[:9]):
        found = records.release_of(office.site, records.find(office.site, wanted))
        assert (found.sha, found.settings) == (office.first.sha, office.first.settings)
    roll_out(office.site, found, kind="rollback")
    assert records.running(office.site) == records.retained(office.site)[0]


@pytest.mark.parametrize("office", LOCAL, indirect=True)
def test_a_release_that_was_gone_back_from_is_not_the_previous_one_until_it_is_named(office: Office) -> None:
    def previous() -> str:
        try:
            return records.find(office.site).sha
        except UsageError as error:
            return error.what

    before = previous()
    roll_out(office.site, office.second)
    assert previous() == office.first.sha
    roll_out(office.site, office.first, kind="rollback")
    assert previous() in ({before} - {office.second.sha}) | {
        "There is no release before the one that runs; what is left was gone back from."
    }
    roll_out(office.site, office.second, kind="rollback")
    assert previous() == office.first.sha


@pytest.mark.parametrize("office", LOCAL, indirect=True)
def test_with_a_full_disk_requests_go_back_before_anything_is_written(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Ledger.advance

    def full(self: Ledger, operation: str, state: str, **facts: Any) -> None:
        if state == "undo":
            raise LedgerError("The ledger cannot be written: no space left on device.")
        advance(self, operation, state, **facts)

    with Knocking(office.site) as knocking:
        begun_and_killed(office)
        with monkeypatch.context() as patch, pytest.raises(LedgerError), office.site.locked("reconcile"):
            patch.setattr(Ledger, "advance", full)
            reconcile(office.site)
        assert Gate(office.site.stack).serving("/version") == office.first.sha
        deployed = office.site.stack.deployed()
        assert deployed is not None
        assert deployed.sha == office.first.sha
        with office.site.locked("reconcile"):
            assert len(reconcile(office.site)) == 1
    assert knocking.failures == []
    require_sound(office.site, office.first.sha)


@pytest.mark.parametrize("office", LOCAL, indirect=True)
def test_an_emergency_after_a_killed_deploy_ends_it_and_is_over(office: Office) -> None:
    begun_and_killed(office)
    with Knocking(office.site) as knocking, office.site.locked("emergency"):
        done = emergency.back(office.site, why="all is on fire")
    record = office.site.ledger.releases()[0]
    assert (record.kind, record.sha, record.why, record.outcome) == ("emergency", office.first.sha, "all is on fire", "deployed")
    assert emergency.unshown(office.site)[0] == record.id
    assert (done.old, done.new, done.outcome) == (office.second.sha, office.first.sha, "rolled_back")
    assert knocking.failures == []
    require_sound(office.site, office.first.sha)


@pytest.mark.parametrize("office", LOCAL, indirect=True)
def test_what_cannot_be_put_in_order_does_not_keep_people_from_going_back(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    begun_and_killed(office)

    def broken(self: Rollout) -> None:
        raise OfficeOpsError("Caddy does not say what is on its way.")

    monkeypatch.setattr(Rollout, "_see_off_requests", broken)
    with Knocking(office.site) as knocking, office.site.locked("emergency"):
        emergency.back(office.site)
    assert knocking.failures == []
    require_sound(office.site, office.first.sha)


@pytest.mark.parametrize("office", COMPOSE, indirect=True)
def test_without_git_one_goes_back_all_the_same(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    roll_out(office.site, office.second)

    def gone(*_: object) -> str:
        raise OfficeOpsError("git is not there")

    with monkeypatch.context() as patch, office.site.locked("emergency"):
        patch.setattr(Commits, "_git", gone)
        assert emergency.back(office.site).new == office.first.sha
    require_sound(office.site, office.first.sha)


@pytest.mark.parametrize("office", LOCAL, indirect=True)
def test_the_front_doors_configuration_is_taken_over_once_the_release_holds_and_by_whoever_ends_it(office: Office) -> None:
    stack = office.site.stack
    before, other = stack.proxy_digest(), build(office.site, office.variant("other-front-door"))
    roll_out(office.site, other)
    assert stack.proxy_digest() == before
    roll_out(office.site, office.first, kind="rollback")
    with office.site.locked("test"):  # killed after the journal says `retire`
        rollout = Rollout.begin(office.site, other, kind="deploy", reload_proxy=True)
        rollout.launch()
        rollout.prove()
        rollout.switch()
        office.site.ledger.advance(rollout.operation, "retire")
        assert stack.proxy_digest() == before
        reconcile(office.site)
    assert stack.proxy_digest() != before
    require_sound(office.site, other.sha)
    roll_out(office.site, office.first, kind="rollback", reload_proxy=True)
    assert stack.proxy_digest() == before


@pytest.mark.parametrize("office", LOCAL, indirect=True)
def test_room_is_asked_for_where_something_is_built_and_not_to_go_back(office: Office) -> None:
    small = office.with_releases(disk_free_bytes=10**15)
    with pytest.raises(OfficeOpsError, match="too little room"):
        preflight.require_room(small)
    plan = preflight.plan(small, office.second, kind="rollback")
    assert ("disk", "note") in {(check.name, check.verdict) for check in plan.checks}


@pytest.mark.parametrize("office", LOCAL, indirect=True)
def test_a_release_that_was_killed_at_its_very_begin_is_not_under_way_for_ever(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), office.site.locked("test"):
        patch.setattr(Ledger, "begin", killed)
        Rollout.begin(office.site, office.second, kind="deploy")
    assert office.site.ledger.releases()[0].outcome is None
    with office.site.locked("reconcile"):
        reconcile(office.site)
    assert office.site.ledger.releases()[0].outcome == "undone"
