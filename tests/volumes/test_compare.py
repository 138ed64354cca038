"""What makes two lists equal, and how a difference is told."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from officeops.volumes.compare import NotEqualError, require_equal
from officeops.volumes.entries import Entry

ROOT = Entry(b".", "folder", 0o755, 0, 0, 5)
FILE = Entry(b"file", "file", 0o644, 7, 8, 1000, 3, None, "abc")
LINK = Entry(b"link", "symlink", 0o777, 0, 0, 6, 0, b"file")


def compare(expected: list[Entry], found: list[Entry]) -> None:
    require_equal(expected, found, label="20261124", volume="uploads")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([ROOT, LINK], "file is missing"),
        ([ROOT, LINK, FILE, replace(FILE, path=b"more\n")], r"'more\\n' was not there"),
        ([ROOT, LINK, replace(FILE, sha256="abd")], "file has another content"),
        ([ROOT, LINK, replace(FILE, size=4)], "file has another content"),
        ([ROOT, LINK, replace(FILE, mode=0o600)], "file has mode 0600 instead of 0644"),
        ([ROOT, LINK, replace(FILE, mtime=1001)], "file has another time"),
        ([ROOT, LINK, replace(FILE, type="fifo")], "file is a fifo instead of a file"),
        ([ROOT, replace(LINK, target=b"elsewhere"), FILE], "link is linked to something else"),
        ([replace(ROOT, mode=0o700), LINK, FILE], r"\. has mode 0700 instead of 0755"),
    ],
)
def test_a_difference_is_told_with_its_path(found: list[Entry], says: str) -> None:
    with pytest.raises(NotEqualError, match=says):
        compare([ROOT, FILE, LINK], found)


def test_owners_count_where_they_can_be_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(NotEqualError, match="file belongs to 9:8 instead of 7:8"):
        compare([FILE], [replace(FILE, uid=9)])


def test_owners_do_not_count_when_everything_is_ours_because_we_are_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    equal = require_equal([FILE], [replace(FILE, uid=1000)], label="", volume="")
    assert not equal.owners
    with pytest.raises(NotEqualError, match="belongs to 9:8"):
        compare([FILE, replace(FILE, path=b"b")], [replace(FILE, uid=9), replace(FILE, path=b"b")])


def test_order_and_the_times_of_folders_and_links_do_not_count() -> None:
    compare([ROOT, FILE, LINK], [replace(LINK, mtime=9), FILE, replace(ROOT, mtime=9)])


def test_a_list_without_the_folder_itself_says_nothing_of_it() -> None:
    compare([FILE], [ROOT, FILE])
    with pytest.raises(NotEqualError, match=r"\. is missing"):
        compare([ROOT, FILE], [FILE])


def test_any_name_of_a_file_may_be_the_first() -> None:
    def links(first: bytes, *others: bytes) -> list[Entry]:
        return [
            replace(FILE, path=first),
            *(replace(FILE, path=name, type="hardlink", size=0, sha256=None, target=first) for name in others),
        ]

    compare(links(b"a", b"b", b"c"), links(b"c", b"a", b"b"))
    compare([*links(b"a", b"b"), *links(b"x", b"y")], [*links(b"y", b"x"), *links(b"b", b"a")])
    with pytest.raises(NotEqualError, match="linked to something else"):
        compare(links(b"a", b"b"), [replace(FILE, path=b"a"), replace(FILE, path=b"b")])


def test_of_many_differences_the_first_are_told_and_all_are_counted() -> None:
    many = [replace(FILE, path=f"{number:05}".encode()) for number in range(20_000)]
    shuffled = random.Random(1).sample(many, len(many))
    compare(many, shuffled)
    with pytest.raises(NotEqualError, match="and 95 more"):
        compare(many, [one for one in shuffled if one.path >= b"00100"])
