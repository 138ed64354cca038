"""Releases that take over from each other under a strict load, against stopping the old one and starting the new one, in one run.

    python benchmarks/rollout.py [--stack local|compose] [--switches 20] [--long 300] [--pace 1] [--json]

A throw-away stack with two releases of the application. The load (benchmarks/load.py) asks by kept and new connections, by HTTP/2, with slow
requests and with event streams of 6 s; whatever is not answered whole and rightly has failed. A first stream lasts `--long` seconds: while it
does, releases take over and are taken back again and again, then one takes over for good and has to wait for the stream. Others follow, one
under a stream of 30 s. Then `officeops rollback` and `officeops emergency`, as people type them, under a light load; Caddy is killed; and at
the end the first load meets the simple ways.

Compose needs a Docker Engine with the tests' stand-in images (`python -m tests.engine up`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.checks import Check, at_least, at_most, print_json, print_verdicts, status
from benchmarks.load import Clients, Load
from benchmarks.record import Record, Switch, around, outside
from officeops.config import Config
from officeops.errors import OfficeOpsError
from officeops.gate import Gate
from officeops.lock import lock_holder
from officeops.process import Command, run
from officeops.releases.rollout import Rollout
from officeops.releases.schema import Schema
from officeops.site import Site
from officeops.stack.compose import commands
from officeops.stack.compose.stack import ComposeStack
from officeops.stack.port import Colour, Release
from tests.releases.applications import commit_variant
from tests.support.engine import found_engine
from tests.support.load import strict_load
from tests.support.paths import open_folder
from tests.support.ports import eventually, free_ports
from tests.support.releases import build, roll_out
from tests.support.stack import RunningStack, git, make_repository, running_compose, running_local

CLIENTS = (
    Clients("get", 10, 16), Clients("post", 6, 5), Clients("one-shot", 4, 10), Clients("http2", 8, 10),
    Clients("slow post", 4), Clients("stream", 4),
)  # fmt: skip
REQUESTS_A_SWITCH = 5000
STREAM_S, SECOND_STREAM_S = 6, 30
BAKE_S = 3.0
_BOTH_OPEN_S = 0.25  # at most: between the moments in which one gate is opened and the other one shut
_CLOCK_S = 0.01  # a file's time is that of the last tick
_BEGIN_S = 2.0  # the load's own begin

PROJECT = Path(__file__).resolve().parent.parent

Say = Callable[[str], None]


@dataclass
class Bench:
    """A stack that is up. releases: two of them; the first serves in the beginning. tls_port: where the front door speaks HTTP/2.
    pace: of the clients, 1 for their rates as above. kill: ends a service as a lack of memory would."""

    site: Site
    releases: tuple[Release, Release]
    tls_port: int
    pace: float
    kill: Callable[[str], None]

    def load(self) -> AbstractContextManager[Load]:
        """All kinds of clients, for the length of a block."""
        clients = [replace(one, rate=one.rate * self.pace) for one in CLIENTS]
        return strict_load(self.site, clients, stream_seconds=STREAM_S, tls_port=self.tls_port)

    @property
    def colour(self) -> Colour:
        """The one that takes requests."""
        deployed = self.site.stack.deployed()
        assert deployed is not None
        return deployed.colour

    @property
    def next(self) -> Release:
        """The release that does not serve now."""
        serving = Gate(self.site.stack).serving("/version")
        return next(one for one in self.releases if one.sha != serving)

    def shut_at(self, colour: Colour) -> float:
        """When that colour's gate was shut, by time.monotonic()."""
        file = self.site.stack.gate_folder / f"{colour}.drain"
        return file.stat().st_ctime - time.time() + time.monotonic() + _CLOCK_S


# The stack


@contextmanager
def bench(stack: str, pace: float, say: Say) -> Iterator[Bench]:
    """A throw-away one with demonstration's data; gone after the block."""
    with open_folder() as folder:
        repository = make_repository(folder)
        with running(stack, repository) as (started, tls_port):
            site = with_short_bake(started.site)
            runbook = site.config.folder / "runbook.yaml"  # of the commands
            runbook.write_text(runbook.read_text().replace("bake_seconds: 60", f"bake_seconds: {BAKE_S:g}"))
            started.stack.seed(started.release)
            if stack == "compose":
                run(site.stack.exec("ollama", ["ollama", "pull", site.config.settings.ollama_model]), timeout=120)
            say("building a second release")
            second = commit_variant(repository, "good")
            found = Bench(site, (build(site, started.release.sha), build(site, second)), tls_port, pace, started.kill)
            eventually(lambda: speaks_tls(tls_port), seconds=30, what="the front door's certificate")
            yield found


