"""Faults done to an embedded stack under the watcher: how long until it is known, and until all is well again or a person is called.

    python benchmarks/heal.py [--every 5] [--json] [--markdown docs/mttr.md]

Rounds come each `--every` seconds instead of each minute, and what must be wrong "for" a minute is then wrong for one round: times to detect
are given in rounds and in seconds at one round a minute. Times to recover are as they are: from the round that raised the alert to the
probe that is well again. The watcher's own cost is measured over the same rounds.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import psutil
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.checks import at_most, print_json, print_verdicts, status
from officeops.config import Config
from officeops.ledger.watching import Incident
from officeops.postgres.connect import connected
from officeops.probes.rounds import ask_about
from officeops.remedies.due import due
from officeops.remedies.healing import Healing
from officeops.runbook.watching import RuleChange
from officeops.site import Site
from officeops.watching.watcher import Watcher
from tests.support.paths import open_folder
from tests.support.stack import RunningStack, make_repository, running_local, supervisor

FAST = ("answers", "healthy", "database", "serves", "page", "model", "connections")
MOST_ROUNDS, MINUTE = 6, 60.0
COST_ROUNDS = 5


@dataclass
class Measured:
    """rounds: until an alert fired. recovered_s: from there; None: a person was called. outcome: of the incident, as it should be or not."""

    name: str
    raised: str = ""
    rounds: int = 0
    recovered_s: float | None = None
    outcome: str = ""
    steps: tuple[str, ...] = ()
    expected: str = "healed"


@dataclass
class Ward:
    """A running stack under the watcher. treated: incidents of this fault."""

    running: RunningStack
    site: Site
    treated: list[Incident] = field(default_factory=list)

    def watcher(self) -> Watcher:
        """One that treats in its own rounds, so that times can be told apart."""
        return Watcher(self.site, healing=due, mend=lambda site, name: self.treated.append(Healing(site, "benchmark").heal(name)))

    def well(self) -> bool:
        """Whether every service is."""
        return all(one.health == "healthy" for one in self.site.stack.services())


Fault = Callable[[Ward], object]


@contextmanager
def frozen(ward: Ward) -> Iterator[None]:
    """SIGSTOP."""
    pid = supervisor(ward.site).status_of("backend-blue").pid or 0
    os.kill(pid, signal.SIGSTOP)
    yield
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@contextmanager
def killed(ward: Ward) -> Iterator[None]:
    """Stopped for good, as a service that ended and is not started again."""
    ward.site.stack.stop("redis")
    yield


@contextmanager
def blocked(ward: Ward) -> Iterator[None]:
    """Somebody else has its port."""
    ward.site.stack.stop("redis")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", ward.site.config.settings.redis_port))
        taken.listen()
        yield
    ward.site.stack.start("redis")


@contextmanager
def asset_gone(ward: Ward) -> Iterator[None]:
    """A file of the page."""
    (ward.site.stack.folder(ward.running.release) / "frontend" / "app.js").unlink()
    yield


@contextmanager
def model_gone(ward: Ward) -> Iterator[None]:
    """Ollama has it no more."""
    settings = ward.site.config.settings
    httpx.request("DELETE", f"http://127.0.0.1:{settings.ollama_port}/api/delete", json={"model": settings.ollama_model})
    yield


@contextmanager
def exhausted(ward: Ward) -> Iterator[None]:
    """Every connection that others may have idles in a transaction."""
    address = ward.site.stack.database()
    with connected(address, application="benchmark") as connection:
        connection.execute("CREATE ROLE somebody LOGIN PASSWORD 'somebody'")
    held: list[psycopg.Connection[object]] = []
    with suppress(psycopg.OperationalError):
        while len(held) < 120:
            one = psycopg.connect(host=address.host, port=address.port, user="somebody", password="somebody", dbname=address.database)
            one.execute("SELECT 1")
            held.append(one)
    yield
    for one in held:
        one.close()
    with connected(address, application="benchmark") as connection:
        connection.execute("DROP ROLE somebody")


@contextmanager
def database_gone(ward: Ward) -> Iterator[None]:
    """The server is stopped."""
    ward.site.stack.stop("postgres")
    yield


FAULTS: tuple[tuple[str, Fault, str, str], ...] = (
    ("Redis stopped", killed, "redis", "healed"),
    ("backend frozen (SIGSTOP)", frozen, "backend", "healed"),
    ("database stopped", database_gone, "postgres", "healed"),
    ("connections exhausted", exhausted, "postgres", "healed"),
    ("asset deleted (white screen)", asset_gone, "frontend", "healed"),
    ("model removed", model_gone, "ollama", "healed"),
    ("port blocked", blocked, "redis", "paged"),
)


def measure(ward: Ward, name: str, fault: Fault, subject: str, expected: str, every: float) -> Measured:
    """One fault from its begin to its end."""
    ward.treated.clear()
    forget(ward.site)
    watcher, found = ward.watcher(), Measured(name, expected=expected)
    with fault(ward):  # type: ignore[attr-defined]
        while not ward.treated and found.rounds < MOST_ROUNDS:
            found.rounds += 1
            began = time.monotonic()
            watcher.round()
            if not ward.treated:
                time.sleep(max(0.0, every - (time.monotonic() - began)))
        if ward.treated:
            incident = ward.treated[0]
            found.raised, found.outcome, found.steps = incident.probe, incident.outcome or "", incident.actions
            found.recovered_s = time.monotonic() - began if incident.outcome == "healed" else None
    while not ward.well() or any(not one.ok for one in ask_about(ward.site, subject)):
        time.sleep(0.5)
    return found


def forget(site: Site) -> None:
    """Alerts and incidents of the fault before."""
    with site.ledger._writing() as connection:
        for table in ("incidents", "alerts"):
            connection.exec_driver_sql(f"DELETE FROM {table}")


def cost(ward: Ward) -> tuple[float, float, float]:
    """CPU seconds of a round, memory in MB after them, seconds of a round."""
    watcher, seconds = ward.watcher(), []
    watcher.round()
    began = time.process_time()
    for _ in range(COST_ROUNDS):
        at = time.monotonic()
        watcher.round()
        seconds.append(time.monotonic() - at)
    used = (time.process_time() - began) / COST_ROUNDS
    return used, psutil.Process().memory_info().rss / 1e6, statistics.median(seconds)


def main() -> int:
    """Runs all faults. Exit status 1 when one was not detected within two rounds, or ended otherwise than the runbook says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=float, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    with open_folder() as folder, running_local(make_repository(folder), edit=_impatient) as running:
        ward = Ward(running, _quick(running.site, options.every))
        cpu, memory, seconds = cost(ward)
        found = [measure(ward, *fault, options.every) for fault in FAULTS]
    checks = [at_most(f"{one.name}: rounds to detect", float(one.rounds), "rounds", 2.0) for one in found]
    checks += [at_most(f"{one.name}: not {one.expected}", float(one.outcome != one.expected), "faults", 0.0) for one in found]
    checks += [
        at_most("CPU of a round, of a core at one a minute", 100 * cpu / MINUTE, "%", 3.0),
        at_most("memory of the watcher", memory, "MB", 120.0),
        at_most("a round on a healthy stack", seconds, "s", 2.0),
    ]
    if options.json:
        print_json(checks, {"faults": [vars(one) for one in found], "round": {"cpu_s": cpu, "rss_mb": memory, "seconds": seconds}})
    else:
        _show(found)
        print_verdicts(checks)
    if options.markdown:
        options.markdown.write_text(page(found, cpu, memory, seconds), encoding="utf-8")
    return status(checks)


