"""rebuild, clean-up: what programs may rely on, against a real control plane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control_plane import Plane

pytestmark = pytest.mark.xdist_group("control_plane")
SHA = "f" * 40


@pytest.fixture
def left(plane: Plane) -> Iterator[Path]:
    """What a killed export left."""
    folder = plane.site.home / "releases" / f"{SHA}.new"
    folder.mkdir(parents=True)
    (folder / "file").write_text("12345")
    yield folder
    if folder.exists():
        (folder / "file").unlink()
        folder.rmdir()


def test_a_clean_up_lists_what_goes_and_why_and_then_removes_it(plane: Plane, left: Path) -> None:
    planned = plane.officeops("clean-up", "--dry-run", "--json")
    assert planned.status == 0, planned.stderr
    assert planned.json.keys() >= {"dry_run", "gone", "kept", "troubles", "bytes", "seconds"}
    (one,) = planned.json["gone"]
    assert one == {"kind": "folder", "name": str(left), "bytes": 5, "stays": False, "why": "left by a run that was killed"}
    assert (planned.json["dry_run"], left.exists()) == (True, True)
    shown = plane.officeops("clean-up")
    assert (shown.status, "1 things went, 5 B at least" in shown.stdout) == (0, True), shown.stderr
    assert not left.exists()


def test_a_clean_up_runs_on_the_worker(plane: Plane, left: Path) -> None:
    ended = plane.ended(plane.start("clean-up"))
    assert ended.state_name == "Completed"
    assert not left.exists()


def test_a_rebuild_of_nothing_says_so(plane: Plane) -> None:
    ended = plane.officeops("rebuild", "--json")
    assert (ended.status, ended.stdout) == (1, "")
    assert "No release runs yet" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_bad_usage(plane: Plane) -> None:
    assert plane.officeops("rebuild", "--strategy", "hope").status == 2


def test_both_run_by_themselves(plane: Plane) -> None:
    assert [one.slug for one in plane.deployment("clean-up").schedules] == ["cleaning"]
    assert [one.slug for one in plane.deployment("rebuild").schedules] == ["monthly"]
