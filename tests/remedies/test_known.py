"""Which remedy is for what, and the user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from officeops.config import Config
from officeops.errors import UsageError
from officeops.remedies import Patient
from officeops.remedies.healing import diagnosis, mode_of
from officeops.remedies.known import remedies, remedy_for
from officeops.remedies.services import Restart
from officeops.runbook.load import read_runbook
from officeops.runbook.watching import Remedies, RemedyChange
from officeops.site import Site
from tests.support.site import PROJECT

OWN = '''
from officeops.remedies import Patient, Remedy, Step

class Queue(Remedy):
    """Too much waits."""
    name = "queue"
    def fits(self, patient):
        return patient.name == "backend.health"
    def ladder(self, patient):
        return [Step("restart", lambda: None)]
'''


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    """With the project's own runbook."""
    config = new_site().config
    runbook, _problems = read_runbook(PROJECT / "runbook.yaml")
    assert runbook is not None
    return Site(Config(config.folder, config.settings, runbook))


def with_remedies(site: Site, **given: object) -> Site:
    runbook = site.config.runbook.model_copy(update={"remedies": Remedies.model_validate(given)})
    return Site(Config(site.config.folder, site.config.settings, runbook))


@pytest.mark.parametrize(
    ("name", "measure", "remedy"),
    [
        ("backend.healthy", "healthy", "application"),
        ("backend.health", "serves", "application"),
        ("frontend.page", "page", "white-screen"),
        ("frontend.healthy", "healthy", "application"),
        ("postgres.answers", "database", "database"),
        ("postgres.connections", "connections", "database"),
        ("postgres.migration", "migration", "migration"),
        ("ollama.model", "model", "model"),
        ("ollama.answers", "answers", "model"),
        ("redis.answers", "answers", "restart"),
        ("caddy.healthy", "healthy", "restart"),
        ("host.disk", "disk", "disk"),
        ("host.memory", "memory", "memory"),
        ("backend.memory", "memory", "memory"),
        ("backend.error_rate", "error_rate", None),
        ("backups.verified", "backup_age", None),
        ("caddy.certificate", "certificate", None),
    ],
)
def test_each_of_the_runbooks_problems_has_its_remedy_and_the_rest_is_for_people(
    site: Site, name: str, measure: str, remedy: str | None
) -> None:
    found = remedy_for(Patient(site, name, measure))
    assert (found.name if found else None) == remedy


def test_ones_own_remedies_go_first(site: Site) -> None:
    (site.config.folder / "own.py").write_text(OWN)
    own = with_remedies(site, file="own.py")
    found = remedy_for(Patient(own, "backend.health", "serves"))
    assert found is not None
    assert found.name == "queue"
    assert remedies(site.config)[0].name != "queue"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no Python file"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("x = 1", "has no remedy"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(site: Site, text: str | None, said: str) -> None:
    path: Path = site.config.folder / "own.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=said):
        remedies(with_remedies(site, file="own.py").config)


def test_the_runbook_says_what_is_done_by_itself(site: Site) -> None:
    changes = {"restart": RemedyChange(mode="ask"), "disk": RemedyChange(mode="never"), "migration": RemedyChange(mode="auto")}
    changed = with_remedies(site, changes=changes)
    modes = {one.name: mode_of(changed, one) for one in remedies(changed.config)}
    assert (modes["restart"], modes["disk"], modes["migration"], modes["application"]) == ("ask", "never", "auto", "auto")
    assert {one.name: mode_of(site, one) for one in remedies(site.config)}["migration"] == "ask"
    with pytest.raises(UsageError, match="nonsense"):
        remedies(with_remedies(site, changes={"nonsense": RemedyChange()}).config)


def test_a_remedy_whose_attempts_alone_are_changed_keeps_its_own_mode(site: Site) -> None:
    changed = with_remedies(site, changes={"migration": RemedyChange(attempts=1)})
    assert {one.name: mode_of(changed, one) for one in remedies(changed.config)}["migration"] == "ask"


def test_a_diagnosis_has_no_secret(site: Site) -> None:
    secret = site.config.settings.postgres_password.get_secret_value()

    class Talkative(Restart):
        """Its service prints what it should not."""

        name = "talkative"

        def diagnose(self, patient: Patient) -> dict[str, str]:
            return {"log": f"connecting with {secret}"}

    assert secret not in diagnosis(Patient(site, "redis.healthy", "healthy"), Talkative())
