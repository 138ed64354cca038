"""Two lists of entries compared, whatever their order and length: in a temporary SQLite database, which spills to disk and leaves no file.

What counts as equal:
- Of several names of one file (hard links), any may be the first in a tar, which depends on the order in which it was read.
- Times are compared of regular files, in seconds: tars differ in whether they restore those of folders and links, and fractions.
- Owners are not compared when this process is not root and everything restored is its own: it could not give files away.
- A list without an entry for the folder itself says nothing of it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from officeops.errors import OfficeOpsError
from officeops.volumes.entries import Entry

_COLUMNS = "path, type, mode, uid, gid, mtime, size, target, sha256"
_SHOWN = 5
_TABLE = """
CREATE TABLE {table} (
    path BLOB PRIMARY KEY, type TEXT, mode INT, uid INT, gid INT, mtime INT, size INT, target BLOB, sha256 TEXT, same BLOB
) WITHOUT ROWID
"""
_LINKS = """
CREATE TEMP TABLE first AS SELECT target AS path, min(target, min(path)) AS same FROM {table} WHERE type = 'hardlink' GROUP BY target;
CREATE INDEX temp.first_path ON first (path);
UPDATE {table} SET same = (SELECT same FROM first WHERE first.path = {table}.path);
UPDATE {table} SET (type, mode, uid, gid, mtime, size, target, sha256, same)
    = (SELECT o.type, o.mode, o.uid, o.gid, o.mtime, o.size, NULL, o.sha256, o.same FROM {table} AS o WHERE o.path = {table}.target)
    WHERE type = 'hardlink';
DROP TABLE first;
"""
_DIFFERENCES = """
SELECT path, 'is missing' FROM expected WHERE path NOT IN (SELECT path FROM found)
UNION ALL
SELECT path, 'was not there' FROM found
    WHERE path NOT IN (SELECT path FROM expected) AND (path != X'2E' OR EXISTS (SELECT 1 FROM expected WHERE path = X'2E'))
UNION ALL
SELECT path, CASE
    WHEN e.type IS NOT f.type THEN 'is a ' || f.type || ' instead of a ' || e.type
    WHEN e.size IS NOT f.size OR e.sha256 IS NOT f.sha256 THEN 'has another content'
    WHEN e.target IS NOT f.target OR e.same IS NOT f.same THEN 'is linked to something else'
    WHEN e.mode IS NOT f.mode THEN 'has mode ' || printf('%04o', f.mode) || ' instead of ' || printf('%04o', e.mode)
    WHEN e.mtime IS NOT f.mtime THEN 'has another time'
    ELSE 'belongs to ' || f.uid || ':' || f.gid || ' instead of ' || e.uid || ':' || e.gid END
FROM expected e JOIN found f USING (path)
WHERE e.type IS NOT f.type OR e.size IS NOT f.size OR e.sha256 IS NOT f.sha256 OR e.target IS NOT f.target OR e.same IS NOT f.same
    OR e.mode IS NOT f.mode OR e.mtime IS NOT f.mtime OR (:owners AND (e.uid IS NOT f.uid OR e.gid IS NOT f.gid))
"""
_COUNT = f"SELECT count(*) FROM ({_DIFFERENCES})"  # noqa: S608 - our own text


class NotEqualError(OfficeOpsError):
    """What was restored is not what was backed up."""

    def __init__(self, label: str, volume: str, found: list[str], count: int) -> None:
        self.count = count
        more = f"; and {count - len(found)} more" if count > len(found) else ""
        super().__init__(
            f"The volume {volume} restored from {label} is not equal to what was backed up: {'; '.join(found)}{more}.",
            state="The live volume is untouched; the restored one is removed.",
            todo="Restore from another backup or target.",
        )


@dataclass(frozen=True)
class Equal:
    """What was found equal. owners: whether owners were compared too."""

    files: int
    bytes: int
    owners: bool


def require_equal(expected: Iterable[Entry], found: Iterable[Entry], *, label: str, volume: str) -> Equal:
    """Raises NotEqualError naming the first differences."""
    with closing(sqlite3.connect("")) as database:
        for table, given in (("expected", expected), ("found", found)):
            _load(database, table, given)
        owners = _gave_away(database)
        differing = database.execute(_DIFFERENCES, {"owners": owners}).fetchmany(_SHOWN)
        if differing:
            (count,) = database.execute(_COUNT, {"owners": owners}).fetchone()
            raise NotEqualError(label, volume, [f"{_shown(path)} {how}" for path, how in differing], count)
        files, size = database.execute("SELECT count(*), coalesce(sum(size), 0) FROM found WHERE type = 'file'").fetchone()
        return Equal(files, size, owners)


def _load(database: sqlite3.Connection, table: str, given: Iterable[Entry]) -> None:
    database.execute(_TABLE.format(table=table))
    marks = ", ".join("?" * 9)
    database.executemany(f"INSERT OR REPLACE INTO {table} ({_COLUMNS}) VALUES ({marks})", _rows(given))  # noqa: S608 - our own names
    database.executescript(_LINKS.format(table=table))


def _rows(given: Iterable[Entry]) -> Iterator[tuple[object, ...]]:
    for one in given:
        time = one.mtime if one.type in ("file", "hardlink") else None
        mode = None if one.type == "symlink" else one.mode  # which means nothing, and differs between systems
        yield one.path, one.type, mode, one.uid, one.gid, time, one.size, one.target, one.sha256


def _gave_away(database: sqlite3.Connection) -> bool:
    if os.geteuid() == 0:
        return True
    return database.execute("SELECT 1 FROM found WHERE uid != ? LIMIT 1", (os.geteuid(),)).fetchone() is not None


def _shown(path: bytes) -> str:
    """For people: what cannot be printed is escaped."""
    text = path.decode(errors="backslashreplace")
    return text if text.isprintable() else repr(text)
