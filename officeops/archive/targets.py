"""A batch's files in its targets: stored, read back, put away."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from officeops.archive.manifest import ArchivedTable, ArchiveManifest, folder
from officeops.errors import OfficeOpsError, RefusedError
from officeops.runbook.model import Archive
from officeops.store import ObjectExistsError, ObjectMissingError
from officeops.streams import DamagedError, Tally, read_chunks

if TYPE_CHECKING:
    from officeops.site import Site
    from officeops.store import Store


def targets_of(site: Site, policy: Archive) -> dict[str, Store]:
    """Where a policy's files go, by name. Raises RefusedError when they would be readable where backups are not."""
    return plain_targets(site, f"the files of the policy {policy.name}", "the policy", target=policy.target, unencrypted=policy.unencrypted)


def plain_targets(site: Site, what: str, where: str, *, target: str | None, unencrypted: bool) -> dict[str, Store]:
    """The target, or all of BACKUP_TARGETS, for what is not encrypted there. what, where: it, and the place in the runbook that may allow it,
    for people. Raises RefusedError when it would be readable where backups are not."""
    if site.config.settings.backup_age_recipients and not unencrypted:
        raise RefusedError(
            f"Backups are encrypted (BACKUP_AGE_RECIPIENTS), and {what} would not be.",
            state="Nothing was read or changed.",
            todo=f"Say `unencrypted: true` in {where} if that is meant; give it a `target` that only you can read.",
        )
    if target is None:
        return dict(site.targets)
    store = opened(site, target)
    return {store.name: store}


def opened(site: Site, name: str) -> Store:
    """A target by its name or URL, also one that .env names no longer."""
    from officeops.store import open_store

    return site.targets.get(name) or open_store(name, site.config.settings)


def stored(store: Store, key: str, path: Path) -> None:
    """Puts a file there."""
    with path.open("rb") as file:
        store.put(key, read_chunks(file), estimate=path.stat().st_size)


def fetched(store: Store, table: ArchivedTable, path: Path) -> None:
    """Reads a file back into `path`. Raises DamagedError when it is not what was written."""
    tally = Tally()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with store.open(table.object) as reader, path.open("wb") as file:
        for chunk in tally.through(read_chunks(reader)):
            file.write(chunk)
    _require_equal(store, table, tally)


def checked(store: Store, table: ArchivedTable) -> None:
    """Reads a file to its end. Raises DamagedError when it is not what was written."""
    tally = Tally()
    with store.open(table.object) as reader:
        for _ in tally.through(read_chunks(reader)):
            pass
    _require_equal(store, table, tally)


def fetched_from_any(site: Site, names: Iterable[str], table: ArchivedTable, path: Path) -> None:
    """Reads a file back from the first target that has it whole. Raises OfficeOpsError when none has."""
    failures = []
    for name in names:
        try:
            return fetched(opened(site, name), table, path)
        except OfficeOpsError as error:
            failures.append(error)
    path.unlink(missing_ok=True)
    trouble = OfficeOpsError(
        f"No target has {table.object} whole: {'; '.join(map(str, failures))}", state="No row was touched.", todo="Mend the target first."
    )
    trouble.transient = any(failure.transient for failure in failures)
    raise trouble


def published(store: Store, manifest: ArchiveManifest) -> None:
    """The manifest goes last, and is read back."""
    key, data = folder(manifest.stack, manifest.policy, manifest.id) + "manifest.json", manifest.to_json()
    with suppress(ObjectExistsError):
        store.create(key, data)
    with store.open(key) as reader:
        if reader.read() != data:
            raise DamagedError(f"{store.name}/{key} is not what was written.", state="No row was touched.", todo="Look at that file.")


def put_away(site: Site, names: Iterable[str], policy: str, batch: str) -> None:
    """Removes the files of a batch that has no manifest there. One that has may be what another state of this database counts on, such as
    the one that a restore set aside: it stays."""
    for name in names:
        store, here = opened(site, name), folder(site.name, policy, batch)
        with suppress(ObjectMissingError):
            store.stat(here + "manifest.json")
            continue
        for info in list(store.list(here)):
            store.delete(info.key)


def _require_equal(store: Store, table: ArchivedTable, tally: Tally) -> None:
    if (tally.bytes, tally.sha256) != (table.bytes, table.sha256):
        raise DamagedError(
            f"{store.name}/{table.object} is damaged: {tally.bytes} bytes with SHA-256 {tally.sha256}; "
            f"written were {table.bytes} bytes with {table.sha256}.",
            state="No row was touched.",
            todo="Find out what altered the file; another target may have it whole.",
        )
