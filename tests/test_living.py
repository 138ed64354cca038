"""Who lives, by locks that die with their holders."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from officeops.living import dead, forget, living
from officeops.process import Command, started
from tests.support.ports import eventually
from tests.support.site import PROJECT

SLEEPS = (
    "import sys, time; from pathlib import Path; from officeops.living import living\nwith living(Path(sys.argv[1]), 'one'): time.sleep(60)"
)


def test_who_lives_is_not_dead_who_ended_is_forgotten_and_who_was_killed_is_dead(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    assert dead(folder) == []
    with living(folder, "two"), started(Command((sys.executable, "-c", SLEEPS, str(folder)), cwd=PROJECT), timeout=60) as child:
        eventually((folder / "one").exists, 30, "the other process")
        assert dead(folder) == []
        os.kill(child.pid, 9)
        eventually(lambda: dead(folder) == ["one"], 30, "its death")
    assert dead(folder) == ["one"]
    forget(folder, "one")
    assert list(folder.iterdir()) == []


def test_the_same_name_may_live_again_after_its_death(tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    assert dead(tmp_path) == ["one"]
    with living(tmp_path, "one"):
        assert dead(tmp_path) == []
    assert dead(tmp_path) == []
