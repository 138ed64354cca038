"""Putting a restored database in the live one's place, and back. Every step is journalled first; `put_in_order` ends what was killed.

    restore = Restore.begin(site, source)
    restore.beside.check(); .fetch(); .load(); .compare(); .smoke(); .analyze()
    restore.stop_writers(); restore.swap(); restore.start_writers(); restore.finish()

Until `swap` the live database serves. After it the previous one stays as `<name>_prev_<time>`.
"""

from __future__ import annotations

import secrets
import shutil
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from officeops.errors import UsageError
from officeops.ledger import Operation
from officeops.postgres import databases
from officeops.restores.beside import Beside, ask
from officeops.restores.source import Source

if TYPE_CHECKING:
    from psycopg import Connection

    from officeops.site import Site


class Swap:
    """Exchanges the live database for another one: writers stopped, names changed in one transaction, writers started and healthy.

    Leaving the block in the middle puts the names back and the writers up.
    """

    def __init__(self, site: Site, operation: str, *, candidate: str, previous: str) -> None:
        self.site, self.operation, self.candidate = site, operation, candidate
        self.live = site.stack.database().database
        self._aside = previous
        self.previous: str | None = None
        self._swapped = self._finished = False

    def stop_writers(self) -> list[str]:
        """Stops the services that write and run now. Returns their names."""
        writers = self.running_writers()
        self.site.ledger.advance(self.operation, "stop_writers", writers=writers)
        for writer in writers:
            self.site.stack.stop(writer)
        return writers

    def running_writers(self) -> list[str]:
        """Services that write to the database and are not stopped."""
        writes = set(self.site.config.runbook.writers())
        return [service.name for service in self.site.stack.services() if service.name in writes and service.state != "stopped"]

    def swap(self) -> None:
        """The candidate is live; what was live has a name of its own."""
        with self._maintenance() as connection:
            live_exists = databases.exists(connection, self.live)
            self.previous = self._aside if live_exists else None
            self.site.ledger.advance(self.operation, "swap", candidate=self.candidate, live=self.live, previous=self.previous)
            if live_exists:
                databases.copy_settings(connection, self.live, self.candidate)
            renames = [(self.live, self._aside)] if live_exists else []
            databases.rename_all(connection, [*renames, (self.candidate, self.live)])
        self._swapped = True

    def ask(self) -> None:
        """The runbook's questions, to the live database under its own name. Raises OfficeOpsError naming the one without an answer."""
        ask(self.site, self.live, application=f"officeops {self.operation}")

    def start_writers(self) -> None:
        """The writers run and are healthy. Raises OfficeOpsError when one is not."""
        operation = self.site.ledger.operation(self.operation)
        for writer in operation.facts.get("writers", ()) if operation else ():
            self.site.stack.start(writer)

    def finish(self) -> None:
        """It is done; from here on leaving the block changes nothing."""
        self._finished = True
        self.site.ledger.end(self.operation, "done")

    def undo(self) -> None:
        """As it was before: names back, writers up. The candidate has its own name again."""
        if self._finished:
            return
        if self._swapped:
            self.site.ledger.advance(self.operation, "swap_back")
            for writer in self.site.config.runbook.writers():
                self.site.stack.stop(writer)
            back = [(self.live, self.candidate)] + ([(self.previous, self.live)] if self.previous else [])
            with self._maintenance() as connection:
                databases.rename_all(connection, back)
            self._swapped = False
        self.start_writers()

    def _maintenance(self) -> AbstractContextManager[Connection[Any]]:
        return databases.maintenance(self.site.stack.database(), application=f"officeops {self.operation}")


class Restore:
    """A restore of the live database."""

    def __init__(self, site: Site, source: Source, operation: str, stamp: str) -> None:
        live = site.stack.database().database
        self.site, self.operation = site, operation
        self.beside = Beside(site, source, databases.side_name(live, "new", stamp), operation=operation)
        self.swap = Swap(site, operation, candidate=self.beside.database, previous=databases.side_name(live, "prev", stamp))

    @classmethod
    def begin(cls, site: Site, source: Source) -> Self:
        """Journals a restore. The caller holds the stack's lock."""
        put_in_order(site)
        operation, stamp = new_operation(site, "restore")
        site.ledger.begin("restore", operation, source=source.label, drop_candidate=True)
        return cls(site, source, operation, stamp)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        self.beside.close()
        if error is None:
            return
        self.swap.undo()
        self.beside.drop()
        self.site.ledger.end(self.operation, "undone", str(error))

    def abandon(self) -> None:
        """Nothing is swapped: the restored database goes, and it was only a rehearsal."""
        self.beside.drop()
        self.site.ledger.end(self.operation, "undone", "A dry run.")


class Undo:
    """The database that the last restore set aside becomes the live one again; the restored one is set aside."""

    def __init__(self, site: Site, operation: str, candidate: str, stamp: str) -> None:
        live = site.stack.database().database
        self.site, self.operation = site, operation
        self.swap = Swap(site, operation, candidate=candidate, previous=databases.side_name(live, "undone", stamp))

    @classmethod
    def begin(cls, site: Site) -> Self:
        """Journals the undoing of the newest restore whose previous database is still there. Raises UsageError when there is none."""
        put_in_order(site)
        candidate = previous_database(site)
        if candidate is None:
            raise UsageError(
                "There is no restore to undo: no previous database is left.",
                state="Nothing was changed.",
                todo="`officeops backups` lists what can be restored instead.",
            )
        operation, stamp = new_operation(site, "undo")
        site.ledger.begin("restore", operation, source=candidate, drop_candidate=False)
        return cls(site, operation, candidate, stamp)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if error is not None:
            self.swap.undo()
            self.site.ledger.end(self.operation, "undone", str(error))


def previous_database(site: Site) -> str | None:
    """The database that the newest restore set aside, if it is still there."""
    done = [operation for operation in site.ledger.operations("restore", outcome="done") if operation.facts.get("previous")]
    with databases.maintenance(site.stack.database(), application="officeops restore") as connection:
        there = set(databases.names(connection))
    return next((operation.facts["previous"] for operation in done if operation.facts["previous"] in there), None)


def put_in_order(site: Site) -> list[str]:
    """Ends the restores and drills that a killed run left in the middle: before the swap they are undone, after it finished.

    Returns their ids. The caller holds the stack's lock.
    """
    unfinished = [*site.ledger.operations("restore"), *site.ledger.operations("drill")]
    for operation in unfinished:
        _end(site, operation)
    return [operation.id for operation in unfinished]


def _end(site: Site, operation: Operation) -> None:
    facts = operation.facts
    shutil.rmtree(site.home / "spool" / operation.id, ignore_errors=True)
    with databases.maintenance(site.stack.database(), application=f"officeops {operation.id} in order") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s", (f"officeops {operation.id}",)
        )
        there = set(databases.names(connection))
        candidate, live = facts.get("candidate") or facts.get("database"), facts.get("live")
        swapped = live is not None and candidate not in there and live in there
        if not swapped and candidate is not None and facts.get("drop_candidate", True):
            databases.drop(connection, candidate)
    for writer in facts.get("writers", ()):
        site.stack.start(writer)
    site.ledger.end(
        operation.id,
        "done" if swapped else "undone",
        f"The run ended without a word in the step {operation.state}; put in order by the next one.",
    )


def new_operation(site: Site, kind: str) -> tuple[str, str]:
    stamp = f"{site.clock():%Y%m%d_%H%M%S_%f}"[:-3]
    return f"{kind}-{stamp}-{secrets.token_hex(2)}", stamp
