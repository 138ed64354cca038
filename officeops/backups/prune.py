"""Retention, carried out: in each target by itself, and only after what stays was seen to be there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from officeops.backups import manifest as layout
from officeops.backups.objects import remove_objects
from officeops.backups.retention import Candidate, Decision, decide
from officeops.clock import parse_iso
from officeops.errors import OfficeOpsError
from officeops.ledger import Copy

if TYPE_CHECKING:
    from officeops.site import Site
    from officeops.store import Store

_ORPHAN_AGE = timedelta(days=7)  # longer than any backup takes: what is younger may be one in the making


@dataclass(frozen=True)
class Plan:
    """What retention does in one target. orphans: ids of objects without a manifest, older than a week."""

    target: str
    decisions: tuple[Decision, ...]
    orphans: tuple[str, ...]

    @property
    def removed(self) -> tuple[str, ...]:
        """Ids that go."""
        return tuple(decision.id for decision in self.decisions if not decision.keep)


class PruneError(OfficeOpsError):
    """Retention would have removed something while what it relies on is gone."""


def plan(site: Site) -> list[Plan]:
    """What `prune` would do now. Changes nothing."""
    copies = sorted(site.ledger.copies(), key=lambda copy: (copy.target, _series(copy)))
    return [_plan(site, store, [copy for copy in copies if copy.target == name]) for name, store in site.targets.items()]


def prune(site: Site) -> list[Plan]:
    """Removes what no rule keeps. The caller holds the stack's lock. Raises PruneError, before anything of that target is removed,
    when one of the backups that stay is not there."""
    plans = plan(site)
    for one in plans:
        store = site.targets[one.target]
        if one.removed:
            _require_kept(site, store, one)
        for backup in one.removed:
            remove_objects(site, store, backup)
            site.ledger.forget_copy(backup, one.target)
        for orphan in one.orphans:
            remove_objects(site, store, orphan)
    return plans


def _plan(site: Site, store: Store, copies: list[Copy]) -> Plan:
    decisions: list[Decision] = []
    for _, alike in groupby(copies, key=_series):
        candidates = [Candidate(copy.backup, parse_iso(copy.at), bool(copy.verified_at), copy.pinned) for copy in alike]
        decisions += decide(candidates, site.config.runbook.backups.retention, site.config.settings.zone)
    return Plan(store.name, tuple(decisions), tuple(_orphans(site, store, site.clock())))


def _series(copy: Copy) -> tuple[str, ...]:
    """Backups of which a newer one can take an older one's place: of the same kind, and holding the same volumes."""
    return (copy.kind, *sorted(copy.manifest.get("volumes", ())))


def _orphans(site: Site, store: Store, now: datetime) -> list[str]:
    """Folders without a manifest in which nothing was written for a week."""
    found = []
    prefix = layout.backups_prefix(site.name)
    for backup, objects in groupby(store.list(prefix), key=lambda info: info.key.removeprefix(prefix).split("/", 1)[0]):
        infos = list(objects)
        complete = any(info.key == layout.manifest_key(site.name, backup) for info in infos)
        if not complete and now - max(info.modified for info in infos) > _ORPHAN_AGE:
            found.append(backup)
    return found


def _require_kept(site: Site, store: Store, one: Plan) -> None:
    """A cheap look, no reading: every object of what stays is there with its size."""
    known = {copy.backup: copy for copy in site.ledger.copies() if copy.target == one.target}
    for decision in one.decisions:
        copy = known[decision.id]
        if not decision.keep or copy.problem:
            continue
        for stored in layout.of(copy.manifest).objects.values():
            try:
                size = store.stat(stored.key).bytes
            except OfficeOpsError as error:
                raise _refused(one, decision.id, str(error)) from error
            if size != stored.bytes:
                raise _refused(one, decision.id, f"{stored.key} has {size} bytes instead of {stored.bytes}")


def _refused(one: Plan, backup: str, why: str) -> PruneError:
    return PruneError(
        f"Old backups in {one.target} were not removed, because {backup}, which stays, is not whole: {why}.",
        state="Nothing was removed from that target.",
        todo=f"Run `officeops verify {backup}`, then `officeops catalog rebuild`.",
    )
