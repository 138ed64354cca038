"""Free ports."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def eventually(holds: Callable[[], object], seconds: float = 60.0, what: str = "it") -> None:
    """Waits until `holds()` is true. Fails after `seconds`. A tenth of the time goes into asking: a server that is asked all the time has
    none for what is waited for."""
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if holds():
            return
        now = time.monotonic()
        assert now < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(min(0.5, max(0.05, 9 * (now - asked))))
