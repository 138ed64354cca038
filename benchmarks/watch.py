"""What watching costs, and whether it cries wolf: the watcher in a process of its own beside a real stack.

    python benchmarks/watch.py [--stack local|compose] [--seconds 180] [--json]

1. An hour with a steady load, backups and releases in it. Its minutes last two seconds: the clock of the watcher and of what is done to the
   stack runs 30 times as fast, the probes ask what is really there. Whatever fires is a false alarm.
2. Rounds one after the other for `--seconds`, a minute apart by the clock: processor time, memory, duration of a round.
3. Two days of rounds worked into a ledger that keeps one: whether its file and the process stay as large as they were.

Processor time is that of the watcher with its child processes. A log is only as long as the real time between two rounds makes it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if TYPE_CHECKING:
    from officeops.site import Site
    from officeops.watching.watcher import Watcher
    from tests.support.stack import RunningStack

FASTER, HOUR, DAY, DAYS = 30, 60, 1440, 2
SETTLED = 100  # rounds after which a process has what it needs
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Hurried:
    """A clock that was right at `begin` (seconds since the epoch) and runs FASTER. The same in every process that is told the begin."""

    begin: float

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.begin + (time.time() - self.begin) * FASTER, UTC)


@dataclass
class Stepped:
    """A clock that somebody moves."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


# In the watcher's process: nothing is imported there that the watcher does not import


def hour(folder: Path, begin: float) -> dict[str, Any]:
    """An hour's rounds. Returns what was told."""
    from officeops.config import load
    from officeops.site import Site

    site = Site(load(folder), Hurried(begin))
    watcher, told, took = _watcher(site), [], []
    for number in range(HOUR):
        time.sleep(max(0.0, begin + number * 60 / FASTER - time.time()))
        began = time.monotonic()
        if watcher.round() is None:
            told.append("a round failed")
        took.append(time.monotonic() - began)
        told += [one.name for one in site.ledger.alerts() if one.told_at and f"{one.name}" not in told]
    pending = sorted({name for sample in site.ledger.samples(since=datetime.fromtimestamp(begin, UTC)) for name in sample.wrong})
    return {"told": told, "seen_wrong": pending, "longest_round_s": max(took)}


