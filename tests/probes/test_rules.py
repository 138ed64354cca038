"""Which values are wrong, and what people are told of them."""

from __future__ import annotations

import pytest

from officeops.probes import Reading, judge
from officeops.probes.document import MADE_BY, PAGE, page
from officeops.probes.rules import RULES, rule_of
from officeops.probes.words import action, proposed, sentence, shown, threshold
from officeops.runbook.watching import RuleChange


@pytest.mark.parametrize(
    ("reading", "ok"),
    [
        (Reading("host.disk", "disk", 0.80), True),
        (Reading("host.disk", "disk", 0.81), False),
        (Reading("host.memory", "memory", 0.86), False),
        (Reading("postgres.connections", "connections", 0.81), False),
        (Reading("backend.error_rate", "error_rate", 0.05), True),
        (Reading("backend.error_rate", "error_rate", 0.051), False),
        (Reading("backend.health_seconds", "response", 5.1), False),
        (Reading("backend.health", "serves", 1.0), True),
        (Reading("backend.health", "serves", 0.0), False),
        (Reading("backend.health", "serves", None), False),
        (Reading("caddy.certificate", "certificate", 13.9), False),
        (Reading("caddy.certificate", "certificate", 0.4, limit=0.1), True),
        (Reading("postgres.size", "bytes", 1e15), True),
        (Reading("postgres.size", "bytes", None), False),
    ],
)
def test_the_seeds_thresholds_are_the_defaults(reading: Reading, ok: bool) -> None:
    assert [one.ok for one in judge([reading], {})] == [ok]


def test_the_runbook_changes_a_measure_or_a_single_alert() -> None:
    changes = {"disk": RuleChange(limit=0.5), "host.disk:/data": RuleChange(limit=0.9, severity="critical")}
    readings = [Reading("host.disk", "disk", 0.6), Reading("host.disk:/data", "disk", 0.6)]
    first, second = judge(readings, changes)
    assert (first.ok, second.ok) == (False, True)
    assert (first.rule.severity, second.rule.severity) == ("warning", "critical")
    assert first.rule.clear is None, "the default's value to clear belongs to the default's limit"


def test_what_was_wrong_must_come_back_to_the_value_to_clear() -> None:
    rule = rule_of("disk", "host.disk", {})
    assert not rule.breached(0.78, None)
    assert rule.breached(0.78, None, was=True)
    assert not rule.breached(0.75, None, was=True)


def test_the_action_names_the_setting_and_a_value_that_helps() -> None:
    (one,) = judge([Reading("postgres.connections", "connections", 0.9, "90 of 100", facts={"allowed": 100.0})], {})
    assert "max_connections from 100 to 150" in action(one)
    assert 90 / proposed(one) <= 0.8
    assert sentence(one) == "postgres.connections is 90 % (at most 80 %): 90 of 100"


@pytest.mark.parametrize("measure", RULES)
def test_every_rule_has_words_for_all_that_it_can_find(measure: str) -> None:
    for value in (None, 0.0, 1.0, 1e12):
        (one,) = judge([Reading("a.b", measure, value, "why")], {})
        assert sentence(one)
        assert shown(value, one.rule.unit)
        assert one.limit is None or (threshold(one) and action(one))


def test_the_page_is_made_of_the_rules() -> None:
    assert PAGE.read_text() == page(), f"`{MADE_BY}` makes it"
