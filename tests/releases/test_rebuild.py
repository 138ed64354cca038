"""The release that runs is built from nothing: compared, deployed when something changed, and otherwise as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from officeops.errors import OfficeOpsError
from officeops.order import put_in_order
from officeops.releases import records
from officeops.releases.proof import ProofError
from officeops.runbook.model import Smoke
from officeops.site import Site, open_site
from officeops.stack.compose.engine import Engine
from officeops.stack.port import Release
from officeops.upkeep import clean_up as cleaning
from tests.releases.conftest import STACKS, Office
from tests.support.load import strict_load
from tests.support.releases import back_to_start, quick, require_sound, roll_out
from tests.support.upkeep import TRIAL, commit_with_trial, commit_without_packages, killed_rebuild, publish_base, publish_wheel, rebuild

LOCAL = STACKS[:1]
KILLED = [
    pytest.param(stack.values[0], verb, forward, marks=stack.marks)
    for stack, verbs in ((STACKS[0], {"build": False, "retire": True}), (STACKS[1], {"switch": False}))
    for verb, forward in verbs.items()
]


@dataclass
class Updates:
    """A stack whose release has a package with updates. site: with environment and chapter of these tests. release: serves before and after
    each test. publish: makes a version of the package that the next build finds; None: there is only the first again. part, kind: where it
    is. first: the version that the release has."""

    site: Site
    release: Release
    publish: Callable[[str | None], object]
    part: str
    kind: str
    first: str | None

    def built(self) -> dict[str, dict[str, str]]:
        """Everything on this host that is built, by release."""
        return {one.sha: self.site.stack.artifact(one) for one in self.site.stack.built()}


@contextmanager
def of_local(office: Office) -> Iterator[Updates]:
    """A Python package within the ranges of the application."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_FIND_LINKS", folder)
        sha = commit_with_trial(office.repository, Path(folder))
        site = quick(open_site(office.site.config.folder), keep=20)
        yield Updates(site, records.build(site, sha), lambda version: publish_wheel(Path(folder), version), "virtualenv", "python", "1")


@contextmanager
def of_compose(office: Office) -> Iterator[Updates]:
    """A package of the image below the backend's, whose other packages come from where they are installed already."""
    name, below = f"officeops-updates/{uuid4().hex[:8]}:1", office.site.config.settings.python_image
    with pytest.MonkeyPatch.context() as patch:
        publish_base(Engine(), below, name, None)
        patch.setenv("PYTHON_IMAGE", name)
        site = quick(open_site(office.site.config.folder), keep=20)
        try:
            release = records.build(site, commit_without_packages(office.repository, f"{site.name}-backend:{office.first.sha}"))
            yield Updates(site, release, lambda version: publish_base(Engine(), below, name, version), "backend", "system", None)
        finally:
            Engine().remove_image(name)


@pytest.fixture(scope="module", params=STACKS)
def running(request: pytest.FixtureRequest) -> Iterator[Updates]:
    """On each stack, which has its own first release again in the end."""
    office: Office = request.getfixturevalue(f"{request.param}_office")
    with (of_compose if request.param == "compose" else of_local)(office) as found:
        yield found
        back_to_start(office.site, office.first)


@pytest.fixture
def updates(running: Updates) -> Iterator[Updates]:
    """Before and after the test its release serves and everything is sound; there is no update yet."""
    running.publish(None)
    back_to_start(running.site, running.release)
    yield running
    back_to_start(running.site, running.release)
    require_sound(running.site, running.release.sha)


def test_when_nothing_changed_nothing_is_deployed(updates: Updates) -> None:
    before, taken_over, serving = updates.built(), updates.site.ledger.releases(), updates.site.stack.deployed()
    done = rebuild(updates.site)
    assert (done.outcome, done.changes.all, done.rollout) == ("unchanged", (), None)
    assert (updates.built(), updates.site.ledger.releases(), updates.site.stack.deployed()) == (before, taken_over, serving)
    assert updates.site.ledger.operations("rebuild") == []
    assert any("trivy" in note for note in done.notes)
    require_sound(updates.site, updates.release.sha)


def test_what_changed_is_compared_and_deployed_without_a_request_that_fails_and_a_rollback_gets_the_old_build(updates: Updates) -> None:
    site, old = updates.site, updates.site.stack.artifact(updates.release)
    updates.publish("2")
    with strict_load(site) as load:
        done = rebuild(site)
        record = load.end()
    assert record.first_failures == []
    assert record.releases == ["", updates.release.sha, done.new]
    assert done.outcome == "deployed"
    assert [(one.part, one.kind, one.before, one.after) for one in done.changes.all if one.name == TRIAL] == [
        (updates.part, updates.kind, updates.first, "2")
    ]
    assert done.new == f"{updates.release.sha.partition('-')[0]}-r{done.new.rpartition('-r')[2]}"
    require_sound(site, done.new)
    new = site.stack.artifact(records.release_of(site, records.find(site, done.new)))
    assert new[updates.part] != old[updates.part]

    assert records.build(site, updates.release.sha).sha == done.new, "to deploy the commit again must not bring the old build back"
    cleaned = cleaning.clean_up(site)
    assert cleaned.troubles == ()
    back = records.release_of(site, records.find(site))
    assert (back.sha, site.stack.artifact(back)) == (updates.release.sha, old)
    roll_out(site, back, kind="rollback")
    require_sound(site, updates.release.sha)


@pytest.mark.parametrize("running", LOCAL, indirect=True)
def test_a_dry_run_says_what_would_change_and_leaves_everything_as_it_was(updates: Updates) -> None:
    before, serving = updates.built(), updates.site.stack.deployed()
    updates.publish("2")
    done = rebuild(updates.site, dry_run=True)
    assert (done.outcome, TRIAL in {one.name for one in done.changes.all}) == ("planned", True)
    assert (updates.built(), updates.site.stack.deployed()) == (before, serving)


def test_one_that_is_not_fit_to_serve_leaves_everything_as_it_was(updates: Updates) -> None:
    before, serving = updates.built(), updates.site.stack.deployed()
    updates.publish("2")
    site = quick(updates.site, keep=20, smoke=(Smoke(service="backend", path="/health", contains="of the new one only"),))
    with pytest.raises(ProofError, match="of the new one only") as caught:
        rebuild(site)
    assert "serves as before" in caught.value.state
    assert (updates.built(), updates.site.stack.deployed()) == (before, serving)
    assert updates.site.ledger.operations("rebuild") == []
    require_sound(updates.site, updates.release.sha)


@pytest.mark.parametrize(("running", "verb", "forward"), KILLED, indirect=["running"])
def test_one_that_is_killed_is_ended_by_the_next_command(updates: Updates, verb: str, forward: bool) -> None:
    before = updates.built()
    updates.publish("2")
    assert killed_rebuild(updates.site.config.folder, verb)
    with updates.site.locked("a test"):
        assert put_in_order(updates.site) == []
    deployed = updates.site.stack.deployed()
    assert deployed is not None
    assert (deployed.sha != updates.release.sha) is forward
    assert set(updates.built()) - set(before) == ({deployed.sha} if forward else set())
    assert updates.site.ledger.operations("rebuild") == []
    require_sound(updates.site, deployed.sha)
    if verb == "build":
        assert rebuild(updates.site).outcome == "deployed"


@pytest.mark.parametrize("running", LOCAL, indirect=True)
def test_without_a_release_that_runs_there_is_nothing_to_rebuild(updates: Updates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(updates.site.stack), "deployed", lambda _: None)
    with pytest.raises(OfficeOpsError, match="No release runs yet"):
        rebuild(updates.site)
    monkeypatch.undo()
