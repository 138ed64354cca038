"""One lock per stack: what changes a stack holds it, so that the command line and the flows exclude each other.

An flock on a file in OFFICEOPS_HOME: it dies with its holder, so it can never be stale. Who holds it, since when
and doing what stands in the file, for the one who is refused; that text can be stale, and is believed only while the lock is held
by a process that lives.
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
from officeops.errors import OfficeOpsError, RefusedError

_POLL_S = 0.2
_NAMELESS_S = 1.0  # how long a holder may take to write who it is; who only looks holds the lock for microseconds


@dataclass(frozen=True)
class Holder:
    """Who holds the lock. `since` is ISO 8601 in UTC."""

    doing: str
    who: str
    pid: int
    since: str


class LockedError(RefusedError):
    """The stack is locked by `holder` (None: it does not say who it is)."""

    def __init__(self, stack: str, holder: Holder | None) -> None:
        self.holder = holder
        by = (
            f"{holder.who} (process {holder.pid}) since {holder.since}, doing: {holder.doing}"
            if holder
            else "a process that does not say what it is"
        )
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
    """Holds the lock of `stack` for the block. Waits up to `wait_s` seconds for it, then raises LockedError.

    Raises OfficeOpsError when the lock's file cannot be made or opened."""
    path = home / f"{stack}.lock"
    try:
        home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OfficeOpsError(
            f"The stack {stack} cannot be locked: {error}.",
            state="Nothing was changed.",
            todo="Run this as the user who owns OFFICEOPS_HOME, or set another in .env.",
        ) from error
    try:
        _acquire(descriptor, path, stack, wait_s, sleep)
        holder = Holder(doing, f"{_user()}@{socket.gethostname()}", os.getpid(), iso(clock()))
        _write(descriptor, json.dumps(asdict(holder)).encode())
        try:
            yield
        finally:
            _write(descriptor, b"")
    finally:
        os.close(descriptor)  # lets go of the lock


def lock_holder(home: Path, stack: str) -> Holder | None:
    """Who holds the lock of `stack` now, or None. Whoever asks for the lock at the same moment gets it all the same."""
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
    started = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _read(path)
            if time.monotonic() - started >= (wait_s if holder else max(wait_s, _NAMELESS_S)):
                raise LockedError(stack, holder) from None
            sleep(_POLL_S if holder else _POLL_S / 10)


def _read(path: Path) -> Holder | None:
    """What the file says. None when that is nothing, no longer true, or not understood."""
    try:
        holder = Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    here = holder.who.endswith(f"@{socket.gethostname()}")
    return None if here and not _lives(holder.pid) else holder


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have them
        return f"uid {os.geteuid()}"


def _write(descriptor: int, data: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)
