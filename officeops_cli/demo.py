"""demo."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)


def demo() -> None:
    """Everything once."""
