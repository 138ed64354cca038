"""What other programs may rely on: one JSON object on stdout, its keys, the exit statuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from deployments import control_plane
from officeops.lock import stack_lock
from tests.support.control_plane import Plane, run_sql
from tests.support.ports import free_ports
from tests.support.postgres import Running

pytestmark = pytest.mark.xdist_group("control_plane")

KEYS = {
    "status": {"stack", "release", "services", "database", "last_backup", "alerts"},
    "backup": {"id", "kind", "bytes", "seconds", "objects", "verified"},
    "backups": {"id", "kind", "at", "bytes", "verified", "drilled_at", "targets", "pinned"},
    "verify": {"id", "ok", "tables", "seconds"},
    "restore": {"id", "ok", "tables", "seconds", "previous_database"},
}


@pytest.fixture(scope="module")
def backup(plane: Plane) -> dict[str, Any]:
    """A backup that the command made: its JSON object."""
    ended = plane.officeops("backup", "--json")
    assert ended.status == 0, ended.stderr
    return ended.json


@pytest.fixture
def without_server(plane: Plane) -> Iterator[dict[str, str]]:
    """Environment in which the Prefect server is where nobody answers."""
    return {"PREFECT_PORT": str(free_ports(1)[0])}


def rows(server: Running) -> object:
    return run_sql(server, "control_plane_office", "SELECT count(*) FROM public.notes")[0][0]


def test_backup(backup: dict[str, Any]) -> None:
    assert backup.keys() >= KEYS["backup"]
    assert backup["verified"] is True
    assert {frozenset(one) for one in backup["objects"]} == {frozenset({"target", "key", "bytes", "sha256"})}
    assert backup["bytes"] == sum(one["bytes"] for one in backup["objects"])


def test_status(plane: Plane, backup: dict[str, Any]) -> None:
    found = plane.officeops("status", "--json").json
    assert found.keys() >= KEYS["status"]
    assert found["services"][0].keys() >= {"name", "state", "health", "restarts", "release"}
    assert found["database"].keys() >= {"size_bytes", "revision"}
    assert found["last_backup"].keys() >= {"id", "at", "verified"}
    assert (found["last_backup"]["id"], found["last_backup"]["verified"]) == (backup["id"], True)


def test_backups(plane: Plane, backup: dict[str, Any]) -> None:
    listed = plane.officeops("backups", "--json").json["backups"]
    assert listed[0].keys() >= KEYS["backups"]
    assert (listed[0]["id"], listed[0]["verified"], listed[0]["drilled_at"]) == (backup["id"], True, None)


def test_verify(plane: Plane, backup: dict[str, Any]) -> None:
    found = plane.officeops("verify", backup["id"], "--json").json
    assert found.keys() >= KEYS["verify"]
    assert found["ok"] is True
    assert found["tables"]["public.notes"] == {"rows": 1000, "expected_rows": 1000, "match": True}


def test_restore_and_its_undoing(plane: Plane, postgres: Running, backup: dict[str, Any]) -> None:
    run_sql(postgres, "control_plane_office", "DELETE FROM public.notes WHERE id > 10")
    done = plane.officeops("restore", backup["id"], "--yes", "--json")
    assert done.status == 0, done.stderr
    assert done.json.keys() >= KEYS["restore"]
    assert done.json["tables"]["public.notes"] == {"rows": 1000, "expected_rows": 1000, "match": True}
    assert done.json["previous_database"].startswith("control_plane_office_prev_")
    assert rows(postgres) == 1000
    undone = plane.officeops("restore", "--undo", "--yes", "--json")
    assert (undone.status, undone.json["ok"], rows(postgres)) == (0, True, 10)
    run_sql(postgres, "control_plane_office", "INSERT INTO public.notes SELECT n, 'メモ ' || n FROM generate_series(11, 1000) AS n")


def test_a_drill_is_listed(plane: Plane, backup: dict[str, Any]) -> None:
    assert plane.officeops("drill", backup["id"], "--json").status == 0
    assert plane.officeops("backups", "--json").json["backups"][0]["drilled_at"] is not None


def test_pins_are_listed(plane: Plane, backup: dict[str, Any]) -> None:
    for command, pinned in (("pin", True), ("unpin", False)):
        assert plane.officeops(command, backup["id"]).status == 0
        assert plane.officeops("backups", "--json").json["backups"][0]["pinned"] is pinned


def test_a_script_that_people_can_read(plane: Plane) -> None:
    found = plane.officeops("backup", "--format", "sql.gz", "--json").json
    assert found["kind"] == "sql"
    assert any(one["key"].endswith("database.sql.gz") for one in found["objects"])


@pytest.mark.parametrize(
    ("arguments", "env", "status", "says"),
    [
        (["verify", "20000101T000000Z-dead", "--json"], {}, 2, "20000101T000000Z-dead"),
        (["backup", "--fromat", "dump"], {}, 2, "--fromat"),
        (["backup", "--format", "zip"], {}, 2, "zip"),
        (["status", "--json"], {"HTTP_PORT": "many"}, 2, "(environment): HTTP_PORT: found 'many'"),
        (["restore", "nothing.sql", "--yes"], {}, 2, "nothing.sql"),
        (["restore", "latest"], {}, 3, "--yes"),
        (["restore", "latest", "--undo", "--yes"], {}, 2, "Name a backup to restore, or --undo"),
    ],
)
def test_bad_usage_is_told_from_failure(
    arguments: list[str], env: dict[str, str], status: int, says: str, plane: Plane, backup: dict[str, Any]
) -> None:
    assert backup["verified"]
    ended = plane.officeops(*arguments, **env)
    assert (ended.status, ended.stdout) == (status, "")
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_debug_shows_the_traceback_too(plane: Plane) -> None:
    ended = plane.officeops("restore", "--debug")
    assert (ended.status, ended.stdout) == (2, "")
    assert "Traceback" in ended.stderr


def test_who_holds_the_lock_is_told_and_the_exit_status_is_3(plane: Plane) -> None:
    with stack_lock(plane.site.home, plane.site.name, "counting chairs"):
        ended = plane.officeops("backup", "--json")
    assert (ended.status, ended.stdout) == (3, "")
    assert "counting chairs" in ended.stderr


def test_a_failed_backup_is_1_and_names_its_stage(plane: Plane) -> None:
    blocked = plane.site.config.folder / "blocked"
    blocked.write_text("a file where a folder should be")
    ended = plane.officeops("backup", "--json", BACKUP_TARGETS=f"file:{blocked}")
    assert (ended.status, ended.stdout) == (1, "")
    assert "failed in" in ended.stderr
    assert str(blocked) in ended.stderr


def test_a_server_that_is_down_is_told_at_once_and_the_backup_runs_offline(plane: Plane, without_server: dict[str, str]) -> None:
    refused = plane.officeops("backup", "--json", **without_server)
    assert (refused.status, refused.stdout) == (1, "")
    assert "does not answer" in refused.stderr
    assert "--offline" in refused.stderr
    offline = plane.officeops("backup", "--json", "--offline", **without_server)
    assert offline.status == 0, offline.stderr
    assert offline.json["verified"] is True
    assert offline.stderr == ""


def test_reading_needs_no_server(plane: Plane, without_server: dict[str, str]) -> None:
    for command in ("status", "backups"):
        assert plane.officeops(command, "--json", **without_server).status == 0


def test_a_run_of_the_command_is_recorded_on_the_server(plane: Plane, backup: dict[str, Any]) -> None:
    with plane.client() as client:
        assert "Completed" in [run.state_name for run in client.read_flow_runs() if run.deployment_id is None]
    assert backup["verified"]
    assert control_plane.is_ready(plane.site.config.settings)
