"""archive, archives, unarchive, query: what programs may rely on, against a real control plane."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.control_plane import Plane, run_sql
from tests.support.postgres import Running

pytestmark = pytest.mark.xdist_group("control_plane")

DATABASE = "control_plane_office"
POLICY = """
archives:
  - {name: old, table: visits, children: [steps], age_column: at, older_than_days: 30, grace_days: 0}
"""


@pytest.fixture
def visits(plane: Plane, postgres: Running) -> Iterator[None]:
    """Two tables and a policy, for as long as a test takes."""
    runbook = plane.site.config.folder / "runbook.yaml"
    before = runbook.read_text()
    runbook.write_text(before + POLICY)
    run_sql(
        postgres,
        DATABASE,
        """CREATE TABLE public.visits (id int PRIMARY KEY, at date);
           CREATE TABLE public.steps (id int PRIMARY KEY, visit int REFERENCES public.visits ON DELETE CASCADE);
           CREATE INDEX ON public.steps (visit);
           INSERT INTO public.visits SELECT n, now()::date - n * 20 FROM generate_series(1, 10) AS n;
           INSERT INTO public.steps SELECT n, 1 + n % 10 FROM generate_series(1, 30) AS n""",
    )
    try:
        yield
    finally:
        runbook.write_text(before)
        run_sql(postgres, DATABASE, "DROP TABLE public.steps, public.visits; DROP SCHEMA IF EXISTS officeops CASCADE")


def test_the_whole_way_and_back(plane: Plane, postgres: Running, visits: None) -> None:
    planned = plane.officeops("archive", "--dry-run", "--json")
    assert planned.status == 0, planned.stderr
    assert planned.json["tables"]["public.visits"]["rows"] == 9
    assert any("COPY" in statement for statement in planned.json["plans"][0]["statements"])
    assert run_sql(postgres, DATABASE, "SELECT to_regnamespace('officeops')") == [(None,)]

    waiting = plane.officeops("archive", "old", "--json")
    assert waiting.status == 0, waiting.stderr
    assert waiting.json.keys() >= {"policy", "batch", "tables", "objects", "seconds"}
    assert waiting.json["policy"] == "old"
    assert waiting.json["tables"] == {
        "public.visits": {"rows": 9, "bytes": waiting.json["tables"]["public.visits"]["bytes"]},
        "public.steps": {"rows": 27, "bytes": waiting.json["tables"]["public.steps"]["bytes"]},
    }
    assert {frozenset(one) for one in waiting.json["objects"]} == {frozenset({"target", "key", "bytes", "sha256"})}
    assert "waits for a backup" in waiting.json["batches"][0]["waits_for"]
    assert run_sql(postgres, DATABASE, "SELECT count(*) FROM public.visits") == [(10,)]

    done = plane.officeops("archive", "--waiting", "--prove", "--json")
    assert done.status == 0, done.stderr
    assert done.json["batches"][0]["state"] == "done"
    assert run_sql(postgres, DATABASE, "SELECT count(*) FROM public.visits") == [(1,)]

    listed = plane.officeops("archives", "--json").json["batches"]
    assert [(one["id"], one["state"], one["absent"]) for one in listed] == [(done.json["batch"], "done", {})]
    asked = plane.officeops("query", "SELECT count(*) AS n, max(visit) FROM steps", "--json").json
    assert asked == {"columns": ["n", "max(visit)"], "rows": [[27, 10]]}

    back = plane.officeops("unarchive", done.json["batch"], "--where", "id > 8", "--json")
    assert (back.status, back.json["tables"]) == (0, {"public.visits": {"rows": 2}, "public.steps": {"rows": 6}})
    run_sql(postgres, DATABASE, "INSERT INTO public.visits VALUES (3, now())")
    conflict = plane.officeops("unarchive", done.json["batch"])
    assert conflict.status == 1
    assert "there is a row with that key" in conflict.stderr
    assert run_sql(postgres, DATABASE, "SELECT count(*) FROM public.visits") == [(10,)]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["archive", "new"], 2, "no policy 'new'"),
        (["unarchive", "nothing"], 2, "no batch 'nothing'"),
        (["query", "SELEC 1"], 2, "The query failed"),
    ],
)
def test_bad_usage(arguments: list[str], status: int, says: str, plane: Plane, visits: None) -> None:
    ended = plane.officeops(*arguments)
    assert (ended.status, ended.stdout) == (status, "")
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_policy_that_is_refused_is_3(plane: Plane, postgres: Running, visits: None) -> None:
    run_sql(postgres, DATABASE, "CREATE TABLE public.stars (visit int CONSTRAINT star_of REFERENCES public.visits ON DELETE CASCADE)")
    try:
        ended = plane.officeops("archive", "--json")
    finally:
        run_sql(postgres, DATABASE, "DROP TABLE public.stars")
    assert (ended.status, ended.stdout) == (3, "")
    assert "star_of" in ended.stderr
