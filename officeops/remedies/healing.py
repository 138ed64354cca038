"""One incident from its begin to its end: what is wrong, what is known of it, what was done, and whether it helped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from officeops.alerts.causes import beneath_of
from officeops.clock import iso
from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.ledger.watching import ASKED, Incident, Taken
from officeops.lock import LockedError
from officeops.notify import Message, redacted, send
from officeops.probes.rounds import ask_about
from officeops.probes.rules import RULES, Judged
from officeops.probes.words import sentence
from officeops.remedies.asking import asked_about, is_expired, is_over, must_ask, waiting
from officeops.remedies.budget import Standing, standing
from officeops.remedies.known import remedies
from officeops.remedies.remedy import Patient, Remedy, Step

if TYPE_CHECKING:
    from officeops.site import Site

_FIRST_LOOK_S = 0.5
Approve = Callable[[Incident, Step], bool]


def _nobody(_incident: Incident, _step: Step) -> bool:
    raise RefusedError("Nobody is here to approve it.")


@dataclass(frozen=True)
class Treatment:
    """What would be done: `dry_run` shows it. skipped: steps with why they make no sense now."""

    patient: Patient
    remedy: Remedy
    steps: tuple[Step, ...]
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass
class Healing:
    """Treats one target. approve: asks a person about a step, where that is needed: True when it was approved, False when there is no answer
    yet (the incident waits, and the next `heal` goes on with it); raises RefusedError when it was not. by_hand: a person asked for it, so
    that neither budget nor backoff hold it up, and nobody is called when that person says no. wait_s: for whoever holds the stack's lock."""

    site: Site
    who: str
    approve: Approve = _nobody
    by_hand: bool = False
    wait_s: float = 0.0
    sleep: Callable[[float], None] = time.sleep
    _incident: Incident | None = field(default=None, init=False)

    def heal(self, name: str) -> Incident:
        """Treats what the reading `name` says, the deepest cause first. Returns the incident, ended.

        Raises UsageError when nothing of that name is asked or no remedy fits."""
        wrong = self._diagnosed(name)
        if wrong is None:
            return self._close(asked_about(self.site, name) or self._begin(name, "none"), "well", "It is well.")
        patient, remedy = self._patient(wrong)
        stand = self._standing(patient, remedy)
        self._incident = incident = self._begin(patient.name, remedy.name)
        if not self.by_hand and incident.asks:
            if is_expired(self.site, incident):
                return self._page(patient, f"Nobody approved in time: {incident.asks}")
        elif not self.by_hand and stand.called:
            return self._close(incident, "refused", "A person was called already.")
        elif not self.by_hand and stand.open:
            return self._page(patient, f"{stand.attempts} attempts did not hold")
        try:
            with self.site.locked(f"heal {patient.subject}", wait_s=self.wait_s):
                return self._climb(patient, remedy, stand)
        except LockedError as error:
            return self._close(self._incident, "refused", str(error))
        except BaseException as error:
            self._close(self._incident, "failed", f"{type(error).__name__}: {error}")
            raise

    def plan(self, name: str) -> Treatment | None:
        """What `heal` would do, None when nothing is wrong. Likewise raises UsageError."""
        wrong = self._diagnosed(name)
        if wrong is None:
            return None
        patient, remedy = self._patient(wrong)
        return self._treatment(patient, remedy, self._standing(patient, remedy))

    def _diagnosed(self, name: str) -> Judged | None:
        """What is wrong: with what `name` depends on, before itself."""
        subject = name.partition(".")[0]
        for one in [*reversed(beneath_of(self.site.config.runbook, subject)), subject]:
            judged = ask_about(self.site, one)
            if one == subject:
                return self._named(name, judged)
            if (cause := next((found for found in judged if not found.ok and found.rule.is_cause), None)) is not None:
                return cause
        return None

    def _named(self, name: str, judged: Sequence[Judged]) -> Judged | None:
        found = next((one for one in judged if one.reading.name == name), None)
        if found is None and not any(one.reading.name.startswith(name) for one in judged):
            names = ", ".join(sorted(one.reading.name for one in judged if one.limit is not None and one.reading.measure != "asked"))
            raise UsageError(
                f"Nothing of the name {name!r} is asked now.", todo=f"There are {names}." if names else "See `officeops check`."
            )
        wrong = [one for one in judged if not one.ok and one.reading.name.startswith(name)]
        return found if found is not None and not found.ok else next(iter(wrong), None)

    def _patient(self, wrong: Judged) -> tuple[Patient, Remedy]:
        reading = wrong.reading
        patient = Patient(self.site, reading.name, reading.measure, sentence(wrong), reading.facts)
        remedy = next((one for one in remedies(self.site.config) if one.fits(patient)), None)
        if remedy is None:
            raise UsageError(f"There is no remedy for {reading.name}: {sentence(wrong)}.", todo="A person has to look at it.")
        return patient, remedy

    def _standing(self, patient: Patient, remedy: Remedy) -> Standing:
        return standing_of(self.site, patient.subject, remedy)

    def _treatment(self, patient: Patient, remedy: Remedy, stand: Standing) -> Treatment:
        """The ladder without what makes no sense. What was tried in the window and did not hold is not tried again while there is more."""
        possible, skipped = [], []
        for step in remedy.ladder(patient):
            if why := step.why_not():
                skipped.append((step.name, why))
            else:
                possible.append(step)
        tried = {*stand.skip, *(self._incident.actions if self._incident else ())}
        fresh = [step for step in possible if step.name not in tried]
        return Treatment(patient, remedy, tuple(fresh or possible), tuple(skipped))

    def _climb(self, patient: Patient, remedy: Remedy, stand: Standing) -> Incident:
        self._incident = replace(self._require(), outcome=None, ended_at=None)  # one that waited goes on
        if not self._incident.steps:
            self._note("diagnosis", "done", patient.detail, diagnosis=diagnosis(patient, remedy))
        try:
            treatment = self._treatment(patient, remedy, stand)
        except OfficeOpsError as error:
            return self._page(patient, f"What could be done cannot be told: {error}")
        for name, why in treatment.skipped:
            self._note(name, "skipped", why)
        for step in treatment.steps:
            if must_ask(self.site, remedy, step):
                try:
                    if not self._approved(step):
                        return self._wait(step)
                except RefusedError as error:
                    self._note(step.name, "skipped", str(error))
                    return self._refused(patient, step)
            if self._take(patient, step):
                return self._close(self._require(), "healed", "")
        return self._page(patient, "nothing that the runbook knows helped")

    def _approved(self, step: Step) -> bool:
        approved = self.approve(self._require(), step)
        if approved:
            self._note(step.name, "approved", "")
        return approved

    def _wait(self, step: Step) -> Incident:
        """Until somebody has answered; whoever asks again meanwhile waits on."""
        before, now = self._require(), iso(self.site.clock())
        last = before.steps[-1]
        if (last.what, last.outcome) != (step.name, ASKED):
            before = replace(before, steps=(*before.steps, Taken(now, step.name, ASKED)))
        waits = replace(before, ended_at=before.steps[-1].at, outcome=ASKED)
        self.site.ledger.record_incident(waits)
        self._incident = None
        return waits

    def _refused(self, patient: Patient, step: Step) -> Incident:
        """By the person who asked for it: then that is known. By anybody else, or because nobody answers: a person is called."""
        if self.by_hand:
            return self._close(self._require(), "refused", f"{step.name} was not approved")
        return self._page(patient, f"{step.name} was not approved")

    def _take(self, patient: Patient, step: Step) -> bool:
        """Whether the probe was well afterwards. After a step that failed one look is enough."""
        seconds = self.site.config.runbook.remedies.verify_seconds if step.seconds is None else step.seconds
        try:
            said = step.do()
        except OfficeOpsError as error:
            self._note(step.name, "failed", str(error))
            said, seconds = None, 0.0
        well = self._is_well(patient, seconds)
        self._note(step.name, "well" if well else "still wrong", str(said or ""))
        return well

    def _is_well(self, patient: Patient, seconds: float) -> bool:
        """The probe that raised it, asked again with growing pauses."""
        deadline, pause = time.monotonic() + seconds, _FIRST_LOOK_S
        while True:
            found = [one for one in ask_about(self.site, patient.subject) if one.reading.name == patient.name]
            if found and found[0].ok:
                return True
            if time.monotonic() + pause > deadline:
                return False
            self.sleep(pause)
            pause = min(pause * 2, 8.0)

    def _page(self, patient: Patient, why: str) -> Incident:
        """A person is called, with everything that is known."""
        incident = self._require()
        steps = "\n".join(f"{step.at} {step.what}: {step.outcome} {step.detail}".rstrip() for step in incident.steps) or "none"
        message = Message(
            what=f"{patient.name} needs a person",
            severity="critical",
            role=RULES[patient.measure].role if patient.measure in RULES else "system_administrator",
            since=incident.started_at,
            error=f"{patient.detail}\n\n{why.rstrip('.')}. What was done:\n{steps}\n\n{incident.diagnosis}",
            todo=f"`officeops heal {patient.name} --dry-run` shows what could be tried; `officeops incidents {incident.id}` has all of it.",
        )
        send(self.site.config.settings, self.site.config.runbook, message)
        return self._close(incident, "paged", why)

    # The journal

    def _begin(self, probe: str, remedy: str) -> Incident:
        now, waits = iso(self.site.clock()), waiting(self.site, probe.partition(".")[0], remedy)
        if waits is not None:
            if not is_over(self.site, waits):
                return waits
            self._close(waits, "well", "It was over before anybody had answered.")
        incident = Incident(
            f"{now[:19].replace(':', '').replace('-', '')}-{uuid4().hex[:6]}", probe.partition(".")[0], probe, remedy, now, self.who
        )
        self.site.ledger.record_incident(incident)
        return incident

    def _note(self, what: str, outcome: str, detail: str, *, diagnosis: str | None = None) -> None:
        before = self._require()
        taken = Taken(iso(self.site.clock()), what, outcome, detail[:4000])
        self._incident = replace(before, steps=(*before.steps, taken), diagnosis=before.diagnosis if diagnosis is None else diagnosis)
        self.site.ledger.record_incident(self._incident)

    def _close(self, incident: Incident, outcome: str, detail: str) -> Incident:
        now = iso(self.site.clock())
        ended = replace(incident, ended_at=now, outcome=outcome, steps=(*incident.steps, Taken(now, "end", outcome, detail)))
        self.site.ledger.record_incident(ended)
        self._incident = None
        return ended

    def _require(self) -> Incident:
        assert self._incident is not None, "it was begun"
        return self._incident


