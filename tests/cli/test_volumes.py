"""The commands for volumes: what other programs may rely on, and the flows behind them on a real server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane import Plane

pytestmark = pytest.mark.xdist_group("control_plane")

VOLUMES = """
volumes:
  papers: {}
  db_data: {services: [postgres], folder: postgres}
"""


@pytest.fixture(scope="module")
def papers(plane: Plane) -> Iterator[Path]:
    """The folder of a volume with one paper; the runbook knows it for as long as these tests run."""
    runbook, folder = plane.site.config.folder / "runbook.yaml", plane.site.home / "papers"
    text, data = runbook.read_text(), plane.site.home / "postgres" / "data"
    runbook.write_text(text + VOLUMES)
    folder.mkdir()
    data.mkdir(parents=True)
    (folder / "paper").write_text("a paper")
    yield folder
    runbook.write_text(text)
    for made in (folder, data.parent, plane.site.home / "volumes"):
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def backup(plane: Plane, papers: Path) -> dict[str, Any]:
    """A backup that the command made: its JSON object."""
    assert papers.is_dir()
    ended = plane.officeops("backup", "--kind", "volumes", "--json")
    assert ended.status == 0, ended.stderr
    return ended.json


def test_backup(backup: dict[str, Any]) -> None:
    assert backup.keys() >= {"id", "kind", "bytes", "seconds", "objects", "verified", "volumes"}
    assert (backup["kind"], backup["verified"]) == ("volumes", True)
    assert {one["key"].rsplit("/", 1)[1] for one in backup["objects"]} == {"papers.tar.zst", "papers.jsonl.zst"}
    assert backup["volumes"]["papers"].items() >= {"files": 1, "bytes": 7, "changed": [], "stopped": []}.items()


def test_volumes_are_listed_with_their_size_and_last_backup(plane: Plane, backup: dict[str, Any]) -> None:
    listed = {one["name"]: one for one in plane.officeops("volumes", "--json").json["volumes"]}
    assert listed["papers"].keys() == {"name", "services", "database", "bytes", "last_backup"}
    assert (listed["papers"]["bytes"], listed["papers"]["last_backup"]["id"]) == (7, backup["id"])
    assert (listed["db_data"]["database"], listed["db_data"]["last_backup"]) == (True, None)
    shown = plane.officeops("volumes").stdout
    assert "papers" in shown
    assert "--kind basebackup" in shown


def test_backups_of_volumes_are_listed_and_are_no_backup_of_the_database(plane: Plane, backup: dict[str, Any]) -> None:
    before = plane.officeops("status", "--json").json["last_backup"]
    assert before is None or before["id"] != backup["id"]
    (listed,) = [one for one in plane.officeops("backups", "--json").json["backups"] if one["id"] == backup["id"]]
    assert (listed["kind"], listed["verified"]) == ("volumes", True)


def test_verify_and_drill(plane: Plane, backup: dict[str, Any]) -> None:
    verified = plane.officeops("verify", backup["id"], "--json").json
    assert (verified["ok"], verified["tables"], verified["volumes"]["papers"]["match"]) == (True, {}, True)
    drilled = plane.officeops("drill", backup["id"], "--json")
    assert drilled.status == 0, drilled.stderr
    assert drilled.json["volumes"] == {"papers": {"files": 1, "bytes": 7, "match": True, "owners": True}}
    (listed,) = [one for one in plane.officeops("backups", "--json").json["backups"] if one["id"] == backup["id"]]
    assert listed["drilled_at"] is not None


def test_restore_and_its_undoing(plane: Plane, papers: Path, backup: dict[str, Any]) -> None:
    (papers / "paper").write_text("scribbled on")
    rehearsed = plane.officeops("restore", backup["id"], "--dry-run", "--json").json
    assert (rehearsed["volumes"]["papers"]["match"], rehearsed["previous_volumes"]) == (True, {})
    assert (papers / "paper").read_text() == "scribbled on"
    done = plane.officeops("restore", backup["id"], "--volume", "papers", "--yes", "--json")
    assert done.status == 0, done.stderr
    assert (done.json["id"], done.json["ok"], done.json["previous_database"]) == (backup["id"], True, None)
    assert done.json["previous_volumes"]["papers"].startswith("papers_prev_")
    assert (papers / "paper").read_text() == "a paper"
    undone = plane.officeops("restore", "--undo", "--yes", "--json")
    assert (undone.status, undone.json["ok"]) == (0, True)
    assert (papers / "paper").read_text() == "scribbled on"
    (papers / "paper").write_text("a paper")


def test_a_base_backup_of_the_running_server(plane: Plane, backup: dict[str, Any]) -> None:
    assert backup["verified"]
    made = plane.officeops("backup", "--kind", "basebackup", "--json")
    assert made.status == 0, made.stderr
    assert made.json["volumes"]["db_data"]["files"] > 900
    drilled = plane.officeops("drill", "latest:basebackup", "--json")
    assert drilled.status == 0, drilled.stderr
    assert drilled.json["id"] == made.json["id"]


def test_people_are_shown_the_same(plane: Plane, backup: dict[str, Any]) -> None:
    assert backup["verified"]
    shown = plane.officeops("backup", "--kind", "volumes", "--volume", "papers")
    assert (shown.status, "papers: 1 files, 7 B" in shown.stdout) == (0, True), shown.stderr
    restored = plane.officeops("restore", "latest:volumes", "--yes")
    assert "every entry of its volumes equal" in restored.stdout, restored.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["backup", "--kind", "volumes", "--volume", "pappers"], 2, "There is no volume 'pappers'"),
        (["backup", "--kind", "volumes", "--volume", "db_data"], 3, "--kind basebackup"),
        (["backup", "--kind", "volumes", "--format", "dump"], 2, "--format is for the database"),
        (["backup", "--volume", "papers"], 2, "--volume is for volumes"),
        (["backup", "--kind", "everything"], 2, "everything"),
        (["restore", "latest:volumes", "--volume", "db_data", "--yes"], 2, "does not hold the volume 'db_data'"),
        (["restore", "latest:volumes"], 3, "--yes"),
    ],
)
def test_bad_usage_is_told_from_failure(arguments: list[str], status: int, says: str, plane: Plane, backup: dict[str, Any]) -> None:
    assert backup["verified"]
    ended = plane.officeops(*arguments)
    assert (ended.status, ended.stdout) == (status, "")
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_usage_has_what_each_running_service_takes(plane: Plane) -> None:
    found = plane.officeops("status", "--usage", "--json")
    assert (found.status, found.json["usage"]) == (0, [])


def test_a_worker_makes_them_too(plane: Plane, backup: dict[str, Any]) -> None:
    assert backup["verified"]
    ended = plane.ended(plane.start("volume-backup", kind="volumes"))
    assert ended.state_name == "Completed"
    assert ended.name.startswith("backup volumes ")
