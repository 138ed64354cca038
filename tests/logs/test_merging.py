"""The small files of days that are over, made one: no line is lost or there twice, wherever the merging is killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from officeops.ledger.logs import LogPart
from officeops.logs import collecting
from officeops.logs.merging import merge, mergeable
from officeops.logs.reading import Reader
from officeops.logs.storing import export_all
from officeops.site import Site
from tests.support.killing import killer
from tests.support.logs import SERVICE, exported, numbers

PART = LogPart("postgres/2026-03-01/a", "postgres", 1, "postgres", "2026-03-01", 1, 1, 1, "", "", "", ("one",), waits=False)
TODAY = "2026-03-03"


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    """Three days of five exports each, of 20 numbered lines."""
    found = new_site(BACKUP_TARGETS="file:targets/one file:targets/two")
    log = found.home / "stack" / "logs" / f"{SERVICE}.log"
    log.parent.mkdir(parents=True)
    for step in range(15):
        with log.open("a") as file:
            for number in range(step * 20, step * 20 + 20):
                file.write(f"2026-03-{1 + step // 5:02d} 08:{number // 60:02d}:{number % 60:02d} line {number} 漢字\n")
        export_all(found)
    return found


def stored(site: Site) -> set[str]:
    """Files in both targets."""
    one, two = ({info.key for info in store.list()} for store in site.targets.values())
    assert one == two
    return one


def test_each_day_becomes_one_file_in_every_target(site: Site) -> None:
    before = [line.text for line in exported(site)]
    assert len(stored(site)) == 30
    done = merge(site)
    assert ([part.day for part in done.parts], done.gone, done.troubles) == (["2026-03-01", "2026-03-02", "2026-03-03"], 15, [])
    assert len(stored(site)) == 6
    assert [line.text for line in exported(site)] == before
    assert site.ledger.log_left_overs() == []
    assert numbers(list(Reader(site).lines())) == list(range(300))
    assert numbers(Reader(site).last(150)) == list(range(150, 300))
    again = merge(site)
    assert (again.parts, again.gone) == ([], 0)


def test_a_line_that_comes_late_is_merged_behind_the_others(site: Site) -> None:
    merge(site)
    with (site.home / "stack" / "logs" / f"{SERVICE}.log").open("a") as file:
        file.write("2026-03-03 07:00:00 line 300 late\n")
    export_all(site)
    done = merge(site)
    assert ([part.lines for part in done.parts], done.gone) == ([101], 2)
    assert numbers(exported(site)) == list(range(301))


def test_a_merging_may_be_killed_anywhere(site: Site) -> None:
    with killer(site.config.folder, ["merge logs"]) as killed:
        moment = 0
        while killed("merge logs", moment):
            moment += 1
            assert numbers(exported(site)) == list(range(300))
    assert moment > 20
    assert (len(stored(site)), site.ledger.log_left_overs()) == (6, [])


def test_a_day_that_is_merged_again_and_again_has_a_name_that_does_not_grow(site: Site) -> None:
    names = set()
    for number in range(300, 303):
        with (site.home / "stack" / "logs" / f"{SERVICE}.log").open("a") as file:
            file.write(f"2026-03-03 09:00:00 line {number} late\n")
        export_all(site)
        (name,) = [part.id for part in merge(site).parts if part.day == "2026-03-03"]
        names.add(name)
    assert len(names) == 3
    assert {name.rpartition("-to-")[0].count("-to-") for name in names} == {0}
    assert numbers(exported(site)) == list(range(303))


def test_while_another_one_stores_nothing_is_merged_and_that_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_WAIT_S", 0.1)
    with collecting.alone(site, "storing"):
        done = merge(site)
    assert (done.parts, done.gone, len(done.troubles)) == ([], 0, 1)
    assert "storing of logs" in done.troubles[0]


def test_what_cannot_be_read_back_stays_and_is_told(site: Site, folder: Path) -> None:
    damaged = sorted(path for path in folder.rglob("*.jsonl.zst") if "2026-03-02" in path.parts)[0]
    damaged.write_bytes(b"something else")
    before = {path: path.read_bytes() for path in folder.rglob("*.zst") if "2026-03-02" in path.parts}
    done = merge(site)
    (told,) = done.troubles
    assert told.startswith(f"{SERVICE} of 2026-03-02: ")
    assert [part.day for part in done.parts] == ["2026-03-01", "2026-03-03"]
    assert {path: path.read_bytes() for path in folder.rglob("*.zst") if "2026-03-02" in path.parts} == before


def test_a_target_that_is_gone_leaves_a_file_for_the_next_time(site: Site, folder: Path) -> None:
    two = next(path for path in folder.rglob("two") if path.is_dir())
    away = two.rename(two.with_name("away"))
    two.write_text("no folder")
    assert len(merge(site).troubles) == 3
    assert numbers(exported(site)) == list(range(300))
    two.unlink()
    away.rename(two)
    assert merge(site).troubles == []
    assert (len(stored(site)), site.ledger.log_left_overs()) == (6, [])


@pytest.mark.parametrize(
    ("changed", "together"),
    [
        ({}, True),
        ({"day": TODAY}, False),
        ({"source": "another"}, False),
        ({"waits": True}, False),
        ({"targets": ("one", "two")}, False),
    ],
)
def test_parts_of_one_log_and_day_that_are_stored_alike_go_together(changed: dict[str, Any], together: bool) -> None:
    other = replace(PART, id="b", sequence=2, **changed)
    assert mergeable([PART, other], TODAY) == ([[PART, other]] if together else [])


def test_parts_with_another_day_between_them_keep_their_order() -> None:
    between = replace(PART, id="b", day="2026-03-02")
    assert mergeable([PART, between, replace(PART, id="c")], TODAY) == []


def test_today_is_not_over() -> None:
    assert mergeable([replace(PART, day=TODAY), replace(PART, day=TODAY, id="b")], TODAY) == []
