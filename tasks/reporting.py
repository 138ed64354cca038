"""What a run leaves to read: a report, tables, and bars for what takes long."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.logging import get_logger

from officeops.errors import OfficeOpsError
from officeops.host import host_name
from officeops.progress import Step
from officeops.site import open_site

_FIRST_S, _EVERY_S = 2.0, 2.0
log = get_logger("officeops")


def key(*parts: str) -> str:
    """An artifact's key: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def cell(text: object) -> str:
    """Text for a cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def facts(rows: Mapping[str, object]) -> list[str]:
    """Names and values as a Markdown table without a head."""
    return ["| | |", "|---|---|", *(f"| {name} | {cell(value)} |" for name, value in rows.items())]


def report(name: str, stack: str, markdown: str, *, description: str) -> None:
    """A report of this run; the newest of its key stands on the Artifacts page."""
    create_markdown_artifact(markdown, key=key(name, stack), description=f"{description} ({_where(stack)})")


def table(name: str, stack: str, rows: Sequence[dict[str, Any]], *, description: str) -> None:
    """A table of this run."""
    create_table_artifact(list(rows), key=key(name, stack), description=f"{description} ({_where(stack)})")


def _where(stack: str) -> str:
    """One server may show several stacks, on several hosts."""
    try:
        return f"{stack} on {host_name(open_site().config.settings)}"
    except OfficeOpsError:  # what is wrong with the configuration is told by the run itself
        return stack


class ProgressArtifacts:
    """Shows steps of more than two seconds as progress artifacts. Trouble with that is logged and never the step's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._artifacts: dict[str, UUID] = {}

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        with self._lock:
            began = self._began.setdefault(step.name, now)
            if now - began < _FIRST_S or (now - self._said.get(step.name, 0) < _EVERY_S and not step.finished):
                return
            self._said[step.name] = now
        try:
            self._show(step)
        except Exception as error:  # noqa: BLE001 - a bar that cannot be drawn must not stop a backup
            log.warning("The progress of %s could not be shown: %s", step.name, error)

    def _show(self, step: Step) -> None:
        percent = 100.0 if step.finished else min(99.0, 100 * step.done / step.total) if step.total else 0.0
        known = self._artifacts.get(step.name)
        if known is None:
            created = create_progress_artifact(percent, key=key("progress", step.name), description=f"{step.name}, in {step.unit}")
            assert isinstance(created, UUID)
            self._artifacts[step.name] = created
        else:
            update_progress_artifact(known, percent)
