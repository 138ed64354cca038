"""One lock per stack: who has it, who is refused, and what a killed holder leaves."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from officeops.errors import OfficeOpsError
from officeops.lock import Holder, LockedError, lock_holder, stack_lock

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOLDER = """
import sys
from pathlib import Path
from officeops.lock import stack_lock
with stack_lock(Path(sys.argv[1]), sys.argv[2], sys.argv[3]):
    print("ready", flush=True)
    sys.stdin.readline()
"""
Holding = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def holding(folder: Path) -> Iterator[Holding]:
    """Starts a process that holds the lock until it reads a line."""
    with ExitStack() as stack:

        def start(name: str = "office", doing: str = "a long backup") -> subprocess.Popen[str]:
            argv = [sys.executable, "-c", HOLDER, str(folder), name, doing]
            process = stack.enter_context(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            return process

        yield start


@contextmanager
def nameless(folder: Path, text: str = "") -> Iterator[Callable[[], None]]:
    """The lock held by somebody who has not written yet who it is; the file says `text`. Gives what lets go of it."""
    path = folder / "office.lock"
    path.write_text(text)
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(file, fcntl.LOCK_UN)


def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def text_of(pid: int, host: str | None = None) -> str:
    return json.dumps({"doing": "an old deploy", "who": f"ops@{host or socket.gethostname()}", "pid": pid, "since": "2020-01-01T00:00:00Z"})


def test_a_process_excludes_another_and_says_who_it_is_since_when_and_doing_what(folder: Path, holding: Holding) -> None:
    process = holding(doing="a long backup")
    with pytest.raises(LockedError) as refused, stack_lock(folder, "office", "deploy"):
        pass
    holder = refused.value.holder
    assert holder is not None
    assert (holder.pid, holder.doing) == (process.pid, "a long backup")
    assert holder.who.endswith(f"@{socket.gethostname()}")
    assert all(word in str(refused.value) for word in ("office", str(process.pid), holder.who, holder.since, "a long backup"))
    assert refused.value.exit_status == 3


def test_the_holder_can_be_asked_for(folder: Path, holding: Holding) -> None:
    process = holding(doing='odd "doing" 売上')
    found = lock_holder(folder, "office")
    assert found is not None
    assert (found.pid, found.doing) == (process.pid, 'odd "doing" 売上')


def test_since_is_the_time_of_the_clock(folder: Path) -> None:
    with stack_lock(folder, "office", "deploy", clock=lambda: NOON):
        assert lock_holder(folder, "office") == Holder(
            "deploy", f"{getpass.getuser()}@{socket.gethostname()}", os.getpid(), "2026-03-01T12:00:00Z"
        )


def test_it_is_free_after_its_block(folder: Path) -> None:
    for _ in range(2):
        with stack_lock(folder, "office", "deploy"):
            pass
    assert lock_holder(folder, "office") is None


def test_it_is_free_after_a_block_that_failed(folder: Path) -> None:
    with pytest.raises(KeyError), stack_lock(folder, "office", "deploy"):
        raise KeyError
    assert lock_holder(folder, "office") is None


def test_it_is_free_when_its_holder_was_killed(folder: Path, holding: Holding) -> None:
    process = holding()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lock_holder(folder, "office") is None
    with stack_lock(folder, "office", "deploy"):
        found = lock_holder(folder, "office")
        assert found is not None
        assert (found.pid, found.doing) == (os.getpid(), "deploy")


def test_a_child_process_of_a_killed_holder_does_not_keep_it(folder: Path) -> None:
    code = HOLDER.replace(
        "    print",
        "    import subprocess; child = subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL)\n    print(child.pid); print",
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder), "office", "x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert process.stdout.readline() == "ready\n"
        process.kill()
    try:
        assert lock_holder(folder, "office") is None
    finally:
        os.kill(child, signal.SIGKILL)


def test_two_names_do_not_exclude_each_other(folder: Path, holding: Holding) -> None:
    holding("office")
    with stack_lock(folder, "shop", "deploy"):
        assert lock_holder(folder, "office") != lock_holder(folder, "shop")


def test_two_folders_do_not_exclude_each_other(folder: Path, holding: Holding) -> None:
    holding("office")
    with stack_lock(folder / "other", "office", "deploy"):
        pass


def test_who_waits_gets_it_when_it_is_free(folder: Path, holding: Holding) -> None:
    process = holding()
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        process.communicate("\n")

    with stack_lock(folder, "office", "deploy", wait_s=60, sleep=sleep):
        assert len(waited) == 1


def test_who_waits_in_vain_is_refused(folder: Path, holding: Holding) -> None:
    process = holding()
    with pytest.raises(LockedError) as refused, stack_lock(folder, "office", "deploy", wait_s=0.3):
        pass
    assert refused.value.holder is not None
    assert refused.value.holder.pid == process.pid


def test_one_refused_leaves_the_holders_name_there(folder: Path, holding: Holding) -> None:
    process = holding()
    for _ in range(2):
        with pytest.raises(LockedError) as refused, stack_lock(folder, "office", "deploy"):
            pass
        assert refused.value.holder is not None
        assert refused.value.holder.pid == process.pid


def test_somebody_who_only_looks_makes_nobody_fail(folder: Path) -> None:
    """Looking takes the lock for a moment, without a name."""
    with nameless(folder) as let_go, stack_lock(folder, "office", "deploy", sleep=lambda _seconds: let_go()):
        assert lock_holder(folder, "office") is not None


STALE = [("nothing", ""), ("a dead process", text_of(dead_pid())), ("half a text", text_of(1)[:20]), ("of a newer version", '{"doing": "x", "new": 1}'),
         ("no object", "[1]"), ("no text", "\udcff\0")]  # fmt: skip


@pytest.mark.parametrize("text", [text for _, text in STALE], ids=[name for name, _ in STALE])
def test_what_a_stale_file_says_is_not_believed(folder: Path, text: str) -> None:
    with nameless(folder):
        (folder / "office.lock").write_bytes(text.encode(errors="surrogateescape"))
        assert lock_holder(folder, "office") is None
        with pytest.raises(LockedError, match="does not say") as refused, stack_lock(folder, "office", "deploy"):
            pass
        assert refused.value.holder is None


def test_a_process_of_another_host_is_believed(folder: Path) -> None:
    """Its number says nothing here."""
    with nameless(folder, text_of(dead_pid(), "another-host")):
        found = lock_holder(folder, "office")
    assert found is not None
    assert found.who == "ops@another-host"


def test_a_stale_file_is_no_lock(folder: Path) -> None:
    (folder / "office.lock").write_text(text_of(os.getpid()))
    assert lock_holder(folder, "office") is None
    with stack_lock(folder, "office", "deploy"):
        pass


def test_nobody_holds_what_was_never_locked(folder: Path) -> None:
    assert lock_holder(folder / "not there", "office") is None
    assert list(folder.iterdir()) == []


def test_of_many_processes_one_at_a_time_is_inside(folder: Path) -> None:
    code = """
