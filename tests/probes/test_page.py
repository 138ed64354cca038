"""The white screen: a page with all that it names."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from officeops.probes.web import ask_page, named_by
from officeops.runbook.watching import PageProbe

PAGE = b"""<!doctype html><html><head><link rel="stylesheet" href="/app.css"><link rel="icon" href="icon.svg">
<script type="module" src="/app.js"></script><script src="https://elsewhere.example/x.js"></script></head><body></body></html>"""
GOOD = {
    "/": ("text/html", PAGE),
    "/app.css": ("text/css", b"body {}"),
    "/icon.svg": ("image/svg+xml", b"<svg/>"),
    "/app.js": ("text/javascript", b'import { ask } from "./api.js";\nask();'),
    "/api.js": ("text/javascript", b"export const ask = () => 1;"),
}


@pytest.fixture
def served() -> Iterator[tuple[Any, dict[str, tuple[str, bytes]]]]:
    """A site whose front door serves what the test says."""
    files = dict(GOOD)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = files.get(self.path, ("text/plain", b""))
            self.send_response(200 if self.path in files else 404)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack = SimpleNamespace(front_door=lambda: f"http://127.0.0.1:{server.server_port}")
    settings = SimpleNamespace(officeops_stack="local", site_address="")
    yield SimpleNamespace(stack=stack, config=SimpleNamespace(settings=settings)), files
    server.shutdown()
    server.server_close()


def problem(site: Any) -> str:
    shown, _count = ask_page(site, "page", PageProbe(service="frontend"))
    assert shown.name == "frontend.page"
    assert (shown.value == 1.0) == (shown.detail == "")
    return shown.detail


def test_a_whole_page(served: Any) -> None:
    site, _files = served
    assert problem(site) == ""
    assert next(one.value for one in ask_page(site, "page", PageProbe(service="frontend")) if one.name.endswith("assets")) == 4


@pytest.mark.parametrize(
    ("path", "given", "said"),
    [
        ("/", None, "/ answered 404"),
        ("/app.css", None, "/app.css answered 404"),
        ("/app.js", ("text/javascript", b"  \n"), "/app.js is empty"),
        ("/app.js", ("text/html", PAGE), "/app.js is text/html, not javascript"),
        ("/api.js", None, "/api.js answered 404"),
        ("/icon.svg", ("text/html", b"<html>"), "/icon.svg is text/html, not image"),
    ],
)
def test_one_thing_that_is_not_right_makes_a_white_screen(served: Any, path: str, given: tuple[str, bytes] | None, said: str) -> None:
    site, files = served
    files.pop(path)
    if given:
        files[path] = given
    assert problem(site) == said


def test_only_what_is_the_sites_own_is_asked_for() -> None:
    assert [address for address, _ in named_by(PAGE.decode())] == ["/app.css", "icon.svg", "/app.js"]
