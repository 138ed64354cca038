"""The store in a bucket, and what networks, servers and kills do to it."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from officeops.errors import DiskFullError, OfficeOpsError, TransientError
from officeops.settings import Settings
from officeops.store import ObjectExistsError, ObjectMissingError, Store, open_store
from officeops.store.s3 import part_size
from tests.store.conftest import s3_store, settings
from tests.support.ports import free_ports
from tests.support.s3 import KEYS, Judge, S3Endpoint, Verdict, misbehaving

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
PROJECT = Path(__file__).resolve().parent.parent.parent
Leftovers = Callable[[], tuple[int, int]]
CALLS: dict[str, Callable[[Store], object]] = {
    "put": lambda store: store.put("key", [b"x"]),
    "create": lambda store: store.create("key", b"x"),
    "open": lambda store: digest(store, "key"),
    "stat": lambda store: store.stat("key"),
    "list": lambda store: list(store.list()),
    "delete": lambda store: store.delete("key"),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def chunks(size: int) -> Iterator[bytes]:
    block = bytes(range(251)) * 4096
    for start in range(0, size, len(block)):
        yield block[: size - start]


def digest(store: Store, key: str, step: int = MIB) -> str:
    found = hashlib.sha256()
    with store.open(key) as reader:
        while chunk := reader.read(step):
            found.update(chunk)
    return found.hexdigest()


def expected(size: int) -> str:
    return hashlib.sha256(b"".join(chunks(size))).hexdigest()


class Script:
    """Answers the requests that `concerns` in turn with what is written, then passes everything on. Counts them."""

    def __init__(self, concerns: Callable[[str, str], bool], *verdicts: Verdict) -> None:
        self._concerns, self._left, self._lock = concerns, list(verdicts), threading.Lock()
        self.asked = 0

    def __call__(self, method: str, path: str) -> Verdict:
        if not self._concerns(method, path):
            return None
        with self._lock:
            self.asked += 1
            return self._left.pop(0) if self._left else None


def reading(method: str, _path: str) -> bool:
    return method == "GET"


def part(method: str, path: str) -> bool:
    return method == "PUT" and "partNumber" in path


def completing(method: str, path: str) -> bool:
    return method == "POST" and "uploadId=" in path


def always(status: int) -> Judge:
    return lambda _method, _path: status


# Sizes of parts


@pytest.mark.parametrize("estimate", [None, 0, 1, 100 * MIB, 10 * GIB, 150 * GIB, TIB, 5 * TIB])
def test_no_upload_needs_more_than_ten_thousand_parts(estimate: int | None) -> None:
    size = part_size(estimate)
    assert 5 * MIB <= size <= 5 * GIB
    assert -(-(estimate or 0) // size) <= 10_000
    assert size % MIB == 0


@pytest.mark.parametrize("estimate", [None, 0, 1, 100 * MIB, 10 * GIB, 140 * GIB])
def test_parts_are_small_where_they_can_be(estimate: int | None) -> None:
    assert part_size(estimate) == 16 * MIB


def test_all_parts_but_the_last_are_equal(s3: S3Endpoint, bucket: str) -> None:
    s3_store(s3, bucket, "").put("key", chunks(40 * MIB))
    client = s3.client()
    sizes = [client.head_object(Bucket=bucket, Key="key", PartNumber=number)["ContentLength"] for number in (1, 2, 3)]
    assert sizes == [16 * MIB, 16 * MIB, 8 * MIB]


def test_an_estimate_that_was_wrong_costs_nothing(s3: S3Endpoint, bucket: str) -> None:
    store = s3_store(s3, bucket)
    store.put("key", chunks(40 * MIB), estimate=3)
    store.put("small", [b"x"], estimate=TIB)
    assert digest(store, "key") == expected(40 * MIB)


# Where objects are


def test_objects_lie_below_the_prefix_and_others_are_not_seen(s3: S3Endpoint, bucket: str) -> None:
    client = s3.client()
    for key in ("the prefix/", "the prefix/a/", "the prefix too/x", "x"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    store = s3_store(s3, bucket)
    store.put("a/key", [b"x"])
    assert [info.key for info in store.list()] == ["a/key"]
    assert client.head_object(Bucket=bucket, Key="the prefix/a/key")["ContentLength"] == 1


def test_lists_more_than_one_page(s3: S3Endpoint, bucket: str) -> None:
    """The server under test gives 10 at a time."""
    store, pages = s3_store(s3, bucket), Script(reading)
    names = [f"{number:03}" for number in range(31)]
    for name in names:
        store.put(name, [b""])
    with misbehaving(s3, pages) as endpoint:
        assert [info.key for info in s3_store(endpoint, bucket).list()] == names
    assert pages.asked == 4


# Connections that break


def test_a_reading_that_is_cut_is_taken_up_where_it_was(s3: S3Endpoint, bucket: str) -> None:
    s3_store(s3, bucket).put("key", chunks(5 * MIB))
    script = Script(reading, "cut:100", "cut:1500000", "cut:0", f"cut:{MIB}")
    with misbehaving(s3, script) as endpoint:
        assert digest(s3_store(endpoint, bucket), "key", step=70_000) == expected(5 * MIB)
    assert script.asked == 5


def test_a_reading_that_is_cut_again_and_again_never_looks_like_the_end(s3: S3Endpoint, bucket: str) -> None:
    s3_store(s3, bucket).put("key", chunks(5 * MIB))
    script = Script(reading, "cut:2000000", *["cut:0"] * 100)
    with misbehaving(s3, script) as endpoint, s3_store(endpoint, bucket).open("key") as reader:
        with pytest.raises(TransientError, match="breaks off after"):
            while reader.read(MIB):
                pass
        with pytest.raises(TransientError):
            reader.read(MIB)
    assert script.asked < 20


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed_with_the_new_one(s3: S3Endpoint, bucket: str) -> None:
    with misbehaving(s3, Script(reading, "cut:1000000")) as endpoint:
        store = s3_store(endpoint, bucket)
        store.put("key", chunks(5 * MIB))
        with store.open("key") as reader, pytest.raises(OfficeOpsError) as failed:
            reader.read(10)
            store.put("key", [b"\xff" * 5 * MIB])
            while reader.read(MIB):
                pass
    assert "/the prefix?" in str(failed.value)


@pytest.mark.parametrize(
    ("concerns", "verdicts"),
    [(part, [500, 503]), (part, ["cut:0"]), (part, [429]), (completing, [500]), (completing, [503])],
    ids=["a part, twice", "a part without an answer", "a part, throttled", "the completion, 500", "the completion, 503"],
)
def test_what_passes_is_asked_again_without_a_word(
    s3: S3Endpoint, bucket: str, concerns: Callable[[str, str], bool], verdicts: list[Verdict]
) -> None:
    script = Script(concerns, *verdicts)
    with misbehaving(s3, script) as endpoint:
        s3_store(endpoint, bucket).put("key", chunks(20 * MIB))
    assert script.asked > len(verdicts)
    assert digest(s3_store(s3, bucket), "key") == expected(20 * MIB)


def test_a_completion_whose_answer_is_lost_leaves_the_whole_object_or_an_error(s3: S3Endpoint, bucket: str, leftovers: Leftovers) -> None:
    with misbehaving(s3, Script(completing, "cut:0")) as endpoint, suppress(OfficeOpsError):
        s3_store(endpoint, bucket).put("key", chunks(20 * MIB))
    assert leftovers() == (1, 0)
    assert digest(s3_store(s3, bucket), "key") == expected(20 * MIB)


@pytest.mark.parametrize("status", [500, 403, 507])
@pytest.mark.parametrize("concerns", [part, completing], ids=["a part", "the completion"])
def test_an_upload_that_fails_for_good_is_taken_back(
    s3: S3Endpoint, bucket: str, leftovers: Leftovers, status: int, concerns: Callable[[str, str], bool]
) -> None:
    with misbehaving(s3, Script(concerns, *[status] * 1000)) as endpoint, pytest.raises(OfficeOpsError):
        s3_store(endpoint, bucket).put("key", chunks(36 * MIB))
    assert leftovers() == (0, 0)


def test_an_upload_that_cannot_be_taken_back_still_says_why_it_failed(s3: S3Endpoint, bucket: str, leftovers: Leftovers) -> None:
    with misbehaving(s3, lambda method, path: 500 if method == "DELETE" or part(method, path) else None) as endpoint:
        store = s3_store(endpoint, bucket)
        with pytest.raises(TransientError, match="told to fail"):
            store.put("key", chunks(20 * MIB))
    assert leftovers() == (0, 1)
    s3_store(s3, bucket).delete("key")
    assert leftovers() == (0, 0)


# What the server says


@each_call
def test_a_refusal_is_final_and_shows_no_secret(s3: S3Endpoint, bucket: str, call: Callable[[Store], object]) -> None:
    judge = Script(lambda _method, _path: True, *[403] * 100)
    with misbehaving(s3, judge) as endpoint, pytest.raises(OfficeOpsError, match="refuses this key") as refused:
        call(s3_store(endpoint, bucket))
    assert judge.asked == 1
    assert refused.value.transient is False
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(refused.value)
    assert "AWS_ACCESS_KEY_ID" in refused.value.todo


@each_call
def test_a_server_that_fails_and_fails_is_a_passing_error(s3: S3Endpoint, bucket: str, call: Callable[[Store], object]) -> None:
    judge = Script(lambda _method, _path: True, *[500] * 100)
    with misbehaving(s3, judge) as endpoint, pytest.raises(TransientError):
        call(s3_store(endpoint, bucket))
    assert 1 < judge.asked < 10


@each_call
def test_a_server_that_nobody_answers_at_is_a_passing_error(call: Callable[[Store], object]) -> None:
    store = s3_store(S3Endpoint(f"http://127.0.0.1:{free_ports(1)[0]}"), "bucket")
    with pytest.raises(TransientError, match="does not answer") as failed:
        call(store)
    assert "BACKUP_TARGETS" in failed.value.todo


def test_a_store_without_space_is_full(s3: S3Endpoint, bucket: str) -> None:
    with misbehaving(s3, always(507)) as endpoint, pytest.raises(DiskFullError) as full:
        s3_store(endpoint, bucket).put("key", [b"x"])
    assert full.value.transient is False


@pytest.mark.parametrize("call", [CALLS["put"], CALLS["create"], CALLS["list"]], ids=["put", "create", "list"])
def test_a_bucket_that_is_not_there_is_named(s3: S3Endpoint, call: Callable[[Store], object]) -> None:
    with pytest.raises(OfficeOpsError, match=r"no-bucket-of-mine.*there is no such bucket") as failed:
        call(s3_store(s3, "no-bucket-of-mine"))
    assert (failed.value.transient, isinstance(failed.value, ObjectMissingError)) == (False, False)


def test_a_bucket_that_cannot_exist_is_a_mistake_and_not_the_network(s3: S3Endpoint) -> None:
    with pytest.raises(OfficeOpsError) as failed:
        s3_store(s3, "no!bucket").put("key", [b"x"])
    assert failed.value.transient is False


def test_without_credentials_the_keys_of_env_are_named(s3: S3Endpoint, bucket: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_CONFIG_FILE": str(folder / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
                        "AWS_EC2_METADATA_DISABLED": "true"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    bare: Settings = settings().model_copy(update={"aws_access_key_id": None, "aws_secret_access_key": None})
    with pytest.raises(OfficeOpsError, match="no credentials") as failed:
        open_store(f"s3://{bucket}?endpoint={s3.url}", bare).put("key", [b"x"])
    assert failed.value.transient is False


# Conditional creation


def test_a_conflict_is_neither_won_nor_lost(s3: S3Endpoint, bucket: str) -> None:
    with misbehaving(s3, Script(lambda method, _path: method == "PUT", 409)) as endpoint:
        store = s3_store(endpoint, bucket)
        with pytest.raises(TransientError):
            store.create("key", b"x")
        store.create("key", b"x")


def test_a_store_without_conditional_writes_is_looked_at_first(s3: S3Endpoint, bucket: str) -> None:
    puts = Script(lambda method, _path: method == "PUT", 501, None, 501)
    with misbehaving(s3, puts) as endpoint:
        store = s3_store(endpoint, bucket)
        store.create("key", b"first")
        with pytest.raises(ObjectExistsError):
            store.create("key", b"second")
    assert puts.asked == 3
    assert s3.client().get_object(Bucket=bucket, Key="the prefix/key")["Body"].read() == b"first"


# Killed writers

WRITER = """
import sys, time
from officeops.store import open_store
from tests.store.conftest import settings
def chunks():
    yield bytes(100 << 20)
    print("ready", flush=True)
    time.sleep(600)
open_store(sys.argv[1], settings()).put("a/key", chunks())
"""


def test_what_a_killed_writer_left_is_no_object_and_deleting_its_key_removes_it(s3: S3Endpoint, bucket: str, leftovers: Leftovers) -> None:
    url = f"s3://{bucket}/p?endpoint={s3.url}"
    with subprocess.Popen([sys.executable, "-c", WRITER, url], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        finally:
            process.send_signal(signal.SIGKILL)
    store = s3_store(s3, bucket, "p")
    assert list(store.list()) == []
    assert leftovers() == (0, 1)
    s3_store(s3, bucket, "p").delete("a/ke")
    assert leftovers() == (0, 1)
    store.delete("a/key")
    assert leftovers() == (0, 0)
