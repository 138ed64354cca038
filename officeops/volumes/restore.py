"""Putting restored volumes in the live ones' place, and back. Every step is journalled first; `put_volumes_in_order` ends what was killed.

    with VolumeRestore.begin(site, source) as restore:
        for one in restore.besides: one.fill(); one.compare()
        restore.swap.stop_users(); restore.swap.swap(); restore.swap.start_users(); restore.finish()

Which name holds what: `<name>_new_<time>` has the restored content until `swap`, and the previous one from then on, because contents change
places and names do not. `finish` gives the previous content its own name, `<name>_prev_<time>`, by one more exchange with an empty volume
of that name, and removes the empty one. After an undo `<name>_prev_<time>` has what was live before the undo, so that it can be undone too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from officeops.errors import OfficeOpsError, UsageError
from officeops.ledger import Operation
from officeops.restores.restore import new_operation
from officeops.restores.source import VolumeSource
from officeops.volumes.beside import VolumeBeside, chosen, require_same_server, side_volume
from officeops.volumes.exchange import Exchange
from officeops.volumes.users import RUN, start, start_users, stop_users

if TYPE_CHECKING:
    from officeops.site import Site
    from officeops.stack.port import Volume

RESTORE = "volume-restore"
_PAIRS, _PREVIOUS, _STAMP, _HEALTHY = "volumes", "previous", "stamp", "healthy"


class VolumeSwap:
    """Exchanges live volumes for others: services stopped, contents exchanged, services started and healthy. pairs: live to other."""

    def __init__(self, site: Site, operation: str, pairs: Mapping[str, str]) -> None:
        self.site, self.operation, self.pairs = site, operation, dict(pairs)
        self._exchange = Exchange(site, operation)

    @property
    def swapped(self) -> bool:
        """Whether all are exchanged."""
        return self._exchange.done.keys() >= self.pairs.keys()

    def stop_users(self) -> tuple[str, ...]:
        """Stops the services that use the live volumes and run, or would if they could; for the database's also those that write to it.
        A live volume that is missing, as on a new host, is made first."""
        there = {volume.name for volume in self.site.stack.volumes()}
        for name in self.pairs.keys() - there:
            self.site.stack.create_volume(name)
        users: set[str] = set()
        for volume in self._live():
            users.update(volume.services, self.site.config.runbook.writers() if volume.database else ())
        return stop_users(self.site, self.operation, users, states=(*RUN, "failed"))

    def swap(self) -> None:
        """The others' contents are live."""
        for live, other in self.pairs.items():
            if live not in self._exchange.done:
                self._exchange.exchange(live, other)

    def start_users(self) -> None:
        """Services run as they were found, and the database's server has shown that it can start from what it was given. Raises
        OfficeOpsError when one does not become healthy."""
        start_users(self.site, self.operation)
        self._prove_server()
        self.site.ledger.advance(self.operation, "healthy", **{_HEALTHY: True})

    def _prove_server(self) -> None:
        """A server that was found stopped starts once, and is stopped again."""
        resting = {one.name for one in self.site.stack.services() if one.state == "stopped"}
        for name in [name for volume in self._live() if volume.database for name in volume.services if name in resting]:
            start(self.site, name)
            self.site.stack.stop(name)

    def _live(self) -> list[Volume]:
        return [volume for volume in self.site.stack.volumes() if volume.name in self.pairs]

    def undo(self) -> None:
        """As it was before: contents back, services as they were found."""
        self._exchange.settle()
        if self._exchange.done:
            self.stop_users()
            for live in list(self._exchange.done):
                self._exchange.back(live)
        start_users(self.site, self.operation)


class VolumeRestore:
    """A restore of live volumes."""

    def __init__(self, site: Site, operation: str, pairs: Mapping[str, str], stamp: str) -> None:
        self.site, self.operation, self._stamp = site, operation, stamp
        self.swap = VolumeSwap(site, operation, pairs)
        self.besides: list[VolumeBeside] = []
        self.previous: dict[str, str] = {}

    @classmethod
    def begin(cls, site: Site, source: VolumeSource, *, volumes: Sequence[str] = ()) -> Self:
        """Journals a restore of the named volumes (default: all of the backup). The caller holds the stack's lock.

        Raises UsageError when the backup does not hold one."""
        put_volumes_in_order(site)
        names = chosen(source, volumes)
        require_same_server(site, source)
        operation, stamp = new_operation(site, RESTORE)
        pairs = {name: side_volume(name, "new", stamp) for name in names}
        site.ledger.begin(RESTORE, operation, source=source.label, **{_PAIRS: pairs, _STAMP: stamp})
        run = cls(site, operation, pairs, stamp)
        run.besides = [VolumeBeside(site, source, name, new, operation=operation) for name, new in pairs.items()]
        return run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if error is not None and not _is(self.site, self.operation, _HEALTHY):
            self.undo(str(error))

    def finish(self) -> None:
        """It is done: what was live before has a name that says so."""
        self.previous = {live: side_volume(live, "prev", self._stamp) for live in self.swap.pairs}
        for live, new in self.swap.pairs.items():
            _rename(self.site, self.operation, new, self.previous[live])
        self.site.ledger.advance(self.operation, "finish", **{_PREVIOUS: self.previous})
        self.site.ledger.end(self.operation, "done")

    def abandon(self) -> None:
        """Nothing is swapped: the new volumes go, and it was only a rehearsal."""
        self.undo("A dry run.")

    def undo(self, why: str) -> None:
        """As it was before."""
        self.swap.undo()
        for new in self.swap.pairs.values():
            self.site.stack.remove_volume(new)
        self.site.ledger.end(self.operation, "undone", why)


