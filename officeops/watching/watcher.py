"""Rounds, one a minute: ask, keep, judge, tell, and see to what can be mended. Whatever fails in a round is said, and the next one comes."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from officeops.alerts.board import work_in
from officeops.alerts.telling import tell
from officeops.config import Config
from officeops.errors import OfficeOpsError
from officeops.notify import Message, send
from officeops.probes.asking import Asker
from officeops.probes.logs import Look
from officeops.probes.plane import is_here
from officeops.probes.rounds import Round, ask
from officeops.site import Site, open_site
from officeops.watching.events import Queue, changed, unhealthy

if TYPE_CHECKING:
    from officeops.alerts.engine import Alert, Change

_PATIENCE = timedelta(minutes=3)  # after which a run that was asked for does not come
ALIVE = "alive"  # in OFFICEOPS_HOME/watch: touched by each round, for the container's healthcheck
_FILES = ("runbook.yaml", ".env")


@dataclass(frozen=True)
class Chore:
    """Something that is done now and then between rounds, as exporting logs is. It must be safe to repeat."""

    name: str
    every: timedelta
    do: Callable[[Site], object]


@dataclass
class Watcher:
    """Watches one site. healing: which alerts should be seen to now (officeops/remedies). mend: sees to one without Prefect."""

    site: Site
    chores: Sequence[Chore] = ()
    healing: Callable[[Site, Sequence[Alert]], list[str]] = lambda _site, _alerts: []
    mend: Callable[[Site, str], None] = lambda _site, _name: None
    _asker: Asker = field(default_factory=Asker)
    _asked: dict[str, datetime] = field(default_factory=dict)
    _done: dict[str, datetime] = field(default_factory=dict)
    _troubled: bool = False

    def __post_init__(self) -> None:
        folder = self.site.home / "watch"
        self._look, self._queue = Look(folder, keep=True), Queue(folder)

    def round(self) -> Round | None:
        """One round. None when it failed: people are told of the first of several, and the next one is tried."""
        try:
            found = self._round()
        except Exception as error:  # noqa: BLE001 - a watcher that ends watches nothing
            self._trouble(error)
            return None
        self._troubled = False
        return found

    def run(self, stopped: threading.Event) -> None:
        """Until `stopped`. Rounds begin at fixed times: one that takes long does not move the next ones."""
        due = time.monotonic()
        known = _changed_at(self.site.config)
        while not stopped.is_set():
            self.round()
            self._alive()
            if (now := _changed_at(self.site.config)) != known:
                known = now
                self._read_again()
            every = self.site.config.runbook.probes.every_seconds
            due += every * max(1, -(-(time.monotonic() - due) // every))
            stopped.wait(max(0.0, due - time.monotonic()))

    def _alive(self) -> None:
        file = self.site.home / "watch" / ALIVE
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    def _round(self) -> Round:
        site = self.site
        found = ask(site, self._asker, self._look)
        kept = timedelta(hours=site.config.runbook.probes.keep_hours)
        site.ledger.record_sample(found.sample, keep_since=found.at - kept)
        changes = work_in(site, found.judged, found.at)
        self._publish(found, changes)
        for chore in self.chores:
            self._do(chore, found.at)
        return found

    def _publish(self, found: Round, changes: Sequence[Change]) -> None:
        """People are told directly, whether Prefect is there or not: one way, and nobody is told twice. Events are for automations."""
        site = self.site
        for delivery in tell(site, changes):
            if not delivery.ok:
                say(f"{delivery.channel} could not be told: {delivery.error}")
        to_heal = self.healing(site, site.ledger.alerts())
        self._asked = {name: at for name, at in self._asked.items() if name in to_heal}
        events = [changed(site, one) for one in changes]
        by_prefect = _prefect_works(found)
        if is_here(site):
            asked = [name for name in to_heal if by_prefect and name not in self._asked]
            self._asked |= dict.fromkeys(asked, found.at)
            self._queue.put(site, [*events, *(unhealthy(site, name) for name in asked)])
            self._queue.deliver(site)
        for name in to_heal:
            if not by_prefect or found.at - self._asked.get(name, found.at) >= _PATIENCE:
                self.mend(site, name)

    def _do(self, chore: Chore, now: datetime) -> None:
        if chore.name in self._done and now - self._done[chore.name] < chore.every:
            return
        self._done[chore.name] = now
        try:
            chore.do(self.site)
        except OfficeOpsError as error:
            say(f"{chore.name} failed: {error}")

    def _trouble(self, error: Exception) -> None:
        say(f"A round failed: {error or type(error).__name__}")
        if self._troubled:
            return
        self._troubled = True
        message = Message(
            "the watcher cannot do its rounds", error=str(error) or type(error).__name__, todo="See the log of `officeops watch`."
        )
        send(self.site.config.settings, self.site.config.runbook, message)

    def _read_again(self) -> None:
        """The configuration was changed. One that is broken is said, and what was read before stays."""
        try:
            self.site = open_site(self.site.config.folder)
            say("The configuration was read again.")
        except OfficeOpsError as error:
            say(f"The configuration was changed and cannot be used; the one before stays: {error}")


def watch(watcher: Watcher) -> None:
    """Until the process is told to stop."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    say(f"Watching {watcher.site.name}.")
    watcher.run(stopped)


def say(text: str) -> None:
    """For the process's log."""
    from officeops.clock import iso, utc_now

    print(f"{iso(utc_now())} {text}", file=sys.stderr, flush=True)


def _prefect_works(found: Round) -> bool:
    """Whether a run that is asked for now would be started: the server answers, and a worker is there."""
    ok = {one.reading.name: one.ok for one in found.judged}
    return ok.get("prefect.server", False) and ok.get("prefect.worker", False)


def _changed_at(config: Config) -> list[float]:
    return [_mtime(config.folder / name) for name in _FILES]


def _mtime(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
