"""Which processes live: a file for each, locked for as long as its process works. An flock dies with its holder, so a file that can be locked
belongs to nobody any more.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def living(folder: Path, name: str) -> Iterator[None]:
    """The block is known by `name` to `dead`: while it lasts it lives, and after it nothing is left of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    begun = folder / f".{name}"
    descriptor = os.open(begun, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        begun.rename(path)  # nobody sees it before it is locked
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def dead(folder: Path) -> list[str]:
    """Names of those whose process was killed. They stay until `forget`."""
    return [path.name for path in sorted(folder.glob("[!.]*")) if not _locked(path)]


def forget(folder: Path, name: str) -> None:
    """It has been seen to."""
    (folder / name).unlink(missing_ok=True)


def _locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # it has just ended as it should
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
