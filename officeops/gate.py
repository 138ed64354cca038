"""The gate: which colour gets requests. One adapter for all stacks: Caddy, which looks for two files on each request.

It never shuts the last open gate. A switch opens the new colour, then shuts the old one; whoever is killed between the two leaves both open,
and both answer. Caddy needs no reload and forgets nothing when it is started anew: the files are the state.
"""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from officeops.errors import OfficeOpsError, RefusedError, TransientError
from officeops.files import flush_folder
from officeops.stack.port import COLOURS, Colour, other

_POLL_S = 0.05
_ASK_S = 3.0


class FrontDoor(Protocol):
    """What a gate needs of a stack; see officeops/stack/port.py."""

    @property
    def gate_folder(self) -> Path: ...
    def front_door(self) -> str: ...
    def in_flight(self, colour: Colour) -> int: ...


class DrainTimeoutError(OfficeOpsError):
    """Requests of a shut colour did not end in time. left: how many."""

    def __init__(self, colour: Colour, left: int, seconds: float) -> None:
        self.left = left
        super().__init__(
            f"{left} request{'s' if left != 1 else ''} of {colour} did not end within {seconds:g} s.",
            state="They go on; new ones go to the other colour.",
            todo="Wait for them, or give them more time (`releases.stream_seconds` in runbook.yaml).",
        )


class Gate:
    """The gates of one stack. Whoever changes them holds the stack's lock."""

    def __init__(self, stack: FrontDoor) -> None:
        self._stack, self._folder = stack, stack.gate_folder

    def prepare(self, colour: Colour) -> None:
        """The front door can look at the gates when this returns, and one is shut: where there were none, `colour` alone is open. Gates
        that were set already stay as they are."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o755)  # a front door that cannot look would take both for open
        if self.open_colours() == COLOURS:
            self.shut(other(colour))

    def open(self, colour: Colour) -> None:
        """The next request may go to `colour`. No error when it is open."""
        self._drain_file(colour).unlink(missing_ok=True)
        flush_folder(self._folder)

    def shut(self, colour: Colour) -> None:
        """No further request goes to `colour`; those that are on their way go on. No error when it is shut. Refused (RefusedError) when it
        is the last open one."""
        if not self.is_open(colour):
            return
        if not self.is_open(other(colour)):
            raise RefusedError(f"{colour} is the only colour that gets requests.", state="It still does.", todo="Open the other one first.")
        temporary = self._drain_file(colour).with_suffix(".new")
        temporary.touch(mode=0o644)
        temporary.rename(self._drain_file(colour))
        flush_folder(self._folder)

    def is_open(self, colour: Colour) -> bool:
        """Whether requests go there."""
        return not self._drain_file(colour).exists()

    def open_colours(self) -> tuple[Colour, ...]:
        """Those that get requests: one, or in the moment of a switch both."""
        return tuple(colour for colour in COLOURS if self.is_open(colour))

    def in_flight(self, colour: Colour) -> int:
        """Requests on their way to `colour`, by Caddy's own count. Raises OfficeOpsError when Caddy does not answer."""
        return self._stack.in_flight(colour)

    def drained(self, colour: Colour, timeout: float) -> float:
        """Waits until nothing is on its way to `colour`, seen twice in a row: one that Caddy had let in before the gate was shut may not
        be counted yet. Returns the seconds it took. A Caddy that does not answer is asked again. Raises DrainTimeoutError after
        `timeout` seconds."""
        began, seen = time.monotonic(), 0
        while True:
            left = self._asked(colour, began + timeout)
            seen = 0 if left else seen + 1
            if seen == 2:
                return time.monotonic() - began
            if left and time.monotonic() - began > timeout:
                raise DrainTimeoutError(colour, left, timeout)
            time.sleep(_POLL_S)

    def serving(self, path: str) -> str | None:
        """The release that answers at `path` behind the front door, by the `release` of its JSON. None when nobody says it."""
        place = urlsplit(self._stack.front_door())
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_ASK_S)
        try:
            connection.request("GET", path)
            said = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        release = said.get("release") if isinstance(said, dict) else None
        return release if isinstance(release, str) else None

    def _asked(self, colour: Colour, deadline: float) -> int:
        while True:
            try:
                return self.in_flight(colour)
            except TransientError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_S)

    def _drain_file(self, colour: Colour) -> Path:
        return self._folder / f"{colour}.drain"
