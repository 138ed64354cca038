"""A backup's objects in a target: read back, published, removed."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from officeops.backups import manifest as layout
from officeops.backups.manifest import DatabaseManifest, Manifest, StoredObject, VolumeManifest
from officeops.clock import iso
from officeops.errors import OfficeOpsError
from officeops.ledger import Copy, Ledger
from officeops.progress import Meter
from officeops.store import ObjectExistsError, ObjectMissingError
from officeops.streams import DamagedError, Tally, read_chunks
from officeops.volumes.users import STOPPED

if TYPE_CHECKING:
    from officeops.site import Site
    from officeops.store import Store


def verify_object(store: Store, expected: StoredObject) -> None:
    """Reads an object to its end. Raises DamagedError when size or checksum differ, ObjectMissingError when it is gone."""
    tally = Tally()
    meter = Meter("verify", expected.bytes, every=8 << 20)
    with store.open(expected.key) as reader:
        for chunk in tally.through(read_chunks(reader)):
            meter.add(len(chunk))
    meter.finish()
    if (tally.bytes, tally.sha256) != (expected.bytes, expected.sha256):
        raise DamagedError(
            f"{store.name}/{expected.key} is damaged: {tally.bytes} bytes with SHA-256 {tally.sha256}; "
            f"written were {expected.bytes} bytes with {expected.sha256}.",
            state="The object was left as it is.",
            todo="Use another backup or target (`officeops backups`), and find out what altered this one.",
        )


def create_manifest(store: Store, manifest: Manifest) -> None:
    """Publishes a backup and reads its manifest back. Doing it again with the same manifest is no error."""
    key, data = layout.manifest_key(manifest.stack, manifest.id), manifest.to_json()
    with suppress(ObjectExistsError):
        store.create(key, data)
    if read_small(store, key) != data:
        raise DamagedError(
            f"{store.name}/{key} is not what was written.",
            state="The backup is not listed.",
            todo="Look at that file: something else writes to this target, or the target alters what it stores.",
        )


def read_small(store: Store, key: str) -> bytes:
    """All bytes of a small object. Raises ObjectMissingError."""
    with store.open(key) as reader:
        return reader.read()


def load_manifest(store: Store, stack: str, backup: str) -> DatabaseManifest | VolumeManifest:
    """The manifest of a backup in one target. Raises ObjectMissingError, ManifestError, NewerManifestError."""
    key = layout.manifest_key(stack, backup)
    return layout.parse(read_small(store, key), f"{store.name}/{key}")


def record_copy(
    ledger: Ledger, target: str, manifest: Manifest, *, verified_at: datetime | None, problem: str | None = None, pinned: bool = False
) -> None:
    """Enters a backup's copy into the ledger's index."""
    verified = iso(verified_at) if verified_at else None
    content = manifest.model_dump(mode="json")
    ledger.record_copy(
        Copy(manifest.id, target, iso(manifest.snapshot_at), manifest.kind, manifest.size, verified, problem, pinned, content)
    )


def remove_objects(site: Site, store: Store, backup: str) -> None:
    """Removes everything of a backup from a target, the manifest first: a removal that is cut leaves no backup that lies."""
    store.delete(layout.manifest_key(site.name, backup))
    for info in list(store.list(layout.folder(site.name, backup))):
        store.delete(info.key)


def put_away_unfinished(site: Site) -> list[str]:
    """Ends the backups that a killed run left unfinished: published copies are entered into the index, other objects removed. Those of
    volumes stay open until the services that they stopped were started (`officeops/order.py`).

    Returns their ids. The caller holds the stack's lock, so that what has not ended is not running either.
    """
    unfinished = [operation for operation in site.ledger.operations("backup") if not operation.facts.get(STOPPED)]
    for operation in unfinished:
        shutil.rmtree(site.home / "spool" / operation.id, ignore_errors=True)
        keys = [str(value) for fact, value in operation.facts.items() if fact.startswith(layout.JOURNALLED_KEY)]
        published = [_put_away(site, store, operation.id, keys) for store in site.targets.values()]
        outcome = "done" if published and all(published) else "failed"
        site.ledger.end(operation.id, outcome, f"The run ended without a word in the step {operation.state}; put in order by the next one.")
    return [operation.id for operation in unfinished]


def _put_away(site: Site, store: Store, backup: str, keys: list[str]) -> bool:
    """Whether the target has it published. keys: of objects that may be there in part only."""
    try:
        manifest = load_manifest(store, site.name, backup)
    except ObjectMissingError:
        with suppress(OfficeOpsError):  # what cannot be removed now is an orphan without a manifest: never listed, swept when it is old
            remove_objects(site, store, backup)
            for key in keys:
                store.delete(key)
        return False
    except OfficeOpsError:
        return False
    record_copy(site.ledger, store.name, manifest, verified_at=manifest.finished_at)
    return True
