"""A whole stack in a folder of its own: the project's real application, committed to a git repository that the test makes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psutil

from officeops.process import Command, run
from officeops.settings.env import quoted
from officeops.settings.generate import ensure_env
from officeops.settings.model import PORTS
from officeops.site import Site, open_site
from officeops.stack.compose import engine as docker_engine
from officeops.stack.compose.commands import STACK
from officeops.stack.compose.names import named
from officeops.stack.local.programs import name_of
from officeops.stack.local.supervisor import Supervisor
from officeops.stack.port import Release, ServiceStatus, Stack
from tests.support.engine import Engine
from tests.support.paths import open_folder
from tests.support.ports import free_ports

PROJECT = Path(__file__).resolve().parent.parent.parent
# What a supervisor's configuration, a shell, a URL or a format string would each trip over.
ODD = {
    "POSTGRES_PASSWORD": "ödd pass'wörd {sha} 100 % $HOME \\n ; # @/:?&=",
    "JWT_SECRET_KEY": 'a "key" of {many} odd % characters: $PATH, \\\\, ‘日本語’, {} and %(here)s',
    "DEMO_PASSWORD": "{jwt_secret_key} ' \" \\ %s $$ 合言葉",
}
APPLICATION = ("backend", "frontend", "caddy", "docker-compose.yml", ".env.example")


@dataclass
class RunningStack:
    """A stack that is up, on `release`. What only its adapter can do: kill a service, reach one."""

    site: Site
    release: Release
    pid: Callable[[str], int]  # of a service's first process on this host

    @property
    def stack(self) -> Stack:
        return self.site.stack

    def service(self, name: str) -> ServiceStatus:
        """Its status now."""
        return next(one for one in self.stack.services() if one.name == name)

    def kill(self, service: str) -> None:
        """As a lack of memory would."""
        os.kill(self.pid(service), 9)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Through the front door."""
        return httpx.get(f"http://127.0.0.1:{self.site.config.settings.http_port}{path}", headers=headers, timeout=30, verify=False)


def supervisor(site: Site) -> Supervisor:
    """The supervisor of the site's stack."""
    return Supervisor(site.home, "stack")


def pid_under_supervisor(site: Site, service: str) -> int:
    """The first process of a service; of a rolled one that of the colour that takes requests."""
    deployed, rolled = site.stack.deployed(), site.config.runbook.services[service].rolled
    return supervisor(site).status_of(name_of(service, deployed.colour if deployed and rolled else None)).pid or 0


def processes(site: Site) -> dict[int, list[str]]:
    """Everything that runs from the site's folder: command lines by process id."""
    found = {}
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line, folder = process.info["cmdline"] or [], process.info["cwd"] or ""
        if any(str(site.home) in part for part in [*line, folder]) and process.pid != os.getpid():
            found[process.pid] = line
    return found


