"""What a load's record says: failures, latency around switches, answers of the wrong release."""

from __future__ import annotations

from benchmarks.record import Record, Switch, around, outside, summary


def record(*answers: tuple[float, float, str]) -> Record:
    """(start, seconds, release) of GETs that were answered well."""
    made = Record()
    for start, seconds, release in answers:
        made.answered("get", start, seconds, release)
    return made


def switch(release: str, at: float) -> Switch:
    """Both gates are open for a tenth of a second."""
    return Switch(release, at - 5, at, at + 0.1)


def test_every_failure_is_counted_and_the_first_are_told() -> None:
    made = record((1, 0.1, "a"))
    for number in range(30):
        made.failed("post", number, 0.1, f"reason {number}")
    assert (made.total, made.failed_count) == (31, 30)
    assert made.by_kind() == {"get": {"requests": 1, "failed": 0}, "post": {"requests": 30, "failed": 30}}
    assert made.first_failures == [(number, "post", f"reason {number}") for number in range(23)]
    assert sum(made.failures.values()) == 30
    assert made.failures["others"] == 10


def test_an_answer_of_a_release_whose_gate_was_shut_is_a_wrong_one() -> None:
    switches = [switch("b", 10), switch("a", 20)]
    right = [
        (1, 0.1, "a"),
        (9.95, 0.2, "b"),
        (9.9, 8, "a"),
        (10.05, 0.01, "b"),
        (10.05, 0.01, "a"),
        (15, 0.1, "b"),
        (30, 0.1, "a"),
        (12, 0.1, ""),
    ]
    assert record(*right).wrong_releases("a", switches) == (0, 7)
    assert record((1, 0.1, "b"), (10.2, 0.1, "a"), (19, 0.1, "a"), (20.2, 0.1, "b"), (12, 0.1, "c")).wrong_releases("a", switches) == (5, 5)


def test_latency_is_told_around_switches_and_apart_from_them() -> None:
    made = record((1, 0.010, "a"), (9.6, 0.020, "a"), (12.05, 0.030, "b"), (13, 0.040, "b"))
    made.answered("stream", 10, 6)
    made.failed("get", 10, 1, "cut")
    windows = around([switch("b", 10)])
    assert windows == [(9.5, 12.1)]
    assert (made.latency(windows).count, made.latency(windows).max) == (2, 30.0)
    assert made.latency(outside(windows, 0, 100)).max == 40.0


def test_intervals_that_overlap_are_one_and_what_is_outside_is_the_rest() -> None:
    assert around([switch("b", 10), switch("a", 12)]) == [(9.5, 14.1)]
    assert outside([(3, 4), (1, 2), (1.5, 2.5)], 0, 5) == [(0, 1), (2.5, 3), (4, 5)]
    assert outside([(0, 10)], 2, 5) == []
    assert outside([(8, 9)], 0, 5) == [(0, 5)]


def test_percentiles_are_of_the_sorted_answers() -> None:
    found = summary([number / 1000 for number in range(100, 0, -1)])
    assert (found.count, found.p50, found.p99, found.max) == (100, 51.0, 100.0, 100.0)
    assert summary([]).count == 0


def test_the_silence_is_the_longest_time_without_a_good_answer() -> None:
    made = record((0, 0.5, "a"), (1, 0.5, "a"), (5, 0.5, "b"))
    made.answered("stream", 1, 2)
    made.failed("get", 3, 0.1, "cut")
    assert made.silence() == 4.0
