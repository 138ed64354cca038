"""The release that runs, built once more: for the security updates of what it stands on.

    with Rebuild.begin(site) as rebuild:
        rebuild.build()         beside the one that runs: newest bases, nothing of earlier builds
        rebuild.compare()       packages, bases, sizes: before and after
        rebuild.scan()          known vulnerabilities, where a scanner is
        ...                     it takes over as any release does (Rollout): tested, watched, undone when it fails
        rebuild.finish()        written down; one in which nothing changed is removed again

A rebuild is a release of its own, `SHA-r1`, `SHA-r2` ...: its images and files stand beside those of the same commit, which stay for a
rollback like those of any other release. Leaving the block early removes what was built. `put_in_order` does so for a killed process.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from officeops.errors import OfficeOpsError
from officeops.releases.rollout import Outcome
from officeops.stack.port import Deployed, Part, Release, commit_of
from officeops.upkeep import scan
from officeops.upkeep.changes import Changes, compare
from officeops.upkeep.models import Model

if TYPE_CHECKING:
    from types import TracebackType

    from officeops.site import Site

KIND = "rebuild"


@dataclass(frozen=True)
class Rebuilt:
    """old, new: releases; new is gone again unless it was deployed. notes: what was to be said. vulnerabilities: by severity, before and
    after by part; None: no scanner is here."""

    old: str
    new: str
    outcome: Literal["deployed", "unchanged", "planned"]
    changes: Changes
    notes: tuple[str, ...]
    vulnerabilities: Mapping[str, Mapping[str, Mapping[str, int]]] | None
    rollout: Outcome | None = None
    models: tuple[Model, ...] = ()


class Rebuild:
    """One rebuild. The caller holds the stack's lock."""

    def __init__(self, site: Site, operation: str, old: Deployed, new: str, bases: Mapping[str, str]) -> None:
        self._site, self._operation, self._old, self._bases = site, operation, old, bases
        self.release = Release(new, old.at, old.settings)
        self.changes = Changes()
        self.vulnerabilities: dict[str, dict[str, dict[str, int]]] | None = None
        self._before: dict[str, Part] = {}
        self._notes: list[str] = []
        self._over = False

    @classmethod
    def begin(cls, site: Site) -> Self:
        """Writes down what is about to be built, and on what it stood so far. Raises OfficeOpsError when no release runs."""
        old = site.stack.deployed()
        if old is None:
            raise OfficeOpsError("No release runs yet.", state="Nothing was built.", todo="Start one with `officeops up`.")
        name = f"{commit_of(old.sha)}-r{_next_number(site, old.sha)}"
        operation = f"{KIND}-{site.clock():%Y%m%d_%H%M%S}-{old.sha[:7]}-{secrets.token_hex(2)}"
        bases = site.stack.bases(_release(old))
        site.ledger.begin(KIND, operation, old=old.sha, new=name, bases=bases)
        return cls(site, operation, old, name, bases)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if self._over:
            return
        try:
            _settle(self._site, self._operation, self.release.sha, self._bases, str(error) if error else "It was not finished.")
        except OfficeOpsError as second:
            if not isinstance(error, OfficeOpsError):
                raise
            error.state = f"{error.state.rstrip()}\nWhat was built could not be removed: {second} The next run does it.".lstrip()

    def build(self) -> None:
        """What is there now is looked at first; then the new one is built beside it."""
        self._site.ledger.advance(self._operation, "build")
        self._before = self._site.stack.contents(_release(self._old))
        number = int(self.release.sha.rpartition("-r")[2])
        built, self._notes = self._site.stack.build_again(self._old.sha, number)
        self.release = replace(built, settings=self._old.settings)

    def compare(self) -> Changes:
        """What differs."""
        self.changes = compare(self._before, self._site.stack.contents(self.release))
        return self.changes

    def scan(self) -> None:
        """Both are scanned by today's list of vulnerabilities, so that a new entry of the list is not taken for a change."""
        if not scan.available():
            self._notes.append("No vulnerability scan: `trivy` is not on PATH.")
            return
        try:
            before, after = (scan.scan(self._site.stack.artifact(one)) for one in (_release(self._old), self.release))
        except OfficeOpsError as error:
            self._notes.append(f"The vulnerability scan failed: {error}")
            return
        self.vulnerabilities = {part: {"before": before.get(part, {}), "after": found} for part, found in after.items()}

    def finish(self, rollout: Outcome | None = None, *, dry_run: bool = False) -> Rebuilt:
        """rollout: how the new release took over, None when it did not; then what was built is removed."""
        if rollout is None:
            _remove(self._site, self.release.sha, self._bases)
        self._site.ledger.end(self._operation, "done")
        self._over = True
        outcome: Literal["deployed", "unchanged", "planned"] = (
            "deployed" if rollout else "planned" if dry_run and self.changes.all else "unchanged"
        )
        return Rebuilt(self._old.sha, self.release.sha, outcome, self.changes, tuple(self._notes), self.vulnerabilities, rollout)


def put_in_order(site: Site) -> None:
    """Ends every rebuild that a killed process left, after its taking over has been ended: what does not serve is removed."""
    for operation in site.ledger.operations(KIND):
        why = f"The process that did it ended while it was at: {operation.state}"
        _settle(site, operation.id, operation.facts["new"], operation.facts["bases"], why)


def _settle(site: Site, operation: str, new: str, bases: Mapping[str, str], why: str) -> None:
    deployed = site.stack.deployed()
    if deployed is not None and deployed.sha == new:
        site.ledger.end(operation, "done")
        return
    _remove(site, new, bases)
    site.ledger.end(operation, "undone", why)


def _remove(site: Site, new: str, bases: Mapping[str, str]) -> None:
    site.stack.discard(new)
    site.stack.restore_bases(bases)


def _release(deployed: Deployed) -> Release:
    return Release(deployed.sha, deployed.at, deployed.settings)


def _next_number(site: Site, release: str) -> int:
    """One that no rebuild of this commit ever had: what is written of one must stay true of it."""
    return max((int(found[1]) for name in _names(site) if (found := re.fullmatch(rf"{commit_of(release)}-r(\d+)", name))), default=0) + 1


def _names(site: Site) -> Iterator[str]:
    yield from (one.sha for one in site.ledger.releases())
    yield from (one.sha for one in site.stack.built())
