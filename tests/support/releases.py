"""Releases of a running stack: the verbs in the flow's order without a Prefect server, killed where a test says, and what must hold after."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from select import select
from typing import Any
from urllib.parse import urlsplit

from officeops.config import Config
from officeops.errors import OfficeOpsError
from officeops.gate import Gate
from officeops.releases import records
from officeops.releases.rollout import Kind, Outcome, Rollout, Strategy, bring_up, reconcile
from officeops.releases.schema import Schema
from officeops.runbook.model import Releases
from officeops.site import Site, open_site
from officeops.stack.port import COLOURS, Release
from tests.support.site import PROJECT

QUICK = Releases(
    keep=3, ready_checks=2, ready_seconds=90, bake_seconds=0.5, stream_seconds=20, min_requests=10, lock_timeout_ms=500,
    smoke=({"service": "backend", "path": "/health", "contains": "ok"}, {"service": "frontend", "path": "/", "contains": "<html"}),
    version_path="/version", metrics_path="/metrics", disk_free_bytes=0,
)  # fmt: skip
_GRACE_S = 6  # for one that does not stop when it is asked to
VERBS = ("expand", "launch", "prove", "switch", "bake", "drain", "retire", "finish")


def quick(site: Site, **changed: Any) -> Site:
    """The same site with a chapter on releases that does not make a test wait."""
    known = site.config.runbook.services
    services = {name: service.model_copy(update={"stop_grace": min(service.stop_grace, _GRACE_S)}) for name, service in known.items()}
    runbook = site.config.runbook.model_copy(update={"releases": QUICK.model_copy(update=changed), "services": services})
    return Site(Config(site.config.folder, site.config.settings, runbook))


def build(site: Site, ref: str) -> Release:
    """A release with today's settings, as a deploy builds it."""
    return records.build(site, ref)


def roll_out(
    site: Site,
    release: Release,
    *,
    kind: Kind = "deploy",
    strategy: Strategy = "blue-green",
    why: str = "",
    reload_proxy: bool = False,
    downgrade: str = "",
) -> Outcome:
    """As the flow does, without looking before. downgrade: the revision that the schema goes back to."""
    begun = partial(Rollout.begin, site, release, kind=kind, strategy=strategy, why=why, reload_proxy=reload_proxy)
    with site.locked(f"{kind} of a test", wait_s=60), begun() as rollout:
        if strategy == "recreate":
            rollout.interrupt()
        rollout.expand(Schema(site).plan(release))
        rollout.launch()
        if downgrade:
            rollout.downgrade(downgrade)
        rollout.prove()
        rollout.switch()
        rollout.bake()
        rollout.drain()
        rollout.retire()
        return rollout.finish()


def back_to_start(site: Site, release: Release) -> None:
    """Everything is as it was before a test: `release` serves and nothing is left in the middle."""
    with site.locked("a test", wait_s=60):
        reconcile(site)
    deployed = site.stack.deployed()
    assert deployed is not None
    if deployed.sha != release.sha:
        roll_out(site, release, kind="rollback")


def require_sound(site: Site, serving: str) -> None:
    """One release serves, by every account; nothing of another one is left, and nothing in the journal is open."""
    deployed = site.stack.deployed()
    assert deployed is not None
    assert deployed.sha == serving
    gate = Gate(site.stack)
    assert gate.open_colours() == (deployed.colour,)
    assert gate.serving("/version") == serving
    states = {colour: {(one.state, one.health) for one in site.stack.instances(colour)} for colour in COLOURS}
    assert states[deployed.colour] == {("running", "healthy")}
    assert {state for colour in COLOURS if colour != deployed.colour for state, _ in states[colour]} == {"stopped"}
    assert {one.release for one in site.stack.instances(deployed.colour)} == {serving}
    assert site.ledger.operations("rollout") == []
    assert all(one.outcome for one in site.ledger.releases())


