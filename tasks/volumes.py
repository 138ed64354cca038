"""The steps of a backup, a restore and a drill of volumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from officeops.site import Site
from officeops.volumes.backup import VolumeBackup
from officeops.volumes.beside import VolumeBeside, VolumeCheck
from officeops.volumes.restore import VolumeSwap
from tasks import reporting
from tasks.steps import step


@contextmanager
def standing_still(backup: VolumeBackup, volume: str) -> Iterator[None]:
    """The services of a quiet volume are stopped for the block only, and started however it ends."""
    if not backup.quiet(volume):
        yield
        return
    stop_users(backup, volume)
    try:
        yield
    finally:
        start_users(backup, volume)


@step("stop the services of a quiet volume")
def stop_users(backup: VolumeBackup, volume: str) -> None:
    """Those that run."""
    backup.stop_users(volume)


@step("copy a volume", retries=2)
def copy(backup: VolumeBackup, volume: str) -> None:
    """With the list of its entries, to every target that has them not yet."""
    backup.copy(volume)


@step("start the services again", retries=1)
def start_users(backup: VolumeBackup, volume: str) -> None:
    """As they were found."""
    backup.start_users(volume)


@step("fill a new volume", retries=2)
def fill(beside: VolumeBeside) -> None:
    """From the backup, checked to the last byte."""
    beside.fill()


@step("compare it with the list", retries=1)
def compare(beside: VolumeBeside) -> VolumeCheck:
    """Every entry."""
    return beside.compare()


@step("stop the services of the volumes")
def stop_for_swap(swap: VolumeSwap) -> None:
    """Those that run."""
    swap.stop_users()


@step("swap the volumes")
def swap_volumes(swap: VolumeSwap) -> None:
    """Each at once."""
    swap.swap()


@step("start the services of the volumes")
def start_after_swap(swap: VolumeSwap) -> None:
    """And wait until they are healthy."""
    swap.start_users()


@step("report")
def report_volumes(
    site: Site, title: str, source: str, volumes: Mapping[str, VolumeCheck], *, done: str, seconds: float, why: str = ""
) -> None:
    """What was restored, for people."""
    figures = {
        "from": f"`{source}`", "why": why or "not said", "all of it took": f"{seconds:.1f} s", "volumes": len(volumes),
        "bytes": f"{sum(check.bytes for check in volumes.values()):,}",
    }  # fmt: skip
    text = "\n".join([f"## {title}", *reporting.facts(figures), "", done])
    reporting.report(title, site.name, text, description=f"{title} from {source}")
    rows = [
        {
            "volume": name,
            "files": check.files,
            "bytes": check.bytes,
            "owners": "equal" if check.owners else "not restorable by this account",
        }
        for name, check in volumes.items()
    ]
    reporting.table(f"{title}-volumes", site.name, rows, description="Volumes, equal to what was backed up")
