"""A small application with two colours on a real engine, built in seconds: one program, a database, and a front door before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from officeops.gate import Gate
from officeops.site import Site, open_site
from officeops.stack.compose.engine import COMPOSE_ONE_OFF, PROJECT, SERVICE
from officeops.stack.compose.stack import ComposeStack
from officeops.stack.port import Release
from tests.support.engine import Engine
from tests.support.paths import open_folder
from tests.support.stack import git, make_stack_site, remove_project

WEB = """\
import http.server, json, os, sys, time

class Office(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(float(self.path.partition("?wait=")[2] or 0))
        body = json.dumps({"release": os.environ["SHA"], "model": os.environ["MODEL"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

if sys.argv[1] == "serve":
    http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Office).serve_forever()
print(*sys.argv[1:], os.environ["SHA"], os.environ["MODEL"], flush=True)
time.sleep(1000 if "forever" in sys.argv else 0)
"""
COMPOSE = """\
x-logging: &logging {{driver: json-file, options: {{max-size: 10m, max-file: "3"}}}}
services:
  postgres:
    logging: *logging
    image: {postgres}
    environment: {{POSTGRES_PASSWORD: "${{POSTGRES_PASSWORD}}", POSTGRES_USER: "${{POSTGRES_USER}}", POSTGRES_DB: "${{POSTGRES_DB}}"}}
    volumes: ["data:/var/lib/postgresql/data"]
  web-blue: &web
    logging: *logging
    image: ${{COMPOSE_PROJECT_NAME}}-web:${{RELEASE_SHA}}
    pull_policy: never
    build:
      context: .
      dockerfile_inline: |
        FROM {python}
        LABEL org.opencontainers.image.revision=${{RELEASE_SHA}}
        COPY web.py /web.py
    init: true
    stop_grace_period: 1s
    restart: unless-stopped
    command: [python3, /web.py, serve]
    environment: {{SHA: "${{RELEASE_SHA}}", MODEL: "${{OLLAMA_MODEL}}"}}
  web-green: *web
  caddy:
    logging: *logging
    image: {caddy}
    restart: unless-stopped
    command: [caddy, run, --config, /etc/caddy/Caddyfile, --adapter, caddyfile]
    ports: ["127.0.0.1:${{HTTP_PORT}}:80"]
    environment: {{SITE: "http://office.example", LIKE: "a$$b"}}
    volumes: ["./caddy:/etc/caddy:ro", "${{OFFICEOPS_HOME}}/gate:/gate:ro"]
    labels: {{officeops.front-door: "8081"}}
volumes: {{data: {{}}}}
"""
CADDYFILE = """\
(by_name_first) {
	lb_policy first
	fail_duration 250ms
	lb_try_duration 5s
	lb_try_interval 25ms
}
{$SITE}, http://:8081 {
	@blue_shut file {
		root /gate
		try_files /blue.drain
	}
	handle @blue_shut {
		reverse_proxy web-green:8000 {file./gate/web-green.address}:8000 {
			import by_name_first
		}
	}
	handle {
		reverse_proxy web-blue:8000 {file./gate/web-blue.address}:8000 {
			import by_name_first
		}
	}
}
"""
RUNBOOK = """\
version: 1
stack: {name}
title: Small
application:
  compose:
    file: docker-compose.yml
    migrate: {{service: web, command: [python3, /web.py, upgrade, head]}}
services:
  postgres: {{kind: postgres}}
  web: {{kind: app, rolled: true, container_port: 8000, health: {{path: /}}, stop_grace: 1}}
  caddy: {{kind: caddy, depends_on: [web], stop_grace: 1}}
"""


@dataclass
class Office:
    """A stack that is up on `release` in blue. Tests leave it so."""

    site: Site
    stack: ComposeStack
    release: Release
    repository: Path

    @property
    def gate(self) -> Gate:
        """Its gates."""
        return Gate(self.stack)

    def commit(self, change: Callable[[Path], object] = lambda _: None) -> Release:
        """A further commit, built. change: what is done to its files; the working tree is put back."""
        file = self.repository / f"{uuid4().hex[:8]}.txt"
        file.touch()
        change(self.repository)
        git(self.repository, "add", ".")
        git(self.repository, "commit", "--quiet", "--message=Another")
        sha = git(self.repository, "rev-parse", "HEAD")
        git(self.repository, "reset", "--quiet", "--hard", self.release.sha)
        return self.stack.build(sha)

    def ask(self, colour: str, path: str = "/") -> dict[str, str]:
        """What an instance answers itself."""
        assert colour in ("blue", "green")
        answer = httpx.get(f"{self.stack.endpoint('web', colour)}{path}", timeout=30, verify=False).json()  # type: ignore[arg-type]
        assert isinstance(answer, dict)
        return answer

    def there(self, *, one_offs: bool = False) -> set[str]:
        """The Compose services that have a container, running or not."""
        labels = {PROJECT: self.stack.name, COMPOSE_ONE_OFF: str(one_offs)}
        return {one["Labels"][SERVICE] for one in self.stack.engine.containers(labels)}


@contextmanager
def small_office(engine: Engine) -> Iterator[Office]:
    """The office, up; gone afterwards."""
    with open_folder() as folder:
        repository = folder / "application"
        (repository / "caddy").mkdir(parents=True)
        images = {"postgres": "POSTGRES_IMAGE", "python": "PYTHON_IMAGE", "caddy": "CADDY_IMAGE"}
        (repository / "docker-compose.yml").write_text(COMPOSE.format(**{name: engine.env[key] for name, key in images.items()}))
        (repository / "caddy" / "Caddyfile").write_text(CADDYFILE)
        (repository / "web.py").write_text(WEB)
        git(folder, "init", "--quiet", str(repository))
        git(repository, "add", ".")
        git(repository, "commit", "--quiet", "--message=Small")
        site = make_stack_site(folder / "a 'site'", repository, OFFICEOPS_STACK="compose", **engine.env)
        (site.config.folder / "runbook.yaml").write_text(RUNBOOK.format(name=f"colours_{uuid4().hex[:8]}"))
        site = open_site(site.config.folder)
        assert isinstance(site.stack, ComposeStack)
        try:
            release = site.stack.build()
            site.stack.up(release)
            yield Office(site, site.stack, release, repository)
        finally:
            site.stack.down()
            remove_project(site)
