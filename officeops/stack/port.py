"""The stack port: what backups, releases and probes ask of the place where the application runs.

These comments are the specification; `tests/stack/test_conformance.py` holds the adapters (`local`, `compose`) to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from pydantic import SecretStr

from officeops.process import Command

State = Literal["running", "starting", "stopping", "stopped", "restarting", "failed"]
Health = Literal["healthy", "unhealthy", "starting", "unknown"]
Colour = Literal["blue", "green"]
COLOURS: tuple[Colour, Colour] = ("blue", "green")


def other(colour: Colour) -> Colour:
    """The one that a release goes to while this one serves."""
    return "green" if colour == "blue" else "blue"


def commit_of(release: str) -> str:
    """The commit that a release was made of: its name without which rebuild it is (`SHA-r2`)."""
    return release.partition("-")[0]


def short(release: str, length: int = 10) -> str:
    """A release's name for people: 1a2b3c4d5e, and 1a2b3c4d5e-r2 for its second rebuild."""
    commit, dash, rebuild = release.partition("-")
    return commit[:length] + dash + rebuild


@dataclass(frozen=True)
class ServiceStatus:
    """One service now. `restarts`: times it came back by itself since it was last started on purpose.
    `release`: sha of the release an app runs, None for the others. `detail`: why, when it is not well.
    `colour`: of a rolled service, which of its two this is."""

    name: str
    state: State
    health: Health
    restarts: int
    release: str | None
    started_at: datetime | None
    detail: str = ""
    colour: Colour | None = None


@dataclass(frozen=True)
class Release:
    """A built release. `sha`: full git commit; `SHA-r1`, `SHA-r2` ... for what was built of it again (`build_again`). `settings`:
    values of the keys of .env that belong to the release, by the names of their
    fields, where it runs with others than today's."""

    sha: str
    built_at: datetime
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployed:
    """The release that takes requests, or took them last. `at`: when it took over from another one. `colour`: in which its rolled services
    run. `settings`: as for Release."""

    sha: str
    at: datetime
    colour: Colour = "blue"
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DatabaseAddress:
    """How this process reaches the database server."""

    host: str
    port: int
    user: str
    password: SecretStr
    database: str


@dataclass(frozen=True)
class LogLine:
    """A line that a service printed."""

    service: str
    at: datetime
    text: str


@dataclass(frozen=True)
class LogSource:
    """A log that only grows at its end: of one container, or of one program of the embedded stack. id: no other log's, ever. running: more
    may come."""

    id: str
    service: str
    running: bool
    colour: Colour | None = None


@dataclass(frozen=True)
class LogBlock:
    """Lines in a row of one log, at least one. times: of each, ISO 8601 in UTC with a Z. text: all of them, joined by a line feed, in UTF-8 as far
    as the service wrote that. cursor: tells `read_log` to go on behind them. gap: what the cursor before pointed at is gone, and lines before
    these are missing."""

    times: list[bytes]
    text: bytes
    cursor: str
    gap: bool = False


@dataclass(frozen=True)
class LogLimits:
    """How a log is kept. driver: the engine's, or `supervisor`. max_bytes: of one file. None: without a limit."""

    driver: str
    max_bytes: int | None
    files: int | None


@dataclass(frozen=True)
class LogOptions:
    """How the log of something that runs is kept. name: of the container or program. anew: how it would be kept if that was made anew."""

    service: str
    name: str
    now: LogLimits
    anew: LogLimits


@dataclass(frozen=True)
class Usage:
    """What a service takes now. cpu: cores (1.0 = one core busy). memory: bytes resident. limit: bytes that it may have, None when nobody
    said how many."""

    service: str
    cpu: float
    memory: int
    limit: int | None = None


@dataclass(frozen=True)
class Volume:
    """A named volume of this stack, or a folder that takes its place. services: of the runbook, those that use it; none for what a restore
    set aside, and for the control plane's volumes. database: the data directory of the database server is in it. bytes: None unless it was
    measured."""

    name: str
    services: tuple[str, ...]
    database: bool
    bytes: int | None = None


