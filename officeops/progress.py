"""Progress of long work, shown by whoever is looking: bars on a terminal, an artifact in the Prefect UI, nothing in a test.

`officeops` only says how far it is; `shown_by` says who listens, for as long as its block lasts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Step:
    """How far a step is. `total` None: unknown. `unit`: 'bytes', 'tables', 'services' ..."""

    name: str
    done: int
    total: int | None
    unit: str
    finished: bool = False


class Reporter(Protocol):
    """Takes every report. Must be quick and safe to call from several threads; what it raises is the caller's to see."""

    def __call__(self, step: Step) -> None: ...


_reporters: ContextVar[tuple[Reporter, ...]] = ContextVar("officeops_progress", default=())


@contextmanager
def shown_by(reporter: Reporter) -> Iterator[None]:
    """Sends the reports made inside the block (and in threads started with its context) to `reporter` as well."""
    token = _reporters.set((*_reporters.get(), reporter))
    try:
        yield
    finally:
        _reporters.reset(token)


class Meter:
    """Counts one step's work and reports it, at most every `every` units so that reporting costs nothing."""

    def __init__(self, name: str, total: int | None = None, *, unit: str = "bytes", every: int = 1) -> None:
        self.name, self.total, self.unit, self._every = name, total, unit, every
        self.done = self._said = 0
        self._reporters = _reporters.get()
        self._report()

    def add(self, amount: int = 1) -> None:
        """`amount` more units are done."""
        self.done += amount
        if self.done - self._said >= self._every:
            self._report()

    def finish(self) -> None:
        """The step is over; what is done is the total."""
        self.total = self.done
        self._report(finished=True)

    def _report(self, *, finished: bool = False) -> None:
        self._said = self.done
        for reporter in self._reporters:
            reporter(Step(self.name, self.done, self.total, self.unit, finished))
