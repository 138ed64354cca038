"""What the engine says of a container, in the words of the port. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from officeops.stack.port import Colour, Health, ServiceStatus, State, Usage
from officeops.stack.releases import NAME

_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"(.*?T\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$")
_STATES: dict[str, State] = {
    "running": "running", "paused": "stopping", "restarting": "restarting", "removing": "stopping", "created": "stopped", "dead": "failed",
}  # fmt: skip
_ASKED_TO_STOP = (0, 137, 143)  # its own way out, SIGKILL after the grace, SIGTERM
_COMES_BACK = ("always", "unless-stopped")
Inspected = Mapping[str, Any]


def state(found: Inspected) -> State:
    """A container that would have come back by itself and is not there was stopped on purpose."""
    word = str(found["State"]["Status"])
    if word != "exited":
        return _STATES[word]
    on_purpose = found["HostConfig"]["RestartPolicy"]["Name"] in _COMES_BACK or found["State"]["ExitCode"] in _ASKED_TO_STOP
    return "stopped" if on_purpose else "failed"


def status(name: str, found: Inspected | None, *, app: bool, problem: str | None, colour: Colour | None = None) -> ServiceStatus:
    """problem: what asking the service itself showed just now: empty when it is well, None when it cannot be asked."""
    if found is None:
        return ServiceStatus(name, "stopped", "unknown", 0, None, None, colour=colour)
    now = state(found)
    healthy, why = health(found, problem) if now in ("running", "restarting") else ("unknown", "")
    if now == "restarting":
        healthy, why = "unhealthy", f"it ended with status {found['State']['ExitCode']} and is started again"
    elif now == "failed":
        why = f"it ended with status {found['State']['ExitCode']}"
    sha = release(found) if app else None
    return ServiceStatus(name, now, healthy, int(found["RestartCount"]), sha, started_at(found), why, colour)


def health(found: Inspected, problem: str | None) -> tuple[Health, str]:
    """Asking now goes before the container's own healthcheck, which is as old as its interval."""
    if problem is not None:
        return ("unhealthy", problem) if problem else ("healthy", "")
    own = found["State"].get("Health")
    if own is None or own["Status"] == "none":
        return "healthy", ""  # it runs, and nobody said how to ask it
    if own["Status"] == "unhealthy":
        last = (own.get("Log") or [{"Output": ""}])[-1]
        return "unhealthy", str(last["Output"]).strip() or "its healthcheck failed"
    return ("healthy", "") if own["Status"] == "healthy" else ("starting", "its healthcheck has not answered yet")


def release(found: Inspected) -> str | None:
    """The commit that the container's image was made of: its tag, else its label."""
    tag = str(found["Config"]["Image"]).rpartition(":")[2]
    label = (found["Config"].get("Labels") or {}).get("org.opencontainers.image.revision")
    return tag if NAME.fullmatch(tag) else label


def started_at(found: Inspected) -> datetime | None:
    """When it was started last; None when it never was."""
    at = time(str(found["State"]["StartedAt"]))
    return at if at > _NEVER else None


def time(text: str) -> datetime:
    """The engine's time, cut to microseconds."""
    found = _TIME.match(text)
    assert found is not None, text
    zone = "+00:00" if found[3] == "Z" else found[3]
    return datetime.fromisoformat(f"{found[1]}.{(found[2] or '0')[:6]:0<6}{zone}")


def address(found: Inspected) -> tuple[str, str] | None:
    """Its first network and its address there; None when it has none (stopped, or on the host's own network)."""
    networks = found["NetworkSettings"]["Networks"] or {}
    return next(((name, one["IPAddress"]) for name, one in sorted(networks.items()) if one["IPAddress"]), None)


def usage(service: str, found: Mapping[str, Any]) -> Usage | None:
    """What `docker stats` shows, in cores instead of percent. found: a sample, which has the one before it. None when it stopped meanwhile."""
    try:
        busy = found["cpu_stats"]["cpu_usage"]["total_usage"] - found["precpu_stats"]["cpu_usage"]["total_usage"]
        passed = (time(found["read"]) - time(found["preread"])).total_seconds()
        memory = found["memory_stats"]
        cache = memory["stats"].get("inactive_file", memory["stats"].get("total_inactive_file", 0))  # cgroup 2, cgroup 1
        limit = memory.get("limit", 0)
        own = limit if 0 < limit < _host_memory() else None  # without one the engine says what the host has
        return Usage(service, max(0.0, busy / 1e9 / passed), max(0, memory["usage"] - cache), own)
    except (KeyError, ZeroDivisionError):
        return None


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
