"""What happened to every request of a load: a few bytes each, so that a long load takes no more memory than a short one."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

KINDS = ("get", "post", "one-shot", "http2", "slow post", "stream")
SHORT = ("get", "post", "one-shot", "http2")  # answered at once, so that their latency says something
_WORDS_KEPT, _EACH_KEPT = 20, 3
_UNKNOWN = 0  # as a release

Interval = tuple[float, float]


@dataclass(frozen=True)
class Switch:
    """One release took over from another. Times are of time.monotonic(), as everywhere here.

    begun: its processes were started, or it was asked for. opened: just before its gate was opened. shut: the other one's gate was shut
    by then.
    """

    release: str
    begun: float
    opened: float
    shut: float


@dataclass(frozen=True)
class Latency:
    """Milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


@dataclass
class Record:
    """Every request of a load. failures: what happened and how often. first_failures: (time, kind, what happened), the first
    three of each."""

    starts: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("f"))
    kinds: array[int] = field(default_factory=lambda: array("B"))
    good: array[int] = field(default_factory=lambda: array("B"))
    answered_by: array[int] = field(default_factory=lambda: array("B"))
    releases: list[str] = field(default_factory=lambda: [""])
    failures: Counter[str] = field(default_factory=Counter)
    first_failures: list[tuple[float, str, str]] = field(default_factory=list)

    def answered(self, kind: str, start: float, seconds: float, release: str = "") -> None:
        """A whole and right answer. release: which one says that it gave it, if it does."""
        if release not in self.releases:
            self.releases.append(release)
        self._add(kind, start, seconds, good=1, release=self.releases.index(release))

    def failed(self, kind: str, start: float, seconds: float, why: str) -> None:
        """Anything else."""
        self._add(kind, start, seconds, good=0, release=_UNKNOWN)
        words = why if why in self.failures or len(self.failures) < _WORDS_KEPT else "others"
        self.failures[words] += 1
        if self.failures[words] <= _EACH_KEPT:
            self.first_failures.append((start, kind, why))

    def _add(self, kind: str, start: float, seconds: float, *, good: int, release: int) -> None:
        self.starts.append(start)
        self.seconds.append(seconds)
        self.kinds.append(KINDS.index(kind))
        self.good.append(good)
        self.answered_by.append(release)

    @property
    def total(self) -> int:
        """Requests that were made."""
        return len(self.starts)

    @property
    def failed_count(self) -> int:
        """Requests that were not answered as they should have been."""
        return self.total - sum(self.good)

    def by_kind(self) -> dict[str, dict[str, int]]:
        """Requests and failures of each kind that was asked."""
        made = Counter(KINDS[kind] for kind in self.kinds)
        good = Counter(KINDS[kind] for kind, good in zip(self.kinds, self.good, strict=True) if good)
        return {kind: {"requests": made[kind], "failed": made[kind] - good[kind]} for kind in KINDS if made[kind]}

    def latency(self, intervals: Sequence[Interval], kinds: Sequence[str] = SHORT) -> Latency:
        """Of the good answers whose requests were sent within one of the intervals."""
        return summary(self._seconds_within(intervals, {KINDS.index(kind) for kind in kinds}))

    def _seconds_within(self, intervals: Sequence[Interval], kinds: set[int]) -> Iterator[float]:
        for start, seconds, kind, good in zip(self.starts, self.seconds, self.kinds, self.good, strict=True):
            if good and kind in kinds and any(begin <= start < end for begin, end in intervals):
                yield seconds

    def wrong_releases(self, first: str, switches: Sequence[Switch]) -> tuple[int, int]:
        """Requests that were answered by a release whose gate was shut all the time that they took, and how many said who answered.
        first: what served before the first switch."""
        serving = [(first, float("-inf"), switches[0].shut if switches else float("inf"))]
        for number, one in enumerate(switches):
            serving.append((one.release, one.opened, switches[number + 1].shut if number + 1 < len(switches) else float("inf")))
        told = wrong = 0
        for start, seconds, by in zip(self.starts, self.seconds, self.answered_by, strict=True):
            if by != _UNKNOWN:
                told += 1
                wrong += not any(
                    release == self.releases[by] and opened <= start + seconds and start <= shut for release, opened, shut in serving
                )
        return wrong, told

    def first_answer(self, release: str, after: float) -> float | None:
        """When the first answer of a release to a request that was sent after that moment was there, None when there was none."""
        number = self.releases.index(release) if release in self.releases else -1
        found = [
            start + seconds
            for start, seconds, by in zip(self.starts, self.seconds, self.answered_by, strict=True)
            if by == number and start >= after
        ]
        return min(found, default=None)

    def silence(self) -> float:
        """The longest time in which no short request was answered well, in seconds."""
        short = {KINDS.index(kind) for kind in SHORT}
        rows = zip(self.starts, self.seconds, self.kinds, self.good, strict=True)
        ends = sorted(start + seconds for start, seconds, kind, good in rows if good and kind in short)
        return max((later - sooner for sooner, later in pairwise(ends)), default=0.0)


def around(switches: Sequence[Switch], before: float = 0.5, after: float = 2.0) -> list[Interval]:
    """The moments in which requests change over."""
    return _joined((one.opened - before, one.shut + after) for one in switches)


def outside(intervals: Sequence[Interval], begin: float, end: float) -> list[Interval]:
    """What is left of the time between."""
    left, since = [], begin
    for first, last in _joined(intervals):
        if since < first:
            left.append((since, min(first, end)))
        since = max(since, last)
    return [*left, (since, end)] if since < end else left


def _joined(intervals: Iterable[Interval]) -> list[Interval]:
    joined: list[Interval] = []
    for begin, end in sorted(intervals):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def summary(seconds: Iterable[float]) -> Latency:
    """Zeroes when there are none."""
    found = sorted(seconds)
    if not found:
        return Latency(0, 0.0, 0.0, 0.0, 0.0)
    p50, p95, p99 = (round(found[min(len(found) - 1, int(len(found) * share))] * 1000, 1) for share in (0.5, 0.95, 0.99))
    return Latency(len(found), p50, p95, p99, round(found[-1] * 1000, 1))
