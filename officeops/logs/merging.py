"""The many small files of a day that is over become one, in every target.

Left-overs are files that are to be removed: the merged one until it is stored everywhere, and from then on, by one transaction of the ledger,
the small ones. Killed anywhere, the ledger knows each line once, and the next merging removes what is left over.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from officeops.archive.targets import opened
from officeops.errors import OfficeOpsError
from officeops.ledger.logs import LogLeftOver, LogPart
from officeops.lock import LockedError
from officeops.logs.collecting import alone
from officeops.logs.storing import key_of, remove_objects, stored_in
from officeops.progress import Meter
from officeops.streams import DamagedError, Tally, compress, decompress, read_chunks

if TYPE_CHECKING:
    from officeops.site import Site

_LEVEL = 3  # nobody waits for it
_MERGED = re.compile(r"-to-\d+-of-\d+$")


@dataclass(frozen=True)
class Merged:
    """What a merging did. parts: the new ones. gone: how many there were before. troubles: what is as it was, and why."""

    parts: list[LogPart]
    gone: int
    troubles: list[str]


def plan(site: Site) -> list[list[LogPart]]:
    """The parts that `merge` would make one, log by log and day by day. Changes nothing."""
    return mergeable(site.ledger.log_parts(), f"{site.clock():%Y-%m-%d}")


def merge(site: Site) -> Merged:
    """Every day but today, log by log; between two of them others may store. Safe to repeat."""
    done, tried, troubles, gone = list[LogPart](), set[str](), dict[str, None](), 0
    while True:
        try:
            with alone(site, "storing"):
                gone += _remove_left_overs(site, troubles)
                group = next((one for one in plan(site) if one[0].id not in tried), None)
                if group is None:
                    break
                tried.add(group[0].id)
                try:
                    done.append(_merge(site, group))
                except (OfficeOpsError, OSError) as error:
                    troubles[f"{group[0].service} of {group[0].day}: {error}"] = None
        except LockedError as error:  # the rest is done next time
            troubles[str(error)] = None
            break
    return Merged(done, gone, list(troubles))


def mergeable(parts: Iterable[LogPart], today: str) -> list[list[LogPart]]:
    """Parts that follow each other in one log, of one day that is over, and are in the same targets. parts: in the order in which they were
    made; what stood between two of them would be read in another order than it was written. A pure function."""
    runs = [list(run) for _, run in groupby(parts, key=lambda part: (part.source, part.day, part.waits, part.targets))]
    return [run for run in runs if len(run) > 1 and run[0].day < today and not run[0].waits]


def _merge(site: Site, parts: list[LogPart]) -> LogPart:
    folder, tally = site.home / "spool" / "merged-logs", Tally()
    path = folder / "merged.jsonl.zst"
    first, last = parts[0], parts[-1]
    meter = Meter(f"{first.service} of {first.day}", sum(one.plain_bytes for one in parts), unit="bytes", every=8 << 20)
    lines = 0

    def counted(chunks: Iterable[bytes]) -> Iterator[bytes]:
        nonlocal lines
        for chunk in chunks:
            lines += chunk.count(b"\n")
            meter.add(len(chunk))
            yield chunk

    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("wb") as file:
            for chunk in tally.through(compress(counted(_read_all(site, parts)), level=_LEVEL, threads=0)):
                file.write(chunk)
        meter.finish()
        if lines != sum(one.lines for one in parts):
            raise DamagedError(f"{len(parts)} files hold {lines:,} lines; {sum(one.lines for one in parts):,} were written.")
        merged = replace(
            first,
            id=_merged_id(first, last.sequence, lines),
            sequence=last.sequence,
            lines=lines,
            plain_bytes=sum(one.plain_bytes for one in parts),
            bytes=tally.bytes,
            sha256=tally.sha256,
            first_at=min(one.first_at for one in parts),
            last_at=max(one.last_at for one in parts),
        )
        site.ledger.record_log_left_over(LogLeftOver(merged.id, merged.targets))
        for name in merged.targets:
            stored_in(site, opened(site, name), merged, path)
        site.ledger.record_merged(merged, parts)
        return merged
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _merged_id(first: LogPart, sequence: int, lines: int) -> str:
    """Never that of a part that is merged, which has fewer lines; and no longer for one that is merged again."""
    return f"{_MERGED.sub('', first.id)}-to-{sequence}-of-{lines}"


def _read_all(site: Site, parts: Iterable[LogPart]) -> Iterator[bytes]:
    for part in parts:
        yield from decompress(_file(site, part))


def _file(site: Site, part: LogPart) -> Iterator[bytes]:
    """A part's file from the first of its targets that has it. Raises DamagedError at its end when it is not what was written."""
    failures, tally = [], Tally()
    for name in part.targets:
        try:
            with opened(site, name).open(key_of(site, part)) as reader:
                yield from tally.through(read_chunks(reader))
            break
        except OfficeOpsError as error:
            if tally.bytes:
                raise
            failures.append(str(error))
    else:
        raise OfficeOpsError("; ".join(failures))
    if (tally.bytes, tally.sha256) != (part.bytes, part.sha256):
        raise DamagedError(f"{key_of(site, part)} is not what was written.", state="It was left as it was.")


def _remove_left_overs(site: Site, troubles: dict[str, None]) -> int:
    """How many went. troubles: what could not be removed, each once."""
    gone = 0
    for one in site.ledger.log_left_overs():
        try:
            remove_objects(site, one)
        except OfficeOpsError as error:
            troubles[f"{one.id} was merged and cannot be removed: {error}"] = None
        else:
            site.ledger.forget_log_left_over(one.id)
            gone += 1
    return gone
