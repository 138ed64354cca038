"""A running stack that is broken by a test, and the doctor who sees to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from officeops.config import Config
from officeops.ledger.watching import Incident
from officeops.probes.rounds import ask_about
from officeops.remedies.healing import Healing
from officeops.runbook.watching import Remedies
from officeops.settings.env import quoted
from officeops.site import Site
from tests.support.control_plane import Channel, listening
from tests.support.stack import RunningStack

QUICK = Remedies(verify_seconds=8, idle_transaction_seconds=1)


@dataclass
class Clinic:
    """channel: where people are told."""

    running: RunningStack
    site: Site
    channel: Channel

    def wrong(self, subject: str) -> set[str]:
        """Names of what is not well of it now."""
        return {one.reading.name for one in ask_about(self.site, subject) if not one.ok}

    def heal(self, name: str) -> Incident:
        """As the watcher has it done."""
        return Healing(self.site, "a test").heal(name)

    def taken(self, incident: Incident) -> list[tuple[str, str]]:
        """The steps of the ladder that made sense, with what became of them."""
        return [(step.what, step.outcome) for step in incident.steps if step.what in incident.actions and step.outcome != "failed"]


@pytest.fixture
def clinic(watched: RunningStack) -> Iterator[Clinic]:
    """Well before and after the test; incidents of tests before do not count."""
    with listening() as channel:
        site = watched.site
        told = quoted(f"json://{channel.url}/told").strip("'")
        settings = site.config.settings.model_copy(update={"notify_urls": (_secret(told),)})
        runbook = site.config.runbook.model_copy(update={"remedies": QUICK})
        made = Site(Config(site.config.folder, settings, runbook))
        _forget(made)
        try:
            yield Clinic(watched, made, channel)
        finally:
            _forget(made)
            if any(one.health != "healthy" for one in watched.stack.services()):
                watched.stack.up(watched.release)


def with_remedies(clinic: Clinic, **changed: object) -> Clinic:
    """The same with another chapter on remedies."""
    config = clinic.site.config
    runbook = config.runbook.model_copy(update={"remedies": QUICK.model_copy(update=changed)})
    return replace(clinic, site=Site(Config(config.folder, config.settings, runbook)))


def _secret(text: str) -> object:
    from pydantic import SecretStr

    return SecretStr(text)


def _forget(site: Site) -> None:
    with site.ledger._writing() as connection:
        for table in ("incidents", "alerts"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
