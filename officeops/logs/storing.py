"""What was collected, put into every target and read back. A target that is away gets it later."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from officeops.archive.targets import opened, plain_targets
from officeops.errors import OfficeOpsError
from officeops.logs.collecting import Collected, alone, collect, waiting_file
from officeops.streams import DamagedError, Tally, read_chunks

if TYPE_CHECKING:
    from pathlib import Path

    from officeops.ledger.logs import LogLeftOver, LogPart
    from officeops.site import Site
    from officeops.store import Store

FORMAT, VERSION = "officeops-log", 1


@dataclass(frozen=True)
class Exported:
    """What an export did. stored: parts that are now in every target. troubles: why others are not, by target or service."""

    collected: Collected
    stored: list[LogPart]
    troubles: dict[str, str]


class ExportError(OfficeOpsError):
    """Something could not be read or stored; everything else was."""


def targets(site: Site) -> dict[str, Store]:
    """Where logs go. Raises RefusedError when they would be readable where backups are not."""
    wanted = site.config.runbook.logs
    return plain_targets(site, "exported logs", "`logs` of runbook.yaml", target=wanted.target, unencrypted=wanted.unencrypted)


def export(site: Site) -> Exported:
    """Collects and stores. Safe to repeat, and beside whatever changes the stack. Raises OfficeOpsError when nothing could be collected."""
    stores = targets(site)
    collected = collect(site)
    troubles, stored = dict(collected.troubles), []
    with alone(site, "storing"):
        for part in site.ledger.log_parts(waiting=True):
            for name, store in stores.items():
                if name not in troubles and name not in part.targets:
                    try:
                        part = _stored(site, store, part)
                    except (OfficeOpsError, OSError) as error:  # the latter: of the file that waits
                        troubles[name] = str(error)
            if set(part.targets) >= set(stores):
                site.ledger.record_stored(replace(part, waits=False))
                waiting_file(site, part).unlink(missing_ok=True)
                stored.append(part)
    return Exported(collected, stored, troubles)


def export_all(site: Site) -> Exported:
    """The same. Raises ExportError, with all done that could be, when there was trouble."""
    done = export(site)
    if done.troubles:
        raise ExportError(
            "; ".join(f"{name}: {why}" for name, why in done.troubles.items()),
            state="What could be read and stored is; the rest waits in OFFICEOPS_HOME/logs or in the services' own logs.",
            todo="It is tried again by the watcher; see to the target or the service named above.",
        )
    return done


def key_of(site: Site, part: LogPart | LogLeftOver) -> str:
    """Where a part stands in a target."""
    return f"{site.name}/logs/{part.id}.jsonl.zst"


def manifest_key(site: Site, part: LogPart | LogLeftOver) -> str:
    """Where its manifest stands."""
    return f"{site.name}/logs/{part.id}.json"


def remove(site: Site, part: LogPart) -> None:
    """A part is gone from where it is stored, its manifest first. Raises OfficeOpsError when a target cannot be asked: it is known still."""
    remove_objects(site, part)
    site.ledger.forget_log_part(part.id)


def remove_objects(site: Site, part: LogPart | LogLeftOver) -> None:
    """The file and its manifest are gone from every target, the manifest first."""
    for name in part.targets:
        store = opened(site, name)
        store.delete(manifest_key(site, part))
        store.delete(key_of(site, part))


def manifest(site: Site, part: LogPart) -> bytes:
    """The same bytes for the same part, always."""
    facts = {key: value for key, value in vars(part).items() if key not in ("targets", "waits", "id")}
    content = {"format": FORMAT, "version": VERSION, "stack": site.name, "object": key_of(site, part), **facts}
    return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def _stored(site: Site, store: Store, part: LogPart) -> LogPart:
    stored_in(site, store, part, waiting_file(site, part))
    part = replace(part, targets=(*part.targets, store.name))
    site.ledger.record_stored(part)
    return part


def stored_in(site: Site, store: Store, part: LogPart, path: Path) -> None:
    """A part's file goes to a target, is read back, and gets its manifest, which goes last. Raises DamagedError when it comes back otherwise."""
    with path.open("rb") as file:
        store.put(key_of(site, part), read_chunks(file), estimate=part.bytes)
    tally = Tally()
    with store.open(key_of(site, part)) as reader:
        for _ in tally.through(read_chunks(reader)):
            pass
    if (tally.bytes, tally.sha256) != (part.bytes, part.sha256):
        raise DamagedError(
            f"{store.name}/{key_of(site, part)} is not what was written: {tally.bytes} bytes with SHA-256 {tally.sha256}.",
            state="What it was made from is kept, and stored again next time.",
        )
    store.put(manifest_key(site, part), [manifest(site, part)])
