"""Making one backup of the database: a verb per step. The order of steps is the flow's; each verb may be run again.

with Backup.begin(site) as backup:      journalled; what a killed run left behind is put away
    backup.snapshot()                   one moment
    backup.dump(); backup.dump_globals(); backup.fingerprint()      at once, all of that moment
    backup.verify(target); backup.publish(target); backup.report()  as with every backup: officeops/backups/making.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from officeops.backups.making import BackupError, Making, Outcome, Report, TargetError, new_identifier
from officeops.backups.manifest import Codec, DatabaseManifest
from officeops.backups.objects import put_away_unfinished
from officeops.postgres import tools
from officeops.postgres.connect import connected
from officeops.postgres.fingerprint import Fingerprint, next_values, take
from officeops.postgres.snapshot import Snapshot, exported, joined
from officeops.process import run

if TYPE_CHECKING:
    from officeops.site import Site

__all__ = ["Backup", "BackupError", "Form", "Outcome", "Report", "TargetError"]
Form = Literal["dump", "sql.gz"]


class Backup(Making[DatabaseManifest]):
    """A backup of the database in the making."""

    def __init__(self, site: Site, identifier: str, form: Form) -> None:
        runbook, settings = site.config.runbook, site.config.settings
        codec = Codec(
            compression="zstd" if form == "dump" else "gzip",
            level=runbook.backups.level if form == "dump" else 6,
            encryption="age" if settings.backup_age_recipients else None,
            recipients=settings.backup_age_recipients,
        )
        super().__init__(site, identifier, codec)
        self._form = form
        self._snapshot: Snapshot | None = None
        self._snapshot_at = self._started
        self._fingerprint: Fingerprint | None = None

    @classmethod
    def begin(cls, site: Site, *, form: Form = "dump") -> Backup:
        """Journals a new backup and puts away what killed ones left. The caller holds the stack's lock."""
        put_away_unfinished(site)
        identifier = new_identifier(site)
        site.ledger.begin("backup", identifier, targets=list(site.targets), form=form)
        return cls(site, identifier, form)

    @property
    def kind(self) -> Literal["database", "sql"]:
        """database: a dump that restores in parallel. sql: a script that people can read."""
        return "database" if self._form == "dump" else "sql"

    @property
    def expected(self) -> set[str]:
        return {"database", "globals"}

    def snapshot(self) -> None:
        """Holds one moment of the database open, for all that follows."""
        self._site.ledger.advance(self.id, "snapshot")
        self._open.close()
        config = self._site.config
        held = exported(self._site.stack.database(), application=self._label, revision_table=config.runbook.database.revision_table)
        self._snapshot, self._snapshot_at = self._open.enter_context(held), self._site.clock()

    def dump(self) -> None:
        """pg_dump, encoded, to every target that has none yet. Raises CommandError when the source fails, TargetError when targets do."""
        snapshot = self._held()
        form: tools.DumpFormat = "custom" if self._form == "dump" else "plain"
        argv = tools.pg_dump(snapshot.facts.name, snapshot.id, form)
        name = "dump" if self._form == "dump" else "sql"
        self._store_output("database", f"database.{name}", argv, estimate=snapshot.facts.size_bytes)

    def dump_globals(self) -> None:
        """Roles and memberships, to every target that has none yet."""
        snapshot = self._held()
        self._store_output("globals", "globals.sql", tools.pg_dump_globals(passwords=snapshot.superuser), estimate=1 << 20)

    def fingerprint(self) -> Fingerprint:
        """Rows and checksums of everything, on the snapshot that is dumped."""
        held = self._held()
        with self._stage("fingerprint"), joined(self._site.stack.database(), held, application=self._label) as connection:
            self._fingerprint = take(connection)
        return self._fingerprint

    def complete_targets(self) -> list[str]:
        """None while the fingerprint is missing: without it a backup proves nothing."""
        return [] if self._fingerprint is None else super().complete_targets()

    def _described(self) -> DatabaseManifest:
        snapshot = self._held()
        if self._fingerprint is None or self._plain.keys() != self.expected:
            raise self._incomplete()
        return DatabaseManifest(
            **self._common(), kind=self.kind, snapshot_at=self._snapshot_at, snapshot_lsn=snapshot.lsn, client_version=self._client_version(),
            database=snapshot.facts, fingerprint=self._with_sequences(self._fingerprint, snapshot),
        )  # fmt: skip

    def _with_sequences(self, fingerprint: Fingerprint, snapshot: Snapshot) -> Fingerprint:
        """Sequences move on while everything else is held still: the dump has a value between then and now."""
        with connected(self._site.stack.database(), application=self._label) as connection:
            now = next_values(connection)
        return fingerprint.model_copy(
            update={"sequences": {name: (then, now.get(name, then)) for name, then in snapshot.sequences.items()}}
        )

    @property
    def _label(self) -> str:
        return f"officeops backup {self.id}"

    def _held(self) -> Snapshot:
        if self._snapshot is None:
            raise BackupError(f"The backup {self.id} has no snapshot yet.")
        return self._snapshot

    def _store_output(self, name: str, file: str, argv: list[str], *, estimate: int) -> None:
        self._store(name, file, lambda: tools.output(self._site.stack.tool(argv), timeout=self._timeout), estimate=estimate)

    def _client_version(self) -> str:
        return run(self._site.stack.tool(["pg_dump", "--version"]), timeout=30).stdout.decode().strip()
