"""Errors that say what happened, what state things are in now, and what to do next.

Each carries the exit status that the command line answers with: 1 tried and failed, 2 bad usage or
configuration, 3 refused. Anything else that escapes is a defect of this program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class OfficeOpsError(Exception):
    """Something was tried and failed.

    what: what happened, in one sentence. state: what is true now ("the live database is untouched").
    todo: what a person should do next. transient: whether the same call may succeed if simply made again.
    """

    exit_status = 1
    transient = False

    def __init__(self, what: str, *, state: str = "", todo: str = "") -> None:
        self.what, self.state, self.todo = what, state, todo
        super().__init__(what)

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.state, self.todo) if part)


class TransientError(OfficeOpsError):
    """Failed for a reason that passes by itself (network, S3 5xx, a server starting): worth a retry."""

    transient = True


class UsageError(OfficeOpsError):
    """What was asked for does not exist or makes no sense (an unknown backup id, a file that is no dump)."""

    exit_status = 2


class RefusedError(OfficeOpsError):
    """Not done, on purpose: the lock is held, or an approval or confirmation is missing."""

    exit_status = 3


class DiskFullError(OfficeOpsError):
    """No space, or quota used up, at a place that was written to. Final: a retry would fill it again."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration file. `line` counts from 1; 0 when the thing is missing altogether."""

    file: Path
    line: int
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{where}: {self.key}: found {self.found}; allowed: {self.allowed}"


class ConfigurationError(OfficeOpsError):
    """Every problem of `.env` and `runbook.yaml`, found at once. Nothing was run."""

    exit_status = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(
            f"{count} problem{'s' if count != 1 else ''} in the configuration:\n" + "\n".join(f"  {problem}" for problem in self.problems),
            state="\nNothing was run.",
            todo="Correct the lines above and try again.",
        )