def page(found: list[Measured], cpu: float, memory: float, seconds: float) -> str:
    """docs/mttr.md."""
    rows = "\n".join(f"| {' | '.join(_cells(one))} |" for one in found)
    return f"""# Time to detect and to recover

Made by `python benchmarks/heal.py --markdown docs/mttr.md`; the last run's figures, on two shared cores. An alert fires in the second
round in which something is wrong: at one round a minute that is at most two minutes after it happened. What recovers by itself within
that time (a process that supervisor or the engine starts again) raises no alert; its restarts are counted.

| fault | raised by | rounds | detected within | recovered after | outcome | steps |
|---|---|---|---|---|---|---|
{rows}

A round took {seconds:.2f} s, {cpu:.2f} s of CPU ({100 * cpu / MINUTE:.1f} % of a core at one a minute); {memory:.0f} MB of memory.
"""


def _cells(one: Measured) -> list[str]:
    recovered = f"{one.recovered_s:.1f} s" if one.recovered_s is not None else "—"
    return [
        one.name,
        f"`{one.raised}`",
        str(one.rounds),
        f"{one.rounds * MINUTE:.0f} s",
        recovered,
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


def _quick(site: Site, every: float) -> Site:
    """Rules that fire in the second round, whatever a round's distance is; sessions that idle for two seconds idle for too long."""
    runbook = site.config.runbook
    rules = {
        **runbook.alerts.rules,
        **{name: (runbook.alerts.rules.get(name) or RuleChange()).model_copy(update={"for_seconds": every}) for name in FAST},
    }
    alerts = runbook.alerts.model_copy(update={"rules": rules})
    remedies = runbook.remedies.model_copy(update={"idle_transaction_seconds": 2.0, "verify_seconds": 15.0})
    probes = runbook.probes.model_copy(update={"every_seconds": every})
    changed = runbook.model_copy(update={"alerts": alerts, "remedies": remedies, "probes": probes})
    return Site(Config(site.config.folder, site.config.settings, changed))


def _impatient(runbook: str) -> str:
    return runbook.replace("stop_grace: 40", "stop_grace: 10")


if __name__ == "__main__":
    sys.exit(main())