def git(repository: Path, *arguments: str) -> str:
    """Runs git there, as somebody."""
    identity = {f"GIT_{who}_{what}": "tester@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return run(Command(("git", "-C", str(repository), *arguments), identity), timeout=60).stdout.decode().strip()


def make_repository(folder: Path) -> Path:
    """A repository with the application in its one commit."""
    repository = folder / "application"
    repository.mkdir(parents=True)
    for name in APPLICATION:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, repository / name, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
        else:
            shutil.copy(source, repository / name)
    git(folder, "init", "--quiet", "--initial-branch=main", str(repository))
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message=The application")
    return repository


def commit_beside(repository: Path, files: Mapping[str, str]) -> str:
    """The sha of a commit on top of the repository's, with these files; HEAD and the working tree
    stay as they are."""
    git(repository, "checkout", "--quiet", "--detach")
    try:
        for name, text in files.items():
            (repository / name).write_text(text, encoding="utf-8")
        git(repository, "add", ".")
        git(repository, "commit", "--quiet", "--message=Another release")
        sha = git(repository, "rev-parse", "HEAD")
        git(repository, "branch", f"beside-{sha[:12]}")  # so that it is not cleared away
        return sha
    finally:
        git(repository, "checkout", "--quiet", "--force", "main")


def make_stack_site(folder: Path, repository: Path, *, edit: Callable[[str], str] = str, **env: str) -> Site:
    """A site with odd secrets on free ports; nothing of it runs. edit: changes the text of its runbook. env: further keys of .env."""
    folder.mkdir(parents=True, exist_ok=True)
    runbook = (PROJECT / "runbook.yaml").read_text().replace('"50000"', '"300"')
    (folder / "runbook.yaml").write_text(edit(runbook))
    shutil.copy(PROJECT / ".env.example", folder)
    ports = {name.upper(): str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    ensure_env(folder, {**ports, **{key: quoted(value) for key, value in {**ODD, "OFFICEOPS_APP": str(repository), **env}.items()}})
    return open_site(folder)


@contextmanager
def running_local(repository: Path, *, edit: Callable[[str], str] = str) -> Iterator[RunningStack]:
    """The embedded stack, in a folder whose name is long and odd; gone after the block."""
    with open_folder() as folder:
        site = make_stack_site(folder / "a folder with 'quotes' and 100 % $more" / "事務所" / ("long" * 30), repository, edit=edit)
        try:
            release = site.stack.build()
            site.stack.up(release)
            yield RunningStack(site, release, lambda service: pid_under_supervisor(site, service))
        finally:
            site.stack.down()


@contextmanager
def running_compose(repository: Path, engine: Engine) -> Iterator[RunningStack]:
    """The Compose stack under a name of its own; gone after the block, with its volumes and images."""
    with open_folder() as folder:
        site = make_stack_site(
            folder / "a folder with 'quotes', a comma and $more" / "事務所", repository, OFFICEOPS_STACK="compose", **engine.env
        )
        runbook = site.config.folder / "runbook.yaml"
        runbook.write_text(runbook.read_text().replace("stack: smartoffice_ai", f"stack: office_{uuid4().hex[:8]}"))
        site = open_site(site.config.folder)
        try:
            release = site.stack.build()
            site.stack.up(release)
            yield RunningStack(site, release, lambda service: pid_in_container(site, service))
        finally:
            site.stack.down()
            remove_project(site)


def pid_in_container(site: Site, service: str) -> int:
    """The first process of a service's container, as this host numbers it."""
    docker, deployed = docker_engine.Engine(), site.stack.deployed()
    name = named(site.config.runbook, service, deployed.colour if deployed else "blue")
    (one,) = docker.containers({docker_engine.PROJECT: site.name, docker_engine.SERVICE: name}, running_only=True)
    found = docker.inspect(one["Id"])
    assert found is not None
    return int(found["State"]["Pid"])


def remove_project(site: Site) -> None:
    """Volumes and images of a project that is down. What the build kept for the next one stays."""
    api = docker_engine.Engine().api
    for label in (docker_engine.PROJECT, STACK):
        for volume in api.volumes(filters={"label": f"{label}={site.name}"})["Volumes"] or []:
            api.remove_volume(volume["Name"], force=True)
    for image in api.images():
        for tag in image["RepoTags"] or []:
            if tag.startswith(f"{site.name}-"):
                api.remove_image(tag, force=True)


def readable_python(folder: Path) -> Path:
    """A Python with this environment's packages that every account can run: ours, or a copy when it lies in somebody's private folder."""
    if all(part.stat().st_mode & 0o001 for part in Path(sys.base_prefix).resolve().parents):
        return Path(sys.executable)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base, environment = folder / "base", folder / "environment"
    shutil.copytree(
        Path(sys.base_prefix) / "lib" / version, base / "lib" / version,
        ignore=shutil.ignore_patterns("site-packages", "test", "__pycache__", "config-*", "idlelib", "tkinter"),
    )  # fmt: skip
    for library in (Path(sys.base_prefix) / "lib").glob("libpython*"):
        shutil.copy2(library, base / "lib")
    (base / "bin").mkdir()
    program = (Path(sys.base_prefix) / "bin" / version).read_bytes()
    theirs, ours = f"{sys.base_prefix}/lib".encode(), b"$ORIGIN/../lib"  # where it looks for its library
    (base / "bin" / version).write_bytes(program.replace(theirs + b"\0", ours.ljust(len(theirs) + 1, b"\0")))
    (base / "bin" / version).chmod(0o755)
    (environment / "bin").mkdir(parents=True)
    (environment / "lib" / version).mkdir(parents=True)
    (environment / "pyvenv.cfg").write_text(f"home = {base / 'bin'}\ninclude-system-site-packages = false\n")
    (environment / "bin" / "python").symlink_to(base / "bin" / version)
    for tool in ("uv", "caddy"):
        (environment / "bin" / tool).symlink_to(Path(sys.prefix) / "bin" / tool)
    (environment / "lib" / version / "site-packages").symlink_to(Path(sys.prefix) / "lib" / version / "site-packages")
    return environment / "bin" / "python"