class Knocking:
    """Somebody who asks all the time, by connections that are kept and by new ones. Whatever is not answered with 200 is remembered.
    url: of the front door, when it is not asked at the port that it publishes."""

    def __init__(self, site: Site, url: str = "") -> None:
        self._url = url or f"http://127.0.0.1:{site.config.settings.http_port}"
        self.asked, self.failures = 0, list[str]()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(kept,), daemon=True) for kept in (True, True, False)]

    def __enter__(self) -> Knocking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(40)

    def _ask(self, kept: bool) -> None:
        """By the standard library's client: another one takes half a processor for as many requests."""
        place = urlsplit(self._url)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)
        for path in self._paths():
            if connection.sock and (not kept or select([connection.sock], [], [], 0)[0]):  # the other side may end one that is idle
                connection.close()
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                text = answer.read()
                problem = "" if answer.status == 200 else f"{path}: {answer.status} {text[:100]!r}"
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                problem = f"{path}: {type(error).__name__} {error}"
            self.asked += 1
            if problem:
                self.failures.append(f"{time.time():.2f} {problem}")
            self._stopped.wait(0.02)
        connection.close()

    def _paths(self) -> Iterator[str]:
        while not self._stopped.is_set():
            yield from ("/version", "/", "/health")


# A process that is killed in the middle

Doing = Callable[[Site, Release], object]
DOINGS: dict[str, Doing] = {
    "deploy": lambda site, release: roll_out(site, release),
    "rollback": lambda site, release: roll_out(site, release, kind="rollback"),
    "rollback with the schema": lambda site, release: roll_out(
        site, release, kind="rollback", downgrade=Schema(site).downgrades(release).target or "base"
    ),
    "first": lambda site, release: _first(site, release),
    "recreate": lambda site, release: roll_out(site, release, strategy="recreate"),
    "broken": lambda site, release: _undone(site, release),
    "emergency": lambda site, release: _emergency(site, release),
}


def _undone(site: Site, release: Release) -> object:
    """A release that is found to be no good just after it took over."""
    with site.locked("deploy of a test", wait_s=60), Rollout.begin(site, release, kind="deploy") as rollout:
        rollout.launch()
        rollout.prove()
        rollout.switch()
        raise OfficeOpsError("it is no good")


def _first(site: Site, release: Release) -> object:
    with site.locked("first deploy of a test", wait_s=60):
        return bring_up(site, release)


def _emergency(site: Site, release: Release) -> object:
    from officeops.releases.emergency import back

    with site.locked("emergency of a test", wait_s=60):
        return back(site, release.sha)


@contextmanager
def killer(folder: Path) -> Iterator[Callable[[str, str, str, str], bool]]:
    """Runs `what` with a commit in a process that is killed, as by `kill -9`, `when` (before, after) the verb `verb`. Says whether it came
    to be killed before its end. One process imports everything; others are forked from it."""
    argv = [sys.executable, "-m", "tests.support.releases", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        asked, answers = parent.stdin, parent.stdout

        def killed(what: str, sha: str, when: str, verb: str) -> bool:
            asked.write(json.dumps([what, sha, when, verb]) + "\n")
            asked.flush()
            status = int(answers.readline())
            assert status in (0, -signal.SIGKILL), f"{what} failed by itself"
            return status != 0

        yield killed
        asked.close()


def main() -> None:
    """The process that others are forked from. It never starts a thread: what is forked would lack it."""
    for line in sys.stdin:
        what, sha, when, verb = json.loads(line)
        child = os.fork()
        if child == 0:
            _kill(when, verb)
            site = quick(open_site(Path(sys.argv[1])))
            try:
                DOINGS[what](site, build(site, sha))
            except BaseException:  # noqa: BLE001 - told to whoever reads the test's output
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _kill(when: str, verb: str) -> None:
    """before: once the verb is in the journal and before it does anything. after: when it is done."""
    journal, done = Rollout._journal, getattr(Rollout, verb, None)

    def journalling(self: Rollout, state: str, **facts: Any) -> None:
        journal(self, state, **facts)
        if state == verb and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)

    def doing(self: Rollout, *arguments: Any) -> Any:
        result = done(self, *arguments)
        if when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Rollout._journal = journalling  # type: ignore[method-assign]
    if done:  # else a state within another verb
        setattr(Rollout, verb, doing)


if __name__ == "__main__":
    main()
