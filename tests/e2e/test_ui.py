"""What people do in the Prefect UI, in a real browser: look at the schedules, go back to an earlier release, hear of a run that failed."""

from __future__ import annotations

import re

import pytest
from prefect.client.schemas.schedules import CronSchedule

from tests.e2e.conftest import Office
from tests.support.browser import Person
from tests.support.ports import eventually

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.timeout(600)]


def test_every_schedule_is_shown_with_its_hour(office: Office, somebody: Person) -> None:
    somebody.at("/v2/deployments?limit=25&sort=NAME_ASC")
    somebody.sees("nightly-backup")
    somebody.picture("deployments")
    scheduled = {name: one for name, one in office.deployments().items() if one.schedules}
    assert scheduled.keys() >= {"nightly_backup", "volume_backup", "restore_drill"}
    for deployment in scheduled.values():
        somebody.at(f"/v2/deployments/deployment/{deployment.id}")
        for schedule in deployment.schedules:
            assert isinstance(schedule.schedule, CronSchedule)
            minute, hour = schedule.schedule.cron.split()[:2]
            often = minute.startswith("*/")
            somebody.sees(f"Every {minute[2:]} minutes" if often else re.compile(rf"At {int(hour):02}:{int(minute):02} AM"))


def test_a_rollback_is_started_by_its_form_approved_and_leaves_its_report(office: Office, somebody: Person) -> None:
    somebody.at(f"/v2/deployments/deployment/{office.deployments()['rollback'].id}/run")
    somebody.sees("Parameters")
    assert somebody.chooses("To (Optional)", office.first[:10]) == ["previous", office.first[:10]]
    somebody.writes("Why (Optional)", "The new page confuses people")
    somebody.picture("rollback-form")
    somebody.presses("Submit")

    eventually(lambda: office.runs("rollback"), 60, "the run")
    (run,) = office.runs("rollback")
    somebody.at(f"/v2/runs/flow-run/{run.id}")
    somebody.sees("Suspended", seconds=180)
    deployed = office.site.stack.deployed()
    assert deployed is not None
    assert deployed.sha == office.second  # nothing was changed before the answer
    somebody.picks("Open menu", "Resume")
    somebody.sees(re.compile("Nothing was changed yet"))
    somebody.picture("approval")
    assert somebody.chooses("Decision", "approve") == ["approve", "reject"]
    assert "J. Meyer (database administrator)" in somebody.chooses("Who", "佐藤 恵 (system administrator)")
    somebody.writes("Reason", "Agreed by telephone")
    somebody.presses("Resume")

    somebody.sees(re.compile("^Completed$"), seconds=180)
    deployed = office.site.stack.deployed()
    assert deployed is not None
    assert deployed.sha == office.first
    (approval,) = [one for one in office.site.ledger.approvals() if one.run == str(run.id)]
    assert (approval.decision, approval.who, approval.why) == ("approve", "佐藤 恵 (system administrator)", "Agreed by telephone")
    (ended,) = office.runs("rollback")
    assert f"release:{office.first[:7]}" in ended.tags
    assert ended.name.startswith(f"rollback to {office.first[:7]} ")
    somebody.at(f"/v2/artifacts/artifact/{office.artifact(run.id, 'rollback')}")
    somebody.sees("The new page confuses people")
    somebody.picture("report")


def test_the_artifacts_are_a_dashboard_and_the_chart_is_an_image_that_is_shown(office: Office, somebody: Person) -> None:
    somebody.at("/v2/artifacts")
    stack = office.site.name.replace("_", "-")
    for key in ("stack", "alerts", "backups", "releases", "disk", "rollback"):
        somebody.sees(f"{key}-{stack}")
    somebody.picture("artifacts")
    somebody.at(f"/v2/artifacts/artifact/{office.artifact(office.runs('rollback')[0].id, 'disk')}")
    image = somebody.page.locator("img[src^='data:image/svg+xml']")
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    somebody.picture("disk")


def test_a_failed_run_says_what_to_do_and_people_are_told_of_it(office: Office, somebody: Person) -> None:
    run = office.start("deploy", ref="no-such-branch")
    somebody.at(f"/v2/runs/flow-run/{run.id}")
    somebody.sees(re.compile("^Failed$"), seconds=180)
    somebody.picture("failed")
    eventually(lambda: [body for body in office.plane.channel.sent_to("/webhook") if str(run.id) in body], 60, "the message")
    somebody.at(f"/v2/artifacts/artifact/{office.artifact(run.id, 'deploy')}")
    somebody.sees("What to do.")
    somebody.sees(re.compile("no-such-branch"))
