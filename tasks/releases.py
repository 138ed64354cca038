"""The steps of a deploy and of a rollback."""

from __future__ import annotations

from prefect.logging import get_run_logger

from officeops.clock import parse_iso
from officeops.errors import RefusedError
from officeops.releases import emergency, preflight, records, source
from officeops.releases.preflight import Plan
from officeops.releases.rollout import Kind, Outcome, Rollout, Strategy
from officeops.releases.schema import DowngradePlan, Schema
from officeops.site import Site
from officeops.stack.port import Release, short
from tasks import reporting
from tasks.steps import step


@step("fetch the repository")
def fetch(site: Site) -> tuple[str, ...]:
    """What is new at `origin`. Being offline is said and no failure."""
    trouble = source.fetch(site.config)
    uncommitted = site.stack.uncommitted()
    notes = [trouble] if trouble else []
    notes += [f"{uncommitted} uncommitted files are not in the release: a release is a commit"] if uncommitted else []
    for note in notes:
        get_run_logger().warning("%s", note)
    return tuple(notes)


@step("build", retries=1)
def build(site: Site, ref: str | None) -> Release:
    """The release of a commit, or the one that is there; with today's values of what belongs to a release."""
    preflight.require_room(site)
    return records.build(site, ref or source.default_ref(site.config))


@step("find the release")
def find(site: Site, wanted: str) -> Release:
    """One that is on this host, with the settings that it ran with."""
    return records.release_of(site, records.find(site, wanted))


@step("look before")
def look(
    site: Site, release: Release, *, kind: Kind, strategy: Strategy = "blue-green", allow_unsafe: bool = False, notes: tuple[str, ...] = ()
) -> Plan:
    """Everything that could be in the way; the plan as an artifact."""
    plan = preflight.plan(site, release, kind=kind, strategy=strategy, allow_unsafe=allow_unsafe, notes=notes)
    reporting.report(f"{kind}-plan", site.name, plan.markdown(), description=f"What a {kind} to {short(release.sha)} would do")
    return plan


@step("report")
def report_plan(site: Site, what: str, plan: str) -> None:
    """What a dry run of `what` would do, with all that its approval would say."""
    reporting.report(f"{what}-plan", site.name, plan, description=f"What a run of {what} would do")


@step("ask what the schema needs")
def downgrades(site: Site, release: Release, *, accept_data_loss: bool, dry_run: bool) -> DowngradePlan:
    """Whether the older release can use today's schema. Raises RefusedError when it cannot and nobody accepted what is lost."""
    plan = Schema(site).downgrades(release)
    if plan.needed and not accept_data_loss and not dry_run:
        lost = "; ".join(plan.drops) or "nothing that is known"
        raise RefusedError(
            f"{short(release.sha)} cannot use today's schema ({plan.current}): it would have to go back to {plan.target}, which drops: {lost}.",
            state="Nothing was changed.",
            todo="Accept that (`--accept-data-loss`; a backup is made first), or deploy a corrected release instead.",
        )
    return plan


@step("stop the old release")
def interrupt(rollout: Rollout) -> None:
    """The seed's simple way."""
    rollout.interrupt()


@step("migrate what both can use")
def expand(rollout: Rollout, plan: Plan) -> None:
    """Under a lock, with a timeout; tried again when the database is busy."""
    rollout.expand(plan.migrations)


@step("start the new release")
def launch(rollout: Rollout) -> None:
    """Beside the old one, its gate shut."""
    rollout.launch()


@step("take the schema back")
def downgrade(rollout: Rollout, plan: DowngradePlan) -> None:
    """To what the older release needs."""
    rollout.downgrade(plan.target or "base")


@step("prove the new release")
def prove(rollout: Rollout) -> None:
    """Checks in a row, smoke requests."""
    rollout.prove()


@step("switch")
def switch(rollout: Rollout) -> None:
    """Requests go to the new release."""
    rollout.switch()


@step("bake")
def bake(rollout: Rollout) -> None:
    """Both run, the new one is watched."""
    rollout.bake()


@step("wait for requests of the old release")
def drain(rollout: Rollout) -> None:
    """Until it has answered everything."""
    rollout.drain()


@step("retire the old release")
def retire(rollout: Rollout) -> None:
    """Its log is kept."""
    rollout.retire()


@step("start everything")
def up(rollout: Rollout) -> None:
    """A first release."""
    rollout.up()


@step("close the journal")
def finish(rollout: Rollout) -> Outcome:
    """What no rollback may need is removed."""
    return rollout.finish()


@step("report")
def report_release(site: Site, plan: Plan, outcome: Outcome, *, why: str) -> None:
    """What was done, for people; the releases that one can go back to."""
    facts = {
        "from": f"`{short(outcome.old)}`" if outcome.old else "nothing", "to": f"`{short(outcome.new)}`", "why": why or "not said", "strategy": outcome.strategy,
        "schema": " → ".join(str(one) for one in outcome.migrations) if outcome.migrations[0] != outcome.migrations[1] else str(outcome.migrations[0]),
        "new requests reached it after": _seconds(outcome.switched_after_s), "the old one had answered everything after": _seconds(outcome.drained_s),
        "nobody answered for": _seconds(outcome.downtime_s) if outcome.downtime_s is not None else "not a moment", "all of it took": _seconds(outcome.seconds),
    }  # fmt: skip
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    notes = "".join(f"\n**{note}**\n" for note in outcome.notes)
    back = f"Next: `officeops rollback` goes back to `{short(outcome.old)}`." if outcome.old else "Next: `officeops status`."
    reporting.report(
        plan.kind,
        site.name,
        f"## {plan.kind}\n| | |\n|---|---|\n{rows}\n{notes}\n{back}\n",
        description=f"{plan.kind} to {short(outcome.new)}",
    )


def show_releases(site: Site) -> None:
    """The newest takings over as a table; what `emergency` did while nobody could see it, as reports of their own."""
    zone = site.config.settings.zone
    rows = [
        {
            "release": short(one.sha), "what": one.kind, "when": f"{parse_iso(one.created_at).astimezone(zone):%Y-%m-%d %H:%M}",
            "outcome": one.outcome or "under way", "schema": one.revision or "", "who": one.who, "why": one.why,
        }
        for one in site.ledger.releases()[:20]
    ]  # fmt: skip
    reporting.table("releases", site.name, rows, description="Releases, newest first")
    for identifier in emergency.unshown(site):
        record = next(one for one in site.ledger.releases() if one.id == identifier)
        text = f"## Emergency rollback\nTo `{short(record.sha)}` by {record.who} at {record.created_at}: {record.outcome}. {record.why}\n"
        reporting.report("emergency", site.name, text, description=f"Emergency rollback to {short(record.sha)}")
        emergency.mark_shown(site, identifier)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
