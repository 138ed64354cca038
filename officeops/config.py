"""The whole configuration, validated before anything runs: `.env` and `runbook.yaml` of one folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from officeops.errors import ConfigurationError, UsageError
from officeops.runbook import Runbook
from officeops.runbook.load import read_runbook
from officeops.settings import Settings
from officeops.settings.load import read_settings


@dataclass(frozen=True)
class Config:
    """folder: where `runbook.yaml` and `.env` are."""

    folder: Path
    settings: Settings
    runbook: Runbook


def find_folder(start: Path | None = None) -> Path:
    """The folder of the runbook: `start`, else OFFICEOPS_DIR, else the nearest one up from here. Raises UsageError."""
    named = start or (Path(os.environ["OFFICEOPS_DIR"]) if os.environ.get("OFFICEOPS_DIR") else None)
    candidates = [named.absolute()] if named else [Path.cwd(), *Path.cwd().parents]
    for folder in candidates:
        if (folder / "runbook.yaml").is_file():
            return folder
    raise UsageError(
        f"There is no runbook.yaml in {candidates[0]}" + ("." if named else " or above it."),
        state="Nothing was run.",
        todo="Change to the folder that has one, or name it with --dir or OFFICEOPS_DIR.",
    )


def load(folder: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration of `folder` (default: found from here). Raises ConfigurationError with every problem of both files."""
    found = find_folder(folder)
    settings, problems = read_settings(found, os.environ if environ is None else environ)
    runbook, wrong = read_runbook(found / "runbook.yaml")
    if settings is None or runbook is None:
        raise ConfigurationError([*problems, *wrong])
    return Config(found, settings, runbook)