@dataclass(frozen=True)
class Part:
    """What one part of a build consists of. system, python: versions by package, None where it has no way to tell. bases: ids of the images
    that it is built on, by name; an empty one where it is not built on what that name is now. bytes: its size."""

    system: Mapping[str, str] | None
    python: Mapping[str, str] | None
    bases: Mapping[str, str] = field(default_factory=dict)
    bytes: int = 0


@dataclass(frozen=True)
class LeftOver:
    """Something on this host that takes room. kind: for people (image, container, build cache, release, virtualenv, folder). name: what
    `remove` finds it by. bytes: that its removal frees by itself. why: it stays or goes."""

    kind: str
    name: str
    bytes: int
    stays: bool
    why: str


class Stack(Protocol):
    """Services are named as in runbook.yaml; an unknown name raises UsageError. Control-plane services (Prefect) are never among them.

    A rolled service (`rolled` in the runbook) has two colours, of which one takes requests. Under its own name it is the one that takes
    them; `stop` stops both. Verbs are idempotent: starting what runs and stopping what is stopped are no errors.
    """

    @property
    def name(self) -> str: ...

    def build(self, ref: str = "HEAD") -> Release:
        """Makes a release of git `ref` of the application's repository, or reuses the one that exists. Nothing that runs is touched."""
        ...

    def up(self, release: Release, *, migrate: Callable[[], object] | None = None, keep_proxy: bool = False) -> None:
        """Everything running and healthy on `release`, in order of dependency, schema migrated; rolled services in the deployed colour,
        whose gate is open, the other colour gone. Waits; reports progress; raises OfficeOpsError naming the service, its last log lines
        and the remedy (a port taken: the port and who holds it). Another release than the one that runs takes its place with an
        interruption: `deploy` does it without. migrate: what is done about the schema once the database answers, instead
        of `migrate`. keep_proxy: the front door keeps the configuration that it has."""
        ...

    def down(self, *, last: Callable[[], object] | None = None) -> None:
        """Every service stopped, data kept. Returns when no process is left. last: as for `retire`."""
        ...

    def require_ours(self) -> None:
        """Raises UsageError when what runs under this stack's name on this host belongs to another folder: nothing of it may be changed
        then. `up` and `down` ask by themselves; whatever else starts, stops or ends something asks first."""
        ...

    def migrate(self, release: Release) -> None:
        """Brings the schema to the release's revision."""
        ...

    def seed(self, release: Release) -> str:
        """Fills the database with the release's demonstration data. Returns what its program printed."""
        ...

    def rebuild(self, release: Release) -> None:
        """What was built for the release is made anew from its commit, whatever is there. What runs on it goes on with what it has until it
        is launched or started again. Raises what `build` does, with everything as it was."""
        ...

    def bases(self, release: Release) -> dict[str, str]:
        """The images that the release is built on, by name, with their ids as far as they are on this host; none on the embedded stack."""
        ...

    def restore_bases(self, ids: Mapping[str, str]) -> None:
        """These names are those images again, as far as they are on this host."""
        ...

    def build_again(self, sha: str, number: int) -> tuple[Release, list[str]]:
        """A further build of a release's commit beside those that there are, `SHA-rNUMBER`: with the newest bases and packages within the
        ranges that the application allows, and nothing of earlier builds. Nothing that runs is touched. A base that cannot be fetched and
        is on this host is used, and said. Returns what is to be said, for people."""
        ...

    def contents(self, release: Release) -> dict[str, Part]:
        """What the release was built to, by part."""
        ...

    def left_overs(self, needed: Collection[str], now: datetime) -> list[LeftOver]:
        """All of this stack's on this host that takes room and was built or left here, volumes apart; each stays or goes. needed: the
        releases that stay. What belongs to others is not among them, but for a line that says how much it is."""
        ...

    def remove(self, one: LeftOver) -> None:
        """It is gone; no error when it was. Raises RefusedError when somebody uses it by now."""
        ...

    def uncommitted(self) -> int:
        """How many files of the application's working tree are in no commit, and so in no release."""
        ...

    def services(self) -> list[ServiceStatus]:
        """All services of the runbook, in its order, with health asked now, concurrently, in at most 3 s."""
        ...

    def start(self, service: str, *, timeout: float = 60) -> None:
        """Running and healthy when this returns."""
        ...

    def stop(self, service: str) -> None:
        """Asked to stop, given its grace, then ended. Stays stopped until started."""
        ...

    def restart(self, service: str, *, timeout: float = 60) -> None: ...

    def launch(self, release: Release, colour: Colour) -> None:
        """The rolled services of `release` are started in `colour`, with the release's settings and today's other ones; what ran in that
        colour is gone first. Nothing else is touched, and nothing is waited for: ask `instances`. The gates stay as they are."""
        ...

    def retire(self, colour: Colour, *, last: Callable[[], object] | None = None) -> None:
        """The rolled services of `colour` asked to stop, all at once, given their grace, ended and removed. The gates stay as they are.
        last: called when they have ended, while what they printed can still be read."""
        ...

    def launch_commands(self, release: Release, colour: Colour) -> list[str]:
        """What `launch` has run, as a person would type it. What programs find in their environment is not in it."""
        ...

    def retire_commands(self, colour: Colour) -> list[str]:
        """What `retire` does, as a person would type it; nothing when nothing runs in that colour."""
        ...

    def recreate(self, service: str, *, timeout: float = 60) -> None:
        """One that is not rolled is made anew as today's configuration and the release that runs say, and is healthy when this returns.
        Nobody answers meanwhile. Raises UsageError for a rolled one: a release takes its place without an interruption."""
        ...

    def instances(self, colour: Colour) -> list[ServiceStatus]:
        """The rolled services in that colour under their own names, in the runbook's order, health asked now, in at most 3 s. One that
        was never started or has been retired is stopped."""
        ...

    def endpoint(self, service: str, colour: Colour | None = None) -> str:
        """Where this process reaches a service directly, past the front door: `http://HOST:PORT`; a rolled one in that colour (None: the
        one that takes requests). Raises OfficeOpsError when it does not run, UsageError when it has no known port."""
        ...

    def front_door(self) -> str:
        """Where this process reaches Caddy: `http://HOST:PORT`."""
        ...

    def address(self, service: str) -> tuple[str, int]:
        """Host and port where this process reaches a service of kind postgres, redis, ollama or caddy. Raises OfficeOpsError when it does
        not run in a place that can be reached."""
        ...

    def in_flight(self, colour: Colour) -> int:
        """Requests that the front door has on their way to the rolled services of that colour, by Caddy's own count. Raises
        OfficeOpsError when Caddy does not answer."""
        ...

    @property
    def gate_folder(self) -> Path:
        """Where the front door looks for `blue.drain` and `green.drain` on each request."""
        ...

    def note_addresses(self) -> None:
        """Where the rolled services are now is written down for the front door, which needs it when nobody is there to resolve their
        names. Every verb that starts or ends one does it; the watcher too, for what came back by itself. Raises OfficeOpsError, with
        what was written before unchanged, when it cannot be known."""
        ...

    def data_folders(self) -> list[Path]:
        """Folders of this host beside OFFICEOPS_HOME where what is built, and volumes, take up room."""
        ...

    def cautions(self) -> list[str]:
        """What about the place where it all runs endangers it, for people: known before a release takes over, and no reason to stop."""
        ...

    def record(self, deployed: Deployed) -> None:
        """Writes down which release takes requests, and in which colour; durable when it returns."""
        ...

    def folder(self, release: Release) -> Path:
        """Where the files of the release's commit stand on this host, to be read."""
        ...

    def artifact(self, release: Release) -> dict[str, str]:
        """What the release was built to, by service: the id of its image; on the embedded stack its folder and virtualenv. Raises
        OfficeOpsError when it is not there (any more)."""
        ...

    def built(self) -> list[Release]:
        """The releases that are built on this host, newest first."""
        ...

    def discard(self, sha: str) -> None:
        """What was built for a release is gone, but for what others use too. Refused (RefusedError) while it runs."""
        ...

    def validate(self, release: Release) -> list[str]:
        """What is wrong with the release's own configuration (Compose file, Caddyfile), for people; nothing is started or changed."""
        ...

    def proxy_digest(self) -> str | None:
        """sha256 of the Caddyfile that the front door runs with: a copy of its own in OFFICEOPS_HOME, made by the first `up` and
        changed by nothing but `reload_proxy`. None before there is any."""
        ...

    def reload_proxy(self, release: Release) -> None:
        """The front door takes over the release's configuration, gracefully: Caddy closes idle connections and lets requests end within
        its grace. Raises OfficeOpsError, with the old configuration in use, when Caddy refuses it."""
        ...

    def migration(self, release: Release, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Command:
        """The release's migration program with other arguments: runbook.yaml has its command for `upgrade head`, whose last two are
        replaced. Against the application's database, with its environment and `environment`. Raises UsageError when the runbook has none
        of that form."""
        ...

    def logs(
        self,
        service: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        tail: int | None = None,
        colour: Colour | None = None,
    ) -> Iterator[LogLine]:
        """Oldest first, rotated files included, up to now. Of a rolled service those of the colour that takes requests, or of `colour`."""
        ...

    def log_sources(self) -> list[LogSource]:
        """The logs of the runbook's services that are there now, also of what has ended or takes no requests."""
        ...

    def read_log(self, source: LogSource, cursor: str | None = None) -> Iterator[LogBlock]:
        """Whole lines in the order in which they were written, rotated files included, from the cursor of a block on (None: from the
        beginning) up to now, a few MB at a time. Each line comes exactly once, however often the log is rotated or its service restarted.
        A line without an end is left for later, while there may be a later."""
        ...

    def log_options(self) -> list[LogOptions]:
        """Of everything of the runbook's services that runs."""
        ...

    def usage(self) -> list[Usage]:
        """CPU and memory of each running service, with all its processes."""
        ...

    def exec(self, service: str, argv: Sequence[str], *, environment: Mapping[str, str | SecretStr] | None = None) -> Command:
        """A program to run where the service runs, as its account, with its environment: in its container; on the embedded stack in its
        release's folder. Run it with `officeops.process.run` or `started`: stdin and stdout are streamed, stderr is kept apart, the exit
        status is the program's own; when its time is up or the block is left, the program itself is ended, with its children."""
        ...

    def volumes(self, *, measure: bool = False) -> list[Volume]:
        """Those that exist, by name. measure: with their size, which takes as long as reading every folder."""
        ...

    def export_volume(self, volume: str) -> Command:
        """A command that prints a tar of everything in the volume (POSIX format, numeric owners, paths that begin with `./`) on stdout.
        Unknown volumes raise UsageError here and below."""
        ...

    def create_volume(self, volume: str) -> None:
        """A new, empty volume of this stack that no service uses yet. Raises OfficeOpsError when there is one of that name."""
        ...

    def import_volume(self, volume: str) -> Command:
        """A command that reads such a tar on stdin and puts everything into the volume: owners, modes and times as they were."""
        ...

    def exchange_volumes(self, one: str, other: str) -> None:
        """The contents of the two change places, at once and entirely: a crash leaves it done or not done. Refused (RefusedError) while
        a service that uses either runs."""
        ...

    def remove_volume(self, volume: str) -> None:
        """Gone with its contents, no error when it is gone already. Refused (RefusedError) when a service uses it."""
        ...

    def base_backup(self) -> Command:
        """A command that prints a tar of the whole data directory on stdout, taken by pg_basebackup from the running server: with the
        log that makes it consistent, and the server's own manifest of checksums."""
        ...

    def sweep(self) -> list[str]:
        """Ends one-offs that a killed run left running. The caller holds the stack's lock. Returns what was ended, for people."""
        ...

    def database(self, name: str | None = None) -> DatabaseAddress:
        """Where the application's database (or another of that server) is reached from this process."""
        ...

    def ask(self, queries: Sequence[str], *, timeout: float) -> list[str]:
        """The first value that each query gets from the application's database, as text, in the quickest way there is; up to the first
        query that fails. Raises OfficeOpsError when the database does not answer in time."""
        ...

    def deployed(self) -> Deployed | None:
        """The release that runs or ran last, None before the first."""
        ...

    def tool(
        self, argv: Sequence[str], *, files: Sequence[Path] = (), options: Mapping[str, str] | None = None, terminal: bool = False
    ) -> Command:
        """A command that runs a PostgreSQL client program (pg_dump, pg_restore, pg_dumpall, psql ...) of the server's own major version,
        connected by PG* variables to the server (give the database with `-d`). `files`: paths on this host that it must be able to read.
        `options`: server settings of its sessions (PGOPTIONS). `terminal`: for a person at this terminal, and left alone by `sweep`."""
        ...
