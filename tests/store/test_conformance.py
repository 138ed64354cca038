"""What officeops/store/port.py promises, sentence by sentence, of every adapter."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from officeops.errors import OfficeOpsError, UsageError
from officeops.store import ObjectExistsError, ObjectMissingError, Store, open_store
from officeops.store.port import ObjectInfo
from tests.store.conftest import NewStore, s3_store, settings
from tests.support.s3 import S3Endpoint

MIB = 1 << 20
PROJECT = Path(__file__).resolve().parent.parent.parent

ODD_KEYS = [
    "plain",
    "a/b/c/d/e.txt",
    "with spaces/ leading and trailing ",
    'quo\'te/"double"',
    "バックアップ/売上 表.dump",
    "e\u0301 combining/é composed",
    "😀",
    "100%/50%25?x=1&y=2#frag",
    "back\\slash/*?[glob]",
    "-dash/--double",
    ".hidden/..three",
    "a+b/c=d;e,f:g@h$i!(j)~k",
    "k" * 255,
    "/".join(["ü" * 60] * 5),
]
BAD_KEYS = ["", "/", "/absolute", "a//b", "a/", ".", "..", "../up", "a/../b", "a/./b", "a/..", "line\nbreak", "nul\0", "tab\t",
            ".incoming/x", "a/.incoming", "k" * 256, "/".join(["k" * 200] * 4)]  # fmt: skip


def content(store: Store, key: str) -> bytes:
    with store.open(key) as reader:
        return reader.read()


def keys(store: Store, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def pattern(size: int, seed: int = 1) -> Iterator[bytes]:
    """Bytes that compare unequal when shifted, in chunks of odd sizes."""
    block, left = random.Random(seed).randbytes(999_983), size
    while left:
        yield block[:left]
        left -= min(left, len(block))


class SourceError(Exception):
    pass


def breaking(size: int, error: BaseException) -> Iterator[bytes]:
    yield from pattern(size)
    raise error


# Putting and reading


@pytest.mark.parametrize(
    "chunks",
    [[], [b""], [b"x"], [b"", b"a", b"", b"bc", b""], [bytes(range(256)) * 4000]],
    ids=["no chunk", "an empty chunk", "one byte", "empty ones between", "all bytes"],
)
def test_stores_the_concatenation_of_the_chunks(store: Store, chunks: list[bytes]) -> None:
    info = store.put("key", chunks)
    assert (info.key, info.bytes) == ("key", len(b"".join(chunks)))
    assert content(store, "key") == b"".join(chunks)


@pytest.mark.parametrize("size", [16 * MIB - 1, 16 * MIB, 16 * MIB + 1, 40 * MIB])
def test_stores_what_takes_several_parts(store: Store, size: int) -> None:
    info = store.put("key", pattern(size), estimate=size)
    digest = hashlib.sha256()
    with store.open("key") as reader:
        while chunk := reader.read(700_001):
            digest.update(chunk)
    assert info.bytes == size
    assert digest.digest() == hashlib.sha256(b"".join(pattern(size))).digest()


def test_a_key_may_have_odd_characters(store: Store) -> None:
    for key in ODD_KEYS:
        store.put(key, [key.encode()])
    assert keys(store) == sorted(ODD_KEYS)
    assert {key: content(store, key).decode() for key in ODD_KEYS} == {key: key for key in ODD_KEYS}
    assert {key: store.stat(key).key for key in ODD_KEYS} == {key: key for key in ODD_KEYS}
    for key in ODD_KEYS:
        store.delete(key)
    assert keys(store) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda store, key: store.put(key, breaking(0, AssertionError("the source was asked"))),
        lambda store, key: store.create(key, b"x"),
        lambda store, key: content(store, key),
        lambda store, key: store.stat(key),
        lambda store, key: store.delete(key),
    ],
    ids=["put", "create", "open", "stat", "delete"],
)
@pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: repr(key[:20]))
def test_what_is_no_key_is_refused_before_anything_is_touched_or_asked(
    folder: Path, call: Callable[[Store, str], object], key: str
) -> None:
    for store in (open_store(f"file:{folder}/in", settings()), open_store("s3://bucket?endpoint=http://127.0.0.1:9", settings())):
        with pytest.raises(UsageError):
            call(store, key)
    assert list(folder.iterdir()) == []


def test_says_size_and_time_of_what_is_there(store: Store) -> None:
    store.put("key", [b"12345"])
    info = store.stat("key")
    assert info.bytes == 5
    assert info.modified.tzinfo is not None
    assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=5)
    assert list(store.list()) == [info]


@pytest.mark.parametrize("call", [lambda store: store.stat("a/b"), lambda store: content(store, "a/b")], ids=["stat", "open"])
@pytest.mark.parametrize("there", [[], ["a/b/c"], ["a"], ["a/bc"]], ids=["empty", "below it", "above it", "beside it"])
def test_an_object_that_is_not_there_is_missing(store: Store, call: Callable[[Store], object], there: list[str]) -> None:
    for key in there:
        store.put(key, [b"x"])
    with pytest.raises(ObjectMissingError) as missing:
        call(store)
    assert store.name in str(missing.value)


def test_a_reader_may_read_a_little_and_leave(store: Store) -> None:
    store.put("key", pattern(3 * MIB))
    with store.open("key") as reader:
        assert reader.read(10) == b"".join(pattern(3 * MIB))[:10]
    store.delete("key")


def test_what_its_reader_raises_passes_through(store: Store) -> None:
    store.put("key", [b"x"])
    with pytest.raises(FileNotFoundError, match="the reader's own"), store.open("key"):
        raise FileNotFoundError("the reader's own")


# Replacing, atomically


def test_putting_replaces(store: Store) -> None:
    store.put("key", [b"a longer old content"])
    store.put("key", [b"new"])
    assert (content(store, "key"), store.stat("key").bytes, keys(store)) == (b"new", 3, ["key"])


@pytest.mark.parametrize("size", [10, 40 * MIB], ids=["small", "in parts"])
@pytest.mark.parametrize("old", [b"old", None], ids=["over an old one", "at first"])
def test_readers_see_the_old_object_or_none_until_it_is_complete(new_store: NewStore, old: bytes | None, size: int) -> None:
    store, other = new_store(), new_store()
    if old is not None:
        store.put("key", [old])
    seen: list[object] = []

    def watched() -> Iterator[bytes]:
        yield from pattern(size)
        seen.append(content(other, "key") if keys(other) else None)

    store.put("key", watched())
    assert seen == [old]
    assert store.stat("key").bytes == size


@pytest.mark.parametrize("size", [10, 40 * MIB], ids=["small", "in parts"])
@pytest.mark.parametrize(
    "error", [SourceError("the source's own"), BrokenPipeError("the source's own"), OSError(28, "the source's own"), KeyboardInterrupt("the source's own")],
    ids=["an error", "a broken pipe", "a full disk of its own", "an interruption"],
)  # fmt: skip
def test_a_source_that_fails_publishes_nothing_and_its_error_passes_through(store: Store, size: int, error: BaseException) -> None:
    store.put("a/old", [b"old"])
    with pytest.raises(type(error)) as raised:
        store.put("a/old", breaking(size, error))
    assert raised.value is error
    with pytest.raises(type(error)):
        store.put("b/new", breaking(size, error))
    assert (keys(store), content(store, "a/old")) == (["a/old"], b"old")


@pytest.mark.parametrize("error", [SourceError("the source's own")])
def test_what_was_sent_of_a_source_that_fails_is_removed(
    folder: Path, s3: S3Endpoint, bucket: str, leftovers: Callable[[], tuple[int, int]], error: Exception
) -> None:
    for store in (open_store(f"file:{folder}", settings()), s3_store(s3, bucket)):
        with pytest.raises(SourceError):
            store.put("b/new", breaking(40 * MIB, error))
    assert [path for path in folder.rglob("*") if path.name != ".incoming"] == []
    assert leftovers() == (0, 0)


def test_the_same_call_works_after_an_error(store: Store) -> None:
    with suppress(SourceError):
        store.put("key", breaking(40 * MIB, SourceError()))
    store.put("key", pattern(20 * MIB))
    assert store.stat("key").bytes == 20 * MIB


def test_two_who_put_the_same_key_leave_one_of_both_whole(new_store: NewStore) -> None:
    candidates = [bytes([letter]) * MIB for letter in b"abcdefgh"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda data: new_store().put("key", [data[:1000], data[1000:]]), candidates))
    assert content(new_store(), "key") in candidates


def test_one_store_serves_several_threads(store: Store) -> None:
    def round_trip(number: int) -> None:
        key, data = f"folder {number % 3}/{number}", str(number).encode() * 1000
        store.put(key, [data])
        assert content(store, key) == data
        assert key in keys(store, f"folder {number % 3}/")
        store.delete(key)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(round_trip, range(60)))
    assert keys(store) == []


# Listing


def test_lists_in_order_of_code_points(store: Store) -> None:
    names = ["a", "a b", "a-b", "a.b", "a0", "B/x", "B-x", "b/a/x", "b/a-x", "b/a0", "é", "表/売", "表/x", "😀", "\uffed", "Z", "_"]
    for name in names:
        store.put(name, [b""])
    assert keys(store) == sorted(names)


PREFIXES = ["", "a", "a/", "a/b", "a/b/", "a/bc", "a/b/c", "a/b/c/d", "z", "a//", "/", "..", "../", "表", ".incoming"]


def test_lists_what_begins_with_a_prefix(store: Store) -> None:
    names = ["a/b/c", "a/b/cc", "a/bc", "a/b-", "ab", "b", "表/a"]
    for name in names:
        store.put(name, [b""])
    expected = {prefix: sorted(name for name in names if name.startswith(prefix)) for prefix in PREFIXES}
    assert {prefix: keys(store, prefix) for prefix in PREFIXES} == expected


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert keys(store) == []


def test_a_store_may_be_changed_while_it_is_listed(store: Store) -> None:
    for number in range(20):
        store.put(f"folder/{number:02}", [b""])
    for info in store.list("folder/"):
        store.delete(info.key)
    assert keys(store) == []


def test_an_object_that_is_not_complete_is_not_listed(new_store: NewStore) -> None:
    store, other = new_store(), new_store()
    seen: list[list[str]] = []

    def watched() -> Iterator[bytes]:
        yield from pattern(20 * MIB)
        seen.append(keys(other))

    store.put("key", watched())
    assert seen == [[]]


# Deleting


@pytest.mark.parametrize("there", [[], ["a/b/c"], ["a"], ["a/bc"]], ids=["empty", "below it", "above it", "beside it"])
def test_deleting_what_is_not_there_is_no_error_and_deletes_nothing_else(store: Store, there: list[str]) -> None:
    for key in there:
        store.put(key, [b"x"])
    store.delete("a/b")
    assert keys(store) == there


def test_deletes_one_object(store: Store) -> None:
    for key in ("a/b", "a/bc", "ab"):
        store.put(key, [b"x"])
    store.delete("a/b")
    store.delete("a/b")
    assert keys(store) == ["a/bc", "ab"]


# Creating


def test_creates_only_what_is_not_there(store: Store) -> None:
    info = store.create("a/key", b"first")
    assert info == ObjectInfo("a/key", 5, info.modified)
    with pytest.raises(ObjectExistsError) as refused:
        store.create("a/key", b"second")
    assert refused.value.state == "It was left as it was."
    assert (content(store, "a/key"), keys(store)) == (b"first", ["a/key"])


def test_creates_again_what_was_deleted(store: Store) -> None:
    store.create("key", b"first")
    store.delete("key")
    store.create("key", b"second")
    assert content(store, "key") == b"second"


def test_creates_an_empty_object(store: Store) -> None:
    assert store.create("key", b"").bytes == 0


def winners(stores: list[Store], key: str) -> list[bytes]:
    """Each tries to create `key` with its own number in it; the numbers of those who did."""

    def attempt(number: int) -> bytes | None:
        with suppress(ObjectExistsError):
            stores[number].create(key, b"%d" % number)
            return b"%d" % number
        return None

    with ThreadPoolExecutor(len(stores)) as pool:
        return [won for won in pool.map(attempt, range(len(stores))) if won is not None]


@pytest.mark.parametrize("where", ["file", "s3"])
def test_of_many_threads_that_create_one_wins(where: str, folder: Path, one_at_a_time: S3Endpoint, bucket: str) -> None:
    open_one = {"file": lambda: open_store(f"file:{folder}", settings()), "s3": lambda: s3_store(one_at_a_time, bucket)}[where]
    stores = [open_one() for _ in range(8)]
    for attempt in range(5):
        (winner,) = winners(stores, f"key {attempt}")
        assert content(stores[0], f"key {attempt}") == winner


RACER = """
import sys
from officeops.store import ObjectExistsError, open_store
from tests.store.conftest import settings
store = open_store(sys.argv[1], settings())
list(store.list())
print("ready", flush=True)
sys.stdin.readline()
won = []
for number in range(50):
    try:
        store.create(f"key {number}", sys.argv[2].encode())
        won.append(str(number))
    except ObjectExistsError:
        pass
