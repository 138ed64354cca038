"""The other stand-ins keep the official images' promises, as far as the stack relies on them."""

from __future__ import annotations

import docker.errors
import pytest

from tests.engine.conftest import Run, Start
from tests.support.engine import Engine
from tests.support.ports import eventually

SAFE = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "tmpfs": {"/tmp": ""}}


def test_redis_answers_by_network_as_an_ordinary_user(engine: Engine, start: Start, volume: str) -> None:
    server = start(
        engine.env["REDIS_IMAGE"], ["redis-server", "--appendonly", "yes"], user="redis", volumes={volume: {"bind": "/data"}}, **SAFE
    )
    eventually(lambda: server.sh("redis-cli -h $(hostname -i) set a b") == (0, "OK"), what="Redis' start")
    assert server.sh("stat -c %u /proc/1 /data/appendonlydir") == (0, "999\n999")
    assert server.stop() == 0


def test_redis_as_root_hands_over_to_its_own_account(engine: Engine, start: Start) -> None:
    server = start(engine.env["REDIS_IMAGE"], ["--maxmemory", "8mb"])
    eventually(lambda: server.sh("redis-cli config get maxmemory")[1].endswith("8388608"), what="Redis' start")
    assert server.sh("stat -c %u /proc/1") == (0, "999")


def test_caddy_serves_its_default_page_which_its_wget_reads(engine: Engine, start: Start) -> None:
    allowed = {**SAFE, "cap_add": ["NET_BIND_SERVICE"], "tmpfs": {"/data": "", "/config": ""}}
    server = start(engine.env["CADDY_IMAGE"], user="1000", **allowed)
    eventually(lambda: "Caddy works" in server.sh("wget -q -O - http://127.0.0.1/")[1], what="Caddy's start")
    assert server.stop() == 0


def test_caddy_does_not_start_without_its_capability(engine: Engine, start: Start) -> None:
    try:
        ran = start(engine.env["CADDY_IMAGE"], cap_drop=["ALL"])
    except docker.errors.APIError as error:  # where the runtime waits for the program
        said = str(error)
    else:
        ran.container.wait()
        said = ran.logs()
    assert "operation not permitted" in said.lower()


def test_ollama_answers_for_the_models_that_were_pulled_into_its_volume(engine: Engine, start: Start, volume: str) -> None:
    def serving() -> Run:
        server = start(engine.env["OLLAMA_IMAGE"], volumes={volume: {"bind": "/root/.ollama"}})
        eventually(lambda: server.sh("ollama list")[0] == 0, what="Ollama's start")
        return server

    def chat(server: Run, model: str) -> str:
        body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "hello"}}]}}'
        script = "import sys, urllib.request as u; print(u.urlopen('http://127.0.0.1:11434/api/chat', sys.argv[1].encode()).read())"
        return server.sh('python3 -c "$SCRIPT" "$BODY"', SCRIPT=script, BODY=body)[1]

    first = serving()
    assert "gemma3:4b" not in first.sh("ollama list")[1]
    assert "404" in chat(first, "gemma3:4b")
    assert first.sh("ollama pull gemma3:4b")[0] == 0
    assert '"done": true' in chat(first, "gemma3:4b")
    assert first.stop() == 0
    second = serving()
    assert "gemma3:4b" in second.sh("ollama list")[1]
    assert "404" in chat(second, "llama3")


@pytest.mark.parametrize(
    ("image", "script", "said"),
    [
        ("PYTHON_IMAGE", "python --version && python3 -m venv /tmp/new && /tmp/new/bin/pip --version", "python 3.11"),
        ("DOCKER_CLI_IMAGE", "/usr/local/bin/docker --version && docker compose version", "Docker Compose version v2"),
    ],
)
def test_the_programs_of_an_image_work(engine: Engine, start: Start, image: str, script: str, said: str) -> None:
    ran = start(engine.env[image], ["sh", "-c", script])
    assert (ran.container.wait()["StatusCode"], said in ran.logs()) == (0, True), ran.logs()
