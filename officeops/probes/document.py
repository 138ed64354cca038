"""`docs/monitoring.md`: every rule as a table, from the rules themselves.

python -m officeops.probes.document [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

from officeops.probes.rules import RULES, Rule
from officeops.probes.words import shown
from officeops.settings.document import table

MADE_BY = "python -m officeops.probes.document"
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "monitoring.md"
_HEAD = ("Rule", "Wrong", "Well again", "For", "Severity", "Told", "What to do")
_TEXT = f"""# Monitoring and alerts

The tables are made by `{MADE_BY}`; the rest is written in officeops/probes/document.py.

`officeops watch` does a round each minute (`probes.every_seconds`); `officeops up` keeps it running. `officeops check` asks the same once,
now, and ends with status 1 when something is wrong. Everything is asked at once, each probe with its own time limit; what raises an error
is a value that "could not be asked".

What is asked: every service's state, health and restarts; addresses and pages at the front door as the runbook names them (`probes.web`,
`probes.pages`), a page with every script, style sheet and image that it names; the certificate; PostgreSQL from inside; Redis and Ollama in
their own way; error rate and response times from the application's counters over the last minutes; room, inodes and memory of the host;
memory of containers against their limit; the Prefect server, its worker and late runs; how old the last verified and the last drilled backup
is; errors in the logs, grouped into templates.

Values are named `SUBJECT.WHAT` (`backend.health`, `host.disk`). Each is judged by a rule, which `alerts.rules` in runbook.yaml changes, by
the rule's name or by the value's.

## From a value to a message

- **pending**: wrong, but not yet for as long as the rule says. Nobody is told.
- **firing**: people are told, once: the role that answers for it, by `NOTIFY_URLS...` of .env. Again after `alerts.remind_minutes`.
- **acknowledged**: `officeops ack NAME`: somebody takes care; no reminders.
- **resolved**: it was well for `alerts.clear_seconds`. Until then it stays as it is, so that what comes and goes is told once.

A service that is down explains what depends on it, and what is asked of others through it: one message, that names all that it explains.
`officeops silence PATTERN --for HOURS` and `alerts.maintenance` keep people from being told; what still fires afterwards is told then.
While a release, a restore or the like holds the stack's lock, the services that it works on, and what is asked through them, raise no
alert, for at most `alerts.deploy_quiet_minutes`.

The watcher tells people itself, whether Prefect answers or not: one way, nothing twice. It emits an event to Prefect on each change
(`officeops.alert.firing`, `.acknowledged`, `.resolved`, `.reminder`) for automations, and `officeops.service.unhealthy` for the flow
`heal`; while the server is away they wait in OFFICEOPS_HOME/watch, and the watcher has things mended itself. The flow `watch` publishes the
last day each quarter of an hour and fails when there are no rounds; the watcher raises an alert when that flow does not run.

## The rules

"""


def page() -> str:
    """The page's text."""
    rows = [_row(name, rule) for name, rule in RULES.items() if rule.limit is not None]
    return _TEXT + "\n".join(table(_HEAD, rows)) + "\n"


def _row(name: str, rule: Rule) -> tuple[str, ...]:
    wrong = "when it is not so" if rule.unit == "yes" else f"{'below' if rule.low else 'above'} {shown(rule.limit, rule.unit)}"
    clear = shown(rule.clear, rule.unit) if rule.clear is not None else ""
    how_long = shown(rule.for_seconds, "seconds") if rule.for_seconds else "at once"
    return f"`{name}`", wrong, clear, how_long, rule.severity, rule.role.replace("_", " "), rule.action


def main() -> None:
    """Writes it."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    file.write_text(page(), encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
