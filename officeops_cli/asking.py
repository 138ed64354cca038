"""Questions before what cannot be taken back."""

from __future__ import annotations

import sys

import typer

from officeops.errors import RefusedError


def confirm(question: str, *, yes: bool) -> None:
    """Asks a person, unless `yes`. Raises RefusedError when nobody is here to answer, or the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError(f"{question} Nobody is here to answer.", state="Nothing was changed.", todo="Add --yes.")
    if not typer.confirm(question, err=True):
        raise RefusedError("Not confirmed.", state="Nothing was changed.")
