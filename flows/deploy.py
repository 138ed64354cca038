"""The chapter on deploying: a release takes over from another without a dropped request."""

from __future__ import annotations

from typing import Literal

from prefect import flow
from pydantic import Field

from flows.backup import back_up_database
from flows.naming import known_as, named, release_tag
from flows.options import Options, waiting
from officeops.errors import RefusedError
from officeops.releases.preflight import Plan
from officeops.releases.records import is_first
from officeops.releases.rollout import Outcome, Rollout
from officeops.releases.schema import DowngradePlan
from officeops.site import Site
from officeops.stack.port import short
from tasks import releases as steps
from tasks.account import accounted
from tasks.approvals import approve
from tasks.plans import release_terms
from tasks.site import at_work

Proxy = Literal["ask", "keep", "reload"]


class DeployOptions(Options):
    """What is deployed, and how."""

    dry_run: bool = Field(False, description="Only say what would be done. The release is built, nothing that runs is touched.")
    ref: str | None = Field(None, description="Commit, tag or branch; default: origin/main, fetched first.")
    strategy: Literal["blue-green", "recreate"] = Field(
        "blue-green",
        description="blue-green: without an interruption. recreate: the old release is stopped first; how long nobody answers is measured.",
    )
    why: str = Field("", description="The reason, for the ledger.")
    allow_unsafe: bool = Field(False, description="Go on although a migration is unsafe for the release that runs.")
    proxy: Proxy = Field(
        "ask",
        description="When the front door's configuration changes: refuse and say so, keep the old one, or take the new one over (idle connections close).",
    )
    force: bool = Field(False, description="Even when this very release runs already.")
    wait_minutes: float = waiting()


@flow(
    name="deploy",
    flow_run_name=named("deploy", "ref"),
    description="A release takes over from another.",
    log_prints=True,
    persist_result=False,
)
@accounted("deploy")
def deploy(options: DeployOptions = DeployOptions()) -> tuple[Plan, Outcome | None]:
    """Fetch, build, look, then the taking over. The outcome is None when nothing was to be done."""
    with at_work(f"deploy of {options.ref or 'the main branch'}", wait_minutes=options.wait_minutes, looks_only=options.dry_run) as site:
        notes = steps.fetch(site)
        release = steps.build(site, options.ref)
        known_as(f"deploy of {short(release.sha, 7)}{' (dry run)' if options.dry_run else ''}", release_tag(release.sha))
        kind: Literal["deploy", "initial"] = "initial" if is_first(site) else "deploy"
        plan = steps.look(site, release, kind=kind, strategy=options.strategy, allow_unsafe=options.allow_unsafe, notes=notes)
        if options.dry_run or (plan.unchanged and not options.force):
            return plan, None
        plan.require_passed()
        require_proxy_decision(plan, options.proxy)
        approve(site, "deploy", plan=plan.markdown(), terms=release_terms(plan))
        if plan.backup:
            back_up_database(site)
        outcome = begin_with(site, plan, options.why) if kind == "initial" else take_over(site, plan, options.why, proxy=options.proxy)
        steps.report_release(site, plan, outcome, why=options.why)
    return plan, outcome


def take_over(site: Site, plan: Plan, why: str, *, proxy: Proxy = "keep", schema: DowngradePlan | None = None) -> Outcome:
    """The order of a taking over. Whatever fails before the old release is retired ends with the old release serving."""
    reload = plan.proxy and proxy == "reload"
    with Rollout.begin(site, plan.new, kind=plan.kind, strategy=plan.strategy, why=why, reload_proxy=reload) as rollout:
        if plan.strategy == "recreate":
            steps.interrupt(rollout)
        steps.expand(rollout, plan)
        steps.launch(rollout)
        if schema is not None and schema.needed:
            steps.downgrade(rollout, schema)
        steps.prove(rollout)
        steps.switch(rollout)
        steps.bake(rollout)
        steps.drain(rollout)
        steps.retire(rollout)
        return steps.finish(rollout)


def begin_with(site: Site, plan: Plan, why: str) -> Outcome:
    """A first release: everything from nothing."""
    with Rollout.begin(site, plan.new, kind="initial", strategy="recreate", why=why) as rollout:
        steps.up(rollout)
        return steps.finish(rollout)


def require_proxy_decision(plan: Plan, proxy: Proxy) -> None:
    """Raises RefusedError when the front door's configuration changes and nobody said what to do."""
    if plan.proxy and proxy == "ask":
        raise RefusedError(
            "This release changes the front door's configuration (Caddyfile). Taking it over closes idle connections, which their clients open "
            "again, and ends what takes longer than Caddy's grace, such as long chat answers.",
            state="Nothing was changed.",
            todo="Say which: --proxy reload takes it over when the new release serves, --proxy keep leaves the old one in use.",
        )
