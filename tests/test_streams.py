"""Streams: what goes in comes out, damage is never taken for data, one source feeds many, memory stays small."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyrage
import pytest
import zstandard
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from officeops.errors import OfficeOpsError, UsageError
from officeops.streams import (
    DamagedError,
    Failed,
    Tally,
    WrongKeyError,
    as_reader,
    broadcast,
    compress,
    decompress,
    decrypt,
    encrypt,
    read_chunks,
)
from tests.support.ports import eventually

PROJECT = Path(__file__).resolve().parent.parent
KIB, MIB = 1 << 10, 1 << 20
AGE = 64 * KIB  # age seals pieces of this size
ZSTD = 128 * KIB  # the largest block of zstd
SIZES = [0, 1, AGE - 1, AGE, AGE + 1, ZSTD - 1, ZSTD, ZSTD + 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 17]
each_size = pytest.mark.parametrize("size", SIZES)
few = hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

IDENTITY, OTHER = (pyrage.x25519.Identity.generate() for _ in range(2))


class SourceError(Exception):
    pass


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key file as age-keygen writes it."""
    path = tmp_path_factory.mktemp("age") / "identity.txt"
    path.write_text(f"# created: 2026-03-01\n# public key: {IDENTITY.to_public()}\n\n{IDENTITY}\n")
    return path


