"""Argument lists for the `docker` command. Pure: nothing here runs anything or asks the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from officeops.process import Command

Environment = Mapping[str, str | SecretStr]
# Labels of the containers and volumes that are not Compose's own.
STACK, ONE_OFF, RUN, VOLUME = "officeops.stack", "officeops.one-off", "officeops.run", "officeops.volume"
TOOL, TERMINAL = "tool", "terminal"  # what a one-off is: ended when its run was killed, or a person's who looks at it
_UNPRIVILEGED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp", "--log-driver=none")


@dataclass(frozen=True)
class Project:
    """One Compose project. directory: where its relative paths begin. environment: what the file's variables stand for, exactly; it goes
    before `env_file`, in which Compose reads quotes and dollars in its own way."""

    name: str
    directory: Path
    files: tuple[Path, ...]
    env_file: Path
    environment: Environment = field(default_factory=dict)
    profiles: tuple[str, ...] = ()

    def command(self, *arguments: str, **environment: str | SecretStr) -> Command:
        """`docker compose` for this project. environment: beside the project's own."""
        files = [part for file in self.files for part in ("--file", str(file))]
        profiles = [part for profile in self.profiles for part in ("--profile", profile)]
        common = ("--project-name", self.name, "--project-directory", str(self.directory), "--env-file", str(self.env_file))
        output = ("--ansi=never", "--progress=plain")
        return Command(
            ("docker", "compose", *common, *files, *profiles, *output, *arguments), {**self.environment, **environment}, cwd=self.directory,
            tells_on_stdout=arguments[0] == "build",  # the words of a program that failed in a build are in its progress
        )  # fmt: skip


def config(*, profiles: bool = False) -> list[str]:
    """The whole project with everything filled in, as JSON. profiles: also the services of all profiles."""
    return [*(["--profile", "*"] if profiles else []), "config", "--format=json"]


def build(services: Sequence[str], *, from_nothing: bool = False) -> list[str]:
    """The images of these services. from_nothing: no step of an earlier build is used again."""
    return ["build", *(["--no-cache"] if from_nothing else []), *services]


def up(services: Sequence[str], *, alone: bool = False) -> list[str]:
    """Containers of these services, running, made anew where the file says something else than they were made with. What they depend on
    comes up with them. alone: they only, and as they are."""
    return ["up", "--detach", "--no-build", "--quiet-pull", *(["--no-deps", "--no-recreate"] if alone else []), *services]


def launch(services: Sequence[str]) -> list[str]:
    """New containers of these services, and of nothing else."""
    return ["up", "--detach", "--no-build", "--no-deps", "--force-recreate", *services]


def stop(services: Sequence[str], grace_s: int) -> list[str]:
    """Asked to stop, in order of dependency, ended after `grace_s` seconds."""
    return ["stop", f"--timeout={grace_s}", *services]


def remove(services: Sequence[str]) -> list[str]:
    """The stopped containers of these services are gone; named volumes stay."""
    return ["rm", "--force", *services]


def one_off(service: str, argv: Sequence[str], run: str, variables: Sequence[str]) -> list[str]:
    """A program in a new container of the service, which goes with it. variables: names whose values are in the command's environment."""
    given = [part for name in variables for part in ("--env", name)]
    return ["run", "--rm", "--no-deps", "--no-TTY", f"--label={RUN}={run}", *given, service, *argv]


@dataclass(frozen=True)
class Container:
    """A one-off beside the stack, from an image that is here already. network: a network's name, `container:ID` or `none`.
    user: `UID:GID`. mounts: as for `--mount`. capabilities: those that it keeps. kind: TOOL or TERMINAL."""

    stack: str
    image: str
    network: str
    user: str
    run: str
    mounts: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    kind: str = TOOL

    def command(self, program: str, arguments: Sequence[str], environment: Environment) -> Command:
        """Runs `program` in it: stdin and stdout are ours, nothing is logged or pulled, and it is gone afterwards."""
        labels = {STACK: self.stack, ONE_OFF: self.kind, RUN: self.run}
        options = [
            "--rm", "--interactive", *(["--tty"] if self.kind == TERMINAL else []), "--pull=never", "--init", *_UNPRIVILEGED,
            f"--network={self.network}", f"--user={self.user}", f"--entrypoint={program}",
            *(f"--cap-add={name}" for name in self.capabilities),
            *(f"--mount={mount}" for mount in self.mounts),
            *(f"--label={key}={value}" for key, value in labels.items()),
            *(part for name in environment for part in ("--env", name)),
        ]  # fmt: skip
        return Command(("docker", "run", *options, self.image, *arguments), environment)


def bind(path: Path, *, writable: bool = False) -> str:
    """A path of this host, at the same place in the container."""
    return _mount("bind", str(path), str(path), writable=writable)


def volume(name: str, place: str, *, writable: bool = False) -> str:
    """A named volume."""
    return _mount("volume", name, place, writable=writable)


def _mount(kind: str, source: str, target: str, *, writable: bool) -> str:
    """The value of --mount is a line of CSV: a field with a comma or a quote in it is quoted."""
    fields = [f"type={kind}", f"source={source}", f"target={target}", *([] if writable else ["readonly"])]
    return ",".join('"' + one.replace('"', '""') + '"' if set(one) & set(',"\n') else one for one in fields)
