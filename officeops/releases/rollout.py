"""One release taking over from another: a verb per step, each journalled before it is done and safe to run again.

    with Rollout.begin(site, release, kind="deploy") as rollout:
        rollout.expand(migrations)      what old and new code can both use
        rollout.launch()                beside the old one, with its gate shut
        rollout.prove()                 checks in a row, smoke requests
        rollout.switch()                the new gate opens, the old one is shut: from here on it serves
        rollout.bake()                  the old one stays up; a breach gives it its requests back
        rollout.drain()                 until the old one has answered everything
        rollout.retire()                it is stopped, its log collected
        rollout.finish()

Leaving the block before `retire` ends where it began: the old release serves, the new one is gone. From `retire` on the only way is
forward. `reconcile` does the same for what a killed process left behind.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from officeops.clock import iso, parse_iso
from officeops.errors import OfficeOpsError
from officeops.gate import Gate
from officeops.ledger import Operation
from officeops.logs.collecting import keep_last_words
from officeops.progress import Meter
from officeops.releases import records
from officeops.releases.models import pull_models
from officeops.releases.proof import prove
from officeops.releases.watch import Watch
from officeops.stack.port import Colour, Deployed, Release, other, short

if TYPE_CHECKING:
    from types import TracebackType

    from officeops.releases.schema import MigrationPlan
    from officeops.site import Site

KIND = "rollout"
Kind = Literal["initial", "deploy", "rebuild", "rollback", "emergency"]
Strategy = Literal["blue-green", "recreate"]
_FORWARD = ("retire", "finish")  # journalled: the new release has held, there is nothing to go back for
_POLL_S = 0.25
_REACHED_S = 10.0
_UNDO_DRAIN_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """What a taking over ended with. Seconds count from its begin; None: it did not come to that. `downtime_s`: how long nobody answered.
    `notes`: what was not done although it was asked for, for people."""

    old: str | None
    new: str
    strategy: str
    migrations: tuple[str | None, str | None]
    switched_after_s: float | None
    drained_s: float | None
    downtime_s: float | None
    seconds: float
    outcome: Literal["deployed", "rolled_back", "unchanged"]
    notes: tuple[str, ...] = ()


class Rollout:
    """One taking over. The caller holds the stack's lock."""

    def __init__(
        self, site: Site, operation: str, release: Release, colour: Colour, old: Deployed | None, *, strategy: str = "blue-green"
    ) -> None:
        self.site, self.operation, self.release, self.colour, self.old = site, operation, release, colour, old
        self._gate = Gate(site.stack)
        self._strategy = strategy
        self._last_resort = operation.startswith("emergency")  # there is nothing better to go back to
        self._began = time.monotonic()
        self._watch: Watch | None = None
        self._state = "begun"
        self._switched_at: float | None = None
        self._empty = 0
        self._interrupted_at: float | None = None
        self._notes: list[str] = []
        self.revisions: tuple[str | None, str | None] = (None, None)
        self.switched_after_s: float | None = None
        self.drained_s: float | None = None
        self.downtime_s: float | None = None

    @classmethod
    def begin(
        cls, site: Site, release: Release, *, kind: Kind, strategy: Strategy = "blue-green", why: str = "", reload_proxy: bool = False
    ) -> Self:
        """Writes down that `release` is about to take over, after what a killed run left is in order. reload_proxy: once it has held, the
        front door gets its configuration."""
        reconcile(site)
        found = site.stack.deployed()
        old = None if records.is_first(site) else found
        colour: Colour = other(old.colour) if old and kind != "initial" else found.colour if found else "blue"
        before = _record_of(site, old) if old else None
        record = records.new_record(site, release, kind=kind, strategy=strategy, colour=colour, why=why)
        facts: dict[str, Any] = {"sha": release.sha, "colour": colour, "what": kind, "strategy": strategy, "reload_proxy": reload_proxy}
        if old:
            facts["old"] = {"sha": old.sha, "colour": old.colour, "at": iso(old.at), "record": before}
        site.ledger.begin(KIND, record.id, **facts)
        return cls(site, record.id, release, colour, old, strategy=strategy)

    @classmethod
    def resume(cls, site: Site, operation: Operation) -> Self:
        """A taking over that a killed process left. Raises UsageError when its release is not on this host any more."""
        facts = operation.facts
        kept = facts.get("old")
        old = Deployed(kept["sha"], parse_iso(kept["at"]), kept["colour"], records.settings_of(site, kept["record"])) if kept else None
        release = Release(facts["sha"], parse_iso(operation.started_at), records.settings_of(site, operation.id))
        resumed = cls(site, operation.id, release, facts["colour"], old, strategy=facts["strategy"])
        resumed._state = operation.state
        return resumed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if error is None or self._state in (*_FORWARD, "done"):
            return
        try:
            self.undo(error)
        except OfficeOpsError as second:
            raise OfficeOpsError(
                f"{error} And the way back failed: {second.what}",
                state=f"{second.state}\nIt is in the journal as unfinished.",
                todo="Mend what is named above, then `officeops reconcile`.",
            ) from error
        if isinstance(error, OfficeOpsError):
            serves = (
                f"The release {short(self.old.sha)} serves as before, the new one is removed."
                if self.old
                else "What was started runs on; the same command again goes on with it."
            ) + self.lost
            error.state = f"{error.state.rstrip()}\n{serves}".lstrip()

    # The verbs, in the order of the chapter

    def expand(self, plan: MigrationPlan) -> None:
        """The migrations that the old release can live with."""
        from officeops.releases.schema import Schema

        self._journal("expand", expanded_from=plan.current)
        if not plan.planned and self._back:
            return  # its program would not know what a newer release did
        Schema(self.site).expand(self.release, plan)
        self.revisions = (plan.current, plan.expand[-1].revision.id if plan.expand else plan.current)

    def interrupt(self) -> None:
        """Of the strategy `recreate`: the old release is stopped, and nobody answers until `switch`."""
        self._journal("interrupt")
        self._interrupted_at = time.monotonic()
        if self.old and self._rolled:
            self.site.stack.retire(self.old.colour)
        elif self.old:
            for name, service in self.site.config.runbook.services.items():
                if service.kind == "app":
                    self.site.stack.stop(name)

    def launch(self) -> None:
        """The new release runs beside the old one, and gets no requests."""
        self._journal("launch")
        if self.old:
            self._gate.prepare(self.old.colour)
            self._gate.shut(self.colour)
        self._start(self.release, self.colour)

    def downgrade(self, target: str) -> None:
        """Of a rollback to a release that cannot use today's schema: the schema goes back to `target`, with the data that this drops. From
        here to `switch` the release that serves may fail; `undo` brings the schema forward again, not the data."""
        from officeops.releases.schema import Schema

        schema = Schema(self.site)
        current = schema.current()
        self._journal("downgrade", downgraded_from=current)
        schema.downgrade(target)
        self.revisions = (current, target)

    def prove(self) -> None:
        """It is fit to serve. Raises ProofError."""
        self._journal("prove")
        prove(self.site, self.colour)

    def switch(self) -> None:
        """Its gate opens, the other one is shut; the front door answers with it when this returns."""
        self._journal("switch")
        self._watch = Watch(self.site, self.colour)
        self._gate.open(self.colour)
        self._gate.shut(other(self.colour))
        self.site.stack.record(Deployed(self.release.sha, self.site.clock(), self.colour, self.release.settings))
        self._require_reached()
        self._switched_at = time.monotonic()
        self.switched_after_s = self._switched_at - self._began
        if self._interrupted_at is not None:
            self.downtime_s = self._switched_at - self._interrupted_at
        records.change(self.site, self.operation, deployed_at=iso(self.site.clock()))

    def bake(self) -> None:
        """Both run for the runbook's time, and the new one is watched. Raises BreachError."""
        self._journal("bake")
        seconds = self.site.config.runbook.releases.bake_seconds
        meter = Meter("bake", int(seconds), unit="s")
        while (passed := self._since_switch()) < seconds:
            self._look()
            meter.done = int(passed)
            meter.add(0)
            time.sleep(min(_POLL_S * 2, max(0.0, seconds - passed)))
        self._look()
        meter.finish()

    def drain(self) -> None:
        """Until the old release has answered everything, or for the runbook's time; the new one is watched meanwhile. Raises BreachError."""
        self._journal("drain")
        meter = Meter("requests of the old release", unit="seconds waited")
        while self.drained_s is None and self._since_switch() < self.site.config.runbook.releases.stream_seconds:
            self._look()
            meter.done = int(self._since_switch())
            meter.add(0)
            if self.drained_s is None:
                time.sleep(_POLL_S)
        meter.finish()

    def wait_for_requests(self) -> None:
        """Until the old release has answered everything, or for the runbook's time, with no eye on the new one."""
        self._journal("drain")
        while self.drained_s is None and self._since_switch() < self.site.config.runbook.releases.stream_seconds:
            self._count_requests()
            if self.drained_s is None:
                time.sleep(_POLL_S)

    def retire(self) -> None:
        """The old release is stopped, its log collected. From here on there is no way back but a rollback."""
        self._journal("retire")
        self._take_proxy_over()
        if self.old and self.old.colour != self.colour:
            self.site.stack.retire(self.old.colour, last=lambda: keep_last_words(self.site))
        if self._rolled and any(one.kind == "app" and not one.rolled for one in self.site.config.runbook.services.values()):
            start_all(self.site, self.release, keep_proxy=True)  # apps with one colour follow, with an interruption of their own

    def up(self) -> None:
        """Of a first release: everything is started on it, the models are fetched, and it is proven. Raises ProofError."""
        self._journal("up")
        start_all(self.site, self.release)
        now = self.site.stack.deployed()
        assert now is not None, "up writes it down"
        self.switched_after_s = time.monotonic() - self._began
        records.change(self.site, self.operation, colour=now.colour, deployed_at=iso(self.site.clock()))
        self._journal("models")
        pull_models(self.site, self.release)
        self._journal("prove")
        prove(self.site, now.colour)

    def finish(self) -> Outcome:
        """It is done; what no rollback may need is removed."""
        self._journal("finish")
        now = iso(self.site.clock())
        records.change(self.site, self.operation, outcome="deployed", retired_at=now, revision=self._revision())
        self.site.ledger.end(self.operation, "done")
        self._state = "done"
        with suppress(OfficeOpsError):  # the release holds all the same; the weekly clean-up does it again
            records.prune(self.site)
        kind = self.operation.partition("-")[0]
        return Outcome(
            self.old.sha if self.old else None, self.release.sha, self._strategy, self.revisions, self.switched_after_s,
            self.drained_s, self.downtime_s, time.monotonic() - self._began, "rolled_back" if kind in ("rollback", "emergency") else "deployed",
            tuple(self._notes),
        )  # fmt: skip

    # The way back

    def undo(self, why: BaseException | str) -> None:
        """As it was before: the old release serves, the new one is gone. The schema stays expanded: the old one can use it. Of a first
        release there is nothing to go back to: what was started runs on."""
        operation = self.site.ledger.operation(self.operation)
        downgraded_from = operation.facts.get("downgraded_from") if operation else None
        if downgraded_from is None:
            self._give_back_at_once()
        self._journal("undo", **({} if self._state == "undo" else {"undone_from": self._state}))
        if downgraded_from is not None:
            from officeops.releases.schema import Schema

            Schema(self.site).upgrade_again(downgraded_from)
        if self.old is not None and self.old.colour == self.colour:  # it was stopped for the new one
            self.site.stack.record(self.old)
            start_all(self.site, Release(self.old.sha, self.old.at, self.old.settings))
        elif self.old is not None:
            self._revive(self.old)
            self._give_back(self.old)
            self._see_off_requests()
            self.site.stack.retire(self.colour, last=lambda: keep_last_words(self.site))
        records.change(self.site, self.operation, outcome="undone", error=str(why), revision=self._revision())
        self.site.ledger.end(self.operation, "undone", str(why))
        self._state = "done"

    @property
    def lost(self) -> str:
        """For people: what an undo could not bring back; empty when nothing was lost."""
        operation = self.site.ledger.operation(self.operation)
        if operation is None or operation.facts.get("downgraded_from") is None:
            return ""
        return "\nThe schema is as before, and the data that going back dropped is not: it is in the backup that was made just before (`officeops backups`)."

    def _give_back_at_once(self) -> None:
        """Requests go to the old release again, if it runs, before anything else is done or even written: no full disk, slow database or
        engine that is down may hold this up."""
        if self.old is None or self.old.colour == self.colour or self._strategy == "recreate":
            return
        try:
            runs = all(one.state == "running" for one in self.site.stack.instances(self.old.colour))
        except OfficeOpsError:
            runs = True  # nobody knows; it did, and nobody stopped it
        if runs and self._rolled:
            with suppress(OSError):
                self._give_back(self.old)

    def _give_back(self, old: Deployed) -> None:
        self._gate.open(old.colour)
        self._gate.shut(self.colour)
        self.site.stack.record(old)

    def _take_proxy_over(self) -> None:
        """Asked for in the journal, so that whoever ends what a killed process began does it too. Refused by Caddy, which has seen it before
        and found it good, it is no reason to go back: the release holds with the configuration that there was."""
        operation = self.site.ledger.operation(self.operation)
        if operation and operation.facts.get("reload_proxy"):
            try:
                self.site.stack.reload_proxy(self.release)
            except OfficeOpsError as error:
                self._notes.append(f"The front door kept its configuration: {error}")
                records.change(self.site, self.operation, error=self._notes[-1])

    def _revive(self, old: Deployed) -> None:
        """The old release runs, if it was stopped or has ended meanwhile."""
        if self._rolled and all(one.state == "running" for one in self.site.stack.instances(old.colour)):
            return
        self._start(Release(old.sha, old.at, old.settings), old.colour)
        prove(self.site, old.colour)

    def _start(self, release: Release, colour: Colour) -> None:
        if self._rolled:
            self.site.stack.launch(release, colour)
        else:
            start_all(self.site, release, keep_proxy=True)

    @property
    def _back(self) -> bool:
        """Whether it is an older release that takes over."""
        return self.operation.startswith(("rollback", "emergency"))

    @property
    def _rolled(self) -> bool:
        return bool(self.site.config.runbook.rolled())

    def _see_off_requests(self) -> None:
        deadline = time.monotonic() + _UNDO_DRAIN_S
        empty = 0
        while empty < 2 and time.monotonic() < deadline:
            try:
                empty = empty + 1 if self._gate.in_flight(self.colour) == 0 else 0
            except OfficeOpsError:
                empty = 0  # a Caddy that is only slow to answer may have some
            time.sleep(_POLL_S / 4)

    def _look(self) -> None:
        """One look at both: whether the new one is well, whether the old one has answered everything."""
        if self._watch is None:
            self._watch = Watch(self.site, self.colour)
        self._watch.check()
        self._count_requests()

    def _count_requests(self) -> None:
        if self.drained_s is None and self.old is not None:
            try:
                self._empty = self._empty + 1 if self._gate.in_flight(self.old.colour) == 0 else 0
            except OfficeOpsError:
                self._empty = 0
            if self._empty >= 2:
                self.drained_s = self._since_switch()

    def _since_switch(self) -> float:
        if self._switched_at is None:
            self._switched_at = time.monotonic()
        return time.monotonic() - self._switched_at

    def _require_reached(self) -> None:
        path = self.site.config.runbook.releases.version_path
        deadline = time.monotonic() + _REACHED_S
        while path and (found := self._gate.serving(path)) != self.release.sha:
            if self._watch is not None and not self._last_resort:
                self._watch.check()
            if time.monotonic() > deadline:
                raise OfficeOpsError(
                    f"The front door answers with {found or 'nothing'} at {path} after the switch to {short(self.release.sha)}."
                )
            time.sleep(0.02)

    def _revision(self) -> str | None:
        from officeops.releases.schema import Schema

        try:
            return Schema(self.site).current()
        except OfficeOpsError:
            return None  # it is only noted

    def _journal(self, state: str, **facts: Any) -> None:
        self.site.ledger.advance(self.operation, state, **facts)
        self._state = state


