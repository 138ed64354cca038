"""How fast rows leave: by how long the last transaction took, how far replicas are behind, and a file that says stop."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from officeops.errors import RefusedError

if TYPE_CHECKING:
    from psycopg import Connection

MOST_ROWS = 10_000
_LEAST_ROWS, _FIRST_ROWS = 1_000, 2_000
_WANTED_S = 0.1  # of one transaction: what waits for it waits no longer
_REST = 0.2  # of the time that a transaction took
_LAG_BYTES = 64 << 20
_POLL_S = 1.0
_NICE = 10  # as `nice` gives by itself
_PATIENCE_S = 3600.0


def give_way() -> None:
    """From here to its end this process gets the processor after all others, and only one processor: nobody waits for an archive, and people
    wait for the database. By the operating system's rules there is no way back."""
    os.setpriority(os.PRIO_PROCESS, 0, max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def share_processor(connection: Connection[Any]) -> None:
    """The server's process for this connection keeps to the one processor of a process that gave way: they mostly work in turns, and whatever
    shares a processor with one of two busy programs waits for milliseconds, several times in a transaction. Where the server runs elsewhere,
    or we may not say so, nothing happens."""
    own = os.sched_getaffinity(0)
    if len(own) == 1 and (server := server_process(connection)):
        with suppress(OSError):  # it is another account's
            os.sched_setaffinity(server, own)


def server_process(connection: Connection[Any], proc: Path = Path("/proc")) -> int | None:
    """The server's process for this connection, as this host numbers it; None when there is none here. It is known by its title, which has
    our port: what the server calls its number is another one in a container."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as ours:
        if ours.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        title = re.compile(rb"postgres: .*\(%d\) " % ours.getsockname()[1])
        for folder in proc.glob("[0-9]*"):
            with suppress(OSError):
                if title.match((folder / "cmdline").read_bytes()):
                    return int(folder.name)
    return None


class Pace:
    """rows: how many the next transaction may take. pause: while that file is there, nothing is removed."""

    def __init__(self, pause: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.rows, self._pause, self._sleep = _FIRST_ROWS, pause, sleep
        self.longest = 0.0

    def took(self, seconds: float, rows: int) -> None:
        """A transaction of so many rows took so long: rests in proportion and sizes the next one."""
        self.longest = max(self.longest, seconds)
        fitting = int(rows * _WANTED_S / max(seconds, 1e-4))
        self.rows = max(_LEAST_ROWS, min(MOST_ROWS, fitting, self.rows * 2))
        self._sleep(seconds * _REST)

    def wait(self, connection: Connection[Any]) -> None:
        """Returns when nothing speaks against going on. Raises RefusedError after an hour."""
        waited = 0.0
        while why := self._obstacle(connection):
            if waited >= _PATIENCE_S:
                raise RefusedError(
                    f"No rows are removed: {why}.", state="What was removed is recorded.", todo="`officeops archive` goes on from there."
                )
            self._sleep(_POLL_S)
            waited += _POLL_S

    def _obstacle(self, connection: Connection[Any]) -> str:
        if self._pause.exists():
            return f"{self._pause} is there"
        row = connection.execute(
            "SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0)::bigint FROM pg_stat_replication "
            "WHERE state IN ('streaming', 'catchup')"
        ).fetchone()
        behind = int(row[0]) if row else 0
        return f"a replica is {behind:,} bytes behind" if behind > _LAG_BYTES else ""
