"""Error rate and response times of the application, from its own counters: what came since earlier rounds."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

from officeops.errors import OfficeOpsError
from officeops.probes.host import cores
from officeops.probes.reading import Reading
from officeops.releases.watch import Figures, get, parse

if TYPE_CHECKING:
    from officeops.ledger.watching import Sample
    from officeops.site import Site

_TOP = 30.0  # seconds: what a request took that is in no bucket is not known; the last bucket's bound stands for it


def ask_figures(site: Site, history: Sequence[Sample], counters: dict[str, Figures]) -> Iterator[Reading]:
    """Of each rolled service, of the colour that takes requests. counters: gets what was read, to be kept for later rounds."""
    path, deployed = site.config.runbook.releases.metrics_path, site.stack.deployed()
    if path is None or deployed is None:
        return
    allowed = site.config.runbook.probes
    begin = site.clock() - timedelta(minutes=allowed.window_minutes)
    for service in site.config.runbook.rolled():
        try:
            status, text = get(site.stack.endpoint(service, deployed.colour), path)
        except (OfficeOpsError, OSError, http.client.HTTPException):
            continue  # a service that does not answer is found by its health
        if status != 200 or not (now := parse(text)).buckets:
            continue
        key = f"{service}-{deployed.colour}"
        counters[key] = now
        seen = [one.counters[key] for one in history if one.moment >= begin and key in one.counters]
        yield from readings(service, total([*seen, now]), allowed.min_requests)


def total(counters: Sequence[Figures]) -> Figures:
    """What was added from the first to the last, whatever began anew in between."""
    added = [after.since(before) for before, after in pairwise(counters)]
    buckets: dict[float, float] = {}
    for one in added:
        for bound, count in one.buckets.items():
            buckets[bound] = buckets.get(bound, 0.0) + count
    return Figures(sum(one.requests for one in added), sum(one.errors for one in added), buckets)


def readings(service: str, found: Figures, at_least: int) -> Iterator[Reading]:
    """Too few requests prove nothing: then nothing is wrong."""
    few = found.requests < at_least
    said = f"of {found.requests:.0f} requests" + (", too few to judge" if few else "")
    yield Reading(f"{service}.error_rate", "error_rate", 0.0 if few else found.error_rate, said)
    yield Reading(f"{service}.p95", "response", 0.0 if few else min(found.p95, _TOP), said, facts=cores())
    yield Reading(f"{service}.requests", "count", found.requests, "in the window")


def stored(counters: Mapping[str, Figures]) -> dict[str, list[object]]:
    """As JSON."""
    return {
        key: [one.requests, one.errors, {("inf" if bound == inf else f"{bound:g}"): count for bound, count in one.buckets.items()}]
        for key, one in counters.items()
    }


def restored(found: Mapping[str, list[object]]) -> dict[str, Figures]:
    """What `stored` made."""
    return {key: Figures(requests, errors, {float(bound): count for bound, count in buckets.items()})  # type: ignore[arg-type, attr-defined]
            for key, (requests, errors, buckets) in found.items()}  # fmt: skip
