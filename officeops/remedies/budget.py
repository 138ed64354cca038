"""How often a target may be treated, and when: pure, from its incidents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from officeops.clock import parse_iso
from officeops.ledger.watching import Incident

_FIRST_PAUSE = timedelta(seconds=30)
_TRIED = ("healed", "paged", "failed")
_LONGEST = timedelta(hours=1)  # an incident that goes on for longer was left by a killed process


@dataclass(frozen=True)
class Standing:
    """open: the circuit is open, a person is called instead. called: a person was, in the window. again_at: when it may be treated again,
    None: now. goes_on: it is being treated. attempts: of the window. skip: steps that were taken in it and did not hold."""

    open: bool
    called: bool
    again_at: datetime | None
    goes_on: bool
    attempts: int
    skip: tuple[str, ...]


def standing(incidents: Sequence[Incident], now: datetime, *, attempts: int, window: timedelta) -> Standing:
    """incidents: of one target, newest first."""
    goes_on = any(one.outcome is None and now - parse_iso(one.started_at) < _LONGEST for one in incidents)
    recent = [one for one in incidents if one.outcome in _TRIED and now - parse_iso(one.started_at) < window]
    pause = _FIRST_PAUSE * 2 ** (len(recent) - 1) if recent else timedelta()
    last = recent[0] if recent else None
    again = parse_iso(last.ended_at or last.started_at) + pause if last else None
    return Standing(
        open=len(recent) >= attempts or (last is not None and last.outcome == "paged"),
        called=any(one.outcome == "paged" for one in recent),
        again_at=again if again and again > now else None,
        goes_on=goes_on,
        attempts=len(recent),
        skip=tuple({step: None for one in recent for step in one.actions}),
    )
