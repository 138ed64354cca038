"""Events for the Prefect server's automations, by plain HTTP. While the server is away they wait on the disk."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from officeops.clock import iso
from officeops.probes.http import NoAnswerError
from officeops.probes.plane import Server, is_here

if TYPE_CHECKING:
    from officeops.alerts.engine import Change
    from officeops.site import Site

UNHEALTHY = "officeops.service.unhealthy"  # deployments/automations.py starts the flow `heal` on it
_BATCH, _MOST, _ANSWER_S = 50, 10_000, 10.0


@dataclass(frozen=True)
class Event:
    """about: what it is about, part of the resource's id. labels: of the resource, for an automation's templates."""

    name: str
    occurred: str
    about: str
    labels: Mapping[str, str]
    payload: Mapping[str, Any]


def changed(site: Site, change: Change) -> Event:
    """An alert that changed: officeops.alert.firing, .acknowledged, .resolved, .reminder."""
    alert = change.alert
    labels = {"probe": alert.name, "severity": alert.severity, "role": alert.role}
    payload = {"text": alert.text, "action": alert.action, "since": iso(alert.since), "explained": list(change.explained)}
    return Event(f"officeops.alert.{change.kind}", iso(site.clock()), alert.name, labels, payload)


def unhealthy(site: Site, name: str) -> Event:
    """Something that the flow `heal` should see to."""
    return Event(UNHEALTHY, iso(site.clock()), name, {"probe": name}, {})


def publish(site: Site, events: Sequence[Event]) -> None:
    """Puts events in the queue of the site's watcher, which delivers them. Nothing on a host without a control plane."""
    if is_here(site):
        Queue(site.home / "watch").put(site, events)


class Queue:
    """Events in the order in which they happened, in a file: nothing is lost by a restart, nothing is sent twice but after a crash."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "events.jsonl"

    def put(self, site: Site, events: Sequence[Event]) -> None:
        """Durable when it returns."""
        if not events:
            return
        with self._alone(), self._file.open("a") as out:
            for one in events:
                out.write(json.dumps(_as_prefect_has_it(site, one), ensure_ascii=False) + "\n")
            out.flush()
            os.fsync(out.fileno())

    def deliver(self, site: Site) -> int:
        """Sends what waits. Returns how many are left because the server did not take them."""
        server = Server(site, timeout=_ANSWER_S)
        while batch := self._waiting()[:_BATCH]:
            try:
                server.post("/events", [json.loads(line) for line in batch])
            except NoAnswerError:
                break
            with self._alone():  # `officeops ack` may have put one meanwhile
                self._keep([line for line in self._waiting() if line not in batch])
        return len(self._waiting())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def _waiting(self) -> list[str]:
        try:
            lines = self._file.read_text().splitlines()
        except FileNotFoundError:
            return []
        whole = [line for line in lines if line.endswith("}")]  # a line that was cut by a crash was never put
        return whole[-_MOST:]

    def _keep(self, lines: Sequence[str]) -> None:
        if not lines:
            self._file.unlink(missing_ok=True)
            return
        temporary = self._file.with_suffix(".new")
        temporary.write_text("\n".join(lines) + "\n")
        os.replace(temporary, self._file)


def _as_prefect_has_it(site: Site, one: Event) -> dict[str, Any]:
    resource = {"prefect.resource.id": f"officeops.stack.{site.name}.{one.about}", "prefect.resource.name": one.about, **one.labels}
    return {
        "id": str(uuid4()),
        "event": one.name,
        "occurred": one.occurred,
        "resource": resource,
        "related": [{"prefect.resource.id": f"prefect.tag.stack:{site.name}", "prefect.resource.role": "tag"}],
        "payload": dict(one.payload),
    }
