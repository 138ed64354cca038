"""What is looked at before a release takes over: everything that is in the way is named, and nothing is changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from officeops.clock import utc_now
from officeops.errors import OfficeOpsError, RefusedError
from officeops.releases import preflight
from officeops.releases.preflight import Plan
from officeops.site import Site
from tests.releases.conftest import Office
from tests.support import backups
from tests.support.releases import build


def looked(office: Office, name: str, site: Site | None = None, **given: Any) -> Plan:
    """The plan of a deploy of that variant."""
    chosen = site or office.site
    return preflight.plan(chosen, build(chosen, office.variant(name)), kind="deploy", **given)


def stops(plan: Plan) -> list[tuple[str, str]]:
    """What is in the way."""
    return [(check.name, check.detail) for check in plan.stops]


def test_a_good_release_may_take_over_and_the_plan_says_what_would_be_done(office: Office) -> None:
    before = (office.site.stack.services(), office.site.ledger.releases())
    plan = looked(office, "good")
    assert stops(plan) == []
    plan.require_passed()
    assert plan.old is not None
    assert (plan.old.sha, plan.unchanged, plan.proxy) == (office.first.sha, False, False)
    text = plan.markdown()
    for part in ("gate shut", "smoke requests", "blue.drain", "green.drain", "stop it", plan.new.sha[:10], office.first.sha[:10]):
        assert part in text
    assert (office.site.stack.services(), office.site.ledger.releases()) == before


def test_the_very_release_that_runs_is_unchanged_and_with_other_settings_it_is_not(office: Office) -> None:
    same = preflight.plan(office.site, office.first, kind="deploy")
    settings = office.site.config.settings.model_copy(update={"ollama_model": "other:1b"})
    other = Site(type(office.site.config)(office.site.config.folder, settings, office.site.config.runbook))
    deployed = office.site.stack.deployed()
    assert deployed is not None
    if deployed.settings:  # the very first start of all wrote none down
        assert same.unchanged
    assert not preflight.plan(other, build(other, office.first.sha), kind="deploy").unchanged


def test_a_key_that_the_release_needs_and_this_host_has_not_is_named(office: Office) -> None:
    plan = looked(office, "new-key")
    assert stops(plan) == [("environment", "WEEKLY_REPORT_TO is in the release's .env.example and not in .env")]
    with pytest.raises(RefusedError, match="WEEKLY_REPORT_TO") as caught:
        plan.require_passed()
    assert "Nothing was changed" in caught.value.state


def test_a_migration_that_is_unsafe_for_what_runs_stops_it_with_the_line_and_the_rule(office: Office) -> None:
    ((name, detail),) = stops(looked(office, "unsafe-migration"))
    assert name == "unsafe migration"
    assert "0005, line " in detail
    assert "ban-drop-column" in detail
    allowed = looked(office, "unsafe-migration", allow_unsafe=True)
    assert stops(allowed) == []
    assert "DROP COLUMN model" in allowed.markdown()
    assert "DROP COLUMN model" in str(allowed.as_json()["sql"])


@pytest.mark.parametrize("office", [pytest.param("local", marks=pytest.mark.xdist_group("releases"))], indirect=True)
def test_a_front_door_that_is_no_good_stops_it(office: Office) -> None:
    ((name, detail),) = stops(looked(office, "bad-caddyfile"))
    assert name == "release's configuration"
    assert "nonsense" in detail


@pytest.mark.parametrize("office", [pytest.param("compose", marks=pytest.mark.xdist_group("compose"))], indirect=True)
@pytest.mark.parametrize(("name", "words"), [("bad-caddyfile", "nonsense"), ("bad-compose", "servcies")])
def test_configuration_that_is_no_good_stops_it(office: Office, name: str, words: str) -> None:
    try:
        found = str(stops(looked(office, name)))
    except OfficeOpsError as error:  # a Compose file that cannot be read cannot be built either
        found = str(error)
    assert words in found


def test_too_little_room_stops_it(office: Office) -> None:
    ((name, detail),) = stops(looked(office, "good", office.with_releases(disk_free_bytes=10**15)))
    assert name == "disk"
    assert "1000000.0 GB asked for" in detail


def test_a_backup_is_made_first_unless_there_is_a_verified_one_that_is_young_enough(office: Office) -> None:
    with office.site.locked("test", wait_s=60):
        backups.back_up(office.site)
    assert not looked(office, "good").backup
    later = Site(office.site.config, clock=lambda: utc_now() + timedelta(hours=27))
    assert looked(office, "good", later).backup


def test_the_front_doors_own_change_is_said_before(office: Office) -> None:
    plan = looked(office, "other-front-door")
    assert plan.proxy
    assert ("front door", "note") in {(check.name, check.verdict) for check in plan.checks}
    from flows.deploy import require_proxy_decision

    with pytest.raises(RefusedError, match=r"Caddyfile.*idle connections"):
        require_proxy_decision(plan, "ask")
    require_proxy_decision(plan, "keep")
    require_proxy_decision(plan, "reload")
