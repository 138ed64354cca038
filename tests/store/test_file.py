"""The store in a folder, and what disks, accounts and kills do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from officeops.errors import DiskFullError, OfficeOpsError, TransientError
from officeops.store import ObjectMissingError, Store, open_store
from officeops.store.file import FileStore
from tests.store.conftest import settings

PROJECT = Path(__file__).resolve().parent.parent.parent


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def zeros(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield bytes(1 << 16)


def test_objects_are_plain_files_that_only_the_owner_reads(folder: Path) -> None:
    FileStore(folder / "in").put("a/b c", [b"content"])
    path = folder / "in" / "a" / "b c"
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"content", 0o600)
    assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("url", ["file:{}/x y", "file://{}/x y"])
def test_a_url_may_have_slashes_in_front_or_not(folder: Path, url: str) -> None:
    open_store(url.format(folder), settings()).put("key", [b"x"])
    assert files(folder) == ["x y/key"]


def test_a_path_may_be_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    store = open_store("file:below", settings())
    monkeypatch.chdir("/")
    store.put("key", [b"x"])
    assert files(folder) == ["below/key"]


def test_deleting_the_last_object_of_a_folder_removes_the_folder(folder: Path) -> None:
    store = FileStore(folder / "in")
    store.put("a/b/c/key", [b"x"])
    store.put("a/other", [b"x"])
    store.delete("a/b/c/key")
    assert not (folder / "in/a/b").exists()
    store.delete("a/other")
    assert (folder / "in").is_dir()


@pytest.mark.parametrize(
    "call", [lambda store, key: store.put(key, [b"x"]), lambda store, key: store.create(key, b"x")], ids=["put", "create"]
)
@pytest.mark.parametrize(("there", "key"), [("a", "a/b/c"), ("a/b", "a")], ids=["below an object", "over a folder"])
def test_a_key_that_would_be_a_folder_and_an_object_is_refused(
    folder: Path, call: Callable[[Store, str], object], there: str, key: str
) -> None:
    store = FileStore(folder)
    store.put(there, [b"old"])
    with pytest.raises(OfficeOpsError):
        call(store, key)
    assert files(folder) == [there]
    assert (folder / there).read_bytes() == b"old"


def test_what_other_programs_put_there_is_left_alone(folder: Path) -> None:
    store = FileStore(folder)
    (folder / "new\nline").write_text("x")
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    store.put("key", [b"x"])
    assert [info.key for info in store.list()] == ["key"]
    assert (folder / "new\nline").exists()


# Full disks


@pytest.mark.parametrize(
    "call", [lambda store: store.put("a/new", zeros(20)), lambda store: store.create("a/new", bytes(1 << 20))], ids=["put", "create"]
)
def test_a_full_disk_is_told_publishes_nothing_and_gives_its_space_back(full_disk: Path, call: Callable[[Store], object]) -> None:
    store = FileStore(full_disk / "in")
    store.put("old", [b"old"])
    with pytest.raises(DiskFullError) as full:
        call(store)
    assert str(full_disk) in str(full.value)
    assert full.value.transient is False
    assert files(full_disk) == ["in/old"]
    store.put("fits", zeros(2))


def test_a_disk_that_is_full_for_the_source_is_not_taken_for_the_stores(full_disk: Path, folder: Path) -> None:
    def spooling() -> Iterator[bytes]:
        yield b"x"
        with (full_disk / "spool").open("wb") as spool:
            spool.write(bytes(1 << 20))

    with pytest.raises(OSError, match="No space left") as raised:
        FileStore(folder / "roomy").put("key", spooling())
    assert not isinstance(raised.value, DiskFullError)


def test_a_source_that_fails_on_a_full_disk_is_told_as_it_is(full_disk: Path) -> None:
    def breaking() -> Iterator[bytes]:
        yield bytes(200_000)
        yield bytes(200_000)  # still in the buffer, and never to be written
        raise KeyError("the source's own")

    with pytest.raises(KeyError, match="the source's own"):
        FileStore(full_disk).put("key", breaking())
    assert files(full_disk) == []


# Rights, and disks that fail

AS_NOBODY = """
import sys
from officeops.errors import OfficeOpsError
from officeops.store import open_store
from tests.store.conftest import settings
import boto3, os
os.setgid(65534); os.setuid(65534)
store = open_store("file:" + sys.argv[1], settings())
try:
    {}
except OfficeOpsError as error:
    print(type(error).__name__, error.transient, error)
else:
    print("it worked")
"""


@pytest.mark.parametrize(
    "call",
    ['store.put("a/b", [b"x"])', 'store.create("a/b", b"x")', 'store.open("key").__enter__()', "list(store.list())", 'store.delete("key")'],
    ids=["put", "create", "open", "list", "delete"],
)
def test_a_folder_without_permission_is_told_with_path_and_user(folder: Path, call: str) -> None:
    root = folder / "private"
    FileStore(root).put("key", [b"x"])
    root.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY.format(call), str(root)], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"OfficeOpsError False file:{root} cannot be used: Permission denied")
    assert "as user 65534" in done.stdout
    assert files(root) == ["key"]


def test_a_disk_that_cannot_read_is_a_passing_error_and_not_the_end(folder: Path) -> None:
    """/proc/self/mem opens, and answers any reading at its start as a failing disk does."""
    (folder / "key").symlink_to("/proc/self/mem")
    with FileStore(folder).open("key") as reader, pytest.raises(TransientError, match="Input/output error"):
        reader.read(100)


def test_an_error_of_whoever_reads_is_not_taken_for_the_stores(folder: Path) -> None:
    store = FileStore(folder)
    store.put("key", [b"x"])
    with pytest.raises(FileNotFoundError) as raised, store.open("key"):
        (folder / "not there").open()
    assert not isinstance(raised.value, ObjectMissingError)


# Killed writers

WRITER = """
import sys, time
from officeops.store import open_store
from tests.store.conftest import settings
def chunks():
    yield bytes(3 << 20)
    print("ready", flush=True)
    time.sleep(600)
open_store("file:" + sys.argv[1], settings()).put("a/key", chunks())
"""


@pytest.fixture
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of a put."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def age(folder: Path) -> None:
    """As if everything unfinished had not been written to for an hour."""
    for path in (folder / ".incoming").iterdir():
        os.utime(path, (time.time() - 3600,) * 2)


def test_what_a_killed_writer_left_is_no_object_and_the_next_put_removes_it(folder: Path, writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    store = FileStore(folder)
    assert list(store.list()) == []
    assert len(files(folder)) == 1
    age(folder)
    store.put("other", [b"x"])
    assert files(folder) == ["other"]


def test_a_slow_writer_that_lives_is_not_swept_away(folder: Path, writer: subprocess.Popen[str]) -> None:
    age(folder)
    FileStore(folder).put("other", [b"x"])
    assert len(list((folder / ".incoming").iterdir())) == 1
