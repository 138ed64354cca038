"""The page as it is served: whole, in both languages, and allowed nothing that it does not need."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from officeops.process import Command
from officeops.stack.local.programs import caddy
from tests.support.backend import CADDYFILE, Server
from tests.support.paths import open_folder
from tests.support.ports import free_ports

FRONTEND = CADDYFILE.parent.parent / "frontend"
FILES = sorted(path for path in FRONTEND.iterdir() if path.is_file())
MODULES = [path for path in FILES if path.suffix == ".js"]


@pytest.fixture(scope="module")
def front() -> Iterator[httpx.Client]:
    """The front door with the page behind it, as on the embedded stack."""
    pages_port, front_port, admin_port = free_ports(3)
    with open_folder() as folder:
        homes = {"XDG_DATA_HOME": os.fspath(folder), "XDG_CONFIG_HOME": os.fspath(folder)}
        pages_argv = (str(caddy()), "file-server", "--root", str(FRONTEND), "--listen", f"127.0.0.1:{pages_port}")
        pages = Server(Command(pages_argv, homes), pages_port)
        site = {"SITE_ADDRESS": f":{front_port}", "SITE_BIND": "127.0.0.1", "CADDY_ADMIN": f"127.0.0.1:{admin_port}"}
        upstreams = {"FRONTEND_BLUE": f"127.0.0.1:{pages_port}"}
        nobody = {f"{name}_{colour}": "127.0.0.1:1" for name, colour in (("BACKEND", "BLUE"), ("BACKEND", "GREEN"), ("FRONTEND", "GREEN"))}
        gate = {"GATE_DIR": os.fspath(folder)}
        (folder / "green.drain").touch()
        door = Server(
            Command((str(caddy()), "run", "--config", str(CADDYFILE)), {**homes, **site, **nobody, **upstreams, **gate}), front_port
        )
        try:
            pages.start()
            door.start()
            with httpx.Client(base_url=f"http://127.0.0.1:{front_port}", timeout=30) as client:
                yield client
        finally:
            door.stop()
            pages.stop()


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "text/html"), ("/app.css", "text/css"), ("/favicon.svg", "image/svg+xml"), *((f"/{one.name}", "text/javascript") for one in MODULES)]
)  # fmt: skip
def test_every_file_is_served_as_what_it_is(front: httpx.Client, path: str, kind: str) -> None:
    answer = front.get(path)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, kind)


@pytest.mark.parametrize(
    ("header", "value"),
    [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("referrer-policy", "no-referrer"), ("cache-control", "no-cache")],
)
def test_the_page_is_served_with_its_protections(front: httpx.Client, header: str, value: str) -> None:
    assert front.get("/").headers[header] == value


@pytest.mark.parametrize("rule", ["default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"])
def test_the_policy_has_the_browser_refuse_what_is_not_ours(front: httpx.Client, rule: str) -> None:
    assert rule in front.get("/").headers["content-security-policy"].split("; ")


def test_the_page_names_only_files_that_are_there() -> None:
    named = re.findall(r'(?:href|src)="/([^"]*)"', _text("index.html"))
    assert set(named) - {path.name for path in FILES} == set()


def test_the_page_loads_every_module_at_once() -> None:
    assert {path.name for path in MODULES} - set(re.findall(r'"/([a-z]+\.js)"', _text("index.html"))) == set()


@pytest.mark.parametrize("forbidden", [r"<script(?![^>]* src=)", r"<style", r"\sstyle=", r"\son[a-z]+="])
def test_the_page_has_nothing_inline_that_the_policy_would_refuse(forbidden: str) -> None:
    assert re.findall(forbidden, _text("index.html")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_another_host(path: Path) -> None:
    """Namespaces are names, not addresses."""
    assert set(re.findall(r"""(?:https?:)?//[a-z0-9-]+\.[a-z0-9.-]+[^\s"']*""", path.read_text("utf-8"))) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_markup_is_made_of_data(path: Path) -> None:
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text("utf-8")) == []


def test_both_languages_say_the_same_things() -> None:
    english, japanese = (_texts(language) for language in ("en", "ja"))
    assert english.keys() == japanese.keys()


def test_both_languages_have_room_for_the_same_facts() -> None:
    english, japanese = (_texts(language) for language in ("en", "ja"))
    assert {key: _facts(text) for key, text in english.items()} == {key: _facts(text) for key, text in japanese.items()}


def test_every_text_that_the_page_asks_for_exists() -> None:
    asked = set(re.findall(r'data-t(?:-label)?="(\w+)"', _text("index.html")))
    for path in MODULES:
        asked |= set(re.findall(r'\bt\("(\w+)"', path.read_text("utf-8")))
    assert asked - _texts("en").keys() == set()


def test_every_part_that_the_scripts_ask_for_is_in_the_page() -> None:
    asked = {name for path in MODULES for name in re.findall(r'part\("([\w-]+)"\)', path.read_text("utf-8"))}
    assert asked - set(re.findall(r'\bid="([\w-]+)"', _text("index.html"))) == set()


def _text(name: str) -> str:
    return (FRONTEND / name).read_text("utf-8")


def _texts(language: str) -> dict[str, str]:
    """What the page says in a language, by key."""
    block = re.search(rf"^  {language}: \{{\n(.*?)^  \}},", _text("text.js"), re.DOTALL | re.MULTILINE)
    assert block, f"text.js has no {language}"
    return dict(re.findall(r'^    (\w+): "(.*)",$', block[1], re.MULTILINE))


def _facts(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))
