"""The services as the stack sees them, what they take, and the servers that can be asked in their own language."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from officeops.errors import OfficeOpsError
from officeops.probes.http import NoAnswerError, Place
from officeops.probes.reading import Reading, yes
from officeops.stack.port import Deployed, ServiceStatus, Usage, short

if TYPE_CHECKING:
    from officeops.ledger.watching import Sample
    from officeops.site import Site

_ANSWER_S = 3.0
_RECENT = timedelta(minutes=15)


def ask_services(site: Site, history: Sequence[Sample]) -> Iterable[Reading]:
    """Every service of the runbook."""
    statuses = site.stack.services()
    return [reading for one in statuses for reading in readings(one, site.stack.deployed(), history, site.clock())]


def readings(one: ServiceStatus, deployed: Deployed | None, history: Sequence[Sample], now: datetime) -> Iterator[Reading]:
    """What a service's status shows. history: earlier rounds, oldest first."""
    well = one.state == "running" and one.health in ("healthy", "unknown")
    how = one.health if one.state == "running" else one.state
    yield yes(f"{one.name}.healthy", "healthy", "" if well else f"{one.name} is {how}" + (f": {one.detail}" if one.detail else ""))
    yield Reading(f"{one.name}.restarts", "restarts", _growth(f"{one.name}.restarts_total", one.restarts, history, now), "in 15 minutes")
    yield Reading(f"{one.name}.restarts_total", "count", one.restarts)
    if one.started_at:
        yield Reading(f"{one.name}.age", "count", (now - one.started_at).total_seconds(), "seconds since it was started")
    if one.release and deployed:
        same = one.release == deployed.sha
        yield yes(f"{one.name}.release", "release", "" if same else f"runs {short(one.release)}, deployed is {short(deployed.sha)}")


def ask_migration(site: Site) -> Iterator[Reading]:
    """Whether the last release that was tried left something of its migrations behind: those before the one that failed stay. A migration
    that failed and left nothing is told by the release that failed."""
    from officeops.releases.schema import Schema

    ended = [one for outcome in ("done", "undone") for one in site.ledger.operations("rollout", outcome=outcome, limit=1)]
    if ended:
        last = max(ended, key=lambda one: one.started_at)
        failed = last.outcome == "undone" and last.facts.get("undone_from") == "expand"
        left = failed and Schema(site).current() != last.facts.get("expanded_from")
        yield yes(f"{site.config.runbook.database.service}.migration", "migration", f"{last.id}: {last.error}" if left else "")


def ask_usage(site: Site) -> Iterator[Reading]:
    """Processor and memory of each service; where it has a limit, memory as a share of it."""
    for one in site.stack.usage():
        yield from usage_readings(one)


def usage_readings(one: Usage) -> Iterator[Reading]:
    """What a service takes."""
    yield Reading(f"{one.service}.cpu", "cores", one.cpu, "cores")
    yield Reading(f"{one.service}.memory_bytes", "bytes", one.memory)
    if one.limit:
        yield Reading(f"{one.service}.memory", "memory", one.memory / one.limit, "of its limit", facts={"limit_bytes": float(one.limit)})


def ask_redis(site: Site, name: str) -> Iterator[Reading]:
    """PING, and how much of its memory it uses."""
    try:
        pong, memory = _redis(*site.stack.address(name), b"PING", b"INFO memory")
    except (OSError, ValueError, OfficeOpsError) as error:
        yield yes(f"{name}.answers", "answers", f"no answer to PING: {error or type(error).__name__}")
        return
    yield yes(f"{name}.answers", "answers", "" if pong == "PONG" else f"answered {pong!r} to PING")
    found = dict(line.split(":", 1) for line in memory.splitlines() if ":" in line)
    used, allowed = float(found.get("used_memory", 0)), float(found.get("maxmemory", 0))
    if used:
        yield Reading(f"{name}.used_memory", "bytes", used)
    if allowed:
        yield Reading(f"{name}.maxmemory", "memory", used / allowed, "of maxmemory", facts={"limit_bytes": allowed})


def ask_ollama(site: Site, name: str) -> Iterator[Reading]:
    """Its tags, with the model that the application needs among them."""
    wanted = site.config.settings.ollama_model
    try:
        host, port = site.stack.address(name)
        answer = Place(f"http://{host}:{port}").ask("/api/tags", _ANSWER_S)
        models = [str(one["name"]) for one in answer.json()["models"]]
    except (NoAnswerError, OfficeOpsError, ValueError, KeyError, TypeError) as error:
        yield yes(f"{name}.answers", "answers", f"no list of models: {error or type(error).__name__}")
        return
    yield yes(f"{name}.answers", "answers", "" if answer.status == 200 else f"answered {answer.status}")
    there = wanted in models or (":" not in wanted and f"{wanted}:latest" in models)
    yield yes(f"{name}.model", "model", "" if there else f"{wanted} is missing; it has {', '.join(models) or 'none'}")


def _growth(name: str, now_at: int, history: Sequence[Sample], now: datetime) -> float:
    """How much a counter grew in the last quarter of an hour; it begins anew when the service was started on purpose."""
    seen = [value for one in history if now - one.moment <= _RECENT and (value := one.values.get(name)) is not None]
    return sum(max(0.0, after - before) for before, after in pairwise([*seen, float(now_at)]))


def _redis(host: str, port: int, *commands: bytes) -> list[str]:
    """The answers to inline commands."""
    with socket.create_connection((host, port), _ANSWER_S) as connection:
        connection.settimeout(_ANSWER_S)
        stream = connection.makefile("rwb")
        answers = []
        for command in commands:
            words = command.split()
            stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
            stream.flush()
            answers.append(_reply(stream.readline().decode(), stream.read))
    return answers


def _reply(head: str, read: object) -> str:
    if not head:
        raise OfficeOpsError("it closed the connection")
    kind, said = head[0], head[1:].strip()
    if kind == "$":
        assert callable(read)
        return str(read(int(said) + 2).decode(errors="replace")) if int(said) >= 0 else ""
    return "" if kind == "-" else said