print(" ".join(won))
"""


def test_of_many_processes_that_create_one_wins(folder: Path) -> None:
    url = f"file:{folder}/store"
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, url, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
        for n in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    won = [racer.communicate("\n")[0].split() for racer in racers]
    assert sorted(number for numbers in won for number in numbers) == sorted(map(str, range(50)))
    store = open_store(url, settings())
    assert all(content(store, f"key {number}") == str(racer).encode() for racer, numbers in enumerate(won) for number in numbers)


# Memory

STREAMER = """
import sys
from officeops.store import open_store
from tests.store.conftest import settings
store = open_store(sys.argv[1], settings())
block = bytes(range(256)) * 1024
store.put("key", (block for _ in range(1200)), estimate=1200 * len(block))
with store.open("key") as reader:
    assert sum(len(chunk) for chunk in iter(lambda: reader.read(1 << 20), b"")) == 1200 * len(block)
store.delete("key")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize(("where", "limit"), [("file", 100 * MIB), ("s3", 160 * MIB)])
def test_memory_does_not_grow_with_the_object(where: str, limit: int, folder: Path, request: pytest.FixtureRequest) -> None:
    """300 MiB through a process of its own. (boto3 alone takes 70 MiB, the parts in flight 64.)"""
    url = f"file:{folder}"
    if where == "s3":
        endpoint: S3Endpoint = request.getfixturevalue("s3")
        url = f"s3://{endpoint.new_bucket()}?endpoint={endpoint.url}"
    done = subprocess.run(
        [sys.executable, "-c", STREAMER, url], cwd=PROJECT, capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert int(done.stdout) * 1024 < limit


# Opening


@pytest.mark.parametrize("url", ["", "ftp://host/x", "/a/path", "file:", "s3:", "s3:///prefix", "s3://user:pw@bucket/x", "s3://bucket?region=x",
                                 "s3://bucket/a#b", "s3://bucket?endpoint=http://user:pw@host"])  # fmt: skip
def test_a_url_that_is_no_store_is_refused_without_showing_secrets(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        open_store(url, settings())
    assert "pw" not in str(refused.value)


def test_opening_touches_nothing(folder: Path) -> None:
    open_store(f"file:{folder}/not/there", settings())
    open_store("s3://bucket?endpoint=http://127.0.0.1:9", settings())
    assert list(folder.iterdir()) == []
    assert issubclass(ObjectMissingError, OfficeOpsError)
