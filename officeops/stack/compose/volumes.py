"""Named volumes of a Compose project: listed, copied, exchanged, through helper containers of images that are there anyway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.process import Command, CommandError
from officeops.stack.compose import commands, exchange
from officeops.stack.compose.commands import STACK, VOLUME
from officeops.stack.compose.engine import PROJECT, Engine
from officeops.stack.port import Volume
from officeops.stack.tar import export_script, import_script

_PLACE = "/volume"
_EXCHANGE_S = 60
_COMPOSE_VOLUME = "com.docker.compose.volume"
_READ, _WRITE = ("DAC_READ_SEARCH",), ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")


@dataclass(frozen=True)
class Mount:
    """A named volume in a container of a service, at `place`."""

    service: str
    volume: str
    place: PurePosixPath


@dataclass(frozen=True)
class ComposeVolumes:
    """The volumes of one project. mounts: those of its services, as the Compose file has them. data: the database's data directory in
    its container. images: what helpers can be made of, best first."""

    engine: Engine
    stack: str
    mounts: Sequence[Mount]
    database_service: str
    data: PurePosixPath
    images: Sequence[str]

    def all(self, *, measure: bool) -> list[Volume]:
        """Those that exist, by name."""
        sizes = self._sizes() if measure else {}
        known = self._known()
        return [self._described(name, sizes.get(known[name])) for name in sorted(known)]

    def export(self, name: str) -> Command:
        """Prints a tar of it. Refused while a container that is none of the runbook's services has it: nobody would make that one stand
        still, and a copy of Prefect's running database is no backup."""
        real = self._real(name)
        if not self._described(name, None).services and (running := self._running_with([real], label=f"{PROJECT}={self.stack}")):
            raise RefusedError(
                f"The volume {name} is in use by {', '.join(running)}, which is none of the runbook's services and changes it while it is copied.",
                state="Nothing of it was copied.",
                todo="`officeops down`; then the same with --offline, and `officeops up` again.",
            )
        mount = commands.volume(real, _PLACE)
        return self._helper("none", (mount,), _READ).command("sh", ["-c", export_script(), "tar", _PLACE], {})

    def import_(self, name: str) -> Command:
        """Reads such a tar."""
        mount = commands.volume(self._real(name), _PLACE, writable=True)
        return self._helper("none", (mount,), _WRITE).command("sh", ["-c", import_script(), "tar", _PLACE], {})

    def create(self, name: str) -> None:
        """An empty one. Raises OfficeOpsError when there is one."""
        if name in self._known():
            raise OfficeOpsError(f"There is a volume {name} already.", state="It was left as it was.")
        with self.engine.explained():
            self.engine.api.create_volume(f"{self.stack}_{name}", labels={STACK: self.stack, VOLUME: name})

    def exchange(self, one: str, other: str) -> None:
        """By one rename in the folder where the engine keeps them. Raises OfficeOpsError where that is not possible."""
        places = [self._place(name) for name in (one, other)]
        names = [self._real(name) for name in (one, other)]
        if running := self._running_with(names):
            raise RefusedError(
                f"{one} and {other} cannot change places while {', '.join(running)} runs.",
                state="Both are as they were.",
                todo="Stop it first.",
            )
        parent = places[0].parent.parent
        for image in self.images:
            helper = self._helper("none", (commands.bind(parent, writable=True),), _WRITE, image)
            try:
                self.engine.run(helper.command("sh", ["-c", exchange.SCRIPT, "exchange", *map(str, places)], {}), timeout=_EXCHANGE_S)
            except CommandError as error:
                if error.status == exchange.NO_LANGUAGE:
                    continue
                raise OfficeOpsError(
                    f"The volumes {one} and {other} could not change places: {exchange.why(error.status or 0)}.",
                    state="Both are as they were.",
                ) from error
            return
        raise OfficeOpsError(
            f"The volumes {one} and {other} could not change places: no image of this stack has Python or Perl to do it with.",
            state="Both are as they were.",
        )

    def remove(self, name: str) -> None:
        """Gone; no error when it is gone already."""
        from docker.errors import APIError, NotFound

        real = self._known().get(name)
        if real is None:
            return
        if users := self._described(name, None).services:
            raise RefusedError(f"The volume {name} is used by {', '.join(users)}.", state="It was left as it is.")
        with self.engine.explained():
            try:
                self.engine.api.remove_volume(real)
            except NotFound:
                return
            except APIError as error:
                if error.status_code != 409:
                    raise
                raise RefusedError(f"The volume {name} is in use: {error.explanation}.", state="It was left as it is.") from error

    def _known(self) -> Mapping[str, str]:
        """Name in this project -> name on the engine, of the volumes that Compose made and of those that were made beside them."""
        with self.engine.explained():
            composed = self.engine.api.volumes(filters={"label": [f"{PROJECT}={self.stack}"]})["Volumes"] or []
            ours = self.engine.api.volumes(filters={"label": [f"{STACK}={self.stack}"]})["Volumes"] or []
        return {
            str(one["Labels"][label]): str(one["Name"])
            for found, label in ((composed, _COMPOSE_VOLUME), (ours, VOLUME))
            for one in found
            if label in one["Labels"]
        }

    def _real(self, name: str) -> str:
        known = self._known()
        if name not in known:
            raise UsageError(
                f"There is no volume {name!r}.", state="Nothing was changed.", todo=f"There are: {', '.join(sorted(known)) or 'none'}."
            )
        return known[name]

    def _described(self, name: str, size: int | None) -> Volume:
        users = [mount for mount in self.mounts if mount.volume == name]
        database = any(
            mount.service == self.database_service and (self.data.is_relative_to(mount.place) or mount.place.is_relative_to(self.data))
            for mount in users
        )
        return Volume(name, tuple(dict.fromkeys(mount.service for mount in users)), database, size)

    def _sizes(self) -> Mapping[str, int]:
        with self.engine.explained():
            volumes: Iterable[dict[str, Any]] = self.engine.api.df()["Volumes"] or []
        return {str(one["Name"]): int(one["UsageData"]["Size"]) for one in volumes if one.get("UsageData")}

    def _place(self, name: str) -> Path:
        with self.engine.explained():
            found = self.engine.api.inspect_volume(self._real(name))
        if found["Driver"] != "local" or found.get("Options"):
            raise OfficeOpsError(
                f"The volume {name} is not kept by the engine itself ({found['Driver']}, {found.get('Options') or 'no options'}), "
                "so that it cannot change places with another one.",
                state="Nothing was changed.",
                todo="Restore it with --dry-run, or copy the files by hand.",
            )
        return Path(found["Mountpoint"])

    def _running_with(self, names: Sequence[str], **filters: str) -> list[str]:
        with self.engine.explained():
            found = [one for name in names for one in self.engine.api.containers(filters={"volume": name, **filters})]
        return sorted({str(one["Names"][0]).lstrip("/") for one in found})

    def _helper(self, network: str, mounts: tuple[str, ...], capabilities: tuple[str, ...], image: str | None = None) -> commands.Container:
        if not self.images:
            raise OfficeOpsError(
                "No image of this stack is on this host, so that its volumes cannot be reached.",
                todo="Start the stack once: `officeops up`.",
            )
        return commands.Container(self.stack, image or self.images[0], network, "0:0", uuid4().hex, mounts, capabilities)
