"""The Docker Engine killed in the middle of a deploy: what serves goes on serving, and the next command ends what was begun."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from officeops.errors import OfficeOpsError
from officeops.releases.rollout import Rollout, reconcile
from officeops.stack.compose.engine import Engine as DockerEngine
from officeops.stack.compose.engine import EngineDownError
from tests.engine.daemon import Daemon
from tests.engine.network import Network
from tests.support.engine import Engine
from tests.support.paths import open_folder
from tests.support.ports import eventually
from tests.support.releases import QUICK, Knocking, build, quick, roll_out
from tests.support.small import Office, small_office

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start an engine")
OPTIONS: Any = Network.options
IMAGES = ("POSTGRES_IMAGE", "PYTHON_IMAGE", "CADDY_IMAGE")


@pytest.fixture(scope="module")
def daemon(engine: Engine) -> Iterator[Daemon]:
    """An engine that belongs to this module alone, with the stand-in images."""
    with open_folder() as folder:
        daemon = Daemon(folder)
        daemon.start()
        try:
            images = [engine.env[key] for key in IMAGES]
            with subprocess.Popen(["docker", f"--host={engine.docker_host}", "save", *images], stdout=subprocess.PIPE) as saving:
                subprocess.run(["docker", f"--host={daemon.host}", "load", "--quiet"], stdin=saving.stdout, check=True, timeout=300)
            yield daemon
        finally:
            daemon.stop()


@pytest.fixture(scope="module")
def office(engine: Engine, daemon: Daemon) -> Iterator[Office]:
    """Up on that engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", daemon.host)
        with small_office(replace(engine, docker_host=daemon.host)) as found:
            found.site = quick(found.site, **QUICK.model_copy(update={"smoke": (), "metrics_path": None}).model_dump())
            build(found.site, found.release.sha)
            yield found


def kill(daemon: Daemon) -> None:
    """As a lack of memory would; what it runs stays."""
    process = daemon.process()
    assert process is not None
    process.kill()
    process.wait(30)


def test_an_engine_that_would_end_what_runs_on_it_is_named_before_a_deploy(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DockerEngine().cautions() == []
    forgetful = property(lambda self: [option for option in OPTIONS.fget(self) if option != "--live-restore"])
    monkeypatch.setattr(Network, "options", forgetful)
    with open_folder() as folder:
        other = Daemon(folder)
        try:
            other.start()
            monkeypatch.setenv("DOCKER_HOST", other.host)
            assert "live-restore" in DockerEngine().cautions()[0]
        finally:
            other.stop()


@pytest.mark.parametrize("verb", ["launch", "switch"])
def test_what_serves_goes_on_and_the_next_command_ends_what_was_begun(
    office: Office, daemon: Daemon, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, done = office.commit(), getattr(Rollout, verb)

    def then_killed(self: Rollout) -> None:
        done(self)
        kill(daemon)

    monkeypatch.setattr(Rollout, verb, then_killed)
    with Knocking(office.site, office.stack.front_door()) as knocking:
        with pytest.raises(OfficeOpsError, match="does not answer") as caught:
            roll_out(office.site, release)
        assert "officeops reconcile" in str(caught.value)
        with pytest.raises(EngineDownError, match="does not answer"):
            office.stack.services()
        with pytest.raises(EngineDownError, match="does not answer"):
            office.stack.note_addresses()  # as the watcher does: what was known stays so
        asked = knocking.asked
        eventually(lambda: knocking.asked > asked + 50, what="requests while there is no engine")
        daemon.start()
        with office.site.locked("reconcile"):
            assert len(reconcile(office.site)) == 1
    assert knocking.failures == []
    assert office.gate.serving("/") == office.release.sha
    assert office.there() == {"postgres", "web-blue", "caddy"}
    assert office.site.ledger.operations("rollout") == []
