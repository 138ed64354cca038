"""Asking a service itself whether it is well: empty when it is, else why not."""

from __future__ import annotations

import http.client
import socket

from officeops.runbook import Service
from officeops.settings import Settings
from officeops.stack.local import postgres


def problem(service: Service, host: str, port: int, settings: Settings, *, admin_port: int | None = None, timeout: float = 2.5) -> str:
    """Asks once. Takes at most about `timeout` seconds. admin_port: where Caddy's admin API is, if it can be asked."""
    match service.kind:
        case "postgres":
            return postgres.answers(port, settings.postgres_user, settings.postgres_db, host=host, timeout=timeout)
        case "redis":
            return _redis(host, port, timeout)
        case "ollama":
            return _http(host, port, "/api/version", timeout)
        case "caddy" if admin_port is not None:
            return _http(host, admin_port, "/config/apps", timeout)
        case "caddy":
            return _http(host, port, "/", timeout, any_status=True)
        case "app":
            check = service.health
            assert check is not None, "the runbook's check lets no app without one pass"
            return _http(host, port, check.path, min(timeout, check.timeout))
        case "other":
            return ""  # nobody here knows how


def _http(host: str, port: int, path: str, timeout: float, *, any_status: bool = False) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        said = response.read(400).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{path}: {error or type(error).__name__}"
    finally:
        connection.close()
    return "" if any_status or response.status == 200 else f"{path} answered {response.status}: {said}"


def _redis(host: str, port: int, timeout: float) -> str:
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            reply = connection.recv(64)
    except OSError as error:
        return str(error)
    return "" if reply.startswith(b"+PONG") else f"answered {reply!r} to PING"
