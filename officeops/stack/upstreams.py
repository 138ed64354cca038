"""What Caddy's admin API says of the servers behind it."""

from __future__ import annotations

import json
from collections.abc import Collection


def in_flight(said: str | bytes, addresses: Collection[str]) -> int:
    """Requests on their way to `addresses` (HOST:PORT, as the Caddyfile has them). said: the answer of `/reverse_proxy/upstreams`."""
    return sum(int(one["num_requests"]) for one in json.loads(said) or () if one["address"] in addresses)
