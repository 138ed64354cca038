"""In CI no engine test is skipped, whatever else fails beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from officeops.process import Command, run
from tests.support.engine import REQUIRED

PROJECT = Path(__file__).resolve().parent.parent.parent
CONFTEST = """
import pytest
from tests.support.engine import Census

def pytest_configure(config):
    config.addinivalue_line("markers", "engine: needs one")
    config.pluginmanager.register(Census(), "engine-census")
"""
# One that fails the first time only, as on a busy machine.
FLAKY = """
from pathlib import Path

def test_flaky():
    there = Path(__file__).with_name("ran")
    known = there.exists()
    there.touch()
    assert known
"""
SKIPPED = """
import pytest

@pytest.mark.engine
def test_skipped():
    pytest.skip("not today")
"""


@pytest.mark.parametrize(("more", "status"), [("", 0), (SKIPPED, 1)], ids=["all ran", "one was skipped"])
def test_a_second_chance_is_only_for_a_run_without_skipped_engine_tests(tmp_path: Path, more: str, status: int) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {PROJECT}\n")
    (tmp_path / "test_few.py").write_text(FLAKY + more)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))

    def said(*argv: str) -> tuple[int, str]:
        done = run(Command(argv, {REQUIRED: "1"}, cwd=tmp_path), timeout=60, ok=range(256))
        return done.status, done.stdout.decode()

    assert said(".venv/bin/pytest", "-q")[0] == 1
    again, words = said(str(PROJECT / ".ci" / "again"))
    assert (again, "Once more, alone" in words) == (status, status == 0), words
