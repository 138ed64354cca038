"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Offline = Annotated[bool, typer.Option("--offline", help="Run without the Prefect server (slower to start; not recorded).")]
Wait = Annotated[float, typer.Option("--wait", metavar="MINUTES", help="Wait for whoever changes the stack instead of giving up at once.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Folder = Annotated[Path | None, typer.Option("--dir", help="Folder of runbook.yaml; default: the nearest one up from here.")]
