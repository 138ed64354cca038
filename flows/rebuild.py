"""The monthly chapter: security updates of what the release stands on."""

from __future__ import annotations

from typing import Literal

from prefect import flow
from pydantic import Field

from flows.deploy import take_over
from flows.naming import known_as, named, release_tag
from flows.options import Options, waiting
from officeops.stack.port import short
from officeops.upkeep.rebuild import Rebuild, Rebuilt
from tasks import releases
from tasks import upkeep as steps
from tasks.account import accounted
from tasks.site import at_work


class RebuildOptions(Options):
    """How the release that runs is built once more."""

    dry_run: bool = Field(
        False, description="Only say what would change: it is built, compared and removed again. Nothing that runs is touched."
    )
    strategy: Literal["blue-green", "recreate"] = Field(
        "blue-green",
        description="blue-green: without an interruption. recreate: the old one is stopped first; how long nobody answers is measured.",
    )
    why: str = Field("the monthly rebuild", description="The reason, for the ledger.")
    wait_minutes: float = waiting()


@flow(
    name="rebuild", flow_run_name=named("rebuild"), description="Security updates: built anew, compared, deployed when something changed.",
    log_prints=True, persist_result=False,
)  # fmt: skip
@accounted("rebuild")
def rebuild(options: RebuildOptions = RebuildOptions()) -> Rebuilt:
    """Built from nothing beside the release that runs; it takes over when something changed. Failure leaves everything as it was."""
    with at_work("rebuild", wait_minutes=options.wait_minutes) as site:
        with Rebuild.begin(site) as work:
            known_as(f"rebuild {short(work.release.sha, 7)}{' (dry run)' if options.dry_run else ''}", release_tag(work.release.sha))
            steps.build_again(work)
            changes, outcome = steps.compare(work), None
            steps.scan(work)
            if changes.all and not options.dry_run:
                plan = releases.look(site, work.release, kind="rebuild", strategy=options.strategy)
                plan.require_passed()
                outcome = take_over(site, plan, options.why)
            done = steps.finish(work, outcome, dry_run=options.dry_run)
        if site.config.runbook.rebuild.models and not options.dry_run:
            done = steps.renew_models(site, done)
        steps.report_rebuild(site, done)
    return done
