"""The commands of releases on a whole office: what other programs may rely on, and what works while other things do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from officeops.gate import Gate
from officeops.releases import records
from tests.e2e.conftest import Office
from tests.support.ports import free_ports
from tests.support.releases import back_to_start, roll_out
from tests.support.upkeep import TRIAL, commit_with_trial, publish_wheel

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.timeout(600)]
KEYS = {"from", "to", "strategy", "migrations", "switched_after_s", "drained_s", "seconds", "outcome"}


def serving(office: Office) -> str | None:
    """The release that answers."""
    return Gate(office.site.stack).serving("/version")


def test_a_dry_run_shows_the_plan_and_changes_nothing(office: Office) -> None:
    before = office.site.ledger.releases()
    planned = office.plane.officeops("deploy", office.first, "--dry-run", "--json")
    assert planned.status == 0, planned.stderr
    assert planned.json.keys() >= KEYS | {"steps", "commands", "checks"}
    commands = [command for of_step in planned.json["commands"] for command in of_step]
    assert len(planned.json["commands"]) == len(planned.json["steps"])
    assert any(str(office.site.stack.gate_folder) in command and command.startswith("rm ") for command in commands)
    shown = office.plane.officeops("deploy", office.first, "--dry-run").stdout
    assert all(command in shown for command in commands)
    assert (planned.json["outcome"], planned.json["to"], serving(office)) == ("planned", office.first, office.second)
    assert office.site.ledger.releases() == before


def test_a_deploy_then_an_emergency_without_server_git_or_path(office: Office, tmp_path: Path) -> None:
    deployed = office.plane.officeops("deploy", office.first, "--json", "--why", "to see it")
    assert deployed.status == 0, deployed.stderr
    assert deployed.json.keys() >= KEYS
    assert (deployed.json["outcome"], deployed.json["from"], deployed.json["to"]) == ("deployed", office.second, office.first)
    assert (serving(office), deployed.json["strategy"]) == (office.first, "blue-green")

    refused = office.plane.officeops("emergency", "--json")
    assert (refused.status, serving(office)) == (3, office.first)
    alone = {"PREFECT_PORT": str(free_ports(1)[0]), "PATH": str(tmp_path)}
    back = office.plane.officeops("emergency", "--yes", "--json", "--why", "on fire", **alone)
    assert back.status == 0, back.stderr
    assert back.json.keys() >= KEYS
    assert (back.json["outcome"], back.json["to"], serving(office)) == ("rolled_back", office.second, office.second)


def test_a_rebuild_deploys_what_changed_and_a_rollback_gets_the_build_from_before(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
    site = office.site
    with_package = records.build(site, commit_with_trial(site.config.settings.officeops_app, tmp_path))
    roll_out(site, with_package)
    publish_wheel(tmp_path, "2")
    try:
        rebuilt = office.plane.officeops("rebuild", "--json", UV_FIND_LINKS=str(tmp_path))
        assert rebuilt.status == 0, rebuilt.stderr
        assert (rebuilt.json["outcome"], rebuilt.json["to"]) == ("deployed", f"{with_package.sha}-r1")
        assert [(one["before"], one["after"]) for one in rebuilt.json["changes"] if one["name"] == TRIAL] == [("1", "2")]
        assert serving(office) == f"{with_package.sha}-r1"
        back = office.plane.officeops("rollback", "--json")
        assert (back.json["outcome"], serving(office)) == ("rolled_back", with_package.sha)
    finally:
        back_to_start(site, records.build(site, office.second))
        for sha in (with_package.sha, f"{with_package.sha}-r1"):
            site.stack.discard(sha)


def test_a_rollback_a_deploy_of_the_same_and_what_they_left(office: Office) -> None:
    back = office.plane.officeops("rollback", "--to", office.first[:9], "--json")
    assert back.status == 0, back.stderr
    assert (back.json["outcome"], back.json["to"], serving(office)) == ("rolled_back", office.first, office.first)
    again = office.plane.officeops("deploy", office.second, "--json")
    assert (again.json["outcome"], serving(office)) == ("deployed", office.second)
    same = office.plane.officeops("deploy", office.second, "--json")
    assert (same.status, same.json["outcome"]) == (0, "unchanged")
    known = office.plane.officeops("releases", "--json").json["releases"]
    assert known[0].keys() >= {"id", "sha", "kind", "outcome", "why", "who", "retained"}
    assert {one["sha"] for one in known if one["retained"]} == {office.first, office.second}
    assert office.plane.officeops("reconcile", "--json").json == {"done": [], "troubles": []}


@pytest.mark.parametrize("arguments", [("deploy", "nowhere"), ("rollback", "--to", "abcdef0")])
def test_a_release_that_is_not_there_is_bad_usage(office: Office, arguments: tuple[str, ...]) -> None:
    ended = office.plane.officeops(*arguments)
    assert (ended.status, serving(office)) == (2, office.second)
    assert "Nothing was" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_whoever_comes_second_is_refused_and_told_who_is_at_work(office: Office) -> None:
    with office.site.locked("a deploy of somebody"):
        for command in (("rollback",), ("emergency", "--yes"), ("reconcile",)):
            ended = office.plane.officeops(*command)
            assert ended.status == 3, ended.stderr
            assert "a deploy of somebody" in ended.stderr
