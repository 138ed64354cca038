"""Room on the disk: what was built or left on this host and no release, stack or running service needs goes. `docker system prune -a`, told
apart from what others have on the host and from what a rollback needs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from officeops import files
from officeops.errors import OfficeOpsError
from officeops.progress import Meter
from officeops.releases import records
from officeops.stack.port import LeftOver, short

if TYPE_CHECKING:
    from officeops.site import Site

KIND = "clean-up"


@dataclass(frozen=True)
class CleanedUp:
    """gone: what was removed (of a dry run: what would be). kept: what stays, with why. troubles: what could not be removed. seconds: all
    of it."""

    gone: tuple[LeftOver, ...]
    kept: tuple[LeftOver, ...]
    troubles: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def bytes(self) -> int:
        """That are free now, at least: what several that went had in common is not counted."""
        return sum(one.bytes for one in self.gone)


def look(site: Site) -> CleanedUp:
    """What would go, and what would stay. Nothing is changed."""
    found = [*site.stack.left_overs(records.needed(site), site.clock()), *_spools(site)]
    return CleanedUp(tuple(one for one in found if not one.stays), tuple(one for one in found if one.stays))


def clean_up(site: Site, plan: CleanedUp | None = None) -> CleanedUp:
    """Removes what `plan` (default: a look of now) says goes, as far as nobody uses it by now; then sees that every release that one can go
    back to is whole. The caller holds the stack's lock. Raises OfficeOpsError when one is not."""
    began = time.monotonic()
    plan = plan or look(site)
    kept = records.retained(site)
    operation = f"{KIND}-{site.clock():%Y%m%d_%H%M%S}-{secrets.token_hex(2)}"
    site.ledger.begin(KIND, operation, going=[f"{one.kind} {one.name}" for one in plan.gone])
    gone, troubles = _remove(site, plan.gone)
    for record in kept:
        site.stack.artifact(records.release_of(site, record))
    site.ledger.end(operation, "done", "\n".join(troubles) or None)
    return CleanedUp(gone, plan.kept, troubles, time.monotonic() - began)


def put_in_order(site: Site) -> None:
    """Ends what a killed one left in the journal: whatever went was not needed, and the next one looks anew."""
    for operation in site.ledger.operations(KIND):
        site.ledger.end(operation.id, "undone", "The process that did it ended; what it had not removed is still there.")


def _remove(site: Site, going: Sequence[LeftOver]) -> tuple[tuple[LeftOver, ...], tuple[str, ...]]:
    gone, troubles = [], []
    meter = Meter("clean up", len(going), unit="things")
    for one in going:
        try:
            site.stack.remove(one)
            gone.append(one)
        except OfficeOpsError as error:
            troubles.append(f"{one.kind} {_called(one)}: {error}")
        meter.add()
    meter.finish()
    return tuple(gone), tuple(troubles)


def _called(one: LeftOver) -> str:
    return short(one.name) if one.kind == "release" else one.name


def _spools(site: Site) -> list[LeftOver]:
    """Decoded data of restores and drills that were killed; of one that the journal still has as open it stays."""
    found = []
    for path in sorted((site.home / "spool").glob("*")):
        operation = site.ledger.operation(path.name)
        open_ = operation is not None and operation.outcome is None
        why = f"{path.name} is not over" if open_ else "left by a run that was killed"
        found.append(LeftOver("folder", str(path), files.size(path), open_, why))
    return found