def noise(size: int, seed: int = 7) -> bytes:
    """Half of it does not compress, half of it does."""
    generator = random.Random(seed)
    return b"".join(generator.randbytes(500) + b"a" * 500 for _ in range(size // 1000 + 1))[:size]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def packed(data: bytes, threads: int = 0) -> bytes:
    return b"".join(compress([data], level=3, threads=threads))


def sealed(data: bytes) -> bytes:
    return b"".join(encrypt([data], [str(IDENTITY.to_public())]))


def unpacked(data: bytes, chunk: int = MIB) -> bytes:
    return b"".join(decompress(cut(data, chunk)))


def opened(data: bytes, identity: Path, chunk: int = MIB) -> bytes:
    return b"".join(decrypt(cut(data, chunk), identity))


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# zstd


@each_size
@pytest.mark.parametrize("threads", [0, 2])
def test_what_is_compressed_comes_back(size: int, threads: int) -> None:
    assert unpacked(packed(noise(size), threads)) == noise(size)


@few
@given(st.lists(st.binary(max_size=3000), max_size=20), st.integers(1, 5000), st.integers(0, 2))
def test_it_does_not_matter_where_a_compressed_stream_is_cut_into_chunks(chunks: list[bytes], size: int, threads: int) -> None:
    data = b"".join(compress(chunks, level=1, threads=threads))
    assert unpacked(data, size) == b"".join(chunks)


@pytest.mark.parametrize("size", [0, 1, 5000, 300_000])
def test_a_compressed_stream_that_ends_early_is_damaged(size: int) -> None:
    data = packed(noise(size))
    for length in {0, 1, 3, 4, 5, 9, len(data) // 2, *range(max(0, len(data) - 6), len(data))} - {len(data)}:
        with pytest.raises(DamagedError):
            unpacked(data[:length])


def test_no_flipped_bit_of_a_compressed_stream_yields_other_data() -> None:
    """A few bits mean nothing to zstd: those change nothing."""
    content = noise(600)
    data = packed(content)
    found = 0
    for bit in range(len(data) * 8):
        try:
            assert unpacked(flipped(data, bit)) == content
        except DamagedError:
            found += 1
    assert found > len(data) * 8 * 0.99


@pytest.mark.parametrize(
    "behind", [b"x", b"some words of another kind", bytes(100), packed(b"x")[:-1]], ids=["a byte", "words", "zeros", "half a frame"]
)
@pytest.mark.parametrize("chunk", [7, MIB])
def test_bytes_behind_a_compressed_stream_are_damage(behind: bytes, chunk: int) -> None:
    with pytest.raises(DamagedError):
        unpacked(packed(b"content") + behind, chunk)


@pytest.mark.parametrize("chunk", [1, 7, MIB])
def test_a_stream_of_several_frames_is_read_to_its_end(chunk: int) -> None:
    """As other programs write them: one after the other, with frames between that hold no data."""
    skipped = bytes.fromhex("502a4d18") + (5).to_bytes(4, "little") + b"12345"
    assert unpacked(packed(b"one ") + packed(b"") + skipped + packed(b"two"), chunk) == b"one two"


def test_what_is_no_compressed_stream_is_damaged() -> None:
    for data in (b"", b"x", b"PGDMP" + bytes(100), bytes(1000)):
        with pytest.raises(DamagedError):
            unpacked(data)


def test_another_reader_of_zstd_can_read_it() -> None:
    reader = zstandard.ZstdDecompressor().stream_reader(packed(noise(MIB), 2), read_across_frames=True)
    assert reader.read() == noise(MIB)


# age


@each_size
def test_what_is_encrypted_comes_back(size: int, identity: Path) -> None:
    data = sealed(noise(size))
    assert opened(data, identity) == noise(size)
    assert noise(size)[:32] not in data or size < 32


@few
@given(chunks=st.lists(st.binary(max_size=3000), max_size=20), size=st.integers(1, 5000))
def test_it_does_not_matter_where_an_encrypted_stream_is_cut_into_chunks(identity: Path, chunks: list[bytes], size: int) -> None:
    data = b"".join(encrypt(chunks, [str(IDENTITY.to_public())]))
    assert opened(data, identity, size) == b"".join(chunks)


@pytest.mark.parametrize("mine", [0, 1])
def test_each_recipient_can_read_it(identity: Path, mine: int) -> None:
    recipients = [str(OTHER.to_public())]
    recipients.insert(mine, str(IDENTITY.to_public()))
    assert opened(b"".join(encrypt([b"content"], recipients)), identity) == b"content"


def test_of_several_identities_the_right_one_is_used(tmp_path: Path) -> None:
    (tmp_path / "both").write_text(f"{OTHER}\r\n{IDENTITY}\n")
    assert opened(sealed(b"content"), tmp_path / "both") == b"content"


@pytest.mark.parametrize("size", [0, 1, AGE, AGE + 1, 3 * AGE])
def test_an_encrypted_stream_that_ends_early_is_damaged(size: int, identity: Path) -> None:
    data = sealed(noise(size))
    header = len(sealed(b"")) - 16
    borders = {header + number * (AGE + 16) for number in range(4)}
    for length in {
        0,
        1,
        20,
        header - 1,
        header,
        *borders,
        *(border + 1 for border in borders),
        len(data) - 17,
        len(data) - 16,
        len(data) - 1,
    }:
        if length < len(data):
            with pytest.raises(DamagedError):
                opened(data[:length], identity)


def test_no_flipped_bit_of_an_encrypted_stream_yields_data(identity: Path) -> None:
    """In the part that says for whom it is, damage looks like somebody else's key."""
    data = sealed(b"content of a backup")
    body = data.index(b"\n---") + 1
    for bit in range(0, len(data) * 8, 3):
        with pytest.raises(DamagedError if bit // 8 >= body else (DamagedError, WrongKeyError)):
            opened(flipped(data, bit), identity)


@pytest.mark.parametrize("behind", [b"x", bytes(AGE + 16)])
def test_bytes_behind_an_encrypted_stream_are_damage(behind: bytes, identity: Path) -> None:
    for size in (5, AGE):
        with pytest.raises(DamagedError):
            opened(sealed(noise(size)) + behind, identity)


def test_what_is_no_encrypted_stream_is_damaged(identity: Path) -> None:
    for data in (b"", b"x", packed(b"content"), bytes(1000)):
        with pytest.raises(DamagedError):
            opened(data, identity)


def test_the_wrong_identity_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text(str(OTHER))
    with pytest.raises(WrongKeyError, match=r"other\.txt cannot decrypt") as wrong:
        opened(sealed(noise(MIB)), tmp_path / "other.txt")
    assert "BACKUP_AGE_IDENTITY_FILE" in wrong.value.todo
    assert str(OTHER) not in str(wrong.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"# only a comment\n", b"AGE-SECRET-KEY-1WRONG\n", b"\xff\xfe\0", str(IDENTITY.to_public()).encode()],
    ids=["nothing", "a comment", "a wrong key", "no text", "a public key"],
)
def test_a_file_that_is_no_identity_is_refused_before_anything_is_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError, match="key"):
        decrypt(breaking(b""), tmp_path / "key")


def test_an_identity_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        decrypt([], tmp_path / "key")


def test_a_recipient_that_is_no_key_is_refused() -> None:
    with pytest.raises(UsageError, match="BACKUP_AGE_RECIPIENTS"):
        encrypt([], ["age1nobody"])


# Sources that fail, readers that leave


def breaking(data: bytes, error: BaseException | None = None) -> Iterator[bytes]:
    yield data
    raise error or SourceError("the source's own")


STAGES: dict[str, Callable[[Iterable[bytes], Path], Iterator[bytes]]] = {
    "compress": lambda chunks, _identity: compress(chunks, level=1, threads=2),
    "decompress": lambda chunks, _identity: decompress(chunks),
    "encrypt": lambda chunks, _identity: encrypt(chunks, [str(IDENTITY.to_public())]),
    "decrypt": decrypt,
    "tally": lambda chunks, _identity: Tally().through(chunks),
}
INPUTS = {"decompress": packed(noise(MIB)), "decrypt": sealed(noise(MIB))}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "error", [SourceError("own"), OSError(5, "own"), zstandard.ZstdError("own")], ids=["an error", "an OSError", "a library's"]
)
def test_what_the_source_raises_passes_through_a_stage(stage: str, identity: Path, error: Exception) -> None:
    if stage == "decompress" and isinstance(error, zstandard.ZstdError):
        error = SourceError("own")  # its own kind of error: that is damage
    with pytest.raises(type(error)) as raised:
        b"".join(STAGES[stage](breaking(INPUTS.get(stage, b"x")[: MIB // 2], error), identity))
    assert raised.value is error


@pytest.mark.parametrize("stage", STAGES)
def test_a_reader_that_leaves_closes_the_source(stage: str, identity: Path) -> None:
    closed = threading.Event()
    data = noise(8 * MIB)
    data = {"decompress": packed, "decrypt": sealed}.get(stage, lambda same: same)(data)

    def source() -> Iterator[bytes]:
        try:
            yield from cut(data, AGE)
        finally:
            closed.set()

    stream = STAGES[stage](source(), identity)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    eventually(closed.is_set, what="the end of the source")


# Tallies and readers


@each_size
def test_a_tally_counts_and_hashes_as_the_standard_library_does(size: int) -> None:
    data, seen = noise(size), []
    tally = Tally(seen.append)
    assert b"".join(tally.through(cut(data, 10_007))) == data
    assert (tally.bytes, tally.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert sum(seen) == size


def test_a_tally_of_nothing_is_that_of_no_bytes() -> None:
    assert (Tally().bytes, Tally().sha256) == (0, hashlib.sha256().hexdigest())


@few
@given(st.lists(st.binary(max_size=50), max_size=20), st.lists(st.integers(0, 70), max_size=30))
def test_a_reader_gives_the_bytes_of_its_chunks_in_any_steps(chunks: list[bytes], steps: list[int]) -> None:
    reader = as_reader(chunks)
    assert b"".join([*(reader.read(step) for step in steps), reader.read()]) == b"".join(chunks)
    assert reader.read(1) == b""


def test_a_reader_of_a_stream_that_failed_never_meets_its_end() -> None:
    reader = as_reader(breaking(b"abc"))
    for _ in range(3):
        with pytest.raises(SourceError):
            reader.read(10)


def test_reads_a_file_in_chunks() -> None:
    assert list(read_chunks(as_reader([b"abcdefgh"]), 3)) == [b"abc", b"def", b"gh"]


# One source, many sinks


def joined(chunks: Iterator[bytes]) -> bytes:
    return b"".join(chunks)


@pytest.mark.parametrize("size", [0, 1, MIB, 20 * MIB])
def test_every_sink_gets_everything(size: int) -> None:
    data = noise(size)
    assert broadcast(cut(data, 100_003), {"one": joined, "two": lambda chunks: joined(chunks)[::-1]}) == {"one": data, "two": data[::-1]}


def fails_after(count: int) -> Callable[[Iterator[bytes]], bytes]:
    def sink(chunks: Iterator[bytes]) -> bytes:
        for number, _ in enumerate(chunks, 1):
            if number > count:
                break
        raise OfficeOpsError("the sink's own")

    return sink


@pytest.mark.parametrize("count", [0, 1, 50, 1000])
def test_a_sink_that_fails_does_not_stop_the_others(count: int) -> None:
    data = noise(MIB)
    results = broadcast(cut(data, 10_000), {"bad": fails_after(count), "good": joined})
    assert results["good"] == data
    assert isinstance(results["bad"], Failed)
    assert str(results["bad"].error) == "the sink's own"


def test_nothing_more_is_read_when_no_sink_is_left() -> None:
    read: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            read.append(1)
            yield b"x"

    results = broadcast(endless(), {"a": fails_after(3), "b": fails_after(5)})
    assert all(isinstance(result, Failed) for result in results.values())
    assert len(read) < 100


def test_a_sink_that_has_enough_may_leave() -> None:
    data = noise(MIB)
    assert broadcast(cut(data, 1000), {"first": next, "all": joined}) == {"first": data[:1000], "all": data}


def test_a_slow_sink_holds_the_source_back() -> None:
    """Else what waits for it would fill the memory."""
    sent, go = [], threading.Event()

    def source() -> Iterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield b"x"

    def slow(chunks: Iterator[bytes]) -> int:
        first = next(chunks)
        assert go.wait(60)
        return len(first + joined(chunks))

    def quick(chunks: Iterator[bytes]) -> int:
        return len(joined(chunks))

    with_results: list[object] = []
    thread = threading.Thread(target=lambda: with_results.append(broadcast(source(), {"slow": slow, "quick": quick})))
    thread.start()
    eventually(lambda: len(sent) >= 5)
    held = len(sent)
    go.set()
    thread.join()
    assert held <= 8
    assert with_results == [{"slow": 100, "quick": 100}]


@pytest.mark.parametrize("error", [SourceError("own"), KeyboardInterrupt("own")], ids=["an error", "an interruption"])
def test_a_source_that_fails_fails_every_sink(error: BaseException) -> None:
    ends: list[object] = []

    def sink(chunks: Iterator[bytes]) -> bytes:
        try:
            return joined(chunks)
        except BaseException as failure:
            ends.append(failure)
            raise OfficeOpsError("nothing was published") from failure

    with pytest.raises(type(error)) as raised:
        broadcast(breaking(b"x", error), {"one": sink, "two": sink})
    assert raised.value is error
    assert ends == [error, error]


# Memory

PROGRAM = """
import resource
from officeops.streams import {names}
import sys
{code}
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
ZEROS = "zeros = (bytes(1 << 20) for _ in range(600))\n"
RECIPIENT = str(IDENTITY.to_public())


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ("compress, decompress", ZEROS + "assert sum(map(len, decompress([b''.join(compress(zeros, level=3, threads=2))]))) == 600 << 20"),
        ("compress, encrypt", ZEROS + f"for _ in encrypt(compress(zeros, level=3, threads=2), ['{RECIPIENT}']): pass"),
        ("encrypt", ZEROS + f"assert sum(map(len, encrypt(zeros, ['{RECIPIENT}']))) > 600 << 20"),
        ("broadcast", ZEROS + "broadcast(zeros, {1: lambda chunks: sum(map(len, chunks)), 2: lambda chunks: sum(map(len, chunks))})"),
    ],
    ids=["what expands a thousandfold", "packed and sealed", "sealed", "broadcast"],
)
def test_memory_does_not_grow_with_the_stream(names: str, code: str) -> None:
    """600 MiB through a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(names=names, code=code)], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 150 * KIB
