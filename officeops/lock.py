"""One lock per stack: what changes a stack holds it, so that the command line and the flows exclude each other.

An flock on a file in OFFICEOPS_HOME: it dies with its holder, so it can never be stale. Who holds it, since when
and doing what stands in the file, for the one who is refused.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from officeops.clock import Clock, iso, utc_now
from officeops.errors import RefusedError


@dataclass(frozen=True)
class Holder:
    """Who holds the lock. `since` is ISO 8601 in UTC."""

    doing: str
    who: str
    pid: int
    since: str


class LockedError(RefusedError):
    """The stack is locked by `holder` (None: it let go while we asked)."""

    def __init__(self, stack: str, holder: Holder | None) -> None:
        self.holder = holder
        by = f"{holder.who} (process {holder.pid}) since {holder.since}, doing: {holder.doing}" if holder else "a process that just ended"
        super().__init__(
            f"The stack {stack} is in use by {by}.",
            state="Nothing was changed.",
            todo="Wait until that is done and try again, or add --wait.",
        )


@contextmanager
def stack_lock(
    home: Path,
    stack: str,
    doing: str,
    *,
    wait_s: float = 0.0,
    clock: Clock = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Holds the lock of `stack` for the block. Waits up to `wait_s` seconds for it, then raises LockedError."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"{stack}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, path, stack, wait_s, sleep)
        holder = Holder(doing, f"{getpass.getuser()}@{socket.gethostname()}", os.getpid(), iso(clock()))
        _write(descriptor, json.dumps(asdict(holder)).encode())
        try:
            yield
        finally:
            _write(descriptor, b"")
    finally:
        os.close(descriptor)  # lets go of the lock


def lock_holder(home: Path, stack: str) -> Holder | None:
    """Who holds the lock of `stack` now, or None. Takes nothing."""
    path = home / f"{stack}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path)
    finally:
        os.close(descriptor)
    return None


def _acquire(descriptor: int, path: Path, stack: str, wait_s: float, sleep: Callable[[float], None]) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockedError(stack, _read(path)) from None
            sleep(0.2)


def _read(path: Path) -> Holder | None:
    text = path.read_text()
    return Holder(**json.loads(text)) if text else None


def _write(descriptor: int, data: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)
