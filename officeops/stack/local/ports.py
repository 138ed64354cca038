"""Who has a port."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection

from officeops.errors import OfficeOpsError


def require_free(port: int, key: str, service: str, *, ours: Collection[int] = ()) -> None:
    """Raises OfficeOpsError naming the port, its key in .env and the process that holds it, unless it is free on loopback
    or one of the processes `ours` has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and _listener(port) in ours:
                return
            why = f"is in use by {holder(port)}" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise OfficeOpsError(
                f"{service} cannot start: port {port} {why}.",
                state="Nothing of it was started.",
                todo=f"End that process, or set {key} in .env to another port.",
            ) from error


def holder(port: int) -> str:
    """The process that listens on `port`, as far as this user may see."""
    import psutil

    pid = _listener(port)
    if pid is None:
        return "a process of another user"
    try:
        process = psutil.Process(pid)
        return f"{process.name()} (process {pid}, user {process.username()})"
    except psutil.Error:
        return f"process {pid}"


def _listener(port: int) -> int | None:
    import psutil

    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
            return int(connection.pid)
    return None
