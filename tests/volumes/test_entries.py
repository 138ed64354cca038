"""The list of a tar's entries: whole, exact, in bounded memory, and never made of something that is no whole tar."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from officeops.stack.tar import export_script
from officeops.streams import DamagedError
from officeops.volumes.entries import Entry, Listing, entries, listed, normal
from tests.support.site import PROJECT
from tests.support.volumes import write

KIB = 1024


def tar_of(folder: Path) -> bytes:
    """Made as the stacks make it."""
    return subprocess.run(["sh", "-c", export_script(), "tar", str(folder)], capture_output=True, check=True).stdout


@pytest.fixture
def odd(tmp_path: Path) -> bytes:
    folder = tmp_path / "odd"
    folder.mkdir()
    write(folder, 5)
    return tar_of(folder)


def test_the_list_has_every_entry_as_it_is(odd: bytes) -> None:
    found = {one.path: one for one in entries([odd])}
    assert {b".", b"empty folder", b"empty", b"two\nlines", "日本語".encode(), b"not \xff utf-8", b"holes"} < found.keys()
    assert (found[b"nowhere"].type, found[b"nowhere"].target) == ("symlink", b"../../no such")
    assert {found[b"one"].type, found[b"a second name"].type} == {"file", "hardlink"}
    assert found[b"setuid"].mode == 0o4755
    assert found[b"holes"].size == 50_000_000


def test_a_sparse_file_is_listed_with_its_whole_content_and_not_stored_with_its_holes(odd: bytes) -> None:
    import hashlib

    whole = bytes(30_000_000) + b"an island" + bytes(50_000_000 - 30_000_009)
    assert next(one.sha256 for one in entries([odd]) if one.path == b"holes") == hashlib.sha256(whole).hexdigest()
    assert len(odd) < 100_000


def test_the_stream_passes_unchanged_and_is_counted(odd: bytes, tmp_path: Path) -> None:
    listing = Listing(tmp_path / "list")
    assert b"".join(listing.through([odd[:700], odd[700:]])) == odd
    lines = (tmp_path / "list").read_bytes()
    assert list(listed([lines])) == list(entries([odd]))
    assert (listing.entries, listing.files) == (lines.count(b"\n"), 5 + 8)
    assert listing.bytes >= 50_000_000


@given(
    some.builds(
        Entry, path=some.binary(min_size=1), type=some.just("file"), mode=some.integers(0, 0o7777), uid=some.integers(0, 2**32),
        gid=some.integers(0, 2**32), mtime=some.integers(-(2**40), 2**40), size=some.integers(0, 2**60),
        target=some.none() | some.binary(), sha256=some.none() | some.just("ab"),
    )
)  # fmt: skip
def test_a_line_says_what_the_entry_was_whatever_its_name(entry: Entry) -> None:
    line = entry.to_json()
    assert line.count(b"\n") == 1
    assert Entry.from_json(line) == entry


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"7", b'{"path": "x"}', b"\xff", b'{"path_base64": "?"}'])
def test_what_is_no_line_of_a_list_is_damage(line: bytes) -> None:
    with pytest.raises(DamagedError):
        Entry.from_json(line)


@pytest.mark.parametrize("name", ["./a/b", "a/b", "./a/b/"])
def test_paths_are_told_in_one_way(name: str) -> None:
    assert normal(name) == b"a/b"
    assert normal("./") == normal(".") == b"."


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.9])
def test_a_tar_that_is_cut_anywhere_is_damage(odd: bytes, part: float) -> None:
    end = len(odd.rstrip(b"\0"))
    for cut in (int(end * part), int(end * part) // 512 * 512):
        with pytest.raises(DamagedError):
            list(entries([odd[:cut]]))


@pytest.mark.parametrize("damage", ["header", "behind the end"])
def test_a_tar_that_was_altered_is_damage(odd: bytes, damage: str) -> None:
    altered = bytearray(odd)
    if damage == "header":
        altered[odd.index(b"./empty") + 120] ^= 1
    else:
        altered += b"x" * 512
    with pytest.raises(DamagedError):
        list(entries([bytes(altered)]))


@pytest.mark.parametrize("data", [b"", b"x" * 5000, b"PGDMP" + bytes(2000)])
def test_something_else_than_a_tar_is_damage_also_while_it_passes(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(DamagedError):
        b"".join(Listing(tmp_path / "list").through([data]))


def test_what_the_source_raises_is_raised_and_not_the_cut_that_follows_from_it(odd: bytes, tmp_path: Path) -> None:
    def broken() -> object:
        yield odd[:2000]
        raise KeyError("the source")

    with pytest.raises(KeyError):
        b"".join(Listing(tmp_path / "list").through(broken()))  # type: ignore[arg-type]


def test_hard_links_are_files_of_the_count(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("one"))
        link = tarfile.TarInfo("two")
        link.type, link.linkname = tarfile.LNKTYPE, "one"
        archive.addfile(link)
    listing = Listing(tmp_path / "list")
    for _ in listing.through([file.getvalue()]):
        continue
    assert (listing.files, listing.entries, listing.bytes) == (2, 2, 0)


PROGRAM = """
import io, sys, tarfile
from pathlib import Path
from officeops.volumes.entries import Listing

def tar():
    large = tarfile.TarInfo("large"); large.size = 300 << 20
    yield large.tobuf()
    for _ in range(300): yield bytes(1 << 20)
    for number in range(30000): yield tarfile.TarInfo(f"folder/{number}").tobuf()
    yield bytes(1024)

listing = Listing(Path(sys.argv[1]))
for _ in listing.through(tar()): pass
assert listing.entries == 30001
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_grows_neither_with_a_file_nor_with_their_number(tmp_path: Path) -> None:
    """300 MiB in one file, then 30,000 more, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "list")], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 90 * KIB
