"""Faults done to a running stack under the watcher: how long until it is known, and until all is well again or a person is told or called.

    python benchmarks/heal.py [--stack local|compose] [--only WORD] [--json] [--markdown docs/mttr.md]

Rounds come one after the other with a clock that is a minute further in each: times to detect are rounds of a minute. Times to recover are
real: from the begin of the round that had it mended to the probe that is well again. What watching costs: benchmarks/watch.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console
from rich.table import Table

from benchmarks.checks import at_most, print_json, print_verdicts, status
from benchmarks.watch import running_stack
from officeops.probes.rounds import ask_about
from tests.support import faults
from tests.support.clinic import Clinic, forget, opened, watching_disk, watching_memory, with_remedies
from tests.support.control_plane import listening
from tests.support.ports import eventually

MOST_ROUNDS, BOUND, MINUTE, GRACE_S = 6, 2, 60, 10
STACKS = {"local": "the embedded stack", "compose": "Docker Compose"}


@dataclass
class Measured:
    """rounds: until an alert fired, 0 when it was over before. recovered_s: None when a person is called or told. outcome: of the incident;
    told: there is no remedy, people are told what to do; by itself: nobody was told."""

    name: str
    expected: str
    raised: str = ""
    rounds: int = 0
    recovered_s: float | None = None
    outcome: str = "not found"
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """subject: whose alert must fire. before: a round is needed to compare with."""

    name: str
    subject: str
    expected: str
    of: Callable[[Clinic], tuple[Clinic, AbstractContextManager[object]]]
    before: bool = False


def plain(
    fault: Callable[..., AbstractContextManager[object]], *arguments: str
) -> Callable[[Clinic], tuple[Clinic, AbstractContextManager[object]]]:
    """One that needs nothing of the runbook."""
    return lambda clinic: (clinic, fault(clinic.running, *arguments))


@contextmanager
def disk_filled() -> Iterator[None]:
    """See `listed`."""
    with faults.disk_filled(_SMALL):
        yield


_SMALL = Path("/tmp/officeops-small-disk")


def listed(clinic: Clinic) -> list[Fault]:
    """The faults, as the table of docs/remedies.md has them."""
    port = faults.with_a_port(clinic.running)
    return [
        Fault("service stopped (Redis)", "redis", "healed", plain(faults.stopped, "redis")),
        Fault("backend frozen (SIGSTOP)", "backend", "healed", plain(faults.frozen, "backend")),
        Fault("database stopped", "postgres", "healed", plain(faults.stopped, "postgres")),
        Fault("port blocked", port, "paged", plain(faults.port_blocked)),
        Fault("wrong password", "postgres", "paged", plain(faults.wrong_password)),
        Fault("connections exhausted", "postgres", "healed", plain(faults.connections_exhausted)),
        Fault("disk filled", "host", "paged", lambda one: (watching_disk(one, _SMALL), disk_filled())),
        Fault("memory ballooned", "", "healed", lambda one: (watching_memory(one)[1], faults.memory_ballooned(one.running)), before=True),
        Fault("asset deleted (white screen)", "frontend", "healed", plain(faults.asset_gone)),
        Fault("model removed", "ollama", "healed", plain(faults.model_gone)),
        Fault("slow answers", "backend", "told", plain(faults.answers_slow), before=True),
        Fault("500 for one request in ten", "backend", "told", plain(faults.some_fail), before=True),
    ]


def measure(clinic: Clinic, fault: Fault) -> Measured:
    """One fault from its begin to its end."""
    forget(clinic.site)
    clinic.treated.clear()
    found, (ward, broken) = Measured(fault.name, fault.expected), fault.of(clinic)
    if fault.before:
        ward.watch(1)
    with broken:
        firing: list[str] = []
        while not firing and found.rounds < MOST_ROUNDS:
            found.rounds, began = found.rounds + 1, time.monotonic()
            firing = [name for name in ward.watch(1) if name.startswith(fault.subject)]
            firing += [one.probe for one in ward.treated if not firing]
        if ward.treated:
            incident = ward.treated[0]
            found.raised, found.outcome, found.steps = incident.probe, incident.outcome or "", incident.actions
            found.recovered_s = time.monotonic() - began if incident.outcome == "healed" else None
        elif firing:
            found.raised, found.outcome = firing[0], "told"
    well(clinic)
    return found


def killed(clinic: Clinic) -> Measured:
    """kill -9: the stack has it back before the next round."""
    forget(clinic.site)
    found, began = Measured("process killed (kill -9, Redis)", "by itself"), time.monotonic()
    clinic.running.kill("redis")
    eventually(lambda: not clinic.wrong("redis"), 60, "Redis")
    found.recovered_s = time.monotonic() - began
    found.outcome = found.outcome if clinic.watch() else "by itself"
    return found


def well(clinic: Clinic) -> None:
    """Waits until all that was broken is as it was."""
    names = clinic.site.config.runbook.services
    eventually(lambda: all(one.health == "healthy" for one in clinic.site.stack.services()), 120, "health")
    eventually(lambda: all(one.ok for name in names for one in ask_about(clinic.site, name) if one.reading.measure != "memory"), 120, "all")


def main() -> int:
    """Exit status 1 when one was not detected within two rounds, or ended otherwise than the runbook says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", choices=tuple(STACKS), default="local")
    parser.add_argument("--only", default="", help="faults whose name has this word")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    with running_stack(options.stack, grace_s=GRACE_S) as running, listening() as channel:
        clinic = with_remedies(opened(running, channel, grace_s=GRACE_S), verify_seconds=30, idle_transaction_seconds=0.2)
        chosen = [one for one in listed(clinic) if options.only in one.name]
        found = [killed(clinic)] if options.only in "process killed" else []
        found += [measure(clinic, one) for one in chosen]
    checks = [at_most(f"{one.name}: rounds to detect ({options.stack})", float(one.rounds), float(BOUND), "rounds") for one in found]
    checks += [
        at_most(f"{one.name}: not {one.expected} ({options.stack})", float(one.outcome != one.expected), 0.0, "faults") for one in found
    ]
    if options.json:
        print_json(checks, {"stack": options.stack, "faults": [vars(one) for one in found]})
    else:
        _show(found)
        print_verdicts(checks)
    if options.markdown:
        options.markdown.write_text(page(options.markdown, options.stack, found), encoding="utf-8")
    return status(checks)


