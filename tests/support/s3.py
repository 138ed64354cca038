"""A real S3 API on loopback (moto's server), and a proxy before it that misbehaves when told to."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from officeops.process import Command, started
from tests.support.ports import eventually, free_ports

KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "a-secret-for-tests-only"}


@dataclass
class S3Endpoint:
    """A running S3 API."""

    url: str

    def new_bucket(self) -> str:
        """The name of a bucket of its own."""
        name = f"bucket-{uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def client(self) -> Any:
        """A plain boto3 client, to look with other eyes."""
        return _client(self.url)


@cache
def _client(url: str) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )


@contextmanager
def running_s3() -> Iterator[S3Endpoint]:
    """A server of its own, stopped after the block."""
    port = free_ports(1)[0]
    short_pages = {"MOTO_S3_DEFAULT_MAX_KEYS": "10"}
    with started(Command((sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)), short_pages), timeout=3600):
        eventually(lambda: _answers(port), what="moto's start")
        yield S3Endpoint(f"http://127.0.0.1:{port}")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


_CODES = {403: "AccessDenied", 409: "ConditionalRequestConflict", 501: "NotImplemented", 503: "SlowDown", 507: "XMinioStorageFull"}

# What a proxy does with a request: pass it on, answer with a status, or cut its answer after so many bytes
Verdict = int | str | None
Judge = Callable[[str, str], Verdict]


@contextmanager
def misbehaving(endpoint: S3Endpoint, judge: Judge, *, one_at_a_time: bool = False) -> Iterator[S3Endpoint]:
    """The same API behind a proxy. judge(method, path) says None (pass on), a status, or "cut:BYTES".

    one_at_a_time: it makes conditional writes atomic, as real stores have them and moto has not."""
    host = endpoint.url.removeprefix("http://")
    turn = threading.Lock() if one_at_a_time else nullcontext()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            verdict = judge(self.command, self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if isinstance(verdict, int):
                text = f"<Error><Code>{_CODES.get(verdict, 'InternalError')}</Code><Message>told to fail</Message></Error>".encode()
                self.send_response(verdict)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)
                return
            with turn, closing(http.client.HTTPConnection(host, timeout=30)) as upstream:
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                data = answer.read()
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(key, value)
            self.end_headers()
            if isinstance(verdict, str):
                self.wfile.write(data[: int(verdict.removeprefix("cut:"))])
                self.close_connection = True
                return
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield S3Endpoint(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