import sys
from pathlib import Path
from officeops.lock import stack_lock
folder = Path(sys.argv[1])
for _ in range(10):
    with stack_lock(folder, "office", "counting", wait_s=60, sleep=lambda _seconds: None):
        count = int((folder / "count").read_text())
        (folder / "count").write_text(str(count + 1))
"""
    (folder / "count").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", code, str(folder)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (folder / "count").read_text() == "30"


AS_A_STRANGER = """
import os, sys
from pathlib import Path
from officeops.errors import OfficeOpsError
from officeops.lock import lock_holder, stack_lock
os.setgid(54321); os.setuid(54321)
try:
    with stack_lock(Path(sys.argv[1]), "office", "deploy"):
        print(lock_holder(Path(sys.argv[1]), "office").who)
except OfficeOpsError as error:
    print(error)
"""


def as_a_stranger(home: Path) -> str:
    """What an account without name or rights meets."""
    argv = [sys.executable, "-c", AS_A_STRANGER, str(home)]
    return subprocess.run(argv, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True).stdout


def test_an_account_without_a_name_can_hold_it(folder: Path) -> None:
    folder.chmod(0o777)
    assert as_a_stranger(folder) == f"uid 54321@{socket.gethostname()}\n"


def test_an_account_without_rights_is_told_so(folder: Path) -> None:
    with stack_lock(folder, "office", "deploy"):
        pass
    assert "cannot be locked" in as_a_stranger(folder)
    assert "OFFICEOPS_HOME" in as_a_stranger(folder)
    assert issubclass(LockedError, OfficeOpsError)
