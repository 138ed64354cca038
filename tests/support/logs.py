"""Services that print numbered lines, and what an export made of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from officeops import files
from officeops.logs.lines import decoded
from officeops.logs.storing import key_of, manifest_key
from officeops.site import Site
from officeops.stack.local import supervisor
from officeops.stack.local.supervisor import Program, Supervisor
from officeops.stack.port import LogLine
from officeops.streams import decompress, read_chunks
from tests.support.ports import eventually

# Prints lines up to the number in a file, whenever that grows; some say no time, and one in a hundred is of another day.
PRINTER = """
import sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
n = int(sys.argv[1])
while True:
    while n < int(Path(sys.argv[2]).read_text()):
        n += 1
        at = datetime.now(UTC) - timedelta(days=n % 100 == 0)
        stamp = "" if n % 7 == 0 else f"{at:%Y-%m-%d %H:%M:%S.%f} "
        sys.stdout.write(f'{stamp}line {n} "quoted" \\ \t 漢字 {"x" * 60}\\n')
        sys.stdout.flush()
    time.sleep(0.005)
"""
SERVICE = "postgres"  # of the tests' runbook; what runs under its name only prints
_NUMBER = re.compile(r"line (\d+) ")


def _content(path: Path) -> bytes:
    """Nothing of one that was rotated away meanwhile."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


@dataclass
class Printing:
    """A supervised service that prints as many lines as it is told to."""

    site: Site
    supervisor: Supervisor
    said: int = 0

    def say(self, lines: int) -> None:
        """So many more; they are in its log when this returns."""
        self.said += lines
        files.replace(self.told, str(self.said).encode())
        log = self.supervisor.log(SERVICE)
        last = f"line {self.said} ".encode()
        eventually(lambda: any(last in _content(path) for path in log.parent.glob(f"{log.name}*")), 60, f"line {self.said}")

    def again(self) -> None:
        """As a new process, which goes on in the same file."""
        self.supervisor.put(self.program())
        self.supervisor.start(SERVICE)

    def program(self) -> Program:
        """What supervisor runs."""
        argv = (sys.executable, "-u", "-c", PRINTER, str(self.said), str(self.told))
        return Program(SERVICE, argv, self.site.config.folder, stop_wait=5)

    @property
    def told(self) -> Path:
        """The file with the number."""
        return self.site.config.folder / "upto"


@contextmanager
def printing(site: Site, monkeypatch: pytest.MonkeyPatch, *, file_bytes: int = 60_000) -> Iterator[Printing]:
    """A real supervisor whose files are small, and a service that prints: about 400 lines of it fill a file."""
    monkeypatch.setattr(supervisor, "LOG_BYTES", file_bytes)
    found = Printing(site, Supervisor(site.home, "stack"))
    found.told.write_text("0")
    found.supervisor.apply([found.program()])
    found.supervisor.start(SERVICE)
    try:
        yield found
    finally:
        found.supervisor.shutdown()


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
