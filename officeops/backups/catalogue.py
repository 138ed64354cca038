"""Which backups there are: the ledger's index, and how it is rebuilt from what the targets hold."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from officeops.backups import manifest as layout
from officeops.backups.manifest import ManifestError
from officeops.backups.objects import load_manifest, read_small, record_copy, verify_object
from officeops.clock import iso
from officeops.errors import OfficeOpsError, UsageError
from officeops.ledger import Copy, Drill
from officeops.store import ObjectExistsError

if TYPE_CHECKING:
    from officeops.site import Site
    from officeops.store import Store


_LATEST_OF = "latest:"


@dataclass(frozen=True)
class Entry:
    """A backup and its copies. verified: it was read back whole from every target that it was made for and that .env still names.
    drilled_at: when it was last restored and found equal."""

    id: str
    kind: str
    at: str
    bytes: int
    verified: bool
    drilled_at: str | None
    pinned: bool
    copies: tuple[Copy, ...]

    @property
    def whole(self) -> tuple[Copy, ...]:
        """The copies that were read back whole."""
        return tuple(copy for copy in self.copies if copy.verified_at and not copy.problem)


def entries(site: Site) -> list[Entry]:
    """All backups that the ledger knows, newest first."""
    drilled: dict[str, str] = {}
    for drill in site.ledger.drills():
        if drill.ok:
            drilled.setdefault(drill.backup, drill.at)
    by_backup = groupby(sorted(site.ledger.copies(), key=lambda copy: (copy.at, copy.backup), reverse=True), key=lambda copy: copy.backup)
    return [_entry(site, tuple(copies), drilled) for _, copies in by_backup]


def _entry(site: Site, copies: tuple[Copy, ...], drilled: dict[str, str]) -> Entry:
    first = copies[0]
    entry = Entry(
        first.backup, first.kind, first.at, first.bytes, False, drilled.get(first.backup), any(copy.pinned for copy in copies), copies
    )
    good = {copy.target for copy in entry.whole}
    return replace(entry, verified=bool(good) and good >= set(first.manifest["targets"]) & site.targets.keys())


def of_the_database(known: Iterable[Entry]) -> list[Entry]:
    """Those from which the database's data can be brought back: dumps, scripts and base backups."""
    return [entry for entry in known if entry.kind != "volumes"]


def find(site: Site, backup: str) -> Entry:
    """The backup of that id, of an unambiguous beginning of it, or `latest`: the newest of the database that some target holds whole.
    `latest:volumes` (or another kind) is the newest of that kind. Raises UsageError."""
    known = entries(site)
    if backup == "latest" or backup.startswith(_LATEST_OF):
        kinds = layout.DATABASE_KINDS if backup == "latest" else (backup.removeprefix(_LATEST_OF),)
        found = [entry for entry in known if entry.whole and entry.kind in kinds][:1]
    else:
        found = [entry for entry in known if entry.id == backup] or [entry for entry in known if entry.id.startswith(backup)]
    if len(found) == 1:
        return found[0]
    problem = f"{backup!r} fits {len(found)} backups" if found else f"There is no backup {backup!r}"
    raise UsageError(
        f"{problem}.",
        state="Nothing was changed.",
        todo="`officeops backups` lists them; `officeops catalog rebuild` looks again in the targets.",
    )


@dataclass(frozen=True)
class Checked:
    """What reading one copy back showed: `problem` None when every object is what was written."""

    target: str
    problem: str | None


def verify(site: Site, backup: str) -> list[Checked]:
    """Reads every object of every copy back and enters the result into the ledger. A target out of reach is a problem of this
    reading, not of the copy: the ledger keeps what it knew."""
    checked = []
    for copy in find(site, backup).copies:
        store = _target(site, copy.target)
        try:
            manifest = load_manifest(store, site.name, copy.backup)
            for stored in manifest.objects.values():
                verify_object(store, stored)
        except OfficeOpsError as error:
            if not error.transient:
                record_copy(
                    site.ledger,
                    copy.target,
                    layout.of(copy.manifest),
                    verified_at=None,
                    problem=str(error),
                    pinned=copy.pinned,
                )
            checked.append(Checked(copy.target, str(error)))
        else:
            record_copy(site.ledger, copy.target, manifest, verified_at=site.clock(), pinned=copy.pinned)
            checked.append(Checked(copy.target, None))
    return checked


def pin(site: Site, backup: str, *, pinned: bool) -> Entry:
    """Keeps a backup for ever, or no longer: an object of its own in each target, since manifests never change."""
    entry = find(site, backup)
    for copy in entry.copies:
        store, key = _target(site, copy.target), layout.pin_key(site.name, entry.id)
        if pinned:
            with suppress(ObjectExistsError):
                store.create(key, iso(site.clock()).encode())
        else:
            store.delete(key)
        site.ledger.record_copy(Copy(**{**vars(copy), "pinned": pinned}))
    return find(site, entry.id)


@dataclass(frozen=True)
class Rebuilt:
    """What `rebuild` found in one target. problems: manifests that could not be used, each with the reason."""

    target: str
    backups: int
    drills: int
    problems: tuple[str, ...]


def rebuild(site: Site) -> list[Rebuilt]:
    """Makes the index anew from what the targets hold. A target is read whole before its old entries go."""
    return [_rebuild(site, store) for store in site.targets.values()]


def _rebuild(site: Site, store: Store) -> Rebuilt:
    manifests, problems = [], []
    for backup in backup_ids(site, store):
        try:
            manifests.append(load_manifest(store, site.name, backup))
        except ManifestError as error:
            problems.append(str(error))
    pins = {info.key.rsplit("/", 1)[1] for info in store.list(f"{site.name}/pins/")}
    found = [_drill(json.loads(read_small(store, info.key))) for info in store.list(f"{site.name}/drills/")]
    site.ledger.forget_target(store.name)
    for manifest in manifests:
        # The manifest is written only after every object was read back.
        record_copy(site.ledger, store.name, manifest, verified_at=manifest.finished_at, pinned=manifest.id in pins)
    for drill in found:
        site.ledger.record_drill(drill)
    return Rebuilt(store.name, len(manifests), len(found), tuple(problems))


def backup_ids(site: Site, store: Store) -> Iterable[str]:
    """Ids of the backups whose manifest is in a target."""
    return [
        info.key.removesuffix("/manifest.json").rsplit("/", 1)[1]
        for info in store.list(layout.backups_prefix(site.name))
        if info.key.endswith("/manifest.json")
    ]


def record_drill(site: Site, backup: str, *, at: datetime, ok: bool, seconds: float, detail: str) -> list[str]:
    """Enters a drill into the ledger and beside the manifests. Returns what could not be written where."""
    drill = Drill(backup, iso(at), ok, seconds, detail)
    site.ledger.record_drill(drill)
    failures = []
    for copy in site.ledger.copies(backup):
        try:
            _target(site, copy.target).create(layout.drill_key(site.name, backup, drill.at), json.dumps(vars(drill)).encode())
        except OfficeOpsError as error:
            failures.append(f"{copy.target}: {error}")
    return failures


def _drill(raw: dict[str, object]) -> Drill:
    return Drill(str(raw["backup"]), str(raw["at"]), bool(raw["ok"]), float(str(raw["seconds"])), str(raw["detail"]))


def _target(site: Site, name: str) -> Store:
    """A target by the name that the index has. One that .env names no longer is opened all the same."""
    from officeops.store import open_store

    return site.targets.get(name) or open_store(name, site.config.settings)
