"""What no release, stack or running service needs leaves the disk; every release that one can go back to is whole afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from officeops.errors import RefusedError
from officeops.order import put_in_order
from officeops.releases import records
from officeops.site import Site
from officeops.stack.compose.engine import PROJECT, Engine
from officeops.stack.port import LeftOver
from officeops.upkeep import clean_up as cleaning
from tests.releases.applications import commit_variant
from tests.releases.conftest import STACKS, Office
from tests.support.releases import build, require_sound, roll_out

pytestmark = pytest.mark.light
LOCAL, COMPOSE = STACKS[:1], STACKS[1:]


def found(site: Site, name: str) -> LeftOver:
    """What a look says of it."""
    plan = cleaning.look(site)
    return next(one for one in (*plan.gone, *plan.kept) if one.name == name)


@pytest.fixture
def unneeded(office: Office) -> Iterator[str]:
    """A release that was built and never took over."""
    sha = commit_variant(office.repository, "good")
    build(office.site, sha)
    yield sha
    if any(one.sha == sha for one in office.site.stack.built()):
        office.site.stack.discard(sha)


def test_every_release_that_one_can_go_back_to_can_be_gone_back_to_afterwards(office: Office, unneeded: str) -> None:
    site = office.site
    roll_out(site, office.second)
    build(site, unneeded)  # the rollout removed it
    kept = {record.sha: site.stack.artifact(records.release_of(site, record)) for record in records.retained(site)}
    assert {office.first.sha, office.second.sha} <= kept.keys()
    left = site.home / "releases" / f"{unneeded}.new"
    left.mkdir()
    (site.home / "spool" / "killed").mkdir(parents=True)

    done = cleaning.clean_up(site)

    assert done.troubles == ()
    gone = {one.name for one in done.gone}
    assert {unneeded, str(left), str(site.home / "spool" / "killed")} <= gone
    assert not left.exists()
    assert not (site.home / "spool" / "killed").exists()
    assert unneeded not in {one.sha for one in site.stack.built()}
    assert all(one.why for one in (*done.gone, *done.kept))
    assert not gone & {name for artifact in kept.values() for name in artifact.values()}
    require_sound(site, office.second.sha)
    for sha, artifact in kept.items():
        release = records.release_of(site, records.find(site, sha))
        assert site.stack.artifact(release) == artifact
        if sha != office.second.sha:
            roll_out(site, release, kind="rollback")
            require_sound(site, sha)
    assert [one.outcome for one in site.ledger.operations("clean-up", outcome="done")][:1] == ["done"]


def test_a_look_changes_nothing(office: Office, unneeded: str) -> None:
    before = {one.sha for one in office.site.stack.built()}
    plan = cleaning.look(office.site)
    assert unneeded in {one.name for one in plan.gone}
    assert office.first.sha in {one.name for one in plan.kept}
    assert {one.sha for one in office.site.stack.built()} == before


def test_one_that_was_killed_is_ended_and_the_next_one_removes_the_rest(office: Office, unneeded: str) -> None:
    office.site.ledger.begin("clean-up", f"clean-up-{uuid4().hex}", going=[f"release {unneeded}"])
    office.site.stack.remove(next(one for one in cleaning.look(office.site).gone if unneeded in one.name))
    with office.site.locked("a test"):
        assert put_in_order(office.site) == []
        assert office.site.ledger.operations("clean-up") == []
        assert cleaning.clean_up(office.site).troubles == ()
    assert not (office.site.home / "releases" / unneeded).exists()


@pytest.mark.parametrize("office", LOCAL, indirect=True)
def test_a_virtualenv_that_nothing_needs_goes_unless_a_process_runs_from_it(office: Office) -> None:
    venv = office.site.home / "venvs" / "0123456789abcdef"
    venv.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=venv, stdin=subprocess.PIPE) as process:
        held = found(office.site, str(venv))
        assert held.stays
        assert str(process.pid) in held.why
        with pytest.raises(RefusedError, match=str(process.pid)):
            office.site.stack.remove(held)
        process.communicate(b"\n")
    cleaning.clean_up(office.site)
    assert not venv.exists()
    assert Path(office.site.stack.artifact(office.first)["virtualenv"]).exists()


@pytest.fixture
def foreign(office: Office) -> Iterator[tuple[str, str]]:
    """An image of another project that looks like one of ours, and a container of another project on an old image of ours."""
    engine, name = Engine(), f"{office.site.name}-web-backend"
    below = office.site.config.settings.redis_image
    theirs, ours = f"{name}:{'f' * 40}", f"{office.site.name}-backend:{'e' * 40}"
    for tag, project in ((theirs, f"{office.site.name}-web"), (ours, office.site.name)):
        container = engine.api.create_container(below, ["true"])
        repository, _, version = tag.rpartition(":")
        engine.api.commit(container["Id"], repository, version, changes=f'LABEL {PROJECT}="{project}"')
        engine.remove(container["Id"])
    user = engine.api.create_container(ours, ["true"], labels={PROJECT: "another"}, name=f"another-{uuid4().hex[:8]}")
    yield theirs, ours
    engine.remove(user["Id"])
    for tag in (theirs, ours):
        engine.remove_image(tag)


@pytest.mark.parametrize("office", COMPOSE, indirect=True)
def test_what_belongs_to_another_project_or_is_used_by_one_is_not_touched(office: Office, foreign: tuple[str, str]) -> None:
    theirs, ours = foreign
    engine = Engine()
    containers = {one["Id"] for one in engine.containers({PROJECT: "another"})}
    assert (found(office.site, ours).stays, "another-" in found(office.site, ours).why) == (True, True)
    done = cleaning.clean_up(office.site)
    assert done.troubles == ()
    assert theirs not in {one.name for one in (*done.gone, *done.kept)}
    assert engine.has_image(theirs)
    assert engine.has_image(ours)
    assert containers <= {one["Id"] for one in engine.containers({PROJECT: "another"})}
    assert len([one for one in done.kept if one.why.startswith("not ours")]) >= 1


@pytest.mark.parametrize("office", COMPOSE, indirect=True)
def test_an_image_without_a_name_goes_and_so_does_the_container_of_a_service_that_is_no_more(office: Office) -> None:
    engine = Engine()
    made = engine.api.create_container(office.site.config.settings.redis_image, ["true"])
    image = engine.api.commit(made["Id"], changes=f'LABEL {PROJECT}="{office.site.name}"')["Id"]
    engine.remove(made["Id"])
    (backend, *_) = (one for one in engine.containers({PROJECT: office.site.name}) if "backend" in one["Names"][0])
    labels = {**backend["Labels"], "com.docker.compose.service": "gone-since"}
    orphan = engine.api.create_container(office.site.config.settings.redis_image, ["true"], labels=labels, name=f"orphan-{uuid4().hex[:8]}")
    gone = {one.name for one in cleaning.clean_up(office.site).gone}
    assert image in gone
    assert any(name.startswith("orphan-") for name in gone)
    assert not engine.has_image(image)
    assert engine.inspect(orphan["Id"]) is None
    require_sound(office.site, office.first.sha)