class VolumeUndo:
    """The volumes that the last restore set aside become the live ones again; the restored ones are set aside."""

    def __init__(self, site: Site, operation: str, pairs: Mapping[str, str]) -> None:
        self.site, self.operation = site, operation
        self.swap = VolumeSwap(site, operation, pairs)
        self.previous: dict[str, str] = {}

    @classmethod
    def begin(cls, site: Site) -> Self:
        """Journals the undoing of the newest restore whose previous volumes are still there. Raises UsageError when there is none."""
        put_volumes_in_order(site)
        last = last_restore(site)
        if last is None:
            raise UsageError(
                "There is no restore of volumes to undo: no previous volume is left.",
                state="Nothing was changed.",
                todo="`officeops backups` lists what can be restored instead.",
            )
        operation, _ = new_operation(site, "volume-undo")
        pairs = last.facts[_PREVIOUS]
        site.ledger.begin(RESTORE, operation, source=last.id, **{_PAIRS: pairs, "undoes": last.id})
        return cls(site, operation, pairs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if error is not None and not _is(self.site, self.operation, _HEALTHY):
            self.undo(str(error))

    def finish(self) -> None:
        """It is done."""
        self.previous = dict(self.swap.pairs)
        self.site.ledger.advance(self.operation, "finish", **{_PREVIOUS: self.previous})
        self.site.ledger.end(self.operation, "done")

    def undo(self, why: str) -> None:
        """As it was before."""
        self.swap.undo()
        self.site.ledger.end(self.operation, "undone", why)


def last_restore(site: Site) -> Operation | None:
    """The newest restore of volumes (or its undoing) that is done and whose previous volumes are all still there."""
    there = {volume.name for volume in site.stack.volumes()}
    done = [operation for operation in site.ledger.operations(RESTORE, outcome="done") if operation.facts.get(_PREVIOUS)]
    return next((operation for operation in done if there.issuperset(operation.facts[_PREVIOUS].values())), None)


def put_volumes_in_order(site: Site) -> list[str]:
    """Ends the restores of volumes that a killed run left in the middle: before all were swapped they are undone, after it finished,
    unless services do not become healthy with what was restored. Returns their ids. The caller holds the stack's lock."""
    unfinished = site.ledger.operations(RESTORE)
    for operation in unfinished:
        _end(site, operation)
    return [operation.id for operation in unfinished]


def _end(site: Site, operation: Operation) -> None:
    why = f"The run ended without a word in the step {operation.state}; put in order by the next one."
    facts = operation.facts
    run = _of_old(site, operation)
    Exchange(site, operation.id).settle()
    if not facts.get(_HEALTHY) and not run.swap.swapped:
        return run.undo(why)
    if not facts.get(_HEALTHY):
        try:
            run.swap.start_users()
        except OfficeOpsError as error:
            return run.undo(f"{why} {error}")
    return run.finish()


def _of_old(site: Site, operation: Operation) -> VolumeRestore | VolumeUndo:
    """The run that was killed, as its journal knows it."""
    facts = operation.facts
    if "undoes" in facts:
        return VolumeUndo(site, operation.id, facts[_PAIRS])
    return VolumeRestore(site, operation.id, facts[_PAIRS], facts[_STAMP])


def _rename(site: Site, operation: str, old: str, new: str) -> None:
    """The content of `old` is called `new`. May be run again in any state that a kill leaves."""
    stack, exchange = site.stack, Exchange(site, operation)
    exchange.settle()
    there = {volume.name for volume in stack.volumes()}
    if old not in there:
        return
    if new not in there:
        stack.create_volume(new)
    if old not in exchange.done:
        exchange.exchange(old, new)
    stack.remove_volume(old)


def _is(site: Site, operation: str, fact: str) -> bool:
    known = site.ledger.operation(operation)
    return known is not None and bool(known.facts.get(fact))
