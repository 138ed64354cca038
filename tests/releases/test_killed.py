"""The deployer killed, as by `kill -9`, at every step: the site keeps serving, and the next command ends what was begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from officeops.ledger import Ledger
from officeops.releases.rollout import bring_up, reconcile
from officeops.releases.schema import Schema
from officeops.stack.port import Release
from tests.releases.conftest import STACKS, Office
from tests.support.paths import open_folder
from tests.support.releases import VERBS, Knocking, build, killer, quick, require_sound, roll_out
from tests.support.stack import make_repository, make_stack_site

pytestmark = pytest.mark.light
Kill = Callable[[str, str, str, str], bool]
FORWARD = ("retire", "finish")
AHEAD = "0005"  # the revision of the release that is ahead
# On Compose where the two stacks differ in the deed, or in what is found afterwards; between those it is the same code and the same state.
DEEDS = {"local": VERBS[:-1], "compose": ("expand", "launch", "switch", "retire")}
# Killed between the journal and the deed.
BEFORE = {"local": VERBS[1:], "compose": ("switch", "retire")}
GROUPS = {"local": "releases", "compose": "compose"}
CASES = [
    pytest.param(stack, when, verb, marks=pytest.mark.xdist_group(group))
    for stack, group in GROUPS.items()
    for when, verbs in (("after", DEEDS[stack]), ("before", BEFORE[stack]))
    for verb in verbs
]
BACK = [
    pytest.param(stack, what, verb, marks=pytest.mark.xdist_group(group))
    for stack, group in GROUPS.items()
    for what, verbs in (("rollback", DEEDS[stack]), ("emergency", ("launch", "switch", "wait_for_requests", "retire")))
    for verb in verbs
]


@pytest.fixture(scope="module")
def killers() -> Iterator[Callable[[Office], Kill]]:
    """One process for each stack that others are forked from."""
    with ExitStack() as stack:
        known: dict[str, Kill] = {}

        def of(office: Office) -> Kill:
            folder = office.site.config.folder
            if str(folder) not in known:
                known[str(folder)] = stack.enter_context(killer(folder))
            return known[str(folder)]

        yield of


def test_the_steps_are_those_of_the_journal(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    advance = Ledger.advance
    monkeypatch.setattr(
        Ledger, "advance", lambda self, operation, state, **facts: (written.append(state), advance(self, operation, state, **facts))[1]
    )
    roll_out(office.site, office.second)
    assert tuple(written) == VERBS


@pytest.mark.parametrize(("office", "when", "verb"), CASES, indirect=["office"])
def test_a_deploy_that_is_killed_is_ended_by_the_next_command(
    office: Office, killers: Callable[[Office], Kill], when: str, verb: str
) -> None:
    with Knocking(office.site) as knocking:
        assert killers(office)("deploy", office.second.sha, when, verb)
        with office.site.locked("reconcile"):
            done = reconcile(office.site)
    assert knocking.failures == []
    assert len(done) == 1
    require_sound(office.site, office.second.sha if verb in FORWARD else office.first.sha)
    record = office.site.ledger.releases()[0]
    assert record.outcome == ("deployed" if verb in FORWARD else "undone")


@pytest.mark.parametrize(("office", "what", "verb"), BACK, indirect=["office"])
def test_a_rollback_that_is_killed_is_ended_by_the_next_one(
    office: Office, killers: Callable[[Office], Kill], what: str, verb: str
) -> None:
    roll_out(office.site, office.second)
    with Knocking(office.site) as knocking:
        assert killers(office)(what, office.first.sha, "after", verb)
        done = roll_out(office.site, office.first, kind="rollback") if verb not in FORWARD else None
        if done is None:
            with office.site.locked("reconcile"):
                reconcile(office.site)
    assert knocking.failures == []
    require_sound(office.site, office.first.sha)


@pytest.mark.parametrize("office", [STACKS[0]], indirect=True)
def test_one_that_stops_the_old_release_first_and_is_killed_there_ends_with_the_old_one(
    office: Office, killers: Callable[[Office], Kill]
) -> None:
    assert killers(office)("recreate", office.second.sha, "after", "interrupt")
    with office.site.locked("reconcile"):
        assert len(reconcile(office.site)) == 1
    require_sound(office.site, office.first.sha)


def test_the_way_back_that_is_killed_is_gone_to_its_end(office: Office, killers: Callable[[Office], Kill]) -> None:
    with Knocking(office.site) as knocking:
        assert killers(office)("broken", office.second.sha, "before", "undo")
        with office.site.locked("reconcile"):
            assert len(reconcile(office.site)) == 1
    assert knocking.failures == []
    require_sound(office.site, office.first.sha)


@pytest.fixture
def contracted(office: Office) -> Iterator[Release]:
    """A release serves whose schema the first one could not use; afterwards the schema is as it was."""
    newer = build(office.site, office.variant("contracting"))
    roll_out(office.site, newer)
    schema = Schema(office.site)
    before = schema.current()
    with office.site.locked("test"):
        assert schema.contract([newer]).after == AHEAD
    yield newer
    with office.site.locked("test", wait_s=60):
        reconcile(office.site)
        if schema.current() == AHEAD:
            schema.downgrade(before or "base")


@pytest.mark.parametrize(("when", "verb"), [("before", "downgrade"), ("after", "downgrade"), ("after", "switch"), ("after", "retire")])
def test_a_rollback_with_the_schema_that_is_killed_leaves_schema_and_release_together(
    office: Office, contracted: Release, killers: Callable[[Office], Kill], when: str, verb: str
) -> None:
    plan = Schema(office.site).downgrades(office.first)
    assert (plan.needed, plan.drops) == (True, ("table newer, 0 rows",))
    with Knocking(office.site) as knocking:
        assert killers(office)("rollback with the schema", office.first.sha, when, verb)
        with office.site.locked("reconcile"):
            (done,) = reconcile(office.site)
    assert knocking.failures == []
    held = verb in FORWARD
    assert ("in the backup that was made just before" in done) != held
    require_sound(office.site, office.first.sha if held else contracted.sha)
    assert Schema(office.site).current() == (plan.target if held else AHEAD)


@pytest.mark.xdist_group("releases")
def test_a_first_release_that_is_killed_anywhere_is_gone_on_with() -> None:
    with open_folder() as folder:
        site = quick(make_stack_site(folder / "office", make_repository(folder)))
        try:
            release = build(site, "HEAD")
            with killer(site.config.folder) as killed:
                for when, verb in (("before", "up"), ("before", "models"), ("before", "prove"), ("after", "up"), ("before", "finish")):
                    assert killed("first", release.sha, when, verb), (when, verb)
            with site.locked("test"):
                assert bring_up(site, release) == []
            require_sound(site, release.sha)
            assert next(one.outcome for one in site.ledger.releases()) == "deployed"
        finally:
            site.stack.down()
