"""A real Docker Engine with stand-in images, for the tests that want one: found, asked for, and missed loudly."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from tests.engine.daemon import reachable
from tests.engine.home import EngineError, connect, plugin_folder
from tests.engine.standins import STAND_INS, outdated

MARKER = "engine"
REQUIRED = "OFFICEOPS_REQUIRE_ENGINE"
HOW = "`python -m tests.engine up` gets them"
_MISSING = "engine tests need a Docker Engine"  # how a skip is known to be for want of one


@dataclass(frozen=True)
class Engine:
    """docker_host, docker_config: what the environment must say; the latter is a folder with `docker compose` and nothing else.
    env: the keys of a stack's .env that have it run on the stand-in images."""

    docker_host: str
    docker_config: Path
    env: Mapping[str, str] = field(default_factory=lambda: {key: one.tag for key, one in STAND_INS.items()})

    def client(self) -> docker.DockerClient:
        """The Docker SDK's client of it; the caller closes it."""
        return connect(self.docker_host)


def found_engine() -> Iterator[Engine]:
    """The engine, with the environment set for it. Skips the test without one, or fails it where OFFICEOPS_REQUIRE_ENGINE=1 says so."""
    host = reachable()
    why = "none answers" if host is None else _stale(host)
    if host is None or why:
        message = f"{_MISSING}: {why}; {HOW}"
        if required():
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    engine = Engine(host, plugin_folder())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", engine.docker_host)
        patch.setenv("DOCKER_CONFIG", str(engine.docker_config))
        patch.delenv("DOCKER_CONTEXT", raising=False)
        yield engine


def required() -> bool:
    """Whether a run without every engine test is a failed one."""
    return os.environ.get(REQUIRED) == "1"


class Census:
    """Counts the engine tests that did not run; of a run on several workers, in the process that hears of all of them."""

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}  # why, by test

    @pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Marks what asks for the engine. Tests of one file share what they start, so they stay together unless they say otherwise."""
        for item in items:
            if MARKER in getattr(item, "fixturenames", ()) and item.get_closest_marker(MARKER) is None:
                item.add_marker(MARKER)
            if item.get_closest_marker(MARKER) is not None and item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group(f"engine-{item.path.parent.name}-{item.path.stem}"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One test's step."""
        if report.skipped and not hasattr(report, "wasxfail"):
            why = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
            if MARKER in report.keywords or _MISSING in why:
                self.skipped[report.nodeid] = why.removeprefix("Skipped: ")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that is skipped as a whole: where the engine is required, nobody can say that no test of it wanted one."""
        if report.skipped and required():
            self.skipped[report.nodeid] = "the whole file was skipped"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A run that had to have every engine test and has not is a failed one, also for whoever (.ci/again) repeats what failed in it."""
        if not required() or hasattr(session.config, "workerinput"):
            return
        cache = session.config.cache
        assert cache is not None
        cache.set("officeops/engine-skipped", self.skipped)
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line."""
        wanting = [why for why in self.skipped.values() if _MISSING in why]
        if self.skipped and required():
            terminalreporter.write_line(f"FAILED: engine tests were skipped, and {REQUIRED}=1: {', '.join(self.skipped)}", red=True)
        elif wanting:
            terminalreporter.write_line(f"{len(wanting)} tests were skipped: {wanting[0]}", yellow=True)


def _stale(host: str) -> str:
    try:
        with closing(connect(host)) as client:
            missing = outdated(client)
    except EngineError as error:
        return str(error)
    return f"images to be built there: {', '.join(missing)}" if missing else ""
