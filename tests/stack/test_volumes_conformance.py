"""What officeops/stack/port.py promises of volumes and of `exec`, asked of every adapter."""

from __future__ import annotations

import io
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from uuid import uuid4

import psutil
import pytest

from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.postgres import tools
from officeops.process import CommandError, CommandTimeoutError, run, started
from officeops.stack.port import Stack
from officeops.volumes.entries import Entry, entries
from tests.support.ports import eventually
from tests.support.stack import RunningStack

pytestmark = pytest.mark.xdist_group("stack")
MOMENT = 1_700_000_000
OWNER = (1234, 4321)


@pytest.fixture
def new_volume(running: RunningStack) -> Iterator[Callable[[], str]]:
    """Makes empty volumes; gone after the test."""
    made: list[str] = []

    def make() -> str:
        made.append(f"test_{uuid4().hex[:8]}")
        running.stack.create_volume(made[-1])
        return made[-1]

    yield make
    for name in made:
        running.stack.remove_volume(name)


def member(name: str, type_: bytes = tarfile.REGTYPE, *, mode: int = 0o644, target: str = "", size: int = 0) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.mode, found.linkname, found.size = type_, mode, target, size
    (found.uid, found.gid), found.mtime = OWNER, MOMENT
    return found


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def odd_content() -> bytes:
    long = "長" * 60
    return tar(
        (member("./", tarfile.DIRTYPE, mode=0o750), b""),
        (member("./empty folder/", tarfile.DIRTYPE, mode=0o1777), b""),
        (member("./empty file"), b""),
        (member("./two\nlines"), b"x"),
        (member("./not \udcff utf-8"), b"y"),
        (member("./日本語"), "中身".encode()),
        (member(f"./{long}/", tarfile.DIRTYPE, mode=0o755), b""),
        (member(f"./{long}/{long}"), b"z" * 100_000),
        (member("./-rf"), b"a name like an option"),
        (member("./setuid", mode=0o4755), b"#!"),
        (member("./nobody may", mode=0), b"secret"),
        (member("./one"), b"of two names"),
        (member("./two", tarfile.LNKTYPE, target="./one"), b""),
        (member("./nowhere", tarfile.SYMTYPE, mode=0o777, target="../../no such"), b""),
        (member("./pipe", tarfile.FIFOTYPE, mode=0o600), b""),
    )


def filled(stack: Stack, volume: str, content: bytes) -> None:
    tools.feed(stack.import_volume(volume), [content], timeout=60)


def listed(stack: Stack, volume: str) -> dict[bytes, Entry]:
    return {one.path: one for one in entries(tools.output(stack.export_volume(volume), timeout=60))}


def test_what_was_put_into_a_volume_comes_out_of_it(running: RunningStack, new_volume: Callable[[], str]) -> None:
    volume, content = new_volume(), odd_content()
    filled(running.stack, volume, content)
    found, expected = listed(running.stack, volume), {one.path: one for one in entries([content])}
    assert found.keys() == expected.keys()
    assert found == {
        path: one if one.type == "file" else Entry(**{**{k: getattr(one, k) for k in one.__slots__}, "mtime": found[path].mtime})
        for path, one in expected.items()
    }


def test_what_is_exported_begins_with_the_folder_itself_and_paths_begin_with_a_dot(
    running: RunningStack, new_volume: Callable[[], str]
) -> None:
    volume = new_volume()
    filled(running.stack, volume, odd_content())
    printed = b"".join(tools.output(running.stack.export_volume(volume), timeout=60))
    with tarfile.open(fileobj=io.BytesIO(printed), encoding="utf-8", errors="surrogateescape") as archive:
        members = archive.getmembers()
    assert (members[0].name, stat.S_IMODE(members[0].mode), members[0].uid) == (".", 0o750, OWNER[0])
    assert all(one.name.startswith("./") for one in members[1:])
    assert {one.uname for one in members} == {""}


def test_volumes_come_by_name_with_their_services_and_the_databases_is_marked(running: RunningStack) -> None:
    volumes = running.stack.volumes()
    assert [one.name for one in volumes] == sorted(one.name for one in volumes)
    assert {one.name: one.services for one in volumes}["db_data"] == ("postgres",)
    assert [one.name for one in volumes if one.database] == ["db_data"]
    assert {one.bytes for one in volumes} == {None}


def test_volumes_are_measured_when_that_is_asked_for(running: RunningStack, new_volume: Callable[[], str]) -> None:
    volume = new_volume()
    filled(running.stack, volume, tar((member("./file"), bytes(3_000_000))))
    sizes = {one.name: one.bytes for one in running.stack.volumes(measure=True)}
    assert 3_000_000 <= (sizes[volume] or 0) < 3_100_000
    assert (sizes["db_data"] or 0) > 5_000_000


def test_a_new_volume_is_empty_used_by_nobody_and_there_is_only_one_of_its_name(
    running: RunningStack, new_volume: Callable[[], str]
) -> None:
    volume = new_volume()
    assert [(one.services, one.database) for one in running.stack.volumes() if one.name == volume] == [((), False)]
    assert listed(running.stack, volume).keys() == {b"."}
    with pytest.raises(OfficeOpsError, match="already"):
        running.stack.create_volume(volume)


