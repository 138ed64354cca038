"""The application's schema: what a release needs of it, what may be done while another release runs, what waits, and the way back.

Migrations come in two kinds. Expand revisions add; an older release can live with them, so they run before a switch. Contract revisions
(`contract = True` in the file) remove what older releases need; they wait until no release that one may go back to needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.postgres.connect import connected
from officeops.postgres.snapshot import revision as recorded_revision
from officeops.releases.plans import DowngradePlan, Known, Migrated, MigrationPlan, Pending, Standing
from officeops.releases.revisions import BASE, Chain, Revision, read_chain
from officeops.releases.running import Limits, alone, migrate
from officeops.releases.scripts import pending, printed
from officeops.releases.sql import dropped
from officeops.stack.port import Release, short

if TYPE_CHECKING:
    from officeops.site import Site

__all__ = ["DowngradePlan", "Known", "Migrated", "MigrationPlan", "Pending", "Schema", "Standing"]


class UnknownRevisionError(OfficeOpsError):
    """The database is at a revision that no release on this host brought."""


class Schema:
    """The schema of a site's database. What changes it is idempotent, and excludes other migrations of the same database."""

    def __init__(self, site: Site, limits: Limits | None = None) -> None:
        self._site, self._limits = site, limits or Limits(timeout=site.config.runbook.releases.migration_seconds)
        self._table = site.config.runbook.database.revision_table

    def current(self) -> str | None:
        """The revision that the database is at, None when it was never migrated."""
        with connected(self._site.stack.database(), application="officeops") as connection:
            return recorded_revision(connection, self._table)

    def chain(self, release: Release) -> Chain:
        """The revisions of a release; none when the runbook names no folder of them."""
        folder = self._site.config.runbook.application.migrations
        return read_chain(self._site.stack.folder(release) / folder if folder else None)

    # Forward

    def plan(self, release: Release) -> MigrationPlan:
        """What `release` needs. Nothing is changed.

        Raises OfficeOpsError when it has something to add that comes after a contract revision which still waits, or when the database has
        been through revisions that are not the release's own.
        """
        current = self.current()
        if self._site.config.runbook.application.migrations is None:
            return MigrationPlan(current, current, planned=False)
        chain = self.chain(release)
        if current is not None and current not in chain:
            with suppress(UnknownRevisionError):  # then nobody can say how it came to be
                self._require_one_line(release, self._knowing(current)[1], current)
            return MigrationPlan(current, current, ahead=True)
        expand, contract = chain.pending(current)
        late = [one for one in contract if not one.contract]
        if late:
            raise OfficeOpsError(
                f"The release needs revision {late[0].id}, which comes after the contract revision {contract[0].id}, and that still waits.",
                state="Nothing was changed.",
                todo=f"Run `officeops migrate contract` first; if the release that runs has no {contract[0].id} yet, deploy one that ends there.",
            )
        return MigrationPlan(current, expand[-1].id if expand else current, pending(self._site.stack, release, current, expand), contract)

    def expand(self, release: Release, plan: MigrationPlan) -> Migrated:
        """Brings the schema to the end of the plan's expand revisions; again is no harm. Raises MigrationError: a revision that failed is
        undone by the database, those before it stay."""
        if not plan.planned:
            with alone(self._site, self._limits):
                self._site.stack.migrate(release)
            return Migrated(plan.current, self.current())
        if not plan.expand:
            return Migrated(plan.current, plan.current)
        return self._upgrade(release, plan.expand[-1].revision.id)

    def bring_forward(self, release: Release) -> Migrated:
        """What starting `release` takes: a database that has nothing gets everything; any other one what older releases can live with, too.
        One that a newer release has brought further stays as it is."""
        current = self.current()
        if current is None:
            with alone(self._site, self._limits):
                self._site.stack.migrate(release)
            return Migrated(None, self.current())
        chain = self.chain(release)
        expand = chain.pending(current)[0] if current in chain else ()
        return self._upgrade(release, expand[-1].id) if expand else Migrated(current, current)

    def standing(self) -> Standing:
        """How the database and the release that runs stand to each other, read in a moment: no program of the release is asked."""
        release, current = self._deployed(), self.current()
        chain = self.chain(release)
        ahead = current is not None and current not in chain
        expand, contract = ((), ()) if ahead else chain.pending(current)
        return Standing(release.sha, current, chain.head, expand, contract, ahead=ahead)

    def waiting(self) -> tuple[Revision, ...]:
        """The contract revisions of the release that runs which the database lacks, and what follows them, oldest first."""
        return self.standing().contract

    def plan_contract(self, retained: Sequence[Release]) -> tuple[Pending, ...]:
        """What `contract` would do, or how it is refused. Nothing is changed."""
        waiting = self.waiting()
        self._require_unneeded(waiting, retained)
        return pending(self._site.stack, self._deployed(), self.current(), waiting)

    def contract(self, retained: Sequence[Release]) -> Migrated:
        """Applies the contract revisions that the release that runs brought. Raises RefusedError naming the first of `retained` (the
        releases that one may go back to) which was written before one of them, and so needs what it removes."""
        waiting = self.waiting()
        self._require_unneeded(waiting, retained)
        if not waiting:
            current = self.current()
            return Migrated(current, current)
        return self._upgrade(self._deployed(), waiting[-1].id)

    # Back

    def downgrades(self, release: Release) -> DowngradePlan:
        """Whether an older `release` can run on today's schema, and the way back if not: to before the first contract revision that it
        does not have. Expand revisions of newer releases do not trouble it, and their data stay."""
        current, old = self.current(), self.chain(release)
        if current is None or current in old or self._site.config.runbook.application.migrations is None:
            return DowngradePlan(current, current, needed=False)
        newer, chain = self._knowing(current)
        self._require_one_line(release, chain, current)
        between = chain.up_to(current)[len(chain.up_to(old.head)) :]
        first = next((one for one in between if one.contract), None)
        if first is None:
            return DowngradePlan(current, current, needed=False)
        return self._way_back(newer, chain, current, first.down)

    def plan_downgrade(self, target: str) -> DowngradePlan:
        """What `downgrade` would do. target: a revision, `base`, or a number of revisions such as `-1`. Nothing is changed."""
        current = self.current()
        release, chain = self._knowing(current)
        return self._way_back(release, chain, current, _resolved(chain, current, target))

    def downgrade(self, target: str) -> Migrated:
        """Undoes revisions, by the program of the release that knows them. target: as of `plan_downgrade`."""
        with alone(self._site, self._limits) as connection:
            current = recorded_revision(connection, self._table)
            release, chain = self._knowing(current)
            wanted = _resolved(chain, current, target)
            undone = tuple(reversed(chain.up_to(current)[len(chain.up_to(wanted)) :]))
            if undone:
                migrate(self._site, connection, release, ["downgrade", wanted or BASE], [one.down for one in undone], self._limits)
            return Migrated(current, recorded_revision(connection, self._table), undone)

    def upgrade_again(self, revision: str) -> Migrated:
        """After a downgrade that is taken back: forward to `revision`, by the program of the release that knows it."""
        return self._upgrade(self._knowing(revision)[0], revision)

    def stamp(self, revision: str) -> Migrated:
        """Writes down that the database is at a revision of the release that runs (or `base`), and changes nothing else. For repairs."""
        self.require_known(revision)
        deployed = self._deployed()
        with alone(self._site, self._limits) as connection:
            before = recorded_revision(connection, self._table)
            # Purged: what stands there may be a revision that this release does not know.
            migrate(self._site, connection, deployed, ["stamp", "--purge", revision], [revision], self._limits)
            return Migrated(before, recorded_revision(connection, self._table))

    def require_known(self, revision: str) -> None:
        """Raises UsageError unless `revision` is one of the release that runs, or `base`."""
        if revision != BASE:
            self.chain(self._deployed()).after(revision)

    def history(self) -> tuple[Known, ...]:
        """The revisions of the release that runs, oldest first. None is applied as far as known when the database is at one of a newer release."""
        current, chain = self.current(), self.chain(self._deployed())
        applied = {one.id for one in chain.up_to(current)} if current is None or current in chain else set()
        return tuple(Known(one, one.id in applied, one.id == current) for one in chain)

    # How

    def _upgrade(self, release: Release, target: str) -> Migrated:
        chain = self.chain(release)
        with alone(self._site, self._limits) as connection:
            current = recorded_revision(connection, self._table)
            done = chain.up_to(current) if current is None or current in chain else chain.revisions
            missing = chain.up_to(target)[len(done) :]
            if missing:  # somebody else may have done it meanwhile
                migrate(self._site, connection, release, ["upgrade", target], [one.id for one in missing], self._limits)
            return Migrated(current, recorded_revision(connection, self._table), missing)

    def _require_unneeded(self, waiting: Sequence[Revision], retained: Sequence[Release]) -> None:
        for release in retained:
            chain = self.chain(release)
            needed = next((one for one in waiting if one.contract and one.id not in chain), None)
            if needed is not None:
                raise RefusedError(
                    f"The release {short(release.sha)} was made before the contract revision {needed.id} and needs what it removes"
                    f"{f' ({needed.doc})' if needed.doc else ''}.",
                    state="Nothing was changed.",
                    todo="Try again when newer releases have taken its place among those that are kept (`releases.keep`).",
                )

    def _way_back(self, release: Release, chain: Chain, current: str | None, target: str | None) -> DowngradePlan:
        undone = tuple(reversed(chain.up_to(current)[len(chain.up_to(target)) :]))
        if not undone:
            return DowngradePlan(current, target, needed=False)
        sql, _ = printed(self._site.stack, release, "downgrade", current, target)
        gone = dropped(sql or "", besides=self._table)
        return DowngradePlan(current, target, undone, sql, gone, self._rows(one.table for one in gone if one.column is None))

    def _rows(self, tables: Iterable[str]) -> dict[str, int]:
        from psycopg.sql import SQL, Identifier

        found = {}
        with connected(self._site.stack.database(), application="officeops") as connection:
            for table in tables:
                identifier = Identifier(*(table.split(".") if "." in table else ("public", table)))
                known = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (identifier.as_string(connection),)).fetchone()
                if known and known[0]:
                    row = connection.execute(SQL("SELECT count(*) FROM {}").format(identifier)).fetchone()
                    found[table] = int(row[0]) if row else 0
        return found

    def _deployed(self) -> Release:
        deployed = self._site.stack.deployed()
        if deployed is None:
            raise UsageError("No release was ever deployed here.", state="Nothing was changed.", todo="Deploy one: `officeops up`.")
        return Release(deployed.sha, deployed.at, deployed.settings)

    def keeper(self, revision: str | None) -> str | None:
        """The release without which nobody could take the schema back from there; None when nobody can anyway."""
        with suppress(UnknownRevisionError):
            return self._knowing(revision)[0].sha
        return None

    def _require_one_line(self, release: Release, known: Chain, current: str | None) -> None:
        """Raises OfficeOpsError when the database came to `current`, by revisions that are known, on another line than the release's."""
        head = self.chain(release).head
        if head is not None and head not in known:
            raise OfficeOpsError(
                f"The migrations of {short(release.sha)} (up to {head}) are not those that the database has (up to {current}).",
                state="Nothing was changed.",
                todo="Have its migrations follow those that were applied, or take these back (`officeops migrate downgrade`); for an old release, "
                "restore a backup of its time.",
            )

    def _knowing(self, current: str | None) -> tuple[Release, Chain]:
        """A release that has the revision, and its chain: the one that runs, else the newest on this host. Raises UnknownRevisionError."""
        runs = [self._deployed()] if self._site.stack.deployed() else []
        for release in (*runs, *self._site.stack.built()):
            with suppress(UsageError):  # a release whose files make no chain knows no revision
                chain = self.chain(release)
                if current is None or current in chain:
                    return release, chain
        raise UnknownRevisionError(
            f"No release on this host knows the revision {current} that the database is at.",
            state="Nothing was changed.",
            todo="Build the release that brought it, or `officeops migrate stamp` the revision that the schema really has.",
        )


def _resolved(chain: Chain, current: str | None, target: str) -> str | None:
    """The revision that a target means. Raises UsageError when it is none below the current one."""
    applied = chain.up_to(current)
    if target == BASE:
        return None
    if target.startswith("-") and target[1:].isdigit():
        steps = int(target[1:])
        if not 1 <= steps <= len(applied):
            raise UsageError(f"The database has {len(applied)} revisions, so {target} leads nowhere.", state="Nothing was changed.")
        return applied[-steps].down
    if target not in {one.id for one in applied}:
        chain.after(target)
        raise UsageError(f"Revision {target} is above {current}, which the database is at.", state="Nothing was changed.")
    return target