def diagnosis(patient: Patient, remedy: Remedy) -> str:
    """What the remedy keeps, as text, without secrets: it has lines of logs. What cannot be found out is said in its place."""
    try:
        parts = remedy.diagnose(patient)
    except Exception as error:  # noqa: BLE001 - a diagnosis that fails must not keep anybody from the cure
        parts = {"diagnosis": f"could not be made: {type(error).__name__}: {error}"}
    return redacted("\n\n".join(f"## {title}\n{text}" for title, text in parts.items()), patient.site.config.settings)


def mode_of(site: Site, remedy: Remedy) -> str:
    """auto, ask, never: the runbook's for this remedy, else the remedy's own where that is stricter, else the runbook's for all."""
    asked = site.config.runbook.remedies
    change = asked.changes.get(remedy.name)
    if change is not None and change.mode is not None:
        return change.mode
    return remedy.mode if remedy.mode == "ask" and asked.mode == "auto" else asked.mode


def standing_of(site: Site, target: str, remedy: Remedy) -> Standing:
    """How often the target was treated in the window."""
    asked = site.config.runbook.remedies
    change = asked.changes.get(remedy.name)
    window = timedelta(minutes=asked.window_minutes)
    known = site.ledger.incidents(since=site.clock() - max(window, timedelta(hours=1)), target=target)
    return standing(known, site.clock(), attempts=(change.attempts if change and change.attempts else asked.attempts), window=window)
