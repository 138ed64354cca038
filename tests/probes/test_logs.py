"""Errors in logs, grouped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from officeops.errors import OfficeOpsError
from officeops.probes.logs import Look, is_error
from officeops.stack.port import LogLine

BEGIN = datetime(2026, 3, 1, 8, tzinfo=UTC)


class World:
    """A site with one service whose log the test writes."""

    def __init__(self) -> None:
        self.now, self.lines, self.readable = BEGIN, list[LogLine](), True
        self.config = SimpleNamespace(runbook=SimpleNamespace(services={"backend": None}))
        self.stack = self

    def clock(self) -> datetime:
        return self.now

    def logs(self, service: str, *, since: datetime, until: datetime) -> Iterator[LogLine]:
        if not self.readable:
            raise OfficeOpsError("the engine does not answer")
        return (line for line in self.lines if since <= line.at <= until)

    def says(self, *texts: str) -> None:
        self.lines += [LogLine("backend", self.now - timedelta(seconds=1), text) for text in texts]


def counts(look: Look, site: Any) -> list[tuple[int, int]]:
    return [(one.count, len(one.new)) for one in look.look(site)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01 08:00:00.123 UTC [12] ERROR:  relation does not exist", True),
        ('{"level":"error","ts":1772352000.1,"msg":"dial tcp"}', True),
        ("ERROR app.ai: Ollama broke off", True),
        ("ValueError: no", True),
        ("INFO: errors: none", False),
        ("GET /errors 200", False),
    ],
)
def test_what_an_error_is(text: str, expected: bool) -> None:
    assert is_error(text) is expected


def test_errors_are_counted_once_and_grouped_by_their_template(folder: Path) -> None:
    site, look = World(), Look(folder, keep=True)
    site.says(*(f"2026-03-01 08:00:0{n} ERROR could not reach host 10.0.0.{n} in {n} ms" for n in range(5)), "INFO fine")
    (found,) = look.look(site)  # type: ignore[arg-type]
    assert (found.count, len(found.templates)) == (5, 1)
    assert "could not reach host" in found.templates[0][0]
    site.now += timedelta(minutes=1)
    assert counts(look, site) == [(0, 0)]


def test_a_template_is_new_once_also_after_a_new_start(folder: Path) -> None:
    site = World()
    site.says("ERROR disk quota exceeded for user 5")
    assert counts(Look(folder, keep=True), site) == [(1, 1)]
    site.now += timedelta(minutes=1)
    site.says("ERROR disk quota exceeded for user 77", "ERROR something else entirely happened here today")
    assert counts(Look(folder, keep=True), site) == [(2, 1)]


def test_a_log_that_cannot_be_read_is_read_from_there_the_next_time(folder: Path) -> None:
    site, look = World(), Look(folder, keep=True)
    assert counts(look, site) == [(0, 0)]
    site.now += timedelta(minutes=1)
    site.says("ERROR one")
    site.readable = False
    assert look.look(site) == []  # type: ignore[arg-type]
    site.now, site.readable = site.now + timedelta(minutes=1), True
    assert counts(look, site) == [(1, 1)]


def test_somebody_who_only_looks_takes_nothing_from_the_watcher(folder: Path) -> None:
    site, watcher = World(), Look(folder, keep=True)
    counts(watcher, site)
    site.now += timedelta(minutes=1)
    site.says("ERROR one")
    assert counts(Look(folder, keep=False), site)[0][0] == 1
    assert counts(watcher, site) == [(1, 1)]
