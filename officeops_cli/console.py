"""What people see: tables and progress on stderr, one JSON object on stdout when asked for, errors without a traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.progress import Step, shown_by

_WIDE = 200  # into a file or a pipe nothing is cut or folded

if TYPE_CHECKING:
    from rich.console import Console

    out: Console
    err: Console


def __getattr__(name: str) -> Console:
    """`out` and `err`, made when first asked for: `status --json` needs neither, and Rich takes a tenth of a second to import."""
    if name not in ("out", "err"):
        raise AttributeError(name)
    from rich.console import Console

    stream = {"out": sys.stdout, "err": sys.stderr}[name]
    made = globals()[name] = Console(stderr=name == "err", highlight=False, width=None if stream.isatty() else _WIDE)
    return made


def print_json_object(value: dict[str, Any]) -> None:
    """The one object on stdout."""
    json.dump(value, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")


def show_error(error: OfficeOpsError) -> None:
    """What happened, what state things are in, what to do next."""
    from rich.markup import escape

    err = __getattr__("err")
    err.print(f"[bold red]✗[/] {escape(error.what)}", soft_wrap=True)
    if error.state:
        err.print(f"  {escape(error.state.strip())}", soft_wrap=True)
    if error.todo:
        err.print(f"  [bold]→[/] {escape(error.todo)}", soft_wrap=True)


def size(count: float) -> str:
    """Bytes for people: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """12.3 s, 4 min 05 s, 3 h 20 min, 2 d 4 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


@contextmanager
def progress_bars() -> Iterator[None]:
    """Shows every step's progress for the block: bars on a terminal, otherwise a line when a step of over two seconds is done."""
    err = __getattr__("err")
    if not err.is_terminal:
        yield
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description:24}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        console=err,
    ) as bars:
        shown: dict[str, TaskID] = {}

        def report(step: Step) -> None:
            if step.name not in shown:
                shown[step.name] = bars.add_task(step.name, total=step.total, amount="")
            amount = size(step.done) if step.unit == "bytes" else f"{step.done} {step.unit}"
            total = max(step.done, 1) if step.finished else step.total
            bars.update(shown[step.name], completed=max(step.done, 1) if step.finished else step.done, total=total, amount=amount)

        with shown_by(report):
            yield
