"""Services that print numbered lines, and what an export made of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from officeops.logs.lines import decoded
from officeops.logs.storing import key_of, manifest_key
from officeops.site import Site
from officeops.stack.local import supervisor
from officeops.stack.local.supervisor import Program, Supervisor
from officeops.stack.port import LogLine
from officeops.streams import decompress, read_chunks
from tests.support.ports import eventually

# Prints line after line until it is told to stop; some say no time, and one in a hundred is of another day.
PRINTER = """
import signal, sys, time
from datetime import UTC, datetime, timedelta
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
n = int(sys.argv[1])
while going:
    n += 1
    at = datetime.now(UTC) - timedelta(days=n % 100 == 0)
    stamp = "" if n % 7 == 0 else f"{at:%Y-%m-%d %H:%M:%S.%f} "
    sys.stdout.write(f'{stamp}line {n} "quoted" \\\\ \\t 漢字 {"x" * 60}\\n')
    sys.stdout.flush()
    time.sleep(float(sys.argv[2]))
sys.stdout.write(f"the end after {n}\\n")
"""
SERVICE = "postgres"  # of the tests' runbook; what runs under its name only prints
_NUMBER = re.compile(r"line (\d+) ")


def printer(folder: Path, *, name: str = SERVICE, first: int = 0, pause: float = 0.0005) -> Program:
    """A supervised program that prints lines from `first` + 1 on."""
    return Program(name, (sys.executable, "-u", "-c", PRINTER, str(first), str(pause)), folder, stop_wait=5)


@contextmanager
def printing(site: Site, monkeypatch: pytest.MonkeyPatch, *, file_bytes: int = 200_000, pause: float = 0.0005) -> Iterator[Supervisor]:
    """A real supervisor whose files are small, and a service that prints."""
    monkeypatch.setattr(supervisor, "LOG_BYTES", file_bytes)
    running = Supervisor(site.home, "stack")
    running.apply([printer(site.config.folder, pause=pause)])
    running.start(SERVICE)
    try:
        yield running
    finally:
        running.shutdown()


def exported(site: Site) -> list[LogLine]:
    """Every line that is in the first target, as a program that knows only the format reads it; each with a manifest."""
    store = next(iter(site.targets.values()))
    found = []
    for part in site.ledger.log_parts():
        store.stat(manifest_key(site, part))
        with store.open(key_of(site, part)) as reader:
            lines = list(decoded(part.service, decompress(read_chunks(reader))))
        assert len(lines) == part.lines
        found += lines
    return found


def numbers(lines: list[LogLine]) -> list[int]:
    """Of the numbered ones, in their order."""
    return [int(found[1]) for line in lines if (found := _NUMBER.search(line.text))]


def until_rotated(running: Supervisor, times: int, name: str = SERVICE) -> None:
    """Waits."""
    last, count = running.log(name).stat().st_size, 0

    def enough() -> bool:
        nonlocal last, count
        size = running.log(name).stat().st_size if running.log(name).exists() else 0
        count += size < last
        last = size
        return count >= times

    eventually(enough, 60, f"{times} rotations")
