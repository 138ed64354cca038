"""One batch: a verb per step, each of which may be run again, by this process or by the one after it.

    batch = Batch.begin(site, policy)
    batch.export()        the rows of one moment, as files, in every target; False when there were none
    batch.verify()        read back from the targets, loaded, compared by the database; the manifest
    batch.delete()        after the grace and a drilled backup: rows that are still what was exported
    batch.give_back()     VACUUM, sizes

What was killed is taken up by `Batch.pending`, which begins with what cannot be continued.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from officeops.archive import files, space, sql, states, targets
from officeops.archive import manifest as layout
from officeops.archive.ddl import definition
from officeops.archive.manifest import ArchivedColumn, ArchivedTable, ArchiveManifest
from officeops.archive.removal import Removal
from officeops.archive.shape import Table, Unit, quoted, read_unit
from officeops.archive.states import BatchRecord
from officeops.backups.catalogue import entries, of_the_database
from officeops.clock import iso, parse_iso
from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.progress import Meter
from officeops.runbook.model import Archive
from officeops.streams import DamagedError, Tally, read_chunks

if TYPE_CHECKING:
    from psycopg import Connection

    from officeops.site import Site

_WORK_MEM = "64MB"


class WaitingError(RefusedError):
    """The rows of a batch may not leave yet."""


def policy_named(site: Site, name: str) -> Archive:
    """The runbook's policy of that name. Raises UsageError."""
    for policy in site.config.runbook.archives:
        if policy.name == name:
            return policy
    known = ", ".join(policy.name for policy in site.config.runbook.archives) or "none"
    raise UsageError(f"There is no policy {name!r} in runbook.yaml.", state="Nothing was changed.", todo=f"There are: {known}.")


