"""Keeping programs running."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from officeops.errors import OfficeOpsError
from officeops.stack.local.supervisor import Program, Supervisor
from tests.support.ports import eventually

pytestmark = pytest.mark.xdist_group("supervisor")
LEAVES_A_CHILD = "import os, time; child = os.fork(); child or open('children', 'a').write(f'{os.getpid()}\\n'); time.sleep(1000)"


@pytest.fixture
def programs(folder: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(folder, "programs")
    yield supervisor
    supervisor.shutdown()


def sleeper(folder: Path, *, code: str = "import time; time.sleep(1000)", **environment: str) -> Program:
    return Program("sleeper", (sys.executable, "-c", code), folder, {"PYTHONUNBUFFERED": "1", **environment})


def pid_of(programs: Supervisor) -> int:
    pid = programs.status_of("sleeper").pid
    assert pid is not None
    return pid


def test_what_a_killed_program_left_behind_is_gone_when_it_is_back(programs: Supervisor, folder: Path) -> None:
    """A worker process would keep its port."""
    programs.apply([sleeper(folder, code=LEAVES_A_CHILD)])
    programs.start("sleeper")
    children = folder / "children"
    eventually(lambda: children.exists() and children.read_text().endswith("\n"), what="the child")
    left = int(children.read_text())
    os.kill(pid_of(programs), 9)
    eventually(lambda: len(children.read_text().splitlines()) == 2, what="its return")
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE


def test_a_program_that_did_not_change_is_left_alone(programs: Supervisor, folder: Path) -> None:
    programs.apply([sleeper(folder)])
    programs.start("sleeper")
    before = programs.status_of("sleeper")
    programs.apply([sleeper(folder)])
    assert programs.status_of("sleeper") == before


def test_a_program_that_changed_is_stopped(programs: Supervisor, folder: Path) -> None:
    programs.apply([sleeper(folder)])
    programs.start("sleeper")
    programs.apply([sleeper(folder, CHANGED="yes")])
    assert programs.status_of("sleeper").state == "STOPPED"


def test_a_change_that_was_killed_half_way_is_finished_by_the_next_one(programs: Supervisor, folder: Path) -> None:
    programs.apply([sleeper(folder)])
    programs.start("sleeper")
    programs._write([sleeper(folder, CHANGED="yes")])
    programs.apply([sleeper(folder, CHANGED="yes")])
    assert programs.status_of("sleeper").state == "STOPPED"


def test_a_program_that_is_no_more_described_is_ended(programs: Supervisor, folder: Path) -> None:
    programs.apply([sleeper(folder)])
    programs.start("sleeper")
    pid = pid_of(programs)
    programs.apply([])
    assert programs.status() == []
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("cut", ["", "1700000000.1 12 abc\n17000"], ids=["the first", "the second"])
def test_a_note_of_a_start_that_was_cut_off_is_no_obstacle(programs: Supervisor, folder: Path, cut: str) -> None:
    programs.apply([sleeper(folder)])
    programs.shutdown()
    (programs.folder / "programs" / "sleeper.starts").write_text(cut)
    programs.apply([sleeper(folder)])
    programs.start("sleeper")
    assert programs.status_of("sleeper").state == "RUNNING"


def test_a_pid_file_that_names_another_process_by_now_is_no_obstacle(programs: Supervisor, folder: Path) -> None:
    programs.apply([sleeper(folder)])
    programs.shutdown()
    (programs.folder / "supervisord.pid").write_text(str(os.getpid()))
    programs.apply([sleeper(folder)])
    programs.start("sleeper")
    assert programs.status_of("sleeper").state == "RUNNING"


def test_of_a_program_that_ends_at_once_the_last_words_are_told(programs: Supervisor, folder: Path) -> None:
    programs.apply([sleeper(folder, code="import sys; sys.exit('nothing to do here')")])
    with pytest.raises(OfficeOpsError, match="nothing to do here"):
        programs.start("sleeper")


def test_logs_are_rotated_and_the_oldest_thrown_away(programs: Supervisor, folder: Path) -> None:
    line = "x" * 1023
    programs.apply([sleeper(folder, code=f"import time\nfor _ in range(50 * 1024): print('{line}')\nprint('the end')\ntime.sleep(1000)")])
    programs.start("sleeper")
    eventually(lambda: "the end" in programs.last_words("sleeper"), 60, what="the last line")
    sizes = {path.name: path.stat().st_size for path in programs.logs.glob("sleeper.log*")}
    assert set(sizes) == {"sleeper.log", "sleeper.log.1", "sleeper.log.2"}
    assert max(sizes.values()) < 11_000_000


def test_secrets_with_any_characters_reach_the_program_and_nobody_else(programs: Supervisor, folder: Path) -> None:
    secret = "ö '\"\\ $HOME %(here)s %% {x} ;# 合言葉"
    programs.apply(
        [sleeper(folder, code="import os, time; open('seen', 'w').write(os.environ['SECRET']); time.sleep(1000)", SECRET=secret)]
    )
    programs.start("sleeper")
    eventually(lambda: (folder / "seen").exists() and (folder / "seen").read_text() == secret, what="the secret's arrival")
    assert (programs.folder / "programs" / "sleeper.json").stat().st_mode & 0o077 == 0


def test_a_folder_for_temporary_files_with_too_long_a_path_is_said_to_be_one(
    programs: Supervisor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(folder / ("long" * 30)))
    with pytest.raises(OfficeOpsError, match=r"too long for a socket.*TMPDIR"):
        programs.apply([sleeper(folder)])


def other_sleeper(folder: Path) -> Program:
    return replace(sleeper(folder), name="other")


def test_a_program_that_is_put_beside_others_leaves_them_alone(programs: Supervisor, folder: Path) -> None:
    programs.apply([sleeper(folder)])
    programs.start("sleeper")
    before = programs.status_of("sleeper")
    programs.put(other_sleeper(folder))
    programs.start("other")
    assert programs.status_of("sleeper") == before
    assert programs.status_of("other").state == "RUNNING"


def test_a_program_that_was_put_is_one_of_those_that_are_applied_later(programs: Supervisor, folder: Path) -> None:
    programs.apply([sleeper(folder)])
    programs.put(other_sleeper(folder))
    programs.start("other")
    before = programs.status_of("other")
    programs.apply([sleeper(folder), other_sleeper(folder)])
    assert programs.status_of("other") == before
    programs.apply([sleeper(folder)])
    assert [one.name for one in programs.status()] == ["sleeper"]


def test_a_program_that_is_put_in_the_place_of_one_that_runs_replaces_it(programs: Supervisor, folder: Path) -> None:
    programs.apply([sleeper(folder)])
    programs.start("sleeper")
    pid = pid_of(programs)
    programs.put(sleeper(folder, CHANGED="yes"))
    assert programs.status_of("sleeper").state == "STOPPED"
    assert not psutil.pid_exists(pid)


def test_a_program_that_was_removed_is_gone_with_what_it_started_and_its_log_stays(programs: Supervisor, folder: Path) -> None:
    programs.apply([sleeper(folder, code=LEAVES_A_CHILD.replace("import os, time;", "import os, time; print('hello', flush=True);"))])
    programs.start("sleeper")
    children = folder / "children"
    eventually(lambda: children.exists() and children.read_text().endswith("\n"), what="the child")
    for _ in range(2):
        programs.remove(["sleeper"])
        assert programs.status() == []
    left = int(children.read_text())
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
    assert "hello" in programs.last_words("sleeper")


def test_a_program_that_ends_again_and_again_is_removed_too(programs: Supervisor, folder: Path) -> None:
    programs.apply([])
    programs.put(sleeper(folder, code="import sys; sys.exit(1)"))
    programs.begin("sleeper")
    eventually(lambda: programs.status_of("sleeper").state == "BACKOFF", what="its second thoughts")
    programs.remove(["sleeper"])
    assert programs.status() == []


def test_a_program_is_removed_also_when_supervisor_does_not_run(programs: Supervisor, folder: Path) -> None:
    programs.apply([sleeper(folder)])
    programs.shutdown()
    programs.remove(["sleeper"])
    assert programs.status() == []