@pytest.mark.parametrize(
    "verb",
    [
        lambda stack: stack.export_volume("nowhere"),
        lambda stack: stack.import_volume("nowhere"),
        lambda stack: stack.exchange_volumes("nowhere", "nowhere"),
    ],
    ids=["export", "import", "exchange"],
)
def test_a_volume_that_does_not_exist_is_a_mistake_of_the_caller(running: RunningStack, verb: Callable[[Stack], object]) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        verb(running.stack)


def test_volumes_change_places_with_all_that_they_are(running: RunningStack, new_volume: Callable[[], str]) -> None:
    one, other = new_volume(), new_volume()
    filled(running.stack, one, odd_content())
    filled(running.stack, other, tar((member("./", tarfile.DIRTYPE, mode=0o711), b""), (member("./other"), b"")))
    first, second = listed(running.stack, one), listed(running.stack, other)
    running.stack.exchange_volumes(one, other)
    assert (listed(running.stack, one), listed(running.stack, other)) == (second, first)


def test_a_volume_in_use_neither_changes_places_nor_goes(running: RunningStack, new_volume: Callable[[], str]) -> None:
    volume = new_volume()
    with pytest.raises(RefusedError, match="postgres"):
        running.stack.exchange_volumes("db_data", volume)
    with pytest.raises(RefusedError, match="postgres"):
        running.stack.remove_volume("db_data")
    assert running.service("postgres").health == "healthy"


def test_a_volume_that_was_removed_is_gone_and_may_be_removed_again(running: RunningStack, new_volume: Callable[[], str]) -> None:
    volume = new_volume()
    filled(running.stack, volume, odd_content())
    for _ in range(2):
        running.stack.remove_volume(volume)
    assert volume not in {one.name for one in running.stack.volumes()}


@pytest.mark.parametrize("content", [odd_content()[:50_000], b"no tar at all" * 100], ids=["cut in a file", "no tar"])
def test_what_is_no_whole_tar_is_not_taken_for_one(running: RunningStack, new_volume: Callable[[], str], content: bytes) -> None:
    with pytest.raises(CommandError):
        filled(running.stack, new_volume(), content)


def test_an_export_that_nobody_reads_to_its_end_is_ended(running: RunningStack, new_volume: Callable[[], str]) -> None:
    volume = new_volume()
    filled(running.stack, volume, tar((member("./large"), bytes(40_000_000))))
    with started(running.stack.export_volume(volume), timeout=60) as child:
        assert len(child.stdout.read(4096)) == 4096
    running.stack.remove_volume(volume)


def test_the_base_backup_is_a_whole_data_directory_with_its_log_and_its_manifest(running: RunningStack) -> None:
    found = {one.path: one for one in entries(tools.output(running.stack.base_backup(), timeout=120))}
    assert {b"PG_VERSION", b"backup_label", b"backup_manifest", b"global/pg_control"} <= found.keys()
    assert any(path.startswith(b"pg_wal/0") and one.size for path, one in found.items())


def test_a_program_runs_where_its_service_runs_with_its_environment(running: RunningStack) -> None:
    script = 'import os, sys; print(os.environ["RELEASE_SHA"], os.environ["MORE"], os.path.isdir("app")); sys.exit(7)'
    command = running.stack.exec("backend", ["python", "-c", script], environment={"MORE": "ö d d"})
    done = run(command, timeout=30, ok=[7])
    assert done.stdout.decode().split(maxsplit=1) == [running.release.sha, "ö d d True\n"]


def test_a_programs_stdin_stdout_and_stderr_are_streams_of_their_own(running: RunningStack) -> None:
    content = bytes(range(256)) * 40_000
    script = "import sys, shutil; print('said', file=sys.stderr); shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    done = run(running.stack.exec("backend", ["python", "-c", script]), timeout=60, stdin=content)
    assert (done.stdout == content, done.stderr) == (True, "said")


def test_a_program_whose_time_is_up_is_ended_with_its_children(running: RunningStack) -> None:
    mark = f"sleep {200_000 + uuid4().int % 100_000}"
    command = running.stack.exec("backend", ["sh", "-c", f"{mark} & {mark}; true"])
    with pytest.raises(CommandTimeoutError):
        run(command, timeout=2)
    eventually(lambda: not [line for line in command_lines() if mark == line], what="the end of the children")


def command_lines() -> list[str]:
    return [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]


def test_a_program_for_a_service_that_there_is_not_is_a_mistake_of_the_caller(running: RunningStack) -> None:
    with pytest.raises(UsageError, match="nobody"):
        running.stack.exec("nobody", ["true"])


def test_helpers_that_outlived_their_run_are_swept(running: RunningStack, new_volume: Callable[[], str]) -> None:
    volume = new_volume()
    command = running.stack.import_volume(volume)
    left = subprocess.Popen(command.argv, env=command.environment(), cwd=command.cwd, stdin=subprocess.PIPE, start_new_session=True)
    try:
        eventually(lambda: running.stack.sweep(), what="a helper to end")
        eventually(lambda: left.poll() is not None, what="its end")
        running.stack.remove_volume(volume)
    finally:
        left.kill()
        left.wait()
        assert left.stdin is not None
        left.stdin.close()