def reconcile(site: Site) -> list[str]:
    """Ends every taking over that a killed process left: forward when the new release had held, back otherwise. Returns what was done, for
    people. The caller holds the stack's lock."""
    done = []
    begun = {operation.id for operation in site.ledger.operations(KIND)}
    for record in site.ledger.releases():
        if record.outcome is None and record.id not in begun:  # killed between the two lines of its begin
            records.change(site, record.id, outcome="undone", error="The process that did it ended before it began.")
    for operation in site.ledger.operations(KIND):
        rollout = Rollout.resume(site, operation)
        if operation.state in _FORWARD:
            rollout.retire()
            rollout.finish()
            done.append(f"{operation.id} was finished: {short(rollout.release.sha)} serves")
        else:
            rollout.undo(f"The process that did it ended while it was at: {operation.state}")
            done.append(f"{operation.id} was undone: {short(rollout.old.sha) if rollout.old else 'nothing'} serves{rollout.lost}")
    return done


def bring_up(site: Site, release: Release) -> list[str]:
    """Everything runs on `release`. What a killed run left is put in order on the way; returns what of it could not be, for people.

    The release that took requests last is simply started again, with the settings that it ran with; another one takes its place as a first
    release does, with an interruption."""
    from officeops.order import put_in_order as put_everything_in_order

    old, first = site.stack.deployed(), records.is_first(site)
    if old is not None and not first and (old.sha == release.sha or site.ledger.operations(KIND)):
        start_all(site, Release(old.sha, old.at, old.settings))
    troubles = put_everything_in_order(site) if old else []
    if first or old is None or old.sha != release.sha:
        with Rollout.begin(site, release, kind="initial", strategy="recreate", why="officeops up") as rollout:
            rollout.up()
            rollout.finish()
    return troubles


def start_all(site: Site, release: Release, *, keep_proxy: bool = False) -> None:
    """Everything runs on `release`. The schema is only ever brought forward, to what older releases can live with, too."""
    from officeops.releases.schema import Schema

    planned = site.config.runbook.application.migrations is not None
    site.stack.up(release, migrate=(lambda: Schema(site).bring_forward(release)) if planned else None, keep_proxy=keep_proxy)


def _record_of(site: Site, deployed: Deployed) -> str:
    """The record of the release that runs; one from before there were records gets one now."""
    known = next((one.id for one in site.ledger.releases() if one.sha == deployed.sha and one.outcome == "deployed"), None)
    if known is not None:
        return known
    release = Release(deployed.sha, deployed.at, deployed.settings)
    record = records.new_record(site, release, kind="initial", strategy="recreate", colour=deployed.colour, why="It ran already.")
    records.change(site, record.id, created_at=iso(deployed.at), deployed_at=iso(deployed.at), outcome="deployed")
    return record.id
