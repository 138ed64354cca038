"""How often a target may be treated, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from officeops.clock import iso
from officeops.ledger.watching import Incident, Taken
from officeops.remedies.budget import Standing, standing

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


def incident(minutes_ago: float, outcome: str | None, *steps: str) -> Incident:
    at = iso(NOW - timedelta(minutes=minutes_ago))
    taken = tuple(Taken(at, step, "well") for step in steps)
    return Incident(f"{minutes_ago}", "redis", "redis.healthy", "restart", at, "a test", at if outcome else None, outcome, taken)


def stand(*incidents: Incident) -> Standing:
    return standing(incidents, NOW, attempts=3, window=timedelta(minutes=15))


def test_a_target_that_was_well_may_be_treated_at_once() -> None:
    assert stand() == Standing(False, False, None, False, 0, ())
    assert stand(incident(16, "healed"), incident(20, "paged")) == Standing(False, False, None, False, 0, ())


def test_each_attempt_makes_the_next_one_wait_longer() -> None:
    assert stand(incident(0, "healed")).again_at == NOW + timedelta(seconds=30)
    assert stand(incident(0, "healed"), incident(5, "healed")).again_at == NOW + timedelta(seconds=60)
    assert stand(incident(2, "healed"), incident(5, "healed")).again_at is None


def test_the_circuit_opens_after_the_attempts_of_the_window() -> None:
    three = [incident(minutes, "healed") for minutes in (1, 5, 9)]
    assert stand(*three[:2]).open is False
    assert stand(*three).open is True
    assert (stand(incident(1, "paged")).open, stand(incident(1, "paged")).called) == (True, True)


def test_what_refused_or_found_all_well_is_no_attempt() -> None:
    assert stand(*(incident(minutes, outcome) for minutes in (1, 2, 3) for outcome in ("refused", "well"))).attempts == 0


def test_what_did_not_hold_is_not_the_first_thing_that_is_tried_again() -> None:
    assert stand(incident(1, "healed", "recreate"), incident(4, "healed", "restart")).skip == ("recreate", "restart")


def test_one_that_goes_on_is_left_alone_unless_its_process_was_killed() -> None:
    assert stand(incident(5, None)).goes_on is True
    assert stand(incident(61, None)).goes_on is False
