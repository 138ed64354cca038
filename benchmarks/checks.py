"""What every benchmark ends with: figures within bounds, as one JSON object or as a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Check:
    """A figure that has to be within a bound."""

    name: str
    value: float
    unit: str
    bound: str
    ok: bool


def at_least(name: str, value: float, bound: float, unit: str = "x") -> Check:
    """A figure that is good when it is large."""
    return Check(name, round(value, 2), unit, f">= {bound}", value >= bound)


def at_most(name: str, value: float, bound: float, unit: str = "x") -> Check:
    """A figure that is good when it is small."""
    return Check(name, round(value, 2), unit, f"<= {bound}", value <= bound)


def print_json(found: Sequence[Check], figures: Mapping[str, object]) -> None:
    """One object on stdout."""
    json.dump({"checks": [asdict(check) for check in found], **figures}, sys.stdout)
    print()


def print_verdicts(found: Sequence[Check]) -> None:
    """A table for people."""
    table = Table(title="Bounds", title_justify="left")
    for heading in ("check", "value", "bound", ""):
        table.add_column(heading)
    for check in found:
        table.add_row(check.name, f"{check.value} {check.unit}", check.bound, "[green]kept[/]" if check.ok else "[red]NOT kept[/]")
    Console().print(table)


def status(found: Sequence[Check]) -> int:
    """The exit status: 1 when a bound is not kept."""
    return 0 if all(check.ok for check in found) else 1
