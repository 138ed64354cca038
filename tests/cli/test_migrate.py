"""The commands for the schema: what other programs may rely on, what is refused, and the flows behind them on a real server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from officeops.errors import RefusedError
from officeops.ledger import ReleaseRecord
from officeops.process import Command, run
from officeops.releases.plans import DowngradePlan
from officeops.releases.schema import Schema
from officeops.site import Site, open_site
from officeops.stack.port import Deployed, Release
from officeops_cli import migrate as command
from tasks.migrations import require_confirmation
from tests.support.backend import BACKEND
from tests.support.control_plane import Plane, run_sql
from tests.support.migrations import AT, HEAD, Written
from tests.support.postgres import Running
from tests.support.site import PROJECT

pytestmark = pytest.mark.xdist_group("control_plane")

APPLICATION = """
application:
  migrations: backend/alembic/versions
  migrate:
    command: ["{python}", -m, alembic, upgrade, head]
    directory: backend
    environment:
      PGHOST: 127.0.0.1
      PGPORT: "{postgres_port}"
      PGUSER: "{postgres_user}"
      PGPASSWORD: "{postgres_password}"
      PGDATABASE: "{postgres_db}"
"""
DATABASE = "control_plane_office"
MAIL = Written("x1", "ALTER TABLE users ADD COLUMN mail text", "ALTER TABLE users DROP COLUMN mail")
NO_ROOMS = Written("x2", "DROP TABLE sensor_readings", "CREATE TABLE sensor_readings (id int)", contract=True)
OLD, NEW = "a" * 40, "b" * 40


@dataclass
class Deployment:
    """A site on which a release runs that brought an expand revision (applied) and a contract revision (not yet)."""

    plane: Plane
    site: Site

    def retain(self, sha: str) -> None:
        """The ledger has it as a release that one can go back to."""
        self.site.ledger.record_release(
            ReleaseRecord(
                f"deploy-{sha[:7]}", sha, "deploy", "blue-green", "blue", {}, {}, "somebody", "", "2026-01-02", outcome="deployed"
            )
        )

    @property
    def revision(self) -> str | None:
        return Schema(self.site).current()


@pytest.fixture(scope="module")
def office(plane: Plane, postgres: Running) -> Iterator[Deployment]:
    runbook, home = plane.site.config.folder / "runbook.yaml", plane.site.home
    text = runbook.read_text()
    runbook.write_text(text + APPLICATION)
    site = open_site(plane.site.config.folder)
    for sha, added in ((OLD, [MAIL]), (NEW, [MAIL, NO_ROOMS])):
        make_release(site, sha, added)
    site.stack.record(Deployed(NEW, AT))
    run(site.stack.migration(Release(NEW, AT), ["upgrade", "x1"]), timeout=60)
    yield Deployment(plane, site)
    run(site.stack.migration(Release(NEW, AT), ["downgrade", "base"]), timeout=60)
    run_sql(postgres, DATABASE, "DROP TABLE public.alembic_version")
    runbook.write_text(text)
    (home / "release.json").unlink()
    for folder in ("releases", "venvs"):
        shutil.rmtree(home / folder)


def make_release(site: Site, sha: str, added: list[Written]) -> None:
    """As `build` would, without installing packages: the programs run with ours."""
    folder = site.stack.folder(Release(sha, AT))
    shutil.copytree(BACKEND, folder / "backend", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "requirements.lock").write_text("")
    after = HEAD
    for one in added:
        (folder / "backend" / "alembic" / "versions" / f"{one.id}.py").write_text(one.text(after))
        after = one.id
    venv = Path(site.stack._releases.venv(sha))  # type: ignore[attr-defined]
    venv.mkdir(parents=True, exist_ok=True)
    (venv / ".complete").touch()


def test_current_and_history(office: Deployment) -> None:
    assert office.plane.officeops("migrate", "current", "--json").json == {
        "revision": "x1", "release": NEW, "head": "x2", "ahead": False, "expand": [], "contract": ["x2"],
    }  # fmt: skip
    known = office.plane.officeops("migrate", "history", "--json").json["revisions"]
    assert known[-2:] == [
        {"id": "x1", "doc": "What x1 does.", "contract": False, "applied": True, "current": True},
        {"id": "x2", "doc": "What x2 does.", "contract": True, "applied": False, "current": False},
    ]
    assert "officeops migrate contract" in office.plane.officeops("migrate", "current").stdout
    assert "not applied" in office.plane.officeops("migrate", "history").stdout


@pytest.mark.parametrize("what", ["current", "history"])
def test_reading_imports_no_prefect(office: Deployment, what: str) -> None:
    code = (
        "import sys\nfrom officeops_cli.main import app\n"
        f"app(['migrate', {what!r}, '--json'], standalone_mode=False)\nsys.exit('prefect' in sys.modules)"
    )
    done = run(Command((sys.executable, "-c", code), {"PYTHONPATH": str(PROJECT)}, cwd=office.site.config.folder), timeout=60)
    assert done.stdout.startswith(b"{")


def test_a_dry_run_of_a_downgrade_shows_what_would_go_and_changes_nothing(office: Deployment) -> None:
    planned = office.plane.officeops("migrate", "downgrade", "-2", "--dry-run", "--json").json
    assert (planned["from"], planned["to"], planned["outcome"]) == ("x1", "0003", "planned")
    assert [one["id"] for one in planned["revisions"]] == ["x1", HEAD]
    assert planned["drops"] == ["column users.mail", "column messages.model"]
    assert "DROP COLUMN mail" in planned["sql"]
    shown = office.plane.officeops("migrate", "downgrade", "base", "--dry-run")
    assert shown.status == 0
    assert "table rooms, 0 rows" in shown.stdout
    assert office.revision == "x1"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["downgrade", "-1"], 3, "--yes"),
        (["downgrade", "base"], 3, "--yes"),
        (["contract"], 3, "--yes"),
        (["stamp", HEAD], 3, "--yes"),
        (["downgrade", "0099", "--yes"], 2, "0099"),
        (["downgrade", "x2", "--yes"], 2, "above x1"),
        (["downgrade", "-99", "--yes"], 2, "-99"),
        (["stamp", "0099", "--yes"], 2, "0099"),
        (["downgrade"], 2, "TARGET"),
    ],
)
def test_what_is_refused_and_what_makes_no_sense(office: Deployment, arguments: list[str], status: int, says: str) -> None:
    ended = office.plane.officeops("migrate", *arguments, "--json")
    assert (ended.status, ended.stdout) == (status, "")
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert office.revision == "x1"


def test_contract_waits_for_the_release_that_needs_the_old_shape_and_is_then_applied_and_undone(office: Deployment) -> None:
    office.retain(OLD)
    office.retain(NEW)
    refused = office.plane.officeops("migrate", "contract", "--yes", "--json")
    assert (refused.status, refused.stdout, office.revision) == (3, "", "x1")
    assert OLD[:10] in refused.stderr
    shutil.rmtree(office.site.stack.folder(Release(OLD, AT)))
    planned = office.plane.officeops("migrate", "contract", "--dry-run", "--json").json
    assert [one["id"] for one in planned["revisions"]] == ["x2"]
    backups = len(office.plane.officeops("backups", "--json").json["backups"])
    done = office.plane.officeops("migrate", "contract", "--yes", "--json")
    assert done.status == 0, done.stderr
    assert done.json == {"from": "x1", "to": "x2", "revisions": ["x2"], "outcome": "migrated"}
    assert len(office.plane.officeops("backups", "--json").json["backups"]) == backups + 1
    assert office.plane.officeops("migrate", "contract", "--yes", "--json").json["outcome"] == "unchanged"
    undone = office.plane.officeops("migrate", "downgrade", "-1", "--yes", "--json")
    assert undone.json == {"from": "x2", "to": "x1", "revisions": ["x2"], "outcome": "migrated"}
    assert office.revision == "x1"


def test_stamp_corrects_what_is_written_down(office: Deployment, postgres: Running) -> None:
    run_sql(postgres, DATABASE, "UPDATE public.alembic_version SET version_num = 'lost'")
    assert office.plane.officeops("migrate", "current", "--json").json["ahead"] is True
    done = office.plane.officeops("migrate", "stamp", "x1", "--yes", "--json")
    assert done.json == {"from": "lost", "to": "x1", "revisions": [], "outcome": "migrated"}
    assert office.revision == "x1"


def test_base_is_asked_for_twice(office: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(command, "confirm", lambda question, *, yes: asked.append(question))
    some = Schema(office.site).plan_downgrade("-1")
    command._ask(office.site, some, yes=False)
    assert len(asked) == 1
    command._ask(office.site, Schema(office.site).plan_downgrade("base"), yes=False)
    assert len(asked) == 3
    assert "all its data" in asked[-1]


def test_a_run_of_the_flow_down_to_base_needs_the_stacks_name(office: Deployment) -> None:
    plan: DowngradePlan = Schema(office.site).plan_downgrade("base")
    with pytest.raises(RefusedError, match=office.site.name):
        require_confirmation(office.site, plan, "yes")
    require_confirmation(office.site, plan, office.site.name)
