"""What a colour printed, kept before its containers go: zstd-compressed JSON Lines in OFFICEOPS_HOME/release-logs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard

from officeops.errors import OfficeOpsError
from officeops.stack.port import Colour

if TYPE_CHECKING:
    from officeops.site import Site

_KEPT = 20  # takings over


def keep_logs(site: Site, name: str, colour: Colour) -> list[str]:
    """Writes the log of each rolled service of `colour`. Returns the services whose log could not be read: no reason to let a release hang."""
    parent = site.home / "release-logs"
    folder = parent / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    missing = []
    for service in site.config.runbook.rolled():
        try:
            _keep(site, service, colour, folder / f"{service}-{colour}.jsonl.zst")
        except (OfficeOpsError, OSError):
            missing.append(service)
    for old in sorted(parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return missing


def _keep(site: Site, service: str, colour: Colour, path: Path) -> None:

    temporary = path.with_suffix(".new")
    with zstandard.open(temporary, "wb") as file:
        for line in site.stack.logs(service, colour=colour):
            file.write(json.dumps({"at": line.at.isoformat(), "text": line.text}, ensure_ascii=False).encode() + b"\n")
    temporary.rename(path)
