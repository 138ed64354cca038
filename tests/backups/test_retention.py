"""Retention is a table: what is there, what stays, why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from officeops.backups.retention import Candidate, decide
from officeops.runbook.model import Retention

TOKYO = ZoneInfo("Asia/Tokyo")
START = datetime(2026, 1, 1, 17, tzinfo=UTC)  # 02:00 on 2 January in Tokyo


def nightly(count: int, **overrides: object) -> list[Candidate]:
    return [Candidate(f"b{day:03}", START + timedelta(days=day), True, False, **overrides) for day in range(count)]  # type: ignore[arg-type]


def kept(candidates: list[Candidate], rules: Retention) -> list[str]:
    return [decision.id for decision in decide(candidates, rules, TOKYO) if decision.keep]


def test_keeps_one_a_day_a_week_and_a_month() -> None:
    found = kept(nightly(120), Retention(keep_last=3, daily=7, weekly=4, monthly=3))
    assert found[:7] == [f"b{day:03}" for day in range(119, 112, -1)]
    # 1 May 2026 is a Friday: the newest of the weeks before are Sundays, of the months before their last nights.
    assert found[7:] == ["b107", "b100", "b088"]


def test_counts_days_in_the_zone_that_people_live_in() -> None:
    two = [
        Candidate("before", datetime(2026, 3, 1, 14, 59, tzinfo=UTC), True, False),
        Candidate("after", datetime(2026, 3, 1, 15, 1, tzinfo=UTC), True, False),
    ]
    assert kept(two, Retention(keep_last=1, daily=2, weekly=0, monthly=0)) == ["after", "before"]


def test_a_month_without_backups_costs_no_old_one() -> None:
    old, new = nightly(3), [Candidate("new", START + timedelta(days=90), True, False)]
    assert kept(old + new, Retention(keep_last=2, daily=2, weekly=0, monthly=0)) == ["new", "b002"]


def test_never_removes_the_last_good_ones_even_when_no_rule_asks_for_any() -> None:
    assert kept(nightly(5), Retention(keep_last=2, daily=0, weekly=0, monthly=0)) == ["b004", "b003"]


def test_unverified_ones_count_for_nothing_and_stay_for_a_person_to_look_at() -> None:
    candidates = [*nightly(4), Candidate("bad", START + timedelta(days=9), False, False)]
    decisions = {one.id: one for one in decide(candidates, Retention(keep_last=1, daily=1, weekly=0, monthly=0), TOKYO)}
    assert decisions["bad"].keep
    assert "not verified" in decisions["bad"].reasons[0]
    assert decisions["b003"].reasons == ("number 1 of the last 1", "newest of day 2026-01-05")
    assert not decisions["b002"].keep


def test_pinned_ones_stay() -> None:
    candidates = [*nightly(4), Candidate("old", START - timedelta(days=900), True, True)]
    decisions = {one.id: one for one in decide(candidates, Retention(keep_last=1, daily=1, weekly=0, monthly=0), TOKYO)}
    assert decisions["old"].reasons == ("pinned",)


def test_says_why_something_goes() -> None:
    assert decide(nightly(2), Retention(keep_last=1, daily=1, weekly=0, monthly=0), TOKYO)[1].reasons == ("no rule keeps it",)