@contextmanager
def running(stack: str, repository: Path) -> Iterator[tuple[RunningStack, int]]:
    """The stack, and the port where it speaks TLS: on Compose the usual one, on the embedded stack one that is there for this only."""
    if stack == "local":
        port = free_ports(1)[0]
        offer_tls(repository, port)
        with running_local(repository) as started:
            yield started, port
        return
    for engine in found_engine():
        with running_compose(repository, engine) as started:
            yield started, started.site.config.settings.https_port


def offer_tls(repository: Path, port: int) -> None:
    """Commits a front door that also answers to https://localhost:PORT, with a certificate of its own."""
    path = repository / "caddy" / "Caddyfile"
    text = path.read_text()
    for old, new in (
        ("{$SITE_ADDRESS::8080} {", f"{{$SITE_ADDRESS::8080}}, https://localhost:{port} {{"),
        ("{$SITE_OPTIONS}", "auto_https disable_redirects"),
    ):
        assert text.count(old) == 1, f"the Caddyfile has no {old}"
        text = text.replace(old, new)
    path.write_text(text)
    git(repository, "commit", "--quiet", "--all", "--message=The front door speaks TLS too")


def speaks_tls(port: int) -> bool:
    """Whether it has made its certificate."""
    try:
        return httpx.get(f"https://localhost:{port}/health", verify=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def with_short_bake(site: Site) -> Site:
    """The runbook as it is, but for the time that both releases run without need."""
    runbook = site.config.runbook
    chapter = runbook.releases.model_copy(update={"bake_seconds": BAKE_S})
    return Site(Config(site.config.folder, site.config.settings, runbook.model_copy(update={"releases": chapter})))


# What is measured


def deploy(bench: Bench) -> Switch:
    """The other release takes over, and the one before it is gone in the end."""
    release, old, begun = bench.next, bench.colour, time.monotonic()
    roll_out(bench.site, release)
    return switched(bench, release, old, begun)


def try_out(bench: Bench) -> list[Switch]:
    """The other release takes over, and is taken back after its bake: two switches."""
    site, old, release, serving = bench.site, bench.colour, bench.next, other_of(bench, bench.next)
    begun = time.monotonic()
    with site.locked("a benchmark"), Rollout.begin(site, release, kind="deploy") as rollout:
        rollout.expand(Schema(site).plan(release))
        rollout.launch()
        rollout.prove()
        rollout.switch()
        there = switched(bench, release, old, begun)
        rollout.bake()
        begun = time.monotonic()
        rollout.undo("it was only tried out")
        return [there, switched(bench, serving, rollout.colour, begun)]


def switched(bench: Bench, release: Release, old: Colour, begun: float) -> Switch:
    """What has just been done, by the time of the gate that was shut."""
    shut = bench.shut_at(old)
    return Switch(release.sha, begun, shut - _BOTH_OPEN_S, shut)


def other_of(bench: Bench, release: Release) -> Release:
    """The other release."""
    return next(one for one in bench.releases if one.sha != release.sha)


def roll(bench: Bench, load: Load, switches: int, long: int, say: Say) -> list[Switch]:
    """Releases take over until there were that many switches."""
    done: list[Switch] = []
    load.stream(long)
    time.sleep(1)
    until = time.monotonic() + long - 2 * SECOND_STREAM_S
    while len(done) <= switches - 5 and time.monotonic() < until:
        say(f"switches {len(done) + 1} and {len(done) + 2}: a release takes over and is taken back, under a stream of {long} s")
        done += try_out(bench)
    say(f"switch {len(done) + 1}: a release takes over and waits for the stream of {long} s")
    done.append(deploy(bench))
    load.stream(SECOND_STREAM_S)
    time.sleep(1)
    while len(done) < switches:
        say(f"switch {len(done) + 1}: a release takes over")
        done.append(deploy(bench))
    return done


def go_back(bench: Bench, say: Say) -> dict[str, Any]:
    """The commands: seconds from when the lock took each to the first answer of the older release, and how many requests failed."""
    found: dict[str, Any] = {"failed_while_going_back": 0}
    for way, options in (("rollback", ("--offline",)), ("emergency", ("--yes",))):
        say(f"officeops {way}")
        release = bench.next
        with strict_load(bench.site) as load:
            with ThreadPoolExecutor(1) as pool:
                done = pool.submit(officeops, bench.site, way, *options)
                while not done.done() and lock_holder(bench.site.home, bench.site.name) is None:
                    time.sleep(0.005)
                accepted = time.monotonic()
                done.result()
            record = load.end()
        answered = record.first_answer(release.sha, accepted)
        found[f"{way}_s"] = round(answered - accepted, 2) if answered else None
        found["failed_while_going_back"] += record.failed_count
    return found


def officeops(site: Site, *arguments: str) -> None:
    """The command, in the site's folder."""
    command = Command((sys.executable, "-m", "officeops_cli.main", *arguments), {"PYTHONPATH": str(PROJECT)}, cwd=site.config.folder)
    run(command, timeout=300)


def without_caddy(bench: Bench) -> float:
    """Seconds that the front door was away after its process was killed."""
    url, before = f"http://127.0.0.1:{bench.site.config.settings.http_port}/version", Gate(bench.site.stack).open_colours()
    bench.kill("caddy")
    began = time.monotonic()
    eventually(lambda: answers(url), seconds=30, what="Caddy's return")
    seconds = time.monotonic() - began
    assert Gate(bench.site.stack).open_colours() == before
    return round(seconds, 2)


def answers(url: str) -> bool:
    """Whether somebody answers there as he should."""
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def old_way(bench: Bench, change: Callable[[Release, Colour], None]) -> dict[str, object]:
    """What a simple way costs under the same load."""
    release, gate = bench.next, Gate(bench.site.stack)
    with bench.load() as load:
        time.sleep(_BEGIN_S)
        change(release, bench.colour)
        eventually(lambda: gate.serving("/version") == release.sha, seconds=60, what="the new release's first answer")
        time.sleep(_BEGIN_S)
        record = load.end()
    return {"requests": record.total, "failed": record.failed_count, "silent_s": round(record.silence(), 2), "kinds": record.by_kind()}


def old_ways(bench: Bench, say: Say) -> dict[str, dict[str, object]]:
    """Stop and start; on Compose also `docker compose up -d`. The last thing that is done: they write nothing down."""
    stack = bench.site.stack

    def stop_and_start(release: Release, colour: Colour) -> None:
        stack.retire(colour)
        stack.launch(release, colour)

    def recreate(release: Release, colour: Colour) -> None:
        assert isinstance(stack, ComposeStack)
        run(stack.project(release.sha).command(*commands.up([f"backend-{colour}"])), timeout=120)

    say("stopping the old release, starting the new one")
    found = {"stop, start": old_way(bench, stop_and_start)}
    if isinstance(stack, ComposeStack):
        say("docker compose up -d")
        found["docker compose up -d"] = old_way(bench, recreate)
    return found


def measure(stack: str, switches: int, long: int, pace: float, say: Say) -> dict[str, Any]:
    """All figures."""
    began = time.monotonic()
    say(f"starting a stack ({stack})")
    with bench(stack, pace, say) as found:
        first = found.releases[0].sha
        with found.load() as load:
            time.sleep(_BEGIN_S)
            since = time.monotonic()
            try:
                done = roll(found, load, switches, long, say)
            except OfficeOpsError:
                broken_off = time.monotonic()
                for at, kind, what in load.end().first_failures:
                    say(f"failed, {broken_off - at:.1f} s before it was broken off: {kind}: {what}")
                raise
            time.sleep(_BEGIN_S)
            until = time.monotonic()
            record = load.end()
        figures = told(record, done, first, since, until)
        figures["switches"] = len(done)
        figures |= go_back(found, say)
        say("Caddy is killed")
        figures["without_caddy_s"] = without_caddy(found)
        figures["old_ways"] = old_ways(found, say)
    return {"stack": stack, **figures, "seconds": round(time.monotonic() - began, 1)}


def told(record: Record, switches: list[Switch], first: str, since: float, until: float) -> dict[str, Any]:
    """The record's figures."""
    windows = around(switches)
    busy = [(one.begun, one.shut) for one in switches]
    wrong, said = record.wrong_releases(first, switches)
    return {
        "requests": record.total,
        "failed": record.failed_count,
        "kinds": record.by_kind(),
        "failed_by_cause": dict(record.failures.most_common()),
        "failures": [{"switch_s": _since_switch(at, switches), "kind": kind, "what": what} for at, kind, what in record.first_failures],
        "told_release": said,
        "wrong_release": wrong,
        "latency_ms": {
            "steady": asdict(record.latency(outside([*busy, *windows], since, until))),
            "a release starts": asdict(record.latency(outside([*windows, *outside(busy, since, until)], since, until))),
            "around a switch": asdict(record.latency(windows)),
        },
    }


def _since_switch(at: float, switches: list[Switch]) -> float | None:
    """Seconds since the last switch; None before the first."""
    return min((round(at - one.shut, 2) for one in switches if one.opened <= at), default=None)


def checks(figures: dict[str, Any], switches: int, pace: float) -> list[Check]:
    """The bounds that the figures have to keep."""
    latency = figures["latency_ms"]
    return [
        at_least("switches under load", figures["switches"], switches, ""),
        at_least("requests", figures["requests"], REQUESTS_A_SWITCH * switches * pace, ""),
        at_most("failed requests", figures["failed"], 0, ""),
        at_most("answers of a release whose gate was shut", figures["wrong_release"], 0, ""),
        at_most("p99 around a switch, times the steady p99", latency["around a switch"]["p99"] / latency["steady"]["p99"], 1.5),
        at_most("`officeops rollback`, from its lock to the release's first answer", figures["rollback_s"] or float("inf"), 5, "s"),
        at_most("`officeops emergency`, from its lock to the release's first answer", figures["emergency_s"] or float("inf"), 3, "s"),
        at_most("failed requests while these went back", figures["failed_while_going_back"], 0, ""),
        at_most("Caddy killed, until it answered", figures["without_caddy_s"], 2, "s"),
        at_most("all of it", figures["seconds"], 600, "s"),
    ]


def main() -> int:
    """Exit status 1 when a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", choices=("local", "compose"), default="local")
    parser.add_argument("--switches", type=int, default=20)
    parser.add_argument("--long", type=int, default=300, help="seconds that the longest stream lasts; the runbook's stream_seconds at most")
    parser.add_argument(
        "--pace", type=float, default=1.0, help="of the load: 0.2 for a fifth of its requests, on a machine that has other work"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    err = Console(stderr=True)
    figures = measure(options.stack, options.switches, options.long, options.pace, lambda text: err.print(f"… {text}"))
    found = checks(figures, options.switches, options.pace)
    if options.json:
        print_json(found, figures)
    else:
        show(figures, found)
    return status(found)


def show(figures: dict[str, Any], found: list[Check]) -> None:
    """Tables for people."""
    out = Console()
    ways = Table(title=f"Requests on the stack {figures['stack']!r}", title_justify="left")
    for heading in ("way", "switches", "requests", "failed"):
        ways.add_column(heading, justify="left" if heading == "way" else "right")
    ways.add_row("a release takes over", str(figures["switches"]), str(figures["requests"]), str(figures["failed"]))
    for way, cost in figures["old_ways"].items():
        ways.add_row(f"{way} (silent for {cost['silent_s']} s)", "1", str(cost["requests"]), str(cost["failed"]))
    out.print(ways)
    latency = Table(title="Short requests, ms", title_justify="left")
    for heading in ("when", "requests", "p50", "p95", "p99", "max"):
        latency.add_column(heading, justify="left" if heading == "when" else "right")
    for when, one in figures["latency_ms"].items():
        latency.add_row(when, *(str(one[key]) for key in ("count", "p50", "p95", "p99", "max")))
    out.print(latency)
    for cause, count in figures["failed_by_cause"].items():
        out.print(f"failed {count} times: {cause}", markup=False)
    for failure in figures["failures"]:
        out.print(f"failed {failure['switch_s']} s after a switch: {failure['kind']}: {failure['what']}", markup=False)
    print_verdicts(found)


if __name__ == "__main__":
    sys.exit(main())