class Batch:
    """A batch in the making. The caller holds the stack's lock."""

    def __init__(self, site: Site, policy: Archive, identifier: str) -> None:
        self.site, self.policy, self.id = site, policy, identifier
        self.spool = site.home / "spool" / f"archive-{identifier}"

    @classmethod
    def begin(cls, site: Site, policy: Archive) -> Batch:
        """Writes down that a batch begins. Raises UsageError or RefusedError when the policy cannot be kept."""
        stores = targets.targets_of(site, policy)
        identifier = f"{site.clock():%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        with states.session(site, f"archive {identifier}") as connection:
            unit = read_unit(connection, policy)
            states.prepare(connection)
            states.insert(connection, id=identifier, policy=policy.name, planned_at=site.clock(), targets=list(stores), shape=unit.digest())
        return cls(site, policy, identifier)

    @classmethod
    def pending(cls, site: Site, *, policy: str | None = None) -> list[Batch]:
        """Batches that are not done, oldest first. One that was killed while it was exported is put away, and so is one whose tables are
        not what they were; if some rows of that have left, the rest stays."""
        found = []
        with states.session(site, "archive") as connection:
            known = states.batches(connection, policy=policy)
        for record in known:
            policy_ = next((one for one in site.config.runbook.archives if one.name == record.policy), None)
            if record.state == "done" or policy_ is None:  # a policy that is no more: its batches wait for it to come back
                continue
            batch = cls(site, policy_, record.id)
            if record.state != "planned" and batch._fits(record):
                found.append(batch)
            elif record.state == "deleting":
                batch.close()
            else:
                batch.discard()
        return found

    @property
    def record(self) -> BatchRecord:
        """What the database knows of it."""
        with states.session(self.site, f"archive {self.id}") as connection:
            return states.batch(connection, self.id)

    def export(self) -> bool:
        """Writes the rows of one moment into files and puts them into every target. False, and the batch is no more, when there are none."""
        try:
            exported = self._export()
        finally:
            shutil.rmtree(self.spool, ignore_errors=True)
        if exported is None:
            self.discard()
            return False
        with states.session(self.site, f"archive {self.id}") as connection:
            states.exported(connection, *exported)
        return True

    def _export(self) -> tuple[ArchiveManifest, list[str]] | None:
        self.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        stores = targets.targets_of(self.site, self.policy)
        with states.session(self.site, f"archive {self.id}") as connection:
            unit = read_unit(connection, self.policy)
            for table in range(len(unit.tables)):
                if sql.needs_list(unit, table):
                    connection.execute(sql.create_listed(unit, table).encode())
            connection.execute(f"SET work_mem = '{_WORK_MEM}'".encode())
            after = states.last_waiting(connection, self.policy.name)  # those are not listed again
            moment = self.site.clock()
            with _one_moment(connection):
                units, upto = self._list(connection, unit, moment, after)
                if not units:
                    return None
                facts = self._facts(connection, moment, units)
                made = [self._table(connection, unit, position, facts) for position in range(len(unit.tables))]
        for store in stores.values():
            for one in made:
                targets.stored(store, one.object, self.spool / Path(one.object).name)
        return ArchiveManifest(**facts, tables=tuple(made)), upto

    def _list(self, connection: Connection[Any], unit: Unit, moment: datetime, after: list[str] | None) -> tuple[int, list[str]]:
        query = sql.chosen(unit.root, self.policy.age_column, self.policy.where, after=after is not None, limit=self.policy.batch_size)
        # A condition may name the application's tables and functions without their schema.
        connection.execute("SET LOCAL search_path TO pg_catalog, public")
        sql.execute(connection, sql.list_root(unit.root, query), self._older_than(moment), *(after or ()))
        connection.execute("SET LOCAL search_path TO pg_catalog")
        for table in range(len(unit.tables)):
            if sql.needs_list(unit, table):
                if table:
                    connection.execute(sql.list_child(unit, table).encode())
                connection.execute(f"ANALYZE {sql.listed(table)}".encode())
        key = ", ".join(f"{name}::text" for name in map(quoted, unit.root.key))
        row = connection.execute(
            f"SELECT count(*) OVER (), {key} FROM {sql.listed(0)} ORDER BY officeops_unit DESC LIMIT 1".encode()
        ).fetchone()
        return (0, []) if row is None else (row[0], list(row[1:]))

    def _older_than(self, moment: datetime) -> datetime:
        return moment - timedelta(days=self.policy.older_than_days)

    def _facts(self, connection: Connection[Any], moment: datetime, units: int) -> dict[str, Any]:
        row = connection.execute("SELECT pg_current_wal_lsn()::text, current_setting('server_version')").fetchone()
        assert row is not None
        return {
            "id": self.id, "stack": self.site.name, "policy": self.policy.name, "exported_at": moment, "lsn": row[0],
            "server_version": row[1], "older_than": self._older_than(moment), "age_column": self.policy.age_column,
            "condition": self.policy.where, "units": units,
        }  # fmt: skip

    def _table(self, connection: Connection[Any], unit: Unit, position: int, facts: dict[str, Any]) -> ArchivedTable:
        table = unit.tables[position]
        path = self.spool / layout.file_name(position, table.schema, table.name)
        described = definition(connection, table.sql)
        about = {
            "format": layout.FORMAT, "version": layout.VERSION, "batch": self.id, "stack": self.site.name, "policy": self.policy.name,
            "exported_at": iso(facts["exported_at"]), "table": table.label, "key": table.key, "definition": described,
        }  # fmt: skip

        def write(*, text: bool) -> tuple[int, int, list[str]]:
            with closing(_copied(connection, sql.export(unit, position), f"export {table.label}")) as csv:
                return files.write(path, table, csv, text=text, facts=about)

        try:
            with connection.transaction():  # a savepoint: a copy that is given up must not take the moment with it
                rows, checksum, stored = write(text=False)
        except files.InexactError:  # the snapshot is held: the same rows once more, as text where a type cannot hold them
            rows, checksum, stored = write(text=True)
        tally = Tally()
        with path.open("rb") as file:
            for _ in tally.through(read_chunks(file)):
                pass
        columns = tuple(
            ArchivedColumn(name=one.name, type=one.type, stored=kind, generated=one.generated, binary=one.binary)
            for one, kind in zip(table.columns, stored, strict=True)
        )
        return ArchivedTable(
            schema_name=table.schema, name=table.name, key=table.key, columns=columns, definition=described, rows=rows,
            checksum=str(checksum), object=layout.folder(self.site.name, self.policy.name, self.id) + path.name,
            bytes=tally.bytes, sha256=tally.sha256,
        )  # fmt: skip

    def verify(self) -> None:
        """Reads every file back from every target; loads those of the first into the database and compares each row; then the manifest.

        Raises DamagedError. Doing it again is no harm."""
        record = self.record
        manifest = record.contents
        stores = {name: targets.opened(self.site, name) for name in record.targets}
        first = next(iter(stores.values()))
        try:
            with states.session(self.site, f"archive {self.id}") as connection:
                unit = self._unit(connection, record)
                for position, table in enumerate(manifest.tables):
                    path = self.spool / Path(table.object).name
                    targets.fetched(first, table, path)
                    _compare(connection, unit.tables[position], table, path, position)
                    path.unlink()
        finally:
            shutil.rmtree(self.spool, ignore_errors=True)
        for store in list(stores.values())[1:]:
            for table in manifest.tables:
                targets.checked(store, table)
        for store in stores.values():
            targets.published(store, manifest)
        now = self.site.clock()
        with states.session(self.site, f"archive {self.id}") as connection:
            states.verified(connection, self.id, now, now + timedelta(days=self.policy.grace_days))

    def require_due(self) -> None:
        """Raises WaitingError, saying for what, while the rows may not leave."""
        record = self.record
        if record.state not in ("verified", "deleting") or record.due_at is None or record.exported_at is None:
            raise WaitingError(f"The batch {self.id} was not read back yet.")
        zone = self.site.config.settings.zone
        if self.site.clock() < record.due_at:
            raise WaitingError(f"The batch {self.id} is in its grace until {record.due_at.astimezone(zone):%Y-%m-%d %H:%M}.")
        if not any(
            entry.drilled_at and entry.whole and parse_iso(entry.at) > record.exported_at for entry in of_the_database(entries(self.site))
        ):
            raise WaitingError(
                f"The batch {self.id} waits for a backup that is newer than its export "
                f"({record.exported_at.astimezone(zone):%Y-%m-%d %H:%M}) and has been restored in a drill.",
                state="No row was touched.",
                todo="`officeops backup`, then `officeops drill`; or `officeops archive --prove`, which does both.",
            )

    def delete(self) -> None:
        """Removes the rows that are still what was exported, children first, in short transactions. Raises WaitingError before they may."""
        self.require_due()
        record = self.record
        manifest = record.contents
        try:
            for table in manifest.tables:
                targets.fetched_from_any(self.site, record.targets, table, self.spool / Path(table.object).name)
            with states.session(self.site, f"archive {self.id}") as connection:
                unit = self._unit(connection, record)
                if record.state != "deleting":
                    states.deleting(connection, self.id, {"before": space.sizes(connection, unit)})
                Removal(self.site, connection, self.policy, unit, manifest, self.spool).run()
                states.done(connection, self.id, self.site.clock())
        finally:
            shutil.rmtree(self.spool, ignore_errors=True)

    def give_back(self) -> list[str]:
        """VACUUM, and the sizes after it. Returns what stands in the way of getting space back, for people."""
        with states.session(self.site, f"archive {self.id}") as connection:
            unit = read_unit(connection, self.policy)
            space.vacuum(connection, unit)
            record = states.batch(connection, self.id)
            states.measured(connection, self.id, {**record.sizes, "after": space.sizes(connection, unit)})
            return space.warnings(connection, unit)

    def discard(self) -> None:
        """A batch of which no row has left is no more; its files go, unless they have a manifest."""
        record = self.record
        targets.put_away(self.site, record.targets, record.policy, self.id)
        shutil.rmtree(self.spool, ignore_errors=True)
        with states.session(self.site, f"archive {self.id}") as connection:
            states.forget(connection, self.id)

    def close(self) -> None:
        """A batch whose tables changed while its rows left: those that have not left stay, and the batch is done."""
        with states.session(self.site, f"archive {self.id}") as connection, connection.transaction():
            states.keep_rest(connection, self.id)
            states.done(connection, self.id, self.site.clock())

    def _fits(self, record: BatchRecord) -> bool:
        """Whether the tables are as they were when it was planned."""
        with states.session(self.site, f"archive {self.id}") as connection:
            try:
                return read_unit(connection, self.policy).digest() == record.shape
            except (UsageError, RefusedError):
                return False

    def _unit(self, connection: Connection[Any], record: BatchRecord) -> Unit:
        unit = read_unit(connection, self.policy)
        if unit.digest() != record.shape:
            raise OfficeOpsError(
                f"The tables of the batch {self.id} are not what they were when it was exported.",
                state="Rows that have not left stay." if record.state == "deleting" else "No row was touched.",
                todo="`officeops archive` begins a new batch."
                if record.state != "deleting"
                else "Undo the migration, or see docs/archive-format.md.",
            )
        return unit


