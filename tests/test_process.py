"""Child processes: their end, their words, their secrets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from officeops.errors import OfficeOpsError
from officeops.process import Command, CommandError, CommandTimeoutError, run, started
from officeops.streams import read_chunks
from tests.support.ports import eventually

SECRET = "correct horse battery staple"


def shell(script: str, **env: str | SecretStr) -> Command:
    return Command(("sh", "-c", script), env)


def python(script: str, **env: str | SecretStr) -> Command:
    return Command((sys.executable, "-c", script), env)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_gone(pids: Path, count: int) -> None:
    found = [int(word) for word in pids.read_text().split()]
    assert len(found) == count
    eventually(lambda: all(gone(pid) for pid in found), what=f"the end of {found}")


# Ends


@pytest.mark.parametrize(("status", "ok"), [(0, (0,)), (3, (0, 3)), (255, (255,))])
def test_a_status_that_is_allowed_is_returned(status: int, ok: tuple[int, ...]) -> None:
    assert run(shell(f"exit {status}"), timeout=20, ok=ok).status == status


@pytest.mark.parametrize(
    ("script", "status", "how"),
    [("exit 1", 1, "sh failed with status 1"), ("exit 127", 127, "sh failed with status 127"), ("kill -KILL $$", -9, "sh was killed by SIGKILL"),
     ("kill -SEGV $$", -11, "sh was killed by SIGSEGV")],
)  # fmt: skip
def test_any_other_end_is_an_error_that_says_how(script: str, status: int, how: str) -> None:
    with pytest.raises(CommandError, match=how) as failed:
        run(shell(f"echo why >&2; {script}"), timeout=20)
    assert (failed.value.status, failed.value.stderr) == (status, "why")
    assert str(failed.value).endswith("why.")


def test_an_error_of_a_silent_program_says_that_it_was_silent() -> None:
    with pytest.raises(CommandError, match="said nothing on stderr"):
        run(shell("echo to stdout only; exit 1"), timeout=20)


def test_a_status_that_is_not_waited_for_is_no_error() -> None:
    with started(shell("exit 1"), timeout=20):
        pass


def test_waiting_twice_says_the_same() -> None:
    with started(shell("exit 3"), timeout=20) as child:
        assert [child.wait(ok=(3,)), child.wait(ok=(3,))] == [3, 3]
    assert child.wait(ok=(3,)) == 3


# What cannot be started


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (Command(("no-such-program-anywhere",)), "no-such-program-anywhere could not be started: .*No such file"),
        (Command(("/etc/passwd",)), "passwd could not be started: .*Permission denied"),
        (Command(("true",), cwd=Path("/not/there")), "true could not be started: .*/not/there"),
        (Command(("true",), user="no-such-account"), "true could not be started: .*no-such-account"),
        (Command(("true", "x" * 3_000_000)), "true could not be started: .*too long"),
    ],
    ids=["no program", "no right", "no folder", "no account", "too many arguments"],
)
def test_a_program_that_cannot_be_started_is_named(command: Command, why: str) -> None:
    with pytest.raises(CommandError, match=why) as failed:
        run(command, timeout=20)
    assert failed.value.status is None
    assert isinstance(failed.value, OfficeOpsError)


# Time


def test_a_program_that_takes_too_long_is_stopped_and_says_what_it_said() -> None:
    with pytest.raises(CommandTimeoutError, match="sh took too long and was stopped: at work"):
        run(shell("echo at work >&2; exec sleep 600"), timeout=0.3)


def test_the_whole_group_is_stopped_when_the_time_is_up(folder: Path) -> None:
    pids = folder / "pids"
    with pytest.raises(CommandTimeoutError):
        run(shell(f"echo $$ >> '{pids}'; sh -c 'echo $$ >> \"{pids}\"; sleep 600' & echo $! >> '{pids}'; sleep 600"), timeout=1)
    found = {int(word) for word in pids.read_text().split()}
    eventually(lambda: all(gone(pid) for pid in found))


def test_who_ignores_a_polite_signal_is_killed() -> None:
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    with started(python(script), timeout=600) as child:
        assert child.stdout.readline() == b"ready\n"
    assert gone(child.pid)


def test_a_program_that_left_and_whose_child_holds_its_output_is_stopped_too(folder: Path) -> None:
    """Reading its output would else never end."""
    pids = folder / "pids"
    with pytest.raises(CommandTimeoutError):
        run(shell(f"sleep 600 & echo $! > '{pids}'; exit 0"), timeout=1)
    all_gone(pids, 1)


def test_who_reads_a_stream_is_not_kept_waiting_beyond_the_time() -> None:
    with started(shell("echo one; exec sleep 600"), timeout=0.3) as child:
        assert b"".join(read_chunks(child.stdout)) == b"one\n"
        with pytest.raises(CommandTimeoutError):
            child.wait()


def test_who_feeds_a_stream_is_not_kept_waiting_beyond_the_time() -> None:
    with pytest.raises(CommandTimeoutError):
        run(shell("exec sleep 600"), timeout=0.3, stdin=bytes(1 << 20))


# What is left behind


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "kill -KILL $$"])
def test_what_a_program_leaves_behind_is_ended(folder: Path, end: str) -> None:
    pids = folder / "pids"
    with started(shell(f"sleep 600 >/dev/null 2>&1 & echo $! > '{pids}'; {end}"), timeout=20) as child:
        child.wait(ok=(0, 1, -9)) if end != "kill -KILL $$" else child.wait(ok=(-9,))
    all_gone(pids, 1)


def test_what_holds_stderr_open_is_ended_too(folder: Path) -> None:
    pids = folder / "pids"
    done = run(shell(f"sleep 600 >/dev/null & echo $! > '{pids}'; echo last words >&2"), timeout=60)
    assert done.stderr == "last words"
    all_gone(pids, 1)


def test_what_a_daemon_leaves_behind_lives_on(folder: Path) -> None:
    pids = folder / "pids"
    command = Command(("sh", "-c", f"sleep 600 >/dev/null 2>&1 & echo $! > '{pids}'"), daemonizes=True)
    run(command, timeout=20)
    pid = int(pids.read_text())
    try:
        assert not gone(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_leaving_the_block_ends_the_whole_group(folder: Path, error: type[BaseException]) -> None:
    pids = folder / "pids"
    with pytest.raises(error), started(shell(f"sleep 600 & echo $! $$ > '{pids}'; echo ready; wait"), timeout=600) as child:
        assert child.stdout.readline() == b"ready\n"
        raise error
    all_gone(pids, 2)


@pytest.mark.parametrize("script", ["exec sleep 600", "sleep 600 & exit 0"], ids=["it ran", "it had left"])
def test_a_group_of_its_own_leaves_us_alone(script: str) -> None:
    with started(shell(script), timeout=600) as child:
        assert child.pid != os.getpgrp()
    assert os.getpgrp() != child.pid


def test_what_a_kill_does_not_reach_is_told_so_once(folder: Path) -> None:
    calls: list[str] = []
    for script, timeout in (("exec sleep 600", 0.2), ("exit 0", 20.0)):
        with started(Command(("sh", "-c", script), on_kill=lambda script=script: calls.append(script)), timeout=timeout) as child:  # type: ignore[misc]
            if script == "exit 0":
                child.wait()
            else:
                with pytest.raises(CommandTimeoutError):
                    child.wait()
    assert calls == ["exec sleep 600"]


def test_an_end_at_the_moment_that_the_time_is_up_is_one_or_the_other() -> None:
    """Whoever comes first: nothing else is raised, and nothing hangs."""
    ends: list[object] = []

    def attempt() -> None:
        for _ in range(10):
            try:
                ends.append(run(shell("sleep 0.05"), timeout=0.05).status)
            except CommandTimeoutError:
                ends.append("too long")

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 40
    assert set(ends) <= {0, "too long"}


# Words


def test_stdout_and_stderr_are_kept_apart() -> None:
    done = run(shell("echo out; echo err >&2"), timeout=20)
    assert (done.stdout, done.stderr) == (b"out\n", "err")


def test_only_the_last_words_of_stderr_are_kept() -> None:
    done = run(python("import sys\nfor n in range(100000): print('line', n, file=sys.stderr)"), timeout=60)
    lines = done.stderr.splitlines()
    assert lines[-1] == "line 99999"
    assert len(lines) == 60


def test_a_line_without_end_on_stderr_takes_no_memory() -> None:
    done = run(python("import sys\nfor _ in range(300): sys.stderr.write('x' * 100000)"), timeout=60)
    assert len(done.stderr) < 1 << 20


def test_a_program_that_says_much_on_stderr_is_not_blocked() -> None:
    done = run(python("import sys\nsys.stderr.write('x\\n' * 1000000)\nprint('done')"), timeout=60)
    assert done.stdout == b"done\n"


def test_stderr_that_is_no_text_is_shown_as_well_as_it_can_be() -> None:
    assert run(shell(r"printf 'a\377b\n' >&2"), timeout=20).stderr == "a\ufffdb"


@pytest.mark.parametrize("size", [0, 1, 1 << 20, 10 << 20])
def test_stdin_goes_in_and_stdout_comes_out(size: int) -> None:
    data = os.urandom(size)
    assert run(Command(("cat",)), timeout=60, stdin=data).stdout == data


def test_a_program_that_does_not_read_its_stdin_is_no_error() -> None:
    assert run(shell("exit 0"), timeout=20, stdin=bytes(10 << 20)).status == 0


def test_without_stdin_a_program_meets_its_end() -> None:
    assert run(Command(("cat",)), timeout=20).stdout == b""


# Secrets and surroundings


def failing(command: Command, timeout: float = 20) -> str:
    with pytest.raises(CommandError) as failed:
        run(command, timeout=timeout)
    return f"{failed.value} {failed.value!r} {failed.value.command!r} {failed.value.stderr}"


@pytest.mark.parametrize(
    "command",
    [
        shell("echo no secret here >&2; exit 1", TOKEN=SecretStr(SECRET)),
        shell('echo "the password $TOKEN is wrong" >&2; exit 1', TOKEN=SecretStr(SECRET)),
        Command(("no-such-program-anywhere",), {"TOKEN": SecretStr(SECRET)}),
        shell('printf "%s\n%s\n" "$TOKEN" "$TOKEN" >&2; kill -KILL $$', TOKEN=SecretStr(SECRET)),
    ],
    ids=["silent about it", "repeating it", "not started", "killed"],
)
def test_a_secret_reaches_the_program_and_no_error(command: Command) -> None:
    assert SECRET not in failing(command)
    assert command.environment()["TOKEN"] == SECRET


def test_a_secret_is_in_no_argument_list() -> None:
    with started(shell("exec sleep 600", TOKEN=SecretStr(SECRET)), timeout=600) as child:
        eventually(lambda: Path(f"/proc/{child.pid}/cmdline").read_bytes() == b"sleep\x00600\x00")
        eventually(lambda: SECRET.encode() in Path(f"/proc/{child.pid}/environ").read_bytes())


def test_an_empty_secret_hides_nothing() -> None:
    assert "plain words" in failing(shell("echo plain words >&2; exit 1", TOKEN=SecretStr("")))


def test_our_own_environment_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("LANG", "C.UTF-8")
    printed = run(Command(("env",), {"OWN": "mine"}), timeout=20).stdout.decode().splitlines()
    assert {"OWN=mine", "LANG=C.UTF-8"} <= set(printed)
    assert not any(SECRET in line for line in printed)


def test_a_program_runs_as_another_account_with_its_groups_only() -> None:
    assert run(Command(("id", "-un"), user="nobody"), timeout=20).stdout == b"nobody\n"
    groups = subprocess.run(["id", "-G", "nobody"], capture_output=True, check=True).stdout
    assert set(run(Command(("id", "-G"), user="nobody"), timeout=20).stdout.split()) <= set(groups.split())


@pytest.mark.parametrize("make", [lambda: shell("cat; echo done"), lambda: Command(("cat",))])
def test_files_can_be_given_as_stdin_and_stdout(folder: Path, make: Callable[[], Command]) -> None:
    (folder / "in").write_bytes(b"content")
    with (
        (folder / "in").open("rb") as source,
        (folder / "out").open("wb") as out,
        started(make(), timeout=20, stdin=source, stdout=out) as child,
    ):
        child.wait()
    assert (folder / "out").read_bytes().startswith(b"content")
