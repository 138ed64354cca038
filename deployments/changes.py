"""What is changed on the server, said as it happens; or said only, for `plan`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

Result = TypeVar("Result")
PLANNED = UUID(int=0)  # the id of what is only planned


@dataclass
class Changes:
    """Lines such as `work queue tokyo-1: created`, in the order of the changes. only_plan: nothing is done, `would be` is said."""

    only_plan: bool = False
    lines: list[str] = field(default_factory=list)

    def make(self, thing: str, what: str, change: Callable[[], Result]) -> Result | None:
        """Makes the change and says so. Returns what `change` returns, None when it is only planned."""
        self.lines.append(f"{thing}: {'would be ' if self.only_plan else ''}{what}")
        return None if self.only_plan else change()
