"""What is looked at before a release takes over, and what will be done: nothing here changes what runs."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from officeops.backups.catalogue import entries, of_the_database
from officeops.clock import parse_iso
from officeops.errors import OfficeOpsError, RefusedError
from officeops.releases import records
from officeops.releases.schema import MigrationPlan, Schema
from officeops.settings.env import parse_env
from officeops.stack.port import Deployed, Release, short

if TYPE_CHECKING:
    from officeops.releases.rollout import Kind, Strategy
    from officeops.site import Site

Verdict = Literal["ok", "note", "stop"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `stop`: the release may not take over like this."""

    name: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class Step:
    """One thing that will be done. commands: what that runs, as a person would type it; values that the environment has are not in it."""

    text: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a taking over would do. `old`: the release that runs. `proxy`: the front door's configuration would have to change.
    `backup`: one is made first."""

    kind: Kind
    strategy: Strategy
    old: Deployed | None
    new: Release
    checks: tuple[Check, ...]
    migrations: MigrationPlan
    proxy: bool
    backup: bool
    steps: tuple[Step, ...] = field(default=())

    @property
    def unchanged(self) -> bool:
        """The very release with the very settings runs already."""
        return self.old is not None and (self.old.sha, dict(self.old.settings)) == (self.new.sha, dict(self.new.settings))

    @property
    def stops(self) -> tuple[Check, ...]:
        """What is in the way."""
        return tuple(check for check in self.checks if check.verdict == "stop")

    def require_passed(self) -> None:
        """Raises RefusedError naming everything that is in the way."""
        if self.stops:
            found = "\n".join(f"  {check.name}: {check.detail}" for check in self.stops)
            raise RefusedError(
                f"The release {short(self.new.sha)} may not take over:\n{found}",
                state="\nNothing was changed.",
                todo="Mend what is named above and try again.",
            )

    def markdown(self) -> str:
        """For people: what would be done, what was looked at, the migrations with their SQL."""
        old = f"`{short(self.old.sha)}` ({self.old.colour})" if self.old else "nothing"
        lines = [f"**{self.kind}**, {self.strategy}: {old} → `{short(self.new.sha)}`", ""]
        for number, step in enumerate(self.steps, 1):
            lines += [
                f"{number}. {step.text}",
                *(["", "   ```sh", *(f"   {one}" for one in step.commands), "   ```"] if step.commands else []),
            ]
        lines += ["", "| check | | |", "|---|---|---|"]
        signs = {"ok": "✓", "note": "!", "stop": "✗"}
        lines += [f"| {check.name} | {signs[check.verdict]} | {_cell(check.detail)} |" for check in self.checks]
        for pending in self.migrations.expand:
            lines += [
                "",
                f"Migration `{pending.revision.id}`: {pending.revision.doc}",
                "",
                "```sql",
                (pending.sql or "(not known)").strip(),
                "```",
            ]
        waiting = ", ".join(f"`{revision.id}`" for revision in self.migrations.contract)
        lines += ["", f"Waiting for `officeops migrate contract`: {waiting}"] if waiting else []
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        pending = [{"revision": one.revision.id, "sql": one.sql} for one in self.migrations.expand]
        return {
            "from": self.old.sha if self.old else None, "to": self.new.sha, "strategy": self.strategy,
            "migrations": {"from": self.migrations.current, "to": pending[-1]["revision"] if pending else self.migrations.current},
            "sql": pending, "waiting": [revision.id for revision in self.migrations.contract], "steps": [step.text for step in self.steps],
            "commands": [list(step.commands) for step in self.steps],
            "checks": [{"name": one.name, "verdict": one.verdict, "detail": one.detail} for one in self.checks],
        }  # fmt: skip


def plan(
    site: Site, release: Release, *, kind: Kind, strategy: Strategy = "blue-green", allow_unsafe: bool = False, notes: tuple[str, ...] = ()
) -> Plan:
    """Looks at everything. `release`: built, with the settings that it will run with. notes: what fetching and building had to say."""
    old = None if kind == "initial" else site.stack.deployed()
    if not site.config.runbook.rolled():
        strategy = "recreate"  # nothing of it has two colours
    migrations = Schema(site).plan(release) if old else MigrationPlan(None, None, (), ())
    backup = _needs_backup(site) if old and kind == "deploy" else False
    proxy = old is not None and _proxy_differs(site, old, release)
    checks = [Check("configuration", "ok", "valid, secrets strong"), *(Check("source", "note", note) for note in notes)]
    checks += [*_keys(site, release), *_own_configuration(site, release), _disk(site, backup=backup, builds=kind != "rollback")]
    checks += [Check("host", "note", caution) for caution in site.stack.cautions()]
    if old:
        checks += [_way_back(site, old), *_migrations(migrations, allow_unsafe=allow_unsafe)]
        checks.append(Check("backup", "note" if backup else "ok", _backup_detail(site, backup=backup)))
    if proxy:
        checks.append(
            Check("front door", "note", "its configuration changes: taking it over closes idle connections and ends long streams")
        )
    return Plan(
        kind,
        strategy,
        old,
        release,
        tuple(checks),
        migrations,
        proxy,
        backup,
        tuple(_steps(site, strategy, old, release, migrations, backup=backup)),
    )


def _keys(site: Site, release: Release) -> Iterator[Check]:
    """Keys that the release's own `.env.example` names and this host's `.env` has not (the seed: "check new environment variables")."""
    example = records.example_of(site, site.stack.folder(release))
    if not example:
        return
    from officeops.settings import Settings

    file = site.config.folder / ".env"
    entries, _ = parse_env(file, file.read_text(encoding="utf-8"))
    missing = [one.key for one in example if one.key not in entries and one.key.lower() not in Settings.model_fields]
    for one in missing:
        yield Check("environment", "stop", f"{one} is in the release's {site.config.runbook.application.env_example} and not in .env")
    if not missing:
        yield Check("environment", "ok", f"every key that the release names is known ({len(example)})")


def _own_configuration(site: Site, release: Release) -> Iterator[Check]:
    wrong = site.stack.validate(release)
    yield from (Check("release's configuration", "stop", one) for one in wrong)
    if not wrong:
        yield Check("release's configuration", "ok", "the engine is there, Compose file and Caddyfile are valid")


def require_room(site: Site) -> None:
    """Before anything is built. Raises RefusedError."""
    found = _disk(site, backup=False, builds=True)
    if found.verdict == "stop":
        raise RefusedError(
            f"There is too little room to build a release: {found.detail}.",
            state="Nothing was changed.",
            todo="See `officeops clean-up --dry-run`; the runbook's `releases.disk_free_bytes` says how much is asked for.",
        )


def _disk(site: Site, *, backup: bool, builds: bool) -> Check:
    newest = next(iter(of_the_database(entries(site))), None)
    needed = site.config.runbook.releases.disk_free_bytes + (newest.bytes if newest and backup else 0)
    places = [site.home, *site.stack.data_folders()]
    free, place = min((shutil.disk_usage(place).free, place) for place in places)
    detail = f"{free / 1e9:.1f} GB free at {place}, {needed / 1e9:.1f} GB asked for"
    return Check("disk", "ok" if free >= needed else "stop" if builds or backup else "note", detail)  # to go back needs none


def _way_back(site: Site, old: Deployed) -> Check:
    try:
        site.stack.artifact(Release(old.sha, old.at))
    except OfficeOpsError as error:
        return Check("way back", "stop", f"the release that runs, {short(old.sha)}, is not on this host to go back to: {error.what}")
    return Check("way back", "ok", f"{short(old.sha)} stays")


def _migrations(migrations: MigrationPlan, *, allow_unsafe: bool) -> Iterator[Check]:
    names = ", ".join(pending.revision.id for pending in migrations.expand)
    if migrations.ahead:
        yield Check("migrations", "note", f"the schema is at {migrations.current}, which this release does not have; it is left there")
        return
    for pending in migrations.expand:
        if pending.sql is None:
            yield Check("migrations", "note", f"{pending.revision.id} could not be looked into: {pending.note}")
    yield Check("migrations", "ok", f"{names} from {migrations.current}" if names else f"none; the schema is at {migrations.current}")
    for pending in migrations.expand:
        for finding in pending.findings:
            detail = f"{pending.revision.id}, line {finding.line}, {finding.rule}: {finding.message}"
            yield Check("unsafe migration", "note" if allow_unsafe else "stop", detail + ("" if allow_unsafe else " (--allow-unsafe)"))


def _needs_backup(site: Site) -> bool:
    verified = next((parse_iso(entry.at) for entry in of_the_database(entries(site)) if entry.verified), None)
    oldest = timedelta(hours=site.config.runbook.releases.backup_max_age_hours)
    return verified is None or site.clock() - verified > oldest


def _backup_detail(site: Site, *, backup: bool) -> str:
    hours = site.config.runbook.releases.backup_max_age_hours
    return f"no verified one of the last {hours:g} h: one is made first" if backup else f"a verified one of the last {hours:g} h is there"


def _proxy_differs(site: Site, old: Deployed, release: Release) -> bool:
    """Compared with what the front door runs with, as far as that is known."""
    running, wanted = site.stack.proxy_digest(), records.hashes(site, release).get("caddyfile")
    return running is not None and wanted is not None and running != wanted and old.sha != release.sha


def _steps(
    site: Site, strategy: Strategy, old: Deployed | None, release: Release, migrations: MigrationPlan, *, backup: bool
) -> Iterator[Step]:
    """The exact plan, in order."""
    if old is None:
        yield Step(f"start every service on {short(release.sha)}, the schema at its newest revision", ("officeops up",))
        return
    from officeops.stack.port import other

    asked, rolled = site.config.runbook.releases, ", ".join(site.config.runbook.rolled())
    colour = other(old.colour)
    if backup:
        yield Step("back the database up, verified", ("officeops backup",))
    retire = tuple(site.stack.retire_commands(old.colour)) if rolled else ()
    if strategy == "recreate":
        yield Step(f"stop {rolled or 'the apps'} of {short(old.sha)}: nobody answers from here on", retire)
    if migrations.expand:
        described = ", ".join(f"{one.revision.id} ({one.revision.doc})" for one in migrations.expand)
        last = site.stack.migration(release, ["upgrade", migrations.expand[-1].revision.id])
        yield Step(f"migrate, by the program of the new release: {described}", (shlex.join(last.argv),))
    launch = tuple(site.stack.launch_commands(release, colour)) if rolled else ()
    yield Step(f"start {rolled or 'the apps'} of {short(release.sha)}{f' in {colour}, gate shut' if rolled else ''}", launch)
    requests = tuple(f"GET {one.path} of {one.service}" for one in asked.smoke)
    yield Step(f"ask it: ready {asked.ready_checks} times in a row, {len(asked.smoke)} smoke requests", requests)
    if not rolled:
        return
    opened, shut = (shlex.quote(str(site.stack.gate_folder / f"{one}.drain")) for one in (colour, old.colour))
    yield Step(f"switch: the gate of {colour} opens, that of {old.colour} is shut", (f"rm {opened}", f"touch {shut}"))
    yield Step(
        f"watch it for {asked.bake_seconds:g} s, with {old.colour} still up; wait up to {asked.stream_seconds:g} s for the requests of {old.colour}"
    )
    yield Step(f"keep the log of {short(old.sha)} and stop it ({old.colour})", () if strategy == "recreate" else retire)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
