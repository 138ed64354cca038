"""Asking a service of the embedded stack whether it is well: empty when it is, else why not."""

from __future__ import annotations

import http.client
import socket

from officeops.runbook import Service
from officeops.settings import Settings
from officeops.stack.local import postgres


def problem(service: Service, port: int, settings: Settings, *, timeout: float = 2.5) -> str:
    """Asks once. Takes at most about `timeout` seconds."""
    match service.kind:
        case "postgres":
            return postgres.answers(port, settings.postgres_user, settings.postgres_db, timeout=timeout)
        case "redis":
            return _redis(port, timeout)
        case "ollama":
            return _http(port, "/api/version", timeout)
        case "caddy":
            return _http(settings.caddy_admin_port, "/config/apps", timeout)
        case "app":
            check = service.health
            assert check is not None, "the runbook's check lets no app without one pass"
            return _http(port, check.path, min(timeout, check.timeout))


def _http(port: int, path: str, timeout: float) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        said = response.read(400).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{path}: {error or type(error).__name__}"
    finally:
        connection.close()
    return "" if response.status == 200 else f"{path} answered {response.status}: {said}"


def _redis(port: int, timeout: float) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            reply = connection.recv(64)
    except OSError as error:
        return str(error)
    return "" if reply.startswith(b"+PONG") else f"answered {reply!r} to PING"
