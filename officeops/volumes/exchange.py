"""Volumes in each other's place, journalled so that a run that was killed in the middle can be ended either way.

The stack exchanges two contents at once, and a kill between that and the journal's next word leaves nobody who knows whether it was done.
So before it, the folder that is not live gets a time that no other has, and the journal notes it: where that time is, that content is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.volumes import roots

if TYPE_CHECKING:
    from officeops.site import Site

_EXCHANGED, _PENDING = "exchanged", "exchanging"


class Exchange:
    """The exchanges of one operation. All that it knows is in the journal."""

    def __init__(self, site: Site, operation: str) -> None:
        self._site, self._operation = site, operation

    @property
    def done(self) -> dict[str, str]:
        """Pairs that were exchanged and not changed back."""
        return dict(self._facts().get(_EXCHANGED, {}))

    def exchange(self, live: str, other: str) -> None:
        """Their contents change places. Services that use them stand still; `other` nobody uses."""
        self._go(live, other, {**self.done, live: other})

    def back(self, live: str) -> None:
        """The exchange of `live` is undone."""
        done = self.done
        other = done.pop(live)
        self._go(live, other, done)

    def settle(self) -> None:
        """Finds out whether an exchange that a kill interrupted was done, and notes it."""
        pending = self._facts().get(_PENDING)
        if not pending:
            return
        if {pending["live"], pending["other"]} <= {volume.name for volume in self._site.stack.volumes()}:
            happened = roots.time_of(self._site.stack, pending["other"]) != pending["moment"]
        else:
            happened = False
        done = pending["then"] if happened else self.done
        self._site.ledger.advance(self._operation, "exchange settled", **{_EXCHANGED: done, _PENDING: None})

    def _go(self, live: str, other: str, then: Mapping[str, str]) -> None:
        stack, ledger = self._site.stack, self._site.ledger
        moment = self._time_that_is_not_of(live)
        roots.set_time(stack, other, moment)
        ledger.advance(self._operation, "exchange", **{_PENDING: {"live": live, "other": other, "moment": moment, "then": then}})
        try:
            stack.exchange_volumes(live, other)
        except OfficeOpsError:
            self.settle()
            raise
        ledger.advance(self._operation, "exchanged", **{_EXCHANGED: then, _PENDING: None})

    def _time_that_is_not_of(self, live: str) -> int:
        now = int(self._site.clock().timestamp())
        return now - 1 if int(roots.time_of(self._site.stack, live)) == now else now

    def _facts(self) -> Mapping[str, Any]:
        known = self._site.ledger.operation(self._operation)
        return known.facts if known else {}