def page(file: Path, stack: str, found: list[Measured]) -> str:
    """docs/mttr.md with this stack's figures anew; those of the other one stay."""
    rows = "\n".join(f"| {' | '.join(_cells(one))} |" for one in found)
    sections = dict(part.split("\n", 1) for part in file.read_text(encoding="utf-8").split("\n## ")[1:]) if file.exists() else {}
    sections = {title: text.strip() for title, text in sections.items() if title.startswith("On ")}
    sections[f"On {STACKS[stack]}"] = (
        f"`python benchmarks/heal.py --stack {stack} --markdown docs/mttr.md`\n\n"
        f"| fault | raised by | rounds | detected within | recovered after | outcome | steps |\n|---|---|---|---|---|---|---|\n{rows}"
    )
    text = "\n\n".join(f"## {title}\n\n{sections[title]}" for title in (f"On {name}" for name in STACKS.values()) if title in sections)
    return f"""# Time to detect and to recover

The last run's figures, on two shared cores. An alert fires in the second round in which something is wrong: at one round a minute that is at
most two minutes after it happened. What recovers by itself within that time (a process that supervisor or the engine starts again) raises no
alert; its restarts are counted. What has no remedy in the runbook (slow answers, failing requests) is told, with what to do. A
service that hangs gets {GRACE_S} s to stop here, not the runbook's 40. What a round costs is measured by `python benchmarks/watch.py --stack local|compose`.

{text}
"""


def _cells(one: Measured) -> list[str]:
    return [
        one.name,
        f"`{one.raised}`" if one.raised else "—",
        str(one.rounds),
        f"{one.rounds * MINUTE} s",
        f"{one.recovered_s:.1f} s" if one.recovered_s is not None else "—",
        one.outcome,
        ", ".join(one.steps) or "—",
    ]


def _show(found: list[Measured]) -> None:
    table = Table()
    for heading in ("fault", "raised by", "rounds", "detected within", "recovered after", "outcome", "steps"):
        table.add_column(heading)
    for one in found:
        table.add_row(*_cells(one))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