def cost(folder: Path, seconds: float) -> dict[str, Any]:
    """Rounds one after the other, then two days in a ledger of their own."""
    from officeops.clock import utc_now
    from officeops.config import load
    from officeops.site import Site

    clock = Stepped(utc_now())
    site = Site(load(folder), clock)
    watcher, took, memory = _watcher(site), [], []
    watcher.round()  # imports
    began, used = time.monotonic(), _cpu()
    while time.monotonic() - began < seconds:
        clock.now += MINUTE
        at = time.monotonic()
        found = watcher.round()
        took.append(time.monotonic() - at)
        memory.append(_rss())
    used = _cpu() - used
    assert found is not None, "the last round failed"
    settled = memory[min(SETTLED, len(memory) // 2)]
    sizes = _days(site, found)
    return {
        "rounds": len(took), "cpu_s": used / len(took), "round_s": statistics.median(took), "longest_round_s": max(took),
        "rss_mb": max(memory), "grown_mb": max(memory) - settled, "after_days_mb": _rss(), "settled_mb": settled, "ledger_mb": sizes,
    }  # fmt: skip


def _watcher(site: Site) -> Watcher:
    """One that sees what it would have mended and mends nothing."""
    from officeops.remedies.due import due
    from officeops.watching.watcher import Watcher

    return Watcher(site, healing=due)


def _days(site: Site, found: Any) -> list[float]:
    """The ledger's size in MB at the end of each day, of rounds like this one."""
    from officeops.alerts.board import work_in
    from officeops.config import Config
    from officeops.probes.rounds import RECENT
    from officeops.site import Site

    sizes = []
    with tempfile.TemporaryDirectory() as home:
        settings = site.config.settings.model_copy(update={"officeops_home": Path(home), "ledger_url": None})
        other = Site(Config(site.config.folder, settings, site.config.runbook), site.clock)
        at = found.at
        for _day in range(DAYS):
            for _round in range(DAY):
                at += MINUTE
                history = other.ledger.samples(since=at - RECENT, day_before=at - timedelta(days=1))
                one = replace(found, at=at, history=tuple(history))
                other.ledger.record_sample(one.sample, keep_since=at - timedelta(days=1))
                work_in(other, one.judged, at)
            sizes.append(sum(file.stat().st_size for file in Path(home).glob("ledger*")) / 1e6)
    return sizes


def _cpu() -> float:
    whole = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in whole)


def _rss() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6


# Beside it: the stack, the load, what is done to it


@contextmanager
def running_stack(kind: str, *, grace_s: int = 40) -> Iterator[RunningStack]:
    """With the demonstration's data, its model, and a first backup. grace_s: of a backend that hangs, on the embedded stack."""
    from officeops.backups.alone import back_up
    from officeops.releases.models import pull_models
    from tests.support.engine import found_engine
    from tests.support.paths import open_folder
    from tests.support.stack import make_repository, running_compose, running_local

    def impatient(runbook: str) -> str:
        return runbook.replace("stop_grace: 40", f"stop_grace: {grace_s}")

    with open_folder() as folder:
        repository = make_repository(folder)
        for engine in found_engine() if kind == "compose" else (None,):
            with running_compose(repository, engine) if engine else running_local(repository, edit=impatient) as running:
                running.stack.seed(running.release)
                pull_models(running.site, running.release)
                with running.site.locked("backup"):
                    back_up(running.site)
                yield running


def quiet_hour(running: RunningStack) -> dict[str, Any]:
    """Two backups, a release and the way back, under load, while the watcher watches. Returns what it told, and what was done when."""
    from officeops.backups.alone import back_up
    from officeops.site import Site
    from tests.support.load import strict_load
    from tests.support.releases import build, quick, roll_out
    from tests.support.stack import commit_beside

    repository = running.site.config.settings.officeops_app
    second = build(running.site, commit_beside(Path(repository), {"frontend/humans.txt": "the people who made it"}))
    first = build(running.site, running.release.sha)
    done = {}
    with strict_load(running.site) as load:
        begin = time.time() + 3
        site = Site(quick(running.site).config, Hurried(begin))

        def backup() -> None:
            with site.locked("backup"):
                back_up(site)

        works = (
            (5, "backup", backup),
            (15, "deploy", lambda: roll_out(site, second)),
            (30, "backup", backup),
            (40, "rollback", lambda: roll_out(site, first, kind="rollback")),
        )
        with in_a_process("hour", running.site.config.folder, begin) as answer:
            for minute, name, work in works:
                time.sleep(max(0.0, begin + minute * 60 / FASTER - time.time()))
                at = time.monotonic()
                work()
                done[f"{name} in minute {minute}"] = round((time.monotonic() - at) * FASTER / 60, 1)
            found = answer()
        record = load.end()
    with running.site.ledger._writing() as connection:  # rounds of a time that has not come yet
        for table in ("samples", "alerts"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    return {**found, "done_minutes": done, "requests": record.total, "failed_requests": record.failed_count}


@contextmanager
def in_a_process(what: str, folder: Path, *arguments: float) -> Iterator[Any]:
    """Runs one of the above in a process of its own. Gives what waits for its answer."""
    from officeops.process import Command, started

    argv = (sys.executable, str(Path(__file__).resolve()), "--child", what, str(folder), *map(str, arguments))
    with started(Command(argv, {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}), timeout=3600) as child:

        def answer() -> Any:
            out = child.stdout.read()
            child.wait()
            return json.loads(out)

        yield answer


def main() -> int:
    """Exit status 1 when a bound is not kept."""
    if sys.argv[1:2] == ["--child"]:
        what, folder, argument = sys.argv[2:5]
        print(json.dumps({"hour": hour, "cost": cost}[what](Path(folder), float(argument))))
        return 0
    from benchmarks.checks import at_most, print_json, print_verdicts, status

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", choices=("local", "compose"), default="local")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with running_stack(options.stack) as running:
        wolf = quiet_hour(running)
        with in_a_process("cost", running.site.config.folder, options.seconds) as answer:
            spent = answer()
    first, last = spent["ledger_mb"][0], spent["ledger_mb"][-1]
    where = f" ({options.stack})"
    checks = [
        at_most(f"alerts in a steady hour with backups and releases{where}", float(len(wolf["told"])), 0.0, "alerts"),
        at_most(f"a round on a healthy stack, median{where}", spent["round_s"], 2.0, "s"),
        at_most(f"CPU of a round, of a core at one a minute{where}", 100 * spent["cpu_s"] / 60, 3.0, "%"),
        at_most(f"memory of the watcher{where}", spent["rss_mb"], 120.0, "MB"),
        at_most(f"memory that it grew by after round {SETTLED}{where}", spent["grown_mb"], 5.0, "MB"),
        at_most(f"the same after {DAYS} days of rounds{where}", spent["after_days_mb"] - spent["settled_mb"], 10.0, "MB"),
        at_most("the ledger's file after the second day, of that after the first", last / first, 1.1),
        at_most("the ledger's file with a week of rounds (7 times a day's)", 7 * first, 200.0, "MB"),
    ]
    if options.json:
        print_json(checks, {"stack": options.stack, "hour": wolf, "cost": spent})
    else:
        print(json.dumps({"hour": wolf, "cost": spent}, indent=1))
        print_verdicts(checks)
    return status(checks)


if __name__ == "__main__":
    sys.exit(main())
