"""A running stack of either kind that somebody breaks, the watcher that finds it, and the doctor who sees to it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import psutil
from pydantic import SecretStr

from officeops.clock import utc_now
from officeops.config import Config
from officeops.ledger.watching import Incident
from officeops.probes.rounds import ask_about
from officeops.process import Command, run
from officeops.remedies.due import due
from officeops.remedies.healing import Healing
from officeops.runbook import Runbook
from officeops.runbook.watching import Remedies, RuleChange
from officeops.settings.env import quoted
from officeops.site import Site
from officeops.watching.watcher import Watcher
from tests.support.control_plane import Channel, Ended
from tests.support.faults import BALLOON, on_compose
from tests.support.stack import PROJECT, RunningStack

QUICK = Remedies(verify_seconds=8, idle_transaction_seconds=0.2)
_MOST_ROUNDS = 2
_GRACE_S, _ANSWER_S = 2, 3  # for a service that hangs


@dataclass
class Minutes:
    """A clock on which a round takes a minute."""

    passed: timedelta = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.passed


@dataclass
class Clinic:
    """channel: where people are told. clock: of the site."""

    running: RunningStack
    site: Site
    channel: Channel
    clock: Minutes
    treated: list[Incident] = field(default_factory=list)

    def wrong(self, subject: str) -> set[str]:
        """Names of what is not well of it now."""
        return {one.reading.name for one in ask_about(self.site, subject) if not one.ok}

    def heal(self, name: str) -> Incident:
        """As the watcher has it done."""
        return Healing(self.site, "a test").heal(name)

    def taken(self, incident: Incident) -> list[tuple[str, str]]:
        """The steps of the ladder that made sense, with what became of them."""
        return [
            (step.what, step.outcome)
            for step in incident.steps
            if step.what in incident.actions and step.outcome in ("well", "still wrong")
        ]

    def watch(self, rounds: int = _MOST_ROUNDS) -> list[str]:
        """Rounds of the watcher, a minute apart by its clock, until something was treated. Returns the names of what fires, causes only."""
        watcher = Watcher(self.site, healing=due, mend=self._mend)
        for _ in range(rounds):
            if not self.treated:
                assert watcher.round() is not None, "the watcher could not do its round"
                self.clock.passed += timedelta(minutes=1)
        return [one.name for one in self.site.ledger.alerts() if one.phase == "firing" and one.cause is None]

    def command(self, *arguments: str) -> Ended:
        """`officeops ARGUMENTS` in the stack's folder, with nobody at its terminal."""
        argv = (sys.executable, "-m", "officeops_cli.main", *arguments)
        command = Command(argv, {"PYTHONPATH": str(PROJECT), "NO_COLOR": "1"}, cwd=self.site.config.folder)
        done = run(command, timeout=120, ok=range(256))
        return Ended(done.status, done.stdout.decode(), done.stderr)

    def _mend(self, _site: Site, name: str) -> None:
        """One at a time, as it is."""
        if not self.treated:
            self.treated.append(self.heal(name))

    def changed(self, **chapters: object) -> Clinic:
        """The same with other chapters in its runbook."""
        config = self.site.config
        runbook = config.runbook.model_copy(update=chapters)
        return replace(self, site=Site(Config(config.folder, config.settings, runbook), self.clock))


def opened(running: RunningStack, channel: Channel, *, grace_s: float = _GRACE_S) -> Clinic:
    """Tells people by the channel; waits for nothing longer than a test has to. grace_s: for a service that hangs. Of what was before nothing counts."""
    config, clock = running.site.config, Minutes()
    told = quoted(f"json://{channel.url}/told").strip("'")
    settings = config.settings.model_copy(update={"notify_urls": (SecretStr(told),)})
    made = Clinic(running, Site(Config(config.folder, settings, _quick(config.runbook, grace_s)), clock), channel, clock)
    if made.wrong("ollama"):  # a fresh one has no model yet
        made.heal("ollama.model")
    forget(made.site)
    return made


def watching_disk(clinic: Clinic, place: Path) -> Clinic:
    """The file system at `place` is watched too."""
    return clinic.changed(probes=clinic.site.config.runbook.probes.model_copy(update={"folders": (str(place),)}))


def watching_memory(clinic: Clinic) -> tuple[str, Clinic]:
    """Which reading says that memory_ballooned was done, and the clinic in which it does. Nothing has a limit of its own on the embedded
    stack; the host's is as much as a test may take."""
    if on_compose(clinic.running):
        return "redis.memory", clinic
    memory, alerts = psutil.virtual_memory(), clinic.site.config.runbook.alerts
    limit = RuleChange(limit=1 - (memory.available - BALLOON / 2) / memory.total)
    return "host.memory", clinic.changed(alerts=alerts.model_copy(update={"rules": {**alerts.rules, "host.memory": limit}}))


def with_remedies(clinic: Clinic, **changed: object) -> Clinic:
    """The same with another chapter on remedies."""
    return clinic.changed(remedies=QUICK.model_copy(update=changed))


def _quick(runbook: Runbook, grace_s: float) -> Runbook:
    services = {name: one.model_copy(update={"stop_grace": min(one.stop_grace, grace_s)}) for name, one in runbook.services.items()}
    rules = {
        "disk": runbook.alerts.rules["disk"].model_copy(update={"limit": 0.98, "clear": 0.97})
    }  # that of this machine is its own affair
    alerts = runbook.alerts.model_copy(update={"rules": {**runbook.alerts.rules, **rules}})
    web = {name: one.model_copy(update={"timeout": _ANSWER_S}) for name, one in runbook.probes.web.items()}
    probes = runbook.probes.model_copy(update={"web": web, "timeout_seconds": _ANSWER_S})
    return runbook.model_copy(update={"remedies": QUICK, "services": services, "alerts": alerts, "probes": probes})


def forget(site: Site) -> None:
    """What the watcher wrote, some of it by a clock that is ahead, and backups."""
    with site.ledger._writing() as connection:
        for table in ("incidents", "alerts", "samples", "backup_copies"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    (site.home / "watch" / "looked.json").unlink(missing_ok=True)
