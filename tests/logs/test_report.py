"""The week's report, retention carried out, and the commands: over lines that a test wrote as supervisor would have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from officeops.logs import retention
from officeops.logs.page import page
from officeops.logs.report import last_report, report
from officeops.logs.storing import export_all
from officeops.process import Command, run
from officeops.site import Site
from tests.support.control_plane import Ended
from tests.support.ports import eventually
from tests.support.site import PROJECT

NOW = datetime.now(UTC)


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    """One whose services have printed."""
    return new_site()


def say(site: Site, service: str, *lines: str, ago: timedelta = timedelta()) -> None:
    """Adds lines to a log."""
    log = site.home / "stack" / "logs" / f"{service}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        for number, line in enumerate(lines):
            file.write(f"{NOW - ago + timedelta(milliseconds=number):%Y-%m-%d %H:%M:%S.%f} {line}\n")


def officeops(site: Site, *arguments: str) -> Ended:
    """The command."""
    argv = (sys.executable, "-m", "officeops_cli.main", *arguments)
    done = run(Command(argv, {"PYTHONPATH": str(PROJECT), "NO_COLOR": "1"}, cwd=site.config.folder), timeout=120, ok=range(256))
    return Ended(done.status, done.stdout.decode(), done.stderr)


def test_errors_are_grouped_and_those_of_last_week_are_not_new(site: Site) -> None:
    day = timedelta(days=1)
    say(site, "postgres", *[f"ERROR: relation {number} does not exist" for number in range(5)], "LOG: all is well", ago=9 * day)
    last_week = report(replace(site, clock=lambda: NOW - 8 * day), remember=True)
    assert [(one.text, one.new) for one in last_week.services[0].templates] == [("ERROR: relation <N> does not exist", True)]
    say(site, "postgres", *[f"ERROR: relation {number} does not exist" for number in range(3)], "WARNING: low on space", ago=2 * day)
    say(
        site,
        "caddy",
        'x "GET /rooms/7/readings?from=1" 200 20.0 ms',
        'x "GET /rooms/8/readings" 200 40.0 ms',
        'x "GET /slow HTTP/1.1" 200 2.5 s',
    )
    export_all(site)
    for _ in range(2):  # made again, it says the same
        found = report(site, remember=True)
        postgres = found.services[0]
        assert (postgres.lines, postgres.errors, postgres.warnings) == (4, 3, 1)
        assert [(one.text, one.level, one.count, one.new) for one in postgres.templates] == [
            ("WARNING: low on space", "warning", 1, True), ("ERROR: relation <N> does not exist", "error", 3, False),
        ]  # fmt: skip
    assert [(one.what, one.count, one.mean_s, one.slowest_s) for one in found.slowest] == [
        ("GET /slow", 1, 2.5, 2.5), ("GET /rooms/N/readings", 2, 0.03, 0.04),
    ]  # fmt: skip
    text = page(found, site.config.settings.zone)
    assert "| **new** | warning | 1 |" in text
    assert "| caddy | `GET /slow` | 1 | 2500 ms | 2500 ms |" in text
    assert last_report(site) == found


def test_days_that_are_not_kept_leave_every_target(new_site: Callable[..., Site]) -> None:
    site = new_site(BACKUP_TARGETS="file:targets/one file:targets/two")
    say(site, "postgres", "old", ago=timedelta(days=100))
    say(site, "postgres", "new")
    export_all(site)
    assert all(len(list(store.list("test_office/logs/"))) == 4 for store in site.targets.values())
    decisions, troubles = retention.apply(site)
    assert ([one.keep for one in decisions], troubles) == ([False, True], [])
    for store in site.targets.values():
        assert [info.key.split("/")[3] for info in store.list("test_office/logs/")] == [f"{NOW:%Y-%m-%d}"] * 2
    assert [part.day for part in site.ledger.log_parts()] == [f"{NOW:%Y-%m-%d}"]
    say(site, "postgres", "newer")
    export_all(site)
    assert sum(part.lines for part in site.ledger.log_parts()) == 2


def test_the_commands(site: Site) -> None:
    say(site, "postgres", "an old line", ago=timedelta(hours=3))
    say(site, "postgres", "exported ERROR of postgres", ago=timedelta(hours=1))
    say(site, "caddy", "exported line of caddy", ago=timedelta(minutes=59))
    done = officeops(site, "log-export", "--json")
    assert (done.status, done.json["lines"], len(done.json["stored"]), done.json["gaps"]) == (0, 3, 2, []), done.stderr
    say(site, "postgres", "live [error] of postgres", ago=timedelta(minutes=1))

    found = officeops(site, "logs", "--since", "2h", "--json").json
    assert found["services"] == ["postgres", "caddy"]
    texts = [line["text"][27:] for line in found["lines"]]
    assert texts == ["exported ERROR of postgres", "exported line of caddy", "live [error] of postgres"]
    assert officeops(site, "logs", "--grep", "error", "--tail", "1").stdout.endswith("live [error] of postgres\n")
    one = officeops(site, "logs", "postgres", "--tail", "3", "--json").json
    assert (one["service"], len(one["lines"]), one["lines"][0].keys()) == ("postgres", 3, {"service", "at", "text"})

    reported = officeops(site, "log-report", "--json").json
    assert [(one["service"], one["errors"]) for one in reported["services"]] == [("postgres", 1), ("caddy", 0)]
    audited = officeops(site, "log-audit", "--json")
    assert (audited.status, audited.json) == (0, {"ok": True, "logs": [], "done": [], "would_make_anew": []}), audited.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobody"], "no service 'nobody'"),
        (["--grep", "("], "regular expression"),
        (["--since", "soon"], "no time"),
        (["-f", "--json"], "no end"),
    ],
)
def test_bad_usage_is_told(site: Site, arguments: list[str], says: str) -> None:
    ended = officeops(site, "logs", *arguments)
    assert (ended.status, ended.stdout) == (2, "")
    assert says in ended.stderr


def test_following_goes_on_with_what_is_printed(site: Site) -> None:
    say(site, "postgres", "before", ago=timedelta(seconds=2))
    argv = [sys.executable, "-m", "officeops_cli.main", "logs", "--follow", "--grep", "before|after"]
    out = site.config.folder / "followed"
    with (
        out.open("wb") as file,
        subprocess.Popen(argv, cwd=site.config.folder, env={"PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}, stdout=file) as child,
    ):
        try:
            eventually(lambda: b"before" in out.read_bytes(), 60, "the line before")
            say(site, "postgres", "between", "after")
            export_all(site)  # what is followed does not depend on what is exported
            say(site, "caddy", "and after", ago=-timedelta(seconds=1))
            eventually(lambda: b"and after" in out.read_bytes(), 60, "the line after")
        finally:
            child.kill()
    assert [line.split(" | ")[1][27:] for line in out.read_text().splitlines()] == ["before", "after", "and after"]
