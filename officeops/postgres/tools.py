"""The client programs' argument lists, and running them as streams. Pure builders first; nothing here decides an order."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Literal

from officeops.errors import OfficeOpsError
from officeops.process import Command, started
from officeops.streams import read_chunks

DumpFormat = Literal["custom", "plain"]
_PIPE_BYTES = 1 << 20  # the most an unprivileged process may ask for: fewer switches between the two sides
_LOCK_WAIT = "60s"  # a dump that waits longer for a table (a migration holds it) gives up instead of blocking everybody behind it


def connection_string(database: str) -> str:
    """`database` for `-d`, whatever characters it has: a bare name with "=" in it would be read as a connection string."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def pg_dump(database: str, snapshot: str, form: DumpFormat) -> list[str]:
    """A dump of the whole database as `snapshot` sees it, uncompressed, to stdout."""
    shape = {"custom": ["--format=custom", "--compress=0"], "plain": ["--format=plain"]}[form]
    common = [f"--snapshot={snapshot}", f"--lock-wait-timeout={_LOCK_WAIT}", "--no-password"]
    return ["pg_dump", *shape, *common, "-d", connection_string(database)]


def pg_dump_globals(*, passwords: bool) -> list[str]:
    """Roles, memberships and tablespaces, by way of the database `postgres`. Reading password verifiers takes a superuser."""
    return ["pg_dumpall", "--globals-only", "--no-password", *([] if passwords else ["--no-role-passwords"])]


def pg_restore(database: str, archive: str, jobs: int) -> list[str]:
    """Everything of `archive` into an empty database; stops at the first error."""
    return ["pg_restore", "--exit-on-error", "--no-password", f"--jobs={jobs}", "-d", connection_string(database), archive]


def pg_restore_read_all(archive: str) -> list[str]:
    """Reads every byte of `archive` and restores nothing: its table of contents alone proves nothing about its data."""
    return ["pg_restore", "--file=/dev/null", archive]


def psql_script(database: str) -> list[str]:
    """Runs a script from stdin as one transaction; stops at the first error."""
    return [
        "psql",
        "-X",
        "-q",
        "--no-password",
        "-v",
        "ON_ERROR_STOP=1",
        "--single-transaction",
        "-o",
        "/dev/null",
        "-d",
        connection_string(database),
    ]


class CutShortError(OfficeOpsError):
    """A program ended well and yet its output is not whole."""


def output(command: Command, *, timeout: float) -> Iterator[bytes]:
    """What `command` prints, as a stream that ends well only when the program did. Closing it early ends the program."""
    with started(command, timeout=timeout) as child:
        with suppress(OSError):
            fcntl.fcntl(child.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        yield from read_chunks(child.stdout)
        child.wait()


def feed(command: Command, chunks: Iterable[bytes], *, timeout: float) -> None:
    """Runs `command` with `chunks` as its stdin. Raises CommandError with what the program said, also when it stopped reading."""
    with started(command, timeout=timeout, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        try:
            for chunk in chunks:
                child.stdin.write(chunk)
            child.stdin.close()
        except BrokenPipeError:
            pass  # it ended early: its exit status says why
        child.wait()


def pg_amcheck(database: str, jobs: int) -> list[str]:
    """Checks heaps and B-tree indexes, the latter against their tables. The extension has to be there. (`-d` would be a pattern here.)"""
    return ["pg_amcheck", "--no-password", f"--jobs={jobs}", "--heapallindexed", connection_string(database)]


def pg_basebackup() -> list[str]:
    """A tar of the running server's data directory to stdout, with the log that makes it consistent."""
    return ["pg_basebackup", "--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast", "--label=officeops", "--no-password"]
