"""Logs of the embedded stack: a real supervisor that rotates, and processes that are killed in the middle of an export."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from officeops.logs.collecting import waiting_folder
from officeops.logs.reading import Reader
from officeops.logs.storing import ExportError, export, export_all
from officeops.site import Site
from officeops.watching.making import CHORES
from officeops.watching.watcher import Watcher
from tests.support.killing import killer
from tests.support.logs import SERVICE, exported, numbers, printing


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    """One whose service only prints."""
    return new_site()


def test_each_line_is_exported_once_whenever_the_export_is_killed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with printing(site, monkeypatch) as service, killer(site.config.folder, ["export logs"]) as killed:
        service.say(100)
        moment = 0
        while killed("export logs", moment):
            service.say(100)
            moment += 1
            if moment == 5:
                service.again()
        service.say(100)
        assert not killed("export logs", 10_000)
    assert moment > 10
    found = numbers(exported(site))
    assert sorted(found) == list(range(1, service.said + 1))
    of_today = [number for number in found if number % 100 > 1]  # 100 is of another day, and so is what follows it without a time
    assert of_today == sorted(of_today)
    assert site.ledger.log_gaps() == []
    assert list(waiting_folder(site).iterdir()) == []


def test_what_was_rotated_away_before_it_was_read_is_told_as_a_gap(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with printing(site, monkeypatch) as service:
        service.say(10)
        before = export(site)
        assert before.collected.gaps == []
        service.say(3000)
        after = export(site)
    (gap,) = after.collected.gaps
    assert site.ledger.log_gaps() == [gap]
    assert (gap.service, gap.after) == (SERVICE, before.collected.parts[0].last_at)
    assert gap.before is not None
    found = sorted(numbers(exported(site)))
    assert [(low, found[at + 1]) for at, low in enumerate(found[:-1]) if found[at + 1] != low + 1] == [(10, found[10])]
    assert found[-1] == 3010


def test_while_the_store_is_away_lines_wait_and_can_be_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    target, away = site.config.folder / "targets", site.config.folder / "away"
    with printing(site, monkeypatch) as service:
        service.say(50)
        export_all(site)
        target.rename(away)
        target.write_text("no folder")
        for _ in range(2):
            service.say(50)
            with pytest.raises(ExportError, match="targets/one"):
                export_all(site)
        told: list[str] = []
        assert numbers(Reader(site, warn=told.append).last(90)) == [number for number in range(60, 151) if number != 100]
        assert told == []
        assert sorted(numbers(list(Reader(site, warn=told.append).lines()))) == list(range(51, 151))
        assert [text.partition(" from ")[0] for text in told] == [f"50 lines of {SERVICE}"]
        target.unlink()
        away.rename(target)
        export_all(site)
    assert sorted(numbers(exported(site))) == list(range(1, 151))
    assert list(waiting_folder(site).glob("*.zst")) == []


def test_what_is_exported_and_what_is_not_come_once_and_in_order(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with printing(site, monkeypatch) as service:
        service.say(500)
        export_all(site)
        service.say(500)
        every = list(Reader(site).lines())
        assert sorted(numbers(every)) == list(range(1, 1001))
        assert sorted(numbers(Reader(site).last(40))) == list(range(961, 1001))
        since = every[len(every) // 2].at
        assert list(Reader(site, since=since).lines()) == [line for line in every if line.at >= since]
        (once,) = Reader(site, grep="LINE 17 ").last(100)
        assert "line 17 " in once.text
        assert 'line 17 "quoted" \\ \t 漢字' in once.text


def test_a_line_that_is_half_written_waits_for_its_end(site: Site) -> None:
    log = site.home / "stack" / "logs" / f"{SERVICE}.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"2026-03-01 08:00:00 one\n2026-03-01 08:00:01 tw")
    export_all(site)
    log.rename(log.with_suffix(".log.1"))  # rotated in the middle of a line
    log.write_bytes(b"o\n\xff no UTF-8, \x1b[31m and a control character\n")
    export_all(site)
    texts = [line.text for line in exported(site)]
    assert texts == ["2026-03-01 08:00:00 one", "2026-03-01 08:00:01 two", "\ufffd no UTF-8, \x1b[31m and a control character"]


def test_another_file_with_the_same_number_is_no_place_to_go_on(site: Site) -> None:
    log = site.home / "stack" / "logs" / f"{SERVICE}.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"2026-03-01 08:00:00 one\n")
    export_all(site)
    with log.open("r+b") as file:  # as when the number of a removed file is given to a new one
        file.write(b"2026-03-01 09:00:00 two\n2026-03-01 09:00:00 three\n")
    (gap,) = export_all(site).collected.gaps
    assert gap.before == "2026-03-01T09:00:00Z"
    assert [line.text[20:] for line in exported(site)] == ["one", "two", "three"]


def test_a_manifest_says_what_a_file_holds(site: Site) -> None:
    log = site.home / "stack" / "logs" / f"{SERVICE}.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"2026-03-01 08:00:00,5 one\n2026-03-02 08:00:00 two\n")
    export_all(site)
    store = next(iter(site.targets.values()))
    keys = [info.key for info in store.list("test_office/logs/")]
    assert [key.split("/")[3] for key in keys] == ["2026-03-01"] * 2 + ["2026-03-02"] * 2
    with store.open(next(key for key in keys if key.endswith(".json"))) as reader:
        manifest = json.load(reader)
    assert manifest.keys() >= {"format", "version", "stack", "service", "source", "day", "lines", "bytes", "sha256", "object"}
    assert (manifest["first_at"], manifest["lines"]) == ("2026-03-01T08:00:00.5Z", 1)


def test_the_watcher_exports_every_five_minutes_and_goes_on_when_it_cannot(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    log = site.home / "stack" / "logs" / f"{SERVICE}.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"2026-03-01 08:00:00 one\n")
    (chore,) = [one for one in CHORES if one.name == "export of logs"]
    assert chore.every == timedelta(minutes=5)
    (site.config.folder / "targets").write_text("no folder")
    watcher, now = Watcher(site, chores=[chore]), site.clock()
    watcher._do(chore, now)
    assert "export of logs failed" in capsys.readouterr().err
    (site.config.folder / "targets").unlink()
    watcher._do(chore, now + timedelta(minutes=4))
    assert all(part.waits for part in site.ledger.log_parts())
    watcher._do(chore, now + timedelta(minutes=5))
    assert [line.text[20:] for line in exported(site)] == ["one"]
