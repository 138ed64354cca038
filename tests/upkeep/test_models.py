"""Ollama's model is fetched anew; what was there before is there again unless the new one answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from officeops.errors import OfficeOpsError
from officeops.site import Site
from officeops.upkeep import models

NAME, BEFORE = "gemma3:12b", "officeops-before"


@dataclass
class Ollama:
    """A model's digests by name. newest: what a fetch brings. mute: digests that do not answer. copies: it can copy."""

    tags: dict[str, str] = field(default_factory=lambda: {NAME: "old"})
    newest: str = "new"
    mute: set[str] = field(default_factory=set)
    copies: bool = True

    def do(self, path: str, body: dict[str, str]) -> tuple[int, object]:
        """As the real one does."""
        match path:
            case "/api/tags":
                return 200, {"models": [{"name": name, "digest": digest} for name, digest in self.tags.items()]}
            case "/api/copy" if self.copies:
                self.tags[body["destination"]] = self.tags[body["source"]]
                return 200, None
            case "/api/delete":
                del self.tags[body["model"]]
                return 200, None
            case "/api/pull":
                self.tags[body["model"]] = self.newest
                return 200, {"status": "success"}
            case "/api/generate":
                return 200, {"response": "" if self.tags[body["model"]] in self.mute else "Yes."}
            case _:
                return 404, {"error": "not found"}


@contextmanager
def listening(ollama: Ollama) -> Iterator[int]:
    """Its port."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
            status, answer = ollama.do(self.path, body)
            said = b"" if answer is None else json.dumps(answer).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_DELETE = _do

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def ollama(new_site: Callable[..., Site]) -> Iterator[tuple[Ollama, Site]]:
    """It, and a site whose runbook has it."""
    known = Ollama()
    with listening(known) as port:
        site = new_site(OLLAMA_PORT=str(port))
        runbook = site.config.folder / "runbook.yaml"
        runbook.write_text(runbook.read_text().replace("  caddy:", "  ollama: {kind: ollama, port: OLLAMA_PORT}\n  caddy:"))
        from officeops.site import open_site

        yield known, open_site(site.config.folder)


def test_a_newer_one_takes_its_place(ollama: tuple[Ollama, Site]) -> None:
    known, site = ollama
    (done,) = models.renew(site)
    assert (done.name, done.before, done.after, done.note) == (NAME, "old", "new", "")
    assert known.tags == {NAME: "new"}
    assert site.ledger.operations("model") == []


def test_one_that_does_not_answer_gives_way_to_the_one_from_before(ollama: tuple[Ollama, Site]) -> None:
    known, site = ollama
    known.mute.add("new")
    with pytest.raises(OfficeOpsError, match="does not answer") as caught:
        models.renew(site)
    assert "from before is in use" in caught.value.state
    assert known.tags == {NAME: "old"}
    assert site.ledger.operations("model") == []


def test_one_that_cannot_be_kept_stays_as_it_is(ollama: tuple[Ollama, Site]) -> None:
    known, site = ollama
    known.copies = False
    (done,) = models.renew(site)
    assert (done.before, done.after) == ("old", "old")
    assert "stays as it is" in done.note
    assert known.tags == {NAME: "old"}


def test_what_a_killed_run_left_is_put_back(ollama: tuple[Ollama, Site]) -> None:
    known, site = ollama
    known.tags = {NAME: "new", BEFORE: "old"}
    site.ledger.begin("model", "model-killed", service="ollama", model=NAME)
    models.put_in_order(site)
    assert known.tags == {NAME: "old"}
    assert site.ledger.operations("model") == []
