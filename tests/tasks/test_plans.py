"""The terms of a question: what another answer is needed for."""

from __future__ import annotations

from datetime import UTC, datetime

from officeops.releases.preflight import Plan
from officeops.releases.schema import MigrationPlan
from officeops.stack.port import Deployed, Release
from tasks.plans import release_terms

WHEN = datetime(2026, 3, 1, tzinfo=UTC)


def test_other_values_of_a_releases_settings_are_asked_about_anew_and_are_not_in_the_question() -> None:
    def terms(**settings: str) -> dict[str, object]:
        old, new = Deployed("a" * 40, WHEN, "blue", {}), Release("b" * 40, WHEN, settings)
        return release_terms(Plan("deploy", "blue-green", old, new, (), MigrationPlan(None, None), proxy=False, backup=False))

    asked = terms(ollama_model="one:1")
    assert asked == terms(ollama_model="one:1")
    assert asked != terms(ollama_model="two:2")
    assert "one:1" not in str(asked)
