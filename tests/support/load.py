"""The strict load of the benchmarks on a test's running stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.load import Clients, Load, Plan, log_in, running_load
from officeops.site import Site

# One of everything, and few enough that a test beside it is not slowed down.
LIGHT = (
    Clients("get", 3, 5), Clients("post", 2, 2), Clients("one-shot", 1, 3), Clients("slow post", 1), Clients("stream", 1),
)  # fmt: skip


@contextmanager
def strict_load(site: Site, clients: Sequence[Clients] = LIGHT, *, stream_seconds: int = 3, tls_port: int | None = None) -> Iterator[Load]:
    """A load on a stack that is up and has its demonstration's data (`stack.seed`), as long as the block. Ask `end()` for its record.
    tls_port: where it speaks HTTP/2, if any of the clients do."""
    settings = site.config.settings
    plan = Plan("127.0.0.1", settings.http_port, tls_port, log_in(site), tuple(clients), stream_seconds)
    with running_load(plan) as load:
        yield load