@contextmanager
def _one_moment(connection: Connection[Any]) -> Iterator[None]:
    """A read-only transaction that sees one moment; only temporary tables may be written."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        yield
    finally:
        if not connection.closed and not connection.broken:
            connection.execute("ROLLBACK")  # nothing to keep


def _copied(connection: Connection[Any], statement: str, name: str) -> Generator[bytes, None, None]:
    """Blocks of whole rows. To be closed by whoever gives up before the end: the connection is of no use to anybody meanwhile."""
    meter = Meter(name, unit="bytes", every=8 << 20)
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for block in files.blocks(copy):
            meter.add(len(block))
            yield block
    meter.finish()


def _compare(connection: Connection[Any], table: Table, archived: ArchivedTable, path: Path, position: int) -> None:
    """Raises DamagedError unless the file's rows, as the database takes them, have the fingerprints that it had exported."""
    name, columns = f"officeops_loaded_{position}", [column.name for column in table.columns]
    connection.execute(sql.create_loaded(name, table, columns=columns, transactional=False).encode())
    reader = files.Reader(path, columns)
    meter = Meter(f"verify {table.label}", archived.rows, unit="rows", every=100_000)
    rows = total = wrong = 0
    for csv in _as_csv(reader):
        with connection.transaction():
            with connection.cursor() as cursor, cursor.copy(sql.load(name, columns).encode()) as copy:
                copy.write(csv)
            found = connection.execute(sql.compare(name, table).encode()).fetchone()
            assert found is not None
            connection.execute(f"TRUNCATE {name}".encode())
        rows, wrong, total = rows + found[0], wrong + found[1], total + int(found[2])
        meter.add(found[0])
    reader.close()
    meter.finish()
    if wrong or (rows, str(total)) != (archived.rows, archived.checksum):
        raise DamagedError(
            f"{archived.object} does not give back what was exported: {rows} rows ({archived.rows} exported), {wrong} of them different.",
            state="No row was touched.",
            todo="Tell the maintainers which types the table has; the policy cannot be used until this is mended.",
        )


def _as_csv(reader: files.Reader) -> Iterator[bytes]:
    row = 0
    for group in reader.groups():
        yield files.as_csv(group, row)
        row += group.num_rows
