"""Restoring volumes: beside what is live, compared, swapped; and back. Killed anywhere, the next command ends it one way or the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from officeops.errors import OfficeOpsError, UsageError
from officeops.order import put_in_order
from officeops.restores.latest import undo_of_last
from officeops.site import Site, open_site
from officeops.volumes import compare
from officeops.volumes.beside import VolumeBeside
from officeops.volumes.restore import VolumeRestore, VolumeUndo
from tests.support.killing import killer, undo
from tests.support.volumes import back_up, content, drill, fill_and_compare, place, restore, source


def volumes(site: Site) -> set[str]:
    return {volume.name for volume in site.stack.volumes()}


def spoil(site: Site) -> None:
    """An accident."""
    (place(site, "uploads") / "日本語").write_text("spoilt")
    (place(site, "uploads") / "3.txt").unlink()
    (place(site, "mail") / "inbox").write_text("spoilt")


def test_brings_back_what_was_lost_and_keeps_what_was_there(site: Site) -> None:
    before = content(place(site, "uploads"))
    back_up(site)
    spoil(site)
    spoilt = content(place(site, "uploads"))
    previous = restore(site)
    assert content(place(site, "uploads")) == before
    assert (place(site, "uploads") / "holes").stat().st_blocks * 512 < 1_000_000
    assert previous["uploads"].startswith("uploads_prev_")
    assert content(place(site, previous["uploads"])) == spoilt
    assert volumes(site) == {"uploads", "mail", *previous.values()}


def test_can_be_undone_and_undone_again(site: Site) -> None:
    restored = content(place(site, "uploads"))
    back_up(site)
    spoil(site)
    spoilt = content(place(site, "uploads"))
    restore(site)
    for expected in (spoilt, restored, spoilt):
        undo(site)
        assert content(place(site, "uploads")) == expected
    assert len(volumes(site)) == 4


def test_only_what_was_named_is_restored(site: Site) -> None:
    back_up(site)
    spoil(site)
    restore(site, source(site), "mail")
    assert (place(site, "mail") / "inbox").read_text() == "one letter"
    assert (place(site, "uploads") / "日本語").read_text() == "spoilt"
    with pytest.raises(UsageError, match="does not hold the volume 'letters'"):
        VolumeRestore.begin(site, source(site), volumes=["letters"])


def test_on_a_new_host_where_the_volume_is_missing_it_is_made(site: Site) -> None:
    before = content(place(site, "uploads"))
    back_up(site)
    shutil.rmtree(place(site, "uploads"))
    restore(site)
    assert content(place(site, "uploads")) == before


def test_a_rehearsal_swaps_nothing_and_leaves_nothing(site: Site) -> None:
    back_up(site)
    spoil(site)
    shutil.rmtree(place(site, "mail"))
    spoilt = content(place(site, "uploads"))
    with VolumeRestore.begin(site, source(site)) as run:
        assert fill_and_compare(run.besides).keys() == {"uploads", "mail"}
        run.abandon()
    assert content(place(site, "uploads")) == spoilt
    assert volumes(site) == {"uploads"}


def test_there_is_nothing_to_undo_when_what_was_set_aside_is_gone(site: Site) -> None:
    back_up(site)
    for name in restore(site).values():
        site.stack.remove_volume(name)
    with pytest.raises(UsageError, match="no restore of volumes to undo"):
        VolumeUndo.begin(site)


@pytest.mark.parametrize("step", ["fill", "compare", "stop_users", "swap", "start_users"])
def test_a_failure_leaves_what_was_live_alone(site: Site, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    back_up(site)
    spoil(site)
    spoilt = content(place(site, "uploads"))

    def fail(*_arguments: object) -> None:
        raise OfficeOpsError("told to fail")

    with pytest.raises(OfficeOpsError, match="told to fail"), VolumeRestore.begin(site, source(site)) as run:
        monkeypatch.setattr(run.besides[1] if step in ("fill", "compare") else run.swap, step, fail)
        fill_and_compare(run.besides)
        run.swap.stop_users()
        run.swap.swap()
        run.swap.start_users()
    assert content(place(site, "uploads")) == spoilt
    assert (place(site, "mail") / "inbox").read_text() == "spoilt"
    assert volumes(site) == {"uploads", "mail"}
    assert site.ledger.operations("volume-restore") == []


def test_what_does_not_come_back_as_it_was_is_never_swapped_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    back_up(site)
    fill = VolumeBeside.fill

    def filled_badly(beside: VolumeBeside) -> None:
        fill(beside)
        if beside.volume == "uploads":
            (place(site, beside.name) / "3.txt").chmod(0o600)

    monkeypatch.setattr(VolumeBeside, "fill", filled_badly)
    with pytest.raises(compare.NotEqualError, match=r"3\.txt has mode 0600 instead of 0644"):
        restore(site)
    assert volumes(site) == {"uploads", "mail"}
    with pytest.raises(compare.NotEqualError):
        drill(site)
    assert [one.ok for one in site.ledger.drills()] == [False]


def every_moment(site: Site, what: str, check: Callable[[Site], None], *, before: Callable[[Site], None] = lambda _site: None) -> int:
    """Kills it at each moment in turn; after each, the next command puts things in order and `check` looks. Returns how many."""
    with killer(site.config.folder) as killed:
        for moment in count():
            before(open_site(site.config.folder))
            if not killed(what, moment):
                return moment
            again = open_site(site.config.folder)
            assert put_in_order(again) == []
            for kind in ("backup", "volume-restore", "volume-drill"):
                assert again.ledger.operations(kind) == []
            check(again)
    raise AssertionError


def small(site: Site) -> None:
    """Two volumes with little in them: there are many moments."""
    for name, text in (("uploads", "kept"), ("mail", "one letter")):
        shutil.rmtree(place(site, name))
        place(site, name).mkdir()
        (place(site, name) / "inbox").write_text(text)


def live(site: Site) -> list[str]:
    return [(place(site, name) / "inbox").read_text() for name in ("uploads", "mail")]


def remove_aside(site: Site) -> None:
    for name in volumes(site) - {"uploads", "mail"}:
        site.stack.remove_volume(name)


def test_a_restore_that_is_killed_anywhere_is_done_or_undone_by_the_next_command(site: Site) -> None:
    small(site)
    back_up(site)
    ends: list[str] = []

    def accident(again: Site) -> None:
        remove_aside(again)
        spoil_small(again)

    def check(again: Site) -> None:
        aside = sorted(volumes(again) - {"uploads", "mail"})
        if live(again) == ["spoilt", "spoilt"]:
            assert aside == []
            ends.append("undone")
            return
        assert live(again) == ["kept", "one letter"]
        assert [name.rsplit("_prev_")[0] for name in aside] == ["mail", "uploads"]
        assert [(place(again, name) / "inbox").read_text() for name in aside] == ["spoilt", "spoilt"]
        ends.append("done")

    assert every_moment(site, "restore", check, before=accident) > 30
    assert ends == sorted(ends, reverse=True)
    assert {*ends} == {"undone", "done"}


def spoil_small(site: Site) -> None:
    for name in ("uploads", "mail"):
        (place(site, name) / "inbox").write_text("spoilt")


def test_an_undoing_that_is_killed_anywhere_is_done_or_undone_by_the_next_command(site: Site) -> None:
    small(site)
    back_up(site)
    spoil_small(site)
    restore(site)
    seen: set[tuple[str, ...]] = set()

    def check(again: Site) -> None:
        aside = sorted(volumes(again) - {"uploads", "mail"}, reverse=True)
        contents = {*live(again)}, {(place(again, name) / "inbox").read_text() for name in aside}
        assert contents in (({"spoilt"}, {"kept", "one letter"}), ({"kept", "one letter"}, {"spoilt"}))
        seen.add(tuple(live(again)))

    assert every_moment(site, "undo", check) > 10
    assert len(seen) == 2


def test_a_drill_that_is_killed_anywhere_leaves_nothing(site: Site) -> None:
    small(site)
    back_up(site)

    def check(again: Site) -> None:
        assert volumes(again) == {"uploads", "mail"}

    assert every_moment(site, "drill", check) > 10


def test_a_backup_that_is_killed_anywhere_is_one_or_leaves_nothing(site: Site) -> None:
    small(site)

    def check(again: Site) -> None:
        (store,) = again.targets.values()
        objects = [info.key.rsplit("/", 1)[1] for info in store.list()]
        assert len([name for name in objects if name == "manifest.json"]) * 5 == len(objects)

    assert every_moment(site, "back up", check) > 10


def test_the_last_restore_is_the_one_that_is_undone(site: Site) -> None:
    back_up(site)
    restore(site)
    with undo_of_last(site) as run:
        assert isinstance(run, VolumeUndo)


def test_a_backup_of_another_version_of_the_server_is_refused_before_anything_is_touched(site: Site) -> None:
    from dataclasses import replace

    back_up(site)
    given = source(site)
    old = given.manifest.model_copy(update={"kind": "basebackup", "client_version": "pg_basebackup (PostgreSQL) 9.6.24"})
    with pytest.raises(OfficeOpsError, match=r"9\.6\.24"):
        VolumeRestore.begin(site, replace(given, manifest=old))
    assert site.ledger.operations("volume-restore") == []


def test_two_folders_on_two_file_systems_cannot_change_places(site: Site, folder: Path) -> None:
    from tests.support.disks import tiny_disk

    back_up(site, "mail")
    shutil.rmtree(place(site, "mail"))
    with tiny_disk(place(site, "mail"), "1m"):
        (place(site, "mail") / "inbox").write_text("spoilt")
        with pytest.raises(OfficeOpsError, match="another file system is mounted") as failed:
            restore(site)
        assert "OFFICEOPS_HOME" in failed.value.todo
        assert (place(site, "mail") / "inbox").read_text() == "spoilt"
        assert volumes(site) == {"uploads", "mail"}
