"""Which values are wrong, for how long before people are told, whom, and what they should do: the seed's thresholds, and the runbook's changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from officeops.probes.reading import Reading
from officeops.runbook.parts import Role
from officeops.runbook.watching import RuleChange, Severity

Unit = Literal["yes", "share", "seconds", "bytes", "days", "hours", "count"]


@dataclass(frozen=True)
class Rule:
    """limit: the last good value, None when nothing is wrong whatever the value. low: values below it are wrong, not those above. clear: the
    value at which it is well again. for_seconds: how long it must be wrong. action: may name {subject}, {value}, {limit}, {proposed} and
    the reading's facts."""

    unit: Unit
    limit: float | None = None
    clear: float | None = None
    low: bool = False
    for_seconds: float = 60
    severity: Severity = "warning"
    role: Role = "system_administrator"
    action: str = ""
    is_cause: bool = False  # what is down explains what depends on it

    def breached(self, value: float | None, limit: float | None, *, was: bool = False) -> bool:
        """Whether this is wrong. limit: the reading's own. was: it was wrong before, so that it must come back to `clear`."""
        bound = self.limit if limit is None else limit
        if value is None or bound is None:
            return value is None
        if was and self.clear is not None and limit is None:
            bound = self.clear
        return value < bound if self.low else value > bound


@dataclass(frozen=True)
class Judged:
    """A reading and the rule that judges it. ok: by the rule's limit, without regard to what was before."""

    reading: Reading
    rule: Rule
    ok: bool

    @property
    def limit(self) -> float | None:
        """What it is measured against."""
        return self.rule.limit if self.reading.limit is None else self.reading.limit


_LOGS = "See `officeops logs {subject}` and `officeops status`."
_DBA: Role = "database_administrator"
RULES: Mapping[str, Rule] = {
    "asked": Rule("yes", 1, low=True, for_seconds=120, action="The probe itself failed: see `officeops check`."),
    # What is up
    "answers": Rule("yes", 1, low=True, severity="critical", is_cause=True, action=f"{_LOGS} `officeops heal {{name}}` tries the runbook's remedy."),
    "healthy": Rule("yes", 1, low=True, severity="critical", is_cause=True, action=f"{_LOGS} `officeops heal {{name}}` tries the runbook's remedy."),
    "database": Rule("yes", 1, low=True, severity="critical", role=_DBA, is_cause=True, action=f"{_LOGS} `officeops heal {{name}}` tries the runbook's remedy."),
    "serves": Rule("yes", 1, low=True, severity="critical", action=f"{_LOGS} `officeops heal {{name}}` tries the runbook's remedy."),
    "page": Rule("yes", 1, low=True, severity="critical", role="development_lead", action="People see a white screen: `officeops heal {name}` builds it again."),
    "model": Rule("yes", 1, low=True, is_cause=True, action="Pull the model: `officeops heal {name}`."),
    "restarts": Rule("count", 2, 0, for_seconds=0, action=f"It comes back by itself and ends again. {_LOGS}"),
    "release": Rule("yes", 1, low=True, for_seconds=600, action="It does not run the deployed release: `officeops reconcile`."),
    "migration": Rule("yes", 1, low=True, for_seconds=0, role="development_lead", action="Correct it and deploy again; `officeops heal {name}` goes one back."),
    # How well
    "response": Rule("seconds", 5, 4, action="Look for what waits (`officeops logs {subject}`); else scale out: {proposed:.0f} cores in place of {cores:.0f}."),
    "error_rate": Rule("share", 0.05, 0.04, severity="critical", role="development_lead", action=f"Look into the logs. {_LOGS}"),
    "certificate": Rule("days", 14, 15, low=True, for_seconds=600, action="Caddy could not renew it: see `officeops logs {subject}`."),
    "log_errors": Rule("count", 50, 10, for_seconds=120, role="development_lead", action=f"Many errors of one kind. {_LOGS}"),
    # PostgreSQL from inside
    "recovery": Rule("yes", 1, low=True, for_seconds=300, severity="critical", role=_DBA, action="It takes no writes while it recovers: see `officeops logs {subject}`."),
    "connections": Rule("share", 0.80, 0.75, role=_DBA, action="Raise the pool: max_connections from {allowed:.0f} to {proposed:.0f}, or lower the application's pool."),
    "transaction": Rule("seconds", 900, 600, for_seconds=0, role=_DBA, action="End it (pg_terminate_backend); set idle_in_transaction_session_timeout to {limit}."),
    "wal_held": Rule("bytes", 5e9, 4e9, role=_DBA, action="Drop the slot if its reader is gone (pg_drop_replication_slot); set max_slot_wal_keep_size to {limit}."),
    "wraparound": Rule("share", 0.50, 0.45, role=_DBA, action="Let VACUUM FREEZE run: run it by hand, and raise autovacuum_max_workers from 3 to 6."),
    "growth": Rule("share", 0.50, 0.40, for_seconds=600, role=_DBA, action="It grew by {value} in a day: archive old rows (`officeops archive`)."),
    # Room
    "disk": Rule("share", 0.80, 0.75, action="Rotate logs and archive old rows: `officeops heal {name}`; else enlarge the disk to {proposed:.0f} GB."),
    "inodes": Rule("share", 0.80, 0.75, action="Too many files: remove small ones, or make the file system anew with more inodes."),
    "memory": Rule("share", 0.85, 0.80, action="Restart what grew: `officeops heal {name}`; else raise mem_limit, maxmemory or the host's to {proposed:.0f} MB."),
    # The control plane, and what must happen regularly
    "prefect": Rule("yes", 1, low=True, for_seconds=120, action="Scheduled runs do not start: `officeops up` starts what is missing."),
    "heartbeat": Rule("seconds", 180, 120, for_seconds=60, action="No worker takes runs: `officeops up` starts it."),
    "late_runs": Rule("count", 0, 0, for_seconds=600, action="Runs wait for longer than they should: see the Prefect UI, page Runs."),
    "backup_age": Rule("hours", 26, for_seconds=3600, severity="critical", role=_DBA, action="Back up now: `officeops backup`."),
    "drill_age": Rule("hours", 192, for_seconds=0, role=_DBA, action="Prove a backup: `officeops verify latest`."),
    "watch_age": Rule("seconds", 2100, for_seconds=60, action="The flow `watch` has not run: see its runs in the Prefect UI."),
    # Only measured
    "bytes": Rule("bytes"),
    "count": Rule("count"),
    "cores": Rule("count"),
}  # fmt: skip


def judge(readings: Iterable[Reading], changes: Mapping[str, RuleChange]) -> list[Judged]:
    """Each reading by its rule. changes: the runbook's, by measure or by the reading's name, which goes first."""
    return [_judged(reading, changes) for reading in readings]


def rule_of(measure: str, name: str, changes: Mapping[str, RuleChange]) -> Rule:
    """The rule of a reading, as the runbook has it."""
    rule = RULES[measure]
    for change in (changes.get(measure), changes.get(name)):
        if change is not None:
            given = change.model_dump(exclude_none=True)
            if "limit" in given and "clear" not in given:
                given["clear"] = None  # that of the rule belongs to the rule's limit
            rule = replace(rule, **given)
    return rule


def _judged(reading: Reading, changes: Mapping[str, RuleChange]) -> Judged:
    rule = rule_of(reading.measure, reading.name, changes)
    return Judged(reading, rule, not rule.breached(reading.value, reading.limit))
