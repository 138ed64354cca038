"""The logs that supervisor keeps, read line by line exactly once: a program's files are one stream, whose beginning is rotated away."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from officeops.clock import iso
from officeops.stack.local import logs
from officeops.stack.port import LogBlock

_READ = 1 << 17  # the processor's cache holds it
_LONGEST = 8 << 20  # what has no end after as many bytes is cut into lines of that size
_MARK = 512
_ALIKE, _FEW = 512, 8
_STAMP = re.compile(rb"\d{4}-[01]\d-[0-3]\d[T ][0-2]\d:[0-5]\d:[0-5]\d(?:[.,]\d{1,6})?")
_SHAPE = bytes.maketrans(b"123456789", b"000000000")
_ISO = bytes.maketrans(b" ,", b"T.")


def read(newest: Path, cursor: str | None) -> Iterator[LogBlock]:
    """Behind `cursor`, up to now. A line that has no end yet is left for later."""
    with ExitStack() as stack:
        files = [stack.enter_context(file) for file in logs.opened(newest)]
        place = json.loads(cursor) if cursor else None
        first = next((number for number, file in enumerate(files) if place and _is_place(file, place)), None)
        if place and first is not None:
            files = files[first:]
            files[0].seek(place["offset"])
        gap, at = place is not None and first is None, place["at"].encode() if place else b""
        for file, whole, end in _whole_lines(files):
            times = _times(whole, at or _changed(file))
            at = times[-1]
            yield LogBlock(times, whole, json.dumps(_place(file, end, at)), gap)
            gap = False


def _whole_lines(files: list[BinaryIO]) -> Iterator[tuple[BinaryIO, bytes, int]]:
    """Lines without the last one's end, the file in which they end, and where. Supervisor rotates in the middle of a line too."""
    rest = b""
    for file in files:
        while data := file.read(_READ):
            text = rest + data
            end = text.rfind(b"\n") + 1 or (len(text) if len(text) > _LONGEST else 0)
            whole, rest = text[:end], text[end:]
            if whole:
                yield file, whole.removesuffix(b"\n"), file.tell() - len(rest)


def _place(file: BinaryIO, offset: int, at: bytes) -> dict[str, object]:
    return {"inode": os.fstat(file.fileno()).st_ino, "offset": offset, "mark": _mark(file, offset), "at": at.decode()}


def _is_place(file: BinaryIO, place: dict[str, object]) -> bool:
    """A file keeps its number when it is renamed; a new one may be given that of one that is gone, so what is in it counts as well."""
    found, offset = os.fstat(file.fileno()), place["offset"]
    assert isinstance(offset, int)
    return found.st_ino == place["inode"] and found.st_size >= offset and _mark(file, offset) == place["mark"]


def _mark(file: BinaryIO, offset: int) -> str:
    """Tells the beginning of a file, up to there, from that of any other."""
    begin = os.pread(file.fileno(), min(_MARK, offset), 0)
    return hashlib.sha256(begin + os.pread(file.fileno(), min(_MARK, offset), max(0, offset - _MARK))).hexdigest()[:16]


def _times(whole: bytes, at: bytes) -> list[bytes]:
    """Of each line the one it says, else that of the line before it (at: of the last one so far)."""
    texts, times = whole.split(b"\n"), list[bytes]()
    for start in range(0, len(texts), _ALIKE):
        times += _times_of(texts[start : start + _ALIKE], at)
        at = times[-1]
    return times


def _times_of(texts: list[bytes], at: bytes) -> list[bytes]:
    """Where many lines in a row say theirs alike, which is nearly always, they are made of one text: a call for each line would take longer than
    all the rest. Where they do not, each half is looked at."""
    found = _STAMP.match(texts[0])
    end = found.end() if found else 0
    heads = b"\n".join([text[:end] for text in texts])
    if found and heads.translate(_SHAPE) == b"\n".join([found[0].translate(_SHAPE)] * len(texts)):
        return (heads.translate(_ISO).replace(b"\n", b"Z\n") + b"Z").split(b"\n")
    if len(texts) <= _FEW:
        return _one_by_one(texts, at)
    half = len(texts) // 2
    first = _times_of(texts[:half], at)
    return first + _times_of(texts[half:], first[-1])


def _one_by_one(texts: list[bytes], at: bytes) -> list[bytes]:
    times = []
    for text in texts:
        if found := _STAMP.match(text):
            at = found[0].translate(_ISO) + b"Z"
        elif other := logs.stamp(text[:80].decode(errors="replace")):
            at = iso(other).encode()
        times.append(at)
    return times


def _changed(file: BinaryIO) -> bytes:
    return iso(datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)).encode()
