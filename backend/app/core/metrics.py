"""What /metrics says: requests, errors, latency, requests in flight, the pool. And a line in the log for each request, with its time."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy.pool import QueuePool

from app.core.database import engine

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
access = logging.getLogger("app.access")
registry = CollectorRegistry()
requests = Counter("http_requests_total", "Requests answered", ["method", "route", "status"], registry=registry)
errors = Counter(
    "http_errors_total", "Requests answered with a status of 500 or more, or not at all", ["method", "route"], registry=registry
)
latency = Histogram(
    "http_request_seconds", "Seconds to the end of the answer", ["method", "route"], registry=registry,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip
in_flight = Gauge("http_requests_in_flight", "Requests that are being answered", registry=registry)


def _pool() -> QueuePool:
    pool = engine.sync_engine.pool
    assert isinstance(pool, QueuePool)
    return pool


pool_size = Gauge("db_pool_size", "Connections that the pool may have", registry=registry)
pool_size.set_function(lambda: _pool().size())
pool_in_use = Gauge("db_pool_in_use", "Connections in use", registry=registry)
pool_in_use.set_function(lambda: _pool().checkedout())

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Measured:
    """ASGI middleware: counts and times every request to the last byte of its answer."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, whole, began = 500, False, time.perf_counter()

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        in_flight.inc()
        try:
            await self._app(scope, receive, noting)
            whole = True
        finally:
            in_flight.dec()
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in _METHODS else "other"  # anybody may make one up
            requests.labels(method, route, status).inc()
            seconds = time.perf_counter() - began
            latency.labels(method, route).observe(seconds)
            if status >= 500 or not whole:
                errors.labels(method, route).inc()
            client = (scope.get("client") or ("-",))[0]
            access.info('%s "%s %s" %s %.1f ms', client, method, quote(scope["path"]), status if whole else "broken off", 1000 * seconds)
