"""Which remedies there are: those that come ready, and the user's own, which go first."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from officeops.errors import UsageError
from officeops.remedies.database import Database, Migration
from officeops.remedies.remedy import Patient, Remedy
from officeops.remedies.room import Disk, Memory
from officeops.remedies.services import Application, Model, Restart, WhiteScreen

if TYPE_CHECKING:
    from officeops.config import Config

READY: tuple[type[Remedy], ...] = (Application, WhiteScreen, Model, Database, Migration, Disk, Memory, Restart)


def remedies(config: Config) -> list[Remedy]:
    """All, in the order in which they are asked whether they fit. Raises UsageError when the user's file cannot be used."""
    file = config.runbook.remedies.file
    own = _own(config.folder / file) if file else []
    found = [one() for one in (*own, *READY)]
    unknown = config.runbook.remedies.changes.keys() - {one.name for one in found}
    if unknown:
        raise UsageError(
            f"runbook.yaml changes remedies that there are not: {', '.join(sorted(unknown))}.",
            todo=f"There are {', '.join(one.name for one in found)}.",
        )
    return found


def remedy_for(patient: Patient) -> Remedy | None:
    """The first that fits, None when only a person can help."""
    return next((one for one in remedies(patient.site.config) if one.fits(patient)), None)


def _own(path: Path) -> list[type[Remedy]]:
    module = _loaded(path)
    found = [
        one
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, Remedy) and not inspect.isabstract(one) and one.__module__ == module.__name__
    ]
    if not found:
        raise UsageError(f"{path} has no remedy: a class made of officeops.remedies.Remedy with a name.", todo="See docs/remedies.md.")
    return found


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("officeops_own_remedies", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"There is no Python file {path}.", todo="Correct remedies.file in runbook.yaml.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} cannot be used: {type(error).__name__}: {error}", todo="Correct it.") from error
    return module
