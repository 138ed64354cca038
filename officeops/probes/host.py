"""The host: memory, and the file systems of everything that this program and the stack keep."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from officeops.probes.reading import Reading

if TYPE_CHECKING:
    from officeops.site import Site


def ask_host(site: Site) -> Iterator[Reading]:
    """Memory, and room and inodes of each file system once."""
    import psutil

    memory = psutil.virtual_memory()
    used = 1 - memory.available / memory.total
    yield Reading("host.memory", "memory", used, f"of {memory.total / 1e9:.1f} GB", facts={"limit_bytes": float(memory.total)})
    for path in file_systems(site):
        yield from disk_readings(path)


def cores() -> dict[str, float]:
    """What a proposal to scale out begins with."""
    return {"cores": float(os.cpu_count() or 1)}


def disk_readings(path: Path) -> Iterator[Reading]:
    """Of the file system that `path` is in, as an ordinary account sees it."""
    found = os.statvfs(path)
    name = "host.disk" + ("" if path == Path("/") else f":{path}")
    usable = found.f_blocks - found.f_bfree + found.f_bavail
    total = float(usable * found.f_frsize)
    yield Reading(
        name, "disk", 1 - found.f_bavail / usable if usable else 0.0, f"of {total / 1e9:.1f} GB at {path}", facts={"total_bytes": total}
    )
    if found.f_files:
        yield Reading(name.replace("disk", "inodes", 1), "inodes", 1 - found.f_favail / found.f_files, f"at {path}")


def file_systems(site: Site) -> list[Path]:
    """One folder of each: what OFFICEOPS_HOME, the application, local targets and the runbook's folders are in."""
    settings = site.config.settings
    targets = [Path(target.removeprefix("file:")) for target in settings.backup_targets if target.startswith("file:")]
    wanted = [Path("/"), site.home, settings.officeops_app, *targets, *map(Path, site.config.runbook.probes.folders)]
    found: dict[int, Path] = {}
    for path in wanted:
        there = next((one for one in (path, *path.absolute().parents) if one.exists()), None)
        if there is not None:
            found.setdefault(there.stat().st_dev, there)
    return list(found.values())
