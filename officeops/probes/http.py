"""Small requests by the standard library: a probe must not take longer to be imported than to be asked."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

_MOST = 1 << 22  # bytes of an answer that are read


class NoAnswerError(Exception):
    """Nobody answered, or not to the end."""


@dataclass(frozen=True)
class Answer:
    """seconds: to the last byte."""

    status: int
    type: str
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        """As UTF-8."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Place:
    """Where something answers: `http(s)://HOST:PORT`, and the name that it is asked by. Certificates are looked at elsewhere."""

    url: str
    host: str = "localhost"

    def ask(
        self, path: str, timeout: float, *, method: str = "GET", body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request. body: sent as JSON. Raises NoAnswerError, with how long it took in words."""
        began = time.monotonic()
        connection = self._connection(timeout)
        sent = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, sent, {"Host": self.host, **kind, **(headers or {})})
            response = connection.getresponse()
            whole = response.read(_MOST)
            return Answer(response.status, response.headers.get("content-type", ""), whole, time.monotonic() - began)
        except TimeoutError as error:
            raise NoAnswerError(f"{path} did not answer within {timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(f"{path}: {error or type(error).__name__}") from error
        finally:
            connection.close()

    @property
    def tls(self) -> bool:
        """Whether it is asked by TLS."""
        return self.url.startswith("https:")

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        if not self.tls:
            return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        return _Named(parts.hostname or "", parts.port, self.host, timeout)


class _Named(http.client.HTTPSConnection):
    """TLS to an address under a name that does not resolve to it."""

    def __init__(self, address: str, port: int | None, name: str, timeout: float) -> None:
        super().__init__(address, port, timeout=timeout, context=unverified())
        self._name = name

    def connect(self) -> None:
        """To the address, by the name."""
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = unverified().wrap_socket(plain, server_hostname=self._name)


@cache
def unverified() -> ssl.SSLContext:
    """Takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
