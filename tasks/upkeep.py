"""The steps of a rebuild and of a clean-up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from prefect.logging import get_run_logger

from officeops.releases.rollout import Outcome
from officeops.site import Site
from officeops.stack.port import LeftOver, short
from officeops.upkeep import clean_up as cleaning
from officeops.upkeep import models
from officeops.upkeep.changes import Change, Changes
from officeops.upkeep.clean_up import CleanedUp
from officeops.upkeep.rebuild import Rebuild, Rebuilt
from tasks import reporting
from tasks.steps import step

_SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN")


@step("build from nothing", retries=1)
def build_again(rebuild: Rebuild) -> None:
    """Newest bases, no step of an earlier build."""
    rebuild.build()


@step("compare")
def compare(rebuild: Rebuild) -> Changes:
    """Packages, bases, sizes: before and after."""
    return rebuild.compare()


@step("scan for vulnerabilities")
def scan(rebuild: Rebuild) -> None:
    """Where a scanner is."""
    rebuild.scan()


@step("close the journal")
def finish(rebuild: Rebuild, rollout: Outcome | None, *, dry_run: bool) -> Rebuilt:
    """What did not take over is removed."""
    return rebuild.finish(rollout, dry_run=dry_run)


@step("renew the model")
def renew_models(site: Site, done: Rebuilt) -> Rebuilt:
    """Where the runbook says so; tried before the one from before goes."""
    return replace(done, models=models.renew(site))


@step("look what nothing needs")
def look(site: Site) -> CleanedUp:
    """Each with its size, and why it goes or stays."""
    return cleaning.look(site)


@step("clean up")
def clean_up(site: Site, plan: CleanedUp) -> CleanedUp:
    """What the plan says; then every release that one can go back to is seen to be whole."""
    done = cleaning.clean_up(site, plan)
    for trouble in done.troubles:
        get_run_logger().warning("%s", trouble)
    return done


@step("report")
def report_rebuild(site: Site, done: Rebuilt) -> None:
    """What changed, for people."""
    facts = {"from": f"`{short(done.old)}`", "to": f"`{short(done.new)}`", "outcome": done.outcome, "changes": len(done.changes.all)}
    lines = [f"## Rebuild: {done.outcome}", *reporting.facts(facts), ""]
    lines += [f"- {note}" for note in (*done.notes, *done.changes.unknown)]
    if done.outcome == "unchanged":
        lines += ["", "Nothing changed, so nothing was deployed; what was built is removed again."]
    lines += _sizes(done.changes)
    lines += [f"- the model {one.name} of {one.service}: {_model(one)}" for one in done.models]
    if done.vulnerabilities is not None:
        lines += ["", "| known vulnerabilities | before | after |", "|---|---|---|"]
        lines += [f"| {part} | {_counts(found['before'])} | {_counts(found['after'])} |" for part, found in done.vulnerabilities.items()]
    reporting.report("rebuild", site.name, "\n".join(lines), description=f"Rebuild of {short(done.old)}: {done.outcome}")
    reporting.table(
        "what-changed", site.name, list(_rows(done.changes.all)), description=f"What changed from {short(done.old)} to {short(done.new)}"
    )


@step("report")
def report_clean_up(site: Site, done: CleanedUp, *, dry_run: bool) -> None:
    """What went and why, for people."""
    what = "would go" if dry_run else "went"
    lines = [f"## Clean-up: {len(done.gone)} things {what}, {done.bytes:,} bytes at least", ""]
    lines += [f"- **{trouble}**" for trouble in done.troubles]
    lines += [*_table(what, done.gone), "", *_table("stays", done.kept)]
    reporting.report("clean-up", site.name, "\n".join(lines), description=f"{len(done.gone)} things {what}")


def _table(title: str, found: Iterable[LeftOver]) -> Iterator[str]:
    yield from (f"| {title} | | bytes | why |", "|---|---|---|---|")
    for one in found:
        yield f"| {one.kind} | `{one.name}` | {one.bytes:,} | {reporting.cell(one.why)} |"


def _rows(changes: Iterable[Change]) -> Iterator[dict[str, str]]:
    for one in changes:
        yield {"part": one.part, "what": one.kind, "name": one.name, "before": one.before or "", "after": one.after or ""}


def _sizes(changes: Changes) -> Iterator[str]:
    yield from ("", "| size in bytes | before | after |", "|---|---|---|")
    for part, (before, after) in changes.bytes.items():
        yield f"| {part} | {before:,} | {after:,} |"


def _model(one: models.Model) -> str:
    return one.note or (f"`{one.before[:19]}` → `{one.after[:19]}`" if one.before != one.after else "as it was")


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{found[one]} {one.lower()}" for one in _SEVERITIES if found.get(one)) or "none"
