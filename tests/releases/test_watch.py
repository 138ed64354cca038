"""The figures of a new release against what the runbook allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from officeops.releases.watch import BreachError, Figures, Watch, parse
from officeops.runbook.model import Releases
from officeops.stack.port import ServiceStatus

TEXT = """
# HELP http_requests_total Requests answered
# TYPE http_requests_total counter
http_requests_total{method="GET",route="/health",status="200"} 90.0
http_requests_total{method="POST",route="/api",status="500"} 10.0
http_errors_total{method="POST",route="/api"} 10.0
http_request_seconds_bucket{le="0.5",method="GET",route="/health"} 80.0
http_request_seconds_bucket{le="1.0",method="GET",route="/health"} 90.0
http_request_seconds_bucket{le="+Inf",method="GET",route="/health"} 90.0
http_request_seconds_bucket{le="0.5",method="POST",route="/api"} 4.0
http_request_seconds_bucket{le="1.0",method="POST",route="/api"} 10.0
http_request_seconds_bucket{le="+Inf",method="POST",route="/api"} 10.0
db_pool_size 10.0
"""


def test_the_figures_of_all_routes_are_added() -> None:
    found = parse(TEXT)
    assert (found.requests, found.errors) == (100, 10)
    assert found.buckets == {0.5: 84, 1.0: 100, inf: 100}
    assert (found.error_rate, found.p95) == (0.1, 1.0)


def test_without_requests_nothing_is_wrong() -> None:
    assert (Figures().error_rate, Figures().p95) == (0, 0)


def test_what_came_since_is_the_difference() -> None:
    before, now = Figures(100, 10, {1.0: 90, inf: 100}), Figures(140, 12, {1.0: 110, inf: 140})
    assert now.since(before) == Figures(40, 2, {1.0: 20, inf: 40})
    assert now.since(before).p95 == inf


def test_counters_that_began_anew_count_from_their_beginning() -> None:
    assert Figures(5, 1, {inf: 5}).since(Figures(100, 10, {inf: 100})) == Figures(5, 1, {inf: 5})


@dataclass
class World:
    """A site whose services and figures the test says."""

    services: list[ServiceStatus] = field(default_factory=lambda: [status()])
    figures: dict[str, Figures] = field(default_factory=lambda: {"backend": Figures(1000, 500, {1.0: 1000, inf: 1000})})

    def watch(self, **allowed: Any) -> Watch:
        runbook = SimpleNamespace(releases=Releases(**allowed), rolled=lambda: ("backend",))
        site: Any = SimpleNamespace(
            stack=SimpleNamespace(instances=lambda _: self.services), config=SimpleNamespace(runbook=runbook, settings=None)
        )
        return Watch(site, "green", lambda: self.figures)

    def serve(self, requests: float, errors: float = 0, slow: float = 0) -> None:
        old = self.figures["backend"]
        buckets = {1.0: old.buckets[1.0] + requests - slow, 10.0: old.buckets.get(10.0, 1000) + requests, inf: old.buckets[inf] + requests}
        self.figures = {"backend": Figures(old.requests + requests, old.errors + errors, buckets)}


def status(**changed: Any) -> ServiceStatus:
    given = {"state": "running", "health": "healthy", "restarts": 0, "release": "a" * 40, "started_at": None, **changed}
    return ServiceStatus("backend", **given)


def test_what_happened_before_it_served_does_not_count() -> None:
    world = World()
    watch = world.watch()
    world.serve(1000, errors=50)
    watch.check()


@pytest.mark.parametrize(
    ("requests", "errors", "breach"), [(20, 1, False), (19, 19, False), (20, 2, True), (1000, 51, True), (1000, 50, False)]
)
def test_more_failures_than_the_runbook_allows_are_a_breach_once_enough_was_asked(requests: int, errors: int, breach: bool) -> None:
    world = World()
    watch = world.watch()
    world.serve(requests, errors)
    if breach:
        with pytest.raises(BreachError, match=r"backend of the new release fails \d+\.\d% of \d+ requests"):
            watch.check()
    else:
        watch.check()


@pytest.mark.parametrize(("slow", "breach"), [(5, False), (6, True)])
def test_more_slow_answers_than_the_runbook_allows_are_a_breach(slow: int, breach: bool) -> None:
    world = World()
    watch = world.watch(max_p95_seconds=1.0)
    world.serve(100, slow=slow)
    if breach:
        with pytest.raises(BreachError, match="95th percentile 10 s"):
            watch.check()
    else:
        watch.check()


@pytest.mark.parametrize("changed", [{"restarts": 1}, {"state": "failed"}, {"state": "restarting"}, {"state": "stopped"}], ids=str)
def test_a_service_that_ends_by_itself_is_a_breach(changed: dict[str, Any]) -> None:
    world = World()
    watch = world.watch()
    world.services = [status(**changed)]
    with pytest.raises(BreachError, match="ended by itself"):
        watch.check()


def test_a_service_that_is_not_ready_once_is_forgiven_and_three_times_in_a_row_is_not() -> None:
    world = World()
    watch = world.watch()
    ill, well = [status(health="unhealthy", detail="503")], [status()]
    for services in (ill, ill, well, ill, ill):
        world.services = services
        watch.check()
    world.services = ill
    with pytest.raises(BreachError, match="not ready any more: 503"):
        watch.check()
