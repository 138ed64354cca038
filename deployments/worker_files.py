"""What the worker's container sees of this host beside the project's folder and OFFICEOPS_HOME, as a file that Compose merges in."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from deployments.control_plane import PROJECT
from officeops.config import Config
from officeops.settings import Settings
from officeops.settings.values import target_path

_SERVICES = ("prefect-worker", "prefect-watcher", "prefect-bootstrap")
# What docker-compose.yml gives the worker itself.
_GIVEN = ("tz", "officeops_stack", "officeops_home", "officeops_app", "prefect_api_url", "officeops_host")


@dataclass(frozen=True)
class Place:
    """A path that is mounted where it is."""

    path: Path
    writable: bool = False


def places(config: Config) -> list[Place]:
    """What is needed and not mounted anyway: the project can be read, OFFICEOPS_HOME written."""
    settings = config.settings
    readable = [config.folder, settings.officeops_app, *_git_folder(settings.officeops_app)]
    readable += [file for file in (settings.backup_age_identity_file, settings.git_credentials_file) if file]
    writable = [target_path(url) for url in settings.backup_targets if url.startswith("file:")]
    if folder := _ledger_folder(settings):
        writable.append(folder)
    found = [Place(settings.officeops_home, writable=True), Place(PROJECT)]
    for place in [*(Place(path, writable=True) for path in writable), *map(Place, readable)]:
        if not any(place.path.is_relative_to(other.path) and other.writable >= place.writable for other in found):
            found.append(place)
    return found[2:]


def overridden() -> list[str]:
    """Settings that this process's environment gives, before `.env`, which the worker reads itself."""
    return [name.upper() for name in Settings.model_fields if name not in _GIVEN and os.environ.get(name.upper(), "").strip()]


def write(config: Config) -> Path:
    """Makes the file; no value of any setting is in it, only names."""
    mounts = [
        {"type": "bind", "source": _literal(one.path), "target": _literal(one.path), "read_only": not one.writable}
        for one in places(config)
    ]
    service = {"volumes": mounts, "environment": overridden()}
    path = config.settings.officeops_home / "prefect" / "worker.compose.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"services": dict.fromkeys(_SERVICES, service)}, indent=2, ensure_ascii=False), encoding="utf-8")
    temporary.rename(path)
    return path


def _git_folder(repository: Path) -> list[Path]:
    """Where a repository's commits are, when that is somewhere else: its `.git` is then a file that says where."""
    pointer = repository / ".git"
    if not pointer.is_file():
        return []
    own = (repository / pointer.read_text(encoding="utf-8").removeprefix("gitdir:").strip()).resolve()
    common = own / "commondir"
    return [own, *([(own / common.read_text(encoding="utf-8").strip()).resolve()] if common.is_file() else [])]


def _ledger_folder(settings: Settings) -> Path | None:
    """The folder of the ledger's file: SQLite keeps others beside it."""
    url = settings.ledger_url.get_secret_value() if settings.ledger_url else ""
    return Path(url.removeprefix("sqlite:///")).parent if url.startswith("sqlite:///") else None


def _literal(path: Path) -> str:
    """Compose fills in what looks like a variable."""
    return str(path).replace("$", "$$")
