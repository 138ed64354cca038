"""Error rate and response times from counters."""

from __future__ import annotations

from math import inf

from officeops.probes.figures import readings, restored, stored, total
from officeops.releases.watch import Figures


def test_what_came_is_added_up_over_processes_that_began_anew() -> None:
    seen = [
        Figures(100, 10, {1.0: 90, inf: 100}),
        Figures(150, 10, {1.0: 140, inf: 150}),
        Figures(20, 5, {1.0: 10, inf: 20}),  # began anew
        Figures(30, 5, {1.0: 20, inf: 30}),
    ]
    assert total(seen) == Figures(80, 5, {1.0: 70, inf: 80})


def test_a_process_without_requests_has_no_rate() -> None:
    assert total([Figures(7, 7, {inf: 7})]) == Figures()


def test_too_few_requests_prove_nothing() -> None:
    few, many = Figures(19, 19, {5.0: 0, inf: 19}), Figures(20, 2, {5.0: 10, 10.0: 20, inf: 20})
    assert [one.value for one in readings("backend", few, 20)] == [0.0, 0.0, 19]
    assert [one.value for one in readings("backend", many, 20)] == [0.1, 10.0, 20]


def test_counters_are_kept_as_they_are() -> None:
    counters = {"backend-blue": Figures(3, 1, {0.25: 1, 10.0: 2, inf: 3})}
    assert restored(stored(counters)) == counters  # type: ignore[arg-type]
