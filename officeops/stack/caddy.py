"""What Caddy says, read: its admin API and its validation. The same on every stack."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

_BY_FILE = re.compile(r"\{file\.(?:.*/)?(?P<name>[^/]+)\.address\}(?P<port>:\d+)")  # see officeops/stack/compose/addresses.py


def in_flight(said: str | bytes, addresses: Collection[str]) -> int:
    """Requests on their way to `addresses` (HOST:PORT, as the Caddyfile has them, or by the file that says where HOST is). said: the answer
    of `/reverse_proxy/upstreams`."""
    return sum(int(one["num_requests"]) for one in json.loads(said) or () if _BY_FILE.sub(r"\g<name>\g<port>", one["address"]) in addresses)


def complaints(stderr: str) -> list[str]:
    """What is wrong with a Caddyfile, of what a `caddy validate` that failed wrote to stderr."""
    found = [_complaint(line) for line in stderr.splitlines()]
    return [text for text in found if text] or ["Caddy does not accept it, and does not say why."]


def _complaint(line: str) -> str:
    try:
        said = json.loads(line)
    except ValueError:
        return line.removeprefix("Error: ").strip()
    if said.get("level") not in ("error", "fatal"):
        return ""
    return ": ".join(part for part in (said.get("msg"), said.get("error")) if part)
