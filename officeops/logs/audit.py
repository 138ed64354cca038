"""How every service's log is kept, against the runbook. Containers keep the options that they were made with, whatever the file says now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from officeops.logs.collecting import keep_last_words
from officeops.releases.renewal import renew

if TYPE_CHECKING:
    from officeops.runbook.model import Logs
    from officeops.site import Site
    from officeops.stack.port import LogLimits, LogOptions


@dataclass(frozen=True)
class Finding:
    """A log of something that runs. verdict: ok; outdated: right when it is made anew; wrong: the configuration itself is. why: for people."""

    service: str
    name: str
    driver: str
    max_bytes: int | None
    files: int | None
    verdict: Literal["ok", "outdated", "wrong"]
    why: str = ""


def audit(site: Site) -> list[Finding]:
    """Of everything that runs."""
    return [judged(one, site.config.runbook.logs) for one in site.stack.log_options()]


def judged(options: LogOptions, wanted: Logs) -> Finding:
    """A pure function."""
    why = _complaint(options.now, wanted)
    if not why:
        return Finding(options.service, options.name, *_kept(options.now), "ok")
    if not (anew := _complaint(options.anew, wanted)):
        return Finding(options.service, options.name, *_kept(options.now), "outdated", f"{why}; made anew it has what the runbook says")
    return Finding(options.service, options.name, *_kept(options.now), "wrong", f"its configuration itself says so: {anew}")


def outdated(findings: list[Finding]) -> list[str]:
    """Services of which something has to be made anew."""
    return list(dict.fromkeys(one.service for one in findings if one.verdict == "outdated"))


def fix(site: Site, services: list[str]) -> list[str]:
    """Makes services anew: the rolled ones by their other colour, without an interruption; each of the others is away for as long as it takes
    to start. What they printed is collected first. The caller holds the stack's lock. Returns what was done, for people."""
    rolled, done = [one for one in services if one in site.config.runbook.rolled()], []
    for service in services:
        if service not in rolled:
            site.stack.stop(service)
            keep_last_words(site)
            site.stack.recreate(service)
            done.append(f"{service} was made anew")
    if rolled:
        colour = renew(site, why=f"old log options of {', '.join(rolled)}")
        done.append(f"{', '.join(rolled)}: made anew in {colour}, without an interruption")
    return done


def _complaint(found: LogLimits, wanted: Logs) -> str:
    if found.driver not in (wanted.driver, "supervisor"):
        return f"its driver is {found.driver}, not {wanted.driver}"
    most = wanted.max_megabytes << 20
    if found.max_bytes is None or found.max_bytes > most:
        return f"its files have {_size(found.max_bytes)}, not at most {_size(most)}"
    if found.files is None or found.files > wanted.max_files:
        return f"it has {found.files or 'any number of'} files, not at most {wanted.max_files}"
    return ""


def _kept(found: LogLimits) -> tuple[str, int | None, int | None]:
    return found.driver, found.max_bytes, found.files


def _size(count: int | None) -> str:
    return "no limit" if count is None else f"{count / (1 << 20):g} MiB"
